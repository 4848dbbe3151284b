"""Give the workflow hostile input.

`python tests/fuzz_night.py [--mutations 2000] [--seed 1] [--snakemake 40]`: each mutation changes one thing of a night
that was fine (a raw file, its name, exposures.yaml, associations, config.yaml, a manifest, a rule file of CRDS, a
product, the record), and runs what reads it in a child that is watched (tests/guarded.py). Whatever the input: a
message, no traceback; no file outside the night is written, no program started; the end comes soon and in bounded
memory; and all other exposures keep their place in the plan. Some go through Snakemake itself.
"""

import collections
import gc
import gzip
import json
import os
import random
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import yaml
from astropy.io import fits

HERE = Path(__file__).resolve().parent
REPO = HERE.parent
sys.path[:0] = [str(HERE), str(REPO / "scripts")]

from guarded import run_guarded  # noqa: E402
from runs import run_snakemake, simulate  # noqa: E402

import compare_nights  # noqa: E402
import fit_ramp  # noqa: E402
import list_exposures  # noqa: E402
import resolve_references  # noqa: E402
import verify_night  # noqa: E402
import write_plan  # noqa: E402
from drs.naming import options  # noqa: E402
from drs.schema import load_yaml  # noqa: E402

KEPT = ("TI.20240925.018*.00.fits", "TI.20240925.02168.00_r00?_g001.fits")
KEPT += ("TI.20240925.21600.00.fits", "TI.20240925.21784.00.fits.gz")
TARGET = "TI.20240925.01800.00.fits"  # a dark
PACKED = "TI.20240925.21784.00.fits.gz"
MARK = "hacked"
WORDS = ("", "x", "-1", "0", "1E999", "9" * 25, "T", "nan", "a'b\"", "../../../tmp/x", "/etc/passwd", "~", "*", "N/A")
WORDS += ("--output=/x", "$(touch MARK)", "`touch MARK`", "; touch MARK;", "| touch MARK", "{output}")
WORDS += ("%s%n", "a\nb", "\x1b[31m", "é" * 40, "\u202e", "x" * 5000, "__import__('os').system('touch MARK')", "None")
WORDS += ("{0.__class__}", "ANY")
VALUES = (None, True, False, 0, -1, 1e308, -1e308, 10**30, 2**63, 0.1, [], {}, [[]], {"a": {}}, [None], "2024-09-25")
DOUBLED = "".join(f"c{k}: &c{k} [{','.join([f'*c{k - 1}'] * 9)}]\n" for k in range(1, 9))  # 9**8 entries
YAML = ("&a [*a]", "!!python/object/apply:os.system ['touch MARK']", "{", "[" * 2000, "a: b: c", "\t- x", "? \n: x")
YAML += ("<<: 1", "c0: &c0 [x]\n" + DOUBLED, "\0", "%YAML 9", "---\n---", "- 1\n- 2", "text", "0x_: 1", "? [a, b]\n: c")
YAML += ("a: .nan", "a: 1\na: 2", "2024-09-25: 1", "\ufeffa: 1", "!!binary x")
CARDS = (
    b"x",
    b"-1",
    b"1E999",
    b"9" * 20,
    b"T",
    b"'x'",
    b"",
    b"(1,2)",
    b"\0",
    b"\x1b[0m",
    b"1.5",
    b"/",
    b"'",
    b"'''",
    b"0",
)
CARDS += (b"'; touch MARK'", b"'$(touch MARK)'", b"'../../../x'", b"99999999999", b"-99999", b"'{x}'", b"4294967296")


