"""The command: a Level 0 file and a manifest in, a rate image out, every refusal one line."""

import errno
import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner
from ramps import FIT_OPTIONS, make_reads, make_times, write_ramp, write_references

import fit_ramp
from drs import product
from drs.dq import Flag

SHAPE = (2, 6, 12, 16)
IMAGE = SHAPE[2:]
TIMES = make_times(2, 6)


def make_references():
    """Return arrays of all reference types, with one bad pixel of each kind that is tested."""
    x = np.linspace(0.9, 1.1, IMAGE[0] * IMAGE[1], dtype=np.float32).reshape(IMAGE)
    saturation = 40000 * x
    saturation[3, 4] = 500
    dq = np.zeros(IMAGE, np.uint32)
    dq[1, 2] = Flag.DO_NOT_USE | Flag.DEAD
    coefficients = np.stack([0 * x, np.ones_like(x), 1e-7 * x])
    maps = {"dq": dq, "saturation": saturation, "bias": 1000 * x, "nonlin": coefficients}
    return maps | {"gain": 2 * x, "readnoise": 8 * x}


@pytest.fixture(scope="module")
def reads():
    made = make_reads(np.random.default_rng(4), 80.0, SHAPE, times_s=TIMES, noise_e=8.0, gain=2.0)
    made[0, 3:, 7, 8] += 3000
    return made


@pytest.fixture
def run(tmp_path):
    manifest = write_references(tmp_path, **make_references())

    def call(ramp, *flags, **changes):
        options = {
            "manifest": manifest,
            "cache": tmp_path,
            "night-cache": tmp_path / "none",
            "output": tmp_path / "rate.fits",
        }
        options |= FIT_OPTIONS | {key.replace("_", "-"): value for key, value in changes.items()}
        arguments = [f"--ramp={path}" for path in (ramp if isinstance(ramp, list) else [ramp])]
        arguments += [text for key, value in options.items() for text in (f"--{key}", str(value))]
        result = CliRunner().invoke(fit_ramp.main, [*arguments, *flags])
        if result.exit_code == 0:
            return product.read(tmp_path / "rate.fits")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return call


@pytest.fixture
def ramp(tmp_path, reads):
    return write_ramp(tmp_path / "ramp.fits", reads, TIMES, TEMPIMGD=77.5, CRVAL1=1.0, EXPTIME=9.0)


def test_rate_image(run, ramp, tmp_path):
    rate = run(ramp)
    assert rate.model == "ImagerModel"
    assert rate.units["SCI"] == rate.units["ERR"] == "electron/s"
    assert rate.units["VAR_POISSON"] == rate.units["VAR_RNOISE"] == "electron2/s2"
    arrays = rate.arrays
    good = arrays["DQ"] & Flag.DO_NOT_USE == 0
    np.testing.assert_allclose(arrays["SCI"][good].mean(), 80, rtol=0.05)
    np.testing.assert_allclose(arrays["ERR"] ** 2, arrays["VAR_POISSON"] + arrays["VAR_RNOISE"], rtol=1e-5)
    assert arrays["DQ"][1, 2] == Flag.DO_NOT_USE | Flag.DEAD
    assert np.isfinite(arrays["SCI"][1, 2])
    assert arrays["DQ"][3, 4] == Flag.DO_NOT_USE | Flag.SATURATED
    assert np.isnan([arrays[name][3, 4] for name in ("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE")]).all()
    assert arrays["NREADS"][3, 4] == 0
    assert arrays["DQ"][7, 8] == Flag.JUMP_DET
    assert arrays["NREADS"][0, 0] == 12


def test_header(run, ramp):
    rate = run(ramp, keys=json.dumps({"NIGHT": "20260426", "SEMID": "1999A"}))
    expected = {
        "OBJECT": "star",
        "TEMPIMGD": 77.5,
        "SEMID": "2026A",
        "NIGHT": "20260426",
        "DATALVL": 1,
        "EXPTIME": 7.5,
        "TOTTIME": 15.0,
        "NGROUPS": 2,
        "NREADS": 6,
        "CRDS_CTX": "ligeriri_0001.pmap",
        "R_GAIN": "gain.fits",
        "DATAQUAL": "GOOD",
    }
    assert {key: rate.keywords[key] for key in expected} == expected
    assert "CRVAL1" not in rate.keywords
    steps = ("S_DQINIT", "S_SATCHK", "S_BIAS", "S_NLCORR", "S_JUMPD", "S_RAMPFI", "S_GANSCL")
    assert {rate.keywords[step] for step in steps} == {"COMPLETE"}
    assert ("jump", "jump_threshold_sigma", "4.5") in rate.parameters
    assert ("fit_ramp", "method", '"likelihood"') in rate.parameters
    assert ("fit_ramp", "noise_box_pix", "7") in rate.parameters


