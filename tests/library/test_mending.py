import pytest
from reference_cache import REPO

from drs.errors import ReductionError
from drs.instruments import read_instruments
from drs.mending import mend_rules
from drs.rulefile import RuleFile, Selector

INSTRUMENTS = read_instruments(REPO / "config" / "instruments")
KEYS = ("META.INSTRUMENT.ERA", "META.SUBARRAY.NAME", "META.INSTRUMENT.DETECTOR")
NAME = "ligeriri_iris_dark_0001.rmap"


def make_rules(cases, *, keys=KEYS, dates=("META.DATE",), **header):
    """Return an rmap: cases are key -> file."""
    selector = Selector("Match", [(key, Selector("UseAfter", [("2024-01-01", file)])) for key, file in cases])
    facts = {"name": NAME, "observatory": "LIGERIRI", "instrument": "IRIS", "filekind": "DARK", "derived_from": "NONE"}
    return RuleFile({**facts, "parkey": (keys, dates), **header}, selector)


def mend(rules, *, files=("a.fits", "b.fits"), rename=None, **more):
    """Return (rules, lines without the file) of the mended rmap."""
    mended, lines = mend_rules({NAME: rules, **more}, "ligeriri", set(files), INSTRUMENTS, rename or {})
    return mended[NAME], [f"{found}; {done}" for name, found, done in lines if name == NAME]


def test_good_rules_are_left_alone():
    rules = make_rules([(("0.0.1", "FULL", "IMG1"), "a.fits")])
    mended, lines = mend(rules)
    assert (mended.rules, mended.changed, lines) == (rules, False, [])


def test_subarrays_of_the_same_references_become_one_case():
    cases = [(("0.0.1", part, detector), "a.fits") for part in ("FULL", "CUSTOM") for detector in ("IMG1", "IMG2")]
    mended, lines = mend(make_rules([*cases, (("0.0.1", "OTHER", "IMG1"), "a.fits")]))
    keys = {key for key, _ in mended.rules.selector.cases}
    assert keys == {("0.0.1", "OTHER", "IMG1"), *(("0.0.1", "CUSTOM|FULL", detector) for detector in ("IMG1", "IMG2"))}
    assert lines == ["has SUBARRAY CUSTOM and FULL as cases of the same references; joined to CUSTOM|FULL"]


def test_subarrays_of_other_references_stay_apart():
    cases = [(("0.0.1", "FULL", "IMG1"), "a.fits"), (("0.0.1", "CUSTOM", "IMG1"), "b.fits")]
    assert not mend(make_rules(cases))[0].changed


def test_rules_with_a_word_for_all_subarrays_use_it():
    cases = [(("0.0.1", part, "IMG1"), "a.fits") for part in ("FULL", "CUSTOM")]
    mended, _ = mend(make_rules(cases, substitutions={"META.SUBARRAY.NAME": {"GENERIC": "N/A"}}))
    assert [key for key, _ in mended.rules.selector.cases] == [("0.0.1", "GENERIC", "IMG1")]


def test_dates_are_matched_by_the_start_of_the_exposure():
    rules = make_rules(
        [(("0.0.1", "FULL", "IMG1"), "a.fits")], dates=("META.OBSERVATION.DATE", "META.OBSERVATION.TIME")
    )
    mended, lines = mend(rules)
    assert mended.rules.header["parkey"] == (KEYS, ("META.DATE",))
    assert lines[0].startswith(
        "matches the date by META.OBSERVATION.DATE and META.OBSERVATION.TIME; matched by META.DATE"
    )


def test_a_case_without_its_file_is_taken_out():
    cases = [(("0.0.1", "FULL", "IMG1"), "A.fits"), (("0.0.1", "FULL", "IMG2"), "gone.fits")]
    mended, lines = mend(make_rules(cases))
    assert [key[2] for key, _ in mended.rules.selector.cases] == ["IMG1"]
    assert lines == ["names gone.fits, which the cache does not have; taken out"]


