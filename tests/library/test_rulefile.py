import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_cache import RULES

from drs.errors import ReductionError
from drs.rulefile import RuleFile, Selector, format_rules, list_files, parse_rules

RULE_FILES = sorted((RULES / "mappings" / "ligeriri").glob("*.?map"))
TEXTS = st.text(max_size=8)
CASES = st.recursive(
    TEXTS | st.tuples(TEXTS, TEXTS),
    lambda values: st.builds(
        Selector, st.sampled_from(["Match", "UseAfter"]), st.lists(st.tuples(TEXTS | st.tuples(TEXTS, TEXTS), values))
    ),
    max_leaves=6,
)
RULE_TEXTS = st.builds(
    RuleFile,
    st.dictionaries(TEXTS, TEXTS | st.booleans() | st.tuples(TEXTS)),
    st.dictionaries(TEXTS, TEXTS) | CASES.filter(lambda value: isinstance(value, Selector)),
    st.none() | TEXTS,
)


@pytest.mark.parametrize("path", RULE_FILES, ids=lambda path: path.name)
def test_our_rules_are_read(path):
    rules = parse_rules(path.read_text(), path.name)
    assert rules.header["name"] == path.name
    assert list_files(rules.selector)
    assert isinstance(rules.selector, Selector) == (path.suffix == ".rmap")


@given(RULE_TEXTS)
def test_what_is_written_is_read_again(rules):
    assert parse_rules(format_rules(rules), "x.rmap") == rules


@given(st.text(max_size=60) | st.text(alphabet="header= selctor{}()'\n:,*", max_size=60))
def test_no_text_does_more_than_be_refused(text):
    with contextlib.suppress(ReductionError):
        parse_rules(text, "x.rmap")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import os", "line 1 is 'import os'"),
        ("header = {}\nselector = open('x')", "line 2 is \"open('x')\""),
        ("header = {}\nselector = os.system({'a': 'b'})", "line 2 calls 'os.system'"),
        ("header = {}\nselector = Match({**{}})", "a case without key"),
        ("header = {}\nselector = Match({f(): 'a'})", "malformed node"),
        ("header = {}\nselector = ['a']", "the selector is"),
        ("header = {'a': __import__('os')}\nselector = {}", "malformed node"),
        ("header = {}", "it has header"),
        ("", "it has nothing"),
        ("header = {}\nselector = {}\ncomment = 5", "it has header, selector, comment"),
        ("header = {\x00}", "null bytes"),
        ("header = " + "(" * 500, "too many nested parentheses"),
    ],
)
def test_code_is_refused_and_never_run(text, found):
    with pytest.raises(ReductionError) as caught:
        parse_rules(text, "x.rmap")
    assert found in str(caught.value)
    assert "expected header = {...} and selector" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_of_a_selector_leave_out_what_is_no_file():
    nested = Selector("UseAfter", [("1", ("a.fits", "b.fits")), ("2", "N/A"), ("3", {"x": "c.fits"})])
    assert list_files(Selector("Match", [("k", nested), ("l", "a.fits")])) == ["a.fits", "b.fits", "c.fits"]
