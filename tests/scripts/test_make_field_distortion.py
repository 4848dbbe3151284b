"""make_field_distortion: dithers of a star field give the distortion to 0.02 pixel; what does not match is refused."""

import json

import numpy as np
import pytest
from astropy.table import Table
from runs import REPO

from drs import product
from drs.schema import load_yaml
from drs.simulation import scene
from make_field_distortion import main

SHAPE = (200, 216)
INSTRUMENT = REPO / "config/instruments/iris.yaml"
IDEAL = load_yaml(INSTRUMENT)["detectors"]["IMG1"] | {"size_y_pix": 200, "size_x_pix": 216}
DISTORTED = IDEAL | {"distortion": {"cubic_pix": 3.0, "quadratic_pix": 1.2, "linear_pix": 0.6}}
PSF = {"core_fwhm_pix": 2.6, "halo_fwhm_pix": 6.0, "core_fraction": 0.8}
BASE = (150.0, 2.0, 33.0)
OPTIONS = {"useafter": "2024-09-24T22:00:00", "minimum": 3, "order": 6, "search_pix": 30, "search_deg": 0.2}
OPTIONS |= {"minimum_stars": 20, "catalogue_error_pix": 0.005, "maximum_residual_pix": 0.1, "instrument": INSTRUMENT}
OPTIONS |= {"refraction": "no", "refraction_pressure_hpa": 615, "refraction_temperature_c": 1}
N_STAR, DITHERS = 90, [(0, 0), (9, -7), (-8, 9), (7, 8), (-9, -6)]


@pytest.fixture
def field(references, tmp_path, write_rate):
    """Return (function that writes an exposure: number, change of its header -> path; path of the catalogue)."""
    manifest = json.loads(references[0].read_text())
    manifest["references"]["dark"].update(file=None, source="override", status="n/a", note="test", reason="off")
    references[0].write_text(json.dumps(manifest))
    header = product.read(write_rate(1.0)).keywords
    random = np.random.default_rng(8)
    x, y = scene.place_apart(N_STAR, SHAPE, separation=13, margin=-6, stream=random)
    ra, dec = scene.pixel_to_sky(x, y, BASE, IDEAL)
    flux = 10 ** random.uniform(3.2, 4.3, N_STAR)
    off = random.normal(0, 0.005 * 0.004 / 3600, (2, N_STAR))  # errors of the catalogue
    columns = {"ra_deg": ra + off[0], "dec_deg": dec + off[1], "mag": 25 - 2.5 * np.log10(flux)}
    Table(columns).write(tmp_path / "stars.ecsv")
    sources = [
        {"ra_deg": a, "dec_deg": d, "flux_e_per_s": f, "radius_pix": 0} for a, d, f in zip(ra, dec, flux, strict=True)
    ]

    def write(number, **changes):
        move = np.array(DITHERS[number - 1]) * 0.004
        centre = scene.instrument_to_sky(*move, BASE)
        pointing = (*map(float, centre), BASE[2])
        # the header is off by 4 pixels and 0.02 deg
        said = {"RA": pointing[0] + 4e-6, "DEC": pointing[1] - 3e-6, "PA": BASE[2] + 0.02}
        light = scene.render_sources(sources, pointing, DISTORTED, PSF)
        response = 1 + 0.02 * np.random.default_rng(6).standard_normal(SHAPE)
        error = np.sqrt((light + 20) / 80 + 0.1)
        rate = (light + 20) * response + np.random.default_rng(number).normal(0, error)
        arrays = {"SCI": rate.astype(np.float32), "ERR": error.astype(np.float32), "DQ": np.zeros(SHAPE, np.uint32)}
        arrays["DQ"][np.random.default_rng(number).random(SHAPE) < 0.001] = 1
        path = tmp_path / f"field_{number}.fits"
        keywords = header | {"IMTYPE": "ASTROM", "EXPNUM": number} | said | changes
        product.write(path, product.Product(keywords, arrays, {"SCI": "electron/s", "ERR": "electron/s"}))
        return path

    return write, tmp_path / "stars.ecsv"