def test_without_any_reference_no_case_is_taken_out():
    rules = make_rules([(("0.0.1", "FULL", "IMG1"), "gone.fits")])
    assert mend(rules, files=())[0].rules == rules


def test_entries_lead_to_rules_that_can_be_used():
    rules = make_rules([(("0.0.1", "FULL", "IMG1"), "gone.fits")])
    selector = {"DARK": NAME, "FLAT": "ligeriri_iris_flat_0001.rmap", "GAIN": "N/A"}
    imap = RuleFile({"name": "ligeriri_iris_0001.imap", "observatory": "LIGERIRI", "derived_from": "NONE"}, selector)
    parsed = {"ligeriri_iris_0001.imap": imap, NAME: rules}
    mended, lines = mend_rules(parsed, "ligeriri", {"a.fits"}, INSTRUMENTS, {})
    assert mended["ligeriri_iris_0001.imap"].rules.selector == {"DARK": "N/A", "FLAT": "N/A", "GAIN": "N/A"}
    assert [f"{found}; {done}" for _, found, done in lines] == [
        f"DARK leads to {NAME}, whose gone.fits the cache does not have; set to N/A",
        "FLAT leads to ligeriri_iris_flat_0001.rmap, which does not exist; set to N/A",
    ]


def test_the_last_of_repeated_cases_holds():
    key = ("0.0.1", "FULL", "IMG1")
    mended, lines = mend(make_rules([(key, "a.fits"), (key, "b.fits")]))
    assert [value.cases for _, value in mended.rules.selector.cases] == [[("2024-01-01", "b.fits")]]
    assert lines == [f"holds {key} more than once; the last one kept, as CRDS does"]


def test_values_that_no_exposure_has_are_told_and_renamed_on_request():
    rules = make_rules([(("0.0.0", "FULL", "IRIS1|IMG2"), "a.fits")])
    assert mend(rules)[1] == ["serves INSTERA 0.0.0; IRIS has 0.0.1; left so; to serve 0.0.1: --rename 0.0.0=0.0.1"]
    mended, lines = mend(rules, rename={"0.0.0": "0.0.0|0.0.1", "IRIS1": "IMG1", "x": "y"})
    assert [key for key, _ in mended.rules.selector.cases] == [("0.0.0|0.0.1", "FULL", "IMG1|IMG2")]
    assert lines == ["holds values that were to be renamed; renamed 0.0.0 -> 0.0.0|0.0.1, IRIS1 -> IMG1"]


def test_rules_of_one_keyword_have_texts_for_keys():
    rules = make_rules([("IRIS1", "a.fits")], keys=("META.INSTRUMENT.DETECTOR",))
    mended, lines = mend(rules, rename={"IRIS1": "IMG1"})
    assert [key for key, _ in mended.rules.selector.cases] == ["IMG1"]
    assert lines == ["holds values that were to be renamed; renamed IRIS1 -> IMG1"]
    assert "IMG1, IMG2" in mend(rules)[1][0]


def test_two_files_of_one_new_name_are_refused():
    rules = make_rules([(("0.0.1", "FULL", "IMG1"), "a.fits")])
    with pytest.raises(ReductionError, match="would have the same name: leave one out"):
        mend(rules, **{NAME.upper(): rules})


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (make_rules([(("0.0.1", "FULL"), "a.fits")]), "case .* has not the 3 keywords of parkey"),
        (make_rules([(["0.0.1", "FULL", "IMG1"], "a.fits")]), "case .* has not the 3 keywords"),
        (make_rules([], name=["x"]), "name of its header is no text"),
        (make_rules([], derived_from=("x",)), "derived_from of its header is no text"),
        (make_rules([], parkey=7), "parkey of its header is no tuple of tuples"),
        (make_rules([], parkey=("META.DATE",)), "parkey of its header is no tuple of tuples"),
        (RuleFile({"name": NAME}, {"IRIS": ["a.imap"]}), "its selector names other things than files"),
    ],
)
def test_what_has_another_form_is_refused(rules, message):
    with pytest.raises(ReductionError, match=rf"{NAME} is no rule file of CRDS \({message}"):
        mend(rules)
