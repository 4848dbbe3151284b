"""calibrate_image: dark, flat, each kind of sky, coordinates, references in the header, refusals handed on."""

import json
from functools import partial
from pathlib import Path

import erfa
import numpy as np
import pytest
from astropy.wcs import WCS
from images import LEFT_OUT
from stars import observe_stars

from calibrate_image import main
from drs import product
from drs.offsets import find_stars
from drs.schema import load_yaml
from drs.simulation import scene as simulated
from drs.simulation.observed import observe_offsets

IRIS = Path(__file__).resolve().parents[2] / "config" / "instruments" / "iris.yaml"
LIMITS = {"sky_frames": 8, "sky_minimum": 3, "sky_offset_pix": 4}
LIMITS |= LEFT_OUT


@pytest.fixture
def calibrate(run, references, tmp_path):
    """Return a function that calibrates a Level 1 file: -> (result, product or None)."""
    manifest, cache = references

    def invoke(rate, **options):
        output = tmp_path / "out.fits"
        options = {"sky_method": "median", "source_threshold_sigma": 3} | LIMITS | options
        result = run(
            main,
            rate=rate,
            manifest=manifest,
            cache=cache,
            night_cache=tmp_path,
            instrument=IRIS,
            output=output,
            **options,
        )
        return result, product.read(output) if output.exists() else None

    return invoke


def scene(sky=50.0, star=800.0):
    """Return what the detector sees of a sky and a star: dark, and twice the light in column 5."""
    rate = np.full((24, 31), sky)
    rate[12, 20] += star
    rate[:, 5] *= 2
    return rate + 0.25


def test_dark_flat_and_median_sky(calibrate, write_rate):
    result, image = calibrate(write_rate(scene()))
    assert result.exit_code == 0, result.output
    assert image.arrays["SCI"][12, 20] == pytest.approx(800, abs=2)
    blank = np.delete(image.arrays["SCI"].ravel(), 12 * 31 + 20)
    assert blank.mean() == pytest.approx(0, abs=0.1)
    assert image.arrays["ERR"][0, 5] == pytest.approx(0.25, rel=0.05)
    assert image.arrays["ERR"][0, 6] == pytest.approx(0.5, rel=0.05)
    assert {
        "DATALVL": 2,
        "R_DARK": "iris_img1_dark_20240101t000000_0.0.1.fits",
        "CRDS_CTX": "ligeriri_0001.pmap",
    }.items() <= image.keywords.items()
    assert {image.keywords[key] for key in ("S_DARK", "S_FLAT", "S_SKYSUB", "S_WCS")} == {"COMPLETE"}
    assert {name: value for step, name, value in image.parameters if step == "sky"}["method"] == '"median"'


def change_manifest(references, **entries):
    """Change entries of the manifest: type -> what is different."""
    manifest = json.loads(references[0].read_text())
    for kind, changes in entries.items():
        manifest["references"][kind].update(changes)
    references[0].write_text(json.dumps(manifest))


def test_an_override_and_how_it_differs_are_in_the_history(calibrate, write_rate, references):
    file = next(references[1].rglob("*flat*.fits"))
    told = {"file": str(file), "source": "override", "note": "exposures.yaml: cloudy", "reason": "FILTER is J"}
    change_manifest(references, flat=told)
    result, image = calibrate(write_rate(scene()))
    assert result.exit_code == 0, result.output
    assert image.history == (f"override of flat: {file.name} by exposures.yaml: cloudy; FILTER is J",)


def test_a_reference_that_is_switched_off_leaves_its_step_out(calibrate, write_rate, references):
    nothing = {"file": None, "source": "override", "status": "n/a", "note": "config.yaml", "reason": "switched off"}
    change_manifest(references, flat=nothing, dark=nothing)
    rate = write_rate(scene())
    result, image = calibrate(rate, sky_method="none")
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(image.arrays["SCI"], product.read(rate).arrays["SCI"])
    for key in ("S_DARK", "S_FLAT"):
        assert image.keywords[key] == "SKIPPED: by configuration"
    assert (image.keywords["R_DARK"], image.keywords["R_FLAT"]) == ("N/A", "N/A")
    assert image.history == ("override of dark: none by config.yaml", "override of flat: none by config.yaml")


def test_pointing_becomes_coordinates(calibrate, write_rate):
    _, image = calibrate(write_rate(scene()))
    assert (image.wcs["CRVAL1"], image.wcs["CRVAL2"]) == (150.0, 2.0)
    assert image.wcs["CRPIX1"] == pytest.approx(16 - 8.792 / 0.004)


