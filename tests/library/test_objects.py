"""Objects on several scales: what is found, what is grown, and that noise is not an object."""

import numpy as np

from drs.objects import find_moving, find_objects

SHAPE = (120, 140)
HOW = {"threshold_sigma": 3.0, "scales_pix": (0, 1, 2), "growth": 0.0}


def make_noise(count=4, seed=1):
    random = np.random.default_rng(seed)
    counts = np.full(SHAPE, count)
    return (7.0 + random.normal(0, 1 / np.sqrt(counts))).astype(np.float32), counts


def test_noise_is_no_object():
    found = [find_objects(*make_noise(seed=seed), **HOW).mean() for seed in range(8)]
    assert np.mean(found) < 2e-3


def test_a_star_and_a_faint_disc_are_found_and_grown():
    values, count = make_noise()
    y, x = np.indices(SHAPE)
    values += 40 * np.exp(-((y - 30) ** 2 + (x - 40) ** 2) / 8)
    disc = np.hypot(y - 80, x - 90) < 12
    values += 1.2 * disc  # 2.4 sigma of a pixel: only where it is smoothed
    found = find_objects(values, count, **HOW)
    assert found[30, 40]
    assert found[disc].mean() > 0.9
    grown = find_objects(values, count, **HOW | {"growth": 0.5})
    assert (grown | ~found).all()
    assert np.hypot(y - 80, x - 90)[grown & (x > 70) & (y > 55)].max() > 12 + 0.4 * 12
    assert not grown[5, 5]


def test_pixels_without_a_value_are_no_objects_and_less_depth_is_more_noise():
    values, count = make_noise()
    values[:, :20] = np.nan
    count[:, 100:] = 1
    random = np.random.default_rng(2)
    values[:, 100:] = 7 + random.normal(0, 1, values[:, 100:].shape)
    found = find_objects(values, count, **HOW)
    assert found.mean() < 5e-3
    assert not find_objects(np.full(SHAPE, np.nan, np.float32), count, **HOW).any()


def test_what_moves_is_found_and_what_stays_is_not():
    frames = np.stack([make_noise(1, seed)[0] for seed in range(6)])
    y, x = np.indices(SHAPE)
    frames[:, 50, 60] += 500
    for k, frame in enumerate(frames):
        frame += 30 * np.exp(-((y - 20 - 12 * k) ** 2 + (x - 30) ** 2) / 8)
    found = find_moving(frames, np.zeros(frames.shape, bool), threshold_sigma=3, growth=0.5)
    assert all(found[k, 20 + 12 * k, 30] for k in range(6))
    assert not found[:, 50, 60].any()
    assert found.mean() < 0.05
    assert not find_moving(frames, np.ones(frames.shape, bool), threshold_sigma=3, growth=0.5).any()