class Night:
    """A night that was planned and resolved, and what its mutated copies are run with."""

    def __init__(self, folder):
        self.base, self.folder = folder / "base", folder / "night"
        self.temporary = folder / "tmp"
        simulate(folder / "whole")
        (self.base / "raw").mkdir(parents=True)
        self.temporary.mkdir()
        shutil.move(folder / "whole/crds_cache", self.base / "crds_cache")
        shutil.copy(folder / "whole/config.yaml", self.base)
        for pattern in KEPT:
            for path in (folder / "whole/raw").glob(pattern):
                shutil.move(path, self.base / "raw")
        shutil.rmtree(folder / "whole")
        self.config = load_yaml(REPO / "config/config.yaml")
        self.prepare()

    def prepare(self):
        """Plan the night and resolve its first stage."""
        os.chdir(self.base)
        list_exposures.main(self.list_arguments(), standalone_mode=False)
        resolve_references.main(self.resolve_arguments(), standalone_mode=False)
        self.night = json.loads((self.base / "plan/night.json").read_text())
        self.accepted = {row["file"]: row["id"] for row in self.night["rows"] if row["status"] == "accepted"}
        self.row = next(row for row in self.night["rows"] if row["file"] == TARGET)

    def renew(self):
        """Make a fresh copy of the night and go there."""
        os.chdir("/")
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.base, self.folder, symlinks=True, copy_function=os.link)
        os.chdir(self.folder)

    @property
    def places(self):
        """Where a run may write."""
        return self.folder, self.temporary

    def list_arguments(self, **changes):
        """Return the arguments of list_exposures, as rules/common.smk gives them."""
        stated = {"raw": "raw", "exposures": "exposures.yaml", "plan": "plan", "cache": "crds_cache"} | changes
        return [f"--{name}={value}" for name, value in stated.items()]

    def resolve_arguments(self):
        """Return the arguments of resolve_references for the darks."""
        stated = {"exposures": "plan/stages/detector.json", "context": "plan/context.json", "cache": "crds_cache"}
        stated |= {"overlay": "references/crds", "types": REPO / "config/references.yaml", "manifests": "references"}
        return [f"--{name}={value}" for name, value in stated.items()] + ["--output=references/detector.json"]

    def plan_arguments(self):
        """Return the arguments of write_plan."""
        stages = [f"--request=plan/stages/{stage}.json" for stage in self.night["stages"]]
        stated = {"night": "plan/night.json", "context": "plan/context.json", "types": REPO / "config/references.yaml"}
        stated |= {"cache": "crds_cache", "table": "plan/plan.json", "output": "plan/plan.txt"}
        return stages + [f"--{name}={value}" for name, value in stated.items()]

    def fit_arguments(self, row):
        """Return the arguments of fit_ramp for an exposure, as rules/level1.smk gives them."""
        settings = {k: v for k, v in self.config["fit_ramp"].items() if k not in ("skip_steps", "chi_square", "seeing")}
        stated = {
            "manifest": f"references/level1/{self.row['id']}.json",
            "cache": "crds_cache",
            "night-cache": "night_crds",
        }
        stated |= {"ramp": f"raw/{row['file']}", "output": "level1/made.fits", "keys": json.dumps(row.get("keys", {}))}
        given = shlex.split(options(settings | {k: self.row["readout"][k] for k in ("border_pix", "n_channel")}))
        return [*given, *(f"--{name}={value}" for name, value in stated.items()), "--mark-refusal"]


def pick_word(rng):
    """Return a hostile text."""
    return rng.choice(WORDS).replace("MARK", MARK)


def flip_bytes(rng, content):
    """Return bytes with some of them changed, cut, or grown."""
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 20))):
        if content:
            place = rng.randrange(len(content))
            content[place] = rng.randrange(256) if rng.random() < 0.5 else content[place] ^ (1 << rng.randrange(8))
    if rng.random() < 0.25:
        del content[rng.randrange(len(content) + 1) :]
    if rng.random() < 0.05:
        content += os.urandom(8) * rng.choice((1, 360, 5000))
    return bytes(content)


def change_cards(rng, content):
    """Return a FITS file with other values in some of its cards."""
    content = bytearray(content)
    cards = [k for k in range(0, len(content), 80) if content[k + 8 : k + 10] == b"= "]
    for _ in range(rng.choice((1, 1, 2, 5))):
        place = rng.choice(cards)
        content[place + 10 : place + 80] = rng.choice(CARDS).replace(b"MARK", MARK.encode()).ljust(70)[:70]
    return bytes(content)


def mutate_document(rng, document):
    """Return a document of maps and lists with one of its values, or keys, replaced."""
    if isinstance(document, dict) and document and rng.random() < 0.9:
        key = rng.choice(sorted(document, key=str))
        if rng.random() < 0.1:
            return {(pick_word(rng) if k == key else k): v for k, v in document.items()}
        if rng.random() < 0.1:
            return {k: v for k, v in document.items() if k != key}
        return {**document, key: mutate_document(rng, document[key])}
    if isinstance(document, list) and document and rng.random() < 0.8:
        k = rng.randrange(len(document))
        return [*document[:k], mutate_document(rng, document[k]), *document[k + 1 :]]
    return rng.choice((*VALUES, pick_word(rng), pick_word(rng), pick_word(rng)))


