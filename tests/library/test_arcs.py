"""Arcs: which lists a lamp has, lists and lines joined, the offset of a frame by lines of the sky."""

import numpy as np
import pytest
from arcs import FWHM_PIX, LISTS, render_lines

from drs.arcs import choose_lists, join_lines, join_lists, list_lines, measure_offset, shift_wavelengths
from drs.errors import ReductionError
from drs.lines import Lines, find_lines

PATHS = [LISTS / f"{name}.ecsv" for name in ("argon", "krypton", "xenon")]
STEP = 6e-4
WAVELENGTH = 1.6 + STEP * (np.arange(150) + np.array([[0.0], [0.4], [0.7]]))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("ARGON", [0]), ("Ar", [0]), ("ar+kr", [0, 1]), ("arc Xe", [2]), ("Krypton, argon", [0, 1])],
)
def test_a_name_tells_the_lamps(name, expected):
    assert choose_lists(name, PATHS) == [PATHS[k] for k in expected]


@pytest.mark.parametrize("name", [None, "", "ARC", "LAMP 3", "NEON", "STAR"])
def test_a_name_without_a_lamp_is_refused(name):
    with pytest.raises(ReductionError, match=r"names no lamp that has a list \(argon, krypton, xenon\)"):
        choose_lists(name, PATHS)


def test_lines_of_a_list_are_those_in_reach():
    near, _ = list_lines(PATHS[:1], WAVELENGTH, FWHM_PIX)
    far, _ = list_lines(PATHS[:1], WAVELENGTH, FWHM_PIX, margin_pix=30)
    assert 1.6 <= near.min() <= near.max() <= WAVELENGTH.max()
    assert set(near) < set(far)
    assert far.min() >= 1.6 - 30.001 * STEP
    assert (np.diff(far) > 2 * FWHM_PIX * STEP - 1e-9).any()


def test_lists_and_lines_are_joined():
    wavelength, intensity = join_lists([([1.0, 3.0], [5.0, 6.0]), ([2.0, 3.0], [7.0, 8.0])])
    np.testing.assert_array_equal(wavelength, [1, 2, 3])
    np.testing.assert_array_equal(intensity, [5, 7, 6])
    one = Lines(np.array([0, 1]), *np.arange(8.0).reshape(4, 2), np.array([1, 0, 2]))
    two = Lines(np.array([2]), *np.arange(4.0).reshape(4, 1), np.array([0, 3, 0]))
    joined = join_lines([one, two])
    np.testing.assert_array_equal(joined.spectrum, [0, 1, 2])
    np.testing.assert_array_equal(joined.fwhm_pix, [6, 7, 3])
    np.testing.assert_array_equal(joined.n_saturated, [1, 3, 2])


@pytest.mark.parametrize("offset", [-0.6, 0.0, 0.25])
def test_the_offset_is_found_and_taken_out(offset):
    listed = list_lines([LISTS / "oh.ecsv"], WAVELENGTH, FWHM_PIX)
    spectra = render_lines(WAVELENGTH - offset * STEP, listed[0], np.full(listed[0].size, 3e3))
    check = measure_offset(spectra, WAVELENGTH, [LISTS / "oh.ecsv"], fwhm_pix=FWHM_PIX, most_pix=1.0)
    assert check.offset_pix == pytest.approx(offset, abs=0.02)
    shifted = shift_wavelengths(WAVELENGTH, check.offset_pix)
    np.testing.assert_allclose(shifted, WAVELENGTH - check.offset_pix * STEP, atol=1e-12)
    left = measure_offset(spectra, shifted, [LISTS / "oh.ecsv"], fwhm_pix=FWHM_PIX, most_pix=1.0)
    assert abs(left.offset_pix) < 0.01


def test_too_few_lines_tell_nothing_and_too_large_an_offset_is_refused(caplog):
    empty = render_lines(WAVELENGTH, np.array([1.65]), np.array([3e3]))
    assert find_lines(*empty, fwhm_pix=FWHM_PIX).spectrum.size == 3
    assert measure_offset(empty, WAVELENGTH, [LISTS / "oh.ecsv"], fwhm_pix=FWHM_PIX, most_pix=1.0) is None
    assert "wavelengths not checked" in caplog.text
    listed = list_lines([LISTS / "oh.ecsv"], WAVELENGTH, FWHM_PIX)
    spectra = render_lines(WAVELENGTH - 0.8 * STEP, listed[0], np.full(listed[0].size, 3e3))
    with pytest.raises(ReductionError, match=r"lines of the sky are \+0\.[78].* at most 0\.5 are allowed"):
        measure_offset(spectra, WAVELENGTH, [LISTS / "oh.ecsv"], fwhm_pix=FWHM_PIX, most_pix=0.5)
