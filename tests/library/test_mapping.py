import hashlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_cache import RULES

from drs.errors import ReductionError
from drs.mapping import check_mapping, check_name, find_named, is_intact, sort_mappings

FOLDER = RULES / "mappings" / "ligeriri"
IMAP = FOLDER / "ligeriri_iris_0001.imap"


def test_a_context_names_its_rule_files_and_not_those_that_it_came_from():
    text = (FOLDER / "ligeriri_0001.pmap").read_text().replace("'NONE'", "'ligeriri_0000.pmap'")
    assert find_named(text, "ligeriri_0001.pmap") == ["ligeriri_iris_0001.imap", "ligeriri_liger_0001.imap"]
    assert len(find_named(IMAP.read_text(), IMAP.name)) == 11
    assert find_named((FOLDER / "ligeriri_iris_dark_0001.rmap").read_text(), "ligeriri_iris_dark_0001.rmap") == []


def test_checksums_are_those_of_crds():
    for path in FOLDER.iterdir():
        check_mapping(path.read_text(), path.name)
        assert is_intact(path)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("'DRIZPARS' : 'N/A'", "'DRIZPARS' : 'OMIT'", "was edited: its sha1sum is"),
        ("'name' : 'ligeriri_iris_0001.imap'", "'name' : 'other.imap'", "says that it is 'other.imap'"),
        ("    'sha1sum'", "    'other'", "no header with name and sha1sum"),
        ("header = {", "head = {", "assigns 0 times to 'header'"),
        ("'DRIZPARS' : 'N/A'", "'DRIZPARS' : ", "is no rule file of CRDS"),
        ("'NONE'", "exit()", "no header with name and sha1sum"),
    ],
)
def test_edited_rule_files_are_refused(old, new, told, tmp_path):
    text = IMAP.read_text().replace(old, new)
    with pytest.raises(ReductionError, match=told):
        check_mapping(text, IMAP.name)
    path = tmp_path / IMAP.name
    path.write_text(text)
    assert not is_intact(path)
    assert not is_intact(tmp_path / "missing.imap")


def test_order_puts_a_file_after_those_it_names():
    names = ["ligeriri_0001.pmap", "ligeriri_iris_0001.imap", "ligeriri_iris_dark_0001.rmap"]
    assert sort_mappings(names) == names[::-1]


@pytest.mark.parametrize(
    "name", ["../x.fits", "..", ".", "", ".lock", "/x", "a/b", "a\0", "x\n", "-", "x.rmap", "é", None, 1]
)
def test_names_that_are_refused(name):
    with pytest.raises(ReductionError, match="is refused"):
        check_name(name)


def test_names_that_are_taken():
    for name in ("ligeriri_0001.pmap", "IRIS_IMG1_DARK_20240924T000000_0.0.1.fits", "a..b"):
        assert check_name(name) == name


@given(st.text() | st.from_regex(r"[./\\a-z]{1,9}\.(fits|rmap)"))
def test_a_name_that_is_taken_stays_in_its_folder(tmp_path_factory, name):
    folder = tmp_path_factory.getbasetemp()
    try:
        path = folder / check_name(name)
    except ReductionError:
        return
    assert path.resolve().parent == folder.resolve()
    assert path.name == name
    assert name[0] != "."


@given(st.text() | st.text(alphabet="selector={}[]'\"(),. \n:rmap/").map("selector = {}".format))
def test_any_text_gives_names_or_a_refusal(text):
    for read in (find_named, check_mapping):
        with suppress(ReductionError):
            read(text, "ligeriri_0001.pmap")


def test_deep_nesting_and_hostile_names_are_refused():
    for text, told in [
        ("selector = " + "(" * 5000 + ")" * 5000, "is no rule file"),
        ("selector = {'IRIS': '../../x.imap'}", "is refused"),
    ]:
        with pytest.raises(ReductionError, match=told):
            find_named(text, "ligeriri_0001.pmap")


def test_the_line_of_the_checksum_does_not_count():
    text = "header = {\n 'name' : 'a.rmap',\n 'sha1sum' : 'X',\n}\n"
    body = "".join(line for line in text.splitlines(keepends=True) if "sha1sum" not in line)
    check_mapping(text.replace("X", hashlib.sha1(body.encode()).hexdigest()), "a.rmap")
