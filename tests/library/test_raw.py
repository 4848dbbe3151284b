"""Level 0 in every form gives the same reads; what cannot be told apart is refused."""

import errno
import gzip
import os
import resource
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from ramps import KEYWORDS, make_times, write_ramp

from drs import raw
from drs.errors import MachineError, ReductionError

SHAPE = (2, 3, 5, 7)
TIMES = make_times(2, 3)


@pytest.fixture
def reads():
    return np.random.default_rng(1).integers(0, 65536, SHAPE).astype(np.uint16)


def read_all(path, block_rows=2):
    with raw.open_ramp(path) as ramp:
        blocks = list(ramp.blocks(block_rows))
        assert [rows.start for rows, _, _ in blocks] == list(range(0, ramp.shape[2], block_rows))
        return np.concatenate([block for _, _, block in blocks], axis=2), ramp


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


def test_zeros_that_a_packed_file_unpacks_to_behind_its_end_are_left_alone(tmp_path, reads, monkeypatch):
    path = write_ramp(tmp_path / "ramp.fits", reads, TIMES)
    size = path.stat().st_size
    with gzip.open(tmp_path / "ramp.fits.gz", "wb", 1) as packed:
        packed.write(path.read_bytes() + bytes(5 << 20))
    sizes = []
    _open = fits.open
    monkeypatch.setattr(raw.fits, "open", lambda path, **how: sizes.append(path.stat().st_size) or _open(path, **how))
    with raw.open_ramp(tmp_path / "ramp.fits.gz") as ramp:
        assert sizes == [size]
        np.testing.assert_array_equal(next(ramp.blocks(SHAPE[2]))[2], reads)


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
        ("nan times", "must increase .* read .* of group .* is at nan s"),
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
    with pytest.raises(ReductionError, match="not a FITS file"):
        raw.read_keywords(__file__)


def test_a_block_stays_small_whatever_is_asked(tmp_path, monkeypatch, reads):
    monkeypatch.setattr(raw, "BLOCK_BYTES", 2 * 2 * 3 * 7 * 2)
    with raw.open_ramp(write_ramp(tmp_path / "ramp.fits", reads, TIMES)) as ramp:
        assert [rows.stop for rows, _, _ in ramp.blocks(1000)] == [2, 4, 5]


def test_temporary_files_go_away(tmp_path, monkeypatch, reads):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    path = pack(write_ramp(tmp_path / "ramp.fits", reads, TIMES))
    with raw.open_ramp(path):
        assert list((tmp_path / "scratch").iterdir())
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("halo", [0, 1, 3])
def test_blocks_come_with_the_rows_around_them(tmp_path, reads, halo):
    with raw.open_ramp(write_ramp(tmp_path / "ramp.fits", reads, TIMES)) as ramp:
        blocks = list(ramp.blocks(2, halo))
    assert [rows for rows, _, _ in blocks] == [slice(0, 2), slice(2, 4), slice(4, 5)]
    for rows, padded, block in blocks:
        assert (padded.start, padded.stop) == (max(rows.start - halo, 0), min(rows.stop + halo, 5))
        np.testing.assert_array_equal(block, reads[:, :, padded])


@pytest.mark.parametrize("order", ["first", "last"])
def test_the_reference_output_is_cut(tmp_path, order):
    reads = np.random.default_rng(4).integers(0, 65536, (2, 3, 5, 71)).astype(np.uint16)
    stored = reads if order == "first" else np.ascontiguousarray(reads.transpose(2, 3, 0, 1))
    path = write_ramp(tmp_path / "ramp.fits", stored, TIMES)
    with raw.open_ramp(path, size=(5, 7)) as ramp:
        assert ramp.shape == SHAPE
        np.testing.assert_array_equal(ramp.read_rows(1, 4), reads[:, :, 1:4, :7])
    with raw.open_ramp(path, size=(5, 8)) as ramp:  # 63 columns are no reference output
        assert ramp.shape == (2, 3, 5, 71)


def test_dropped_reads_are_not_usable(tmp_path, reads):
    path = write_ramp(tmp_path / "ramp.fits", reads, TIMES)
    with raw.open_ramp(path) as ramp:
        assert ramp.usable.all()
    with raw.open_ramp(path, dropped=[[1, 2], [2, 3]]) as ramp:
        np.testing.assert_array_equal(ramp.usable, [[True, False, True], [True, True, False]])
    for place in ([3, 1], [1, 4], [0, 1], [1, 0]):
        message = f"read {place[1]} of group {place[0]} is to be dropped, but there are 2 groups of 3 reads"
        with pytest.raises(ReductionError, match=message), raw.open_ramp(path, dropped=[place]):
            pass


