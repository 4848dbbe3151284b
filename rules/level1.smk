"""Ramps of reads become rates, for every instrument and mode.

REQUIRED INPUTS:
  ramp     = raw/*.fits[.gz|.fz]               reads, uint16, DN, (group, read, y, x); one file, or one per read
  manifest = references/level1/{obs}_{exp}.json   what Level 1 uses of the exposure's references
OUTPUTS:
  rate     = level1/{obs}_LVL1_{exp}.fits      e-/s, (y, x), with errors, variances, flags
STEPS: fit_ramp (flags, saturation, bias, reference pixels, non-linearity, gain, jumps, fit)
"""

SEEING = [path for path in (config["fit_ramp"]["seeing"],) if path]


rule fit_ramp:
    """Fit the reads of one exposure: a rate image in e-/s with its errors."""
    input:
        ramp=PLAN.raw,
        manifest=PLAN.level1_references,
        seeing=SEEING,
        script=source("fit_ramp"),
        library=source(
            *("drs/chain", "drs/detector", "drs/exposure", "drs/jumps", "drs/pixels", "drs/ramp", "drs/ramp_lanes"),
            *("drs/ramp_pixels", "drs/raw", "drs/reads", "drs/reduction", "drs/refpix", "drs/region", "drs/sampling"),
            *("drs/seeing", "drs/shrinkage", "drs/signal", "drs/variance", "drs/windows"),
        ),
    output:
        rate="level1/{obs}_LVL1_{exp}.fits",
    log:
        "logs/fit_ramp/{obs}_{exp}.log",
    benchmark:
        "benchmarks/fit_ramp/{obs}_{exp}.tsv"
    conda:
        "../envs/reduction.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: attempt * (350 + PLAN.raw_mb(wildcards) // 3),
        runtime=15,
    params:
        **{key: value for key, value in config["fit_ramp"].items() if key not in ("seeing", "chi_square", "skip_steps")},
        corrections=lambda wildcards: json.dumps(PLAN.exposure(wildcards)["corrections"], sort_keys=True),
        dropped=lambda wildcards: json.dumps(PLAN.exposure(wildcards)["dropped"]),
        identity=lambda wildcards: json.dumps(PLAN.identity(wildcards), sort_keys=True),
        readout=lambda wildcards: PLAN.readout(wildcards),
        cache=CACHE,
        night_cache=NIGHT_CACHE,
        ramp=lambda wildcards: PLAN.ramp_option(wildcards),
        seeing=[f"--seeing={path}" for path in SEEING],
        skip_steps=[f"--skip-step={step}" for step in config["fit_ramp"]["skip_steps"]],
        chi_square="--chi-square" if config["fit_ramp"]["chi_square"] else "",
    shell:
        """
        NUMBA_NUM_THREADS={threads} python {input.script:q} \
            {params.ramp:q} \
            --manifest {input.manifest:q} \
            --cache {params.cache:q} \
            --night-cache {params.night_cache:q} \
            --corrections {params.corrections:q} \
            --drop {params.dropped:q} \
            --method {params.method:q} \
            --n-coadd {params.n_coadd} \
            --jump-threshold-sigma {params.jump_threshold_sigma} \
            --jump-neighbour-sigma {params.jump_neighbour_sigma} \
            --large-jump-e {params.large_jump_e} \
            --after-jump-s {params.after_jump_s} \
            --snowball-minimum-pix {params.snowball_minimum_pix} \
            --snowball-growth {params.snowball_growth} \
            --saturation-grow-pix {params.saturation_grow_pix} \
            --refpix-smoothing-rows {params.refpix_smoothing_rows} \
            --noise-box-pix {params.noise_box_pix} \
            --border-pix {params.readout[border_pix]} \
            --n-channel {params.readout[n_channel]} \
            {params.seeing:q} \
            --seeing-maximum-arcsec {params.seeing_maximum_arcsec} \
            --keys {params.identity:q} \
            --block-rows {params.block_rows} \
            {params.skip_steps:q} {params.chi_square} \
            --mark-refusal \
            --output {output.rate:q} \
            >{log:q} 2>&1
        """
