"""Level 1 of a whole exposure: what reaches beyond a block, whatever the blocks, and notes for the header."""

import numpy as np
import pytest
from astropy.io import fits
from ramps import make_reads, make_times, write_ramp, write_references

from drs.detector import build_maps, open_maps
from drs.dq import Flag
from drs.errors import ReductionError
from drs.planes import open_planes
from drs.rate import (
    PHOTONS,
    PLANES,
    Settings,
    describe_steps,
    exposure_keywords,
    find_gaps,
    find_runs,
    prepare,
    reduce_exposure,
)
from drs.raw import open_ramp
from drs.seeing import Seeing

SHAPE = (1, 9, 60, 48)
IMAGE = SHAPE[2:]
TIMES = make_times(1, 9, 2.0)
RATE, GAIN, NOISE_E = 40.0, 2.0, 8.0
SETTINGS = Settings("likelihood", 2, 4.5, 0.0, 12.0, 6000.0, 4.0, 20, 2.0, 1, 1, 7, 1000, ())


def make_maps():
    ones = np.ones(IMAGE, np.float32)
    maps = {"saturation": 40000 * ones, "bias": 1000 * ones, "gain": GAIN * ones}
    return maps | {"readnoise": np.float32(np.sqrt(NOISE_E**2 + GAIN**2 / 12)) * ones}


def make_exposure(folder, *, border=0, snowball=False, drift=False, seed=5):
    """Write a ramp of a uniform field; return its path and the true rates."""
    rng = np.random.default_rng(seed)
    rate = np.full(IMAGE, RATE)
    if border:
        inside = np.zeros(IMAGE, bool)
        inside[border:-border, border:-border] = True
        rate *= inside
    reads = make_reads(rng, rate, SHAPE, times_s=TIMES, noise_e=NOISE_E, gain=GAIN).astype(float)
    reads[0, 4:, 14, 20] += 2000  # strong: its neighbours got charge
    for y, x in ((13, 20), (15, 20), (14, 19), (14, 21)):
        reads[0, 4:, y, x] += 8
    reads[0, 6:, 40, 30] += 45000  # saturates
    if snowball:
        y, x = np.indices(IMAGE)
        distance = np.hypot(y - 33.0, x - 11.0)
        reads[0, 3:] += np.where(distance < 3, 60000, 0) + np.where(distance < 5.5, 900, 0)
        reads[0, 3:] += 6 * ((distance >= 5.5) & (distance < 9))  # a halo that no search finds
    if drift:
        steps = rng.normal(0, 15, SHAPE[1])
        reads += steps[:, np.newaxis, np.newaxis]
    path = write_ramp(folder / "ramp.fits", reads.clip(0, 65535).astype(np.uint16)[np.newaxis, 0], TIMES)
    return path, rate


def run(folder, path, settings=SETTINGS, *, poor=None, border_pix=0, dropped=(), dq=None):
    """Return (planes, snowballs, steps) of an exposure."""
    manifest_maps = make_maps() | ({} if dq is None else {"dq": dq})
    write_references(folder, **manifest_maps)
    paths = {kind: folder / f"{kind}.fits" for kind in manifest_maps}
    with (
        open_ramp(path, dropped=dropped) as exposure,
        open_maps(paths, exposure.keywords, IMAGE, border_pix=border_pix) as maps,
        open_planes(IMAGE, {**PLANES, PHOTONS: "f4"}) as spool,
    ):
        reduction = prepare(exposure, maps, settings, poor=poor, border_pix=border_pix, n_channel=4)
        snowballs = reduce_exposure(reduction, spool)
        arrays = {name: spool.read(name, slice(0, IMAGE[0])) for name in PLANES}
        return arrays, snowballs, describe_steps(reduction, None)


