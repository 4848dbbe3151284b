"""Images of stars of a known point-spread function, as the simulator makes them."""

import numpy as np

from drs.image import Image
from drs.simulation import scene

PSF = {"core_fwhm_pix": 2.6, "halo_fwhm_pix": 6.0, "core_fraction": 0.8}
SKY, READ_VARIANCE, TIME_S = 6.0, 0.05, 70.0


def render_stars(shape, x, y, flux):
    """Return the light of stars at 0-based places, e-/s."""
    light, blur = np.zeros(shape), scene.psf_components(PSF)
    for own_x, own_y, own in zip(x, y, flux, strict=True):
        stamp, window = scene.render(shape, own_x + 1, own_y + 1, blur)
        light[window] += own * stamp
    return light


def observe_stars(shape, x, y, flux, *, seed, bad=0.0):
    """Return the Image of stars, their sky subtracted, with noise that its errors hold."""
    random = np.random.default_rng(seed)
    light = render_stars(shape, x, y, flux)
    error = np.sqrt((light + SKY) / TIME_S + READ_VARIANCE)
    dq = (random.random(shape) < bad).astype(np.uint32)
    rate = np.where(dq, 1e5, light + random.normal(0, error))
    return Image(rate.astype(np.float32), error.astype(np.float32), dq)


def true_psf(radius_pix, oversampling):
    """Return the effective PSF at the nodes of a PsfModel, 0 beyond the radius."""
    edge, blur = int(radius_pix * oversampling), scene.psf_components(PSF)
    nodes = np.arange(-edge, edge + 1) / oversampling
    values, reach = np.zeros((nodes.size, nodes.size)), int(radius_pix) + 2
    for j in range(oversampling):
        for i in range(oversampling):  # nodes at whole pixels from each other are pixels of one image
            u, v = nodes[i] % 1, nodes[j] % 1
            size = 2 * reach + 1
            stamp, window = scene.render((size, size), reach + 1 - u, reach + 1 - v, blur)
            image = np.zeros((size, size))
            image[window] = stamp
            columns = np.rint(nodes[i::oversampling] - u).astype(int) + reach
            rows = np.rint(nodes[j::oversampling] - v).astype(int) + reach
            values[j::oversampling, i::oversampling] = image[np.ix_(rows, columns)]
    return np.where(np.hypot(*np.meshgrid(nodes, nodes)) <= radius_pix, values, 0.0)
