"""Level 0 in every form gives the same reads; what cannot be told apart is refused."""

import gzip

import numpy as np
import pytest
from astropy.io import fits
from ramps import make_times, write_ramp

from drs import raw
from drs.errors import ReductionError

SHAPE = (2, 3, 5, 7)
TIMES = make_times(2, 3)


@pytest.fixture
def reads():
    return np.random.default_rng(1).integers(0, 65536, SHAPE).astype(np.uint16)


def read_all(path, block_rows=2):
    with raw.open_ramp(path) as ramp:
        blocks = list(ramp.blocks(block_rows))
        assert [rows.start for rows, _ in blocks] == list(range(0, ramp.shape[2], block_rows))
        return np.concatenate([block for _, block in blocks], axis=2), ramp


def pack(path):
    packed = path.with_name(f"{path.name}.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    return packed


@pytest.mark.parametrize("order", ["first", "last"])
@pytest.mark.parametrize("form", ["plain", "gz", "fz"])
def test_every_form_and_order_gives_the_same_reads(tmp_path, reads, order, form):
    stored = reads if order == "first" else np.ascontiguousarray(reads.transpose(2, 3, 0, 1))
    path = write_ramp(tmp_path / "ramp.fits", stored, TIMES, compressed=form == "fz")
    found, ramp = read_all(pack(path) if form == "gz" else path)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, reads)
    np.testing.assert_array_equal(ramp.times_s, TIMES)
    assert ramp.times_source == "TIMES"
    assert ramp.shape == SHAPE
    assert ramp.keywords["OBJECT"] == "star"
    assert "NAXIS" not in ramp.keywords


def test_sci_is_read_as_data(tmp_path, reads):
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(TIMES, name="TIMES"), fits.ImageHDU(reads, name="SCI")]
    fits.HDUList(hdus).writeto(tmp_path / "ramp.fits")
    np.testing.assert_array_equal(read_all(tmp_path / "ramp.fits")[0], reads)


@pytest.mark.parametrize("times", [TIMES[:1], TIMES[0]])
def test_three_axes_are_the_reads_of_one_group(tmp_path, reads, times):
    found, ramp = read_all(write_ramp(tmp_path / "ramp.fits", reads[0], times))
    np.testing.assert_array_equal(found, reads[:1])
    np.testing.assert_array_equal(ramp.times_s, TIMES[:1])


@pytest.mark.parametrize(
    ("keywords", "step", "source"),
    [({"READTIME": 2.0, "EXPTIME": 9.0}, 2.0, "READTIME"), ({"EXPTIME": 9.0}, 4.5, "EXPTIME")],
)
def test_without_times_readtime_or_exptime_gives_them(tmp_path, reads, keywords, step, source):
    _, ramp = read_all(write_ramp(tmp_path / "ramp.fits", reads[0], **keywords))
    np.testing.assert_allclose(ramp.times_s, [[step, 2 * step, 3 * step]])
    assert ramp.times_source == source


def test_times_from_exptime_span_exptime(tmp_path, reads):
    _, ramp = read_all(write_ramp(tmp_path / "ramp.fits", reads[0], EXPTIME=9.0))
    assert ramp.times_s[0, -1] - ramp.times_s[0, 0] == 9.0


def test_one_read_has_no_times_from_exptime(tmp_path, reads):
    path = write_ramp(tmp_path / "ramp.fits", reads[0, :1], EXPTIME=9.0)
    with pytest.raises(ReductionError, match="one read has no EXPTIME; add READTIME"), raw.open_ramp(path):
        pass
    _, ramp = read_all(write_ramp(tmp_path / "ramp.fits", reads[0, :1], EXPTIME=9.0, READTIME=2.0))
    np.testing.assert_array_equal(ramp.times_s, [[2.0]])


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8"])
def test_other_numbers_become_float32(tmp_path, dtype):
    reads = np.arange(2 * 3 * 5 * 7).reshape(SHAPE).astype(dtype)
    found, _ = read_all(write_ramp(tmp_path / "ramp.fits", reads, TIMES))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, reads)


