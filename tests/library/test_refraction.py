"""Differential refraction and aberration of a field against their formulas."""

from pathlib import Path

import erfa
import numpy as np
import pytest
from astropy.wcs import WCS

from drs.errors import ReductionError
from drs.refraction import Air, find_stretch, find_wavelength, stretch_wcs
from drs.wcs import build_wcs

SITE, MJD = {"latitude_deg": 19.8, "longitude_deg": -155.5}, 60578.25
AIR, VACUUM = Air(615.0, 1.0), Air(0.0, 1.0)


def point(hour_angle_deg, dec_deg):
    """Return a pointing at an hour angle."""
    sidereal = np.rad2deg(erfa.gmst82(2400000.5, MJD)) + SITE["longitude_deg"]
    return {"ra_deg": float((sidereal - hour_angle_deg) % 360), "dec_deg": dec_deg}


@pytest.mark.parametrize(("hour_angle_deg", "dec_deg"), [(5.0, 60.0), (50.0, 10.0), (-45.0, -20.0), (-20.0, 20.0)])
def test_refraction_shrinks_a_field_along_the_vertical(hour_angle_deg, dec_deg):
    pointing = point(hour_angle_deg, dec_deg)
    found, bare = (find_stretch(pointing, MJD, SITE, air) for air in (AIR, VACUUM))
    tangent = np.tan(np.deg2rad(found.zenith_deg))
    a, b = erfa.refco(*AIR)
    vertical = (a + 3 * b * tangent**2) * (1 + tangent**2)  # derivative of A tan z + B tan^3 z
    assert found.vertical - bare.vertical == pytest.approx(vertical, abs=2e-6)
    assert found.horizontal - bare.horizontal == pytest.approx(a + b * tangent**2, abs=2e-6)
    assert vertical > 1.6e-4
    h, d, lat = np.deg2rad([hour_angle_deg, dec_deg, SITE["latitude_deg"]])
    zenith = np.rad2deg(np.arccos(np.sin(d) * np.sin(lat) + np.cos(d) * np.cos(lat) * np.cos(h)))
    angle = np.rad2deg(np.arctan2(np.sin(h), np.tan(lat) * np.cos(d) - np.sin(d) * np.cos(h)))
    assert bare.zenith_deg == pytest.approx(zenith, abs=0.4)  # precession
    assert bare.parallactic_deg == pytest.approx(angle, abs=1.0)


def test_aberration_shrinks_a_field_ahead_of_the_earth():
    _, barycentric = erfa.epv00(2400000.5, MJD)
    velocity = barycentric["v"] / 173.1446  # au per day over c
    for hour_angle_deg, dec_deg in ((50.0, 10.0), (-45.0, -20.0)):
        pointing = point(hour_angle_deg, dec_deg)
        direction = erfa.s2c(*np.deg2rad([pointing["ra_deg"], dec_deg]))
        found = find_stretch(pointing, MJD, SITE, VACUUM)
        assert found.vertical == pytest.approx(velocity @ direction, abs=2e-6)
        assert found.horizontal == pytest.approx(velocity @ direction, abs=2e-6)
        assert abs(velocity @ direction) > 2e-5


def test_stars_are_where_their_observed_offsets_say():
    shape = (300, 380)
    detector = {"scale_arcsec": 0.004, "centre_x_arcsec": 8.792, "centre_y_arcsec": 8.792, "rotation_deg": 0.0}
    pointing = point(50.0, 10.0)
    wcs = build_wcs(**pointing, pa_deg=37.0, detector=detector, shape=shape)
    found = find_stretch(pointing, MJD, SITE, AIR)
    tied = stretch_wcs(wcs, found)
    place = np.array([[40.0, 250.0]])
    middle = np.deg2rad(list(pointing.values()))
    sky = [np.deg2rad(WCS(header).wcs_pix2world(place, 0)[0]) for header in (wcs, tied)]
    plane = [np.stack(erfa.tpxes(*at, *middle)[:2]) for at in sky]
    assert plane[1] == pytest.approx(found.matrix @ plane[0], rel=1e-9)
    moved = WCS(tied).wcs_world2pix(WCS(wcs).wcs_pix2world(place, 0), 0) - place
    assert 0.2 < np.hypot(*moved[0]) < 2.0  # pixels, 3100 from the axis
    still = stretch_wcs(wcs, found._replace(matrix=np.eye(2)))
    assert still == pytest.approx(wcs)


def test_the_wavelength_is_that_of_the_filter():
    table = Path(__file__).resolve().parents[2] / "config/instruments/filters.csv"
    assert (find_wavelength(table, "Y"), find_wavelength(table, "Hcont")) == (1.02, 1.5804)
    assert find_wavelength(table, "OPAQUE") == find_wavelength(None, "Y") == 1.6
    blue, red = (find_stretch(point(50.0, 10.0), MJD, SITE, AIR._replace(wavelength_um=w)) for w in (0.88, 2.2))
    assert 2e-6 < blue.vertical - red.vertical < 1e-5


def test_a_pointing_below_the_horizon_is_refused():
    with pytest.raises(ReductionError, match=r"1[0-9]{2}\.[0-9] deg from the zenith, at most 75 expected"):
        find_stretch(point(150.0, -10.0), MJD, SITE, AIR)
