"""Ramps of reads become rates, for every instrument and mode.

REQUIRED INPUTS:
  ramp     = raw/*.fits[.gz|.fz]               reads, uint16, DN, (group, read, y, x); one file, or one per read
  manifest = references/level1/{obs}_{exp}.json   what Level 1 uses of the exposure's references
OUTPUTS:
  rate     = level1/{obs}_LVL1_{exp}.fits      e-/s, (y, x), with errors, variances, flags
STEPS: fit_ramp (flags, saturation, bias, reference pixels, non-linearity, gain, jumps, fit)
"""

SEEING = config["fit_ramp"]["seeing"]
LISTED = ("seeing", "chi_square", "skip_steps")  # no plain options


rule fit_ramp:
    """Fit the reads of one exposure: a rate image in e-/s with its errors."""
    input:
        ramp=PLAN.raw,
        after=PLAN.after_crds,
        manifest=PLAN.level1_references,
        seeing=(lambda wildcards: PLAN.seeing(wildcards, SEEING)) if SEEING else [],
        script=source("fit_ramp"),
        library=source(
            *("drs/chain", "drs/detector", "drs/exposure", "drs/jumps", "drs/pixels", "drs/ramp", "drs/ramp_lanes"),
            *("drs/ramp_pixels", "drs/ramp_search", "drs/raw", "drs/reads", "drs/rate", "drs/refpix", "drs/region"),
            *("drs/sampling", "drs/seeing", "drs/shrinkage", "drs/signal", "drs/variance", "drs/windows"),
        ),
    output:
        rate="level1/{obs}_LVL1_{exp}.fits",
    log:
        "logs/fit_ramp/{obs}_{exp}.log",
    benchmark:
        "benchmarks/fit_ramp/{obs}_{exp}.tsv"
    conda:
        "../envs/reduction.yaml"
    threads: lambda wildcards: 2 if PLAN.raw_mb(wildcards) > 100 else 1  # short jobs run side by side
    resources:
        **NEEDS.of("fit_ramp"),
    params:
        options=options({key: value for key, value in config["fit_ramp"].items() if key not in LISTED}),
        exposure=PLAN.exposure_options,
        cache=CACHE,
        night_cache=NIGHT_CACHE,
        seeing=(lambda wildcards, input: [f"--seeing={path}" for path in input.seeing]) if SEEING else [],
        skip_steps=[f"--skip-step={step}" for step in config["fit_ramp"]["skip_steps"]],
        chi_square="--chi-square" if config["fit_ramp"]["chi_square"] else "",
    shell:
        """
        NUMBA_NUM_THREADS={threads} python {input.script:q} \
            {params.exposure} \
            --manifest {input.manifest:q} \
            --cache {params.cache:q} \
            --night-cache {params.night_cache:q} \
            {params.options} \
            {params.seeing:q} \
            {params.skip_steps:q} {params.chi_square} \
            --mark-refusal \
            --output {output.rate:q} \
            >{log:q} 2>&1
        """
