"""Lamps of the spectrographs become the night's own traces and wavelengths.

REQUIRED INPUTS:
  rate     = level1/{obs}_LVL1_{exp}.fits      e-/s
  manifest = references/level2/{obs}_{exp}.json   dark, trace or rectmat, wavesol
OUTPUTS:
  calibrations/{instrument}_{detector}_trace_{date}_{version}.fits    TraceModel, (slice, edge, x), flat (y, x)
  calibrations/{instrument}_{detector}_wavesol_{date}_{version}.fits  WavelengthModel, (column, y, x), um
STEPS: make_trace, make_wavesol
"""


rule make_trace:
    """Trace the slices and make their flat from the night's flats."""
    input:
        rates=lambda wildcards: PLAN.rates(wildcards.name),
        after=PLAN.after_crds,
        manifests=PLAN.calibration_references,
        script=source("make_trace"),
        library=source(
            "drs/calibration",
            "drs/dark",
            "drs/flat",
            "drs/keywords",
            "drs/members",
            "drs/region",
            "drs/slicer",
            "drs/spectralrefs",
            "drs/stack",
            "drs/traces",
        ),
    output:
        trace="calibrations/{name}.fits",
    log:
        "logs/make_trace/{name}.log",
    benchmark:
        "benchmarks/make_trace/{name}.tsv"
    wildcard_constraints:
        name=r"[a-z]+_[a-z0-9]+_trace_([a-z0-9]+_)?[0-9t]+_[0-9.]+",
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("make_trace"),
    params:
        options=options(config["make_trace"]),
        rates=lambda wildcards, input: [f"--rate={path}" for path in input.rates],
        manifests=lambda wildcards, input: [f"--manifest={path}" for path in input.manifests],
        useafter=lambda wildcards: PLAN.combinations[wildcards.name]["useafter"],
        cache=CACHE,
        night_cache=NIGHT_CACHE,
    shell:
        """
        NUMBA_NUM_THREADS={threads} python {input.script:q} \
            {params.rates:q} \
            {params.manifests:q} \
            --cache {params.cache:q} \
            --night-cache {params.night_cache:q} \
            --useafter {params.useafter:q} \
            {params.options} \
            --mark-refusal \
            --output {output.trace:q} \
            >{log:q} 2>&1
        """


rule make_wavesol:
    """Solve the wavelengths of all spaxels by the night's arcs."""
    input:
        rates=lambda wildcards: PLAN.rates(wildcards.name),
        after=PLAN.after_crds,
        manifests=PLAN.calibration_references,
        lists=expand("{folder}/lines/{lamp}.ecsv", folder=CONFIG, lamp=("argon", "krypton", "xenon")),
        script=source("make_wavesol"),
        library=source(
            "drs/arcs",
            "drs/calibration",
            "drs/dark",
            "drs/extraction",
            "drs/flat",
            "drs/keywords",
            "drs/lenslet",
            "drs/lines",
            "drs/members",
            "drs/region",
            "drs/slicer",
            "drs/spectralrefs",
            "drs/wavesol",
        ),
    output:
        wavesol="calibrations/{name}.fits",
    log:
        "logs/make_wavesol/{name}.log",
    benchmark:
        "benchmarks/make_wavesol/{name}.tsv"
    wildcard_constraints:
        name=r"[a-z]+_[a-z0-9]+_wavesol_([a-z0-9]+_)?[0-9t]+_[0-9.]+",
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("make_wavesol"),
    params:
        options=options(config["make_wavesol"]),
        rates=lambda wildcards, input: [f"--rate={path}" for path in input.rates],
        manifests=lambda wildcards, input: [f"--manifest={path}" for path in input.manifests],
        lists=lambda wildcards, input: [f"--lines={path}" for path in input.lists],
        useafter=lambda wildcards: PLAN.combinations[wildcards.name]["useafter"],
        cache=CACHE,
        night_cache=NIGHT_CACHE,
    shell:
        """
        NUMBA_NUM_THREADS={threads} python {input.script:q} \
            {params.rates:q} \
            {params.manifests:q} \
            --cache {params.cache:q} \
            --night-cache {params.night_cache:q} \
            {params.lists:q} \
            --useafter {params.useafter:q} \
            {params.options} \
            --mark-refusal \
            --output {output.wavesol:q} \
            >{log:q} 2>&1
        """
