"""The plan of a night, before anything is reduced.

REQUIRED INPUTS:
  plan/night.json, plan/stages/{stage}.json, plan/context.json
OUTPUTS:
  plan     = plan/plan.txt, plan/plan.json
STEPS: write_plan
"""


rule write_plan:
    """Write the plan: every exposure, its products and calibrations with the reasons; nothing is reduced."""
    input:
        night="plan/night.json",
        requests=expand("plan/stages/{stage}.json", stage=PLAN.stages),
        context="plan/context.json",
        types=f"{CONFIG}/references.yaml",
        script=source("write_plan"),
        library=source(
            "drs/bestrefs",
            "drs/delivery",
            "drs/derivation",
            "drs/keywords",
            "drs/listing",
            "drs/mapping",
            "drs/metadata",
            "drs/naming",
            "drs/prediction",
        ),
    output:
        table="plan/plan.json",
        text="plan/plan.txt",
    log:
        "logs/write_plan/plan.log",
    benchmark:
        "benchmarks/write_plan/plan.tsv"
    conda:
        "../envs/reduction.yaml"
    resources:
        **NEEDS.of("write_plan"),
    params:
        requests=lambda wildcards, input: [f"--request={path}" for path in input.requests],
        cache=CACHE,
    shell:
        """
        python {input.script:q} \
            --night {input.night:q} \
            {params.requests:q} \
            --context {input.context:q} \
            --types {input.types:q} \
            --cache {params.cache:q} \
            --table {output.table:q} \
            --output {output.text:q} \
            >{log:q} 2>&1
        """
