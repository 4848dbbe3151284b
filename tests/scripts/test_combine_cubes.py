"""combine_cubes: light, places, errors, hits, offsets of three kinds; what is left out or refused."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table
from astropy.wcs import WCS
from cubefiles import GRID_UM, NOISE_E_PER_S, SHAPE, STARS, render_stars, write_cube

from combine_cubes import main
from drs import product
from drs.cube import find_wavelengths
from drs.dq import Flag

OPTIONS = {"placing": "subpixel", "clip_sigma": 5, "clip_gradient": 1, "offsets": "header", "max_offset_pix": 6}
OPTIONS |= {"barycentric": "no"}
SHIFTS = ((0.0, 0.0), (2.4, -1.3), (-1.6, 2.7), (0.7, 0.5))


def write_field(folder, shifts=SHIFTS, *, hit=False, wrong=None, **keywords):
    """Write the cubes of one field; `wrong` is (number, (y, x) spaxels) by which a header is off."""
    paths = []
    for number, shift in enumerate(shifts, 1):
        values = render_stars(shift).copy()
        if hit and number == 2:
            values[3:6, 20, 21] += 4000.0
        stated = np.add(shift, wrong[1]) if wrong and wrong[0] == number else shift
        paths.append(write_cube(folder / f"cube_{number}.fits", number, values, shift=stated, **keywords))
    return paths


def measure_stars(cube):
    """Return (flux, distance from the true place in spaxels) of the stars, in the mean of all bins."""
    image = np.nan_to_num(cube.arrays["SCI"].mean(axis=0, dtype=float))
    first = product_wcs(cube)
    found = []
    ys, xs = np.indices(image.shape)
    for y, x, flux in STARS:
        place = first.wcs_world2pix([[*true_place(y, x), 1e-6 * GRID_UM[0]]], 0)[0][1::-1]
        weight = np.where(np.hypot(ys - place[0], xs - place[1]) < 4.5, image, 0)
        centre = (ys * weight).sum() / weight.sum(), (xs * weight).sum() / weight.sum()
        found.append((weight.sum() / flux, np.hypot(*np.subtract(centre, place))))
    return np.array(found).T


def product_wcs(cube):
    """Return the WCS of a cube."""
    return WCS(cube.wcs)


def true_place(y, x):
    """Return RA and Dec of a place in the first cube, from its pointing."""
    from drs.wcs import build_wcs  # the same facts as the cube's header, without its file

    facts = {"scale_arcsec": 0.009, "centre_x_arcsec": 0.0, "centre_y_arcsec": 0.0, "rotation_deg": 0.0}
    return WCS(build_wcs(150.0, 2.0, 0.0, facts, SHAPE[1:])).wcs_pix2world([[x, y]], 0)[0]


@pytest.mark.parametrize("placing", ["subpixel", "integer"])
def test_the_drift_that_cubes_state_is_taken_out(run, tmp_path, placing):
    paths = []
    for number, shift in enumerate(SHIFTS[:2], 1):
        parts = np.linspace(-0.5, 0.5, SHAPE[0])
        moved = [np.array(shift) - part * np.array((0.8, -1.2)) for part in parts]  # of the field, against the image
        values = np.stack([render_stars(place)[k] for k, place in enumerate(moved)])
        stated = {"ADCY0": 0.0, "ADCY1": 0.4, "ADCX0": 0.0, "ADCX1": -0.6, "ADCFROM": "source", "ADCSIZE": 1.44}
        paths.append(write_cube(tmp_path / f"{number}.fits", number, values, shift=shift, **stated, S_ADC="COMPLETE"))
    result = run(main, cube=paths, output=tmp_path / "out.fits", **OPTIONS | {"placing": placing})
    assert result.exit_code == 0, result.output
    cube = product.read(tmp_path / "out.fits", models="IFUCubeModel")
    ends = [
        measure_stars(replace(cube, arrays={"SCI": cube.arrays["SCI"][part]}))[1] for part in (np.s_[:2], np.s_[-2:])
    ]
    if placing == "subpixel":
        assert np.max(ends) < 0.06
        assert cube.keywords["S_ADC"] == "COMPLETE"
        assert cube.keywords["NOISSPAT"] > 1.2
    else:
        assert np.max(ends) > 0.5
        assert cube.keywords["S_ADC"] == "SKIPPED: cubes are moved by whole spaxels"
    assert not any(key.startswith("ADC") for key in cube.keywords)


@pytest.mark.parametrize("placing", ["subpixel", "integer"])
def test_light_places_and_errors(run, tmp_path, placing):
    paths = write_field(tmp_path, hit=True)
    result = run(main, cube=paths, output=tmp_path / "out.fits", **OPTIONS | {"placing": placing})
    assert result.exit_code == 0, result.output
    cube = product.read(tmp_path / "out.fits", models="IFUCubeModel", unit="electron/s")
    ratio, away = measure_stars(cube)
    np.testing.assert_allclose(ratio, 1.0, atol=0.01)
    assert away.max() < (0.05 if placing == "subpixel" else 0.4)
    deep = cube.arrays["CON"] == len(SHIFTS)
    assert np.count_nonzero(cube.arrays["DQ"] & Flag.OUTLIER) > 2
    assert cube.arrays["EXP"].max() == pytest.approx(280.0)
    assert (cube.arrays["WHT"][deep] <= 280.001).all()
    blank = deep & find_blank(cube)
    pulls = (cube.arrays["SCI"] / cube.arrays["ERR"])[blank]
    assert abs(pulls.mean()) < 5 / np.sqrt(pulls.size)
    assert pulls.std() == pytest.approx(1.0, abs=0.05)
    assert cube.keywords["DATALVL"] == 3
    assert (cube.keywords["NCOMBINE"], cube.keywords["TOTTIME"], cube.keywords["NOISCORR"]) == (4, 280.0, 1.1)
    assert cube.keywords["NOISSPAT"] == (1.0 if placing == "integer" else pytest.approx(1.55, abs=0.25))
    assert (cube.wcs["CRVAL3"], cube.wcs["CDELT3"]) == pytest.approx((GRID_UM[0], 2e-4))
    assert (cube.keywords["OFFSETS"], cube.keywords["S_COMBIN"]) == ("HEADER", "COMPLETE")


def find_blank(cube):
    """Return the samples far from all stars."""
    ys, xs = np.indices(cube.arrays["SCI"].shape[1:])
    wcs = product_wcs(cube)
    places = [wcs.wcs_world2pix([[*true_place(y, x), 1e-6 * GRID_UM[0]]], 0)[0][1::-1] for y, x, _ in STARS]
    return np.all([np.hypot(ys - y, xs - x) > 7 for y, x in places], axis=0)


def test_measured_offsets_mend_a_header(run, tmp_path):
    paths = write_field(tmp_path, wrong=(3, (1.4, -0.8)))
    for offsets, most in (("header", None), ("measured", 0.06)):
        result = run(main, cube=paths, output=tmp_path / "out.fits", **OPTIONS | {"offsets": offsets})
        assert result.exit_code == 0, result.output
        cube = product.read(tmp_path / "out.fits")
        _, away = measure_stars(cube)
        assert away.max() < most if most else away.max() > 0.1
    (line,) = [line for line in cube.history if line.startswith("offset: cube_3.fits")]
    assert [float(word) for word in line.split()[2:4]] == pytest.approx([0.8, -1.4], abs=0.06)
    assert cube.keywords["OFFSETS"] == "MEASURED"


def test_a_table_says_where_cubes_are(run, tmp_path):
    paths = write_field(tmp_path, wrong=(2, (3.0, 3.0)))
    rows = {"expnum": [1, 2, 3, 4], "east_arcsec": [-0.009 * x for _, x in SHIFTS]}
    table = tmp_path / "offsets.ecsv"
    Table(rows | {"north_arcsec": [0.009 * y for y, _ in SHIFTS]}).write(table, format="ascii.ecsv")
    result = run(main, cube=paths, output=tmp_path / "out.fits", **OPTIONS | {"offsets": table})
    assert result.exit_code == 0, result.output
    cube = product.read(tmp_path / "out.fits")
    assert measure_stars(cube)[1].max() < 0.05
    assert cube.keywords["OFFSETS"] == "FILE"


def test_one_cube_is_kept_as_it_is(run, tmp_path):
    paths = write_field(tmp_path, shifts=[(0.0, 0.0)])
    result = run(main, cube=paths, output=tmp_path / "out.fits", **OPTIONS)
    assert result.exit_code == 0, result.output
    cube, own = product.read(tmp_path / "out.fits"), product.read(paths[0])
    np.testing.assert_allclose(cube.arrays["SCI"], own.arrays["SCI"], rtol=1e-5)
    np.testing.assert_allclose(cube.arrays["ERR"], NOISE_E_PER_S, rtol=1e-5)
    assert {key: cube.wcs[key] for key in ("CRPIX1", "CRVAL1", "CRVAL3")} == pytest.approx(
        {key: own.wcs[key] for key in ("CRPIX1", "CRVAL1", "CRVAL3")}
    )


@pytest.mark.parametrize("wanted", ["yes", "no"])
def test_wavelengths_of_the_barycentre_on_request(run, tmp_path, wanted):
    paths = [
        write_cube(tmp_path / f"{k}.fits", k, render_stars(), BARYCORR=velocity, TOTTIME=time)
        for k, velocity, time in ((1, -20.0, 100.0), (2, -20.3, 200.0))
    ]
    result = run(main, cube=paths, output=tmp_path / "out.fits", **OPTIONS | {"barycentric": wanted})
    assert result.exit_code == 0, result.output
    cube = product.read(tmp_path / "out.fits")
    assert (cube.keywords["BARYCORR"], cube.keywords["BARYRANG"]) == pytest.approx((-20.2, 0.3))
    status = {"yes": "COMPLETE", "no": "SKIPPED: by configuration"}[wanted]
    assert (cube.keywords["S_BARYCR"], cube.wcs["SPECSYS"]) == (status, {"yes": "BARYCENT", "no": "TOPOCENT"}[wanted])
    factor = 1 - 20.2 / 299792.458 if wanted == "yes" else 1.0
    np.testing.assert_allclose(find_wavelengths(cube), GRID_UM * factor, rtol=1e-12)
    assert cube.arrays["SCI"].shape == SHAPE


def test_a_barycentre_that_cubes_do_not_state(run, tmp_path):
    paths = write_field(tmp_path, shifts=SHIFTS[:1])
    assert run(main, cube=paths, output=tmp_path / "out.fits", **OPTIONS | {"barycentric": "yes"}).exit_code == 0
    cube = product.read(tmp_path / "out.fits")
    assert (cube.keywords["S_BARYCR"], cube.wcs["SPECSYS"]) == ("SKIPPED: cubes without BARYCORR", "TOPOCENT")


def kill(path, where):
    """Write a cube again without values in some samples."""
    cube = product.read(path)
    arrays = {name: plane.copy() for name, plane in cube.arrays.items()}
    arrays["SCI"][where] = arrays["ERR"][where] = np.nan
    arrays["DQ"][where] |= np.uint32(Flag.DO_NOT_USE)
    product.write(path, replace(cube, arrays=arrays))


def test_spaxels_and_cubes_without_any_value(run, tmp_path):
    paths = write_field(tmp_path)
    for path in paths[:3]:
        kill(path, np.s_[:, :, 3:5])  # beside a star in one of them
    kill(paths[3], np.s_[:])
    result = run(main, cube=paths, output=tmp_path / "out.fits", **OPTIONS)
    assert result.exit_code == 0, result.output
    cube = product.read(tmp_path / "out.fits")
    assert cube.arrays["CON"].max() == 3
    fluxes, away = measure_stars(cube)
    np.testing.assert_allclose(fluxes[[0, 1]], 1.0, atol=0.03)
    assert (away < 0.05).all()
    unknown = np.isnan(cube.arrays["SCI"])
    assert (unknown == (cube.arrays["CON"] == 0)).all()
    assert (cube.arrays["DQ"][unknown] & Flag.DO_NOT_USE).all()
    for path in paths[:3]:
        kill(path, np.s_[:])
    result = run(main, cube=paths, output=tmp_path / "out.fits", **OPTIONS)
    assert "all pixels of all images are masked: see their DQ and their calibrations" in result.output


def test_a_refused_cube_is_left_out(run, tmp_path):
    paths = write_field(tmp_path)
    with product.mark_refusal(paths[1], product.read(paths[1]), mark=True):
        raise product.ReductionError("no matrix")
    result = run(main, cube=paths, output=tmp_path / "out.fits", **OPTIONS)
    assert result.exit_code == 0, result.output
    cube = product.read(tmp_path / "out.fits")
    assert (cube.keywords["NCOMBINE"], cube.arrays["CON"].max()) == (3, 3)
    assert cube.history == ("left out: cube_2.fits: no matrix",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid_um": GRID_UM + 1e-5}, r"cube_1.fits has 12 bins from 1.633000 um, other.fits 12 bins from 1.633010 um"),
        (
            {"GRATING": "8000-H"},
            "images of mixed configuration: GRATING is 4000-H in cube_1.fits, 8000-H in other.fits",
        ),
        ({"pa_deg": 8.0}, "other.fits is turned or scaled against the first cube by 2."),
        ({"shift": (300.0, 0.0)}, "overlap no other image"),
    ],
)
def test_what_does_not_fit_is_refused(run, tmp_path, changes, message):
    paths = [
        *write_field(tmp_path, shifts=SHIFTS[:1]),
        write_cube(tmp_path / "other.fits", 2, render_stars(), **changes),
    ]
    result = run(main, cube=paths, output=tmp_path / "out.fits", **OPTIONS)
    assert result.exit_code == 1
    assert message in result.output
    result = run(main, cube=paths, output=tmp_path / "out.fits", mark_refusal=True, **OPTIONS)
    assert result.exit_code == 0
    assert message in product.read(tmp_path / "out.fits", models="IFUCubeModel").refusal
