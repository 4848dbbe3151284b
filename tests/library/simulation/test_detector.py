"""Reads against closed forms, effect by effect."""

from functools import partial

import numpy as np
import pytest

from drs.dq import Flag
from drs.simulation import cosmic, night
from drs.simulation.detector import couple_neighbours, make_detector, measure_counts, simulate_ramp
from drs.simulation.drift import Drift, make_drift
from drs.simulation.streams import make_stream

SHAPE = (30, 44)
TIMES_S = np.array([[10.0, 20.0, 30.0, 45.0]])
STREAM = partial(make_stream, 1, "test")
PHYSICS = {**night.load_facts()[0]["instruments"]["IRIS"]["detector"], "n_channel": 4, "border_pix": 0}
NO_HITS = np.zeros(0, dtype=cosmic.HIT)
MAPS = ("read_noise", "ktc", "bias", "gain", "dark", "flat", "nonlinearity", "saturation", "bad_pixels", "ipc")
MAPS += ("unstable_pixels",)
ALL_OFF = (*MAPS, "photon_noise")
BORDER = 3
INSIDE = (..., slice(BORDER, -BORDER), slice(BORDER, -BORDER))


def make_ramp(rate_e_per_s, without, times_s=TIMES_S, hits=NO_HITS, **changes):
    """Return a detector, PHYSICS with changes, and reads of uniform light without drifts."""
    windows, drift = changes.pop("windows", []), changes.pop("drift", None)
    detector = make_detector(SHAPE, PHYSICS | changes, stream=STREAM, without=without).with_windows(windows)
    rate = detector.rate(np.full(SHAPE, rate_e_per_s))
    still = Drift(np.zeros((*times_s.shape, SHAPE[1])), np.zeros((*times_s.shape, SHAPE[0])))
    options = {"hits": hits, "drift": drift or still, "stream": STREAM, "without": without}
    return detector, simulate_ramp(rate, times_s, detector, **options)


def all_but(*effects):
    return tuple(effect for effect in ALL_OFF if effect not in effects)


def test_without_any_effect_a_read_is_rate_times_time():
    _, reads = make_ramp(50.0, ALL_OFF)
    assert reads.dtype == np.uint16
    assert reads.shape == (1, 4, *SHAPE)
    for read, time_s in zip(reads[0], TIMES_S[0], strict=True):
        assert np.all(read == np.rint(10000.0 + 50.0 * time_s / 3.04))


def test_every_group_starts_anew():
    times_s = np.array([[5.0, 15.0], [5.0, 25.0]])
    _, reads = make_ramp(304.0, ALL_OFF, times_s=times_s)
    assert reads[:, :, 0, 0].tolist() == [[10500, 11500], [10500, 12500]]


def test_rate_is_light_through_the_flat_plus_dark():
    detector, reads = make_ramp(400.0, all_but("dark", "flat", "gain", "bias"))
    rate = 400.0 * detector.flat + detector.dark_e_per_s
    expected = rate * 35.0 / detector.gain_e_per_dn
    assert np.allclose(reads[0, 3].astype(float) - reads[0, 0], expected, rtol=0, atol=1.0)  # two roundings
    assert np.median(detector.flat) == pytest.approx(1.0, abs=1e-6)
    assert detector.flat.std() > 0.02
    assert 0.05 < np.median(detector.dark_e_per_s) < 0.3


def test_non_linearity_is_undone_by_the_coefficients():
    detector, reads = make_ramp(2500.0, all_but("nonlinearity"))
    measured = reads[0].astype(float) - detector.bias_dn
    corrected = sum(c * measured**k for k, c in enumerate(detector.coeffs.astype(float)))
    expected = np.broadcast_to((2500.0 * TIMES_S[0] / 3.04)[:, None, None], corrected.shape)
    assert np.allclose(corrected, expected, rtol=0, atol=0.6)  # half a count times the slope
    assert np.all(expected[3] - measured[3] > 1000.0)


