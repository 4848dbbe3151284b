"""Bad input: a message that says what, where and what to do; the other exposures are reduced; exit status tells."""

import json
import shutil

import numpy as np
import pytest
from astropy.io import fits
from runs import run_snakemake

from drs import product

pytestmark = pytest.mark.workflow
SCIENCE = "TI.20240925.21600.00.fits"
SECOND = "TI.20240925.21692.00.fits"
OTHER_FILES = ("*.13.fits*", "*.13_r*", "HI.*", "TI.*.22*", "TI.*.05400*", "TI.*.2178*", "TI.*.2187*", "TI.*.219*")
NASTY_NAME = "name 'with' \"quotes\"; touch $(hacked) &.fits"
NASTY_OBJECT = "a'b\"; touch hacked $(touch hacked) <b>{x}"


def edit(path, target, *, data=None, **keywords):
    """Write a changed copy of a Level 0 file; a keyword of None is taken away."""
    with fits.open(path) as hdus:
        for key, value in keywords.items():
            if value is None:
                del hdus[0].header[key]
            else:
                hdus[0].header[key] = value
        if data is not None:
            hdus["DATA"] = fits.ImageHDU(data(hdus["DATA"].data), name="DATA")
        hdus.writeto(target)


@pytest.fixture(scope="module")
def bad_night(raw_night, tmp_path_factory):
    """Return (folder, run) of a reduced night of one detector with every kind of bad file among the good ones."""
    folder = tmp_path_factory.mktemp("bad") / "night"
    kept_out = shutil.ignore_patterns("truth", *OTHER_FILES)
    shutil.copytree(raw_night, folder, ignore=kept_out)
    raw = folder / "raw"
    whole = (raw / SCIENCE).read_bytes()
    (raw / "cut.fits").write_bytes(whole[: len(whole) // 2])
    (raw / "text.fits").write_text("this is no FITS file")
    (raw / "junk.fits").write_bytes((raw / SECOND).read_bytes() + b"junk" * 100)
    (raw / SECOND).unlink()
    edit(raw / SCIENCE, raw / "no detector.fits", DETECTOR=None, EXPNUM=41)
    edit(raw / SCIENCE, raw / "no_expnum.fits", EXPNUM=None)
    edit(raw / SCIENCE, raw / "illegal.fits", DETECTOR="IMG7", EXPNUM=42)
    edit(raw / SCIENCE, raw / "path.fits", PROGNUM="../../x", EXPNUM=43)
    edit(raw / SCIENCE, raw / "twin_a.fits", EXPNUM=44)
    edit(raw / SCIENCE, raw / "twin_b.fits", EXPNUM=44)
    edit(raw / SCIENCE, raw / "flat_image.fits", EXPNUM=45, data=lambda reads: reads[0, 0])
    edit(raw / SCIENCE, raw / NASTY_NAME, EXPNUM=46, OBJECT=NASTY_OBJECT)
    edit(raw / SCIENCE, raw / "no_flat.fits", EXPNUM=47, FILTER="K")
    edit(raw / SCIENCE, raw / "nan.fits", EXPNUM=48, data=with_nan)
    return folder, run_snakemake(folder)


def with_nan(reads):
    """Return the reads as float32 with three pixels that hold NaN or Inf."""
    reads = reads.astype(np.float32)
    reads[0, 3, 5, 7] = np.nan
    reads[0, :, 6, 8] = np.nan
    reads[0, 2, 7, 9] = np.inf
    return reads


def product_of(folder, level, expnum):
    """Return the product of a science exposure."""
    return product.read(folder / f"level{level}/2024B-P123-008_IRIS_IMG1_SCI_LVL{level}_{expnum:04d}-00.fits")


def test_exit_status_tells_and_the_last_lines_say_why(bad_night):
    _, run = bad_night
    assert run.returncode != 0
    last = run.stdout[run.stdout.rindex("raw/cut.fits") - 200 :]
    assert "raw/cut.fits: rejected: truncated: its headers state at least" in last
    assert "FILTER = K" in last
    assert "(log: logs/check_night/outcome.log)" in last


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("cut.fits", "transfer it again"),
        ("text.fits", "not a FITS file: it starts with b'this is n'"),
        ("no detector.fits", "keyword DETECTOR is missing: give it in exposures.yaml"),
        ("no_expnum.fits", "keyword EXPNUM is missing"),
        ("illegal.fits", "keyword DETECTOR is illegal: 'IMG7' is not one of"),
        ("path.fits", "keyword PROGNUM is illegal: '../../x' does not match"),
        ("twin_a.fits", "is claimed by twin_a.fits, twin_b.fits: exclude all but one"),
        ("twin_b.fits", "is claimed by twin_a.fits, twin_b.fits"),
        ("flat_image.fits", "expected 3 or 4 axes"),
    ],
)
def test_rejected_files_say_what_and_what_to_do(bad_night, file, text):
    folder, run = bad_night
    rows = {row["file"]: row for row in json.loads((folder / "plan/night.json").read_text())["rows"]}
    assert rows[file]["status"] == "rejected"
    assert text in rows[file]["reason"]
    assert f"raw/{file}: rejected: {rows[file]['reason']}" in run.stdout
    assert file in (folder / "plan/plan.txt").read_text()


