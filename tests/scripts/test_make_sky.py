"""make_sky: sky frames of different levels give the first one's level; a star in one frame leaves no trace."""

import numpy as np
import pytest

from drs import product
from make_sky import main

OPTIONS = {"minimum": 3, "clip_sigma": 5, "source_threshold_sigma": 3}


def test_sky_frame(combine, write_rate, tmp_path):
    response = np.ones((24, 31))
    response[:, 5] = 2.0
    paths = []
    for k, level in enumerate((100, 110, 95), 1):
        rate = 0.25 + level * response
        if k == 2:
            rate[10:14, 12:16] += 900
        paths.append(write_rate(rate, k, "SKY"))
    result = combine(main, paths, tmp_path / "sky.fits", **OPTIONS)
    assert result.exit_code == 0, result.output
    sky = product.read(tmp_path / "sky.fits", models="SkyModel", unit="electron/s")
    np.testing.assert_allclose(sky.arrays["SCI"], 100, atol=1.8)
    assert sky.arrays["SCI"].mean() == pytest.approx(100, abs=0.15)
    assert np.median(sky.arrays["ERR"]) == pytest.approx(0.5 / np.sqrt(3), rel=0.1)


def test_two_skies_are_too_few(combine, write_rate, tmp_path):
    paths = [write_rate(100, k, "SKY") for k in (1, 2)]
    result = combine(main, paths, tmp_path / "sky.fits", **OPTIONS)
    assert result.exit_code == 1
    assert "2 usable sky exposures, at least 3 needed" in result.output
