"""What the other files of this folder share; the checked configuration, the plan of the night, and where things are.

REQUIRED INPUTS: raw/*.fits[.gz|.fz]
OUTPUTS: plan/night.json (exposures and their associations), plan/context.json, plan/stages/{stage}.json
"""

import json
import os
import shlex
import subprocess
import sys
from functools import cache

from snakemake.exceptions import IncompleteCheckpointException, WorkflowError

sys.path.insert(0, f"{workflow.basedir}/scripts")

from drs.code import digest_path, write_digest
from drs.files import read_night, write_night
from drs.lock import hold_night
from drs.needs import Needs
from drs.naming import options
from drs.plan import Plan
from drs.schema import find_problems

if problems := find_problems(f"{workflow.basedir}/config/schema.yaml", dict(config)):
    raise WorkflowError("config.yaml: " + "; ".join(problems))

CONFIG, NIGHT_CACHE = f"{workflow.basedir}/config", "references/crds"
CACHE = config["crds"]["cache"] or os.environ.get("CRDS_PATH", "crds_cache")
NEEDS = Needs(f"{CONFIG}/resources.yaml")
HELD = hold_night(".") if workflow.is_main_process else None  # until this process ends


def source(*names):
    """Return a script, or a file that stands for library modules: code is an input, an edit reruns its products."""
    if not names[0].startswith("drs/"):
        return f"{workflow.basedir}/scripts/{names[0]}.py"
    if workflow.is_main_process:
        write_digest(names, f"{workflow.basedir}/scripts")
    return digest_path(names)


def find_night():
    """Return the night's plan; the main process brings it up to date first, jobs only read it."""
    if workflow.is_main_process:
        stated = {"raw": "raw", "exposures": "exposures.yaml", "plan": "plan", "manifests": "references"}
        stated |= {"associations": config["associations"] or f"{CONFIG}/associations.yaml", **config["crds"]}
        stated |= {"instruments": f"{CONFIG}/instruments", "override": json.dumps(config["override"]), "cache": CACHE}
        command = [sys.executable, source("list_exposures"), *shlex.split(options(stated))]
        run = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if run.returncode:
            raise WorkflowError(run.stderr.strip().removeprefix("Error: "))
        write_night("plan/night.marshal", json.loads(Path("plan/night.json").read_text()))
    return read_night("plan/night.marshal")


@cache
def ask_crds(stage, n_answered):
    """Ask CRDS for the references of a stage: a checkpoint, so that the plan can depend on its answer, the index."""
    try:
        return ancient(checkpoints.resolve_references.get(stage=stage).output.index)
    except IncompleteCheckpointException as waiting:
        return waiting


PLAN = Plan(find_night(), lambda stage: ask_crds(stage, len(checkpoints.created_output)))

if not workflow.deployment_settings.deployment_method:  # without conda, jobs take the Python that runs Snakemake
    shell.prefix(f"PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; ")


wildcard_constraints:
    stage="bias|linearity|transfer|detector|optics|wavelengths|sky|flux|science",
    obs=r"[0-9]{4}[AB]-[A-Za-z0-9]+-[A-Za-z0-9]+_(IRIS|Liger)_[A-Z0-9]+_[A-Z0-9]+",
    exp=r"[0-9]{4,5}-[0-9]{2}",
    name=r"(iris|liger)_[a-z0-9]+_[a-z]+_([a-z0-9]+_)?[0-9]{8}t[0-9]{6}_[0-9.]+",
    group=r"[A-Za-z0-9.+_-]+",
    level="level1|level2|level3|calibrations",
    product=r"[A-Za-z0-9.+_-]+",