def test_sky_frame_is_scaled_to_the_image(calibrate, write_rate, tmp_path):
    gradient = np.linspace(0.9, 1.1, 31)
    sky = product.read(write_rate(50 * gradient * np.ones((24, 1)), 7, "SKY"))
    sky = product.Product(sky.keywords | {"DATAMODL": "SkyModel"}, sky.arrays, sky.units)
    product.write(tmp_path / "sky.fits", sky)
    rate = 60 * gradient * np.ones((24, 1))
    rate[:, 5] *= 2
    result, image = calibrate(write_rate(rate + 0.25), sky=tmp_path / "sky.fits", sky_method="frame")
    assert result.exit_code == 0, result.output
    columns = image.arrays["SCI"].mean(axis=0)
    assert np.abs(columns).max() < 0.6
    with product.mark_refusal(tmp_path / "sky.fits", sky, mark=True):
        raise product.ReductionError("too few")
    result, image = calibrate(write_rate(rate + 0.25), sky=tmp_path / "sky.fits", sky_method="frame")
    assert result.exit_code == 0
    assert np.abs(image.arrays["SCI"].mean(axis=0)).max() > 3


def test_sky_can_be_kept(calibrate, write_rate):
    _, image = calibrate(write_rate(scene()), sky_method="none")
    assert np.median(image.arrays["SCI"]) == pytest.approx(50, abs=0.2)
    assert image.keywords["S_SKYSUB"].startswith("SKIPPED")


def test_a_refused_exposure_is_refused_again_with_its_reason(calibrate, write_rate):
    path = write_rate(scene())
    with product.mark_refusal(path, product.read(path), mark=True):
        raise product.ReductionError("the ramp is cut")
    result, image = calibrate(path)
    assert (result.exit_code, image) == (1, None)
    assert "the ramp is cut" in result.output
    result, image = calibrate(path, mark_refusal=True)
    assert (result.exit_code, image.refusal) == (0, "the ramp is cut")


def test_an_exposure_without_pointing_is_refused(calibrate, write_rate):
    path = write_rate(scene())
    image = product.read(path)
    keywords = {key: value for key, value in image.keywords.items() if key != "RA"}
    product.write(path, product.Product(keywords, image.arrays, image.units))
    result, _ = calibrate(path)
    assert result.exit_code == 1
    assert "no RA in the header" in result.output
    assert "Traceback" not in result.output


def test_a_subarray_takes_its_part_of_the_calibrations(calibrate, write_rate):
    whole = product.read(write_rate(scene(), 1))
    arrays = {name: array[4:20, 3:27].copy() for name, array in whole.arrays.items()}
    keywords = whole.keywords | {"SUBARRAY": "CUSTOM", "SUBARRID": 1, "SUBSTRT1": 4, "SUBSTRT2": 5}
    keywords |= {"DETXSIZE": 31, "DETYSIZE": 24}
    path = write_rate(scene(), 2)
    product.write(path, product.Product(keywords, arrays, whole.units))
    result, part = calibrate(path)
    assert result.exit_code == 0, result.output
    _, full = calibrate(write_rate(scene(), 1))
    np.testing.assert_allclose(part.arrays["SCI"], full.arrays["SCI"][4:20, 3:27], atol=0.2)
    assert part.wcs["CRPIX1"] == pytest.approx(full.wcs["CRPIX1"] - 3)
    assert part.wcs["CRPIX2"] == pytest.approx(full.wcs["CRPIX2"] - 4)


def test_coordinates_are_tied_to_a_catalogue(calibrate, write_rate, tmp_path):
    y, x = np.array([(5, 8), (6, 24), (18, 9), (17, 26)]).T
    rate = scene(star=0)
    rate[y, x] += 4000
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        rate[y + dy, x + dx] += 1500
    path, table = write_rate(rate), tmp_path / "stars.csv"
    _, before = calibrate(path)
    assert "S_ASTROM" not in before.keywords
    places = WCS(before.wcs).wcs_pix2world(x + 3.2, y - 2.4, 0)
    table.write_text("ra,dec\n" + "".join(f"{ra:.9f},{dec:.9f}\n" for ra, dec in zip(*places, strict=True)))
    result, image = calibrate(path, astrometry_catalogue=table)
    assert result.exit_code == 0, result.output
    assert (image.keywords["ASTRNST"], image.keywords["S_ASTROM"]) == (4, "COMPLETE")
    assert np.stack(WCS(image.wcs).wcs_world2pix(*places, 0)) == pytest.approx(np.stack([x, y]), abs=0.05)
    table.write_text("ra,dec\n10.0,20.0\n")
    result, image = calibrate(path, astrometry_catalogue=table)
    assert result.exit_code == 0, result.output
    assert image.keywords["S_ASTROM"].startswith("SKIPPED")
    assert image.wcs == before.wcs
    table.write_text("nothing")
    result, _ = calibrate(path, astrometry_catalogue=table)
    assert (result.exit_code, "has no column ra_deg" in result.output) == (1, True)


