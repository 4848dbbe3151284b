"""Reduction of a night of Liger (Keck) or IRIS (TMT): raw ramps to mosaics, cubes and spectra.

Run in a night's directory (`snakemake -s REPO/Snakefile -d NIGHT`) that holds `raw/` and, if wanted, `config.yaml`
(overrides of config/config.yaml) and `exposures.yaml` (exclusions, corrections). README.md says more.
"""

from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")


configfile: f"{workflow.basedir}/config/config.yaml"


if Path("config.yaml").exists():

    configfile: "config.yaml"


include: "rules/snakemake.smk"
include: "rules/common.smk"
include: "rules/plan.smk"
include: "rules/references.smk"
include: "rules/level1.smk"
include: "rules/detector.smk"
include: "rules/noise.smk"
include: "rules/calibrations.smk"
include: "rules/optics.smk"
include: "rules/stars.smk"
include: "rules/calibrations_ifs.smk"
include: "rules/lamps_ifs.smk"
include: "rules/level2_imager.smk"
include: "rules/level2_ifs.smk"
include: "rules/telluric_ifs.smk"
include: "rules/level3_imager.smk"
include: "rules/level3_ifs.smk"
include: "rules/quality.smk"
include: "rules/targets.smk"


localrules:  # on a cluster: seconds each, and the next stage waits for them
    all,
    resolve_references,
    deliver_references,
    write_plan,
    check_night,


rule all:
    """Everything: Level 3, pictures, report, and the check that nothing failed."""
    input:
        lambda wildcards: PLAN.products("level3", "level2", "level1", "calibrations", "quicklook", "quality"),
        lambda wildcards: PLAN.catalogs(),
        lambda wildcards: PLAN.spectra(),
        lambda wildcards: PLAN.plots(),
        lambda wildcards: expand("references/{stage}.json", stage=PLAN.stages),
        lambda wildcards: expand("references/contexts/{stage}.json", stage=PLAN.stages[:-1]),
        "plan/plan.txt",
        "run.json",
        "report.html",
        "quality/outcome.txt",


onsuccess:
    shell("python {workflow.basedir:q}/scripts/list_failures.py --night plan/night.json --logs logs")


onerror:
    shell("python {workflow.basedir:q}/scripts/list_failures.py --night plan/night.json --logs logs")
