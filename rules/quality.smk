"""Numbers, pictures and report: what an observer looks at.

REQUIRED INPUTS:
  product  = {level}/{product}.fits            level1, calibrations, level2, level3
  plan/night.json, plan/plan.json, plan/context.json, references/{stage}.json
OUTPUTS:
  quality  = quality/{level}/{product}.json
  preview  = quicklook/{level}/{product}.png
  record   = run.json
  report   = report.html
  outcome  = quality/outcome.txt               only when nothing failed
STEPS: measure_quality, write_preview, write_record, write_report, check_night
"""


rule measure_quality:
    """Measure the quality numbers of one product."""
    input:
        product="{level}/{product}.fits",
        after=PLAN.after_crds,
        script=source("measure_quality"),
        library=source("drs/quality", "drs/wcs", "drs/whitelight"),
    output:
        quality="quality/{level}/{product}.json",
    log:
        "logs/measure_quality/{level}/{product}.log",
    benchmark:
        "benchmarks/measure_quality/{level}/{product}.tsv"
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("measure_quality"),
    params:
        options=options(config["measure_quality"]),
    shell:
        """
        python {input.script:q} \
            --product {input.product:q} \
            {params.options} \
            --output {output.quality:q} \
            >{log:q} 2>&1
        """


rule write_preview:
    """Write a picture of one product."""
    input:
        product="{level}/{product}.fits",
        after=PLAN.after_crds,
        script=source("write_preview"),
        library=source("drs/preview", "drs/wcs", "drs/whitelight"),
    output:
        preview="quicklook/{level}/{product}.png",
    log:
        "logs/write_preview/{level}/{product}.log",
    benchmark:
        "benchmarks/write_preview/{level}/{product}.tsv"
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("write_preview"),
    params:
        options=options(config["write_preview"]),
    shell:
        """
        python {input.script:q} \
            --product {input.product:q} \
            {params.options} \
            --output {output.preview:q} \
            >{log:q} 2>&1
        """


rule write_record:
    """Write the record of the run: versions, settings, contexts, sha256 of inputs and products."""
    input:
        night="plan/night.json",
        headers="plan/headers.json",
        context="plan/context.json",
        indexes=lambda wildcards: PLAN.indexes(),
        deliveries=expand("references/contexts/{stage}.json", stage=PLAN.stages[:-1]),
        products=lambda wildcards: PLAN.products("level1", "calibrations", "level2", "level3"),
        measured=lambda wildcards: [*PLAN.catalogs(), *PLAN.spectra()],
        script=source("write_record"),
        library=source("drs/keywords", "drs/naming", "drs/nightfiles", "drs/plan", "drs/provenance", "drs/record"),
    output:
        record=update("run.json"),  # it says of products of earlier runs what those were made with
    log:
        "logs/write_record/run.log",
    benchmark:
        "benchmarks/write_record/run.tsv"
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("write_record"),
    params:
        config=f"--config={json.dumps(config, sort_keys=True)}",
    shell:
        """
        python {input.script:q} \
            --night {input.night:q} \
            {params.config:q} \
            --output {output.record:q} \
            >{log:q} 2>&1
        """


rule write_report:
    """Write the night's report: one page that opens offline."""
    input:
        night="plan/night.json",
        plan="plan/plan.json",
        context="plan/context.json",
        record="run.json",
        indexes=lambda wildcards: PLAN.indexes(),
        qualities=lambda wildcards: PLAN.products("quality"),
        previews=lambda wildcards: [*PLAN.products("quicklook"), *PLAN.plots()],
        template=f"{workflow.basedir}/scripts/drs/templates/report.html",
        script=source("write_report"),
        library=source(
            *("drs/keywords", "drs/naming", "drs/nightfiles", "drs/plan", "drs/preview", "drs/provenance"),
            *("drs/record", "drs/report"),
        ),
    output:
        report="report.html",
    log:
        "logs/write_report/report.log",
    benchmark:
        "benchmarks/write_report/report.tsv"
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("write_report"),
    params:
        qualities=lambda wildcards, input: [f"--quality={path}" for path in input.qualities],
        previews=lambda wildcards, input: [f"--preview={path}" for path in input.previews],
    shell:
        """
        python {input.script:q} \
            --night {input.night:q} \
            --plan {input.plan:q} \
            --context {input.context:q} \
            --record {input.record:q} \
            --manifests references \
            {params.qualities:q} \
            {params.previews:q} \
            --benchmarks benchmarks \
            --logs logs \
            --output {output.report:q} \
            >{log:q} 2>&1
        """


rule check_night:
    """Fail, when all else is done, if a product was refused or an exposure has no references."""
    input:
        night="plan/night.json",
        indexes=lambda wildcards: PLAN.indexes(),
        qualities=lambda wildcards: PLAN.products("quality"),
        deliveries=expand("references/contexts/{stage}.json", stage=PLAN.stages[:-1]),
        report="report.html",
        script=source("check_night"),
    output:
        outcome="quality/outcome.txt",
    log:
        "logs/check_night/outcome.log",
    benchmark:
        "benchmarks/check_night/outcome.tsv"
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("check_night"),
    params:
        indexes=lambda wildcards, input: [f"--index={path}" for path in input.indexes],
        qualities=lambda wildcards, input: [f"--quality={path}" for path in input.qualities],
        deliveries=lambda wildcards, input: [f"--delivery={path}" for path in input.deliveries],
        strict="--strict" if config["strict"] else "",
    shell:
        """
        python {input.script:q} \
            --night {input.night:q} \
            {params.indexes:q} \
            {params.qualities:q} \
            {params.deliveries:q} \
            {params.strict} \
            --output {output.outcome:q} \
            >{log:q} 2>&1
        """