def mutate_text(rng, text):
    """Return a text with a word of it replaced, a part of it gone, doubled, or with other bytes."""
    way = rng.choice(("word", "cut", "double", "bytes", "insert"))
    place = rng.randrange(len(text))
    if way == "cut":
        return text[:place].encode()
    if way == "double":
        return (text[:place] + text).encode()
    if way == "bytes":
        return flip_bytes(rng, text.encode())
    if way == "insert":
        return (text[:place] + pick_word(rng) + text[place:]).encode(errors="surrogatepass")
    words = text.split("'")
    k = rng.randrange(len(words))
    return "'".join([*words[:k], pick_word(rng), *words[k + 1 :]]).encode(errors="surrogatepass")


def write(path, content):
    """Write a file anew: the old one is a link to that of the night that all mutations begin with."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def reduce_target(night, name):
    """Plan the night, then fit the ramp of a file if it is accepted, else that of none."""
    list_exposures.main(night.list_arguments(), standalone_mode=False)
    rows = json.loads(Path("plan/night.json").read_text())["rows"]
    for row in rows:
        if name in row["files"] and len(row["files"]) == 1 and row["status"] == "accepted":
            fit_ramp.main(night.fit_arguments(row), standalone_mode=False)


def mutate_raw(night, rng):
    """Other bytes, cards, or sizes in a raw file."""
    name = rng.choice((TARGET, TARGET, PACKED))
    path = Path("raw", name)
    content = path.read_bytes()
    way = rng.choice(("flip", "cards", "cards", "empty", "other", "bomb"))
    plain = gzip.decompress(content) if name == PACKED else content
    if way == "flip":
        content = flip_bytes(rng, content)
    elif way == "cards":
        content = change_cards(rng, plain)
        content = gzip.compress(content) if name == PACKED and rng.random() < 0.7 else content
    elif way == "bomb":
        content = gzip.compress(plain + bytes(rng.randrange(1, 200) << 20), 1)
    else:
        content = {"empty": b"", "other": rng.choice((b"\x89PNG", b"SIMPLE  =", b"\x1f\x8b", b"#!/bin/sh\ntouch x"))}[
            way
        ]
    write(path, content)
    return [name], lambda: reduce_target(night, name)


def mutate_name(night, rng):
    """Another name, or another kind of file, in raw/."""
    word = pick_word(rng).replace("/", "_").replace("\0", "")[:150]
    path = Path("raw", f"{word}.fits")
    way = rng.choice(("rename", "folder", "fifo", "link", "dangling", "loop", "bytes"))
    if way == "rename":
        Path("raw", TARGET).rename(path)
    elif way == "folder":
        path.mkdir()
    elif way == "fifo":
        os.mkfifo(path)
    elif way in ("link", "dangling", "loop"):
        path.symlink_to({"link": "/etc/passwd", "dangling": "/nowhere", "loop": path.name}[way])
    else:
        write(Path(os.fsdecode(b"raw/\xff\xfe.fits")), b"x")
    return [TARGET], lambda: reduce_target(night, path.name)


def mutate_header(night, rng):
    """Hostile text in a keyword that names things."""
    key = rng.choice(("OBJECT", "PROGNUM", "OBSNUM", "SEMID", "FILTER", "DETECTOR", "IMTYPE", "EXPDTST", "INSTRUME"))
    word = "".join(c for c in pick_word(rng) if 32 <= ord(c) < 127)[:60]
    with fits.open(Path("raw", TARGET)) as hdus:
        hdus[0].header[key] = word
        hdus.writeto(Path("raw", TARGET), overwrite=True)
    return [TARGET], lambda: reduce_target(night, TARGET)


EXPOSURES = {
    "exclude": [{"file": TARGET, "reason": "dome light"}],
    "correct": [{"file": TARGET, "set": {"OBJECT": "other", "EXPNUM": 77}, "reason": "a mistake"}],
    "drop_reads": [{"file": TARGET, "group": 1, "reads": [7, 8], "reason": "the loops opened"}],
    "override": [{"file": TARGET, "gain": "my_gain.fits", "reason": "another gain"}],
}


def mutate_exposures(night, rng):
    """An exposures.yaml that says nonsense."""
    document = {key: EXPOSURES[key] for key in rng.sample(sorted(EXPOSURES), rng.randint(1, 2))}
    text = rng.choice(YAML).replace("MARK", MARK)
    if rng.random() < 0.75:
        text = yaml.safe_dump(mutate_document(rng, document), allow_unicode=True)
    content = text.encode(errors="surrogatepass")
    write(Path("exposures.yaml"), flip_bytes(rng, content) if rng.random() < 0.1 else content)
    return [TARGET], lambda: reduce_target(night, TARGET)


def mutate_associations(night, rng):
    """Associations of the observer that say nonsense."""
    document = mutate_document(rng, load_yaml(REPO / "config/associations.yaml"))
    write(Path("own.yaml"), (yaml.safe_dump(document, allow_unicode=True)).encode(errors="surrogatepass"))
    arguments = night.list_arguments(associations="own.yaml")
    return None, lambda: list_exposures.main(arguments, standalone_mode=False)


def mutate_manifest(night, rng):
    """A manifest that was edited."""
    path = Path(f"references/level1/{night.row['id']}.json")
    if rng.random() < 0.2:
        write(path, flip_bytes(rng, path.read_bytes()))
    else:
        write(path, (json.dumps(mutate_document(rng, json.loads(path.read_text())))).encode(errors="surrogatepass"))
    return [], lambda: fit_ramp.main(night.fit_arguments(night.row), standalone_mode=False)


def mutate_reference(night, rng):
    """A reference that was damaged."""
    manifest = json.loads(Path(f"references/level1/{night.row['id']}.json").read_text())
    entry = rng.choice([entry for entry in manifest["references"].values() if entry["file"]])
    path = Path("crds_cache/references/ligeriri/iris", entry["file"])
    write(path, rng.choice((flip_bytes, change_cards))(rng, path.read_bytes()))
    if rng.random() < 0.5:  # and was delivered like this
        from drs.references import sha1

        entry |= {"size": path.stat().st_size, "sha1": sha1(path)}
        write(Path(f"references/level1/{night.row['id']}.json"), (json.dumps(manifest)).encode(errors="surrogatepass"))
    return [], lambda: fit_ramp.main(night.fit_arguments(night.row), standalone_mode=False)


def mutate_mapping(night, rng):
    """A rule file, or the description of the cache, that was edited."""
    places = [*Path("crds_cache/mappings/ligeriri").glob("*"), Path("crds_cache/config/ligeriri/server_config")]
    path = rng.choice(sorted(places))
    write(path, mutate_text(rng, path.read_text()))

    def call():
        list_exposures.main(night.list_arguments(), standalone_mode=False)
        write_plan.main(night.plan_arguments(), standalone_mode=False)
        resolve_references.main(night.resolve_arguments(), standalone_mode=False)

    return [], call


def mutate_plan(night, rng):
    """Files that the workflow wrote and that were edited; the next run begins with them."""
    path = rng.choice(sorted(path for path in Path("plan").rglob("*") if path.is_file()))
    if path.suffix != ".json" or rng.random() < 0.2:
        write(path, flip_bytes(rng, path.read_bytes()))
    else:
        write(path, (json.dumps(mutate_document(rng, json.loads(path.read_text())))).encode(errors="surrogatepass"))

    def call():
        list_exposures.main(night.list_arguments(manifests="references"), standalone_mode=False)
        resolve_references.main(night.resolve_arguments(), standalone_mode=False)

    return [], call


def mutate_finished(night, rng):
    """A finished night whose products, record or manifests were edited: what verifies and compares reads them."""
    finished = night.folder / "finished"
    shutil.copytree(night.base.parent / "finished", finished, copy_function=os.link)
    files = [
        path for path in finished.rglob("*") if path.suffix in (".fits", ".json") and "crds_cache" not in path.parts
    ]
    path = rng.choice(sorted(files))
    if path.suffix == ".fits":
        write(path, rng.choice((flip_bytes, change_cards))(rng, path.read_bytes()))
    elif rng.random() < 0.2:
        write(path, flip_bytes(rng, path.read_bytes()))
    else:
        write(path, (json.dumps(mutate_document(rng, json.loads(path.read_text())))).encode(errors="surrogatepass"))
    if rng.random() < 0.7:
        return [], lambda: verify_night.main([str(finished)], standalone_mode=False)
    arguments = [str(night.base.parent / "finished"), str(finished)]
    return [], lambda: compare_nights.main(arguments, standalone_mode=False)


MUTATIONS = (mutate_raw, mutate_raw, mutate_raw, mutate_name, mutate_header, mutate_exposures, mutate_exposures)
MUTATIONS += (mutate_associations, mutate_manifest, mutate_reference, mutate_mapping, mutate_plan, mutate_finished)


def find_lost(night, touched):
    """Return the exposures that the mutated files do not concern and that are not planned any more."""
    rows = {file: row for row in json.loads(Path("plan/night.json").read_text())["rows"] for file in row["files"]}
    lost = []
    for file, identity in night.accepted.items():
        row = rows.get(file, {"status": "gone", "reason": ""})
        is_twin = "is claimed by" in row["reason"] and any(name in row["reason"] for name in touched)
        if file not in touched and (row["status"] != "accepted" or row["id"] != identity) and not is_twin:
            lost.append(f"{file}: {row['status']} {row['reason']}")
    return lost


def fuzz(night, seed):
    """Do one mutation; return (its kind, the outcome, what is wrong)."""
    rng = random.Random(seed)
    mutate = rng.choice(MUTATIONS)
    night.renew()
    touched, call = mutate(night, rng)
    outcome = run_guarded(call, night.places)
    wrong = [f"{outcome.kind}: {outcome.text}"] if outcome.is_violation else []
    wrong += [str(path) for path in night.folder.parent.rglob(f"*{MARK}") if path.is_file() and path.name == MARK]
    if touched and outcome.kind == "done":
        wrong += find_lost(night, touched)
    left = [str(path) for path in night.folder.rglob(".*.part")]
    return mutate.__name__.removeprefix("mutate_"), outcome, wrong + left


def fuzz_snakemake(night, seed):
    """Do one mutation of a file that Snakemake itself, or the parsing of the workflow, reads; as `fuzz`."""
    rng = random.Random(seed)
    night.renew()
    mutate = rng.choice((mutate_config, mutate_config, mutate_exposures, mutate_name, mutate_header, mutate_plan))
    mutate(night, rng)
    before = sorted(night.folder.parent.iterdir())
    run = run_snakemake(night.folder, "--dry-run", timeout=120)
    wrong = []
    if "Traceback" in run.stdout:
        wrong.append(f"traceback: {run.stdout[-2500:]}")
    if run.returncode not in (0, 1) or not run.stdout.strip():
        wrong.append(f"exit status {run.returncode}: {run.stdout[-500:]}")
    wrong += [str(path) for path in night.folder.parent.rglob(MARK)]
    if sorted(night.folder.parent.iterdir()) != before:
        wrong.append("another file beside the night")
    return f"snakemake {mutate.__name__.removeprefix('mutate_')}", run.returncode, wrong


def mutate_config(night, rng):
    """A config.yaml that says nonsense."""
    document = {key: night.config[key] for key in rng.sample(sorted(night.config), 3)} | {
        "crds": {"cache": "crds_cache"}
    }
    text = rng.choice(YAML).replace("MARK", MARK)
    if rng.random() < 0.75:
        text = yaml.safe_dump(mutate_document(rng, document), allow_unicode=True)
    write(Path("config.yaml"), text.encode(errors="surrogatepass"))


def make_fuzzed_night(folder):
    """Return the night to mutate in a folder, with a finished one beside it."""
    from finished_night import make_finished_night

    os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
    night = Night(folder)
    make_finished_night(folder / "finished")
    return night


@click.command()
@click.option("--mutations", default=2000, show_default=True, help="Mutations of what the scripts read.")
@click.option("--snakemake", default=40, show_default=True, help="Mutations that go through Snakemake.")
@click.option("--seed", default=1, show_default=True, help="Of the first mutation; each has the next one.")
def main(mutations, snakemake, seed):
    """Mutate and look; exit status 1 where anything happens that must not."""
    gc.enable()  # scripts leave it until they run
    told, here = collections.Counter(), Path.cwd()
    with TemporaryDirectory(prefix="fuzz_night_") as folder:
        night = make_fuzzed_night(Path(folder).resolve())
        for number in range(seed, seed + mutations + snakemake):
            is_dry = number >= seed + mutations
            kind, outcome, wrong = (fuzz_snakemake if is_dry else fuzz)(night, number)
            told[f"{kind}: {outcome if is_dry else outcome.kind}"] += 1
            told["VIOLATIONS"] += bool(wrong)
            for text in wrong:
                click.echo(f"seed {number} {kind}: {text}")
        os.chdir(here)
    for what, count in sorted(told.items()):
        click.echo(f"  {count:5d} {what}")
    sys.exit(bool(told["VIOLATIONS"]))


if __name__ == "__main__":
    main()
