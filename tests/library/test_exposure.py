"""Headers of rate images: what is carried, what is left out, and the times."""

import numpy as np
import pytest
from ramps import KEYWORDS, make_times

from drs.errors import ReductionError
from drs.exposure import correction_lines, rate_keywords, time_keywords


def test_keywords_are_carried_and_the_level_is_set():
    raw = KEYWORDS | {"CRVAL1": 3.0, "PC1_1": 1.0, "CTYPE1": "RA---TAN", "DATE": "2026", "lower": 1, "TEMPIMGD": 77.0}
    found = rate_keywords(raw, {"SEMID": "2000A", "NIGHT": "20260427", "PA": None})
    assert found["DATAMODL"] == "ImagerModel"
    assert found["DATALVL"] == 1
    assert found["TEMPIMGD"] == 77.0
    assert found["SEMID"] == "2026A"
    assert found["NIGHT"] == "20260427"
    assert not {"CRVAL1", "PC1_1", "CTYPE1", "DATE", "lower", "PA"} & found.keys()


@pytest.mark.parametrize(
    ("mode", "model"),
    [
        ("IMG", "ImagerModel"),
        (None, "ImagerModel"),
        ("SLICER", "IFUImageModel"),
        ("LENSLET", "IFUImageModel"),
        ("IFS", "IFUImageModel"),
    ],
)
def test_the_mode_tells_the_model(mode, model):
    raw = {key: value for key, value in (KEYWORDS | {"INSTMODE": mode}).items() if value is not None}
    assert rate_keywords(raw)["DATAMODL"] == model


def test_what_holds_for_one_read_is_dropped():
    raw = KEYWORDS | {"READ_NO": 3, "RAMP_NO": 1, "COMPLETE": True, "ITIME": 12.5, "READTIME": 1.5, "NCHAN": 4}
    found = rate_keywords(raw)
    assert not {"READ_NO", "RAMP_NO", "COMPLETE", "ITIME"} & found.keys()
    assert (found["READTIME"], found["NCHAN"]) == (1.5, 4)


def test_times_of_groups():
    found = time_keywords({"EXPDTST": "2026-04-27T12:00:00"}, make_times(3, 5, 2.0))
    assert found["EXPTIME"] == 8
    assert found["TOTTIME"] == 24
    assert (found["NGROUPS"], found["NREADS"]) == (3, 5)
    assert found["EXPMJDST"] == 61157.5
    np.testing.assert_allclose(found["EXPMJDEN"], 61157.5 + 30 / 86400, atol=1e-9)
    np.testing.assert_allclose(found["EXPMJDMD"], 61157.5 + 15 / 86400, atol=1e-9)


@pytest.mark.parametrize(
    "keywords",
    [
        {"EXPJDST": 2461158.0, "EXPJDEND": 2461158.5},
        {"EXPMJDST": 61157.5, "EXPMJDEN": 61158.0},
        {"EXPJDST": 61157.5, "EXPDTEND": "2026-04-28T00:00:00Z"},
    ],
)
def test_start_and_end_in_any_form(keywords):
    found = time_keywords(keywords, make_times(1, 2))
    assert found["EXPMJDMD"] == 61157.75
    assert found["EXPDTST"] == "2026-04-27T12:00:00.000"


@pytest.mark.parametrize("start", ["2026-04-27T17:00:00.125+05:00", "2026-04-27T12:00:00.125Z"])
def test_times_are_converted_to_utc(start):
    keywords = {"EXPDTST": start, "EXPDTMID": "2026-04-27T02:15:00-10:00", "EXPDTEND": "2026-04-27T14:30:00+02:00"}
    found = time_keywords(keywords, make_times(1, 2))
    assert found["EXPDTST"] == "2026-04-27T12:00:00.125"
    assert found["EXPDTMID"] == "2026-04-27T12:15:00.000"
    assert found["EXPDTEND"] == "2026-04-27T12:30:00.000"
    np.testing.assert_allclose(found["EXPMJDST"], 61157.5 + 0.125 / 86400, atol=1e-9)
    np.testing.assert_allclose(found["EXPMJDMD"], 61157.5 + 0.25 / 24, atol=1e-9)
    np.testing.assert_allclose(found["EXPMJDEN"], 61157.5 + 0.5 / 24, atol=1e-9)


def test_times_in_utc_stay_the_text_they_are():
    found = time_keywords({"EXPDTST": "2026-04-27T12:00:00", "EXPDTEND": "2026-04-27T13:00:00"}, make_times(1, 2))
    assert not {"EXPDTST", "EXPDTMID", "EXPDTEND"} & found.keys()


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({}, "no start time"),
        ({"EXPDTST": "noon"}, "cannot be read"),
        ({"EXPDTST": 3}, "cannot"),
        ({"EXPJDST": 1e300}, "cannot"),
    ],
)
def test_refused(keywords, message):
    with pytest.raises(ReductionError, match=message):
        time_keywords(keywords, make_times(1, 2))


def test_corrections_leave_a_line():
    lines = correction_lines({"FILTER": "J"}, [{"set": {"FILTER": "Ks", "PA": 3.0}, "reason": "wheel stuck"}])
    assert lines == (
        "corrected FILTER = 'Ks' (was 'J'): wheel stuck",
        "corrected PA = 3.0 (was None): wheel stuck",
    )
