"""Code as an input: one file that stands for modules."""

import hashlib
import os

from drs.code import digest_path, write_digest


def test_the_file_says_which_module_has_which_content(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in {"a": "x = 1\n", "b": "x = 2\n"}.items():
        (tmp_path / f"{name}.py").write_text(text)
    write_digest(("b", "a"), tmp_path)
    lines = (tmp_path / digest_path(("b", "a"))).read_text().splitlines()
    assert [line.split()[1] for line in lines] == ["b.py", "a.py"]
    assert lines[1].split()[0] == hashlib.sha256(b"x = 1\n").hexdigest()


def test_it_changes_with_the_content_of_a_module_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module, names = tmp_path / "a.py", ("a",)
    module.write_text("x = 1\n")
    write_digest(names, tmp_path)
    path = tmp_path / digest_path(names)
    before = path.read_bytes()
    os.utime(path, ns=(1, 1))
    os.utime(module)
    write_digest(names, tmp_path)
    assert path.stat().st_mtime_ns == 1
    module.write_text("x = 3\n")
    write_digest(names, tmp_path)
    assert path.read_bytes() != before


def test_other_modules_have_another_file():
    assert digest_path(("a", "b")) != digest_path(("a",)) != digest_path(("b",))
