"""Exposures of masks and of standard stars become calibrations of the optics and of the flux.

REQUIRED INPUTS:
  rate     = level1/{obs}_LVL1_{exp}.fits      e-/s
  manifest = references/level2/{obs}_{exp}.json   dark
  image    = level2/{obs}_LVL2_{exp}.fits      e-/s, of standard stars
OUTPUTS:
  calibrations/{instrument}_{detector}_distortion_{date}_{version}.fits     DistortionModel, pix, (y, x)
  calibrations/{instrument}_{detector}_flux_{date}_{version}.fits           PhotometryModel, zero point and curve of growth
STEPS: make_distortion, make_photometry
"""


rule make_distortion:
    """Fit the distortion of a detector to exposures of a mask of pinholes."""
    input:
        rates=lambda wildcards: PLAN.rates(wildcards.name),
        after=PLAN.after_crds,
        manifests=PLAN.calibration_references,
        script=source("make_distortion"),
        library=source(
            "drs/calibration",
            "drs/dark",
            "drs/distortion",
            "drs/flat",
            "drs/keywords",
            "drs/members",
            "drs/pinholes",
            "drs/region",
        ),
    output:
        distortion="calibrations/{name}.fits",
    log:
        "logs/make_distortion/{name}.log",
    benchmark:
        "benchmarks/make_distortion/{name}.tsv"
    wildcard_constraints:
        name=PLAN.distortion_pattern("pinhole"),
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("make_distortion"),
    params:
        options=options(config["make_distortion"]),
        rates=lambda wildcards, input: [f"--rate={path}" for path in input.rates],
        manifests=lambda wildcards, input: [f"--manifest={path}" for path in input.manifests],
        useafter=lambda wildcards: PLAN.combinations[wildcards.name]["useafter"],
        minimum=lambda wildcards: f"--minimum={PLAN.combinations[wildcards.name]['minimum']}",
        cache=CACHE,
        night_cache=NIGHT_CACHE,
    shell:
        """
        python {input.script:q} \
            {params.rates:q} \
            {params.manifests:q} \
            --cache {params.cache:q} \
            --night-cache {params.night_cache:q} \
            --useafter {params.useafter:q} \
            {params.minimum} \
            {params.options} \
            --mark-refusal \
            --output {output.distortion:q} \
            >{log:q} 2>&1
        """


rule make_photometry:
    """Measure the zero point of a filter on standard stars."""
    input:
        images=lambda wildcards: PLAN.level2_of(wildcards.name),
        after=PLAN.after_crds,
        catalogue=[config["make_photometry"]["catalogue"]] if config["make_photometry"]["catalogue"] else [],
        script=source("make_photometry"),
        library=source("drs/catalogue", "drs/keywords", "drs/members", "drs/photometry", "drs/wcs"),
    output:
        photometry="calibrations/{name}.fits",
    log:
        "logs/make_photometry/{name}.log",
    benchmark:
        "benchmarks/make_photometry/{name}.tsv"
    wildcard_constraints:
        name=PLAN.flux_pattern(cubes=False),
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("make_photometry"),
    params:
        options=options({key: value for key, value in config["make_photometry"].items() if key != "catalogue"}),
        images=lambda wildcards, input: [f"--image={path}" for path in input.images],
        catalogue=lambda wildcards, input: [f"--catalogue={path}" for path in input.catalogue],
        useafter=lambda wildcards: PLAN.combinations[wildcards.name]["useafter"],
        minimum=lambda wildcards: f"--minimum={PLAN.combinations[wildcards.name]['minimum']}",
    shell:
        """
        python {input.script:q} \
            {params.images:q} \
            {params.catalogue:q} \
            --useafter {params.useafter:q} \
            {params.minimum} \
            {params.options} \
            --mark-refusal \
            --output {output.photometry:q} \
            >{log:q} 2>&1
        """
