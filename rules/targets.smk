"""What can be asked for by name, besides `all` and any product's path.

REQUIRED INPUTS: products of the other files of this folder; by functions, as jobs on a cluster read these lines
                 again and need none of them
OUTPUTS: none of its own
"""


localrules:
    level1,
    level2,
    level3,
    calibrations,
    references,
    quicklook,
    report,
    plan,


rule level1:
    """Rates of all exposures."""
    input:
        lambda wildcards: PLAN.products("level1"),


rule level2:
    """Calibrated images."""
    input:
        lambda wildcards: PLAN.products("level2"),


rule level3:
    """Combined images."""
    input:
        lambda wildcards: PLAN.products("level3"),
        lambda wildcards: PLAN.catalogs(),
        lambda wildcards: PLAN.spectra(),


rule calibrations:
    """The night's own calibrations, delivered to its CRDS context; needs no science exposure."""
    input:
        lambda wildcards: PLAN.products("calibrations"),
        f"references/contexts/{PLAN.stages[-2]}.json",


rule references:
    """What CRDS chooses for every exposure: manifests only."""
    input:
        expand("references/{stage}.json", stage=PLAN.stages),


rule quicklook:
    """Preview pictures."""
    input:
        lambda wildcards: PLAN.products("quicklook"),
        lambda wildcards: PLAN.plots(),


rule report:
    """The night's report."""
    input:
        "report.html",


rule plan:
    """Every exposure, what is made from it and with what, before anything is reduced."""
    input:
        "plan/plan.txt",
