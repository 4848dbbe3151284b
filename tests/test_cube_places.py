"""Stars of cubes are where the coordinates say, in every mode and scale of both instruments, at PA 0, 37, 90 and 180.

A star of a known place on the sky falls on the detector as the simulator, whose projection is its own, has it; frame,
extraction, grid and coordinates are those of the commands. Bar: 0.05 spaxel.
"""

from dataclasses import replace

import numpy as np
import pytest
from astropy.wcs import WCS
from nights import INSTRUMENTS
from scipy.optimize import least_squares

import extract_cube
import extract_slices
from drs import product
from drs.cubewcs import assign_wcs
from drs.image import Image
from drs.simulation import scene, slicers, slices, spectrograph
from drs.simulation.lenslets import Layout, place_traces
from drs.spectralrefs import find_field

PSF = {"core_fwhm_pix": 1.9, "halo_fwhm_pix": 4.0, "core_fraction": 0.9}
LAYOUT = Layout(
    ny=7, nx=10, pitch_pix=12.0, rise_pix=2.8, n_column=20, n_row=11, tilt_pix=0.5, curvature_pix=0.2,
    wavelength_um=1.6374, dispersion_um=2e-4, fwhm_pix=1.9, wing_fraction=0.05, wing_fwhm_pix=4.5,
)  # fmt: skip
OF_SLICES = slices.REDUCED._replace(n_slice=7, wavelength_um=1.6374, stagger_pix=0.0)
SHAPES = {"LENSLET": (124, 170), "SLICER": (128, 130)}
STAR = {"kind": "star", "radius_pix": 0.0, "continuum_e_per_s": 3000.0, "flux_e_per_s": 1.0}
PLACE = (5.3, 3.8)  # x, y from 1, on the field at the pointing
MODES = [
    (instrument, mode, scale)
    for instrument, facts in INSTRUMENTS.items()
    for mode, field in facts["detectors"]["IFS"]["fields"].items()
    for scale in field["scales_arcsec"]
]
ANGLES = (0.0, 37.0, 90.0, 180.0)
PLAIN = {"measure_shift": False, "grid_start_um": 0.0, "grid_stop_um": 0.0, "grid_step_um": 0.0}


def make_lenslets(field, scale_arcsec, source, pointing):
    """Return the cube (Product) of a star on lenslets without coordinates, and the middles of its bins."""
    made = spectrograph.Spectrograph(LAYOUT, place_traces(LAYOUT, SHAPES["LENSLET"]), np.ones(70), SHAPES["LENSLET"])
    geometry = spectrograph.find_geometry(LAYOUT, field, scale_arcsec)
    light = spectrograph.light_of_sources(made, [source], pointing, geometry, PSF)
    rectmat, offsets, wavesol = spectrograph.make_truth(made)
    matrix = product.Product({}, {"RECTMAT": rectmat.astype(np.float32), "OFFSETS": offsets})
    how = {"method": "chi-square", "n_iterations": 1, "nonnegative": False}
    frame = make_image(spectrograph.render_light(made, light))
    return extract_cube.extract(EMPTY, frame, matrix, product.Product({}, {"WAVESOL": wavesol}), None, **PLAIN, **how)


def make_slices(field, scale_arcsec, source, pointing):
    """Return the same of slices."""
    made = slicers.Slicer(OF_SLICES, np.ones(OF_SLICES.n_slice), SHAPES["SLICER"])
    fine = slicers.find_geometry(OF_SLICES, field, scale_arcsec, slicers.FINE)
    images = slicers.take_images(made, [source], pointing, fine, PSF)
    nothing = slicers.tabulate(made, {"continuum_e_per_s": 0.0})
    frame = slicers.render_light(made, nothing, images, [slicers.tabulate(made, source)])
    flat = {"SCI": np.ones(made.shape, np.float32), "ERR": np.zeros(made.shape, np.float32)}
    trace = product.Product({}, flat | {"DQ": np.zeros(made.shape, np.uint32), "EDGES": slicers.make_edges(made)})
    wavesol = product.Product({}, {"WAVESOL": slicers.make_wavesol(made)})
    order = np.arange(OF_SLICES.n_slice)
    return extract_slices.extract(EMPTY, make_image(frame), (trace, order), wavesol, None, **PLAIN)[:2]


EMPTY = product.Product({"DATAMODL": "IFUCubeModel"}, {}, {})
MAKE = {"LENSLET": (make_lenslets, (LAYOUT.ny, LAYOUT.nx)), "SLICER": (make_slices, OF_SLICES[:2])}


