"""Catalogues of mosaics against the truth: fluxes without bias, errors that hold, places, flags."""

import numpy as np
import pytest
from astropy.wcs import WCS
from fields import combine_field, make_field

from drs.dq import Flag
from drs.image import Image
from drs.sourcelist import SourceFlag, list_sources

OPTIONS = {"source_threshold_sigma": 5.0, "aperture_pix": [3.0, 6.0], "ring_pix": [8.0, 12.0]}


def measure(field, **changes):
    arrays, correlation, _ = combine_field(field)
    image = Image(arrays["SCI"], arrays["ERR"], arrays["DQ"])
    return list_sources(image, WCS(field.grid), arrays["CON"], noise_correlation=correlation, **OPTIONS | changes)


@pytest.fixture(scope="module")
def matched():
    """Return (table rows, true x, y, flux) of the unflagged stars of several fields."""
    tables, truths = [], []
    for seed in range(11, 19):
        field = make_field(6, (190, 230), seed=seed, spacing=28, bad=0.0003, pa=0.05)
        table = measure(field, psf_fit=seed == 11)
        table = table[table["flags"] == 0]
        distance = np.hypot(
            *(np.subtract.outer(np.array(table[f"{a}_pix"]), field.stars[k]) for k, a in enumerate("xy"))
        )
        near = distance.argmin(axis=1)
        assert (distance.min(axis=1) < 0.5).all()
        tables.append(table)
        truths.append(field.stars[:, near])
    return tables, truths


def test_fluxes_have_no_bias_and_their_errors_hold(matched):
    flux, error = (
        np.concatenate([np.array(table[name]) for table in matched[0]]) for name in ("flux_2", "flux_2_error")
    )
    truth = np.concatenate(matched[1], axis=1)[2]
    assert truth.size > 150
    assert abs(np.average(flux / truth, weights=(truth / error) ** 2) - 1) < 0.002
    chi_square = np.mean(((flux - truth) / error) ** 2)
    assert chi_square == pytest.approx(1.0, abs=0.1 + np.sqrt(2 / truth.size))


def test_places_and_their_errors_hold(matched):
    x, y, error = (
        np.concatenate([np.array(table[name]) for table in matched[0]])
        for name in ("x_pix", "y_pix", "place_error_pix")
    )
    truth = np.concatenate(matched[1], axis=1)
    pulls = np.concatenate([x - truth[0], y - truth[1]]) / np.tile(np.hypot(error, 0.004), 2)
    bright = truth[2] > 5000
    assert np.hypot(x - truth[0], y - truth[1])[bright].max() < 0.05
    assert np.median(np.hypot(x - truth[0], y - truth[1])[bright]) < 0.02
    assert 0.7 < pulls.std() < 1.3


def test_fitted_fluxes_are_there_on_request(matched):
    table, truth = matched[0][0], matched[1][0]
    ratio = np.array(table["psf_flux"]) / truth[2]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.03)  # resampling makes the profile no Gaussian
    assert "psf_flux" not in matched[0][1].colnames


def test_flags_tell_what_is_wrong():
    field = make_field(3, (100, 130), spacing=30, bad=0)
    arrays, correlation, _ = combine_field(field)
    dq = arrays["DQ"].copy()
    (x0, x1, x2), (y0, y1, y2) = np.rint(field.stars[:2, :3]).astype(int)
    dq[y0, x0] |= Flag.SATURATED
    dq[y1 + 5, x1] |= Flag.DO_NOT_USE
    dq[y2, x2 + 1] |= Flag.OUTLIER
    image = Image(arrays["SCI"], arrays["ERR"], dq)
    table = list_sources(image, WCS(field.grid), noise_correlation=correlation, **OPTIONS)
    for (x, y), flag in zip(field.stars[:2, :3].T, ("SATURATED", "UNUSABLE", "REJECTED"), strict=True):
        row = table[np.hypot(table["x_pix"] - x, table["y_pix"] - y).argmin()]
        assert SourceFlag(int(row["flags"])) & ~SourceFlag.CROWDED == SourceFlag[flag]


def test_the_edge_of_an_image_through_a_star_is_flagged():
    field = make_field(3, (100, 130), spacing=30, bad=0)
    arrays, correlation, _ = combine_field(field)
    n_used = np.full(field.shape, 3, np.uint16)
    x, y = np.rint(field.stars[:2, 0]).astype(int)
    n_used[:, : x - 2] = 2
    image = Image(arrays["SCI"], arrays["ERR"], arrays["DQ"])
    table = list_sources(image, WCS(field.grid), n_used, noise_correlation=correlation, **OPTIONS)
    row = table[np.hypot(table["x_pix"] - x, table["y_pix"] - y).argmin()]
    assert SourceFlag(int(row["flags"])) & SourceFlag.UNEVEN
    assert np.count_nonzero(table["flags"] & int(SourceFlag.UNEVEN)) < len(table) // 2


def test_an_empty_image_has_an_empty_catalogue():
    image = Image(np.zeros((60, 70), "f4"), np.ones((60, 70), "f4"), np.zeros((60, 70), "u4"))
    wcs = WCS(make_field(1, (60, 70)).grid)
    table = list_sources(image, wcs, noise_correlation=1.0, **OPTIONS | {"psf_fit": True})
    assert len(table) == 0
    assert "flux_2" in table.colnames