@pytest.mark.parametrize("block_rows", [1, 7, 13])
def test_blocks_do_not_show(tmp_path, block_rows):
    """Growth of saturation, neighbours of jumps, snowballs, reference pixels and the box of the photon noise."""
    path, _ = make_exposure(tmp_path, snowball=True, border=4, drift=True)
    whole, snowballs, _ = run(tmp_path, path, border_pix=4)
    blocks, again, _ = run(tmp_path, path, SETTINGS._replace(block_rows=block_rows), border_pix=4)
    assert len(snowballs) == 1
    assert snowballs.tobytes() == again.tobytes()
    for name, array in whole.items():
        assert array.tobytes() == blocks[name].tobytes(), name


def test_rates_errors_and_chi_square_hold(tmp_path):
    path, _ = make_exposure(tmp_path)
    arrays, snowballs, _ = run(tmp_path, path)
    clean = np.isfinite(arrays["SCI"])
    pull = ((arrays["SCI"] - RATE) / arrays["ERR"])[clean]
    assert abs(pull.mean()) < 4 / np.sqrt(pull.size)
    assert abs(pull.std() - 1) < 4 / np.sqrt(2 * pull.size)
    assert abs(arrays["CHISQ"][clean].mean() - 1) < 4 * np.sqrt(2 / 7 / pull.size)
    np.testing.assert_allclose(arrays["ERR"] ** 2, arrays["VAR_POISSON"] + arrays["VAR_RNOISE"], rtol=1e-5)
    assert snowballs.size == 0


def test_neighbours_of_a_strong_jump_lose_the_same_difference(tmp_path):
    path, _ = make_exposure(tmp_path)
    arrays, _, _ = run(tmp_path, path)
    alone, _, _ = run(tmp_path, path, SETTINGS._replace(jump_neighbour_sigma=1e9))
    for y, x in ((13, 20), (15, 20), (14, 19), (14, 21)):
        assert arrays["DQ"][y, x] == Flag.JUMP_DET
        assert arrays["VAR_RNOISE"][y, x] > 1.2 * alone["VAR_RNOISE"][y, x]
    assert alone["DQ"][13, 20] == 0
    # 16 e- in four neighbours are 0.3 sigma in each: seen in the mean of many such exposures only
    changed = np.argwhere(arrays["SCI"] != alone["SCI"])
    assert {tuple(place) for place in changed.tolist()} == {(13, 20), (15, 20), (14, 19), (14, 21)}


def test_neighbours_of_a_saturated_pixel_end_with_it(tmp_path):
    path, _ = make_exposure(tmp_path)
    arrays, _, _ = run(tmp_path, path)
    near = arrays["DQ"][39:42, 29:32] & Flag.SATURATED != 0
    assert near.all()
    assert (arrays["NREADS"][39:42, 29:32] == 6).all()
    assert np.count_nonzero(arrays["DQ"] & Flag.SATURATED) == 9
    alone, _, _ = run(tmp_path, path, SETTINGS._replace(saturation_grow_pix=0))
    assert np.count_nonzero(alone["DQ"] & Flag.SATURATED) == 1


def test_halo_of_a_snowball_is_left_out(tmp_path):
    path, _ = make_exposure(tmp_path, snowball=True)
    arrays, snowballs, steps = run(tmp_path, path)
    assert len(snowballs) == 1
    assert snowballs["DIFFERENCE"][0] == 2
    np.testing.assert_allclose([snowballs["Y"][0], snowballs["X"][0]], [33, 11], atol=0.3)
    y, x = np.indices(IMAGE)
    assert 7.5 < snowballs["RADIUS_PIX"][0] < 12  # twice that of the core
    halo = (np.hypot(y - 33, x - 11) >= 5.5) & (np.hypot(y - 33, x - 11) < 7.5)
    blind, none, _ = run(tmp_path, path, SETTINGS._replace(snowball_minimum_pix=0))
    assert none.size == 0
    assert (arrays["DQ"][halo] & Flag.JUMP_DET != 0).all()
    assert abs(np.mean((arrays["SCI"] - RATE)[halo] / arrays["ERR"][halo])) < 4 / np.sqrt(halo.sum())
    assert np.mean((blind["SCI"] - RATE)[halo] / blind["ERR"][halo]) > 0.3
    (jump,) = [parameters for step, _, parameters in steps if step == "jump"]
    assert jump["snowball_growth"] == 2.0


