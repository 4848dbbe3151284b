"""make_wavesol: wavelengths of slices and of lenslets from arcs; what is refused."""

import json

import numpy as np
import pytest
import spectra
from arcs import LISTS
from slice_files import LAYOUT, SHAPE, SLICER, make_frame, write_rate, write_references

from drs import product
from drs.lines import read_lists
from drs.references import sha1
from drs.simulation.lenslets import place_traces
from drs.simulation.slicers import make_edges, make_wavesol
from drs.simulation.spectrograph import Spectrograph
from make_wavesol import main

ALL_LISTS = [LISTS / f"{name}.ecsv" for name in ("argon", "krypton", "xenon")]
OPTIONS = {
    "useafter": "2024-09-24T22:00:00", "fwhm_pix": 2.1, "least_sigma": 10.0, "order_column": 3, "order_place": 2,
    "maximum_shift_pix": 10.0, "maximum_stretch": 0.01, "minimum_lines": 5, "maximum_rms_pix": 0.2,
}  # fmt: skip
ARC = {"brightest_e_per_s": 2500.0}


def write_arc(path, lamp, number, **keywords):
    """Write the rate of an arc lamp through the slices."""
    frame = make_frame(ARC, [LISTS / f"{lamp}.ecsv"])
    return write_rate(path, frame, number, "ARC", **{"OBJECT": lamp.upper(), "RA": None, "DEC": None} | keywords)


@pytest.fixture(scope="module")
def arcs(tmp_path_factory):
    """Return (rates, manifest, cache) of two lamps; CRDS has wavelengths 3 columns off and lines without tilt."""
    folder = tmp_path_factory.mktemp("arcs")
    rates = [write_arc(folder / f"{lamp}.fits", lamp, k) for k, lamp in enumerate(("argon", "krypton"), start=1)]
    manifest, cache = write_references(folder)
    trace = next((cache / "references/ligeriri/iris").glob("*_trace_*"))
    old = product.read(trace)  # traces are made before the arcs are reduced
    product.write(trace, product.Product(old.keywords, old.arrays | {"EDGES": make_edges(SLICER)}, old.units))
    renew(manifest, "trace", trace)
    return rates, manifest, cache


def renew(manifest, kind, path):
    """Write the checksum of a reference that was changed into a manifest."""
    text = manifest.read_text()
    manifest.write_text(text.replace(json.loads(text)["references"][kind]["sha1"], sha1(path)))


@pytest.fixture
def solve(run, arcs, tmp_path):
    """Return a function that makes a solution: (result, Product)."""

    def solve(rates, manifest=arcs[1], cache=arcs[2], **options):
        places = {"cache": cache, "night_cache": tmp_path / "none", "output": tmp_path / "wavesol.fits"}
        manifests = [manifest] * len(rates)
        result = run(main, rate=rates, manifest=manifests, lines=ALL_LISTS, **places, **OPTIONS | options)
        return result, product.read(tmp_path / "wavesol.fits") if result.exit_code == 0 else None

    return solve


def test_wavelengths_of_slices_are_those_of_the_truth(solve, arcs):
    result, made = solve(arcs[0])
    assert result.exit_code == 0, result.output
    truth = make_wavesol(SLICER)
    away = (made.arrays["WAVESOL"] - truth) / LAYOUT.dispersion_um
    assert np.sqrt(np.mean(away**2)) < 0.03  # columns; measured 0.014
    assert made.arrays["WAVESOL"].shape == (SHAPE[1], LAYOUT.n_slice, LAYOUT.n_spaxel)
    assert made.arrays["NLINE"].min() >= 5
    numbers = made.keywords
    assert numbers["Q_WSRMS"] < 0.05
    assert numbers["Q_WSMATC"] > 0.95
    assert numbers["Q_WSSHIF"] == pytest.approx(3.0, abs=1.5)
    assert {"REFTYPE": "WAVESOL", "INSTMODE": "SLICER", "NCOMBINE": 2}.items() <= numbers.items()


def test_one_lamp_may_be_enough_and_its_sign_names_it(solve, tmp_path):
    result, made = solve([write_arc(tmp_path / "ar.fits", "argon", 3, OBJECT="Ar")])
    assert result.exit_code == 0, result.output
    away = (made.arrays["WAVESOL"] - make_wavesol(SLICER)) / LAYOUT.dispersion_um
    assert np.sqrt(np.mean(away**2)) < 0.1


def test_the_wrong_lamp_is_refused(solve, tmp_path):
    result, _ = solve([write_arc(tmp_path / "kr.fits", "krypton", 3, OBJECT="XENON")])
    assert result.exit_code == 1
    assert "check" in result.output
    assert "lamp" in result.output


def test_a_lamp_without_a_name_is_refused_and_marked(solve, tmp_path):
    result, made = solve([write_arc(tmp_path / "x.fits", "argon", 3, OBJECT="LAMP")], mark_refusal=True)
    assert result.exit_code == 0, result.output
    expected = "OBJECT 'LAMP' names no lamp that has a list (argon, krypton, xenon): correct it in exposures.yaml"
    assert made.refusal == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"minimum_lines": 30}, "lines in a spectrum, at least 30 are needed: take brighter arcs"),
        ({"maximum_rms_pix": 0.001}, "columns rms off, at most 0.001 allowed"),
    ],
)
def test_an_unfit_solution_is_refused(solve, arcs, options, message):
    result, _ = solve(arcs[0], **options)
    assert result.exit_code == 1
    assert message in result.output


def test_wavelengths_of_lenslets_are_those_of_the_truth(run, tmp_path, monkeypatch):
    layout = spectra.LAYOUT._replace(nx=8, n_column=120, dispersion_um=1e-3, pitch_pix=30.0, rise_pix=7.0)
    shape = (170, 400)
    monkeypatch.setattr(spectra, "SHAPE", shape)
    made = Spectrograph(layout, place_traces(layout, shape), np.ones(layout.ny * layout.nx), shape)
    manifest, cache = spectra.write_references(tmp_path, made)
    rates = []
    for k, lamp in enumerate(("argon", "krypton"), start=1):
        wavelength, intensity = read_lists([LISTS / f"{lamp}.ecsv"], 1.5, 1.8)
        lines = [
            {"wavelength_um": w, "fwhm_um": 2.1e-3, "e_per_s": 5000.0 * i / intensity.max()}
            for w, i in zip(wavelength, intensity, strict=True)
        ]
        light = spectra.make_light(made, {"continuum_e_per_s": 2.0, "lines": lines})
        frame = spectra.render_light(made, light)
        rates.append(spectra.write_rate(tmp_path / f"{lamp}.fits", frame, k, "ARC", OBJECT=lamp, RA=None, DEC=None))
    # CRDS has wavelengths 2 columns off.
    place = next((cache / "references/ligeriri/iris").glob("*_wavesol_*"))
    prior = product.read(place)
    truth = prior.arrays["WAVESOL"]
    product.write(place, product.Product(prior.keywords, prior.arrays | {"WAVESOL": truth + 2e-3}, prior.units))
    renew(manifest, "wavesol", place)
    places = {"cache": cache, "night_cache": tmp_path / "none", "output": tmp_path / "wavesol.fits"}
    result = run(main, rate=rates, manifest=[manifest] * 2, lines=ALL_LISTS, **places, **OPTIONS)
    assert result.exit_code == 0, result.output
    found = product.read(tmp_path / "wavesol.fits").arrays
    away = (found["WAVESOL"] - truth) / 1e-3
    assert np.sqrt(np.mean(away**2)) < 0.05
    assert (found["OFFSETS"] == prior.arrays["OFFSETS"]).all()