def test_provenance_lists_the_ramp_and_every_reference(run, ramp, tmp_path):
    run(ramp)
    rows = fits.getdata(tmp_path / "rate.fits", "PROVENANCE")
    roles = ["ramp", "dq", "saturation", "bias", "nonlin", "gain", "readnoise"]
    assert list(rows["ROLE"]) == roles
    assert rows["SHA256"][0] == product.sha256(ramp)


@pytest.mark.parametrize("form", ["last", "gz", "fz", "blocks"])
def test_every_form_gives_the_same_bytes(run, ramp, reads, tmp_path, form):
    expected = run(ramp).arrays
    other, block_rows = tmp_path / "other.fits", 1000 if form == "blocks" else 5
    if form == "last":
        write_ramp(other, np.ascontiguousarray(reads.transpose(2, 3, 0, 1)), TIMES)
    elif form == "fz":
        write_ramp(other, reads, TIMES, compressed=True)
    else:
        other.write_bytes(gzip.compress(ramp.read_bytes()) if form == "gz" else ramp.read_bytes())
    for name, array in run(other, block_rows=block_rows).arrays.items():
        assert array.tobytes() == expected[name].tobytes()


def test_the_same_command_gives_the_same_file(run, ramp, tmp_path):
    run(ramp)
    first = (tmp_path / "rate.fits").read_bytes()
    run(ramp)
    assert (tmp_path / "rate.fits").read_bytes() == first


def test_one_group_of_three_axes(run, reads, tmp_path):
    rate = run(write_ramp(tmp_path / "ramp.fits", reads[0], READTIME=1.5))
    assert rate.keywords["EXPTIME"] == 7.5
    np.testing.assert_allclose(np.nanmedian(rate.arrays["SCI"]), 80, rtol=0.1)


def test_times_that_no_one_stated_are_told_in_the_history(run, reads, tmp_path):
    rate = run(write_ramp(tmp_path / "ramp.fits", reads[0], None, EXPTIME=25.0))
    assert "times of the reads: none stated, made from EXPTIME" in rate.history
    stated = run(write_ramp(tmp_path / "stated.fits", reads[0], TIMES[:1]))
    assert stated.history == ()


def test_subarray_takes_its_part_of_the_references(run, ramp, reads, tmp_path):
    full = run(ramp).arrays
    part = np.ascontiguousarray(reads[:, :, 2:9, 3:14])
    path = write_ramp(tmp_path / "part.fits", part, TIMES, SUBARRAY="CUSTOM", SUBARRID=1, SUBSTRT1=4, SUBSTRT2=3)
    arrays = run(path).arrays
    for name in ("SCI", "VAR_RNOISE", "DQ", "NREADS"):  # the box of VAR_POISSON ends at the subarray
        assert arrays[name].tobytes() == np.ascontiguousarray(full[name][2:9, 3:14]).tobytes()


@pytest.mark.parametrize(
    ("step", "keyword"),
    [
        *(("dq_init", "S_DQINIT"), ("saturation", "S_SATCHK"), ("bias", "S_BIAS"), ("nonlin", "S_NLCORR")),
        *(("gain", "S_GANSCL"), ("jump", "S_JUMPD"), ("refpix", "S_REFPIX")),
    ],
)
def test_skipped_step_says_so_and_needs_no_reference(run, ramp, tmp_path, step, keyword):
    maps = {kind: array for kind, array in make_references().items() if kind != {"dq_init": "dq"}.get(step, step)}
    write_references(tmp_path, **maps)
    rate = run(ramp, f"--skip-step={step}")
    assert rate.keywords[keyword].startswith("SKIPPED: by configuration")
    assert rate.arrays["DQ"][3, 4] == (0 if step == "saturation" else Flag.DO_NOT_USE | Flag.SATURATED)
    assert (rate.arrays["DQ"][7, 8] == 0) == (step == "jump")