def test_measured_counts_invert_the_polynomial():
    coeffs = np.array([2.0, 1.1, 3e-6, 1e-11])[:, None, None] * np.ones((4, 3, 5))
    measured = np.linspace(0.0, 60000.0, 15).reshape(3, 5)
    true = sum(c * measured**k for k, c in enumerate(coeffs))
    assert np.allclose(measure_counts(true, coeffs), measured, rtol=0, atol=1e-7)


def test_the_well_clips_and_the_threshold_lies_below():
    detector, reads = make_ramp(1e5, all_but("saturation"))
    assert np.allclose(reads[0, 3], detector.bias_dn + detector.well_dn, rtol=0, atol=0.51)
    assert np.all(detector.threshold_dn < detector.bias_dn + detector.well_dn)
    assert np.all(detector.threshold_dn > 0.9 * (detector.bias_dn + detector.well_dn))


def test_without_saturation_the_converter_ends_the_ramp():
    _, reads = make_ramp(1e5, ALL_OFF)
    assert np.all(reads[0, 3] == 65535)


def test_bad_pixels_are_dead_or_hot_and_flagged():
    detector, reads = make_ramp(500.0, all_but("bad_pixels"))
    dead = (detector.dq & np.uint32(Flag.DEAD)) != 0
    hot = (detector.dq & np.uint32(Flag.HOT)) != 0
    assert 0 < dead.sum() < 20
    assert 0 < hot.sum() < 20
    assert np.all(reads[0, 3][dead] == 10000)
    assert np.all(detector.dark_e_per_s[hot] >= 100.0)
    assert np.all(reads[0, 3][~dead & ~hot] == np.rint(10000 + 500 * 45 / 3.04))


def test_photon_noise_has_the_variance_of_the_electrons():
    _, reads = make_ramp(200.0, all_but("photon_noise"))
    electrons = (reads[0, 3].astype(float) - reads[0, 0]) * 3.04
    expected = 200.0 * 35.0
    sigma_of_variance = expected * np.sqrt(2.0 / electrons.size)
    assert electrons.mean() == pytest.approx(expected, abs=4 * np.sqrt(expected / electrons.size))
    assert electrons.var() == pytest.approx(expected, abs=4 * sigma_of_variance)
    steps = np.diff(reads[0].astype(float), axis=0)
    correlation = np.corrcoef(steps[0].ravel(), steps[1].ravel())[0, 1]
    assert abs(correlation) < 4 / np.sqrt(electrons.size)  # increments are independent


def test_read_noise_and_reset_noise_have_their_widths():
    detector, reads = make_ramp(0.0, all_but("read_noise"))
    noise_dn = (reads[0].astype(float) - 10000.0) / (detector.read_noise_e / 3.04)
    assert noise_dn.std() == pytest.approx(1.0, abs=4 / np.sqrt(2 * noise_dn.size))
    detector, reads = make_ramp(0.0, all_but("read_noise"), read_noise_e=3.0, times_s=np.arange(1.0, 31.0)[None])
    noise_e = (reads[0].astype(float) - 10000.0) * 3.04  # of one count: a twelfth of its variance is the rounding's
    assert (noise_e**2).mean() / (detector.read_noise_e**2).mean() == pytest.approx(1.0, abs=0.03)
    _, reset = make_ramp(0.0, all_but("ktc"))
    assert np.all(reset == reset[:, :1])
    assert reset[0, 0].std() == pytest.approx(25.0 / 3.04, rel=0.1)


def test_charge_of_a_hit_stays_from_its_read_on():
    hits = np.array([(0, 2, 5, 40, 3040.0)], dtype=cosmic.HIT)
    _, reads = make_ramp(0.0, ALL_OFF, hits=hits)
    assert reads[0, :, 5, 40].tolist() == [10000, 10000, 11000, 11000]
    reads[0, 2:, 5, 40] = 10000
    assert np.all(reads == 10000)