def test_reference_pixels_remove_drifts_and_are_no_science(tmp_path):
    path, rate = make_exposure(tmp_path, border=4, drift=True)
    arrays, _, _ = run(tmp_path, path, border_pix=4)
    border = rate == 0
    assert (arrays["DQ"][border] & Flag.REFERENCE_PIXEL != 0).all()
    assert np.isnan(arrays["SCI"][border]).all()
    assert not (arrays["DQ"][~border] & Flag.REFERENCE_PIXEL).any()
    good = ~border & np.isfinite(arrays["SCI"])
    pull = ((arrays["SCI"] - RATE) / arrays["ERR"])[good]
    assert abs(pull.mean()) < 0.15  # the noise of the frame's level is common to all pixels
    assert abs(pull.std() - 1) < 0.06
    without, _, _ = run(tmp_path, path)
    assert abs(np.nanmean((without["SCI"] - RATE)[good] / without["ERR"][good])) > 0.4


@pytest.mark.parametrize("bad", ["guide window", "telegraph pixel"])
def test_what_is_flagged_harms_no_neighbour(tmp_path, bad):
    """The pixels of a guide window have their own clock: nearly every difference is a strong jump."""
    path, _ = make_exposure(tmp_path)
    rng = np.random.default_rng(8)
    area = np.s_[0, :, 20:36, 20:36] if bad == "guide window" else np.s_[0, :, 25:26, 25:26]
    with fits.open(path, mode="update") as hdus:
        hdus["DATA"].data[area] = rng.integers(1500, 30000, hdus["DATA"].data[area].shape)
        if bad == "guide window":
            hdus[0].header["ODGW1PS"], hdus[0].header["ODGW1ST"] = "21 21 16 16", "ON"
    dq = np.zeros(IMAGE, np.uint32)
    dq[25, 25] = 0 if bad == "guide window" else Flag.DO_NOT_USE | Flag.TELEGRAPH
    arrays, snowballs, _ = run(tmp_path, path, dq=dq)
    flagged = arrays["DQ"] & Flag.DO_NOT_USE != 0
    assert flagged.sum() == (256 if bad == "guide window" else 1)
    assert snowballs.size == 0
    assert np.isfinite(arrays["SCI"][~flagged]).all()
    assert np.count_nonzero(arrays["DQ"][~flagged] & Flag.JUMP_DET) < 10


def test_noise_of_reference_pixels_is_that_of_the_reads_in_use(tmp_path):
    path, _ = make_exposure(tmp_path, border=4)
    with open_ramp(path, dropped=[(1, k) for k in (2, 4, 5, 8)]) as exposure:
        reduction = prepare(exposure, _Maps(), SETTINGS, poor=None, border_pix=4, n_channel=4)
    variance = reduction.offsets.variance_dn2
    assert (variance[0, [1, 3, 4, 7]] == 0).all()
    assert reduction.used.sum() == 5
    _, noise_e2 = reduction._calibrate(slice(0, 3), np.zeros((1, 9, 3, 48), np.uint16))
    np.testing.assert_allclose(noise_e2, NOISE_E**2 + GAIN**2 * variance[reduction.used].mean(), rtol=1e-6)


class _Maps:
    """Maps of a detector, by rows, without files."""

    def rows(self, start, stop):
        ones = np.ones((stop - start, IMAGE[1]), np.float32)
        return build_maps(ones.shape, bias_dn=1000 * ones, gain_e_per_dn=GAIN * ones, read_noise_e=NOISE_E * ones)


def test_large_jumps_are_followed_by_a_pause(tmp_path):
    path, _ = make_exposure(tmp_path)
    paused, _, _ = run(tmp_path, path, SETTINGS._replace(large_jump_e=3000.0))
    other, _, _ = run(tmp_path, path)
    assert paused["VAR_RNOISE"][14, 20] > 1.1 * other["VAR_RNOISE"][14, 20]
    assert np.count_nonzero(paused["SCI"] != other["SCI"]) == 1


