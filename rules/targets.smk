"""What can be asked for by name, besides `all` and any product's path.

REQUIRED INPUTS: products of the other files of this folder
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
        PLAN.products("level1"),


rule level2:
    """Calibrated images."""
    input:
        PLAN.products("level2"),


rule level3:
    """Combined images."""
    input:
        PLAN.products("level3"),
        PLAN.catalogs(),
        PLAN.spectra(),


rule calibrations:
    """The night's own calibrations, delivered to its CRDS context; needs no science exposure."""
    input:
        PLAN.products("calibrations"),
        f"references/contexts/{PLAN.stages[-2]}.json",


rule references:
    """What CRDS chooses for every exposure: manifests only."""
    input:
        expand("references/{stage}.json", stage=PLAN.stages),


rule quicklook:
    """Preview pictures."""
    input:
        PLAN.products("quicklook"),
        PLAN.plots(),


rule report:
    """The night's report."""
    input:
        "report.html",


rule plan:
    """Every exposure, what is made from it and with what, before anything is reduced."""
    input:
        "plan/plan.txt",
