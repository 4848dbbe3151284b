"""Coordinates of a detector: known places on the sky, against formulas written out here."""

from pathlib import Path

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from drs.errors import ReductionError
from drs.schema import load_yaml
from drs.simulation import scene
from drs.wcs import build_cube_wcs, build_wcs, find_pointing, measure_area

INSTRUMENTS = Path(__file__).resolve().parents[2] / "config" / "instruments"
SHAPE = (40, 60)
CENTRE = {"scale_arcsec": 0.004, "centre_x_arcsec": 0.0, "centre_y_arcsec": 0.0, "rotation_deg": 0.0}


def offset_of(wcs, x, y, ra=150.0, dec=60.0):
    """Return (east, north) of a 1-based pixel from the pointing in arcsec, by spherical trigonometry."""
    lon, lat = WCS(wcs).wcs_pix2world(x, y, 1)
    pointing = SkyCoord(ra, dec, unit="deg")
    east, north = pointing.spherical_offsets_to(SkyCoord(lon, lat, unit="deg"))
    return east.arcsec, north.arcsec


@pytest.mark.parametrize(
    ("pa_deg", "east_per_x", "north_per_x", "east_per_y", "north_per_y"),
    [(0, -1, 0, 0, 1), (90, 0, 1, 1, 0), (180, 1, 0, 0, -1), (37, -0.798636, 0.601815, 0.601815, 0.798636)],
)
def test_axes_on_the_sky(pa_deg, east_per_x, north_per_x, east_per_y, north_per_y):
    wcs = build_wcs(150.0, 60.0, pa_deg, CENTRE, SHAPE)
    assert offset_of(wcs, 30.5, 20.5) == pytest.approx((0, 0), abs=1e-9)
    assert offset_of(wcs, 40.5, 20.5) == pytest.approx((0.04 * east_per_x, 0.04 * north_per_x), abs=1e-7)
    assert offset_of(wcs, 30.5, 30.5) == pytest.approx((0.04 * east_per_y, 0.04 * north_per_y), abs=1e-7)


def test_detectors_lie_where_the_instrument_has_them():
    detector = CENTRE | {"centre_x_arcsec": 8.792, "centre_y_arcsec": -3.0}
    assert offset_of(build_wcs(150.0, 60.0, 0, detector, SHAPE), 30.5, 20.5) == pytest.approx((-8.792, -3.0), abs=1e-5)
    assert offset_of(build_wcs(150.0, 60.0, 90, detector, SHAPE), 30.5, 20.5) == pytest.approx((-3.0, 8.792), abs=1e-5)


def test_a_subarray_has_the_coordinates_of_its_part_of_the_detector():
    whole = build_wcs(150.0, 60.0, 37.0, CENTRE, SHAPE)
    part = build_wcs(150.0, 60.0, 37.0, CENTRE, SHAPE, corner=(11, 21))
    assert offset_of(part, 3, 5) == pytest.approx(offset_of(whole, 23, 15), abs=1e-9)


@pytest.mark.parametrize("rotation_deg", [0.0, 90.0, -25.0])
def test_a_turned_detector_keeps_its_centre_and_turns_its_axes(rotation_deg):
    detector = CENTRE | {"centre_x_arcsec": 8.792, "centre_y_arcsec": -3.0, "rotation_deg": rotation_deg}
    wcs = build_wcs(150.0, 60.0, 0, detector, SHAPE)
    assert offset_of(wcs, 30.5, 20.5) == pytest.approx((-8.792, -3.0), abs=1e-5)
    step = np.subtract(offset_of(wcs, 30.5, 21.5), offset_of(wcs, 30.5, 20.5))
    expected = 0.004 * np.array([np.sin(np.deg2rad(rotation_deg)), np.cos(np.deg2rad(rotation_deg))])
    np.testing.assert_allclose(step, expected, atol=1e-7)


