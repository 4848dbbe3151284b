"""Instrument files and exposures: detectors under several names, modes, and how a detector was read out."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nights import CONFIG, INSTRUMENTS, RULES

from drs.errors import ReductionError
from drs.instruments import check_optics, find_detector, find_mode, find_optics, find_readout, translate_keywords
from drs.schema import find_problems
from drs.simulation import slices

IFS = INSTRUMENTS["IRIS"]["detectors"]["IFS"]
IMG1 = INSTRUMENTS["IRIS"]["detectors"]["IMG1"]
SCHEMA = CONFIG / "instruments" / "schema.yaml"


def translate(**keywords):
    """Return the keywords that the translation of a header sets."""
    corrections = translate_keywords({"INSTRUME": "Liger", "DETECTOR": "IFS"} | keywords, INSTRUMENTS)
    assert all(entry["reason"] for entry in corrections)
    return {key: value for entry in corrections for key, value in entry["set"].items()}


def test_an_imager_has_one_scale_and_no_grating_and_a_spectrograph_says_its_own():
    assert find_optics({}, IMG1) == {"INSTMODE": "IMG", "SCALE": 0.004, "GRATING": "MIRROR"}
    said = {"INSTMODE": "LENSLET", "SCALE": 0.009, "GRATING": "4000-K"}
    assert find_optics(said | {"FILTER": "K"}, IFS) == said
    assert find_optics({"SCALE": 0.05}, IFS) == {"INSTMODE": None, "SCALE": 0.05, "GRATING": None}


@pytest.mark.parametrize("grating", ["4000-H", "H4000", "4000-HK", "HK4000", "4000-H+K", "8000-Kn1-3", "Mirror", None])
def test_scales_and_gratings_of_a_mode(grating):
    check_optics({"INSTMODE": "LENSLET", "SCALE": 0.009, "GRATING": grating}, IFS)
    check_optics({"INSTMODE": "SLICER", "SCALE": None, "GRATING": grating}, IFS)
    check_optics({"INSTMODE": "IMG", "SCALE": 7.0, "GRATING": grating}, IMG1)


def test_a_scale_or_grating_that_a_mode_does_not_have_is_refused_with_those_that_it_has():
    keys = {"INSTMODE": "SLICER", "SCALE": 0.15, "GRATING": "K8000a"}
    liger = INSTRUMENTS["Liger"]["detectors"]["IFS"]
    check_optics(keys, liger)
    with pytest.raises(ReductionError, match=r"SCALE 0\.05 is none of SLICER, which has 0\.075, 0\.15: correct it"):
        check_optics(keys | {"SCALE": 0.05}, liger)
    with pytest.raises(ReductionError, match=r"GRATING '10000-H' is none of SLICER, which has 4000-Z, .*MIRROR: c"):
        check_optics(keys | {"GRATING": "10000-H"}, liger)
    check_optics({"INSTMODE": "LENSLET", "SCALE": 0.031, "GRATING": "10000-H"}, liger)


def test_formats_are_those_of_the_simulated_arrays():
    for facts in INSTRUMENTS.values():
        fields = facts["detectors"]["IFS"]["fields"]
        assert [slices.FULL.n_slice, slices.FULL.n_spaxel] == fields["SLICER"]["elements"][0]
        assert {len(field["scales_arcsec"]) for field in fields.values()} == {2}
        # 16 positions of the mask light every lenslet column of the array once
        assert fields["LENSLET"]["elements"][0][1] % fields["LENSLET"]["scan_positions"] == 0


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        ({"INSTMODE": "LENSLET"}, {}),
        ({"DETECTOR": "IFU", "INSTMODE": "LENSLET"}, {"DETECTOR": "IFS"}),
        ({"INSTMODE": "IFS", "IFSMODE": "SLICER"}, {"INSTMODE": "SLICER"}),
        ({"DETECTOR": "IFU", "INSTMODE": "IFS", "IFSMODE": "LENSLET"}, {"DETECTOR": "IFS", "INSTMODE": "LENSLET"}),
        ({"INSTMODE": "IFS", "IFSMODE": "MIRROR"}, {}),
        ({"INSTMODE": "IFS"}, {}),
        ({"INSTMODE": "SLICER", "IFSMODE": "LENSLET"}, {}),
        ({"DETECTOR": "IMG", "INSTMODE": "IFS", "IFSMODE": "SLICER"}, {}),
        ({"DETECTOR": None}, {}),
        ({"INSTRUME": None, "DETECTOR": "IFU"}, {}),
    ],
)
def test_a_header_is_brought_to_our_words(keywords, expected):
    assert translate(**keywords) == expected


def test_a_detector_is_found_or_the_known_ones_are_named():
    instrument, detector = find_detector({"INSTRUME": "IRIS", "DETECTOR": "IFS"}, INSTRUMENTS)
    assert (instrument["name"], detector) == ("IRIS", IFS)
    with pytest.raises(ReductionError, match="Liger has no detector 'IMG1', expected one of IMG, IFS"):
        find_detector({"INSTRUME": "Liger", "DETECTOR": "IMG1"}, INSTRUMENTS)
    with pytest.raises(ReductionError, match="INSTRUME 'OSIRIS' has no file"):
        find_detector({"INSTRUME": "OSIRIS", "DETECTOR": "IMG"}, INSTRUMENTS)


@pytest.mark.parametrize(
    ("keywords", "detector", "expected"),
    [
        ({"INSTMODE": "LENSLET"}, IFS, "lenslet"),
        ({"INSTMODE": "SLICER", "OBSNAME": "SLI-NFF"}, IFS, "slicer"),
        ({"INSTMODE": "SLICER", "OBSNAME": "TWILIGHT"}, IFS, "slicer"),
        ({"INSTMODE": "IMG", "OBSNAME": "IMG3-SCI"}, IMG1, "imager"),
        ({}, IMG1, "imager"),
    ],
)
def test_the_mode_comes_from_instmode(keywords, detector, expected):
    assert find_mode({"DETECTOR": "X"} | keywords, detector, RULES["units"]) == expected


@pytest.mark.parametrize(
    ("keywords", "detector", "text"),
    [
        ({}, IFS, "INSTMODE of detector X is missing, expected LENSLET or SLICER: correct it in exposures.yaml"),
        ({"INSTMODE": "IMG"}, IFS, "is 'IMG', expected LENSLET or SLICER"),
        ({"INSTMODE": "IFS"}, IFS, "is 'IFS' and IFSMODE 'missing', expected LENSLET or SLICER"),
        ({"INSTMODE": "IFS", "IFSMODE": "BOTH"}, IFS, "is 'IFS' and IFSMODE 'BOTH', expected LENSLET or SLICER"),
        ({"INSTMODE": "SLICER"}, IMG1, "is 'SLICER', expected IMG:"),
        ({"INSTMODE": "SLICER", "OBSNAME": "LEN-SCI"}, IFS, "OBSNAME 'LEN-SCI' is not of mode slicer"),
        ({"OBSNAME": "SLI-SCI"}, IMG1, "OBSNAME 'SLI-SCI' is not of mode imager"),
    ],
)
def test_a_mode_that_cannot_be_told_is_refused(keywords, detector, text):
    with pytest.raises(ReductionError) as error:
        find_mode({"DETECTOR": "X"} | keywords, detector, RULES["units"])
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("keywords", "n_channel"),
    [({}, 64), ({"DETXSIZE": 128}, 64), ({"NCHAN": 4, "DETXSIZE": 88}, 4), ({"NCHAN": 1}, 1), ({"NCHAN": 32.0}, 32)],
)
def test_the_header_says_the_channels_before_the_file(keywords, n_channel):
    expected = {"border_pix": 4, "n_channel": n_channel, "reference_output_pix": 64}
    assert find_readout({"CHANVERT": True} | keywords, IFS) == expected


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"NCHAN": 5}, "5 output channels .NCHAN. do not divide 4096 columns"),
        ({"DETXSIZE": 88}, "64 output channels .NCHAN. do not divide 88 columns .DETXSIZE.: give NCHAN"),
        ({"CHANVERT": False}, "CHANVERT is F"),
    ],
)
def test_unequal_or_lying_channels_are_refused(keywords, text):
    with pytest.raises(ReductionError, match=text):
        find_readout(keywords, IFS)


@given(st.integers(1, 128), st.integers(8, 4200))
def test_channels_are_equal_or_refused(n_channel, columns):
    try:
        found = find_readout({"NCHAN": n_channel, "DETXSIZE": columns}, IFS)["n_channel"]
    except ReductionError:
        assert columns % n_channel
    else:
        assert (found, columns % n_channel) == (n_channel, 0)


def changed(name, **changes):
    """Return the IRIS file with a detector changed; a change to None takes a key away."""
    document = copy.deepcopy(INSTRUMENTS["IRIS"])
    facts = document["detectors"][name] | changes
    document["detectors"][name] = {key: value for key, value in facts.items() if value is not None}
    return document


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (changed("IMG2", scale_arcsec=None), "'scale_arcsec' is a required"),
        (changed("IMG2", rotation_deg=None), "'rotation_deg' is a required"),
        (changed("IFS", border_pix=None), "'border_pix' is a required"),
        (changed("IFS", modes=None), "'modes' is a required"),
        (changed("IFS", modes={"LENSLET": "lens"}), "'lens' is not one of"),
        (changed("IFS", scale_arcsec=0.05), "IFS: 'scale_arcsec' is not one of"),
        (changed("IMG1", n_channel=0), "IMG1.n_channel"),
    ],
)
def test_an_imager_has_a_place_on_the_sky_and_a_spectrograph_has_none(document, text):
    assert any(text in problem for problem in find_problems(SCHEMA, document))


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_channels_divide_the_columns_and_every_obsname_unit_is_a_mode(name):
    for facts in INSTRUMENTS[name]["detectors"].values():
        assert facts["size_x_pix"] % facts["n_channel"] == 0
        assert set(facts["modes"].values()) <= set(RULES["units"].values()) == set(RULES["recipes"])
