"""How two nights differ: every kind of difference in its own words, with its size."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from finished_night import OBS
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from drs import dq, product
from drs.comparison import compare, compare_files, compare_flags, compare_numbers
from drs.errors import ReductionError
from drs.files import write_json
from drs.references import read_json
from drs.spectrumtable import write_spectra

RATE = f"level1/{OBS}_LVL1_0001-00.fits"


@pytest.fixture
def second(finished, tmp_path):
    """Return a copy of it."""
    return shutil.copytree(finished, tmp_path / "night")


def rewrite(night, change, **how):
    """Write a product of a night again, changed."""
    made = product.read(night / RATE)
    product.write(night / RATE, change(made), inputs=how or {"ramp": night / "raw/1.fits"})


def test_the_same_bytes(finished, second):
    assert compare(finished, second) == ({}, [], 3)


def test_numbers_differ_in_absolute_relative_and_sigma(finished, second):
    def change(made):
        values = made.arrays["SCI"].copy()
        values[1, 2], values[3, 4] = 3.0, np.nan
        return replace(made, arrays={**made.arrays, "SCI": values, "ERR": made.arrays["ERR"] * 7})

    rewrite(second, change)
    (lines,) = compare(finished, second)[0].values()
    assert "SCI: 2 of 35 values differ, max abs 2, max rel 0.667, max sigma 0.4, 1 only in one without a value" in lines
    assert "ERR: 35 of 35 values differ, max abs 6, max rel 0.857" in lines


def test_keywords_parameters_inputs_and_history_differ(finished, second):
    def change(made):
        made = made.with_parameters("fit_ramp", method="ols")
        return replace(made, keywords={**made.keywords, "FILTER": "J"}, wcs={"CRPIX1": 2.0}, history=("a line",))

    rewrite(second, change, ramp=second / "raw/2.fits")
    lines = "\n".join(compare(finished, second)[0][RATE])
    for expected in (
        "keyword FILTER: Y -> J",
        "WCS CRPIX1: absent -> 2.0",
        'parameter fit_ramp.method: absent -> "ols"',
        "HISTORY: only in the second: a line",
        "input: only in the first: ramp 1.fits sha256 ",
        "input: only in the second: ramp 2.fits sha256 ",
        "input: only in the first: gain iris_img1_gain",
    ):
        assert expected in lines


def test_flags_that_were_set_and_taken_away():
    one, two = np.zeros((3, 4), np.uint32), np.zeros((3, 4), np.uint32)
    one[0, :2], two[2, 3] = dq.Flag.HOT, dq.Flag.REFERENCE_PIXEL | dq.Flag.HOT
    assert compare_flags(one, two) == ["DQ: 3 of 12 pixels differ: HOT +1 -2, REFERENCE_PIXEL +1 -0"]
    assert compare_flags(one, one) == []


def test_arrays_of_other_shapes_and_missing_ones(finished, second):
    def change(made):
        flat = {name: array[:3] for name, array in made.arrays.items()}
        return replace(made, arrays={**flat, "NREADS": np.ones((3, 7), np.uint16)})

    rewrite(second, change)
    lines = compare_files(finished / RATE, second / RATE)
    assert {"SCI: shape (5, 7) -> (3, 7)", "NREADS: only in the second"} <= set(lines)


def test_bytes_that_say_the_same(finished, second):
    path = second / RATE
    path.write_bytes(
        path.read_bytes().replace(b"FILTER  = 'Y       '           /", b"FILTER  = 'Y       ' /          ", 1)
    )
    assert path.read_bytes() != (finished / RATE).read_bytes()
    assert compare_files(finished / RATE, path) == ["bytes only: keywords, parameters, inputs and numbers are the same"]


def test_products_of_one_night_only(finished, second):
    (second / RATE).unlink()
    (second / "level3").mkdir()
    (second / "level3/a_CAT.ecsv").write_text("1\n")
    differences, _, n_same = compare(finished, second)
    assert differences == {RATE: [f"only in {finished}"], "level3/a_CAT.ecsv": [f"only in {second}"]}
    assert n_same == 2


def test_catalogues_and_spectra(tmp_path):
    for name, text in (("a", "1\n2\n3\n"), ("b", "1\n4\n")):
        (tmp_path / f"{name}.ecsv").write_text(text)
    lines = compare_files(tmp_path / "a.ecsv", tmp_path / "b.ecsv")
    assert lines == ["lines: 3 -> 2", "1 lines differ, the first is line 2: 2 -> 4"]
    for name, number in (("a", 1), ("b", 2)):
        write_spectra(tmp_path / f"{name}_SPEC.fits", {"NSOURCE": number}, [], [])
    lines = compare_files(tmp_path / "a_SPEC.fits", tmp_path / "b_SPEC.fits")
    assert "keyword NSOURCE: 1 -> 2" in lines


def test_a_damaged_product_is_told(finished, second):
    (second / RATE).write_bytes(b"text")
    (line,) = compare_files(finished / RATE, second / RATE)
    assert line.startswith("cannot be read as FITS (")


def test_runs_differ_in_versions_settings_code_and_contexts(finished, second):
    record = read_json(second / "run.json")
    record["versions"]["packages"]["numpy"] = "1.0"
    record["config"]["fit_ramp"]["method"] = "ols"
    record["config"]["crds"]["cache"] = "/elsewhere"
    record["code"]["files"]["Snakefile"] = "0"
    record["context"]["context"] = "ligeriri_0002.pmap"
    write_json(second / "run.json", record)
    differences, remarks, _ = compare(finished, second)
    assert differences == {}
    told = [remark.partition(":")[0] for remark in remarks]
    assert told == ["version numpy", "code Snakefile", "setting fit_ramp", "context run"]
    (second / "run.json").unlink()
    assert compare(finished, second)[1] == [f"{second / 'run.json'} is not there: nothing is known of the run"]


def test_a_folder_without_products_is_refused(finished, tmp_path):
    with pytest.raises(ReductionError, match="holds no product"):
        compare(finished, tmp_path)


FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)


@given(arrays(np.float32, (3, 4), elements=FLOATS), arrays(np.float32, (3, 4), elements=FLOATS))
def test_numbers_are_the_same_just_where_numpy_says_so(one, two):
    same = np.array_equal(one, two, equal_nan=True)
    assert (compare_numbers("SCI", one, two) == []) == same
    assert compare_numbers("SCI", one, one) == []
