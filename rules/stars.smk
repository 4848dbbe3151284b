"""Exposures of stars become calibrations of the optics: distortion by a field of them, point-spread function.

REQUIRED INPUTS:
  rate     = level1/{obs}_LVL1_{exp}.fits      e-/s, of a star field
  manifest = references/level2/{obs}_{exp}.json   dark
  image    = level2/{obs}_LVL2_{exp}.fits      e-/s, of PSF stars
OUTPUTS:
  calibrations/{instrument}_{detector}_distortion_{date}_{version}.fits     DistortionModel, pix, (y, x)
  calibrations/{instrument}_{detector}_psf_{date}_{version}.fits            PsfModel, part of the light in a pixel, (y, x)
STEPS: make_field_distortion, make_psf
"""


rule make_field_distortion:
    """Fit the distortion of a detector to dithers of a star field with a catalogue."""
    input:
        rates=lambda wildcards: PLAN.rates(wildcards.name),
        after=PLAN.after_crds,
        manifests=PLAN.calibration_references,
        catalogue=[path for path in [config["make_field_distortion"]["catalogue"]] if path],
        instrument=lambda wildcards: f"{CONFIG}/instruments/{wildcards.name.partition('_')[0]}.yaml",
        filters=f"{CONFIG}/instruments/filters.csv",
        script=source("make_field_distortion"),
        library=source(
            "drs/astrometry",
            "drs/calibration",
            "drs/catalogue",
            "drs/dark",
            "drs/distortion",
            "drs/fieldpairs",
            "drs/flat",
            "drs/keywords",
            "drs/members",
            "drs/offsets",
            "drs/refraction",
            "drs/region",
            "drs/starfield",
            "drs/wcs",
        ),
    output:
        distortion="calibrations/{name}.fits",
    log:
        "logs/make_field_distortion/{name}.log",
    benchmark:
        "benchmarks/make_field_distortion/{name}.tsv"
    wildcard_constraints:
        name=PLAN.distortion_pattern("star-field"),
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("make_field_distortion"),
    params:
        options=options({key: value for key, value in config["make_field_distortion"].items() if key != "catalogue"}),
        air=options({key: value for key, value in config["calibrate_image"].items() if key.startswith("refraction")}),
        rates=lambda wildcards, input: [f"--rate={path}" for path in input.rates],
        manifests=lambda wildcards, input: [f"--manifest={path}" for path in input.manifests],
        catalogue=lambda wildcards, input: [f"--catalogue={path}" for path in input.catalogue],
        useafter=lambda wildcards: PLAN.combinations[wildcards.name]["useafter"],
        minimum=lambda wildcards: f"--minimum={PLAN.combinations[wildcards.name]['minimum']}",
        cache=CACHE,
        night_cache=NIGHT_CACHE,
    shell:
        """
        python {input.script:q} \
            {params.rates:q} \
            {params.manifests:q} \
            {params.catalogue:q} \
            --cache {params.cache:q} \
            --night-cache {params.night_cache:q} \
            --instrument {input.instrument:q} \
            --filters {input.filters:q} \
            --useafter {params.useafter:q} \
            {params.minimum} \
            {params.options} \
            {params.air} \
            --mark-refusal \
            --output {output.distortion:q} \
            >{log:q} 2>&1
        """


rule make_psf:
    """Make the point-spread function of stars."""
    input:
        images=lambda wildcards: PLAN.level2_of(wildcards.name),
        after=PLAN.after_crds,
        script=source("make_psf"),
        library=source("drs/epsf", "drs/keywords", "drs/members", "drs/offsets", "drs/photometry", "drs/psfstars"),
    output:
        psf="calibrations/{name}.fits",
    log:
        "logs/make_psf/{name}.log",
    benchmark:
        "benchmarks/make_psf/{name}.tsv"
    wildcard_constraints:
        name=r"[a-z]+_[a-z0-9]+_psf_([a-z0-9]+_)?[0-9t]+_[0-9.]+",
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("make_psf"),
    params:
        options=options(config["make_psf"]),
        images=lambda wildcards, input: [f"--image={path}" for path in input.images],
        useafter=lambda wildcards: PLAN.combinations[wildcards.name]["useafter"],
        minimum=lambda wildcards: f"--minimum={PLAN.combinations[wildcards.name]['minimum']}",
    shell:
        """
        python {input.script:q} \
            {params.images:q} \
            --useafter {params.useafter:q} \
            {params.minimum} \
            {params.options} \
            --mark-refusal \
            --output {output.psf:q} \
            >{log:q} 2>&1
        """
