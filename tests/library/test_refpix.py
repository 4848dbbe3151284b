"""Reference pixels: offsets against known drifts, and the noise that the correction adds."""

import numpy as np
import pytest
from scipy.fft import idct

from drs.detector import build_maps
from drs.dq import Flag
from drs.errors import ReductionError
from drs.refpix import ReferencePixels

BORDER, N_CHANNEL, NOISE_DN = 4, 4, 6.0
SHAPE = (1, 40, 88, 128)  # n_group, n_read, ny, nx


def within_groups(values):
    """Return deviations from the mean over the reads of a group; all that rates depend on."""
    return values - values.mean(axis=1, keepdims=True)


def mean_square(values):
    """Return the variance of one read from that of deviations."""
    n_read = values.shape[1]
    return (within_groups(values) ** 2).mean() * n_read / (n_read - 1)


def make_drifts(rng, shape, *, frame=0.0, channel=0.0, parity=0.0, row=0.0):
    """Return the drifts' truth: columns (n_group, n_read, nx), rows (n_group, n_read, ny), and the rows' power."""
    n_group, n_read, ny, nx = shape
    walk = frame * np.cumsum(rng.normal(size=(n_group, n_read, 1)), axis=1)
    cells = channel * rng.normal(size=(n_group, n_read, N_CHANNEL, 1, 1))
    cells = cells + parity * rng.normal(size=(n_group, n_read, N_CHANNEL, 1, 2))
    columns = np.broadcast_to(cells, (n_group, n_read, N_CHANNEL, nx // N_CHANNEL // 2, 2)).reshape(n_group, n_read, nx)
    power = np.append(0, 1 / np.arange(1, ny))  # 1/f
    power *= row**2 * ny / power.sum()
    return walk + columns, idct(rng.normal(size=shape[:3]) * np.sqrt(power), axis=-1, norm="ortho"), power


def make_reads(rng, shape, drifts, *, noise_dn=NOISE_DN, ktc_dn=20.0, light=0.0):
    """Return float32 reads above a bias of 1000 DN; light in the active pixels only."""
    columns, rows, _ = drifts
    reads = rng.normal(1000, noise_dn, shape)
    reads += rng.normal(0, ktc_dn, (shape[0], 1, *shape[2:])) + columns[:, :, np.newaxis] + rows[..., np.newaxis]
    active = reads[..., BORDER:-BORDER, BORDER:-BORDER]
    active += light * np.arange(shape[1])[:, np.newaxis, np.newaxis]
    return reads.astype(np.float32)


def estimate(reads, *, dq=None, block_rows=32, backwards=False, smoothing_rows=11):
    border = ReferencePixels(reads.shape, border_pix=BORDER, n_channel=N_CHANNEL)
    maps = build_maps(reads.shape[2:], dq, bias_dn=np.full(reads.shape[2:], 1000, np.float32))
    starts = range(0, reads.shape[2], block_rows)
    for start in reversed(starts) if backwards else starts:
        rows = slice(start, min(start + block_rows, reads.shape[2]))
        border.add(rows, reads[:, :, rows], maps.cut(rows))
    return border.estimate(smoothing_rows=smoothing_rows)


def total(columns, rows):
    return columns[:, :, np.newaxis, :] + rows[..., np.newaxis]


def plain_means(reads, smoothing_rows=11):
    """Return what plain means subtract: every channel's and parity's mean, and a running mean of the side columns."""
    values = reads.astype(float) - 1000
    ends = np.concatenate([values[..., :BORDER, :], values[..., -BORDER:, :]], axis=2)
    cells = ends.reshape(*ends.shape[:3], N_CHANNEL, -1, 2).mean(axis=(2, 4))
    repeated = np.broadcast_to(cells[..., np.newaxis, :], (*cells.shape[:3], values.shape[3] // N_CHANNEL // 2, 2))
    columns = repeated.reshape(*ends.shape[:2], -1)
    values = values - columns[:, :, np.newaxis]
    sides = np.concatenate([values[..., :BORDER], values[..., -BORDER:]], axis=3).mean(axis=3)
    padded = np.pad(sides, ((0, 0), (0, 0), (smoothing_rows // 2,) * 2), mode="edge")
    rows = np.lib.stride_tricks.sliding_window_view(padded, smoothing_rows, axis=2).mean(axis=-1)
    return columns, rows


def test_without_drift_hardly_any_noise_is_added_and_it_is_stated():
    rng = np.random.default_rng(1)
    shape = (40, 60, *SHAPE[2:])  # 2400 reads: the frame's mean is one number per read
    reads = make_reads(rng, shape, make_drifts(rng, shape))
    offsets = estimate(reads)
    added = mean_square(total(offsets.column_dn.astype(float), offsets.row_dn))
    assert np.sqrt(added / mean_square(total(*plain_means(reads)))) < 0.4
    np.testing.assert_allclose(added, offsets.variance_dn2.mean(), rtol=0.1)
    assert np.ptp(offsets.variance_dn2) < 0.01 * offsets.variance_dn2.mean()


def test_strong_drifts_are_removed_to_the_limit():
    """What cannot be had: white noise of the pixel, and what the ideal Wiener filter leaves of the rows."""
    rng = np.random.default_rng(2)
    shape = (12, *SHAPE[1:])
    *truth, power = drifts = make_drifts(rng, shape, frame=50, channel=20, parity=10, row=8)
    reads = make_reads(rng, shape, drifts, light=30.0)
    offsets = estimate(reads, smoothing_rows=1)
    error = total(offsets.column_dn - truth[0], offsets.row_dn - truth[1])
    noise = NOISE_DN**2 / (2 * BORDER)
    factor = power / (power + noise)
    left = ((1 - factor) ** 2 * power).mean()
    np.testing.assert_allclose(mean_square(error), offsets.variance_dn2.mean() + left, rtol=0.1)
    assert offsets.variance_dn2.mean() < 1.1 * ((factor**2).mean() * noise + 2 * NOISE_DN**2 / (BORDER * shape[3] / 4))
    light = 30.0 * np.arange(shape[1])[:, np.newaxis, np.newaxis]
    corrected = (reads - total(offsets.column_dn, offsets.row_dn) - light)[..., BORDER:-BORDER, BORDER:-BORDER]
    expected = NOISE_DN**2 + offsets.variance_dn2.mean() + left
    np.testing.assert_allclose(mean_square(corrected.astype(float)), expected, rtol=0.01)


@pytest.mark.parametrize("kind", ["frame", "channel", "parity", "row"])
def test_each_drift_alone_is_found(kind):
    rng = np.random.default_rng(3)
    drifts = make_drifts(rng, SHAPE, **{kind: 15.0})
    offsets = estimate(make_reads(rng, SHAPE, drifts), smoothing_rows=1)
    found, truth = total(offsets.column_dn, offsets.row_dn), total(*drifts[:2])
    error = mean_square(found - truth)
    assert error < 0.03 * mean_square(truth)
    others = offsets.column_dn if kind == "row" else offsets.row_dn
    assert mean_square(others.astype(float)) < 0.01 * mean_square(truth)


def test_weak_drifts_are_shrunk_to_the_least_error():
    """Of a part with variance s and noise v, s v / (s + v) is left at best: half differences and means of parities."""
    rng = np.random.default_rng(4)
    shape = (12, *SHAPE[1:])
    weak = NOISE_DN / np.sqrt(BORDER * shape[3] / N_CHANNEL)  # the noise of the mean of a channel and parity
    *_, power = drifts = make_drifts(rng, shape, channel=0.5 * weak, parity=0.5 * weak, row=1.0)
    reads = make_reads(rng, shape, drifts)
    offsets = estimate(reads)
    truth = total(*drifts[:2])
    error = mean_square(total(offsets.column_dn, offsets.row_dn) - truth)
    noise, top = NOISE_DN**2 / (2 * BORDER), shape[2] // 11
    rows = (power[: top + 1] * noise / (power[: top + 1] + noise)).sum() + power[top + 1 :].sum()
    cells = sum(spread * 0.5 / (spread + 0.5) for spread in (0.125, 0.375)) * weak**2
    assert error < 1.05 * (rows / shape[2] + cells + noise / shape[2])
    assert error < 0.7 * mean_square(total(*plain_means(reads)) - truth)


def test_light_does_not_matter_nor_do_blocks_and_their_order():
    rng = np.random.default_rng(5)
    drifts = make_drifts(rng, SHAPE, frame=5, channel=3, parity=2, row=4)
    reads = make_reads(rng, SHAPE, drifts)
    expected = estimate(reads)
    lit = reads.copy()
    lit[..., BORDER:-BORDER, BORDER:-BORDER] += 30000
    for offsets in (estimate(lit, block_rows=SHAPE[2]), estimate(reads, block_rows=7, backwards=True)):
        for array, other in zip(offsets, expected, strict=True):
            assert array.tobytes() == other.tobytes()


def spoil(rng, reads, bad, kind):
    """Make the bad pixels hot by 1e4 DN, hot and growing, flickering, or stuck."""
    n_read = reads.shape[1]
    if kind == "hot":
        reads[:, :, bad] += 1e4
    elif kind == "growing":
        reads[:, :, bad] += np.linspace(0, 1e4, n_read, dtype=np.float32)[:, np.newaxis]
    elif kind == "flickering":
        reads[:, :, bad] += 1e4 * rng.integers(0, 2, (n_read, np.count_nonzero(bad)))
    else:
        reads[:, :, bad] = 0


@pytest.mark.parametrize("flagged", [False, True])
@pytest.mark.parametrize("kind", ["hot", "growing", "flickering", "stuck"])
def test_bad_reference_pixels_change_nothing_beyond_noise(kind, flagged):
    rng = np.random.default_rng(6)
    drifts = make_drifts(rng, SHAPE, frame=2, channel=3, parity=2, row=4)
    reads = make_reads(rng, SHAPE, drifts)
    clean = estimate(reads)
    bad = rng.random(SHAPE[2:]) < 0.05
    spoil(rng, reads, bad, kind)
    flag = {"hot": Flag.HOT, "stuck": Flag.DEAD}.get(kind, Flag.BAD_REF_PIXEL)
    offsets = estimate(reads, dq=np.where(bad, np.uint32(flag), np.uint32(0)) if flagged else None)
    change = mean_square(total(offsets.column_dn - clean.column_dn, offsets.row_dn - clean.row_dn).astype(float))
    assert change < 0.15 * clean.variance_dn2.mean()
    np.testing.assert_allclose(offsets.variance_dn2, clean.variance_dn2, rtol=0.1)
    levels = offsets.column_dn.mean(axis=1) - clean.column_dn.mean(axis=1)
    assert np.abs(levels).max() < 1.5


def test_a_hit_in_one_read_is_left_out_of_it():
    rng = np.random.default_rng(16)
    reads = make_reads(rng, SHAPE, make_drifts(rng, SHAPE, frame=2))
    clean = estimate(reads)
    hit = np.argwhere(rng.random(SHAPE[2:]) < 0.05)
    reads[:, 5, *hit.T] += 8 * NOISE_DN
    offsets = estimate(reads)
    assert np.abs(offsets.column_dn - clean.column_dn).max() < 0.5


def test_pixels_that_drift_by_themselves_are_left_out():
    rng = np.random.default_rng(17)
    reads = make_reads(rng, SHAPE, make_drifts(rng, SHAPE, frame=2))
    clean = estimate(reads)
    slow = np.argwhere(rng.random(SHAPE[2:]) < 0.05)
    reads[:, :, *slow.T] += np.linspace(0, 9 * NOISE_DN, SHAPE[1], dtype=np.float32)[:, np.newaxis]
    change = within_groups(estimate(reads).column_dn - clean.column_dn)
    assert np.abs(change).max() < 0.5


def test_the_level_is_right_to_a_few_dn():
    rng = np.random.default_rng(7)
    pedestal = np.array([300.0, -150.0])[:, np.newaxis, np.newaxis]
    channel = np.repeat([40.0, 0.0, -25.0, 5.0], SHAPE[3] // N_CHANNEL)
    shape = (2, *SHAPE[1:])
    reads = make_reads(rng, shape, make_drifts(rng, shape)) + (pedestal + channel)[:, :, np.newaxis]
    found = estimate(reads.astype(np.float32)).column_dn
    assert np.abs(found - pedestal - channel).max() < 6  # 20 DN of kTC noise over 128 pixels, its median: 2.2 DN


@pytest.mark.parametrize("lost", ["parity", "channel", "ends", "sides"])
def test_fallbacks(lost):
    rng = np.random.default_rng(8)
    columns, *_ = drifts = make_drifts(rng, SHAPE, frame=8, channel=0 if lost == "channel" else 20, parity=0)
    columns += np.where(np.arange(SHAPE[3]) % 2, 3.0, -3.0) * np.linspace(-1, 1, SHAPE[1])[:, np.newaxis]
    dq = np.zeros(SHAPE[2:], np.uint32)
    ends, width = np.r_[:BORDER, SHAPE[2] - BORDER : SHAPE[2]], SHAPE[3] // N_CHANNEL
    if lost == "sides":
        dq[:, np.r_[:BORDER, SHAPE[3] - BORDER : SHAPE[3]]] = Flag.BAD_REF_PIXEL
    else:
        region = {"parity": slice(width, 2 * width, 2), "channel": slice(width, 2 * width), "ends": slice(None)}[lost]
        dq[ends, region] = Flag.BAD_REF_PIXEL
    offsets = estimate(make_reads(rng, SHAPE, drifts), dq=dq)
    if lost == "ends":  # channels cannot be told from each other, their mean over the side columns is left
        side = np.r_[:BORDER, SHAPE[3] - BORDER : SHAPE[3]]
        columns = np.broadcast_to(columns[..., side].mean(axis=-1, keepdims=True), columns.shape)
        assert np.ptp(offsets.column_dn, axis=-1).max() == 0
    error = mean_square(offsets.column_dn - columns)
    assert error < 1.3 * NOISE_DN**2 * (2 * N_CHANNEL) / (2 * BORDER * width)
    assert np.isfinite(offsets.variance_dn2).all()
    if lost == "sides":
        assert not offsets.row_dn.any()


def test_rows_without_reference_pixels_get_their_neighbours_offsets():
    rng = np.random.default_rng(9)
    drifts = make_drifts(rng, SHAPE, row=0.0)
    slope = np.linspace(-30, 30, SHAPE[2]) * rng.normal(size=(*SHAPE[:2], 1))
    dq = np.zeros(SHAPE[2:], np.uint32)
    dq[30:34] = Flag.BAD_REF_PIXEL
    offsets = estimate(make_reads(rng, SHAPE, (drifts[0], slope, None)), dq=dq)
    error = within_groups(offsets.row_dn - slope)
    assert np.abs(error[..., 30:34]).max() < 5 * NOISE_DN / np.sqrt(8)


def test_row_noise_of_one_side_is_not_put_into_all_pixels():
    rng = np.random.default_rng(14)
    _, local, _ = make_drifts(rng, SHAPE, row=20.0)
    reads = make_reads(rng, SHAPE, make_drifts(rng, SHAPE))
    reads[..., :BORDER] += local[..., np.newaxis]
    offsets = estimate(reads, smoothing_rows=1)
    assert mean_square(offsets.row_dn.astype(float)) < 0.02 * mean_square(local) / 4  # a quarter is in the mean of all


def test_one_side_alone_serves():
    rng = np.random.default_rng(15)
    drifts = make_drifts(rng, SHAPE, row=20.0)
    dq = np.zeros(SHAPE[2:], np.uint32)
    dq[:, -BORDER:] = Flag.BAD_REF_PIXEL
    offsets = estimate(make_reads(rng, SHAPE, drifts), dq=dq, smoothing_rows=1)
    assert mean_square(offsets.row_dn - drifts[1]) < NOISE_DN**2 / BORDER


@pytest.mark.parametrize("n_right", [4, 1])
def test_the_noise_of_rows_is_stated_for_the_pixels_there_are(n_right):
    rng = np.random.default_rng(18)
    drifts = make_drifts(rng, SHAPE, row=200.0)
    dq = np.zeros(SHAPE[2:], np.uint32)
    dq[:, SHAPE[3] - BORDER + n_right :] = Flag.BAD_REF_PIXEL
    offsets = estimate(make_reads(rng, SHAPE, drifts), dq=dq, smoothing_rows=1)
    measured = mean_square(total(offsets.column_dn - drifts[0], offsets.row_dn - drifts[1]))
    np.testing.assert_allclose(measured, NOISE_DN**2 / (BORDER + n_right), rtol=0.05)
    np.testing.assert_allclose(offsets.variance_dn2, measured, rtol=0.05)


def test_the_noise_is_stated_for_few_reads():
    rng = np.random.default_rng(19)
    shape = (30, 3, *SHAPE[2:])
    offsets = estimate(make_reads(rng, shape, make_drifts(rng, shape)))
    np.testing.assert_allclose(offsets.variance_dn2, NOISE_DN**2 / (2 * BORDER * shape[2]), rtol=0.03)


def test_a_lost_read_has_no_offset_and_does_not_matter_to_others():
    rng = np.random.default_rng(10)
    drifts = make_drifts(rng, SHAPE, frame=5, channel=3, parity=2, row=4)
    reads = make_reads(rng, SHAPE, drifts)
    kept = np.delete(np.arange(SHAPE[1]), 7)
    expected = estimate(reads[:, kept])
    reads[:, 7] = np.nan
    offsets = estimate(reads)
    assert not offsets.column_dn[:, 7].any()
    assert not offsets.row_dn[:, 7].any()
    assert not offsets.variance_dn2[:, 7].any()
    for array, other in zip(offsets, expected, strict=True):
        np.testing.assert_allclose(array[:, kept], other, atol=1e-5)


def test_reads_that_are_not_finite_are_left_out():
    rng = np.random.default_rng(11)
    drifts = make_drifts(rng, SHAPE, frame=5, channel=3)
    reads = make_reads(rng, SHAPE, drifts)
    reads[:, 3, rng.random(SHAPE[2:]) < 0.1] = np.nan
    reads[:, 20, rng.random(SHAPE[2:]) < 0.1] = np.inf
    offsets = estimate(reads)
    assert mean_square(offsets.column_dn - drifts[0]) < 3 * NOISE_DN**2 / 128


def test_digitised_reads_without_noise():
    columns = np.zeros((1, 6, SHAPE[3])) + 7.0 * np.arange(6)[:, np.newaxis]
    reads = np.full((1, 6, *SHAPE[2:]), 1000, np.uint16) + columns[:, :, np.newaxis].astype(np.uint16)
    offsets = estimate(reads)
    np.testing.assert_allclose(offsets.column_dn, columns, atol=1e-4)
    assert not offsets.row_dn.any()


@pytest.mark.parametrize("n_read", [1, 2])
def test_few_reads(n_read):
    rng = np.random.default_rng(12)
    shape = (1, n_read, *SHAPE[2:])
    drifts = make_drifts(rng, shape, frame=100)
    offsets = estimate(make_reads(rng, shape, drifts))
    assert np.abs(offsets.column_dn - drifts[0]).max() < 6
    assert (np.isfinite(offsets.variance_dn2) & (offsets.variance_dn2 > 0)).all()


def test_nothing_given_is_changed():
    rng = np.random.default_rng(13)
    reads = make_reads(rng, SHAPE, make_drifts(rng, SHAPE, frame=5))
    before = reads.copy()
    reads.flags.writeable = False
    estimate(reads)
    np.testing.assert_array_equal(reads, before)


def test_refused():
    with pytest.raises(ReductionError, match="6 output channels for 128 columns"):
        ReferencePixels(SHAPE, border_pix=4, n_channel=6)
    with pytest.raises(ReductionError, match="0 output channels"):
        ReferencePixels(SHAPE, border_pix=4, n_channel=0)
    for border in (0, 44):
        with pytest.raises(ReductionError, match=f"border of {border} reference pixels on each side of 88 x 128"):
            ReferencePixels(SHAPE, border_pix=border, n_channel=4)
    reads = np.full((2, 4, *SHAPE[2:]), 1000, np.float32)
    with pytest.raises(ReductionError, match="smoothing_rows is 0"):
        estimate(reads, smoothing_rows=0)
    with pytest.raises(ReductionError, match="no good reference pixel in group 1 of 2"):
        estimate(reads, dq=np.full(SHAPE[2:], Flag.BAD_REF_PIXEL, np.uint32))
    border = ReferencePixels(SHAPE, border_pix=4, n_channel=4)
    with pytest.raises(ValueError, match="88 of 88 rows were not added"):
        border.estimate(smoothing_rows=11)
    with pytest.raises(ValueError, match="do not fit"):
        border.add(slice(0, 9), reads[:1], build_maps(SHAPE[2:]))


def test_a_group_of_which_no_read_is_used_is_no_fault():
    rng, shape = np.random.default_rng(3), (2, 5, 24, 32)
    usable = np.ones((2, 5), bool)
    usable[1] = False
    reads = rng.normal(1000, NOISE_DN, shape).astype(np.float32)
    pixels = ReferencePixels(shape, border_pix=BORDER, n_channel=N_CHANNEL, usable=usable)
    pixels.add(slice(0, 24), reads, build_maps((24, 32), bias_dn=np.full((24, 32), 1000, np.float32)))
    offsets = pixels.estimate(smoothing_rows=1)
    assert (offsets.present == usable).all()
    assert not offsets.column_dn[1].any()
    assert np.isfinite(offsets.column_dn).all()
    assert np.isfinite(offsets.variance_dn2).all()
