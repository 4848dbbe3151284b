"""Files that are whole or not there."""

import os

import pytest

from drs import files
from drs.files import write_atomically, write_json, write_text

DEAD_PID = 4194304  # above the largest of Linux


def test_what_a_killed_writer_left_is_removed_and_what_a_live_one_writes_stays(tmp_path):
    left = [tmp_path / f".{name}.{pid}.part" for name in ("a.json", "b.json") for pid in (DEAD_PID, os.getppid())]
    for path in left:
        path.write_bytes(b"half")
    write_text(tmp_path / "a.json", "whole")
    assert [path.exists() for path in left] == [False, True, True, True]
    write_text(tmp_path / "b.json", "whole")
    assert [path.exists() for path in left] == [False, True, False, True]
    assert (tmp_path / "a.json").read_text() == (tmp_path / "b.json").read_text() == "whole"


def test_a_folder_is_listed_once_however_many_files_are_written(tmp_path, monkeypatch):
    listed, scandir = [], os.scandir
    monkeypatch.setattr(files.os, "scandir", lambda folder: listed.append(folder) or scandir(folder))
    for k in range(20):
        write_json(tmp_path / "manifests" / f"{k}.json", {"k": k})
    assert listed == [tmp_path / "manifests"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    write_text(tmp_path / "a.txt", "old")

    def fail(stream):
        stream.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(tmp_path / "a.txt", fail)
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_json_that_did_not_change_is_left_untouched(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"b": 1, "a": [2]})
    stamp = path.stat().st_mtime_ns
    write_json(path, {"a": [2], "b": 1})
    assert path.stat().st_mtime_ns == stamp
    write_json(path, {"a": [3]})
    assert path.stat().st_mtime_ns != stamp
