"""R_* of headers as CRDS chooses now, compared with what stock crds writes."""

import os
import shutil
import subprocess
import sys

import pytest
from astropy.io import fits
from nights import keywords
from reference_cache import REPO, list_bytes, make_cache

import update_references

SAID = {"INSTERA": "0.0.1", "READMODE": "DEFAULT", "PUPIL": "CLEAR", "SUBARRAY": "FULL"}
SAID |= {"INSTMODE": "IMG", "GRATING": "MIRROR", "SCALE": 0.004}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("cache") / "crds")


@pytest.fixture
def files(tmp_path):
    """Return two files: one that names an older flat, one of a filter that no flat has."""
    (tmp_path / "raw").mkdir()
    for name, flat in (("Y", "old.fits"), ("K", "mine.fits")):
        header = fits.Header(keywords("SCI", 1, FILTER=name, **SAID))
        header["R_FLAT"] = flat
        fits.PrimaryHDU(header=header).writeto(tmp_path / "raw" / f"{name}.fits", checksum=True)
    return [tmp_path / "raw" / "Y.fits", tmp_path / "raw" / "K.fits"]


def read_named(path):
    header = fits.getheader(path)
    return {key: header[key] for key in header if key.startswith(("R_", "CRDS_CTX"))}


def ask_stock(cache, files, folder):
    """Return what stock crds writes into a copy of the first file: names without its prefix crds://."""
    folder.mkdir()
    copy = shutil.copy(files[0], folder)
    command = [sys.executable, REPO / "scripts/lcrds.py", "bestrefs", "--files", copy, "--update-bestrefs"]
    command += ["--new-context", "ligeriri_0001.pmap"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CRDS_")}
    environment |= {"CRDS_PATH": str(cache), "CRDS_READONLY_CACHE": "1"}
    subprocess.run(list(map(str, command)), env=environment, check=True, capture_output=True)
    return {key: value.removeprefix("crds://") for key, value in read_named(copy).items()}


def test_copies_have_what_stock_crds_writes(run, cache, files, tmp_path, caplog):
    before = list_bytes(tmp_path / "raw")
    result = run(update_references.main, file=files, output=tmp_path / "new", cache=cache)
    assert result.exit_code == 0, result.output
    assert list_bytes(tmp_path / "raw") == before
    named = read_named(tmp_path / "new/Y.fits")
    assert named == ask_stock(cache, files, tmp_path / "stock")
    assert named["R_FLAT"] == "iris_img1_flat_20240101t010000_0.0.1.fits"
    assert read_named(tmp_path / "new/K.fits")["R_FLAT"] == "mine.fits"
    assert "K.fits: flat stays as it is: CRDS ligeriri_0001.pmap says" in caplog.text
    with fits.open(tmp_path / "new/Y.fits", checksum=True) as hdus:
        assert "CHECKSUM" in hdus[0].header


def test_in_place_and_one_type(run, cache, files):
    result = run(update_references.main, file=files[0], in_place=True, type="dark", cache=cache)
    assert result.exit_code == 0, result.output
    assert read_named(files[0]) == {
        "R_FLAT": "old.fits",
        "R_DARK": "iris_img1_dark_20240101t000000_0.0.1.fits",
        "CRDS_CTX": "ligeriri_0001.pmap",
    }


def test_one_bad_file_leaves_the_others(run, cache, files, tmp_path):
    (tmp_path / "text.fits").write_text("no FITS")
    result = run(update_references.main, file=[tmp_path / "text.fits", *files], in_place=True, cache=cache)
    assert result.exit_code == 1
    assert "Error: 1 of 3 files were not updated:" in result.output
    assert "text.fits: not a FITS file" in result.output
    assert read_named(files[0])["R_DARK"] == "iris_img1_dark_20240101t000000_0.0.1.fits"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "give one of --output and --in-place"),
        ({"in_place": True, "type": "dusk"}, "no type of reference dusk"),
        ({"in_place": True, "context": "ligeriri_0009.pmap"}, "'ligeriri_0009.pmap' (from config) is not in"),
    ],
)
def test_bad_options(run, cache, files, options, text):
    before = [path.read_bytes() for path in files]
    result = run(update_references.main, file=files, cache=cache, **options)
    assert result.exit_code == 1
    assert text in result.output
    assert [path.read_bytes() for path in files] == before
