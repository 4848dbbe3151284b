"""combine_images: noise goes down, errors hold, hits vanish, exposures of another field are refused."""

import numpy as np
import pytest

from combine_images import main
from drs import product
from drs.dq import Flag
from drs.wcs import build_wcs

DETECTOR = {"scale_arcsec": 0.004, "centre_x_arcsec": 0.0, "centre_y_arcsec": 0.0, "rotation_deg": 0.0}
OPTIONS = {"clip_sigma": 5, "clip_gradient": 0.5}


def at(north_pix):
    """Return a WCS moved north by pixels."""
    return build_wcs(150.0, 2.0 + north_pix * 0.004 / 3600, 0.0, DETECTOR, (24, 31))


def test_dithered_images(run, write_rate, tmp_path):
    paths = []
    for k, shift in enumerate((0, 2, -1, 3, 1), 1):
        rate = np.zeros((24, 31))
        rate[12 - shift, 20] = 300.0
        if k == 2:
            rate[5, 5] = 5000.0
        paths.append(write_rate(rate, k, level=2, wcs=at(shift)))
    result = run(main, image=paths, output=tmp_path / "mosaic.fits", **OPTIONS)
    assert result.exit_code == 0, result.output
    mosaic = product.read(tmp_path / "mosaic.fits", models="ImagerModel", unit="electron/s")
    assert mosaic.arrays["SCI"].shape == (28, 31)
    assert mosaic.arrays["SCI"][13, 20] == pytest.approx(300, abs=1.5)
    full = mosaic.arrays["CON"] == 5
    assert mosaic.arrays["ERR"][full].mean() == pytest.approx(0.5 / np.sqrt(5), rel=1e-3)
    blank = full.copy()
    blank[11:16, 18:23] = False
    pull = (mosaic.arrays["SCI"] / mosaic.arrays["ERR"])[blank]
    assert pull.std() == pytest.approx(1.0, abs=0.1)
    assert np.nanmax(np.where(blank, mosaic.arrays["SCI"], 0)) < 2
    assert np.count_nonzero(mosaic.arrays["DQ"] & Flag.OUTLIER) == 1
    assert (mosaic.keywords["NCOMBINE"], mosaic.keywords["TOTTIME"], mosaic.keywords["DATALVL"]) == (5, 250.0, 3)
    np.testing.assert_allclose(mosaic.arrays["WHT"][full], 250.0)


def test_images_of_two_fields_are_refused(run, write_rate, tmp_path):
    paths = [write_rate(0, k, level=2, wcs=at(shift)) for k, shift in ((1, 0), (2, 9000))]
    result = run(main, image=paths, output=tmp_path / "mosaic.fits", **OPTIONS)
    assert result.exit_code == 1
    assert "not one field" in result.output


def test_refused_images_are_left_out(run, write_rate, tmp_path):
    paths = [write_rate(1.0, k, level=2, wcs=at(0)) for k in (1, 2, 3)]
    with product.mark_refusal(paths[1], product.read(paths[1]), mark=True):
        raise product.ReductionError("no flat")
    result = run(main, image=paths, output=tmp_path / "mosaic.fits", **OPTIONS)
    assert result.exit_code == 0, result.output
    mosaic = product.read(tmp_path / "mosaic.fits")
    assert mosaic.keywords["NCOMBINE"] == 2
    assert mosaic.history == ("left out: SCI_2_2.fits: no flat",)


def test_flags_and_the_correlation_of_noise_reach_the_mosaic(run, write_rate, tmp_path):
    paths = [write_rate(0.0, k, level=2, wcs=at(shift)) for k, shift in ((1, 0), (2, 1.5))]
    image = product.read(paths[0])
    image.arrays["DQ"][7, 9] = Flag.SATURATED
    image.arrays["DQ"][3, 4] = Flag.HOT | Flag.DO_NOT_USE
    product.write(paths[0], image)
    result = run(main, image=paths, output=tmp_path / "mosaic.fits", **OPTIONS)
    assert result.exit_code == 0, result.output
    mosaic = product.read(tmp_path / "mosaic.fits")
    assert np.count_nonzero(mosaic.arrays["DQ"] & Flag.SATURATED) == 1
    assert not (mosaic.arrays["DQ"] & Flag.HOT).any()
    assert mosaic.arrays["CON"].max() == 2
    # the second image is spread over two rows with equal parts: half its variance in a pixel
    assert mosaic.keywords["NOISCORR"] == pytest.approx(np.sqrt(2 / 1.5), rel=0.02)