@pytest.mark.parametrize("effect", MAPS)
def test_switching_one_effect_off_leaves_the_other_maps_alone(effect):
    with_all = make_detector(SHAPE, PHYSICS, stream=STREAM)
    without = make_detector(SHAPE, PHYSICS, stream=STREAM, without=(effect,))
    changed = {name for name, value in vars(with_all).items() if not np.array_equal(value, getattr(without, name))}
    assert (
        changed
        == {
            "read_noise": {"read_noise_e"},
            "ktc": {"ktc_noise_e"},
            "bias": {"bias_dn", "threshold_dn"},
            "gain": {"gain_e_per_dn"},
            "dark": {"dark_e_per_s"},
            "flat": {"flat"},
            "nonlinearity": {"coeffs"},
            "saturation": {"well_dn", "threshold_dn"},
            "bad_pixels": {"dq", "dark_e_per_s"},
            "unstable_pixels": {"dq", "read_noise_e", "telegraph_e"},
            "ipc": {"coupling"},
        }[effect]
    )


def test_rows_of_a_detector_are_its_rows():
    detector = make_detector(SHAPE, PHYSICS, stream=STREAM)
    part = detector.rows(slice(4, 11))
    assert part.coeffs.shape == (4, 7, 44)
    assert np.array_equal(part.flat, detector.flat[4:11])
    assert part.ktc_noise_e == 25.0


def test_reference_pixels_hold_no_charge_but_all_of_the_electronics():
    times_s = np.arange(1.0, 61.0)[None] * 10.0
    drift = make_drift(times_s, SHAPE, PHYSICS, stream=STREAM)
    detector, reads = make_ramp(500.0, (), times_s, border_pix=BORDER, drift=drift)
    border = ~detector.active
    assert border.sum() == 30 * 44 - 24 * 38
    assert not detector.active[:, :BORDER].any()
    assert not detector.dq[border].any()
    assert not detector.dark_e_per_s[border].any()
    assert np.all(detector.flat[border] == 1.0)
    assert np.all(detector.coeffs[:, border] == np.array([0.0, 1.0, 0.0, 0.0])[:, None])
    still = reads[0][:, border] - drift.offsets()[0][:, border] - detector.bias_dn[border]
    ktc_e = still.mean(axis=0) * detector.gain_e_per_dn[border]
    assert ktc_e.std() == pytest.approx(25.0, rel=0.15)
    scatter = still.std(axis=0, ddof=1) * detector.gain_e_per_dn[border] / detector.read_noise_e[border]
    assert np.sqrt(np.mean(scatter**2)) == pytest.approx(1.0, abs=0.02)
    ratio = detector.read_noise_e[border].mean() / detector.read_noise_e[detector.active].mean()
    assert ratio == pytest.approx(0.8, abs=0.02)


def test_a_drift_is_added_to_every_pixel():
    row = np.arange(30.0) * np.array([1.0, -2.0, 3.0, 0.0])[:, None]
    drift = Drift(np.arange(44.0) + np.zeros((1, 4, 1)), row[None])
    _, reads = make_ramp(0.0, ALL_OFF, drift=drift, border_pix=BORDER)
    assert np.all(reads == 10000 + drift.offsets())


def test_interpixel_capacitance_gives_a_part_to_each_neighbour():
    hits = np.array([(0, 1, 12, 20, 30400.0)], dtype=cosmic.HIT)
    _, reads = make_ramp(0.0, all_but("ipc"), hits=hits, ipc_coupling=0.01)
    kernel = reads[0, 2, 11:14, 19:22].astype(int) - 10000
    assert kernel.tolist() == [[0, 100, 0], [100, 9600, 100], [0, 100, 0]]
    assert (reads[0, 2].astype(int) - 10000).sum() == 10000


