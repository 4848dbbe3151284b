"""Lines: their lists, centres with errors that hold, saturation, bad columns."""

import numpy as np
import pytest
from arcs import FWHM_PIX, LISTS, render_lines
from hypothesis import given, settings
from hypothesis import strategies as st

from drs.dq import Flag
from drs.errors import ReductionError
from drs.lines import find_lines, merge_list, read_lists

N_COLUMN = 90


def make_arc(centre, flux=3000.0, n=1, **options):
    """Return spectra (n, N_COLUMN) whose wavelength is the column, with lines at columns."""
    wavelength = np.tile(np.arange(N_COLUMN, dtype=float), (n, 1))
    return render_lines(wavelength, centre, np.broadcast_to(flux, len(centre)), **options)


@given(centre=st.floats(30, 60))
@settings(max_examples=30, deadline=None)
def test_a_line_is_where_it_is_whatever_its_pixel(centre):
    rate, error, dq = make_arc([centre], 1e6, noise=1e-3)
    lines = find_lines(np.rint(rate * 100) / 100, error, dq, fwhm_pix=FWHM_PIX)
    assert lines.column == pytest.approx([centre], abs=0.01)
    assert lines.flux == pytest.approx([1e6], rel=0.01)
    assert lines.fwhm_pix == pytest.approx([FWHM_PIX], rel=0.07)


def test_errors_are_those_of_the_noise():
    rate, error, dq = make_arc([20.3, 45.71, 70.05], [400.0, 900.0, 2500.0], n=3000)
    lines = find_lines(rate, error, dq, fwhm_pix=FWHM_PIX)
    assert lines.column.size == pytest.approx(9000, rel=0.002)
    for centre in (20.3, 45.71, 70.05):
        own = np.abs(lines.column - centre) < 2
        pulls = (lines.column[own] - centre) / lines.error_pix[own]
        assert abs(pulls.mean()) < 4 / np.sqrt(own.sum()) + 0.01
        assert 0.9 < pulls.std() < 1.03  # chi-square above its expectation widens the error, below does not shrink it


def test_saturated_lines_are_left_out_and_counted():
    rate, error, dq = make_arc([20.0, 45.0, 70.0], 5e4, n=2)
    dq[1, 44:47] = Flag.SATURATED
    dq[1, 88] = Flag.SATURATED
    lines = find_lines(rate, error, dq, fwhm_pix=FWHM_PIX)
    np.testing.assert_array_equal(lines.spectrum, [0, 0, 0, 1, 1])
    np.testing.assert_allclose(lines.column, [20, 45, 70, 20, 70], atol=0.05)
    np.testing.assert_array_equal(lines.n_saturated, [0, 2])


def test_bad_columns_hits_and_blends_are_left_out():
    rate, error, dq = make_arc([20.0, 45.0, 66.0, 69.3], 5e4)
    dq[0, 21] = Flag.DO_NOT_USE
    rate[0, 33] += 1e4
    error[0, 33] = 100
    lines = find_lines(rate, error, dq, fwhm_pix=FWHM_PIX)
    np.testing.assert_allclose(lines.column, [45], atol=0.05)
    rate[0, 47] = np.nan  # one column of its wing is not missed
    np.testing.assert_allclose(find_lines(rate, error, dq, fwhm_pix=FWHM_PIX).column, [45], atol=0.05)
    rate[0, 46] = np.nan
    assert find_lines(rate, error, dq, fwhm_pix=FWHM_PIX).column.size == 0


def test_noise_has_no_lines():
    rate, error, dq = make_arc([], n=50)
    assert find_lines(rate, error, dq, fwhm_pix=FWHM_PIX, least_sigma=10).column.size == 0
    with pytest.raises(ValueError, match=r"are not \(spectrum, column\)"):
        find_lines(rate[0], error[0], dq[0], fwhm_pix=FWHM_PIX)


@pytest.mark.parametrize(("name", "known"), [("argon", 1.694521), ("krypton", 1.6789718), ("xenon", 0.9802384)])
def test_the_lists_of_lamps(name, known):
    wavelength, intensity = read_lists([LISTS / f"{name}.ecsv"], 0.84, 2.4)
    assert (np.diff(wavelength) > 0).all()
    assert (intensity > 0).all()
    assert np.abs(wavelength - known).min() < 1e-6


def test_the_list_of_airglow():
    wavelength, intensity = read_lists([LISTS / "oh.ecsv"], 1.45, 1.8)
    assert wavelength.size > 150
    merged, total = merge_list(wavelength, intensity, 4e-4)
    assert 40 < merged.size < wavelength.size
    assert total.max() > 0.5 * intensity.max()


def test_neighbours_are_merged_or_left_out():
    wavelength, total = merge_list([1.0, 1.0001, 1.01, 1.0107, 1.03, 1.0307], [3, 1, 5, 2, 100, 1], 4e-4)
    np.testing.assert_allclose(wavelength, [1.000025, 1.03])
    np.testing.assert_allclose(total, [4, 100])


def test_refused_lists(tmp_path):
    with pytest.raises(ReductionError, match=r"no line of the lists between 3 and 4 um"):
        read_lists([LISTS / "argon.ecsv"], 3, 4)
    other = tmp_path / "air.ecsv"
    other.write_text((LISTS / "xenon.ecsv").read_text().replace("vacuum}", "air}"))
    with pytest.raises(ReductionError, match=r"no table of wavelength_um and intensity in vacuum"):
        read_lists([other], 1, 2)
