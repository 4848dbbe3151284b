"""make_psf: the PSF of stars in Level 2 images, its use by a catalogue, and the refusals."""

import json

import numpy as np
import pytest
import stars
from astropy.table import Table
from stars import observe_stars, true_psf

from drs import product
from drs.references import sha1
from drs.wcs import build_wcs
from make_psf import main
from measure_sources import main as measure_sources

SHAPE = (90, 140)
OPTIONS = {"useafter": "2024-09-25T10:00:00", "minimum": 1, "radius_pix": 8, "oversampling": 2}
OPTIONS |= {"minimum_signal_to_noise": 100, "minimum_stars": 3, "neighbour_fraction": 0.02, "maximum_residual": 0.05}
DETECTOR = {"scale_arcsec": 0.004, "centre_x_arcsec": 0.0, "centre_y_arcsec": 0.0, "rotation_deg": 0.0}


@pytest.fixture
def expose(write_rate, tmp_path):
    """Return a function that writes a dithered Level 2 image of three stars: (number, fluxes, keywords) -> path."""
    header = product.read(write_rate(1.0, level=2)).keywords

    def write(number, fluxes=(9000.0, 14000.0, 6000.0), **keywords):
        move = np.random.default_rng(number).uniform(-3, 3, (2, 1))
        places = np.array([[25.2, 70.7, 113.4], [30.1, 55.3, 33.8]]) + move
        image = observe_stars(SHAPE, *places, fluxes, seed=number, bad=0.001)
        arrays = {"SCI": image.rate, "ERR": image.error, "DQ": image.dq}
        path = tmp_path / f"psf_star_{number}.fits"
        known = header | {"IMTYPE": "PSF", "EXPNUM": number, "SCALE": 0.004} | keywords
        wcs = build_wcs(150.0, 2.0, 0.0, DETECTOR, SHAPE)
        product.write(path, product.Product(known, arrays, {"SCI": "electron/s", "ERR": "electron/s"}, wcs))
        return path

    return write


def test_psf_and_the_catalogue_that_takes_it(expose, run, tmp_path):
    images = [expose(k) for k in range(4)]
    output = tmp_path / "iris_img1_psf_20240925t055000_0.0.1.fits"
    result = run(main, image=images, output=output, **OPTIONS)
    assert result.exit_code == 0, result.output
    made = product.read(output, models="PsfModel")
    truth = true_psf(8.0, 2)
    assert made.arrays["SCI"].shape == truth.shape
    assert np.abs(made.arrays["SCI"] - truth).max() < 0.01 * truth.max()
    assert (made.keywords["REFTYPE"], made.keywords["GRATING"], made.keywords["PSFOVER"]) == ("PSF", "MIRROR", 2)
    assert made.keywords["Q_PSFNST"] > 9
    assert made.keywords["Q_PSFFWH"] == pytest.approx(2.76, abs=0.03)
    assert 0 < made.keywords["Q_PSFE50"] < made.keywords["Q_PSFE80"] < 8
    assert made.arrays["ENCIRCLED"][0, -1] == pytest.approx(1, abs=1e-5)
    found = {"size": output.stat().st_size, "sha1": sha1(output), "keyword": "R_PSFMAS", "file": output.name}
    manifest = {"exposure": "x", "status": "resolved", "reason": "", "crds_version": "14", "keys": {"INSTRUME": "IRIS"}}
    manifest["context"] = {"name": "x.pmap", "sha1": "0"}
    manifest["references"] = {"psf": {**found, "status": "found", "reason": "", "source": "context"}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    place = tmp_path / "cache/references/ligeriri/iris" / output.name
    place.parent.mkdir(parents=True)
    place.write_bytes(output.read_bytes())
    field = expose(9)
    options = {"source_threshold_sigma": 5, "aperture_pix": "[3, 5]", "ring_pix": "[9, 13]", "psf_fit": "yes"}
    options |= {"mosaic": field, "manifest": tmp_path / "manifest.json", "cache": tmp_path / "cache"}
    result = run(measure_sources, output=tmp_path / "cat.ecsv", **options)
    assert result.exit_code == 0, result.output
    table = Table.read(tmp_path / "cat.ecsv")
    assert table.meta["PSF"] == output.name
    assert table["psf_flux"] == pytest.approx([14000, 9000, 6000], rel=0.005)
    manifest["references"]["psf"] |= {"status": "n/a"}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert run(measure_sources, output=tmp_path / "cat.ecsv", **options).exit_code == 0
    assert Table.read(tmp_path / "cat.ecsv").meta["PSF"] == "Gaussian"


def test_what_makes_no_psf_is_refused_and_marked(expose, run, tmp_path, monkeypatch):
    options = OPTIONS | {"output": tmp_path / "psf.fits"}
    result = run(main, image=[expose(1, (60.0, 50.0, 40.0))], **options)
    assert result.exit_code == 1
    assert "0 images of stars in 1 exposures are fit for a PSF, at least 3 needed (" in result.output
    assert " faint)" in result.output
    result = run(main, image=[expose(1), expose(2, FILTER="H")], **options)
    assert "images of mixed configuration: FILTER is Y in psf_star_1.fits, H in psf_star_2.fits" in result.output
    sharp = expose(1)
    monkeypatch.setitem(stars.PSF, "core_fwhm_pix", 4.0)
    result = run(main, image=[sharp, expose(2)], **options, mark_refusal=True)
    assert result.exit_code == 0, result.output
    refused = product.read(tmp_path / "psf.fits", models="PsfModel")
    assert "the stars differ from one PSF by" in refused.refusal
    assert refused.keywords["REFTYPE"] == "PSF"