def test_skipped_steps_are_not_done(tmp_path):
    path, _ = make_exposure(tmp_path, snowball=True)
    arrays, snowballs, steps = run(tmp_path, path, SETTINGS._replace(skipped=("jump", "saturation")))
    assert not (arrays["DQ"] & Flag.JUMP_DET).any()
    assert snowballs.size == 0
    assert np.count_nonzero(arrays["DQ"] & Flag.SATURATED) <= 40  # growth belongs to the step
    reasons = {step: reason for step, reason, _ in steps}
    assert reasons["jump"] == reasons["saturation"] == "by configuration"
    assert reasons["fit_ramp"] is None


def test_poor_intervals_are_left_out_and_told(tmp_path):
    path, _ = make_exposure(tmp_path)
    start = 61000.0
    seeing = Seeing(start + np.array([0, 5.0, 5.5, 9.0, 9.5, 40]) / 86400, np.array([0.5, 0.5, 2.0, 2.0, 0.5, 0.5]))
    with open_ramp(path, dropped=[(1, 9)]) as exposure:
        poor, notes = find_gaps(exposure, start, seeing, 1.0)
    assert np.flatnonzero(poor[0]).tolist() == [2, 3, 4]
    assert notes == [
        "left out: read 9 of group 1",
        "left out for seeing above 1.0 arcsec: 3 intervals of 8, 0 of unknown seeing kept",
    ]
    arrays, _, _ = run(tmp_path, path, poor=poor)
    whole, _, _ = run(tmp_path, path)
    assert np.nanmedian(arrays["VAR_RNOISE"] / whole["VAR_RNOISE"]) > 2
    pull = ((arrays["SCI"] - RATE) / arrays["ERR"])[np.isfinite(arrays["SCI"])]
    assert abs(pull.mean()) < 4 / np.sqrt(pull.size)


def test_a_dropped_read_harms_no_other(tmp_path):
    """A read of all ones would look saturated, and like a drift of the electronics."""
    path, rate = make_exposure(tmp_path, border=4, drift=True)
    with fits.open(path, mode="update") as hdus:
        hdus["DATA"].data[0, 5] = 65535
    arrays, _, _ = run(tmp_path, path, border_pix=4, dropped=[(1, 6)])
    good = (rate > 0) & (arrays["DQ"] == 0)
    assert good.mean() > 0.7
    assert (arrays["NREADS"][good] == 8).all()
    assert abs(np.mean((arrays["SCI"] - RATE)[good] / arrays["ERR"][good])) < 0.15


def test_an_exposure_without_a_rate_is_refused_with_the_reason(tmp_path):
    path, _ = make_exposure(tmp_path)
    with pytest.raises(ReductionError, match="no interval between two reads is left: 9 of 9 reads"):
        run(tmp_path, path, poor=np.ones((1, 9), bool))
    with fits.open(path, mode="update") as hdus:
        hdus["DATA"].data[:] = 65535
    with pytest.raises(ReductionError, match="no pixel has a rate from 9 reads: all are saturated"):
        run(tmp_path, path)


def test_exposure_time_is_that_of_what_is_used(tmp_path):
    path, _ = make_exposure(tmp_path)
    poor = np.zeros((1, 9), bool)
    poor[0, 3:5] = True
    with open_ramp(path, dropped=[(1, 9)]) as exposure:
        reduction = prepare(exposure, _Maps(), SETTINGS, poor=poor, border_pix=0, n_channel=4)
    assert exposure_keywords(reduction) == {"EXPTIME": 10.0, "TOTTIME": 10.0}  # 7 intervals of 2 s, less 2


def test_runs_of_rows():
    touched = np.array([0, 1, 1, 1, 0, 0, 1, 0, 1, 1], bool)
    assert find_runs(touched, 2) == [slice(1, 3), slice(3, 4), slice(6, 7), slice(8, 10)]
    assert find_runs(np.zeros(5, bool), 2) == []
