"""make_rectmat: profiles and throughputs of a scan; what is refused."""

import numpy as np
import pytest
from reference_cache import REPO
from spectra import LAYOUT, make_spectrograph, write_references, write_scan

from drs import product
from drs.rectmat import lit_lenslets
from drs.simulation.spectrograph import make_rectmat
from make_rectmat import main

OPTIONS = {"useafter": "2024-09-24T22:00:00", "profile_order": 4, "clip_sigma": 6.0}
INSTRUMENT = REPO / "config/instruments/iris.yaml"


def lit(position):
    """Return the lenslets that a position of the mask lights."""
    return lit_lenslets((LAYOUT.ny, LAYOUT.nx), position, 16).ravel()


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """Return (folder, rates, manifest, cache) of a whole scan; CRDS has a matrix 0.4 rows off and 10 % too wide."""
    folder = tmp_path_factory.mktemp("scan")
    spectrograph = make_spectrograph()
    references = write_references(folder, spectrograph, true_matrix=False)
    return folder, write_scan(folder, spectrograph, range(16), lit), *references


@pytest.fixture
def make(run, scanned, tmp_path):
    """Return a function that makes the matrix of some exposures."""
    _, _, manifest, cache = scanned

    def make(rates, **options):
        places = {"cache": cache, "night_cache": tmp_path / "none", "instrument": INSTRUMENT}
        manifests = [manifest] * len(rates)
        output = {"output": tmp_path / "rectmat.fits"}
        return run(main, rate=list(rates), manifest=manifests, **places, **OPTIONS, **output, **options)

    return make


def test_profiles_and_throughputs_are_those_of_the_truth(make, scanned, tmp_path):
    result = make(scanned[1])
    assert result.exit_code == 0, result.output
    made = product.read(tmp_path / "rectmat.fits", models="RectificationModel")
    rectmat, offsets = make_rectmat(make_spectrograph(), true_throughput=True)
    found = np.zeros((40, *rectmat.shape[1:]))
    truth = np.zeros_like(found)
    j, i = np.indices(offsets.shape[1:])
    for row in range(LAYOUT.n_row):
        for array, matrix, own in ((found, made.arrays["RECTMAT"], made.arrays["OFFSETS"]), (truth, rectmat, offsets)):
            array[row + 10 + own[0, j, i] - offsets[0, j, i], :, j, i] += np.moveaxis(matrix[row], 0, -1)
    assert np.sqrt(np.mean((found - truth) ** 2)) < 0.01 * truth.max(axis=0).mean()
    np.testing.assert_allclose(made.arrays["RECTMAT"].sum(axis=0), rectmat.sum(axis=0), rtol=0.015)
    np.testing.assert_array_equal(made.arrays["OFFSETS"][1], offsets[1])


def test_the_header_says_how_good_it_is_and_crds_can_take_it(make, scanned, tmp_path):
    assert make(scanned[1]).exit_code == 0
    keywords = product.read(tmp_path / "rectmat.fits").keywords
    assert keywords["RMNDARK"] == 0
    assert 0.9 < keywords["RMCHISQ"] < 1.2
    assert keywords["RMREJECT"] < 200
    assert 0.04 < keywords["RMSCATT"] < 0.1
    expected = {"INSTMODE": "LENSLET", "FILTER": "HN3", "SCALE": 0.009, "GRATING": "4000-H", "NCOMBINE": 16}
    assert expected.items() <= keywords.items()
    assert keywords["USEAFTER"] == OPTIONS["useafter"]
    assert "SCANPOS" not in keywords


def test_missing_positions_are_named(make, scanned):
    rates = [path for k, path in enumerate(scanned[1]) if k not in (3, 11)]
    result = make(rates)
    assert result.exit_code == 1
    assert "the scan lacks mask positions 3, 11" in result.output


def test_a_refusal_is_marked_where_the_workflow_wants_it(make, scanned, tmp_path):
    result = make(scanned[1][:5], mark_refusal=True)
    assert result.exit_code == 0, result.output
    assert "lacks mask positions 5, 6" in product.read(tmp_path / "rectmat.fits").refusal
