"""Kill Slurm while it reduces a night: `python tests/kill_slurm.py [--rounds 5] [--seed 1]`, as root.

Each round reduces a small night on a Slurm of two nodes; at a random moment a daemon (a slurmd, or slurmctld) is ended
by SIGKILL and started again some seconds later. Where the run then fails, or hangs (the plugin forgets its jobs when it
cannot ask for their state), it is killed too and the same command given again, twice at most. It must complete;
every Level 1 and 2 product must have the bytes of a local run, no temporary file remain.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "scripts")]

from runs import run_snakemake, simulate, start_snakemake  # noqa: E402

IDLE_S = 60  # without a job in Slurm: longer than any local step, or any wait between two questions
RAW = ("21600", "21692")  # of the tiny night: two exposures of a field
DAEMONS = {"slurmd.n1": ("slurmd", "-N", "n1"), "slurmd.n2": ("slurmd", "-N", "n2"), "slurmctld": ("slurmctld",)}
OPTIONS = (
    f"--profile={HERE.parent}/config/profiles/slurm",
    "--slurm-status-command=squeue",
    "--slurm-init-seconds-before-status-checks=1",
    "--latency-wait=5",
)


def make_night(folder):
    """Make the small night."""
    full = simulate(folder / "full")
    night = folder / "night"
    shutil.copytree(full, night, ignore=shutil.ignore_patterns("truth", "raw"))
    (night / "raw").mkdir()
    for second in RAW:
        shutil.copy(full / f"raw/TI.20240925.{second}.00.fits", night / "raw")
    return night


def read_products(night):
    """Return name -> bytes of the products."""
    return {path.name: path.read_bytes() for path in night.glob("level[12]/*.fits")}


def kill_and_restart(cluster, daemon, pause_s):
    """End a daemon by SIGKILL, wait, and start it again."""
    os.kill(int((cluster / f"run/{daemon}.pid").read_text()), signal.SIGKILL)
    time.sleep(pause_s)
    (cluster / f"run/{daemon}.pid").unlink(missing_ok=True)
    subprocess.run(DAEMONS[daemon], check=True, env=os.environ | {"PATH": os.environ["PATH"] + ":/usr/sbin"})


def mend_cluster():
    """Do what an administrator does: release held jobs, take nodes back.

    A slurmctld that was killed before it saved that a job had started starts it again; the node refuses the double.
    """
    squeue = ["squeue", "--noheader", "--format=%i %r"]
    queue = subprocess.run(squeue, capture_output=True, text=True, check=False).stdout
    held = [line.split()[0] for line in queue.splitlines() if "held" in line]
    for job in held:
        subprocess.run(["scontrol", "update", "NodeName=n1,n2", "State=RESUME"], check=False, capture_output=True)
        subprocess.run(["scontrol", "release", job], check=False)


def wait_for(run):
    """Wait for the end of a run; return its text, and True where it goes on without a job in Slurm and is ended."""
    idle_s = 0
    while idle_s < IDLE_S:
        try:
            return run.communicate(timeout=2)[0], False
        except subprocess.TimeoutExpired:
            queue = subprocess.run(["squeue", "--noheader"], capture_output=True, text=True, check=False)
            idle_s = 0 if queue.stdout or queue.returncode else idle_s + 2
            mend_cluster()
    run.kill()
    return run.communicate()[0], True


def run_round(night, cluster, rng, span_s, kind):
    """Reduce a night through one kill; return (daemon, moment in s, how often the command was given, hung)."""
    daemon = rng.choice([name for name in sorted(DAEMONS) if name.startswith(kind)])
    moment_s, pause_s = rng.uniform(1, span_s), rng.uniform(1, 20)
    with start_snakemake(night, "level2", *OPTIONS) as run:
        time.sleep(moment_s)
        kill_and_restart(cluster, daemon, pause_s)
        text, hung = wait_for(run)
    code, given = run.returncode, 1
    while code and given < 3:
        again = run_snakemake(night, "level2", *OPTIONS)
        code, text, given = again.returncode, again.stdout, given + 1
    if code:
        sys.exit(f"{daemon} killed after {moment_s:.1f} s: not complete after {given} commands\n{text[-3000:]}")
    return daemon, moment_s, given, hung


@click.command()
@click.option("--rounds", default=5, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--span", "span_s", default=40.0, show_default=True, help="Kills are within these first seconds.")
@click.option("--daemon", type=click.Choice(["slurmd", "slurmctld"]), default="", help="Kill only these.")
def main(rounds, seed, span_s, daemon):
    """Kill, go on, compare."""
    rng = random.Random(seed)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        night, cluster = make_night(folder), folder / "slurm"
        local = shutil.copytree(night, folder / "local")
        if run_snakemake(local, "level2").returncode:
            sys.exit("the local run failed")
        expected = read_products(local)
        subprocess.run([HERE / "slurm/start", cluster, "2", "1"], check=True)
        try:
            for number in range(rounds):
                copy = shutil.copytree(night, folder / f"round_{number}")
                killed, moment_s, given, hung = run_round(copy, cluster, rng, span_s, daemon)
                differing = [name for name, content in read_products(copy).items() if content != expected.get(name)]
                missing = sorted(set(expected) - set(read_products(copy)))
                left = [str(path) for path in copy.rglob(".*.part")]
                click.echo(
                    f"{number + 1:3d} {killed:9} killed at {moment_s:4.1f} s: {given} commands{', hung' * hung}, "
                    f"{len(differing)} differ, {len(missing)} missing, {len(left)} temporary files",
                )
                if differing or missing or left:
                    sys.exit(f"{differing} {missing} {left}")
        finally:
            subprocess.run([HERE / "slurm/stop", cluster], check=True)


if __name__ == "__main__":
    main()
