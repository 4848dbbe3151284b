"""Rates of calibration exposures of the spectrographs become the night's own calibrations.

REQUIRED INPUTS:
  rate     = level1/{obs}_LVL1_{exp}.fits      e-/s
  manifest = references/level2/{obs}_{exp}.json   dark, rectmat
OUTPUTS:
  calibrations/{instrument}_{detector}_rectmat_{date}_{version}.fits  RectificationModel, (row, column, ny, nx)
STEPS: make_rectmat
"""


rule make_rectmat:
    """Fit the profiles of all lenslets to the night's white-light scan."""
    input:
        rates=lambda wildcards: PLAN.rates(wildcards.name),
        after=PLAN.after_crds,
        manifests=PLAN.calibration_references,
        instrument=lambda wildcards: f"{CONFIG}/instruments/{wildcards.name.partition('_')[0]}.yaml",
        script=source("make_rectmat"),
        library=source(
            "drs/calibration",
            "drs/dark",
            "drs/flat",
            "drs/keywords",
            "drs/members",
            "drs/rectmat",
            "drs/region",
            "drs/spectralrefs",
        ),
    output:
        rectmat="calibrations/{name}.fits",
    log:
        "logs/make_rectmat/{name}.log",
    benchmark:
        "benchmarks/make_rectmat/{name}.tsv"
    wildcard_constraints:
        name=r"[a-z]+_[a-z0-9]+_rectmat_([a-z0-9]+_)?[0-9t]+_[0-9.]+",
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("make_rectmat"),
    params:
        options=options(config["make_rectmat"]),
        rates=lambda wildcards, input: [f"--rate={path}" for path in input.rates],
        manifests=lambda wildcards, input: [f"--manifest={path}" for path in input.manifests],
        useafter=lambda wildcards: PLAN.combinations[wildcards.name]["useafter"],
        cache=CACHE,
        night_cache=NIGHT_CACHE,
    shell:
        """
        python {input.script:q} \
            {params.rates:q} \
            {params.manifests:q} \
            --cache {params.cache:q} \
            --night-cache {params.night_cache:q} \
            --instrument {input.instrument:q} \
            --useafter {params.useafter:q} \
            {params.options} \
            --mark-refusal \
            --output {output.rectmat:q} \
            >{log:q} 2>&1
        """
