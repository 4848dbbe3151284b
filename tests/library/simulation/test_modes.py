"""The spectrographs of a night: which modes a preset has, and their truth on disk."""

import numpy as np
import pytest
from astropy.io import fits
from reference_cache import REPO

from drs.schema import load_yaml
from drs.simulation import modes, slicers, spectrograph
from drs.simulation.plan import plan_exposures
from drs.simulation.streams import make_stream

FACTS = load_yaml(REPO / "config/presets.yaml")
INSTRUMENTS = {"IRIS": load_yaml(REPO / "config/instruments/iris.yaml")}
FIELDS = INSTRUMENTS["IRIS"]["detectors"]["IFS"]["fields"]
MADE = {"slicer": "SLICER", "ifs": "LENSLET"}


def make(name):
    """Return the spectrograph of a preset."""
    size = FACTS["presets"][name]["detectors"]["IRIS"]["IFS"]
    shape = size["size_y_pix"], size["size_x_pix"]
    return modes.make_spectrograph(FACTS["presets"][name], MADE[name], shape, make_stream(1, "throughput"))


def test_a_preset_has_the_modes_of_its_sequences():
    presets = FACTS["presets"]
    assert modes.list_modes(presets["ifs"], ("IRIS", "IFS")) == ["LENSLET"]
    assert modes.list_modes(presets["slicer"], ("IRIS", "IFS")) == ["SLICER"]
    assert modes.list_modes(presets["liger"], ("Liger", "IFS")) == ["SLICER"]
    assert modes.list_modes(presets["liger_lenslets"], ("Liger", "IFS")) == ["LENSLET"]
    assert modes.list_modes(presets["detectors"], ("Liger", "IFS")) == []  # no slices in it
    assert isinstance(make("slicer"), slicers.Slicer)
    assert isinstance(make("ifs"), spectrograph.Spectrograph)


@pytest.mark.parametrize("name", sorted(MADE))
def test_only_science_and_stars_have_sources_and_each_kind_its_light(name):
    preset, made = FACTS["presets"][name], make(name)
    field, light = FIELDS[MADE[name]], {}
    for exposure in plan_exposures(preset, FACTS, INSTRUMENTS):
        kind = exposure.sequence["kind"]
        if kind in light:
            continue
        frame, part = modes.render(made, preset[modes.FACTS[MADE[name]]], exposure, 1.0, field, set())
        light[kind] = frame.sum()
        assert frame.shape == made.shape
        assert (part.sum() > 0) == (kind in ("science", "telluric", "flux-star", "fibre"))
    assert light["science"] > light["sky"] > 0
    dark_lamp = {"slicer": "flat", "ifs": "lenslet-scan"}[name]
    assert light[dark_lamp] > 0
    if name == "slicer":
        assert light["arc"] != light["flat"]


@pytest.mark.parametrize("name", sorted(MADE))
def test_lines_of_the_sky_vary_and_its_continuum_stays(name):
    preset, made, field = FACTS["presets"][name], make(name), FIELDS[MADE[name]]
    exposures = plan_exposures(preset, FACTS, INSTRUMENTS)
    sky = next(exposure for exposure in exposures if exposure.sequence["kind"] == "sky")
    dim, bright, double = (
        modes.render(made, preset[modes.FACTS[MADE[name]]], sky, level, field, set())[0] for level in (0.5, 1.0, 2.0)
    )
    np.testing.assert_allclose(double - bright, 2 * (bright - dim), atol=1e-6)
    assert (2 * dim - bright).sum() > 0.01 * bright.sum()  # what does not vary
    dark = modes.render(made, preset[modes.FACTS[MADE[name]]], sky, 0.0, field, set())[0]
    assert abs(dark).sum() == 0


@pytest.mark.parametrize(("name", "own"), [("slicer", "EDGES"), ("ifs", "RECTMAT")])
def test_the_truth_has_light_and_optics(name, own, tmp_path):
    made = make(name)
    part = np.ones((3, 4, 5))
    modes.write_truth(tmp_path / "truth.fits", made, part, {"EXPNUM": 3})
    with fits.open(tmp_path / "truth.fits") as hdus:
        assert hdus[0].header["EXPNUM"] == 3
        assert (hdus["LIGHT"].data == 1).all()
        assert hdus["WAVESOL"].header["BUNIT"] == "um"
        assert hdus[own].data.size
