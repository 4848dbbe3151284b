"""Rates of calibration exposures become the night's own calibrations.

REQUIRED INPUTS:
  rate     = level1/{obs}_LVL1_{exp}.fits      e-/s
  manifest = references/level2/{obs}_{exp}.json   dark, flat
OUTPUTS:
  calibrations/{instrument}_{detector}_dark_{date}_{version}.fits     DarkModel, e-/s, (y, x)
  calibrations/{instrument}_{detector}_flat_{date}_{version}.fits     FlatModel, relative response, (y, x)
  calibrations/{instrument}_{detector}_sky_{date}_{version}.fits      SkyModel, e-/s, (y, x)
STEPS: make_dark, make_flat, make_sky
"""


rule make_dark:
    """Combine the night's darks of one detector."""
    input:
        rates=lambda wildcards: PLAN.rates(wildcards.name),
        after=PLAN.after_crds,
        script=source("make_dark"),
        library=source("drs/dark", "drs/keywords", "drs/members", "drs/stack"),
    output:
        dark="calibrations/{name}.fits",
    log:
        "logs/make_dark/{name}.log",
    benchmark:
        "benchmarks/make_dark/{name}.tsv"
    wildcard_constraints:
        name=r"[a-z]+_[a-z0-9]+_dark_([a-z0-9]+_)?[0-9t]+_[0-9.]+",
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("make_dark"),
    params:
        options=options(config["make_dark"]),
        rates=lambda wildcards, input: [f"--rate={path}" for path in input.rates],
        useafter=lambda wildcards: PLAN.combinations[wildcards.name]["useafter"],
        minimum=lambda wildcards: f"--minimum={PLAN.combinations[wildcards.name]['minimum']}",
    shell:
        """
        NUMBA_NUM_THREADS={threads} python {input.script:q} \
            {params.rates:q} \
            --useafter {params.useafter:q} \
            {params.minimum} \
            {params.options} \
            --mark-refusal \
            --output {output.dark:q} \
            >{log:q} 2>&1
        """


rule make_flat:
    """Combine the night's flats of one detector and filter."""
    input:
        rates=lambda wildcards: PLAN.rates(wildcards.name),
        after=PLAN.after_crds,
        manifests=PLAN.calibration_references,
        offs=lambda wildcards: PLAN.rates_of(PLAN.minus(wildcards.name)),
        off_manifests=lambda wildcards: PLAN.references_of(PLAN.minus(wildcards.name)),
        script=source("make_flat"),
        library=source(
            "drs/calibration",
            "drs/dark",
            "drs/flat",
            "drs/keywords",
            "drs/members",
            "drs/objects",
            "drs/region",
            "drs/stack",
        ),
    output:
        flat="calibrations/{name}.fits",
    log:
        "logs/make_flat/{name}.log",
    benchmark:
        "benchmarks/make_flat/{name}.tsv"
    wildcard_constraints:
        name=r"[a-z]+_[a-z0-9]+_flat_([a-z0-9]+_)?[0-9t]+_[0-9.]+",
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("make_flat"),
    params:
        options=options(config["make_flat"]),
        offs=lambda wildcards, input: [
            *(f"--off={path}" for path in input.offs),
            *(f"--off-manifest={path}" for path in input.off_manifests),
        ],
        rates=lambda wildcards, input: [f"--rate={path}" for path in input.rates],
        manifests=lambda wildcards, input: [f"--manifest={path}" for path in input.manifests],
        useafter=lambda wildcards: PLAN.combinations[wildcards.name]["useafter"],
        minimum=lambda wildcards: f"--minimum={PLAN.combinations[wildcards.name]['minimum']}",
        cache=CACHE,
        night_cache=NIGHT_CACHE,
    shell:
        """
        NUMBA_NUM_THREADS={threads} python {input.script:q} \
            {params.rates:q} \
            {params.manifests:q} \
            {params.offs:q} \
            --cache {params.cache:q} \
            --night-cache {params.night_cache:q} \
            --useafter {params.useafter:q} \
            {params.minimum} \
            {params.options} \
            --mark-refusal \
            --output {output.flat:q} \
            >{log:q} 2>&1
        """


rule make_sky:
    """Combine dedicated sky exposures of one detector and filter."""
    input:
        rates=lambda wildcards: PLAN.rates(wildcards.name),
        after=PLAN.after_crds,
        manifests=PLAN.calibration_references,
        script=source("make_sky"),
        library=source(
            "drs/calibration",
            "drs/dark",
            "drs/flat",
            "drs/keywords",
            "drs/members",
            "drs/region",
            "drs/sky",
            "drs/stack",
        ),
    output:
        sky="calibrations/{name}.fits",
    log:
        "logs/make_sky/{name}.log",
    benchmark:
        "benchmarks/make_sky/{name}.tsv"
    wildcard_constraints:
        name=r"[a-z]+_[a-z0-9]+_sky_([a-z0-9]+_)?[0-9t]+_[0-9.]+",
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("make_sky"),
    params:
        options=options(config["make_sky"]),
        rates=lambda wildcards, input: [f"--rate={path}" for path in input.rates],
        manifests=lambda wildcards, input: [f"--manifest={path}" for path in input.manifests],
        minimum=lambda wildcards: f"--minimum={PLAN.combinations[wildcards.name]['minimum']}",
        cache=CACHE,
        night_cache=NIGHT_CACHE,
    shell:
        """
        NUMBA_NUM_THREADS={threads} python {input.script:q} \
            {params.rates:q} \
            {params.manifests:q} \
            --cache {params.cache:q} \
            --night-cache {params.night_cache:q} \
            {params.minimum} \
            {params.options} \
            --mark-refusal \
            --output {output.sky:q} \
            >{log:q} 2>&1
        """
