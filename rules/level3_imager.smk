"""Calibrated images of one field become a mosaic.

REQUIRED INPUTS:
  images = level2/{obs}_LVL2_{exp}.fits        e-/s, (y, x)
  manifest = references/level3/{obs}_{exp}.json   psf, where measure_sources: psf_fit
OUTPUTS:
  mosaic = level3/{group}_LVL3.fits            e-/s, (y, x), with errors, weight and coverage
  catalog = level3/{group}_CAT.ecsv            its sources
STEPS: combine_images, measure_sources
"""


rule combine_images:
    """Combine the dithered images of one target."""
    input:
        images=lambda wildcards: PLAN.images(wildcards.group),
        after=PLAN.after_crds,
        offsets=PLAN.offsets(config["combine_images"]["offsets"]),
        script=source("combine_images"),
        library=source(
            "drs/alignment",
            "drs/blotting",
            "drs/clipping",
            "drs/combination",
            "drs/drizzling",
            "drs/keywords",
            "drs/members",
            "drs/mosaic",
            "drs/offsets",
            "drs/pixelmap",
            "drs/region",
            "drs/steepness",
        ),
    output:
        mosaic="level3/{group}_LVL3.fits",
    log:
        "logs/combine_images/{group}.log",
    benchmark:
        "benchmarks/combine_images/{group}.tsv"
    wildcard_constraints:
        group=PLAN.group_pattern(cubes=False),
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("combine_images"),
    params:
        options=options(config["combine_images"]),
        mosaic=lambda wildcards: PLAN.mosaic_options(wildcards.group),
        images=lambda wildcards, input: [f"--image={path}" for path in input.images],
    shell:
        """
        NUMBA_NUM_THREADS={threads} python {input.script:q} \
            {params.images:q} \
            {params.options} \
            {params.mosaic:q} \
            --mark-refusal \
            --output {output.mosaic:q} \
            >{log:q} 2>&1
        """


rule measure_sources:
    """Catalogue of the sources of a mosaic."""
    input:
        mosaic="level3/{group}_LVL3.fits",
        after=PLAN.after_crds,
        manifest=lambda wildcards: PLAN.psf_of(wildcards) if config["measure_sources"]["psf_fit"] else [],
        script=source("measure_sources"),
        library=source("drs/epsf", "drs/psffit", "drs/quality", "drs/sourcelist"),
    output:
        catalog="level3/{group}_CAT.ecsv",
    log:
        "logs/measure_sources/{group}.log",
    benchmark:
        "benchmarks/measure_sources/{group}.tsv"
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("measure_sources"),
    params:
        options=options(config["measure_sources"]),
        manifest=lambda wildcards, input: [f"--manifest={path}" for path in input.manifest],
        cache=CACHE,
        night_cache=NIGHT_CACHE,
    shell:
        """
        python {input.script:q} \
            --mosaic {input.mosaic:q} \
            {params.manifest:q} \
            --cache {params.cache:q} \
            --night-cache {params.night_cache:q} \
            {params.options} \
            --output {output.catalog:q} \
            >{log:q} 2>&1
        """
