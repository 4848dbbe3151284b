"""Reduction of a night of Liger (Keck) or IRIS (TMT): raw ramps to rates, calibrated images and mosaics.

Run in a night's directory (`snakemake -s REPO/Snakefile -d NIGHT`) that holds `raw/` and, if wanted, `config.yaml`
(overrides of config/config.yaml) and `exposures.yaml` (exclusions, corrections). README.md says more.
"""

from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")


configfile: f"{workflow.basedir}/config/config.yaml"


if Path("config.yaml").exists():

    configfile: "config.yaml"


include: "rules/common.smk"
include: "rules/references.smk"
include: "rules/level1.smk"
include: "rules/calibrations.smk"
include: "rules/level2_imager.smk"
include: "rules/level3_imager.smk"
include: "rules/quality.smk"


localrules:
    all,
    level1,
    level2,
    level3,
    calibrations,
    references,
    quicklook,
    report,
    plan,


rule all:
    """Everything: Level 3, pictures, report, and the check that nothing failed."""
    input:
        PLAN.products("level3", "level2", "calibrations", "quicklook"),
        "report.html",
        "quality/outcome.txt",


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


rule calibrations:
    """The night's own calibrations, delivered to its CRDS context; needs no science exposure."""
    input:
        PLAN.products("calibrations"),
        "references/contexts/optics.json",


rule references:
    """What CRDS chooses for every exposure: manifests only."""
    input:
        expand("references/{stage}.json", stage=PLAN.stages),


rule quicklook:
    """Preview pictures."""
    input:
        PLAN.products("quicklook"),


rule report:
    """The night's report."""
    input:
        "report.html",


rule plan:
    """Every exposure, what is made from it and with what, before anything is reduced."""
    input:
        "plan/plan.txt",


onsuccess:
    shell(
        "{PYTHON:q} {workflow.basedir:q}/scripts/list_failures.py --night plan/night.json --logs logs"
    )


onerror:
    shell(
        "{PYTHON:q} {workflow.basedir:q}/scripts/list_failures.py --night plan/night.json --logs logs"
    )
