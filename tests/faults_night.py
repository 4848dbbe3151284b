"""Disturb runs of the workflow, give the same command again, and look at the night.

`python tests/faults_night.py [--rounds N] [--seed S] [--fault NAME]...`: a small night is reduced once, undisturbed.
Each round takes some products of it away, starts the command, and does one thing to it: SIGKILL of Snakemake, of one
job, or of everything; SIGINT, SIGTERM; a full disk; a folder that cannot be written; a raw file that vanishes, is cut
or changes; a second run in the same night. Then the same command is given again, once. It must end well, every file
that was made must have the bytes of the undisturbed run, no temporary file may be left, no raw file nor the CRDS
cache be touched, and `verify_night` find nothing. A fault that the machine does not allow (a file system of its own
needs root) is left out, and told.
"""

import collections
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import click

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "scripts")]

from runs import run_snakemake, simulate, start_snakemake  # noqa: E402

from drs.provenance import hash_all  # noqa: E402
from drs.verification import verify  # noqa: E402

LONGEST_S = 1800  # of one run; what takes longer hangs
# Darks, flats and two science exposures of one detector; the shortest night with every kind of rule of the imager.
KEPT = ("TI.20240924.8*.00.fits", "TI.20240925.018*.00.fits", "TI.20240925.01984.00.fits", "TI.20240925.02076.00.fits")
KEPT += ("TI.20240925.21600.00.fits", "TI.20240925.21692.00.fits")
GIVEN = ("raw", "crds_cache", "config.yaml")
NOT_COMPARED = ("logs", "benchmarks", ".snakemake", "report.html", "plan/headers.json")  # they hold times
FULL_DISK_BYTES = 3 << 20  # what a full disk still has room for


class Night:
    """A night with what it must be in the end.

    Attributes
    ----------
    folder : Path
    digests : dict
        Path in the night -> sha256 after an undisturbed run.
    """

    def __init__(self, folder, targets=()):
        self.folder, self.targets, self.digests = folder, targets, {}

    def start(self):
        """Start the command, in a process group of its own."""
        return start_snakemake(self.folder, *self.targets, start_new_session=True)

    def finish(self):
        """Give the command and wait; return (its exit status, what it said)."""
        run = run_snakemake(self.folder, *self.targets, timeout=LONGEST_S)
        return run.returncode, run.stdout

    def list_files(self):
        """Return path in the night -> sha256 of everything that a run is compared by."""
        paths = [path for path in self.folder.rglob("*") if path.is_file()]
        names = {path: str(path.relative_to(self.folder)) for path in paths}
        kept = [path for path in paths if not {names[path], names[path].split("/")[0]} & set(NOT_COMPARED)]
        return {names[path]: sha256 for path, sha256 in hash_all(kept).items()}

    def list_made(self):
        """Return the sorted names of what a run makes, without the night's CRDS cache: that is no list of files."""
        own = [name for name in self.digests if not name.startswith("references/crds/")]
        return sorted(name for name in own if name.split("/")[0] not in (*GIVEN, "plan"))


def make_night(folder):
    """Simulate and reduce the night that is disturbed; return it."""
    simulate(folder / "whole")
    night = Night(folder / "night")
    (night.folder / "raw").mkdir(parents=True)
    for name in ("crds_cache", "config.yaml"):
        shutil.move(folder / "whole" / name, night.folder / name)
    for pattern in KEPT:
        for path in (folder / "whole/raw").glob(pattern):
            shutil.move(path, night.folder / "raw")
    shutil.rmtree(folder / "whole")
    return reduce_night(night)


def reduce_night(night):
    """Reduce a night undisturbed, and note what it is then."""
    status, text = night.finish()
    if status:
        raise click.ClickException(f"the undisturbed run fails:\n{text[-3000:]}")
    night.digests = night.list_files()
    return night


