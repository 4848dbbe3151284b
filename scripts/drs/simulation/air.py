"""What is between the stars and a spectrograph: absorption of the atmosphere, and how bright a standard star is."""

import numpy as np
from astropy import units as u
from astropy.table import Table

from drs.simulation.scene import FWHM_PER_SIGMA

UNIT = u.Unit("10**-18 W m-2 um-1", format="fits")
N_POINT = 201


def find_transmission(lines, wavelength_um):
    """Return the part of the light that the atmosphere lets through at some wavelengths.

    `lines`: dicts with wavelength_um, fwhm_um, depth; Gaussian, as wide as the spectrograph sees them.
    """
    through = np.ones(wavelength_um.shape)
    for line in lines:
        sigma_um = line["fwhm_um"] / FWHM_PER_SIGMA
        through *= 1 - line["depth"] * np.exp(-0.5 * ((wavelength_um - line["wavelength_um"]) / sigma_um) ** 2)
    return through


def tabulate_standard(facts, n_column, kind="flux-star"):
    """Return the spectrum of the standard star of a mode as a table: WAVELENGTH (um), FLUX; None without one.

    Parameters
    ----------
    facts : dict
        Section of the mode, with `flux_density`: that of 1 e-/s in a column of the middle, in UNIT.
    n_column : int
        Columns over which the slope of a continuum is given.
    """
    sources = facts.get("sources_of", {}).get(kind)
    if not sources:
        return None
    layout, (star,) = facts["layout"], sources
    reach_um = layout["dispersion_um"] * n_column
    wavelength_um = layout["wavelength_um"] + np.linspace(-1, 1, N_POINT) * reach_um
    along = (wavelength_um - layout["wavelength_um"]) / reach_um
    flux = facts["flux_density"] * star["continuum_e_per_s"] * (1 + star.get("slope", 0.0) * along)
    return Table({"WAVELENGTH": wavelength_um * u.um, "FLUX": flux * UNIT})
