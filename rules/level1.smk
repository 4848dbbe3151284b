"""Ramps of reads become rates, for every instrument and mode.

REQUIRED INPUTS:
  ramp     = raw/*.fits[.gz|.fz]               reads, uint16, DN, (group, read, y, x)
  manifest = references/{obs}_{exp}.json
OUTPUTS:
  rate     = level1/{obs}_LVL1_{exp}.fits      e-/s, (y, x), with errors, variances, flags
STEPS: fit_ramp (saturation, bias, non-linearity, gain, jumps and fit in one pass)
"""


rule fit_ramp:
    """Fit the reads of one exposure: a rate image in e-/s with its errors."""
    input:
        ramp=PLAN.raw,
        manifest=manifest,
        script=source("fit_ramp"),
        library=source("drs/detector", "drs/exposure", "drs/ramp", "drs/raw", "drs/signal", "drs/variance"),
    output:
        rate="level1/{obs}_LVL1_{exp}.fits",
    log:
        "logs/fit_ramp/{obs}_{exp}.log",
    benchmark:
        "benchmarks/fit_ramp/{obs}_{exp}.tsv"
    conda:
        "../envs/reduction.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: attempt * (300 + int(80 * PLAN.megapixels(wildcards))),
        runtime=15,
    params:
        **{key: value for key, value in config["fit_ramp"].items() if key != "skip_steps"},
        corrections=lambda wildcards: json.dumps(PLAN.exposure(wildcards)["corrections"], sort_keys=True),
        identity=lambda wildcards: json.dumps(PLAN.identity(wildcards), sort_keys=True),
        cache=CACHE,
        night_cache=NIGHT_CACHE,
        skip_steps=[f"--skip-step={step}" for step in config["fit_ramp"]["skip_steps"]],
    shell:
        """
        NUMBA_NUM_THREADS={threads} python {input.script:q} \
            --ramp {input.ramp:q} \
            --manifest {input.manifest:q} \
            --cache {params.cache:q} \
            --night-cache {params.night_cache:q} \
            --corrections {params.corrections:q} \
            --method {params.method:q} \
            --n-coadd {params.n_coadd} \
            --jump-threshold-sigma {params.jump_threshold_sigma} \
            --noise-box-pix {params.noise_box_pix} \
            --keys {params.identity:q} \
            --block-rows {params.block_rows} \
            {params.skip_steps:q} \
            --mark-refusal \
            --output {output.rate:q} \
            >{log:q} 2>&1
        """