def test_a_reference_that_is_switched_off_leaves_its_step_out(run, ramp, tmp_path):
    path = write_references(tmp_path, **make_references())
    manifest = json.loads(path.read_text())
    nothing = {"file": None, "source": "override", "status": "n/a", "note": "exposures.yaml: unknown amplifier"}
    manifest["references"]["gain"].update(nothing, reason="switched off")
    path.write_text(json.dumps(manifest))
    rate = run(ramp)
    assert rate.keywords["S_GANSCL"].startswith("SKIPPED: by configuration")
    assert rate.keywords["R_GAIN"] == "N/A"
    assert "override of gain: none by exposures.yaml: unknown amplifier" in rate.history


def test_one_difference_has_no_search_for_jumps(run, reads, tmp_path):
    rate = run(write_ramp(tmp_path / "ramp.fits", reads[:1, :2], TIMES[:1, :2]), method="cds")
    assert rate.keywords["S_JUMPD"] == "SKIPPED: one difference of reads shows no jump"


def test_corrections_are_applied_and_recorded(run, ramp):
    rate = run(ramp, corrections=json.dumps([{"set": {"FILTER": "J"}, "reason": "wheel was stuck"}]))
    assert rate.keywords["FILTER"] == "J"
    assert rate.history == ("corrected FILTER = 'J' (was 'Ks'): wheel was stuck",)


def bad_input(case, reads, tmp_path):
    """Return a ramp that must be refused."""
    keywords = {"no filter": {"FILTER": None}, "no start": {"EXPDTST": None}, "counts": {"NREADS": 9}}.get(case, {})
    data = reads[:, :, :8] if case == "small" else reads
    ramp = write_ramp(tmp_path / "ramp.fits", data, TIMES, **keywords)
    if case == "changed reference":
        with (tmp_path / "gain.fits").open("ab") as stream:
            stream.write(b" " * 2880)
    if case == "no reference":
        write_references(tmp_path, **{k: v for k, v in make_references().items() if k != "gain"})
    if case == "truncated":
        ramp.write_bytes(ramp.read_bytes()[:9000])
    return ramp


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("small", r"has shape \(12, 16\), the exposure \(8, 16\)"),
        ("no filter", "'FILTER' is a required property"),
        ("no start", "no start time"),
        ("counts", "NREADS is 9"),
        ("changed reference", "has changed"),
        ("no reference", "no gain reference"),
        ("truncated", "truncated"),
    ],
)
def test_refusals(run, reads, tmp_path, case, message):
    result = run(bad_input(case, reads, tmp_path))
    assert result.exit_code == 1
    assert "Error: " in result.output
    assert "Traceback" not in result.output
    assert re.search(message, result.output), result.output
    assert not (tmp_path / "rate.fits").exists()


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("corrections", "{", "Invalid value for '--corrections': is not JSON"),
        ("corrections", "{}", "{} is not a JSON list"),
        ("keys", "[1]", "is not a JSON object"),
        ("drop", "[[1]]", "is no list of [group, read]"),
        ("drop", "3", "3 is not a JSON list"),
        ("noise-box-pix", 4, "4 is no odd number"),
        ("jump-threshold-sigma", "nan", "nan is no number"),
    ],
)
def test_options_that_make_no_sense_are_refused(run, ramp, option, text, message):
    result = run(ramp, **{option: text})
    assert result.exit_code == 2
    assert message in result.output


def test_refusal_can_be_marked(run, reads, tmp_path):
    rate = run(bad_input("small", reads, tmp_path), "--mark-refusal")
    assert "the exposure (8, 16)" in rate.refusal


@pytest.mark.parametrize("change", ["touch", "unlink"])
def test_nothing_is_made_of_a_file_that_changes_meanwhile(run, ramp, tmp_path, monkeypatch, change):
    def write_and_change(*arguments, _write=product.write, **inputs):
        _write(*arguments, **inputs)
        Path(ramp).unlink()
        if change == "touch":
            Path(ramp).write_bytes(b"more")

    monkeypatch.setattr(product, "write", write_and_change)
    result = run(ramp, "--mark-refusal")
    assert result.exit_code == 1
    assert "ramp.fits changed meanwhile; when its transfer is over, give the command again" in result.output
    assert not (tmp_path / "rate.fits").exists()


def test_a_disk_that_fails_is_one_line(run, ramp, monkeypatch):
    def fill(*arguments, **inputs):
        raise OSError(errno.ENOSPC, "No space left on device", "level1/x.fits")

    monkeypatch.setattr(product, "write", fill)
    result = run(ramp)
    assert result.exit_code == 1
    assert "Error: level1/x.fits: No space left on device; restore the file, make room" in result.output
