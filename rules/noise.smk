"""Raw flats and darks become gain, read noise and bad pixels of the detector.

REQUIRED INPUTS:
  ramps    = raw/*.fits[.gz|.fz]               reads, DN: Level 1 would have applied what is measured here
  manifest = references/level1/{obs}_{exp}.json   of the first exposure: what the reads are corrected with
  rate     = level1/{obs}_LVL1_{exp}.fits      e-/s, for the bad pixels
OUTPUTS:
  calibrations/{instrument}_{detector}_gain_{date}_{version}.fits   GainModel, e-/DN, (y, x)
  calibrations/{instrument}_{detector}_readnoise_{date}_{version}.fits   ReadNoiseModel, e-, (y, x)
  calibrations/{instrument}_{detector}_dq_{date}_{version}.fits   DQModel, (y, x)
STEPS: make_gain, make_readnoise, make_dq
"""


rule make_gain:
    """Measure the gain of one detector: photon transfer of flats, read noise of darks."""
    input:
        ramps=lambda wildcards: PLAN.raw_members(wildcards.name),
        darks=lambda wildcards: PLAN.raw_members(wildcards.name, "further"),
        after=PLAN.after_crds,
        manifest=lambda wildcards: PLAN.first_manifest(wildcards.name),
        script=source("make_gain"),
        library=source(
            *("drs/channels", "drs/detector", "drs/exposure", "drs/keywords", "drs/linearity", "drs/photon_transfer"),
            *("drs/pixels", "drs/raw", "drs/rawset", "drs/readout", "drs/reads", "drs/refpix", "drs/region"),
            *("drs/sampling", "drs/shrinkage", "drs/signal", "drs/windows"),
        ),
    output:
        gain="calibrations/{name}.fits",
    log:
        "logs/make_gain/{name}.log",
    benchmark:
        "benchmarks/make_gain/{name}.tsv"
    wildcard_constraints:
        name=r"[a-z]+_[a-z0-9]+_gain_([a-z0-9]+_)?[0-9t]+_[0-9.]+",
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("make_gain"),
    params:
        members=lambda wildcards: PLAN.raw_options(wildcards.name),
        darks=lambda wildcards: PLAN.raw_options(wildcards.name, "further", "dark"),
        common=lambda wildcards: PLAN.maker_options(wildcards.name, CACHE, NIGHT_CACHE),
        minimum_dark=lambda wildcards: f"--minimum-dark={PLAN.combinations[wildcards.name]['further_minimum']}",
        options=options(config["make_gain"]),
    shell:
        """
        NUMBA_NUM_THREADS={threads} python {input.script:q} {params.members:q} {params.darks:q} {params.minimum_dark} \
            --manifest {input.manifest:q} {params.common} {params.options} \
            --mark-refusal --output {output.gain:q} >{log:q} 2>&1
        """


rule make_readnoise:
    """Measure the noise of a read of one detector from its darks."""
    input:
        ramps=lambda wildcards: PLAN.raw_members(wildcards.name, "further"),
        gain=lambda wildcards: PLAN.used_by(wildcards.name),
        after=PLAN.after_crds,
        manifest=lambda wildcards: PLAN.first_manifest(wildcards.name),
        script=source("make_readnoise"),
        library=source(
            *("drs/channels", "drs/detector", "drs/exposure", "drs/keywords", "drs/linearity", "drs/photon_transfer"),
            *("drs/pixels", "drs/raw", "drs/rawset", "drs/readout", "drs/reads", "drs/refpix", "drs/region"),
            *("drs/sampling", "drs/shrinkage", "drs/signal", "drs/windows"),
        ),
    output:
        noise="calibrations/{name}.fits",
    log:
        "logs/make_readnoise/{name}.log",
    benchmark:
        "benchmarks/make_readnoise/{name}.tsv"
    wildcard_constraints:
        name=r"[a-z]+_[a-z0-9]+_readnoise_([a-z0-9]+_)?[0-9t]+_[0-9.]+",
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("make_readnoise"),
    params:
        members=lambda wildcards: PLAN.raw_options(wildcards.name, "further"),
        common=lambda wildcards: PLAN.maker_options(wildcards.name, CACHE, NIGHT_CACHE, "further_minimum"),
        options=options(config["make_readnoise"]),
    shell:
        """
        NUMBA_NUM_THREADS={threads} python {input.script:q} {params.members:q} --gain {input.gain:q} \
            --manifest {input.manifest:q} {params.common} {params.options} \
            --mark-refusal --output {output.noise:q} >{log:q} 2>&1
        """


rule make_dq:
    """Find the bad pixels of one detector."""
    input:
        ramps=lambda wildcards: PLAN.raw_members(wildcards.name),
        rates=lambda wildcards: PLAN.rates(wildcards.name),
        flats=lambda wildcards: PLAN.rates(wildcards.name, "further"),
        after=PLAN.after_crds,
        manifest=lambda wildcards: PLAN.first_manifest(wildcards.name),
        script=source("make_dq"),
        library=source(
            *("drs/badpixels", "drs/channels", "drs/detector", "drs/exposure", "drs/flat", "drs/keywords"),
            *("drs/linearity", "drs/members", "drs/photon_transfer", "drs/pixels", "drs/raw", "drs/rawset"),
            *("drs/readout", "drs/reads", "drs/refpix", "drs/region", "drs/sampling", "drs/shrinkage", "drs/signal"),
            *("drs/stack", "drs/windows"),
        ),
    output:
        dq="calibrations/{name}.fits",
    log:
        "logs/make_dq/{name}.log",
    benchmark:
        "benchmarks/make_dq/{name}.tsv"
    wildcard_constraints:
        name=r"[a-z]+_[a-z0-9]+_dq_([a-z0-9]+_)?[0-9t]+_[0-9.]+",
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("make_dq"),
    params:
        members=lambda wildcards: PLAN.raw_options(wildcards.name),
        rates=lambda wildcards: [f"--rate={path}" for path in PLAN.rates(wildcards.name)],
        flats=lambda wildcards: [f"--flat={path}" for path in PLAN.rates(wildcards.name, "further")],
        common=lambda wildcards: PLAN.maker_options(wildcards.name, CACHE, NIGHT_CACHE),
        minimum_flat=lambda wildcards: f"--minimum-flat={PLAN.combinations[wildcards.name]['further_minimum']}",
        options=options(config["make_dq"]),
    shell:
        """
        NUMBA_NUM_THREADS={threads} python {input.script:q} {params.members:q} {params.rates:q} {params.flats:q} {params.minimum_flat} \
            --manifest {input.manifest:q} {params.common} {params.options} \
            --mark-refusal --output {output.dq:q} >{log:q} 2>&1
        """
