"""Cubes of stars, and of a fibre, become references of the sky and the optics of the spectrographs.

REQUIRED INPUTS:
  cubes    = level2/{obs}_LVL2_{exp}.fits      e-/s, (wavelength, y, x)
OUTPUTS:
  calibrations/{instrument}_{detector}_telluric_{date}_{version}.fits  TelluricModel, (1, bin)
  calibrations/{instrument}_{detector}_fibre_{date}_{version}.fits     FibreModel, (axis, bin)
  calibrations/{instrument}_{detector}_flux_{date}_{version}.fits      PhotometryModel, (1, bin)
STEPS: make_telluric, make_fibre, make_sensitivity
"""


rule make_telluric:
    """Measure the absorption of the atmosphere on the night's telluric stars."""
    input:
        cubes=lambda wildcards: PLAN.level2_of(wildcards.name),
        after=PLAN.after_crds,
        script=source("make_telluric"),
        library=source(
            "drs/airglow",
            "drs/apertures",
            "drs/baseline",
            "drs/cube",
            "drs/cubesky",
            "drs/keywords",
            "drs/members",
            "drs/skyspline",
            "drs/spectralrefs",
            "drs/starlight",
            "drs/telluric",
            "drs/wavegrid",
            "drs/wcs",
            "drs/whitelight",
        ),
    output:
        telluric="calibrations/{name}.fits",
    log:
        "logs/make_telluric/{name}.log",
    benchmark:
        "benchmarks/make_telluric/{name}.tsv"
    wildcard_constraints:
        name=r"[a-z]+_[a-z0-9]+_telluric_([a-z0-9]+_)?[0-9t]+_[0-9.]+",
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("make_telluric"),
    params:
        options=options(config["make_telluric"]),
        cubes=lambda wildcards, input: [f"--cube={path}" for path in input.cubes],
        useafter=lambda wildcards: PLAN.combinations[wildcards.name]["useafter"],
        minimum=lambda wildcards: f"--minimum={PLAN.combinations[wildcards.name]['minimum']}",
    shell:
        """
        python {input.script:q} \
            {params.cubes:q} \
            --useafter {params.useafter:q} \
            {params.minimum} \
            {params.options} \
            --mark-refusal \
            --output {output.telluric:q} \
            >{log:q} 2>&1
        """


rule make_fibre:
    """Measure what the optics disperse on the image of a white-light fibre."""
    input:
        cubes=lambda wildcards: PLAN.level2_of(wildcards.name),
        after=PLAN.after_crds,
        script=source("make_fibre"),
        library=source(
            "drs/airglow",
            "drs/apertures",
            "drs/baseline",
            "drs/cube",
            "drs/cubesky",
            "drs/dispersion",
            "drs/keywords",
            "drs/members",
            "drs/skyspline",
            "drs/spectralrefs",
            "drs/starlight",
            "drs/telluric",
            "drs/wavegrid",
            "drs/wcs",
            "drs/whitelight",
        ),
    output:
        fibre="calibrations/{name}.fits",
    log:
        "logs/make_fibre/{name}.log",
    benchmark:
        "benchmarks/make_fibre/{name}.tsv"
    wildcard_constraints:
        name=r"[a-z]+_[a-z0-9]+_fibre_([a-z0-9]+_)?[0-9t]+_[0-9.]+",
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("make_fibre"),
    params:
        options=options(config["make_fibre"]),
        cubes=lambda wildcards, input: [f"--cube={path}" for path in input.cubes],
        useafter=lambda wildcards: PLAN.combinations[wildcards.name]["useafter"],
        minimum=lambda wildcards: f"--minimum={PLAN.combinations[wildcards.name]['minimum']}",
    shell:
        """
        python {input.script:q} \
            {params.cubes:q} \
            --useafter {params.useafter:q} \
            {params.minimum} \
            {params.options} \
            --mark-refusal \
            --output {output.fibre:q} \
            >{log:q} 2>&1
        """


rule make_sensitivity:
    """Measure the sensitivity of a spectrograph on the night's standard stars."""
    input:
        cubes=lambda wildcards: PLAN.level2_of(wildcards.name),
        after=PLAN.after_crds,
        standard=lambda wildcards: PLAN.standard(wildcards.name, config["make_sensitivity"]["standards"]),
        script=source("make_sensitivity"),
        library=source(
            "drs/airglow",
            "drs/apertures",
            "drs/baseline",
            "drs/cube",
            "drs/cubesky",
            "drs/keywords",
            "drs/members",
            "drs/sensitivity",
            "drs/skyspline",
            "drs/spectralrefs",
            "drs/standard",
            "drs/starlight",
            "drs/telluric",
            "drs/wavegrid",
            "drs/wcs",
            "drs/whitelight",
        ),
    output:
        flux="calibrations/{name}.fits",
    log:
        "logs/make_sensitivity/{name}.log",
    benchmark:
        "benchmarks/make_sensitivity/{name}.tsv"
    wildcard_constraints:
        name=PLAN.flux_pattern(cubes=True),
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("make_sensitivity"),
    params:
        options=options({key: value for key, value in config["make_sensitivity"].items() if key != "standards"}),
        cubes=lambda wildcards, input: [f"--cube={path}" for path in input.cubes],
        standard=lambda wildcards, input: [f"--standard={path}" for path in input.standard],
        useafter=lambda wildcards: PLAN.combinations[wildcards.name]["useafter"],
        minimum=lambda wildcards: f"--minimum={PLAN.combinations[wildcards.name]['minimum']}",
    shell:
        """
        python {input.script:q} \
            {params.cubes:q} \
            {params.standard:q} \
            --useafter {params.useafter:q} \
            {params.minimum} \
            {params.options} \
            --mark-refusal \
            --output {output.flux:q} \
            >{log:q} 2>&1
        """
