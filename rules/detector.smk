"""Raw bias frames and saturated flats become levels of the detector: bias, saturation, non-linearity.

REQUIRED INPUTS:
  ramps    = raw/*.fits[.gz|.fz]               reads, DN: Level 1 would have applied what is measured here
  manifest = references/level1/{obs}_{exp}.json   of the first exposure: what the reads are corrected with
OUTPUTS:
  calibrations/{instrument}_{detector}_bias_{date}_{version}.fits   BiasModel, DN, (y, x)
  calibrations/{instrument}_{detector}_saturation_{date}_{version}.fits   SaturationModel, raw DN, (y, x)
  calibrations/{instrument}_{detector}_nonlin_{date}_{version}.fits   NonlinearCorrectionModel, (n_coeff, y, x)
STEPS: make_bias, make_saturation, make_nonlin
"""


rule make_bias:
    """Combine the bias frames of one detector."""
    input:
        ramps=lambda wildcards: PLAN.raw_members(wildcards.name),
        after=PLAN.after_crds,
        manifest=lambda wildcards: PLAN.first_manifest(wildcards.name),
        script=source("make_bias"),
        library=source(
            *("drs/bias", "drs/channels", "drs/detector", "drs/exposure", "drs/keywords", "drs/linearity"),
            *("drs/photon_transfer", "drs/pixels", "drs/raw", "drs/rawset", "drs/readout", "drs/reads", "drs/refpix"),
            *("drs/region", "drs/sampling", "drs/shrinkage", "drs/signal", "drs/windows"),
        ),
    output:
        bias="calibrations/{name}.fits",
    log:
        "logs/make_bias/{name}.log",
    benchmark:
        "benchmarks/make_bias/{name}.tsv"
    wildcard_constraints:
        name=r"[a-z]+_[a-z0-9]+_bias_([a-z0-9]+_)?[0-9t]+_[0-9.]+",
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("make_bias"),
    params:
        members=lambda wildcards: PLAN.raw_options(wildcards.name),
        common=lambda wildcards: PLAN.maker_options(wildcards.name, CACHE, NIGHT_CACHE),
        options=options(config["make_bias"]),
    shell:
        """
        NUMBA_NUM_THREADS={threads} python {input.script:q} {params.members:q} \
            --manifest {input.manifest:q} {params.common} {params.options} \
            --mark-refusal --output {output.bias:q} >{log:q} 2>&1
        """


rule make_saturation:
    """Measure the level at which the pixels of one detector are full."""
    input:
        ramps=lambda wildcards: PLAN.raw_members(wildcards.name),
        after=PLAN.after_crds,
        manifest=lambda wildcards: PLAN.first_manifest(wildcards.name),
        script=source("make_saturation"),
        library=source(
            *("drs/channels", "drs/detector", "drs/exposure", "drs/keywords", "drs/linearity", "drs/photon_transfer"),
            *("drs/pixels", "drs/raw", "drs/rawset", "drs/readout", "drs/reads", "drs/refpix", "drs/region"),
            *("drs/sampling", "drs/shrinkage", "drs/signal", "drs/windows"),
        ),
    output:
        saturation="calibrations/{name}.fits",
    log:
        "logs/make_saturation/{name}.log",
    benchmark:
        "benchmarks/make_saturation/{name}.tsv"
    wildcard_constraints:
        name=r"[a-z]+_[a-z0-9]+_saturation_([a-z0-9]+_)?[0-9t]+_[0-9.]+",
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("make_saturation"),
    params:
        members=lambda wildcards: PLAN.raw_options(wildcards.name),
        common=lambda wildcards: PLAN.maker_options(wildcards.name, CACHE, NIGHT_CACHE),
        options=options(config["make_saturation"]),
    shell:
        """
        NUMBA_NUM_THREADS={threads} python {input.script:q} {params.members:q} \
            --manifest {input.manifest:q} {params.common} {params.options} \
            --mark-refusal --output {output.saturation:q} >{log:q} 2>&1
        """


rule make_nonlin:
    """Measure the non-linearity of one detector up to saturation."""
    input:
        ramps=lambda wildcards: PLAN.raw_members(wildcards.name),
        saturation=lambda wildcards: PLAN.used_by(wildcards.name),
        after=PLAN.after_crds,
        manifest=lambda wildcards: PLAN.first_manifest(wildcards.name),
        script=source("make_nonlin"),
        library=source(
            *("drs/channels", "drs/detector", "drs/exposure", "drs/keywords", "drs/linearity", "drs/photon_transfer"),
            *("drs/pixels", "drs/raw", "drs/rawset", "drs/readout", "drs/reads", "drs/refpix", "drs/region"),
            *("drs/sampling", "drs/shrinkage", "drs/signal", "drs/windows"),
        ),
    output:
        nonlin="calibrations/{name}.fits",
    log:
        "logs/make_nonlin/{name}.log",
    benchmark:
        "benchmarks/make_nonlin/{name}.tsv"
    wildcard_constraints:
        name=r"[a-z]+_[a-z0-9]+_nonlin_([a-z0-9]+_)?[0-9t]+_[0-9.]+",
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("make_nonlin"),
    params:
        members=lambda wildcards: PLAN.raw_options(wildcards.name),
        common=lambda wildcards: PLAN.maker_options(wildcards.name, CACHE, NIGHT_CACHE),
        options=options(config["make_nonlin"]),
    shell:
        """
        NUMBA_NUM_THREADS={threads} python {input.script:q} {params.members:q} --saturation {input.saturation:q} \
            --manifest {input.manifest:q} {params.common} {params.options} \
            --mark-refusal --output {output.nonlin:q} >{log:q} 2>&1
        """
