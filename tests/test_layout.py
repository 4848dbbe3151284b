"""The promises of the layout: one name per step everywhere, small files, code as input, docs for every setting."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from drs.schema import load_yaml

REPO = Path(__file__).resolve().parents[1]
SCRIPTS = REPO / "scripts"
RULE_FILES = sorted((REPO / "rules").glob("*.smk"))
TARGETS = ("all", "level1", "level2", "level3", "calibrations", "references", "quicklook", "report", "plan")
TOOLS = ("simulate_night", "list_exposures", "list_failures", "lcrds", "write_specs", "import_cache", "get_reference")
TOOLS += ("list_affected", "list_candidates", "update_references", "sync_references", "serve_references")
TOOLS += ("verify_night", "compare_nights")
VERBS = ("make", "calibrate", "fit", "subtract", "divide", "trace", "solve", "extract", "build", "combine", "correct")
VERBS += ("measure", "write", "resolve", "deliver", "check", "list", "simulate")
AFTER_ALL = {"write_record", "write_report", "check_night"}
# What every product goes through; an edit there is a change of format, not of an algorithm.
BORDER = {"cli", "errors", "schema", "product", "serial", "planes", "headers", "dq", "files", "image", "references"}
CEILINGS = {
    "Snakefile": 80,
    "rules/*.smk": 200,
    "rules/common.smk": 80,
    "scripts/*.py": 120,
    "scripts/*/*.py": 400,
    "README.md": 120,
}


def read_rules():
    """Return rule -> text of its body, of all rule files."""
    rules = {}
    for path in [REPO / "Snakefile", *RULE_FILES]:
        parts = re.split(r"^(?:rule|checkpoint) (\w+):\n", path.read_text(), flags=re.M)
        rules |= dict(zip(parts[1::2], parts[2::2], strict=True))
    return rules


RULES = read_rules()
STEPS = sorted(set(RULES) - set(TARGETS))


def test_the_rules_are_found():
    assert {"fit_ramp", "resolve_references", "combine_images", "write_report"} <= set(STEPS)
    assert set(TARGETS) <= set(RULES)


@pytest.mark.parametrize("step", STEPS)
def test_a_step_has_one_name_in_every_place(step):
    body = RULES[step]
    assert step.split("_")[0] in VERBS
    assert (SCRIPTS / f"{step}.py").exists()
    assert (REPO / "tests" / "scripts" / f"test_{step}.py").exists()
    assert f"\n## {step}\n" in (REPO / "rules" / "README.md").read_text()
    assert f'script=source("{step}")' in body
    assert f'"logs/{step}/' in body
    assert f'"benchmarks/{step}/' in body
    assert body.lstrip().startswith('"""')
    assert step in (REPO / "CHANGELOG.md").read_text()


def test_every_script_is_a_step_or_a_tool_and_has_a_test():
    scripts = {path.stem for path in SCRIPTS.glob("*.py")}
    assert scripts == set(STEPS) | set(TOOLS)
    for tool in set(TOOLS) - {"lcrds"}:
        assert (REPO / "tests" / "scripts" / f"test_{tool}.py").exists()


def test_every_library_module_has_a_test():
    untested = {"cli", "errors", "image", "prediction"}  # seen by every test of a script; prediction by write_plan's
    modules = {path.stem for path in (SCRIPTS / "drs").glob("*.py")} - {"__init__"}
    tests = {path.stem.removeprefix("test_") for path in (REPO / "tests" / "library").glob("test_*.py")}
    assert modules - tests <= untested, modules - tests - untested


def test_make_test_runs_every_test():
    (named,) = re.findall(r"^TESTS \?= (.*)$", (REPO / "Makefile").read_text(), flags=re.M)
    named = re.sub(r"\$\(wildcard (\S+)\)", r"\1", named).split()
    run = {path for name in named for found in REPO.glob(name) for path in [found, *found.rglob("test_*.py")]}
    assert set((REPO / "tests").rglob("test_*.py")) <= run


