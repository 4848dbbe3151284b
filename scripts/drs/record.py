"""The record of a run: what it was made with, from and into; enough to make it again, and no time of writing."""

import hashlib
import platform
import shutil
import subprocess
from importlib.metadata import distributions
from itertools import filterfalse
from pathlib import Path

from drs.errors import MachineError
from drs.nightfiles import is_spectra, list_fits, list_manifests, list_products, read_plan
from drs.product import VERSION
from drs.provenance import hash_all, read_provenance
from drs.references import read_json

CODE = ("Snakefile", "rules/*.smk", "scripts/**/*", "config/**/*")
NOT_CODE = ("__pycache__",)
SHOWN = ("snakemake", "crds", "astropy", "numpy", "scipy", "numba", "photutils", "drizzle")


def make_record(folder, repo, config):
    """Return the record of a night's run.

    Parameters
    ----------
    folder : path-like
        The night, reduced.
    repo : path-like
        Code that reduced it.
    config : dict
        Every setting of the run.

    Returns
    -------
    dict
        "versions": {"drs", "python", "machine", "packages": {name: version}}; "code": {"commit", "sha256", "files"};
        "config"; "context"; "contexts": {stage: what was delivered}; "inputs", "products": {path in the night: sha256};
        "references": {name: sha256}. What products say of their inputs (PROVENANCE) is taken from there: only what
        no product was made from is read and hashed.

    Raises
    ------
    MachineError
        A raw file vanished or changed after the night was listed: the record would be of no night.
    """
    folder = Path(folder)
    plan = read_plan(folder)
    check_listed(folder)
    used = [row for path in filterfalse(is_spectra, list_fits(folder)) for row in read_provenance(path)]
    stated = {name: sha256 for _, name, sha256 in used}
    raw = {f"raw/{file}" for row in plan.exposures.values() for file in row["files"]}
    own = {*list_products(plan), *(str(path.relative_to(folder)) for path in list_fits(folder))}
    inputs = _hash(folder, {*raw, *_list_named(folder, config)}, stated)
    products = _hash(folder, {*own, *list_manifests(folder, plan)}, stated)
    here = {Path(name).name for name in (*inputs, *products)}
    return {
        "versions": list_versions(),
        "code": describe_code(repo),
        "config": config,
        "context": read_json(folder / "plan/context.json"),
        "contexts": {path.stem: read_json(path) for path in sorted((folder / "references/contexts").glob("*.json"))},
        "inputs": inputs,
        "references": {name: sha256 for name, sha256 in sorted(stated.items()) if name not in here},
        "products": products,
    }


def check_listed(folder):
    """Fail where a raw file is not as it was when the night was listed (plan/headers.json)."""
    for name, listed in read_json(folder / "plan/headers.json").items():
        path, stated = folder / "raw" / name, [listed.get(key) for key in ("size", "mtime_ns")]
        facts = path.stat() if path.exists() else None
        if None not in stated and stated != [facts and facts.st_size, facts and facts.st_mtime_ns]:
            raise MachineError(f"{path} changed after the night was listed; give the command again")


def keep_earlier(record, before):
    """Return a record that says of products which an earlier run made and nothing changed what they were made with.

    Parameters
    ----------
    record : dict
        Of `make_record`.
    before : dict
        The night's record so far; {} without.

    Returns
    -------
    dict
        The record with "earlier": [{"versions", "code": {"commit", "sha256"}, "products": names}], one entry for each
        earlier run with other versions or other code that products are left of.
    """
    same = {name for name, sha256 in record["products"].items() if before.get("products", {}).get(name) == sha256}
    kept = [*before.get("earlier", ()), {**_identify(before), "products": sorted(before.get("products", {}))}]
    earlier = []
    for entry in kept:
        names, identity = [name for name in entry["products"] if name in same], _identify(entry)
        same -= set(names)  # of the first run that names them
        if names and identity != _identify(record):
            earlier.append({**identity, "products": names})
    return record | {"earlier": earlier}


def _identify(record):
    """Return what tells runs apart: versions, and the code without the list of its files."""
    code = record.get("code", {})
    return {"versions": record.get("versions", {}), "code": {key: code.get(key) for key in ("commit", "sha256")}}


def _list_named(folder, config):
    """Return the files beside raw/ that decide about a run: the observer's, and those that settings name."""
    names = ["config.yaml", "exposures.yaml", *filter(None, _list_texts(config))]
    return [name for name in names if "\0" not in name and len(name) < 1024 and (folder / name).is_file()]


def _list_texts(value):
    """Return the texts of a setting, however deep: spectra of stars are named star by star."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [value] if isinstance(value, str) else [text for part in parts for text in _list_texts(part)]


def _hash(folder, names, stated):
    """Return name -> sha256 of the files that are there; `stated` are those that are known, by file name."""
    there = sorted(name for name in names if (folder / name).is_file())
    fresh = hash_all([folder / name for name in there if Path(name).name not in stated])
    return {name: stated.get(Path(name).name) or fresh[folder / name] for name in there}


def list_versions():
    """Return the versions of this code, of Python and of every installed package."""
    packages = {entry.metadata["Name"]: entry.version for entry in distributions()}
    return {
        "drs": VERSION,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
    }


def describe_code(repo):
    """Return the commit of the code (None outside git), the sha256 of every file of it, and that of them all."""
    repo = Path(repo)
    paths = {path for pattern in CODE for path in repo.glob(pattern) if path.is_file()}
    paths = sorted(path for path in paths if not set(NOT_CODE) & set(path.parts))
    files = {str(path.relative_to(repo)): sha256 for path, sha256 in hash_all(paths).items()}
    whole = hashlib.sha256("".join(f"{sha256}  {name}\n" for name, sha256 in files.items()).encode())
    return {"commit": _find_commit(repo), "sha256": whole.hexdigest(), "files": files}


def _find_commit(repo):
    """Return the commit that is checked out, `-dirty` where files differ from it; None without git."""
    if shutil.which("git") is None or not (repo / ".git").exists():
        return None
    command = ["git", "-C", str(repo), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return run.stdout.strip() if run.returncode == 0 else None


def summarize_record(record, defaults):
    """Return what the report shows of a record: versions, code, and settings that are not the default.

    Parameters
    ----------
    record : dict
        Of `make_record`; {} without.
    defaults : dict
        Settings of config/config.yaml.
    """
    if not record:
        return {}
    versions, code = record["versions"], record["code"]
    packages = {name.lower(): version for name, version in versions["packages"].items()}
    return {
        "versions": {"Python": versions["python"]} | {name: packages[name] for name in SHOWN if name in packages},
        "machine": versions["machine"],
        "commit": code["commit"],
        "code": code["sha256"],
        "settings": find_changed(record["config"], defaults),
        "counts": {part: len(record[part]) for part in ("inputs", "references", "products")},
    }


def find_changed(config, defaults, prefix=""):
    """Return (name of a setting, value) of all that differ from the defaults."""
    changed = []
    for key, value in sorted(config.items()):
        default = defaults.get(key)
        if isinstance(value, dict) and isinstance(default, dict):
            changed += find_changed(value, default, f"{prefix}{key}: ")
        elif value != default:
            changed.append((f"{prefix}{key}", value))
    return changed
