"""Hostile input, some seeded mutations of each kind: nothing happens that must not (fuzz_night.py does thousands)."""

from pathlib import Path

import pytest
from fuzz_night import fuzz, make_fuzzed_night

MUTATIONS, PER_TEST = 30, 15


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """Return the night to mutate; the working directory is the old one in the end."""
    patch, here = pytest.MonkeyPatch(), Path.cwd()
    patch.setenv("NUMBA_NUM_THREADS", "1")
    patch.setenv("TMPDIR", "/tmp")
    with patch.context() as context:
        context.setattr("tempfile.tempdir", None)
        context.chdir(here)
        yield make_fuzzed_night(tmp_path_factory.mktemp("fuzz"))
    patch.undo()


@pytest.mark.parametrize("first", range(1, MUTATIONS, PER_TEST))
def test_no_mutation_does_harm(night, first):
    wrong = {seed: fuzz(night, seed)[2] for seed in range(first, first + PER_TEST)}
    assert {seed: texts for seed, texts in wrong.items() if texts} == {}
