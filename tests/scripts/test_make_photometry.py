"""make_photometry: the zero point of stars of a catalogue in Level 2 images, and the refusals."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table

from drs import product
from drs.simulation import scene
from drs.wcs import build_wcs
from make_photometry import main

SHAPE = (96, 110)
OPTIONS = {"useafter": "2024-09-25T10:00:00", "minimum": 1, "aperture_pix": 5, "total_pix": 15, "search_pix": 6}
OPTIONS |= {"minimum_signal_to_noise": 30, "extinction_mag": 0.05, "growth_tolerance": 0.005}
GEOMETRY = {"scale_arcsec": 0.004, "centre_x_arcsec": 0.0, "centre_y_arcsec": 0.0, "rotation_deg": 0.0}
GEOMETRY |= {"size_x_pix": 110, "size_y_pix": 96}
PSF = {"core_fwhm_pix": 2.6, "halo_fwhm_pix": 6.0, "core_fraction": 0.8}
POINTING = (150.0, 2.0, 25.0)


@pytest.fixture
def night(write_rate, tmp_path):
    """Return three Level 2 images of two standard stars of zero point 24.5, and their catalogue."""
    header = product.read(write_rate(1.0, level=2)).keywords
    places, fluxes = [(35.2, 40.7), (72.5, 55.1)], [6000.0, 2500.0]
    stars = [scene.pixel_to_sky(*place, POINTING, GEOMETRY) for place in places]
    images = []
    for k in range(3):
        pointing = (POINTING[0] + 2e-6 * k, POINTING[1] - 3e-6 * k, POINTING[2])
        sources = [
            {"ra_deg": s[0], "dec_deg": s[1], "flux_e_per_s": f, "radius_pix": 0}
            for s, f in zip(stars, fluxes, strict=True)
        ]
        light = scene.render_sources(sources, pointing, GEOMETRY, PSF)
        error = np.sqrt(light / 80 + 0.36)
        rate = light + np.random.default_rng(k).normal(0, error)
        arrays = {"SCI": rate.astype(np.float32), "ERR": error.astype(np.float32), "DQ": np.zeros(SHAPE, np.uint32)}
        images.append(tmp_path / f"standard_{k}.fits")
        units = {"SCI": "electron/s", "ERR": "electron/s"}
        keywords = header | {"IMTYPE": "FLUX", "EXPNUM": k, "AIRMASS": 1.0 + 0.1 * k, "SCALE": 0.004}
        wcs = build_wcs(*pointing, GEOMETRY, SHAPE)
        product.write(images[-1], product.Product(keywords, arrays, units, wcs))
    mags = 24.5 - 2.5 * np.log10(fluxes)
    columns = {"ra_deg": [s[0] for s in stars], "dec_deg": [s[1] for s in stars], "mag": mags}
    Table(columns, meta={"system": "AB"}).write(tmp_path / "stars.ecsv")
    return images, tmp_path / "stars.ecsv"


def test_zero_point(night, run, tmp_path):
    images, catalogue = night
    result = run(
        main, image=images, catalogue=catalogue, output=tmp_path / "flux.fits", **OPTIONS | {"extinction_mag": 0.0}
    )
    assert result.exit_code == 0, result.output
    made = product.read(tmp_path / "flux.fits", models="PhotometryModel")
    assert made.keywords["PHOTZP"] == pytest.approx(24.5, abs=0.005)
    assert 0 < made.keywords["PHOTZPE"] < 0.005
    assert (made.keywords["PHOTSYS"], made.keywords["PHOTNST"]) == ("AB", 6)
    assert made.keywords["PHOTFNU"] == pytest.approx(3631 * 10 ** (-0.4 * 24.5), rel=0.005)
    assert (made.keywords["REFTYPE"], made.keywords["GRATING"], made.keywords["PHOTAIR"]) == ("PHOTOM", "MIRROR", 1.1)
    assert (np.diff(made.arrays["SCI"][0]) > -1e-3).all()


def test_stars_are_as_bright_on_large_pixels(night, run, tmp_path):
    """Pixels of 2 % more sky, by which the flat has divided, as the coordinates say."""
    images, catalogue = night
    for path in images:
        image = product.read(path)
        sip = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2, "A_1_0": 0.02}
        arrays = image.arrays | {name: image.arrays[name] / np.float32(1.02) for name in ("SCI", "ERR")}
        product.write(path, replace(image, arrays=arrays, wcs=image.wcs | sip))
    options = OPTIONS | {"extinction_mag": 0.0}
    result = run(main, image=images, catalogue=catalogue, output=tmp_path / "flux.fits", **options)
    assert result.exit_code == 0, result.output
    made = product.read(tmp_path / "flux.fits", models="PhotometryModel")
    assert made.keywords["PHOTZP"] == pytest.approx(24.5, abs=0.005)  # 24.478 without the area


def test_no_standard_star_is_refused_and_marked(night, run, tmp_path):
    images, _ = night
    Table({"ra_deg": [150.0], "dec_deg": [2.1], "mag": [10.0]}).write(tmp_path / "far.ecsv")
    options = OPTIONS | {"image": images, "catalogue": tmp_path / "far.ecsv", "output": tmp_path / "flux.fits"}
    result = run(main, **options)
    assert result.exit_code == 1
    assert "no standard star found: none of 1 stars of the catalogue is within 6.0 pix" in result.output
    assert run(main, **options, mark_refusal=True).exit_code == 0
    assert "no standard star found" in product.read(tmp_path / "flux.fits").refusal
    del options["catalogue"]
    assert "no catalogue of standard stars: name one in make_photometry: catalogue" in run(main, **options).output
