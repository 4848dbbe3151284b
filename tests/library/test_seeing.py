"""Poor seeing is found in the interval that it fell into, and a table that cannot be used is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drs.errors import ReductionError
from drs.seeing import Seeing, find_poor_intervals, read_seeing

START = 60578.25
DAY_S = 86400.0


def make_table(seconds, fwhm):
    """Return samples at seconds since START."""
    return Seeing(START + np.array(seconds, float) / DAY_S, np.array(fwhm, float))


def test_an_interval_is_poor_where_the_seeing_passes_the_maximum():
    table = make_table([-100, 21, 22, 23, 200], [0.5, 0.5, 2.0, 0.5, 0.5])
    found = find_poor_intervals(np.array([[10.0, 20.0, 30.0, 40.0]]), START, table, maximum_arcsec=1.0)
    np.testing.assert_array_equal(found.poor, [[False, False, True, False]])
    assert not found.unknown.any()


def test_interpolation_decides_between_samples():
    table = make_table([-20, 100], [0.0 + 0.1, 1.3])  # 0.01 arcsec per s; 0.6 at 30 s
    times_s = np.array([[10.0, 20.0, 29.9, 31.0, 40.0]])
    poor = find_poor_intervals(times_s, START, table, maximum_arcsec=0.6).poor
    np.testing.assert_array_equal(poor, [[False, False, False, True, True]])


def test_groups_follow_each_other():
    times_s = np.array([[10.0, 20.0, 30.0], [5.0, 15.0, 25.0]])  # resets at 0 and 30 s
    table = make_table([-1, 41, 42, 43, 99], [0.5, 0.5, 2.0, 0.5, 0.5])
    poor = find_poor_intervals(times_s, START, table, maximum_arcsec=1.0).poor
    np.testing.assert_array_equal(poor, [[False, False, False], [False, True, False]])


def test_seeing_far_from_the_samples_is_unknown():
    table = make_table([20, 30, 40], [2.0, 2.0, 2.0])  # known from 10 to 50 s
    found = find_poor_intervals(np.array([[5.0, 9.0, 20.0, 49.0, 60.0, 70.0]]), START, table, maximum_arcsec=1.0)
    np.testing.assert_array_equal(found.poor, [[False, False, True, True, True, False]])
    np.testing.assert_array_equal(found.unknown, [[True, True, False, False, False, True]])


@given(
    st.lists(st.floats(0.1, 3), min_size=2, max_size=9),
    st.integers(1, 3),
    st.lists(st.floats(0.5, 20), min_size=1, max_size=7),
)
def test_the_answer_is_that_of_a_fine_grid(fwhm, n_group, steps):
    times_s = np.tile(np.cumsum(steps), (n_group, 1))
    total_s = times_s[:, -1].sum()
    samples_s = np.linspace(-1, total_s + 1, len(fwhm))
    found = find_poor_intervals(times_s, START, make_table(samples_s, fwhm), maximum_arcsec=1.5)
    assert not found.unknown.any()
    edges = np.cumsum(np.concatenate([[0.0], *[steps] * n_group]))
    for k, poor in enumerate(found.poor.ravel()):
        grid = np.concatenate([np.linspace(edges[k], edges[k + 1], 200), samples_s])
        inside = grid[(grid >= edges[k]) & (grid <= edges[k + 1])]
        largest = np.interp(inside, samples_s, fwhm).max()
        assert poor == (largest > 1.5) or abs(largest - 1.5) < 1e-4


@pytest.mark.parametrize(
    "text",
    [
        "MJD,FWHM_ARCSEC\n60578.25,0.8\n60578.26,0.9\n",
        "utc,fwhm_arcsec,note\n2024-09-25T06:00:00,0.8,a\n2024-09-25T06:14:24,0.9,b\n",
        "# %ECSV 1.0\n# ---\n# datatype:\n# - {name: TIME, datatype: string}\n"
        "# - {name: FWHM_ARCSEC, unit: arcsec, datatype: float32}\n# schema: astropy-2.0\n"
        "TIME FWHM_ARCSEC\n2024-09-25T08:00:00+02:00 0.8\n2024-09-25T06:14:24Z 0.9\n",
        "# %ECSV 1.0\n# ---\n# datatype:\n# - {name: MJD, datatype: float64}\n"
        "# - {name: FWHM_ARCSEC, datatype: float64}\n# schema: astropy-2.0\nMJD FWHM_ARCSEC\n"
        "60578.25 0.8\n60578.26 0.9\n",
    ],
)
def test_tables_of_every_form(tmp_path, text):
    (tmp_path / "seeing.txt").write_text(text)
    seeing = read_seeing(tmp_path / "seeing.txt")
    np.testing.assert_allclose(seeing.mjd, [60578.25, 60578.26], atol=1e-9, rtol=0)
    np.testing.assert_allclose(seeing.fwhm_arcsec, [0.8, 0.9], rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MJD,SEEING\n1,2\n", "has columns MJD, SEEING; expected FWHM_ARCSEC"),
        ("DATE,FWHM_ARCSEC\n1,2\n", "one of MJD, UTC, TIME"),
        ("MJD,FWHM_ARCSEC\n60578.2,0.8\n", "1 samples; the seeing needs at least two"),
        ("MJD,FWHM_ARCSEC\n60578.2,0.8\n60578.1,0.8\n", "row 2 has a time that is not after"),
        ("MJD,FWHM_ARCSEC\n60578.2,0.8\n60578.3,\n", "row 2 has no number"),
        ("MJD,FWHM_ARCSEC\n60578.2,0.8\n60578.3,-1\n", "row 2 has a seeing that is no size"),
        ("MJD,FWHM_ARCSEC\n60578.2,0.8\n60578.3,good\n", "column FWHM_ARCSEC holds .*, expected numbers"),
        ("UTC,FWHM_ARCSEC\nyesterday,0.8\nnow,0.9\n", "a time cannot be read"),
        ("# %ECSV 1.0\n# ---\nnonsense", "is no ECSV or CSV table"),
        (
            "# %ECSV 1.0\n# ---\n# datatype:\n# - {name: MJD, datatype: float64}\n"
            "# - {name: FWHM_ARCSEC, unit: mas, datatype: float64}\n# schema: astropy-2.0\nMJD FWHM_ARCSEC\n1 2\n3 4\n",
            "is in mas, expected arcsec",
        ),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path, text, message):
    (tmp_path / "seeing.csv").write_text(text)
    with pytest.raises(ReductionError, match=message):
        read_seeing(tmp_path / "seeing.csv")


def test_a_table_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ReductionError, match="is no ECSV or CSV table"):
        read_seeing(tmp_path / "seeing.csv")
