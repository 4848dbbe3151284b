"""Projection against hand computation and astropy; rendered flux against the catalogue."""

import numpy as np
import pytest
from astropy.wcs import WCS

from drs.simulation import scene

ARCSEC_DEG = 1.0 / 3600.0
PSF = {"core_fwhm_pix": 2.6, "halo_fwhm_pix": 6.0, "core_fraction": 0.8}
OFF_AXIS = {
    "size_x_pix": 40,
    "size_y_pix": 30,
    "scale_arcsec": 0.1,
    "centre_x_arcsec": 8.0,
    "centre_y_arcsec": -3.0,
    "rotation_deg": 0.0,
}
ON_AXIS = {**OFF_AXIS, "centre_x_arcsec": 0.0, "centre_y_arcsec": 0.0}


@pytest.mark.parametrize(
    ("pa_deg", "east_arcsec", "north_arcsec", "expected"),
    [
        (0.0, 0.0, 1.0, (20.5, 25.5)),  # north is up
        (0.0, 1.0, 0.0, (10.5, 15.5)),  # east is left
        (90.0, 1.0, 0.0, (20.5, 25.5)),  # the y axis points east
        (90.0, 0.0, 1.0, (30.5, 15.5)),  # and north is at +x
        (180.0, 0.0, 1.0, (20.5, 5.5)),
    ],
)
def test_a_star_one_arcsec_away_lands_where_hand_computation_says(pa_deg, east_arcsec, north_arcsec, expected):
    dec0 = 60.0
    ra = 10.0 + east_arcsec * ARCSEC_DEG / np.cos(np.radians(dec0))
    found = scene.sky_to_pixel(ra, dec0 + north_arcsec * ARCSEC_DEG, (10.0, dec0, pa_deg), ON_AXIS)
    assert found == pytest.approx(expected, abs=1e-3)


def test_the_centre_of_an_off_axis_detector_is_at_its_offset():
    # 8 arcsec along x is 8 arcsec west at PA 0: smaller RA; 3 arcsec along -y is south
    ra, dec = scene.pixel_to_sky(20.5, 15.5, (150.0, 0.0, 0.0), OFF_AXIS)
    assert (ra - 150.0) * 3600 == pytest.approx(-8.0, abs=1e-6)
    assert dec * 3600 == pytest.approx(-3.0, abs=1e-6)


def test_a_turned_detector_turns_about_its_own_centre():
    geometry = {**OFF_AXIS, "rotation_deg": 90.0}
    centre = scene.pixel_to_sky(20.5, 15.5, (150.0, 0.0, 0.0), geometry)
    assert scene.pixel_to_sky(20.5, 15.5, (150.0, 0.0, 0.0), OFF_AXIS) == pytest.approx(centre, abs=1e-12)
    up = scene.pixel_to_sky(20.5, 25.5, (150.0, 0.0, 0.0), geometry)
    assert (up[0] - centre[0]) * 3600 == pytest.approx(1.0, abs=1e-6)  # its y axis points east
    assert scene.sky_to_pixel(*up, (150.0, 0.0, 0.0), geometry) == pytest.approx((20.5, 25.5), abs=1e-5)


@pytest.mark.parametrize("pa_deg", [0.0, 30.0, 90.0, 215.0])
def test_projection_equals_an_independent_wcs(pa_deg):
    pointing = (299.6, -41.0, pa_deg)
    reference = WCS(naxis=2)
    reference.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    reference.wcs.crval = pointing[:2]
    shift = np.array([OFF_AXIS["centre_x_arcsec"], OFF_AXIS["centre_y_arcsec"]]) / OFF_AXIS["scale_arcsec"]
    reference.wcs.crpix = np.array([20.5, 15.5]) - shift
    angle, scale = np.radians(pa_deg), OFF_AXIS["scale_arcsec"] * ARCSEC_DEG
    reference.wcs.cd = scale * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    x_pix, y_pix = np.array([1.0, 40.0, 17.3]), np.array([1.0, 30.0, 22.9])
    expected = reference.wcs_pix2world(x_pix, y_pix, 1)
    assert np.allclose(scene.pixel_to_sky(x_pix, y_pix, pointing, OFF_AXIS), expected, rtol=0, atol=1e-10)
    back = scene.sky_to_pixel(*expected, pointing, OFF_AXIS)
    assert np.allclose(back, (x_pix, y_pix), rtol=0, atol=1e-5)


def test_points_keep_their_distances_and_a_full_field_is_refused():
    stream = np.random.default_rng(3)
    x, y = scene.place_apart(9, (60, 90), separation=14.0, margin=5.0, stream=stream)
    distance = np.hypot(x[:, None] - x, y[:, None] - y) + 99.0 * np.eye(9)
    assert distance.min() >= 14.0
    assert x.min() >= 6.0
    assert x.max() <= 85.0
    assert y.max() <= 55.0
    with pytest.raises(ValueError, match="of 50 points fit"):
        scene.place_apart(50, (20, 30), separation=14.0, margin=5.0, stream=stream)


def test_a_star_has_its_flux_and_its_centroid():
    image, (rows, columns) = scene.render((50, 64), 30.37, 21.81, scene.psf_components(PSF))
    assert image.sum() == pytest.approx(1.0, abs=1e-7)
    y, x = np.mgrid[rows, columns] + 1
    assert (image * x).sum() == pytest.approx(30.37, abs=1e-6)
    assert (image * y).sum() == pytest.approx(21.81, abs=1e-6)