def make_image(frame):
    """Return a frame as an Image, with little noise that is the same in all pixels."""
    return Image(frame.astype(np.float32), np.ones(frame.shape, np.float32), np.zeros(frame.shape, np.uint32))


def fit_star(image):
    """Return the place (x, y), from 0, of a star in an image: core and halo, integrated over spaxels, that fit best."""
    halo = scene.round_covariance(PSF["halo_fwhm_pix"])

    def residuals(values):
        x, y, light, level, *sigmas = values
        parts = [(PSF["core_fraction"], np.diag(np.square(sigmas))), (1 - PSF["core_fraction"], halo)]
        stamp, window = scene.render(image.shape, x + 1, y + 1, parts)
        model = np.full(image.shape, level)
        model[window] += light * stamp
        return (model - image).ravel() / image.max()

    y, x = np.unravel_index(image.argmax(), image.shape)
    return least_squares(residuals, [x, y, image.sum(), 0.0, 0.8, 0.8]).x[:2]


@pytest.mark.parametrize("pa_deg", ANGLES)
@pytest.mark.parametrize(("instrument", "mode", "scale"), MODES)
def test_coordinates_are_those_of_the_simulated_sky(instrument, mode, scale, pa_deg):
    shape, pointing = MAKE[mode][1], (150.0, 62.0, pa_deg)
    keys = {"DETECTOR": "IFS", "INSTMODE": mode, "SCALE": scale}
    field = find_field(INSTRUMENTS[instrument], keys) | {"centre_x_arcsec": 0.3, "rotation_deg": 11.0}
    keywords = {"DATAMODL": "IFUCubeModel", "EXPDTST": "2024-09-25T06:00:00", "RA": 150.0, "DEC": 62.0, "PA": pa_deg}
    cube = product.Product(keywords, {"SCI": np.zeros((9, *shape), np.float32)})
    wcs = WCS(assign_wcs(cube, INSTRUMENTS[instrument], field, 1.6 + 2e-4 * np.arange(9)).wcs)
    geometry = field | {"size_x_pix": shape[1], "size_y_pix": shape[0]}
    for x, y in ((1.0, 1.0), (shape[1], 1.0), (2.2, shape[0]), PLACE):
        ra_deg, dec_deg = scene.pixel_to_sky(x, y, pointing, geometry)
        found = wcs.wcs_world2pix([[float(ra_deg), float(dec_deg), 1.6e-6]], 1)[0][:2]
        np.testing.assert_allclose(found, (x, y), atol=1e-4)  # measured 2e-6


@pytest.mark.parametrize("turn", range(2))
@pytest.mark.parametrize(
    ("number", "configuration"), list(enumerate(MODES)), ids=["-".join(map(str, m)) for m in MODES]
)
def test_a_star_is_where_the_coordinates_say(number, configuration, turn):
    instrument, mode, scale = configuration
    pa_deg = ANGLES[(number + 2 * turn + number // 2) % 4]  # each mode at all four, each scale at two
    pointing = 150.0, 2.0, pa_deg
    field = find_field(INSTRUMENTS[instrument], {"DETECTOR": "IFS", "INSTMODE": mode, "SCALE": scale})
    make, shape = MAKE[mode]
    geometry = field | {"size_x_pix": shape[1], "size_y_pix": shape[0]}
    ra_deg, dec_deg = (float(value) for value in scene.pixel_to_sky(*PLACE, pointing, geometry))
    cube, grid_um, *_ = make(field, scale, STAR | {"ra_deg": ra_deg, "dec_deg": dec_deg}, pointing)
    keywords = cube.keywords | {"EXPDTST": "2024-09-25T06:00:00", "RA": 150.0, "DEC": 2.0, "PA": pa_deg}
    cube = assign_wcs(replace(cube, keywords=keywords), INSTRUMENTS[instrument], field, grid_um)
    found = fit_star(np.nanmean(cube.arrays["SCI"].astype(float), axis=0))
    stated = WCS(cube.wcs).wcs_world2pix([[ra_deg, dec_deg, 1e-6 * grid_um[0]]], 0)[0][:2]
    assert np.hypot(*(found - stated)) < 0.05  # measured 0.00001 of lenslets, 0.004 of slices
    np.testing.assert_allclose(stated, np.subtract(PLACE, 1), atol=1e-4)