def measure_error(made):
    """Return the rms of a component of a distortion less the truth, a shift and a rotation apart."""
    y, x = np.mgrid[1 : SHAPE[0] + 1, 1 : SHAPE[1] + 1].astype(float)
    ideal = scene.undistort(x, y, DISTORTED)
    left = np.stack([made.arrays[n] - (true - own) for n, true, own in zip(("DX", "DY"), ideal, (x, y), strict=True)])
    left -= left.mean(axis=(1, 2), keepdims=True)
    u, v = x - x.mean(), y - y.mean()
    turn = (left[1] * u - left[0] * v).sum() / (u**2 + v**2).sum()
    return np.sqrt(np.mean((left - turn * np.stack([-v, u])) ** 2))


def test_distortion_from_a_star_field(field, combine, tmp_path):
    write, catalogue = field
    paths = [write(k) for k in range(1, 6)]
    result = combine(main, paths, tmp_path / "distortion.fits", catalogue=catalogue, **OPTIONS)
    assert result.exit_code == 0, result.output
    made = product.read(tmp_path / "distortion.fits", models="DistortionModel")
    facts = {name: json.loads(value) for step, name, value in made.parameters if step == "distortion"}
    assert measure_error(made) < 0.02
    assert made.arrays["SCI"].max() > 2
    assert facts["n_star"] > 0.75 * 5 * N_STAR
    assert facts["residual_pix"] < 0.02
    assert (made.keywords["REFTYPE"], made.keywords["USEAFTER"]) == ("DISTORTION", "2024-09-24T22:00:00")


def test_an_exposure_that_points_elsewhere_is_left_out_and_too_few_are_refused(field, combine, tmp_path):
    write, catalogue = field
    paths = [write(k) for k in (1, 2, 3)]
    off = write(4, DEC=BASE[1] + 5.0)
    result = combine(main, [*paths, off], tmp_path / "distortion.fits", catalogue=catalogue, **OPTIONS)
    assert result.exit_code == 0, result.output
    made = product.read(tmp_path / "distortion.fits")
    (line,) = [line for line in made.history if line.startswith("left out")]
    assert line.startswith("left out: exposure 4: no star of the catalogue in the field: the nearest is 5 deg from RA")
    result = combine(main, [*paths[:2], off], tmp_path / "x.fits", catalogue=catalogue, **OPTIONS, mark_refusal=True)
    assert result.exit_code == 0, result.output
    refusal = product.read(tmp_path / "x.fits", models="DistortionModel").refusal
    assert refusal.startswith("2 exposures match the catalogue of stars, at least 3 needed (exposure 4: no star")


def test_no_catalogue_few_stars_and_a_rough_fit_are_refused(field, combine, tmp_path):
    write, catalogue = field
    paths = [write(k) for k in (1, 2, 3)]
    result = combine(main, paths, tmp_path / "x.fits", **OPTIONS)
    assert "no catalogue of stars: name one in make_field_distortion: catalogue" in result.output
    options = OPTIONS | {"catalogue": catalogue}
    result = combine(main, paths, tmp_path / "x.fits", **options | {"minimum_stars": 95})
    assert "0 exposures match the catalogue of stars, at least 3 needed (exposure 1: " in result.output
    assert "at least 95 needed" in result.output
    result = combine(main, paths, tmp_path / "x.fits", **options | {"maximum_residual_pix": 0.001})
    assert "are off a smooth distortion by 0.0" in result.output
    table = Table.read(catalogue)[:25]
    table.write(tmp_path / "few.ecsv")
    result = combine(main, paths, tmp_path / "x.fits", **options | {"catalogue": tmp_path / "few.ecsv", "order": 8})
    assert result.exit_code == 1
    assert "at least" in result.output