def test_sections_of_the_configuration_are_steps():
    config = yaml.safe_load((REPO / "config" / "config.yaml").read_text())
    sections = {key for key, value in config.items() if isinstance(value, dict)} - {"crds", "override"}
    assert sections <= set(STEPS)
    for step in sections:
        for key in config[step]:
            passed = f'options(config["{step}"])' in RULES[step] or f'config["{step}"].items()' in RULES[step]
            stated = f'"--{key.replace("_", "-")}"' in (SCRIPTS / f"{step}.py").read_text()
            assert (passed and stated) or f'"{key}"' in RULES[step], (step, key)


def imported_modules(path):
    """Return the modules of drs that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "drs":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("drs."):
            names.add(node.module.split(".")[1])
    return {name for name in names if (SCRIPTS / "drs" / f"{name}.py").exists()}


def test_what_depends_on_crds_waits_for_its_answer():
    """Snakemake otherwise starts a job with the answer of before, where an edit will change it."""
    without = {step for step in STEPS if not re.search(r"^        after=PLAN.after_crds,", RULES[step], flags=re.M)}
    assert without == AFTER_ALL | {"resolve_references", "write_plan", "measure_spectra", "write_maps"}


@pytest.mark.parametrize("step", STEPS)
def test_the_library_of_a_rule_is_what_its_script_uses(step):
    wanted, used = imported_modules(SCRIPTS / f"{step}.py"), set()
    while wanted:
        module = wanted.pop()
        used.add(module)
        wanted |= imported_modules(SCRIPTS / "drs" / f"{module}.py") - used
    assert set(re.findall(r'"drs/(\w+)"', RULES[step])) == used - BORDER


@pytest.mark.parametrize("pattern", CEILINGS)
def test_files_stay_small(pattern):
    long = {path.name: len(path.read_text().splitlines()) for path in REPO.glob(pattern)}
    assert long
    assert {name: lines for name, lines in long.items() if lines > CEILINGS[pattern]} == {}


def test_functions_stay_small():
    for path in SCRIPTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                assert lines <= 60, f"{path.name}: {node.name} has {lines} lines"
                is_command = any("cli." in ast.unparse(decorator) for decorator in node.decorator_list)
                names = {argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)} - {"self"}
                arguments = len(names)
                assert is_command or arguments <= 8, f"{path.name}: {node.name} has {arguments} arguments"


def test_scripts_know_neither_snakemake_nor_print():
    for path in SCRIPTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "snakemake" for name in imported), path


@pytest.mark.parametrize("path", sorted((REPO / "envs").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_conda_environment_has_the_versions_of_the_lock(path):
    locked = dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", (REPO / "requirements.lock").read_text(), flags=re.M))
    locked["snakemake-minimal"] = locked["snakemake"]  # the name of the same without what renders its reports
    packages = load_yaml(path)["dependencies"]
    pinned = dict(re.split(r" ?==?", entry) for entry in packages if isinstance(entry, str) and "=" in entry)
    pinned |= dict(entry.split("==") for entry in packages[-1]["pip"])
    assert pinned.pop("python") == "3.11"
    assert pinned.items() <= locked.items()
    imported = {name for script in SCRIPTS.rglob("*.py") for name in find_packages(script)}
    distributions = {"PIL": "pillow", "yaml": "pyyaml", "erfa": "pyerfa"}
    assert {distributions.get(name, name) for name in imported} <= set(pinned)


def find_packages(path):
    """Return the packages, other than ours and Python's, that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names |= {alias.name.split(".")[0] for alias in node.names} if isinstance(node, ast.Import) else set()
        names |= {node.module.split(".")[0]} if isinstance(node, ast.ImportFrom) and not node.level else set()
    return names - set(sys.stdlib_module_names) - {"drs", "crds_ligeriri"}


def test_workflow_is_lint_free(tmp_path):
    night = tmp_path / "night"
    subprocess.run([sys.executable, SCRIPTS / "simulate_night.py", night, "--preset=tiny"], check=True)
    command = [Path(sys.executable).with_name("snakemake"), "-s", REPO / "Snakefile", "-d", night, "--lint"]
    run = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "your workflow is in a good condition" in run.stdout + run.stderr


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*_*.py")), ids=lambda path: path.stem)
def test_every_script_explains_itself(script):
    run = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, check=True)
    assert "Usage: " in run.stdout
    assert "--" in run.stdout