def test_the_good_exposures_are_reduced(bad_night):
    folder, _ = bad_night
    for expnum in (1, 2, 46, 48):
        assert product_of(folder, 2, expnum).refusal is None
    mosaics = {path.name: product.read(path) for path in (folder / "level3").glob("*.fits")}
    assert mosaics["2024B-P123_IRIS_IMG1_J1958+1013_Y_20240924_LVL3.fits"].keywords["NCOMBINE"] == 3
    assert (folder / "report.html").exists()


def test_trailing_junk_is_used_and_noted(bad_night):
    _, run = bad_night
    assert "raw/junk.fits: accepted with a note: bytes behind the last HDU" in run.stdout


def test_an_exposure_without_reference_is_marked_and_says_what_to_do(bad_night):
    folder, run = bad_night
    reason = product_of(folder, 2, 47).refusal
    assert "FILTER = K" in reason
    assert "deliver a reference for it, override it, or choose another context" in reason
    manifest = json.loads((folder / "references/2024B-P123-008_IRIS_IMG1_SCI_0047-00.json").read_text())
    assert manifest["status"] == "failed"
    assert "2024B-P123-008_IRIS_IMG1_SCI_0047-00: " in run.stdout


def test_nan_in_the_data_is_flagged_where_it_is(bad_night):
    folder, _ = bad_night
    rate = product_of(folder, 1, 48)
    clean = product_of(folder, 1, 1)
    assert np.isnan(rate.arrays["SCI"][6, 8])
    assert rate.arrays["DQ"][6, 8] & 1
    assert np.isfinite(rate.arrays["SCI"][5, 7])
    others = np.ones(rate.arrays["SCI"].shape, bool)
    others[4:9, 6:11] = False
    np.testing.assert_allclose(rate.arrays["SCI"][others], clean.arrays["SCI"][others], rtol=1e-5)


def test_header_text_reaches_no_shell_and_no_path(bad_night):
    folder, _ = bad_night
    assert not list(folder.rglob("hacked"))
    names = [path.name for path in (folder / "level3").glob("*.fits")]
    assert len(names) == 3
    assert all(set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-._") for name in names)
    assert "hacked <b>" not in (folder / "report.html").read_text()


def test_a_second_run_says_it_again(bad_night):
    folder, _ = bad_night
    again = run_snakemake(folder)
    assert again.returncode != 0
    assert "FILTER = K" in again.stdout
    assert "check_night" in again.stdout
    assert "rule fit_ramp" not in again.stdout


def test_an_excluded_exposure_makes_the_run_good(bad_night, tmp_path):
    folder = tmp_path / "night"
    shutil.copytree(bad_night[0], folder)
    (folder / "exposures.yaml").write_text("exclude:\n  - {file: no_flat.fits, reason: no flat in K}\n")
    run = run_snakemake(folder)
    assert run.returncode == 0, run.stdout[-3000:]
    assert "raw/no_flat.fits: excluded: no flat in K" in run.stdout


def test_a_reference_with_a_wrong_checksum_is_refused(small_night):
    (reference,) = (small_night / "crds_cache").rglob("iris_img1_gain_*.fits")
    reference.write_bytes(reference.read_bytes()[:-2880] + b"\1" * 2880)
    run = run_snakemake(small_night, "references")
    assert run.returncode == 0
    name = "level1/2024B-P123-001_IRIS_IMG1_DARK_LVL1_0001-00.fits"
    run_snakemake(small_night, name)
    reason = product.read(small_night / name).refusal
    assert reference.name in reason
    assert "sha1" in reason


def test_an_empty_night_is_refused(tmp_path):
    run = run_snakemake(tmp_path)
    assert run.returncode != 0
    assert "no folder 'raw' here: a night holds its Level 0 files in raw/" in run.stdout
    (tmp_path / "raw").mkdir()
    run = run_snakemake(tmp_path)
    assert run.returncode != 0
    assert "'raw' holds no .fits, .fits.gz or .fits.fz file: nothing to reduce" in run.stdout


def test_a_night_of_calibrations_only(small_night):
    for path in (small_night / "raw").glob("TI.20240925.2*"):
        path.unlink()
    run = run_snakemake(small_night)
    assert run.returncode == 0, run.stdout[-3000:]
    assert {path.name.split("_")[2] for path in (small_night / "calibrations").iterdir()} == {"dark", "flat"}
    assert not (small_night / "level3").exists()
    context = json.loads((small_night / "references/contexts/optics.json").read_text())
    assert context["context"] == "ligeriri_9002.pmap"
    assert len(context["delivered"]) == 1


def test_a_strict_run_fails_for_a_rejected_file(small_night):
    (small_night / "raw/text.fits").write_text("no FITS")
    for path in (small_night / "raw").glob("TI.*"):
        if "TI.20240925.018" not in path.name:
            path.unlink()
    (small_night / "config.yaml").write_text("crds: {cache: crds_cache}\nstrict: true\n")
    run = run_snakemake(small_night)
    assert run.returncode != 0
    assert "raw/text.fits: not a FITS file" in run.stdout
