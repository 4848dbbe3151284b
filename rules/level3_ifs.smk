"""Calibrated cubes of one field become one cube, and spectra of its sources.

REQUIRED INPUTS:
  cubes    = level2/{obs}_LVL2_{exp}.fits      e-/s or 1e-18 W/m2/um, (wavelength, y, x)
OUTPUTS:
  combined = level3/{group}_LVL3.fits          the same, (wavelength, y, x), with errors, weight and coverage
  spectra  = level3/{group}_SPEC.fits          a table per source, in the unit of the cube
  preview  = quicklook/spectra/{group}.png
  maps     = quicklook/maps/{group}.png
STEPS: combine_cubes, measure_spectra, write_maps
"""


rule combine_cubes:
    """Combine the cubes of one target."""
    input:
        cubes=lambda wildcards: PLAN.images(wildcards.group),
        after=PLAN.after_crds,
        offsets=PLAN.offsets(config["combine_cubes"]["offsets"]),
        script=source("combine_cubes"),
        library=source(
            "drs/alignment",
            "drs/blotting",
            "drs/clipping",
            "drs/combination",
            "drs/cubefield",
            "drs/cubes",
            "drs/dispersion",
            "drs/drizzling",
            "drs/keywords",
            "drs/members",
            "drs/mosaic",
            "drs/offsets",
            "drs/pixelmap",
            "drs/region",
            "drs/steepness",
            "drs/wcs",
            "drs/whitelight",
        ),
    output:
        combined="level3/{group}_LVL3.fits",
    log:
        "logs/combine_cubes/{group}.log",
    benchmark:
        "benchmarks/combine_cubes/{group}.tsv"
    wildcard_constraints:
        group=PLAN.group_pattern(cubes=True),
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("combine_cubes"),
    params:
        options=options(config["combine_cubes"]),
        cubes=lambda wildcards, input: [f"--cube={path}" for path in input.cubes],
    shell:
        """
        NUMBA_NUM_THREADS={threads} python {input.script:q} \
            {params.cubes:q} \
            {params.options} \
            --mark-refusal \
            --output {output.combined:q} \
            >{log:q} 2>&1
        """


rule measure_spectra:
    """Spectra of the sources of a cube."""
    input:
        cube="level3/{group}_LVL3.fits",
        positions=[config["measure_spectra"]["positions"]] if config["measure_spectra"]["positions"] else [],
        script=source("measure_spectra"),
        library=source(
            "drs/airglow",
            "drs/apertures",
            "drs/baseline",
            "drs/catalogue",
            "drs/cube",
            "drs/cubesky",
            "drs/plot",
            "drs/preview",
            "drs/skyspline",
            "drs/spectrumtable",
            "drs/telluric",
            "drs/wavegrid",
            "drs/wcs",
            "drs/whitelight",
        ),
    output:
        spectra="level3/{group}_SPEC.fits",
        preview="quicklook/spectra/{group}.png",
    log:
        "logs/measure_spectra/{group}.log",
    benchmark:
        "benchmarks/measure_spectra/{group}.tsv"
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("measure_spectra"),
    params:
        options=options({key: value for key, value in config["measure_spectra"].items() if key != "positions"}),
        positions=lambda wildcards, input: [f"--positions={path}" for path in input.positions],
    shell:
        """
        python {input.script:q} \
            --cube {input.cube:q} \
            {params.positions:q} \
            {params.options} \
            --preview {output.preview:q} \
            --output {output.spectra:q} \
            >{log:q} 2>&1
        """


rule write_maps:
    """Maps of a cube as a picture: its colours, and its brightest line."""
    input:
        cube="level3/{group}_LVL3.fits",
        script=source("write_maps"),
        library=source(
            "drs/airglow",
            "drs/baseline",
            "drs/colour",
            "drs/cube",
            "drs/cubesky",
            "drs/linemap",
            "drs/preview",
            "drs/skyspline",
            "drs/telluric",
            "drs/wavegrid",
        ),
    output:
        maps="quicklook/maps/{group}.png",
    log:
        "logs/write_maps/{group}.log",
    benchmark:
        "benchmarks/write_maps/{group}.tsv"
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("write_maps"),
    params:
        options=options(config["write_preview"]),
    shell:
        """
        python {input.script:q} \
            --cube {input.cube:q} \
            {params.options} \
            --output {output.maps:q} \
            >{log:q} 2>&1
        """
