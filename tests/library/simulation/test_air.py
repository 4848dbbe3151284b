"""Absorption of the simulated atmosphere, and the spectra of standard stars."""

import numpy as np
import pytest
from astropy import units as u

from drs.simulation.air import find_transmission, tabulate_standard
from drs.simulation.slicers import Table, absorb

LINES = [{"wavelength_um": 1.62, "fwhm_um": 2e-3, "depth": 0.4}, {"wavelength_um": 1.65, "fwhm_um": 1e-3, "depth": 0.1}]
LAYOUT = {"wavelength_um": 1.6, "dispersion_um": 1e-3}
STAR = {"continuum_e_per_s": 50.0, "slope": 0.2}


def test_lines_have_their_depth_and_width():
    through = find_transmission(LINES, np.array([1.60, 1.62, 1.621, 1.65]))
    np.testing.assert_allclose(through, [1.0, 0.6, 0.8, 0.9], atol=1e-9)


def test_light_of_a_table_is_absorbed_where_it_is():
    edge = np.linspace(1.6, 1.66, 601)
    table = Table(edge, 5.0 + 100 * (edge - 1.6))
    seen = absorb(table, LINES)
    assert (seen.total[0], seen.edge_um is edge) == (5.0, True)
    lost = 100 * (0.4 * 2e-3 + 0.1 * 1e-3) * np.sqrt(2 * np.pi) / 2.35482
    assert table.total[-1] - seen.total[-1] == pytest.approx(lost, rel=1e-3)


def test_a_standard_star_is_as_bright_as_its_light():
    facts = {"layout": LAYOUT, "flux_density": 3.0, "sources_of": {"flux-star": [STAR]}}
    table = tabulate_standard(facts, 40)
    assert table["FLUX"].unit == u.Unit("1e-18 W m-2 um-1")
    assert np.interp(1.6, table["WAVELENGTH"], table["FLUX"]) == pytest.approx(150.0)
    assert np.interp(1.62, table["WAVELENGTH"], table["FLUX"]) == pytest.approx(150.0 * 1.1)
    assert (table["WAVELENGTH"].min(), table["WAVELENGTH"].max()) == (pytest.approx(1.56), pytest.approx(1.64))
    assert tabulate_standard({"layout": LAYOUT, "sources_of": {}}, 40) is None
