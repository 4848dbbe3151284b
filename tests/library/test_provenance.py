"""What a product says about its bytes and its inputs."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drs import product
from drs.errors import ReductionError
from drs.provenance import examine, examine_all, hash_all, read_provenance

KEYWORDS = {"DATAMODL": "ImagerModel", "TELESCOP": "TMT", "INSTRUME": "IRIS", "DETECTOR": "IMG1", "IMTYPE": "SCI"}
KEYWORDS |= {"SEMID": "2024B", "PROGNUM": "P123", "OBSNUM": "008", "EXPDTST": "2024-09-25T06:00:00.000"}
KEYWORDS |= {"EXPTIME": 10.0, "FILTER": "Y", "DATALVL": 1}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a product and its only input."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "raw.fits").write_bytes(b"raw")
    arrays = {"SCI": np.ones((5, 7), "f4"), "ERR": np.ones((5, 7), "f4"), "DQ": np.zeros((5, 7), "u4")}
    image = product.Product(KEYWORDS, arrays, {"SCI": "electron/s", "ERR": "electron/s"})
    product.write(folder / "a.fits", image, inputs={"ramp": folder / "raw.fits"})
    return folder / "a.fits", folder / "raw.fits"


def test_a_product_as_it_was_written(made):
    path, _ = made
    assert examine(path) == (hashlib.sha256(path.read_bytes()).hexdigest(), [])
    assert examine_all([path]) == {path: examine(path)}
    assert hash_all([path]) == {path: examine(path)[0]}


@settings(max_examples=200)
@given(st.data())
def test_any_changed_byte_shows(made, data):
    content = bytearray(made[0].read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    path = made[0].with_name("flipped.fits")
    path.write_bytes(content)
    assert examine(path)[1]


@pytest.mark.parametrize("n_bytes", [0, 1000, -1, -2880])
def test_a_cut_file_and_its_cause(made, tmp_path, n_bytes):
    path = tmp_path / "cut.fits"
    path.write_bytes(made[0].read_bytes()[:n_bytes])
    _, (defect, *_) = examine(path)
    assert any(word in defect for word in ("not a FITS file", "truncated", "agree", "DATASUM"))


def test_a_lost_table_at_the_end_is_no_defect_of_bytes_but_of_provenance(made, tmp_path):
    content = made[0].read_bytes()
    (tmp_path / "b.fits").write_bytes(content[: content.rindex(b"XTENSION")])
    assert examine(tmp_path / "b.fits")[1] == []
    with pytest.raises(ReductionError, match=r"b.fits: its table PROVENANCE cannot be read"):
        read_provenance(tmp_path / "b.fits")


def test_bytes_behind_the_end_are_a_defect(made, tmp_path):
    (tmp_path / "b.fits").write_bytes(made[0].read_bytes() + b"junk")
    assert "bytes behind the last HDU" in examine(tmp_path / "b.fits")[1][0]


def test_provenance_names_the_inputs(made):
    path, raw = made
    assert read_provenance(path) == [("ramp", "raw.fits", hashlib.sha256(raw.read_bytes()).hexdigest())]


def test_a_file_that_is_no_product_has_no_provenance_to_read(tmp_path):
    (tmp_path / "a.fits").write_text("text")
    with pytest.raises(ReductionError, match="not a FITS file"):
        read_provenance(tmp_path / "a.fits")
