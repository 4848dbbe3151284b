"""The watch over hostile input sees what must not happen."""

import os
import subprocess
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import pytest
from guarded import run_guarded


def call(function, tmp_path, **limits):
    return run_guarded(function, [tmp_path], **limits)


def write_outside():
    path = Path(tempfile.gettempdir()) / f"outside-{os.getpid()}"
    path.write_text("x")
    path.unlink()


def test_what_ends_well_or_is_refused_is_no_violation(tmp_path):
    outcome = call(lambda: (tmp_path / "a").write_text("x"), tmp_path)
    assert (outcome.kind, outcome.is_violation) == ("done", False)

    def refuse():
        raise click.ClickException("no such file: give another")

    outcome = call(refuse, tmp_path)
    assert (outcome.kind, outcome.text) == ("refused", "no such file: give another")
    assert not outcome.is_violation


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (lambda: 1 / 0, "traceback"),
        (write_outside, "escape"),
        (lambda: os.system("true"), "escape"),
        (lambda: subprocess.run(["true"], check=True), "escape"),
        (lambda: Path("/nowhere").mkdir(), "escape"),
        (lambda: os._exit(3), "crash"),
        (lambda: time.sleep(20), "hang"),
        (lambda: np.ones(30_000_000).sum(), "memory"),
    ],
)
def test_violations_are_seen(function, kind, tmp_path):
    outcome = call(function, tmp_path, limit_s=2 if kind == "hang" else 30, grow_mb=100)
    assert outcome.kind == kind
    assert outcome.is_violation


def test_a_message_that_would_change_a_terminal_is_one(tmp_path):
    def refuse():
        raise click.ClickException("bad name \x1b[31m")

    assert call(refuse, tmp_path).kind == "unprintable"
