"""Calibrated cubes of one field become one cube.

REQUIRED INPUTS:
  cubes    = level2/{obs}_LVL2_{exp}.fits      e-/s, (wavelength, y, x)
OUTPUTS:
  combined = level3/{group}_LVL3.fits          e-/s, (wavelength, y, x), with errors, weight and coverage
STEPS: combine_cubes
"""


rule combine_cubes:
    """Combine the cubes of one target."""
    input:
        cubes=lambda wildcards: PLAN.images(wildcards.group),
        after=lambda wildcards: PLAN.after_crds(f"level3/{wildcards.group}_LVL3.fits"),
        offsets=lambda wildcards: PLAN.offsets(config["combine_cubes"]["offsets"]),
        script=source("combine_cubes"),
        library=source(
            "drs/alignment",
            "drs/blotting",
            "drs/clipping",
            "drs/combination",
            "drs/cubefield",
            "drs/cubes",
            "drs/drizzling",
            "drs/keywords",
            "drs/members",
            "drs/mosaic",
            "drs/offsets",
            "drs/pixelmap",
            "drs/region",
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
        mem_mb=lambda wildcards, input, attempt: attempt * (2000 + int(2 * input.size_mb)),
        runtime=30,
    params:
        options=options(config["combine_cubes"]),
        cubes=lambda wildcards, input: [f"--cube={path}" for path in input.cubes],
    shell:
        """
        NUMBA_NUM_THREADS={threads} python {input.script:q} \
            {params.cubes:q} \
            {params.options:q} \
            --mark-refusal \
            --output {output.combined:q} \
            >{log:q} 2>&1
        """
