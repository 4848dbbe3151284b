"""Rates of the spectrographs become calibrated cubes.

REQUIRED INPUTS:
  rate     = level1/{obs}_LVL1_{exp}.fits      e-/s, (y, x)
  manifest = references/level2/{obs}_{exp}.json   dark, rectmat or trace, wavesol, telluric, flux
  sky      = level2/{obs}_LVL2_{exp}.fits      only where the plan has a sky exposure: its cube; of slices also its
             rate and manifest
OUTPUTS:
  cube     = level2/{obs}_LVL2_{exp}.fits      e-/s or 1e-18 W/m2/um, (wavelength, y, x), less the sky, with coordinates
STEPS: extract_cube (dark, shift, extraction, wavelengths, resampling, wcs, sky, telluric, flux)
  extract_slices (dark, flat, wavelengths, shift, rectification, wcs, sky, telluric, flux)
"""

OWN_OPTIONS = ("sky", "method")  # no plain options
METHOD = {"full": "chi-square", "online": "iterations"}[config["quality"]]


rule extract_cube:
    """Extract the cube of one lenslet exposure."""
    input:
        rate="level1/{obs}_LVL1_{exp}.fits",
        after=PLAN.after_crds,
        manifest=PLAN.level2_references,
        sky=lambda wildcards: PLAN.sky_cube(wildcards, config["extract_cube"]["sky"])[1],
        instrument=lambda wildcards: f"{CONFIG}/instruments/{PLAN.instrument(wildcards)}.yaml",
        lines=f"{CONFIG}/lines/oh.ecsv",
        script=source("extract_cube"),
        library=source(
            "drs/airglow",
            "drs/apertures",
            "drs/arcs",
            "drs/barycentre",
            "drs/baseline",
            "drs/calibration",
            "drs/cube",
            "drs/cubedrift",
            "drs/cubeflux",
            "drs/cubesky",
            "drs/cubewcs",
            "drs/dark",
            "drs/dispersion",
            "drs/finishing",
            "drs/flat",
            "drs/lenslet",
            "drs/lines",
            "drs/region",
            "drs/skyspline",
            "drs/spectralrefs",
            "drs/standard",
            "drs/telluric",
            "drs/wavegrid",
            "drs/wavesol",
            "drs/wcs",
            "drs/whitelight",
        ),
    output:
        cube="level2/{obs}_LVL2_{exp}.fits",
    log:
        "logs/extract_cube/{obs}_{exp}.log",
    benchmark:
        "benchmarks/extract_cube/{obs}_{exp}.tsv"
    wildcard_constraints:
        obs=PLAN.obs_pattern("lenslet"),
    conda:
        "../envs/reduction.yaml"
    threads: lambda wildcards: 2 if PLAN.megapixels(wildcards) > 1 else 1  # short jobs run side by side
    resources:
        **NEEDS.of("extract_cube"),
    params:
        sky=lambda wildcards, input: [f"--sky={path}" for path in input.sky],
        sky_method=lambda wildcards: PLAN.sky_cube(wildcards, config["extract_cube"]["sky"])[0],
        options=options({key: value for key, value in config["extract_cube"].items() if key not in OWN_OPTIONS}),
        method=METHOD if config["extract_cube"]["method"] == "auto" else config["extract_cube"]["method"],
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
            --lines {input.lines:q} \
            {params.sky:q} \
            --sky-method {params.sky_method:q} \
            --method {params.method:q} \
            {params.options} \
            --mark-refusal \
            --output {output.cube:q} \
            >{log:q} 2>&1
        """


rule extract_slices:
    """Extract the cube of one slicer exposure."""
    input:
        rate="level1/{obs}_LVL1_{exp}.fits",
        after=PLAN.after_crds,
        manifest=PLAN.level2_references,
        sky=lambda wildcards: PLAN.sky_cube(wildcards, config["extract_slices"]["sky"])[1],
        frame=lambda wildcards: PLAN.sky_frame(wildcards, config["extract_slices"]["sky"]),
        instrument=lambda wildcards: f"{CONFIG}/instruments/{PLAN.instrument(wildcards)}.yaml",
        lines=f"{CONFIG}/lines/oh.ecsv",
        script=source("extract_slices"),
        library=source(
            "drs/airglow",
            "drs/apertures",
            "drs/arcs",
            "drs/barycentre",
            "drs/baseline",
            "drs/calibration",
            "drs/cube",
            "drs/cubedrift",
            "drs/cubeflux",
            "drs/cubesky",
            "drs/cubewcs",
            "drs/dark",
            "drs/dispersion",
            "drs/finishing",
            "drs/flat",
            "drs/lines",
            "drs/region",
            "drs/shifting",
            "drs/skyspline",
            "drs/slicer",
            "drs/sliceshift",
            "drs/spectralrefs",
            "drs/standard",
            "drs/telluric",
            "drs/traces",
            "drs/wavegrid",
            "drs/wavesol",
            "drs/wcs",
            "drs/whitelight",
        ),
    output:
        cube="level2/{obs}_LVL2_{exp}.fits",
    log:
        "logs/extract_slices/{obs}_{exp}.log",
    benchmark:
        "benchmarks/extract_slices/{obs}_{exp}.tsv"
    wildcard_constraints:
        obs=PLAN.obs_pattern("slicer"),
    conda:
        "../envs/reduction.yaml"
    threads: lambda wildcards: 2 if PLAN.megapixels(wildcards) > 1 else 1  # short jobs run side by side
    resources:
        **NEEDS.of("extract_slices"),
    params:
        sky=lambda wildcards, input: [f"--sky={path}" for path in input.sky],
        frame=lambda wildcards, input: [f"--sky-{k}={v}" for k, v in zip(("rate", "manifest"), input.frame)],
        sky_method=lambda wildcards: PLAN.sky_cube(wildcards, config["extract_slices"]["sky"])[0],
        options=options({key: value for key, value in config["extract_slices"].items() if key not in OWN_OPTIONS}),
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
            --lines {input.lines:q} \
            {params.sky:q} \
            {params.frame:q} \
            --sky-method {params.sky_method:q} \
            {params.options} \
            --mark-refusal \
            --output {output.cube:q} \
            >{log:q} 2>&1
        """
