"""Rates of imager exposures become calibrated images.

REQUIRED INPUTS:
  rate     = level1/{obs}_LVL1_{exp}.fits      e-/s, (y, x)
  manifest = references/level2/{obs}_{exp}.json   dark, flat, distortion, flux
  sky      = calibrations/{name}.fits          only where the plan has a sky frame
OUTPUTS:
  mask     = level2/masks/{group}_MASK.fits    objects of a dithered field, for the iterative sky
  image    = level2/{obs}_LVL2_{exp}.fits      e-/s, (y, x), sky-subtracted, with coordinates
STEPS: make_object_mask, calibrate_image (dark, flat, sky, cosmic rays, wcs, astrometry)
"""

SKY = {key: value for key, value in config["calibrate_image"].items() if key.startswith("sky_")}
GIVEN = ("sky", "astrometry_catalogue")  # not as they stand
ASTROMETRY = [path for path in [config["calibrate_image"]["astrometry_catalogue"]] if path]
SKY_SETTINGS = {"quality": config["quality"], "sky": config["calibrate_image"]["sky"], **SKY}


rule make_object_mask:
    """Mask the objects of a dithered field for the sky of its exposures."""
    input:
        rates=lambda wildcards: PLAN.rates_of(PLAN.members(wildcards)),
        after=PLAN.after_crds,
        manifests=lambda wildcards: PLAN.references_of(PLAN.members(wildcards)),
        instrument=lambda wildcards: f"{CONFIG}/instruments/{PLAN.instrument_of(wildcards)}.yaml",
        script=source("make_object_mask"),
        library=source(
            "drs/calibration",
            "drs/dark",
            "drs/flat",
            "drs/keywords",
            "drs/members",
            "drs/objects",
            "drs/region",
            "drs/registration",
            "drs/running_sky",
            "drs/sky",
            "drs/wcs",
        ),
    output:
        mask="level2/masks/{group}_MASK.fits",
    log:
        "logs/make_object_mask/{group}.log",
    benchmark:
        "benchmarks/make_object_mask/{group}.tsv"
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("make_object_mask"),
    params:
        options=options(config["make_object_mask"]),
        sky=options(SKY),
        rates=lambda wildcards, input: [f"--rate={path}" for path in input.rates],
        manifests=lambda wildcards, input: [f"--manifest={path}" for path in input.manifests],
        cache=CACHE,
        night_cache=NIGHT_CACHE,
    shell:
        """
        NUMBA_NUM_THREADS={threads} python {input.script:q} \
            {params.rates:q} \
            {params.manifests:q} \
            --cache {params.cache:q} \
            --night-cache {params.night_cache:q} \
            --instrument {input.instrument:q} \
            {params.options} \
            {params.sky} \
            --mark-refusal \
            --output {output.mask:q} \
            >{log:q} 2>&1
        """


rule calibrate_image:
    """Calibrate one imager exposure: dark, flat, sky, coordinates."""
    input:
        unpack(lambda wildcards: PLAN.sky_inputs(wildcards, SKY_SETTINGS)),
        rate="level1/{obs}_LVL1_{exp}.fits",
        after=PLAN.after_crds,
        manifest=PLAN.level2_references,
        astrometry=ASTROMETRY,
        instrument=lambda wildcards: f"{CONFIG}/instruments/{PLAN.instrument(wildcards)}.yaml",
        filters=f"{CONFIG}/instruments/filters.csv",
        script=source("calibrate_image"),
        library=source(
            "drs/astrometry",
            "drs/background",
            "drs/calibration",
            "drs/catalogue",
            "drs/coordinates",
            "drs/cosmics",
            "drs/dark",
            "drs/distortion",
            "drs/flat",
            "drs/offsets",
            "drs/refraction",
            "drs/region",
            "drs/registration",
            "drs/running_sky",
            "drs/sky",
            "drs/wcs",
        ),
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
        **NEEDS.of("calibrate_image"),
    params:
        sky=lambda wildcards, input: [
            *(f"--{'mask' if input.dithers else 'sky'}={path}" for path in input.sky),
            *(f"--dither={path}" for path in input.dithers),
            *(f"--dither-manifest={path}" for path in input.dither_manifests),
        ],
        sky_method=lambda wildcards: PLAN.sky(wildcards, SKY_SETTINGS)[0],
        astrometry=[f"--astrometry-catalogue={path}" for path in ASTROMETRY],
        options=options({key: value for key, value in config["calibrate_image"].items() if key not in GIVEN}),
        cache=CACHE,
        night_cache=NIGHT_CACHE,
    shell:
        """
        NUMBA_NUM_THREADS={threads} python {input.script:q} \
            --rate {input.rate:q} \
            --manifest {input.manifest:q} \
            --cache {params.cache:q} \
            --night-cache {params.night_cache:q} \
            --instrument {input.instrument:q} \
            --filters {input.filters:q} \
            {params.sky:q} \
            --sky-method {params.sky_method:q} \
            {params.astrometry:q} \
            {params.options} \
            --mark-refusal \
            --output {output.image:q} \
            >{log:q} 2>&1
        """