def test_interpixel_capacitance_correlates_the_noise_of_neighbours():
    # white noise through the kernel (1 - 4a, a): r(1) = 2 a (1 - 4a) / ((1 - 4a)^2 + 4 a^2)
    a, white = 0.02, np.random.default_rng(3).standard_normal((400, *SHAPE))
    noise = couple_neighbours(white, np.ones(SHAPE, bool), a)[:, 1:-1, 1:-1]
    variance = (1 - 4 * a) ** 2 + 4 * a**2
    assert noise.var() == pytest.approx(variance, abs=4 * np.sqrt(2 / noise.size))
    for here, there in ((noise[:, 1:], noise[:, :-1]), (noise[..., 1:], noise[..., :-1])):
        assert np.mean(here * there) == pytest.approx(2 * a * (1 - 4 * a), abs=4 / np.sqrt(here.size))
    assert np.mean(noise[:, 1:, 1:] * noise[:, :-1, :-1]) == pytest.approx(2 * a**2, abs=4 / np.sqrt(noise.size))


def test_interpixel_capacitance_spares_reference_pixels_and_keeps_the_sum():
    detector, reads = make_ramp(500.0, all_but("ipc"), border_pix=BORDER)
    signal = reads.astype(float) - 10000.0
    assert not signal[..., ~detector.active].any()
    assert np.all(signal[INSIDE] == signal[..., 10:11, 10:11])  # uniform light stays uniform
    image = np.random.default_rng(4).uniform(0.0, 9.0, SHAPE)
    coupled = couple_neighbours(image, detector.active, 0.01)
    assert coupled.sum() == pytest.approx(image.sum())
    assert np.array_equal(coupled[~detector.active], image[~detector.active])


def test_a_guide_window_is_reset_at_every_read():
    times_s = np.arange(1.0, 41.0)[None] * 5.0
    windows = [[5, 9, 6, 4], [30, 2, 3, 2]]  # 1-based: columns 4 to 9 and rows 8 to 11, columns 29 to 31, rows 1 and 2
    _, reads = make_ramp(304.0, ALL_OFF, times_s, windows=windows)
    inside = np.zeros(SHAPE, bool)
    inside[8:12, 4:10] = inside[1:3, 29:32] = True
    assert np.all(reads[0][:, inside] == 10500)
    assert np.all(reads[0, -1][~inside] == 10000 + 304 * 200 / 3.04)
    _, reset = make_ramp(0.0, all_but("ktc"), times_s, windows=windows)
    noise_e = (reset[0].astype(float) - 10000.0) * 3.04
    assert noise_e[:, inside].std() == pytest.approx(25.0, rel=0.1)  # new reset noise in every read
    assert np.all(reset[0][:, ~inside] == reset[0, 0][~inside])
    assert noise_e[0][inside].std() > 10.0


def test_telegraph_pixels_jump_between_two_levels_and_noisy_ones_are_noisy():
    times_s = 10.0 * np.arange(1.0, 61.0)[np.newaxis]
    many = {"telegraph_fraction": 0.1, "noisy_fraction": 0.1}
    detector, reads = make_ramp(0.0, all_but("unstable_pixels", "read_noise"), times_s=times_s, **many)
    telegraph = detector.dq & Flag.TELEGRAPH != 0
    noisy = detector.dq & Flag.UNRELIABLE_SLOPE != 0
    assert 0.05 < telegraph.mean() < 0.15
    steps = np.diff(reads[0].astype(float), axis=0)
    jumps = np.abs(steps) > 0.5 * detector.telegraph_e / 3.04
    assert jumps[:, telegraph].mean() == pytest.approx(0.2, abs=0.02)  # TELEGRAPH_CHANCE
    height = np.abs(steps[:, telegraph])[jumps[:, telegraph]].mean()
    assert height == pytest.approx(detector.telegraph_e[telegraph].mean() / 3.04, rel=0.05)
    assert detector.read_noise_e[noisy].min() > 3 * np.median(detector.read_noise_e)