def test_averaged_reads(tmp_path, reads):
    with raw.open_ramp(write_ramp(tmp_path / "a.fits", reads, TIMES)) as ramp:
        assert (ramp.n_average, ramp.average_step_s) == (1, 0.0)
    with raw.open_ramp(write_ramp(tmp_path / "b.fits", reads, TIMES, NFRAMES=4, FRMTIME=0.25)) as ramp:
        assert (ramp.n_average, ramp.average_step_s) == (4, 0.25)
    path = write_ramp(tmp_path / "c.fits", reads, TIMES, NFRAMES=0)
    with pytest.raises(ReductionError, match=r"c\.fits: NFRAMES is 0, expected a whole number"), raw.open_ramp(path):
        pass


def write_reads(folder, reads, *, form="plain", skip=(), changes=()):
    """Write one file per read, in an order of names that means nothing; return them as the folder lists them."""
    n_group, n_read = reads.shape[:2]
    for group, read in np.ndindex(n_group, n_read):
        place = {"RAMP_NO": group + 1, "READ_NO": read + 1, "NUMRAMPS": n_group, "NUMREADS": n_read}
        own = place | {"COMPLETE": True, "ITIME": 1.5 * (read + 1)} | dict(changes).get((group + 1, read + 1), {})
        path = folder / f"{(7 * (group * n_read + read) + 3) % 101:03d}.fits"
        if (group + 1, read + 1) in skip:
            continue
        if form == "primary":
            header = fits.Header(KEYWORDS | own)
            fits.PrimaryHDU(reads[group, read], header=header).writeto(path)
        else:
            write_ramp(path, reads[group, read], compressed=form == "fz", **own)
        if form == "gz":
            pack(path)
            path.unlink()
    return sorted(folder.iterdir())


@pytest.mark.parametrize("form", ["plain", "primary", "gz", "fz"])
def test_one_file_per_read(tmp_path, reads, form):
    found, ramp = read_all(write_reads(tmp_path, reads, form=form))
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, reads)
    np.testing.assert_array_equal(ramp.times_s, TIMES)
    assert (ramp.times_source, ramp.shape, ramp.usable.all()) == ("ITIME", SHAPE, True)
    assert (ramp.keywords["OBJECT"], ramp.keywords["READ_NO"]) == ("star", 1)


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)),
    st.randoms(use_true_random=False),
    st.integers(1, 5),
    st.integers(0, 2),
)
def test_any_shape_and_order_of_files_gives_the_same_array(shape, random, block_rows, halo):
    reads = np.random.default_rng(random.randrange(99)).integers(0, 65536, shape).astype(np.uint16)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_reads(Path(folder), reads)
        random.shuffle(paths)
        with raw.open_ramp(paths) as ramp:
            for _, padded, block in ramp.blocks(block_rows, halo):
                np.testing.assert_array_equal(block, reads[:, :, padded])
            assert raw.read_keywords(paths) == ramp.keywords


def test_a_compressed_primary_has_its_keywords(tmp_path, reads):
    header = fits.Header(KEYWORDS | {"READ_NO": 1, "ITIME": 1.5})
    tiles = fits.CompImageHDU(reads[0, 0], header=header)
    fits.HDUList([fits.PrimaryHDU(), tiles]).writeto(tmp_path / "a.fits.fz")
    content = (tmp_path / "a.fits.fz").read_bytes()
    assert b"XTENSION= 'BINTABLE'" in content
    card = b"ZIMAGE  =                    T / extension contains compressed image"
    assert card.split(b"/")[0] in content
    start = content.index(card.split(b"/")[0])
    packed = content[:start] + b"ZSIMPLE =                    T".ljust(80) + content[start:]
    end = packed.index(b"END".ljust(80), start)
    padding = packed.index(b" " * 80, end + 80)
    (tmp_path / "a.fits.fz").write_bytes(packed[:padding] + packed[padding + 80 :])
    assert raw.read_keywords(tmp_path / "a.fits.fz")["OBJECT"] == "star"
    found, ramp = read_all(tmp_path / "a.fits.fz")
    np.testing.assert_array_equal(found[0, 0], reads[0, 0])
    assert ramp.keywords["OBJECT"] == "star"
    assert not {"ZIMAGE", "TFORM1", "XTENSION", "ZCMPTYPE"} & ramp.keywords.keys()


