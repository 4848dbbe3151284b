import pytest
from astropy.io import fits
from click.testing import CliRunner
from nights import keywords
from reference_cache import ALL_TYPES, make_cache, write_reference

import get_reference
from drs import ingest

KEYWORDS = {"INSTRUME": "IRIS", "DETECTOR": "IMG1", "FILTER": "K", "EXPDTST": "2024-09-24T10:00:00"}
DARK = "references/ligeriri/iris/iris_img1_dark_20240101t000000_0.0.1.fits"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("cache") / "crds")


@pytest.fixture
def run(cache, tmp_path):
    path = tmp_path / "exposure.fits"
    fits.PrimaryHDU(header=fits.Header(KEYWORDS)).writeto(path)

    def call(*words, environ=None):
        return CliRunner().invoke(get_reference.main, [str(path), *words], env=environ)

    return call


def test_the_path_is_all_that_is_printed(run, cache):
    result = run("dark", f"--cache={cache}")
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{cache / DARK}\n", "")


def test_cache_and_context_come_from_the_environment(run, cache):
    result = run("dark", environ={"CRDS_PATH": str(cache), "CRDS_CONTEXT": "ligeriri_0009.pmap"})
    assert result.exit_code == 1
    assert "Error: CRDS context 'ligeriri_0009.pmap' (from CRDS_CONTEXT) is not in" in result.stderr
    assert run("dark", "--context=ligeriri_0001.pmap", environ={"CRDS_PATH": str(cache)}).exit_code == 0


def test_several_types_are_lines_in_their_order(run, cache):
    result = run("flat", "dark", f"--cache={cache}")
    assert result.exit_code == 1
    assert result.stdout == f"NOT FOUND\n{cache / DARK}\n"
    assert result.stderr.startswith("flat: not found: CRDS ligeriri_0001.pmap says: ")
    assert result.stderr.count("\n") == 1


def test_a_cache_is_needed(run):
    result = run("dark", environ={"CRDS_PATH": None})
    assert result.exit_code == 2
    assert "--cache" in result.stderr


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("rectmat", {"DETECTOR": "IFS", "INSTMODE": "LENSLET", "SCALE": 0.014, "GRATING": "K4000"}),
        ("sky", {"DETECTOR": "IMG1", "INSTMODE": "IMG", "SCALE": 0.004, "GRATING": "MIRROR"}),
    ],
)
def test_references_of_spectra_and_on_sky_are_found(tmp_path, kind, keys):
    cache = make_cache(tmp_path / "crds")
    path = write_reference(tmp_path, kind, **keys)
    ingest.ingest([path], ALL_TYPES, cache)
    said = {key: value for key, value in keys.items() if kind == "rectmat" or key == "DETECTOR"}
    fits.PrimaryHDU(header=fits.Header(keywords("SCI", 1, **said))).writeto(tmp_path / "frame.fits")
    result = CliRunner().invoke(get_reference.main, [str(tmp_path / "frame.fits"), kind, f"--cache={cache}"])
    assert result.exit_code == 0, result.output
    assert result.stdout.rstrip().endswith(path.name)