def test_a_pixel_holds_the_integral_over_its_area():
    from scipy.special import erf

    image, (rows, columns) = scene.render((30, 34), 15.3, 12.7, [(1.0, scene.round_covariance(2.0))])
    sigma = 2.0 / scene.FWHM_PER_SIGMA
    edges_x = np.arange(columns.start, columns.stop + 1) + 0.5 - 15.3
    edges_y = np.arange(rows.start, rows.stop + 1) + 0.5 - 12.7
    along_x, along_y = (np.diff(erf(edges / sigma / np.sqrt(2)) / 2) for edges in (edges_x, edges_y))
    assert np.allclose(image, np.outer(along_y, along_x), rtol=0, atol=1e-7)


def test_half_of_a_disc_is_within_its_half_light_radius():
    within = (scene.DISC_WEIGHTS * (1 - np.exp(-0.5 / scene.DISC_VARIANCES))).sum()
    assert within == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("angle_deg", "pa_deg", "along"), [(0, 0, "y"), (90, 0, "x"), (90, 90, "y"), (0, 90, "x")])
def test_a_disc_is_long_along_its_position_angle(angle_deg, pa_deg, along):
    total = sum(weight * covariance for weight, covariance in scene.disc_components(3.0, 0.5, angle_deg, pa_deg))
    assert total[0, 1] == pytest.approx(0.0, abs=1e-12)
    ratio = total[1, 1] / total[0, 0] if along == "y" else total[0, 0] / total[1, 1]
    assert ratio == pytest.approx(4.0)


def test_position_angle_grows_from_north_to_east():
    # at PA 0 and 45 degrees the axis runs to north-east: +y and -x
    (_, covariance), *_ = scene.disc_components(3.0, 0.2, 45.0, 0.0)
    assert covariance[0, 1] < 0


def test_an_object_off_the_detector_leaves_no_light():
    source = {"ra_deg": 10.1, "dec_deg": 0.0, "flux_e_per_s": 1e6, "radius_pix": 0.0}
    assert not scene.render_sources([source], (10.0, 0.0, 0.0), ON_AXIS, PSF).any()


def test_sources_add_up_to_the_flux_of_the_catalogue():
    geometry = {**ON_AXIS, "size_x_pix": 120, "size_y_pix": 100}
    at = [scene.pixel_to_sky(x, y, (10.0, 5.0, 20.0), geometry) for x, y in ((35.2, 40.0), (80.0, 60.6))]
    star = {"ra_deg": at[0][0], "dec_deg": at[0][1], "flux_e_per_s": 120.0, "radius_pix": 0.0}
    shape = {"radius_pix": 3.0, "axis_ratio": 0.6, "angle_deg": 33.0}
    galaxy = {"ra_deg": at[1][0], "dec_deg": at[1][1], "flux_e_per_s": 300.0, **shape}
    image = scene.render_sources([star, galaxy], (10.0, 5.0, 20.0), geometry, PSF)
    assert image.shape == (100, 120)
    assert image.sum() == pytest.approx(420.0, rel=1e-6)
    assert image[39, 34] == image[:, :60].max()
    assert image[60, 79] == image[:, 60:].max()


def test_traces_are_spectra_side_by_side():
    traces = {"n_trace": 5, "fwhm_pix": 2.5, "e_per_s": 40.0, "tilt_pix": 3.0, "line_over_continuum": 8.0}
    image = scene.render_traces((60, 100), **traces)
    assert image.shape == (60, 100)
    for x in (0, 60, 99):
        column, tilt = image[:, x], 3.0 * (x / 99 - 0.5)
        for k in range(5):
            middle = (k + 0.5) * 12 - 0.5 + tilt
            y = np.arange(max(round(middle) - 5, 0), min(round(middle) + 6, 60))
            assert (column[y] * y).sum() / column[y].sum() == pytest.approx(middle, abs=0.02)
    sigma = 2.5 / scene.FWHM_PER_SIGMA
    flux = image.sum(axis=0)
    assert flux[10] == pytest.approx(5 * 40.0 * sigma * np.sqrt(2 * np.pi), rel=1e-3)
    assert flux[30] == pytest.approx(9 * flux[10], rel=1e-3)  # a line on the continuum


def test_the_areas_of_pixels_add_up_to_that_of_the_detector():
    geometry = ON_AXIS | {"distortion": {"cubic_pix": 1.2, "quadratic_pix": 0.6, "linear_pix": 0.3}}
    nx, ny = geometry["size_x_pix"], geometry["size_y_pix"]
    x, y = np.linspace(0.5, nx + 0.5, 2001), np.linspace(0.5, ny + 0.5, 2001)
    edge = [(x, 0 * x + 0.5), (0 * y + nx + 0.5, y), (x[::-1], 0 * x + ny + 0.5), (0 * y + 0.5, y[::-1])]
    u, v = (np.concatenate(axis) for axis in zip(*(scene.undistort(*side, geometry) for side in edge), strict=True))
    whole = 0.5 * np.sum(u * np.roll(v, -1) - np.roll(u, -1) * v)
    area = scene.measure_area(geometry)
    assert area.shape == (ny, nx)
    assert area.sum() == pytest.approx(whole, rel=1e-4)  # of differences over a pixel, where 20 pixels move by 1.2
    assert np.ptp(area) > 0.05
    np.testing.assert_allclose(scene.measure_area(ON_AXIS), 1, atol=1e-12)