def test_a_dropped_read_may_be_missing(tmp_path, reads):
    paths = write_reads(tmp_path, reads, skip={(2, 2)})
    with pytest.raises(ReductionError, match="missing: reads 2 of ramp 2"), raw.open_ramp(paths):
        pass
    with raw.open_ramp(paths, dropped=[(2, 2)]) as ramp:
        found = ramp.read_rows(0, 5)
        np.testing.assert_array_equal(found[ramp.usable], reads[ramp.usable])
        np.testing.assert_array_equal(ramp.usable, [[True, True, True], [True, False, True]])
        np.testing.assert_array_equal(ramp.times_s, TIMES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({(1, 2): {"COMPLETE": False}}, r"read 2 of ramp 1 is not complete \(.*\.fits: COMPLETE is False\)"),
        ({(1, 2): {"READ_NO": 1}}, r"read 1 of ramp 1 is there twice: .*003\.fits, .*010\.fits; exclude one"),
        ({(1, 3): {"ITIME": 3.0}}, "ITIME must increase"),
        ({(1, 3): {"ITIME": None}}, "ITIME is missing or no time in read 3 of ramp 1"),
        ({(1, 1): {"NREADS": 4}}, "NREADS is 4, but DATA has 3"),
        ({(1, 1): {"NGROUPS": 4, "NREADS": 3}}, "NGROUPS is 4, but DATA has 2"),
        ({(2, 1): {"NUMREADS": 4}}, "NUMREADS is 3 in .* but 4 in"),
        ({(1, 1): {"NFRAMES": -1}}, "NFRAMES is -1"),
    ],
)
def test_reads_that_make_no_ramp_are_refused(tmp_path, reads, changes, message):
    paths = write_reads(tmp_path, reads, changes=changes)
    with pytest.raises(ReductionError, match=message), raw.open_ramp(paths):
        pass


def test_reads_that_are_none_or_differ_in_shape_are_refused(tmp_path, reads):
    paths = write_reads(tmp_path, reads)
    write_ramp(paths[2], reads[0, 2, :4], READ_NO=3, ITIME=4.5)
    with pytest.raises(ReductionError, match=r"differ in shape \(y, x\): .* has \(5, 7\), .* has \(4, 7\)"):
        raw.open_ramp(paths).__enter__()
    write_ramp(paths[2], reads, TIMES)
    with pytest.raises(ReductionError, match=r"017\.fits: DATA has shape \(2, 3, 5, 7\); expected one read \(y, x\)"):
        raw.open_ramp(paths).__enter__()
    paths[2].write_bytes(paths[1].read_bytes()[:-2880])
    with pytest.raises(ReductionError, match=r"017\.fits: truncated"):
        raw.open_ramp(paths).__enter__()
    with pytest.raises(ReductionError, match="no Level 0 file was given"):
        raw.open_ramp([]).__enter__()


def test_an_exposure_may_have_more_files_than_a_process_may_open(tmp_path):
    reads = np.random.default_rng(5).integers(0, 65536, (2, 40, 3, 4)).astype(np.uint16)
    paths = write_reads(tmp_path, reads)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 20, limits[1]))
    try:
        np.testing.assert_array_equal(read_all(paths)[0], reads)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("change", ["grow", "touch", "unlink", "replace", None])
def test_what_is_made_of_files_that_change_is_removed(tmp_path, change):
    path, made = tmp_path / "ramp.fits", tmp_path / "rate.fits"
    path.write_bytes(b"ab")
    ways = {
        "grow": lambda: path.write_bytes(b"abc"),
        "touch": lambda: os.utime(path, (1, 1)),
        "unlink": path.unlink,
        "replace": lambda: shutil.copy2(path, tmp_path / "other").replace(path),
    }

    def reduce():
        with raw.unchanged([path], made):
            made.write_bytes(b"made")
            if change:
                ways[change]()
            raise ReductionError("of a half file")  # is no verdict where the file changed

    with pytest.raises(MachineError if change else ReductionError):
        reduce()
    assert made.exists() == (change is None)


def test_a_failing_disk_is_no_defect_of_a_file(tmp_path, reads, monkeypatch):
    write_ramp(tmp_path / "a.fits", reads, TIMES)

    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with raw.open_ramp(tmp_path / "a.fits") as ramp:
        monkeypatch.setattr(os, "preadv", fail)
        with pytest.raises(OSError, match="Input/output error"):
            ramp.read_rows(0, 2)
    with pytest.raises(FileNotFoundError), raw.open_ramp(tmp_path / "absent.fits"):
        pass
