"""References to maps: cut to the subarray, flags gathered, misfits refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from ramps import write_references

from drs.detector import find_region, read_maps
from drs.dq import Flag
from drs.errors import ReductionError

FULL = (12, 16)
SUBARRAY = {"SUBARRAY": "CUSTOM", "SUBSTRT1": 5, "SUBSTRT2": 3}


@pytest.fixture
def paths(tmp_path):
    gain = np.arange(FULL[0] * FULL[1], dtype=np.float32).reshape(FULL) + 1
    dq = np.zeros(FULL, np.uint32)
    dq[2, 4] = Flag.HOT
    write_references(tmp_path, gain=gain, dq=dq, nonlin=np.stack([gain, gain, gain]), readnoise=gain)
    entries = json.loads((tmp_path / "manifest.json").read_text())["references"]
    return {kind: Path(entry["file"]) for kind, entry in entries.items()}


def test_full_frame(paths):
    maps = read_maps(paths, {"SUBARRAY": "FULL"}, FULL)
    assert maps.gain_e_per_dn[11, 15] == 12 * 16
    assert maps.read_variance_e2[0, 1] == 4
    assert maps.dq[2, 4] == Flag.HOT
    assert maps.nonlin_coefficients.shape == (3, *FULL)
    assert np.isinf(maps.saturation_dn).all()


def test_subarray_is_cut_from_full_frame_maps(paths):
    maps = read_maps(paths, SUBARRAY, (4, 7))
    assert maps.gain_e_per_dn.shape == (4, 7)
    assert maps.gain_e_per_dn[0, 0] == 2 * 16 + 4 + 1
    assert maps.nonlin_coefficients[2, 3, 6] == 5 * 16 + 10 + 1
    assert maps.dq[0, 0] == Flag.HOT
    assert maps.cut(slice(1, 3)).gain_e_per_dn.flags.c_contiguous


def test_map_of_the_subarray_itself_is_taken_as_it_is():
    assert find_region((4, 7), SUBARRAY, (4, 7), name="gain") == (slice(None), slice(None))


@pytest.mark.parametrize(
    ("keywords", "shape", "message"),
    [
        ({}, (4, 7), r"shape \(12, 16\), the exposure \(4, 7\)"),
        ({"SUBARRAY": "CUSTOM"}, (4, 7), "needs SUBSTRT1 and SUBSTRT2"),
        (SUBARRAY | {"SUBSTRT1": 11}, (4, 7), r"shape \(12, 16\), too small"),
        (SUBARRAY | {"SUBSTRT2": 0}, (4, 7), "needs SUBSTRT1 and SUBSTRT2"),
    ],
)
def test_maps_that_do_not_hold_the_exposure_are_refused(paths, keywords, shape, message):
    with pytest.raises(ReductionError, match=message):
        read_maps(paths, keywords, shape)