def test_cosmic_rays_are_flagged_on_request(calibrate, write_rate):
    rate = scene(star=0)
    rate[[4, 11, 18], [8, 22, 14]] += 40
    path = write_rate(rate)
    _, before = calibrate(path)
    assert (before.arrays["DQ"] == 0).all()
    assert "S_COSMIC" not in before.keywords
    result, image = calibrate(path, cosmic_rays="yes")
    assert result.exit_code == 0, result.output
    assert sorted(zip(*np.nonzero(image.arrays["DQ"]), strict=True)) == [(4, 8), (11, 22), (18, 14)]
    assert set(np.unique(image.arrays["DQ"])) == {0, 5}
    np.testing.assert_array_equal(image.arrays["SCI"], before.arrays["SCI"])
    assert image.keywords["S_COSMIC"] == "COMPLETE"
    assert image.history == ("L.A.Cosmic: 3 pixels of cosmic rays are not to be used",)


def test_refraction_is_taken_out_on_request(calibrate, write_rate):
    path = write_rate(scene(), EXPMJDMD=60752.35)
    images = {}
    for asked in ("no", "yes"):
        result, images[asked] = calibrate(path, refraction=asked)
        assert result.exit_code == 0, result.output
    assert images["yes"].keywords["S_REFRAC"] == "COMPLETE"
    assert "S_REFRAC" not in images["no"].keywords
    places = [np.array(WCS(image.wcs).wcs_pix2world(15, 12, 0)) for image in images.values()]
    assert 0.3 < np.hypot(*(places[1] - places[0])) * 3.6e6 / 4 < 3  # pixels of 4 mas, 3000 from the axis


FAR = 55.0  # degrees from the zenith, where the air shrinks a field by 5e-4


@pytest.fixture
def write_far(write_rate, references, tmp_path):
    """Return a function that writes Level 1 stars on a detector 3100 pixels off the axis, as they are seen: -> path."""
    off = {"file": None, "source": "override", "note": "test", "status": "n/a", "reason": "off"}
    change_manifest(references, dark=off, flat=off)
    header, shape = product.read(write_rate(1.0)).keywords, (160, 176)
    instrument = load_yaml(IRIS)
    geometry = instrument["detectors"]["IMG1"] | {"size_y_pix": shape[0], "size_x_pix": shape[1]}
    mjd = 60578.36
    sidereal = np.rad2deg(erfa.gmst82(2400000.5, mjd)) + instrument["longitude_deg"]
    pointing = (float((sidereal - 57.0) % 360), 10.0, 110.0)
    random = np.random.default_rng(5)
    places = simulated.place_apart(25, shape, separation=18, margin=14, stream=random)
    ra, dec = simulated.pixel_to_sky(*places, pointing, geometry)
    air = {"pressure_hpa": 615.0, "temperature_c": 1.0, "humidity": 0.2, "wavelength_um": 1.02}
    observe = partial(observe_offsets, mjd=mjd, site=instrument, air=air)
    x, y = simulated.sky_to_pixel(ra, dec, pointing, geometry | {"observe": observe})
    image = observe_stars(shape, x - 1, y - 1, np.full(25, 15000.0), seed=1)
    keywords = {**header, **dict(zip(("RA", "DEC", "PA"), pointing, strict=True)), "EXPMJDMD": mjd, "FILTER": "Y"}
    arrays = {"SCI": image.rate + np.float32(6.0), "ERR": image.error, "DQ": image.dq}
    path = tmp_path / "far.fits"
    product.write(path, product.Product(keywords, arrays, {"SCI": "electron/s", "ERR": "electron/s"}))
    return path, np.stack([ra, dec]), np.hypot(x - places[0], y - places[1])


def test_refraction_puts_the_stars_back_at_55_degrees_from_the_zenith(calibrate, write_far):
    path, sky, moved = write_far
    assert moved.min() > 1  # pixels that the air and the motion of the Earth move them
    result, image = calibrate(path, refraction="yes", filters=IRIS.with_name("filters.csv"))
    assert result.exit_code == 0, result.output
    assert image.keywords["ZENDIST"] == pytest.approx(FAR, abs=1)
    places = np.stack(WCS(image.wcs).all_world2pix(*sky, 0))
    found = find_stars(image.image.rate, image.image.error, image.image.unusable)[:2]
    apart = np.linalg.norm(found[:, :, None] - places[:, None], axis=0)
    nearest = apart.min(axis=0)
    assert nearest.max() < 0.02
    assert np.abs((found[:, apart.argmin(axis=0)] - places).mean(axis=1)).max() < 0.005
    assert json.loads({n: v for s, n, v in image.parameters if s == "refraction"}["wavelength_um"]) == 1.02
