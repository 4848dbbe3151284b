"""Raw reads to electrons: known answers on arrays with unequal axes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drs.detector import build_maps
from drs.dq import Flag
from drs.signal import calibrate_reads

SHAPE = (2, 3, 4, 5)
IMAGE = SHAPE[2:]


def full(value):
    return np.full(IMAGE, value, np.float32)


def test_bias_and_gain():
    reads = np.arange(120).reshape(SHAPE).astype(np.uint16) + 100
    signal, dq, _ = calibrate_reads(reads, build_maps(IMAGE, bias_dn=full(100), gain_e_per_dn=full(2)))
    np.testing.assert_array_equal(signal, 2 * np.arange(120).reshape(SHAPE))
    assert signal.dtype == np.float32
    assert dq.dtype == np.uint32
    assert not dq.any()


def test_saturated_read_and_all_later_ones_of_its_group_are_not_usable():
    reads = np.full(SHAPE, 10, np.uint16)
    reads[0, 1, 2, 3] = 50
    reads[1, 0, 3, 4] = 51
    signal, dq, _ = calibrate_reads(reads, build_maps(IMAGE, saturation_dn=full(50)))
    expected = np.zeros(SHAPE, bool)
    expected[0, 1:, 2, 3] = True
    expected[1, :, 3, 4] = True
    np.testing.assert_array_equal(np.isnan(signal), expected)
    np.testing.assert_array_equal(dq != 0, expected.any(axis=(0, 1)))
    assert dq[2, 3] == dq[3, 4] == Flag.SATURATED


def test_without_a_threshold_only_the_end_of_the_converter_saturates():
    full_range = calibrate_reads(np.full(SHAPE, 65535, np.uint16), build_maps(IMAGE))
    assert np.isnan(full_range.signal_e).all()
    assert (full_range.dq == Flag.SATURATED).all()
    reads = np.full(SHAPE, 65534, np.uint16)
    dq = np.zeros(IMAGE, np.uint32)
    dq[0, 1] = Flag.NO_SAT_CHECK
    threshold = full(65534)
    threshold[0, 2] = np.nan
    signal, flags, _ = calibrate_reads(reads, build_maps(IMAGE, dq, saturation_dn=threshold))
    np.testing.assert_array_equal(np.isfinite(signal[0, 0, 0]), [False, True, True, False, False])
    assert flags[0, 1] == flags[0, 2] == Flag.NO_SAT_CHECK
    assert np.isfinite(calibrate_reads(reads, build_maps(IMAGE))[0]).all()


def test_nonlinearity_is_inverted():
    rng = np.random.default_rng(2)
    measured = rng.uniform(0, 60000, SHAPE)
    curve = rng.uniform(1e-7, 1e-6, IMAGE)
    root = (np.sqrt(1 + 4 * curve * measured) - 1) / (2 * curve)  # inverse of y = x + c x^2
    coefficients = np.stack([full(0), full(1), curve]).astype(np.float32)
    signal, _, _ = calibrate_reads(
        (root + 200).astype(np.float32),
        build_maps(IMAGE, bias_dn=full(200), nonlin_coefficients=coefficients, gain_e_per_dn=full(1.5)),
    )
    np.testing.assert_allclose(signal, 1.5 * measured, rtol=2e-6, atol=0.05)


def test_pixels_without_correction_keep_their_signal_and_the_flag():
    dq = np.zeros(IMAGE, np.uint32)
    dq[1, 2] = Flag.NO_LIN_CORR
    coefficients = np.stack([full(7), full(2), full(0.5)])
    coefficients[1, 3, 4] = np.nan
    reads = np.full(SHAPE, 10, np.uint16)
    signal, flags, _ = calibrate_reads(reads, build_maps(IMAGE, dq, nonlin_coefficients=coefficients))
    assert (signal[:, :, 1, 2] == 10).all()
    assert (signal[:, :, 3, 4] == 10).all()
    assert flags[1, 2] == flags[3, 4] == Flag.NO_LIN_CORR
    assert (signal[:, :, 0, 0] == 7 + 20 + 50).all()


def test_reads_that_are_no_number_are_not_usable_and_flagged():
    reads = np.full(SHAPE, 10, np.float32)
    reads[0, 1, 2, 3], reads[1, 2, 0, 1], reads[1, 0, 0, 2] = np.nan, np.inf, -np.inf
    signal, dq, _ = calibrate_reads(reads, build_maps(IMAGE))
    assert np.argwhere(np.isnan(signal)).tolist() == [[0, 1, 2, 3], [1, 0, 0, 2], [1, 2, 0, 1]]
    assert dq[2, 3] == dq[0, 1] == dq[0, 2] == Flag.DROPOUT
    assert np.count_nonzero(dq) == 3


def test_what_is_no_calibration_is_flagged():
    gain, bias, noise = full(2), full(100), full(5)
    gain[0, 0], gain[0, 1], bias[1, 0], noise[1, 1] = 0, np.nan, np.nan, -1
    maps = build_maps(IMAGE, gain_e_per_dn=gain, bias_dn=bias, read_noise_e=noise)
    signal, dq, _ = calibrate_reads(np.full(SHAPE, 110, np.uint16), maps)
    assert np.isnan(signal[:, :, 0, :2]).all()
    assert dq[0, 0] == dq[0, 1] == Flag.NO_GAIN_VALUE
    assert (signal[:, :, 1, 0] == 220).all()
    assert dq[1, 0] == Flag.UNRELIABLE_BIAS
    assert np.isnan(maps.read_variance_e2[1, 1])
    assert maps.read_variance_e2[2, 2] == 25


def test_without_read_noise_there_is_that_of_digitisation():
    maps = build_maps(IMAGE, gain_e_per_dn=full(3))
    np.testing.assert_allclose(maps.read_variance_e2, 9 / 12, rtol=1e-6)


def test_inputs_are_not_changed():
    dq, gain = np.zeros(IMAGE, np.uint32), full(np.nan)
    reads = np.full(SHAPE, 3, np.uint16)
    calibrate_reads(reads, build_maps(IMAGE, dq, gain_e_per_dn=gain, saturation_dn=full(2)))
    assert not dq.any()
    assert np.isnan(gain).all()
    assert (reads == 3).all()


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="do not fit"):
        calibrate_reads(np.zeros(SHAPE, np.uint16), build_maps((5, 4)))
    with pytest.raises(ValueError, match="no such maps"):
        build_maps(IMAGE, gian=full(1))


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.floats(width=32), min_size=6, max_size=6),
    threshold=st.floats(2.0**-10, 100, width=32),
)
def test_a_read_is_usable_when_finite_and_before_saturation(values, threshold):
    reads = np.array(values, np.float32).reshape(1, 6, 1, 1)
    maps = build_maps((1, 1), saturation_dn=np.full((1, 1), threshold, np.float32))
    signal, dq, _ = calibrate_reads(reads, maps)
    finite = np.isfinite(reads[0, :, 0, 0])
    saturated = np.cumsum(finite & (reads[0, :, 0, 0] >= threshold)) > 0
    np.testing.assert_array_equal(np.isfinite(signal[0, :, 0, 0]), finite & ~saturated)
    assert (dq[0, 0] & Flag.SATURATED != 0) == saturated.any()
    assert (dq[0, 0] & Flag.DROPOUT != 0) == (~finite).any()


def test_offsets_of_reference_pixels_are_subtracted_before_the_polynomial():
    rng = np.random.default_rng(3)
    column, row = rng.normal(0, 9, (2, 3, 5)).astype("f4"), rng.normal(0, 9, (2, 3, 4)).astype("f4")
    reads = rng.integers(500, 600, SHAPE).astype(np.uint16)
    maps = build_maps(IMAGE, bias_dn=full(100), nonlin_coefficients=np.stack([full(0), full(1), full(1e-3)]))
    signal = calibrate_reads(reads, maps, column_dn=column, row_dn=row).signal_e
    level = reads - 100.0 - column[:, :, np.newaxis, :] - row[:, :, :, np.newaxis]
    np.testing.assert_allclose(signal, level + 1e-3 * level**2, rtol=1e-5)
    with pytest.raises(ValueError, match="do not fit reads"):
        calibrate_reads(reads, maps, column_dn=row)


@pytest.mark.parametrize("grow_pix", [0, 1, 2])
def test_neighbours_end_with_a_saturated_pixel(grow_pix):
    shape = (2, 6, 9, 8)
    reads = np.full(shape, 10, np.uint16)
    reads[0, 3:, 2, 3] = reads[0, 1:, 7, 7] = reads[1, 0, 5, 5] = 99
    dq = np.zeros(shape[2:], np.uint32)
    dq[5, 5] = Flag.DO_NOT_USE | Flag.HOT  # saturates by itself: its neighbours are all right
    maps = build_maps(shape[2:], dq, saturation_dn=np.full(shape[2:], 50, np.float32))
    signal, flags, onset = calibrate_reads(reads, maps, grow_pix=grow_pix)
    first = np.full((2, *shape[2:]), 6)
    for group, read, y, x in ((0, 3, 2, 3), (0, 1, 7, 7)):
        near = first[group, max(y - grow_pix, 0) : y + grow_pix + 1, max(x - grow_pix, 0) : x + grow_pix + 1]
        np.minimum(near, read, out=near)
    first[1, 5, 5] = 0
    expected = np.arange(6)[np.newaxis, :, np.newaxis, np.newaxis] >= first[:, np.newaxis]
    np.testing.assert_array_equal(np.isnan(signal), expected)
    np.testing.assert_array_equal(flags & Flag.SATURATED != 0, expected.any(axis=(0, 1)))
    assert onset[0, 2, 3] == 3  # what saturates by itself, for the search for snowballs
    assert onset[0, 2, 2] == 6
    assert onset.dtype == np.int32


def test_lanes_do_not_show():
    """1100 columns are more than two lanes; blocks of rows give the same, but for the rows at their edges."""
    rng, shape = np.random.default_rng(8), (2, 4, 7, 1100)
    reads = rng.integers(900, 2000, shape).astype(np.uint16)
    gain, coefficients = rng.uniform(1, 3, shape[2:]).astype("f4"), rng.normal(0, 1e-5, (3, *shape[2:])).astype("f4")
    maps = build_maps(
        shape[2:], gain_e_per_dn=gain, nonlin_coefficients=coefficients, saturation_dn=np.full(shape[2:], 1990, "f4")
    )
    whole = calibrate_reads(reads, maps, grow_pix=1)
    part = calibrate_reads(reads[:, :, 2:6], maps.cut(slice(2, 6)), grow_pix=1)
    assert part.signal_e[:, :, 1:3].tobytes() == whole.signal_e[:, :, 3:5].tobytes()
    narrow = calibrate_reads(
        reads[..., :600], type(maps)(*(np.ascontiguousarray(m[..., :600]) for m in maps)), grow_pix=1
    )
    assert narrow.signal_e[..., :599].tobytes() == whole.signal_e[..., :599].tobytes()


def test_averaged_reads_end_before_their_last_one_saturates():
    """Reads of 4, 1 s apart and stored every 4 s, of a pixel that saturates within one of them."""
    single = np.minimum(100.0 + 50 * np.arange(24), 1010)  # the 19th read saturates
    reads = single.reshape(6, 4).mean(axis=1).astype(np.float32).reshape(1, 6, 1, 1)
    assert (reads[0, 4] < 1010).all()  # the mean does not show it
    maps = build_maps((1, 1), saturation_dn=np.full((1, 1), 1000, np.float32))
    lead = np.full((1, 6), 1.5 / 4, np.float32)
    assert np.isfinite(calibrate_reads(reads, maps).signal_e[0, :, 0, 0]).tolist() == [True] * 5 + [False]
    assert (
        np.isfinite(calibrate_reads(reads, maps, lead=lead).signal_e[0, :, 0, 0]).tolist() == [True] * 4 + [False] * 2
    )
