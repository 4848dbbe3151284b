"""make_trace: edges and flat of slices; what is refused."""

import numpy as np
import pytest
from slice_files import LAYOUT, RESPONSE, SHAPE, SLICER, make_frame, write_rate, write_references

from drs import product
from drs.dq import Flag
from drs.simulation.slicers import make_edges
from make_trace import main

OPTIONS = {
    "useafter": "2024-09-25T10:00:00", "order": 3, "n_block": 16, "n_knot": 16, "maximum_offset_pix": 8.0,
    "maximum_rms_pix": 0.3, "clip_sigma": 6.0, "minimum_signal_e_per_s": 5.0, "minimum_response": 0.2,
    "maximum_saturated_fraction": 0.02,
}  # fmt: skip
LAMP = {"continuum_e_per_s": 600.0, "slope": 0.3}


@pytest.fixture(scope="module")
def lit(tmp_path_factory):
    """Return (folder, rates, manifest, cache) of three flats; CRDS has traces 1.6 rows off."""
    folder = tmp_path_factory.mktemp("lit")
    frame = make_frame(LAMP)
    rates = [write_rate(folder / f"flat_{k}.fits", frame * (1 + 0.01 * k), k, "FLAT") for k in (1, 2, 3)]
    return folder, rates, *write_references(folder)


@pytest.fixture
def make(run, lit, tmp_path):
    """Return a function that makes the traces of some exposures."""

    def make(rates, **options):
        places = {"cache": lit[3], "night_cache": tmp_path / "none", "output": tmp_path / "trace.fits"}
        return run(main, rate=list(rates), manifest=[lit[2]] * len(rates), **places, **OPTIONS | options)

    return make


def read(tmp_path):
    """Return the traces that were made."""
    return product.read(tmp_path / "trace.fits", models="TraceModel")


def test_edges_are_those_of_the_truth(make, lit, tmp_path):
    result = make(lit[1])
    assert result.exit_code == 0, result.output
    made = read(tmp_path)
    away = made.arrays["EDGES"] - make_edges(SLICER)
    assert np.sqrt(np.mean(away**2)) < 0.02  # measured 0.006
    numbers = made.keywords
    assert numbers["Q_TRSHIF"] == pytest.approx(-1.6, abs=0.05)
    assert numbers["Q_TRRMS"] < 0.05
    assert numbers["Q_TRSPRD"] == pytest.approx(LAYOUT.fwhm_across_pix / 2.3548, rel=0.05)
    assert {"REFTYPE": "TRACE", "INSTMODE": "SLICER", "SCALE": 0.05, "NCOMBINE": 3}.items() <= numbers.items()


def test_the_flat_has_pixels_and_slices_but_no_lamp(make, lit, tmp_path):
    assert make(lit[1]).exit_code == 0
    arrays = read(tmp_path).arrays
    rows, truth = np.arange(SHAPE[0])[:, np.newaxis], np.full(SHAPE, np.nan)
    for (lower, upper), throughput in zip(make_edges(SLICER), SLICER.throughput, strict=True):
        middle = (rows > lower + 2) & (rows < upper - 2)
        truth[middle] = (throughput * RESPONSE)[middle]
    ratio = (arrays["SCI"] / truth)[np.isfinite(truth) & (arrays["DQ"] == 0)]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.03)  # the dim ends of slices are in its median
    assert np.std(ratio) < 0.008  # noise of 120000 e-: 0.003, and of the spline
    slopes = [np.nanmedian(arrays["SCI"][:, part] / truth[:, part]) for part in (slice(0, 30), slice(-30, None))]
    assert slopes[1] / slopes[0] == pytest.approx(1.0, abs=0.005)  # the lamp has 1.16
    unlit = arrays["DQ"] & np.uint32(Flag.NO_FLAT_FIELD) > 0
    assert (arrays["SCI"][unlit] == 1).all()
    assert (arrays["DQ"][unlit] & np.uint32(Flag.DO_NOT_USE) > 0).all()
    gap = int(np.mean([make_edges(SLICER)[1, 1, 60], make_edges(SLICER)[2, 0, 60]]))
    assert unlit[gap, 60]


def test_a_lamp_that_was_off_is_refused(make, lit, tmp_path):
    path = write_rate(tmp_path / "off.fits", 0 * RESPONSE, 9, "FLAT")
    result = make([path])
    assert result.exit_code == 1
    assert "a flat needs 5.0: was the lamp on?" in result.output


def test_slices_elsewhere_are_refused(make, lit, tmp_path):
    far = make_frame(LAMP, shift_pix=(8.0, 0.0))
    result = make([write_rate(tmp_path / "far.fits", far, 9, "FLAT")], maximum_offset_pix=4.0)
    assert result.exit_code == 1
    assert "off their expected places" in result.output


def test_edges_that_scatter_are_refused(make, lit):
    result = make(lit[1], maximum_rms_pix=0.001)
    assert result.exit_code == 1
    assert "pixels rms off a curve of order 3, at most 0.001 are allowed" in result.output


def test_traces_of_another_mode_are_refused_and_marked(run, lit, tmp_path):
    (tmp_path / "other").mkdir()
    manifest, cache = write_references(tmp_path / "other", trace={"SCALE": 0.025})
    places = {"cache": cache, "night_cache": tmp_path / "none", "output": tmp_path / "trace.fits"}
    result = run(main, rate=lit[1][:1], manifest=[manifest], mark_refusal=True, **places, **OPTIONS)
    assert result.exit_code == 0, result.output
    assert "is of SCALE = 0.025, the exposure of SCALE = 0.05" in read(tmp_path).refusal
