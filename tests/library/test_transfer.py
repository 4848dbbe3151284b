import hashlib
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drs.errors import ReductionError
from drs.source import DamagedError, Patience, UnreachableError
from drs.transfer import UnwritableError, fetch, find_part, is_whole, writing

CONTENT = bytes(range(256)) * 4
FACTS = {"size": len(CONTENT), "sha1sum": hashlib.sha1(CONTENT).hexdigest()}


class Script:
    """A source that sends what it is told: one (content, bytes per block, cut after, knows Range) per try."""

    name = "script"
    patience = Patience(tries=5, wait_s=0.0)

    def __init__(self, *answers):
        self.answers, self.starts = list(answers), []

    @contextmanager
    def open(self, name, start):
        content, block, cut, ranges = self.answers.pop(0) if self.answers else (CONTENT, 100, None, True)
        start = start if ranges else 0
        self.starts.append(start)
        sent = iter([content[k : k + block] for k in range(start, len(content), block)][:cut])
        yield lambda: next(sent, b""), start


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "x.fits"


def test_a_file_appears_whole(path):
    told = []
    fetch(Script(), path, FACTS, tell=told.append)
    assert path.read_bytes() == CONTENT
    assert is_whole(path, FACTS)
    assert told[-1] == len(CONTENT)
    assert [entry.name for entry in path.parent.iterdir()] == ["x.fits"]


def test_a_cut_file_goes_on_and_wrong_bytes_begin_again(path):
    source = Script((CONTENT, 100, 3, True), (b"?" * 1024, 100, None, True))
    fetch(source, path, FACTS)
    assert source.starts == [0, 300, 0]
    assert path.read_bytes() == CONTENT


def test_what_stays_cut_is_kept_to_be_resumed(path):
    with pytest.raises(UnreachableError, match=r"x.fits was cut after 200 of 1024 bytes"):
        fetch(Script(*[(CONTENT, 100, 2, False)] * 5), path, FACTS)
    assert find_part(path).read_bytes() == CONTENT[:200]
    assert not path.exists()


def test_wrong_bytes_replace_nothing(path):
    path.parent.mkdir()
    path.write_text("old")
    wrong = (b"?" * 1024, 100, None, True)
    with pytest.raises(DamagedError, match=r"x.fits from script is damaged: sha1"):
        fetch(Script(wrong, wrong), path, FACTS)
    assert path.read_text() == "old"
    assert not find_part(path).exists()


def test_a_file_that_is_examined_and_refused_gets_no_name(path):
    def refuse(part):
        raise ReductionError(f"{part.name} is refused")

    with pytest.raises(ReductionError, match="is refused"):
        fetch(Script(), path, FACTS, examine=refuse)
    assert list(path.parent.iterdir()) == []


def test_an_empty_file(path):
    fetch(Script((b"", 1, None, True)), path, {"size": 0, "sha1sum": hashlib.sha1(b"").hexdigest()})
    assert path.read_bytes() == b""


def test_errors_of_the_disk_say_what_to_do(path):
    for number, told in [
        (28, "free some space"),
        (122, "free some space"),
        (13, "that you may write"),
        (30, "may write"),
    ]:
        with pytest.raises(UnwritableError, match=told), writing("place"):
            raise OSError(number, "x")


ANSWERS = st.tuples(
    st.sampled_from([CONTENT, CONTENT + b"x", b"?" * 1024, b"page", b""]),
    st.integers(1, 2000),
    st.none() | st.integers(0, 12),
    st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ANSWERS, max_size=6), st.binary(max_size=40) | st.integers(0, 1024).map(lambda n: CONTENT[:n]))
def test_only_the_right_bytes_ever_get_the_name(tmp_path_factory, answers, left):
    path = tmp_path_factory.mktemp("any") / "x.fits"
    find_part(path).write_bytes(left)
    try:
        fetch(Script(*answers), path, FACTS)
    except UnreachableError:
        assert not path.exists()
        fetch(Script(), path, FACTS)
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in path.parent.iterdir()] == ["x.fits"]