def list_family(pid):
    """Return the ids of all processes below one."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents.setdefault(int(path.read_text().rpartition(")")[2].split()[1]), []).append(int(path.parent.name))
        except OSError:  # it has ended
            continue
    below = list(parents.get(pid, ()))
    for child in below:
        below += parents.get(child, ())
    return below


def wait_for_orphans(folder):
    """Wait for jobs that outlive their Snakemake; return False where one does not end."""
    for _ in range(LONGEST_S * 5):
        if not any(_works_in(path, folder) for path in Path("/proc").glob("[0-9]*/cwd")):
            return True
        time.sleep(0.2)
    return False


def _works_in(link, folder):
    """Say whether a process works in a folder."""
    try:
        return link.readlink() == folder
    except OSError:
        return False


def sleep_into(run, rng, typical_s):
    """Sleep for a random part of a run; return False when it has ended before."""
    end = time.monotonic() + rng.uniform(0, typical_s)
    while time.monotonic() < end and run.poll() is None:
        time.sleep(0.02)
    return run.poll() is None


def kill_snakemake(night, rng, typical_s):
    """SIGKILL of Snakemake alone: its jobs go on, also while the next run goes."""
    run = night.start()
    killed = sleep_into(run, rng, typical_s)
    run.kill()
    run.wait()
    return killed


def kill_all(night, rng, typical_s):
    """SIGKILL of Snakemake and all its jobs, as when the power is cut."""
    run = night.start()
    killed = sleep_into(run, rng, typical_s)
    signal_group(run, signal.SIGKILL)
    run.wait()
    return killed


def kill_job(night, rng, typical_s):
    """SIGKILL of one process below Snakemake, as by the kernel when memory is short; Snakemake goes on."""
    run = night.start()
    sleep_into(run, rng, typical_s)
    below, victim = [], None
    while run.poll() is None and not (below := list_family(run.pid)):
        time.sleep(0.05)
    if below:
        victim = rng.choice(below)
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            victim = None
    communicate(run)
    return victim is not None


def interrupt(night, rng, typical_s):
    """SIGINT to the group, as by Ctrl-C."""
    run = night.start()
    interrupted = sleep_into(run, rng, typical_s)
    signal_group(run, signal.SIGINT)
    communicate(run)
    return interrupted


def terminate(night, rng, typical_s):
    """SIGTERM of Snakemake alone, as a batch system ends it: it waits for its jobs."""
    run = night.start()
    terminated = sleep_into(run, rng, typical_s)
    run.terminate()
    communicate(run)
    return terminated


def signal_group(run, number):
    """Send a signal to a run and its jobs, unless all have ended."""
    with suppress(ProcessLookupError):
        os.killpg(run.pid, number)


def communicate(run):
    """Read a run to its end; return what it said."""
    return run.communicate(timeout=LONGEST_S)[0]


def fill_disk(night, rng, typical_s):
    """Run on a file system that gets full."""
    if os.geteuid():
        return None
    used = sum(path.stat().st_size for path in night.folder.rglob("*") if path.is_file())
    place = night.folder.with_name("disk")
    place.mkdir(exist_ok=True)
    size = int(used * 1.5) + (8 << 20)  # blocks are larger than files
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", place], check=True)
    try:
        shutil.copytree(night.folder, place / "night", symlinks=True, copy_function=shutil.copy2)
        room = os.statvfs(place).f_bavail * os.statvfs(place).f_bsize
        filler = place / "filler"
        filler.write_bytes(bytes(max(0, room - rng.randrange(FULL_DISK_BYTES))))
        inner = Night(place / "night", night.targets)
        communicate(inner.start())
        filler.unlink()
        wait_for_orphans(inner.folder)
        return check_recovery(inner, night.digests)
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def lock_folder(night, rng, typical_s):
    """Run while one folder of products cannot be written."""
    folders = sorted({(night.folder / name).parent for name in night.list_made()} - {night.folder})
    folder = rng.choice([folder for folder in folders if folder.is_dir()])
    if os.geteuid():
        folder.chmod(0o555)
        communicate(night.start())
        folder.chmod(0o755)
        return True
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        communicate(night.start())
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
    return True


def lose_input(night, rng, typical_s):
    """Take a raw file away, cut it, or change it while the run goes; it is as before for the next run."""
    path = rng.choice(sorted((night.folder / "raw").iterdir()))
    aside = night.folder.with_name("aside.fits")
    run = night.start()
    sleep_into(run, rng, typical_s / 2)
    path.rename(aside)
    way = rng.choice(("vanish", "cut", "change"))
    if way != "vanish":
        content = bytearray(aside.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content[: len(content) // 2] if way == "cut" else content)
    communicate(run)
    if way == "vanish":
        aside.rename(path)
    else:  # transferred again: the time of a file is that of its bytes
        shutil.copyfile(aside, path)
        aside.unlink()
    return True


def run_twice(night, rng, typical_s):
    """Start two runs in one night: one gives way, neither does harm."""
    runs = [night.start()]
    time.sleep(rng.choice((0, 0, rng.uniform(0, typical_s))))
    runs.append(night.start())
    for run in runs:
        communicate(run)
    return True


FAULTS = {
    "kill_snakemake": kill_snakemake,
    "kill_all": kill_all,
    "kill_job": kill_job,
    "interrupt": interrupt,
    "terminate": terminate,
    "fill_disk": fill_disk,
    "lock_folder": lock_folder,
    "lose_input": lose_input,
    "run_twice": run_twice,
}


def take_away(night, rng):
    """Take some products of a reduced night away, so that a run has something to do; return their names."""
    names = rng.sample(night.list_made(), rng.randint(1, 4))
    for name in names:
        (night.folder / name).unlink(missing_ok=True)
    return names


def check_recovery(night, digests):
    """Give the command again and return what is wrong then, [] where all is as after an undisturbed run."""
    status, text = night.finish()
    if status:
        return [f"the same command ends with {status}: {text[-1500:]}"]
    if not wait_for_orphans(night.folder):
        return ["a job of the run before does not end"]
    found = night.list_files()
    wrong = [f"{name} has other bytes" for name in sorted(digests) if found.get(name, digests[name]) != digests[name]]
    wrong += [f"{name} is missing" for name in sorted(set(digests) - set(found))]
    wrong += [f"{name} is left over" for name in sorted(set(found) - set(digests))]
    return wrong + [str(deviation) for deviation in verify(night.folder, night.folder / "crds_cache")[0]]


def disturb(night, faults, rng, typical_s):
    """Do one round; return (fault -> how often it hit a run, was too late, or cannot be done here; what is wrong)."""
    take_away(night, rng)
    told, wrong = collections.Counter(), []
    for fault in faults:
        hit = FAULTS[fault](night, rng, typical_s)
        if isinstance(hit, list):  # it had a night of its own, and looked at it
            hit, wrong = True, wrong + hit
        told[f"{fault}: {'hit' if hit else 'left out' if hit is None else 'run had ended'}"] += 1
    return told, wrong + check_recovery(night, night.digests)


@click.command()
@click.option("--rounds", default=20, show_default=True, help="Rounds in all; the same command ends each.")
@click.option("--seed", default=1, show_default=True, help="Of the first round; each has the next one.")
@click.option("--fault", "faults", type=click.Choice(list(FAULTS)), multiple=True, help="Only these; repeat.")
@click.option("--per-round", default=1, show_default=True, help="Faults, one after the other, in each round.")
@click.option("--night", "given", type=click.Path(path_type=Path), help="A night with raw/ and crds_cache/ to use.")
def main(rounds, seed, faults, per_round, given):
    """Disturb runs and look at the night after each round; exit status 1 where one does not recover."""
    told = collections.Counter()
    with TemporaryDirectory(prefix="faults_night_") as folder:
        night = reduce_night(Night(given.resolve())) if given else make_night(Path(folder))
        kept = shutil.copytree(night.folder, Path(folder) / "kept", symlinks=True)
        typical_s = 20.0
        for number in range(seed, seed + rounds):
            rng = random.Random(number)
            chosen = [rng.choice(faults or list(FAULTS)) for _ in range(per_round)]
            begin = time.monotonic()
            hits, wrong = disturb(night, chosen, rng, typical_s)
            took_s = time.monotonic() - begin
            typical_s = 0.8 * typical_s + 0.2 * took_s / (per_round + 1)
            told += hits
            told["rounds that did not recover"] += bool(wrong)
            click.echo(f"seed {number}: {', '.join(hits)}, {took_s:.0f} s")
            for text in wrong:
                click.echo(f"  {text}")
            if wrong:
                shutil.rmtree(night.folder)
                shutil.copytree(kept, night.folder, symlinks=True)
    for what, count in [("rounds", rounds), *sorted(told.items())]:
        click.echo(f"  {count:4d} {what}")
    sys.exit(bool(told["rounds that did not recover"]))


if __name__ == "__main__":
    main()
