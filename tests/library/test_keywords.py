"""Headers of combinations."""

import pytest

from drs.errors import ReductionError
from drs.keywords import combine_keywords, reference_keywords

FIRST = {
    "INSTRUME": "IRIS",
    "DETECTOR": "IMG1",
    "READMODE": "DEFAULT",
    "SUBARRAY": "FULL",
    "FILTER": "Y",
    "EXPNUM": 1,
    "RA": 10.0,
    "EXPDTST": "2024-09-25T06:00:00.000",
    "EXPDTEND": "2024-09-25T06:01:00.000",
    "EXPTIME": 50.0,
}
SECOND = FIRST | {
    "EXPNUM": 2,
    "RA": 10.1,
    "EXPDTST": "2024-09-25T06:02:00.000",
    "EXPDTEND": "2024-09-25T06:03:00.000",
    "TOTTIME": 100.0,
}


def test_a_combination_keeps_what_agrees_and_adds_up_time():
    combined = combine_keywords([FIRST, SECOND])
    assert (combined["EXPDTST"], combined["EXPDTEND"]) == (FIRST["EXPDTST"], SECOND["EXPDTEND"])
    assert (combined["TOTTIME"], combined["NCOMBINE"], combined["EXPTIME"]) == (150.0, 2, 50.0)
    assert "RA" not in combined
    assert "EXPNUM" not in combined
    assert combined["FILTER"] == "Y"


def test_combinations_of_combinations_count_exposures():
    both = combine_keywords([FIRST, SECOND])
    assert combine_keywords([both, FIRST])["NCOMBINE"] == 3


def test_reference_keywords_and_members_that_differ():
    made = reference_keywords(combine_keywords([FIRST, SECOND]), "DARK", "2024-09-24T22:00:00", "dark")
    assert made["PEDIGREE"] == "INFLIGHT 2024-09-25 2024-09-25"
    assert (made["REFTYPE"], made["USEAFTER"]) == ("DARK", "2024-09-24T22:00:00")
    with pytest.raises(ReductionError, match="differ in READMODE"):
        reference_keywords(combine_keywords([FIRST, SECOND | {"READMODE": "FAST"}]), "DARK", "x", "dark")