@pytest.mark.parametrize("pa_deg", [0.0, 37.0, 90.0, 180.0])
@pytest.mark.parametrize("rotation_deg", [0.0, 12.0])
def test_stars_in_cubes_are_where_the_coordinates_say(pa_deg, rotation_deg):
    field = {"scale_arcsec": 0.009, "centre_x_arcsec": 0.05, "centre_y_arcsec": -0.02, "rotation_deg": rotation_deg}
    geometry = {"size_x_pix": 24, "size_y_pix": 18, **field}
    pointing = (150.0, 2.0, pa_deg)
    keys = build_cube_wcs(find_pointing({"RA": 150.0, "DEC": 2.0, "PA": pa_deg}), field, (18, 24), 1.6 + np.arange(5))
    for place in ((7.3, 11.6), (15.0, 6.2)):
        ra, dec = scene.pixel_to_sky(*place, pointing, geometry)
        star = {"ra_deg": ra, "dec_deg": dec, "flux_e_per_s": 1.0, "radius_pix": 0.0}
        psf = {"core_fwhm_pix": 2.0, "halo_fwhm_pix": 2.0, "core_fraction": 1.0}
        image = scene.render_sources([star], pointing, geometry, psf)
        y, x = np.indices(image.shape)
        found = (image * x).sum() / image.sum(), (image * y).sum() / image.sum()
        expected = WCS(keys).wcs_world2pix([[ra, dec, 1.6e-6]], 0)[0][:2]
        assert np.hypot(*(np.array(found) - expected)) < 0.01
    assert WCS(keys).wcs_pix2world([[0, 0, 3]], 0)[0][2] == pytest.approx(4.6e-6)


FIELDS = {
    f"{name} {mode} {scale}": {"scale_arcsec": scale, **{key: field[key] for key in CENTRE if key in field}}
    for name in ("iris", "liger")
    for mode, field in load_yaml(INSTRUMENTS / f"{name}.yaml")["detectors"]["IFS"]["fields"].items()
    for scale in field["scales_arcsec"]
}


@pytest.mark.parametrize("pa_deg", [0.0, 37.0, 90.0, 180.0])
@pytest.mark.parametrize("mode", FIELDS)
def test_stars_are_in_place_in_every_mode(mode, pa_deg):
    field, shape = FIELDS[mode], (22, 30)
    pointing = {"ra_deg": 150.0, "dec_deg": 60.0, "pa_deg": pa_deg}
    geometry = {"size_x_pix": shape[1], "size_y_pix": shape[0], **field}
    wcs = WCS(build_cube_wcs(pointing, field, shape, 1.6 + 2e-4 * np.arange(5)))
    psf = {"core_fwhm_pix": 1.6, "halo_fwhm_pix": 3.0, "core_fraction": 0.8}
    for x, y in ((9.3, 8.6), (20.0, 12.2)):
        east, north = offset_from_middle(x - (shape[1] + 1) / 2, y - (shape[0] + 1) / 2, pa_deg, field["scale_arcsec"])
        star = SkyCoord(150.0, 60.0, unit="deg").spherical_offsets_by(east * units.arcsec, north * units.arcsec)
        source = {"ra_deg": star.ra.deg, "dec_deg": star.dec.deg, "flux_e_per_s": 1.0, "radius_pix": 0.0}
        image = scene.render_sources([source], tuple(pointing.values()), geometry, psf)
        found = [(image * axis).sum() / image.sum() + 1 for axis in np.indices(image.shape)[::-1]]
        np.testing.assert_allclose(found, (x, y), atol=0.01)
        np.testing.assert_allclose(
            wcs.wcs_world2pix([[star.ra.deg, star.dec.deg, 1.6e-6]], 1)[0][:2], (x, y), atol=1e-3
        )


def offset_from_middle(dx_pix, dy_pix, pa_deg, scale_arcsec):
    """Return (east, north), arcsec, of spaxels from the middle: at position angle 0 +x is west and +y north."""
    sine, cosine = np.sin(np.deg2rad(pa_deg)), np.cos(np.deg2rad(pa_deg))
    return scale_arcsec * (-dx_pix * cosine + dy_pix * sine), scale_arcsec * (dx_pix * sine + dy_pix * cosine)


def test_a_header_without_pointing_is_refused():
    with pytest.raises(ReductionError, match="no DEC, PA in the header"):
        find_pointing({"RA": 1.0})


def test_the_area_of_a_pixel_is_that_of_its_place():
    """x + 0.01 u + 1e-4 u^2 and y + 2e-4 u v, from the pixel of CRPIX: (1.01 + 2e-4 u) (1 + 2e-4 u)."""
    header = build_wcs(150.0, 2.0, 20.0, CENTRE, SHAPE)
    assert measure_area(header, 3.0, 4.0) == pytest.approx(1.0)
    sip = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2}
    header |= sip | {"A_1_0": 0.01, "A_2_0": 1e-4, "B_1_1": 2e-4}
    u = np.array([-20.0, 0.0, 13.5])
    area = measure_area(header, header["CRPIX1"] - 1 + u, np.full(3, 5.0))
    np.testing.assert_allclose(area, (1.01 + 2e-4 * u) * (1 + 2e-4 * u), rtol=1e-6)