def test_blank_integers_become_nan(tmp_path):
    reads = np.arange(2 * 3 * 5 * 7).reshape(SHAPE).astype(np.int32)
    path = write_ramp(tmp_path / "ramp.fits", reads, TIMES)
    fits.setval(path, "BLANK", value=3, ext=1)
    found, _ = read_all(path)
    np.testing.assert_array_equal(np.argwhere(np.isnan(found)), [[0, 0, 0, 3]])


def test_times_tell_the_order_of_the_axes():
    assert raw.find_axes((2, 4, 2, 5), (2, 4)) == ((2, 4, 2, 5), raw.FIRST)
    assert raw.find_axes((2, 5, 2, 4), (2, 4)) == ((2, 4, 2, 5), raw.LAST)
    with pytest.raises(ReductionError, match=r"\(2, 4\) does not tell which axes of DATA \(2, 4, 2, 4\)"):
        raw.find_axes((2, 4, 2, 4), (2, 4))


def write_bad(path, reads, case):
    times = {"decreasing": TIMES[:, ::-1].copy(), "nan times": TIMES * np.nan, "other times": TIMES[:, :2].copy()}
    keywords = {"counts": {"NREADS": 4}, "groups": {"NGROUPS": 1}}.get(case, {})
    data = {"two axes": reads[0, 0], "no times": reads, "no times 3": reads[0], "times of 3": reads[0]}
    given = times.get(case, None if case.startswith("no times") else TIMES)
    return write_ramp(path, data.get(case, reads), given, **keywords)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("decreasing", "must increase"),
        ("nan times", "must increase"),
        ("other times", "does not tell which axes"),
        ("counts", "NREADS is 4, but DATA has 3"),
        ("groups", "NGROUPS is 1, but DATA has 2"),
        ("two axes", r"DATA has shape \(5, 7\)"),
        ("no times", "no extension TIMES"),
        ("no times 3", "neither READTIME nor EXPTIME"),
        ("times of 3", r"expected TIMES \(1, 3\)"),
    ],
)
def test_refused(tmp_path, reads, case, message):
    path = write_bad(tmp_path / "ramp.fits", reads, case)
    with pytest.raises(ReductionError, match=message), raw.open_ramp(path):
        pass


def test_corrections_come_before_conclusions(tmp_path, reads):
    path = write_bad(tmp_path / "ramp.fits", reads, "counts")
    with raw.open_ramp(path, [{"set": {"NREADS": 3}, "reason": "typing error"}]) as ramp:
        assert ramp.keywords["NREADS"] == 3


@pytest.mark.parametrize("end", [100, 2900, -3000])
@pytest.mark.parametrize("packed", [False, True])
def test_truncated_files_are_refused(tmp_path, reads, end, packed):
    path = write_ramp(tmp_path / "ramp.fits", reads, TIMES)
    path = pack(path) if packed else path
    path.write_bytes(path.read_bytes()[: end if not packed else 300])
    with pytest.raises(ReductionError, match=r"ramp\.fits"), raw.open_ramp(path):
        pass


def test_keywords_of_any_form(tmp_path, reads):
    path = write_ramp(tmp_path / "ramp.fits", reads, TIMES)
    for file in (path, pack(path)):
        assert raw.read_keywords(file)["OBJECT"] == "star"
    with pytest.raises(ReductionError, match="header cannot be read"):
        raw.read_keywords(__file__)


def test_a_block_stays_small_whatever_is_asked(tmp_path, monkeypatch, reads):
    monkeypatch.setattr(raw, "BLOCK_BYTES", 2 * 2 * 3 * 7 * 2)
    with raw.open_ramp(write_ramp(tmp_path / "ramp.fits", reads, TIMES)) as ramp:
        assert [rows.stop for rows, _ in ramp.blocks(1000)] == [2, 4, 5]


def test_temporary_files_go_away(tmp_path, monkeypatch, reads):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    path = pack(write_ramp(tmp_path / "ramp.fits", reads, TIMES))
    with raw.open_ramp(path):
        assert list((tmp_path / "scratch").iterdir())
    assert not list((tmp_path / "scratch").iterdir())
