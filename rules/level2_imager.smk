"""Rates of imager exposures become calibrated images.

REQUIRED INPUTS:
  rate     = level1/{obs}_LVL1_{exp}.fits      e-/s, (y, x)
  manifest = references/level2/{obs}_{exp}.json   dark, flat
  sky      = calibrations/{name}.fits          only where the plan has a sky frame
OUTPUTS:
  image    = level2/{obs}_LVL2_{exp}.fits      e-/s, (y, x), sky-subtracted, with coordinates
STEPS: calibrate_image (dark, flat, sky, wcs)
"""


rule calibrate_image:
    """Calibrate one imager exposure: dark, flat, sky, coordinates."""
    input:
        rate="level1/{obs}_LVL1_{exp}.fits",
        manifest=PLAN.level2_references,
        sky=lambda wildcards: PLAN.sky(wildcards, config["calibrate_image"]["sky"])[1],
        instrument=lambda wildcards: f"{CONFIG}/instruments/{PLAN.instrument(wildcards)}.yaml",
        script=source("calibrate_image"),
        library=source("drs/calibration", "drs/dark", "drs/flat", "drs/region", "drs/sky", "drs/wcs"),
    output:
        image="level2/{obs}_LVL2_{exp}.fits",
    log:
        "logs/calibrate_image/{obs}_{exp}.log",
    benchmark:
        "benchmarks/calibrate_image/{obs}_{exp}.tsv"
    wildcard_constraints:
        obs=PLAN.obs_pattern("imager"),
    conda:
        "../envs/reduction.yaml"
    resources:
        mem_mb=lambda wildcards, input, attempt: attempt * (800 + int(6 * input.size_mb)),
        runtime=15,
    params:
        sky=lambda wildcards, input: [f"--sky={path}" for path in input.sky],
        sky_method=lambda wildcards: PLAN.sky(wildcards, config["calibrate_image"]["sky"])[0],
        options=options({key: value for key, value in config["calibrate_image"].items() if key != "sky"}),
        cache=CACHE,
        night_cache=NIGHT_CACHE,
    shell:
        """
        python {input.script:q} \
            --rate {input.rate:q} \
            --manifest {input.manifest:q} \
            --cache {params.cache:q} \
            --night-cache {params.night_cache:q} \
            --instrument {input.instrument:q} \
            {params.sky:q} \
            --sky-method {params.sky_method:q} \
            {params.options:q} \
            --mark-refusal \
            --output {output.image:q} \
            >{log:q} 2>&1
        """
