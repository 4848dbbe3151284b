"""The list of airglow lines of the configuration against the published one (Rousselot et al. 2000)."""

from pathlib import Path

import numpy as np
import pytest

from drs.airglow import LIMITS_UM
from drs.lines import read_lists

REPO = Path(__file__).resolve().parents[2]
PATH = REPO.parent / "shared" / "realdata" / "airglow" / "ohlist_rousselot.dat"
pytestmark = pytest.mark.skipif(not PATH.is_file(), reason=f"no real data in {PATH}")
MERGED_UM = 2e-5


@pytest.fixture(scope="module")
def lists():
    """Return (wavelength um, intensity) of the configuration and of the published list, where both reach."""
    published = np.loadtxt(PATH, comments="#")
    wavelength, intensity = read_lists([REPO / "config/lines/oh.ecsv"], 0.8, 2.46)
    order = np.argsort(published[:, 0])
    return (wavelength, intensity), (published[order, 0] / 1e4, published[order, 1])


def test_every_line_is_a_published_one_or_the_mean_of_a_doublet(lists):
    (wavelength, intensity), (published, strength) = lists
    nearest = np.abs(wavelength[:, np.newaxis] - published).min(axis=1)
    assert nearest.max() < MERGED_UM / 2 + 1e-9
    total = [strength[np.abs(published - line) <= MERGED_UM].sum() for line in wavelength]
    ratio = intensity / total
    ratio /= np.median(ratio)  # intensities are relative
    assert np.mean(np.abs(ratio - 1) < 0.02) > 0.9  # others have a neighbour just beyond


def test_no_bright_line_is_missing(lists):
    (wavelength, _), (published, strength) = lists
    inside = (published > 0.81) & (published < 2.45)
    bright = inside & (strength > 0.02 * strength[inside].max())
    away = np.abs(published[bright, np.newaxis] - wavelength).min(axis=1)
    assert bright.sum() > 300
    assert away.max() < MERGED_UM


def test_families_part_where_lines_are_faint(lists):
    _, (published, strength) = lists
    for limit in LIMITS_UM[1:-1]:
        near, around = (strength[np.abs(published - limit) < reach].max(initial=0) for reach in (1e-3, 3e-2))
        assert near < 0.5 * around, limit
