"""CRDS chooses every reference file and writes it down; the night's own calibrations are delivered to it.

REQUIRED INPUTS:
  exposures = plan/stages/{stage}.json        keywords of the exposures of a stage
  context   = plan/context.json               the CRDS context of this run
  files     = plan/cache.json                 digest of the files of the cache: a mended one is looked at again
  calibrations/{name}.fits                    masters made from the night
OUTPUTS:
  references/{stage}.json                     index: exposure -> resolved or failed, and why
  references/{obs}_{exp}.json                 manifest: file, checksum and rule of every reference
  references/level1/{obs}_{exp}.json          its part that Level 1 uses; rewritten only when the answer changes
  references/level2/{obs}_{exp}.json          its part that Level 2, or a calibration, uses beyond Level 1
  references/level3/{obs}_{exp}.json          its part that a catalogue uses: the PSF
  references/contexts/{stage}.json            context with the calibrations of the stage
STEPS: resolve_references, deliver_references; stages run detector, optics, science
"""


checkpoint resolve_references:
    """Ask CRDS for the references of all exposures of a stage, in one process."""
    input:
        exposures="plan/stages/{stage}.json",
        context=lambda wildcards: PLAN.context_before(wildcards.stage),
        files="plan/cache.json",
        types=f"{CONFIG}/references.yaml",
        script=source("resolve_references"),
        library=source("drs/bestrefs", "drs/mapping", "drs/metadata"),
    output:
        index="references/{stage}.json",
    log:
        "logs/resolve_references/{stage}.log",
    benchmark:
        "benchmarks/resolve_references/{stage}.tsv"
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("resolve_references"),
    params:
        cache=CACHE,
        night_cache=NIGHT_CACHE,
        manifests=lambda wildcards, output: Path(output.index).parent,
    shell:
        """
        python {input.script:q} \
            --exposures {input.exposures:q} \
            --context {input.context:q} \
            --types {input.types:q} \
            --cache {params.cache:q} \
            --overlay {params.night_cache:q} \
            --manifests {params.manifests:q} \
            --output {output.index:q} \
            >{log:q} 2>&1
        """


rule deliver_references:
    """Deliver the calibrations of a stage to the night's own CRDS context."""
    input:
        after=PLAN.after_crds,  # what is made again because of the answers is known before it is delivered
        references=lambda wildcards: PLAN.masters_of(wildcards.stage),
        context=lambda wildcards: PLAN.context_before(wildcards.stage),
        types=f"{CONFIG}/references.yaml",
        script=source("deliver_references"),
        library=source(
            *("drs/bestrefs", "drs/delivery", "drs/derivation", "drs/ingest"),
            *("drs/lock", "drs/mapping", "drs/metadata"),
        ),
    output:
        context="references/contexts/{stage}.json",
    log:
        "logs/deliver_references/{stage}.log",
    benchmark:
        "benchmarks/deliver_references/{stage}.tsv"
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("deliver_references"),
    params:
        references=lambda wildcards, input: list(input.references),
        cache=CACHE,
        night_cache=NIGHT_CACHE,
    shell:
        """
        python {input.script:q} \
            --tier {wildcards.stage:q} \
            --context {input.context:q} \
            --types {input.types:q} \
            --cache {params.cache:q} \
            --overlay {params.night_cache:q} \
            --leave-out \
            --output {output.context:q} \
            {params.references:q} \
            >{log:q} 2>&1
        """
