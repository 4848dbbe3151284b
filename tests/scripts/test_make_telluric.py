"""make_telluric: the transmission of the air from the cubes of a star, several exposures, what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table
from cubefiles import GRID_UM, SHAPE, render_stars, write_cube

from drs import product
from drs.telluric import blackbody, hydrogen_lines
from make_telluric import main

OPTIONS = {"useafter": "2024-09-25T10:00:00", "minimum": 1, "aperture_pix": 5, "temperature_k": 9550}
OPTIONS |= {"minimum_signal_to_noise": 50}
STAR = [(12.4, 15.7, 20000.0)]
AIR = 1 - 0.4 * np.exp(-0.5 * ((GRID_UM - 1.6341) / 2.5e-4) ** 2)


def write_star(path, number, *, light=1.0, **keywords):
    """Write the cube of a star behind air."""
    spectrum = light * AIR * blackbody(GRID_UM, 9550.0)
    values = render_stars(stars=STAR) * spectrum[:, np.newaxis, np.newaxis]
    return write_cube(path, number, values, IMTYPE="TELLURIC", OBJECT="HD-1", AIRMASS=1.1 + 0.1 * number, **keywords)


def test_the_transmission_is_the_true_one(run, tmp_path):
    paths = [write_star(tmp_path / f"{k}.fits", k, light=light) for k, light in ((1, 1.0), (2, 0.8))]
    result = run(main, cube=paths, output=tmp_path / "out.fits", **OPTIONS)
    assert result.exit_code == 0, result.output
    made = product.read(tmp_path / "out.fits", models="TelluricModel")
    assert made.arrays["SCI"].shape == (1, SHAPE[0])
    np.testing.assert_allclose(made.arrays["WAVELENGTH"][0], GRID_UM)
    scale = np.percentile(AIR, 95)
    pulls = (made.arrays["SCI"][0] * scale - AIR) / (made.arrays["ERR"][0] * scale)
    assert np.abs(made.arrays["SCI"][0] * scale / AIR - 1).max() < 0.01
    assert 0.3 < pulls.std() < 2.0
    keywords = made.keywords
    assert (keywords["REFTYPE"], keywords["GRATING"], keywords["SCALE"]) == ("TELLURIC", "4000-H", 0.009)
    assert (keywords["AIRMASS"], keywords["NCOMBINE"], keywords["TELNLIN"]) == (1.25, 2, 0)
    assert keywords["TELERR"] < 0.005
    assert "OBJECT" not in keywords
    profile = made.arrays["PROFILE"]
    assert profile.shape == SHAPE[1:]
    assert profile.sum() == pytest.approx(1)
    assert np.hypot(*np.subtract(np.unravel_index(profile.argmax(), profile.shape), STAR[0][:2])) < 1


def test_a_refused_cube_is_left_out(run, tmp_path):
    paths = [write_star(tmp_path / f"{k}.fits", k) for k in (1, 2)]
    with product.mark_refusal(paths[0], product.read(paths[0]), mark=True):
        raise product.ReductionError("no matrix")
    result = run(main, cube=paths, output=tmp_path / "out.fits", **OPTIONS)
    assert result.exit_code == 0, result.output
    assert product.read(tmp_path / "out.fits").history == ("left out: 1.fits: no matrix",)


@pytest.mark.parametrize(
    ("light", "changes", "message"),
    [
        (0.0, {}, "2.fits shows no star"),
        (1.0, {"GRATING": "8000-H"}, "GRATING is 4000-H in 1.fits, 8000-H in 2.fits"),
        (1.0, {"grid_um": GRID_UM + 1e-4}, "2.fits has another wavelength grid than the first"),
    ],
)
def test_what_does_not_fit_is_refused(run, tmp_path, light, changes, message):
    paths = [write_star(tmp_path / "1.fits", 1), write_star(tmp_path / "2.fits", 2, light=light, **changes)]
    result = run(main, cube=paths, output=tmp_path / "out.fits", **OPTIONS)
    assert result.exit_code == 1
    assert message in result.output
    result = run(main, cube=paths, output=tmp_path / "out.fits", mark_refusal=True, **OPTIONS)
    assert result.exit_code == 0
    assert message in product.read(tmp_path / "out.fits", models="TelluricModel").refusal


def test_a_faint_star_is_refused(run, tmp_path):
    paths = [write_star(tmp_path / "1.fits", 1, light=0.02)]
    result = run(main, cube=paths, output=tmp_path / "out.fits", **OPTIONS)
    assert result.exit_code == 1
    assert "times its noise in a bin, at least 50 needed" in result.output


def write_model(path, *, start_um=1.62):
    """Write the spectrum of a star of falling flux density with a line of hydrogen at rest, 1.6412 um, in the bins."""
    fine = np.arange(start_um, 1.66, 2e-5)
    flux = fine**-4.0 * (1 - 0.3 * np.exp(-np.abs(fine - hydrogen_lines(1.63, 1.645)[0]) / 8e-4))
    Table({"WAVELENGTH": fine * u.um, "FLUX": flux * u.Unit("W m-2 um-1")}).write(path, format="ascii.ecsv")
    return path


def test_a_model_takes_the_place_of_the_blackbody(run, tmp_path):
    table = write_model(tmp_path / "vega.ecsv")
    known, grid_um = Table.read(table), 1.6330 + 2e-4 * np.arange(64)
    star = np.interp(grid_um, known["WAVELENGTH"], known["FLUX"] * known["WAVELENGTH"])
    air = 1 - 0.4 * np.exp(-0.5 * ((grid_um - 1.6361) / 2.5e-4) ** 2)
    spectrum = star / star.mean() * air
    values = render_stars(stars=STAR, shape=(64, *SHAPE[1:])) * spectrum[:, np.newaxis, np.newaxis]
    cube = write_cube(tmp_path / "1.fits", 1, values, grid_um=grid_um, IMTYPE="TELLURIC", OBJECT="HD-1")
    result = run(main, cube=[cube], model=table, output=tmp_path / "out.fits", **OPTIONS)
    assert result.exit_code == 0, result.output
    made = product.read(tmp_path / "out.fits", models="TelluricModel")
    ratio = made.arrays["SCI"][0] / air
    assert np.std(ratio / np.median(ratio)) < 0.01  # measured 0.003
    assert (made.keywords["TELFROM"], made.keywords["TELNLIN"]) == ("vega.ecsv", 1)
    assert abs(made.keywords["TELRV"]) < 20
    run(main, cube=[cube], output=tmp_path / "body.fits", **OPTIONS)
    assert product.read(tmp_path / "body.fits").keywords["TELFROM"] == "blackbody"


def test_a_model_that_does_not_fit_is_refused(run, tmp_path):
    cubes = [write_star(tmp_path / "1.fits", 1)]
    short = write_model(tmp_path / "short.ecsv", start_um=1.634)
    result = run(main, cube=cubes, model=short, output=tmp_path / "out.fits", **OPTIONS)
    assert "the model of the star is known from 1.634 to 1.66 um" in result.output
    other = product.read(cubes[0])
    product.write(tmp_path / "2.fits", replace(other, keywords=other.keywords | {"OBJECT": "HD-9"}))
    cubes.append(tmp_path / "2.fits")
    result = run(main, cube=cubes, model=write_model(tmp_path / "m.ecsv"), output=tmp_path / "out.fits", **OPTIONS)
    assert "OBJECT is HD-1 in 1.fits, HD-9 in 2.fits" in result.output
