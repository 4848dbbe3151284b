"""What jumps do around themselves: known answers, a slow plain reference, blocks against the whole."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from drs import jumps
from drs.jumps import (
    MEMBER,
    SNOWBALL,
    Events,
    collect_events,
    find_snowballs,
    mask_snowballs,
    snowball_rows,
    spread_jumps,
)

JUMP, STRONG, LARGE = 1, 2, 4
TIMES_S = np.tile([1.0, 2.5, 4.0, 5.5, 8.0], (2, 1))  # two groups of five reads
SHAPE = (9, 30, 40)  # n_difference, ny, nx
RESET = 4  # the difference across the reset


def spread_slowly(found, times_s, after_jump_s):
    """Return what `spread_jumps` should exclude, pixel by pixel."""
    n_group, n_read = times_s.shape
    chain = [(group, time) for group in range(n_group) for time in times_s[group]]
    excluded = np.zeros(found.shape, bool)
    for d, y, x in np.argwhere(found):
        excluded[d, y, x] = True
        if found[d, y, x] & STRONG:
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= v < found.shape[1] and 0 <= u < found.shape[2]:
                    excluded[d, v, u] = True
        if found[d, y, x] & LARGE:
            for later in range(d + 1, n_group * n_read - 1):
                (group, time), (of_jump, jump_time) = chain[later + 1], chain[d + 1]
                if group == of_jump and time - jump_time <= after_jump_s:
                    excluded[later, y, x] = True
    return excluded


@st.composite
def sparse_jumps(draw):
    """Draw (found, times_s, after_jump_s) of any small shape."""
    n_group, n_read = draw(st.integers(1, 3)), draw(st.integers(2, 6))
    steps = draw(hnp.arrays(float, (n_group, n_read), elements=st.sampled_from([0.5, 1.0, 3.0])))
    shape = (n_group * n_read - 1, draw(st.integers(1, 6)), draw(st.integers(1, 11)))
    flags = st.sampled_from([1, 2, 3, 5, 7])
    found = draw(hnp.arrays(np.uint8, shape, elements=flags, fill=st.just(0)))
    found[n_read - 1 :: n_read] = 0
    return found, np.cumsum(steps, axis=1), draw(st.sampled_from([0.0, 1.0, 2.5, 100.0]))


@given(sparse_jumps())
@settings(max_examples=300, deadline=None)
def test_spread_jumps_is_what_the_slow_reference_says(case):
    found, times_s, after_jump_s = case
    before = found.copy()
    excluded, touched = spread_jumps(found, times_s, after_jump_s=after_jump_s)
    np.testing.assert_array_equal(excluded, spread_slowly(found, times_s, after_jump_s))
    np.testing.assert_array_equal(touched, (excluded & (found == 0)).any(axis=0))
    np.testing.assert_array_equal(found, before)


def test_a_known_jump_of_each_kind():
    found = np.zeros(SHAPE, np.uint8)
    found[1, 5, 7] = JUMP
    found[1, 10, 39] = JUMP | STRONG
    found[1, 20, 20] = JUMP | LARGE
    found[3, 25, 20] = JUMP | LARGE  # the last of its group
    excluded, touched = spread_jumps(found, TIMES_S, after_jump_s=1.6)
    expected = [(1, 5, 7), (1, 9, 39), (1, 10, 38), (1, 10, 39), (1, 11, 39), (1, 20, 20), (2, 20, 20), (3, 25, 20)]
    assert sorted(map(tuple, np.argwhere(excluded).tolist())) == sorted(expected)
    assert np.argwhere(touched).tolist() == [[9, 39], [10, 38], [11, 39], [20, 20]]
    longer, _ = spread_jumps(found, TIMES_S, after_jump_s=4.0)
    assert np.argwhere(longer & ~excluded).tolist() == [[3, 20, 20]]


@given(st.integers(1, 30), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_blocks_with_one_row_of_halo_are_the_whole(block_rows, seed):
    rng = np.random.default_rng(seed)
    found, onset = make_events(rng)
    whole, whole_touched = spread_jumps(found, TIMES_S, after_jump_s=3.0)
    members = collect_events(found, slice(0, SHAPE[1]), onset)
    events, parts, touched = Events(), [], []
    for start in range(0, SHAPE[1], block_rows):
        rows = slice(start, min(start + block_rows, SHAPE[1]))
        padded = slice(max(rows.start - 1, 0), min(rows.stop + 1, SHAPE[1]))
        inner = slice(rows.start - padded.start, rows.stop - padded.start)
        part, part_touched = spread_jumps(found[:, padded], TIMES_S, after_jump_s=3.0)
        parts.append(part[:, inner])
        touched.append(part_touched[inner])
        events.add(collect_events(found[:, padded], rows, onset[:, padded], padded=padded))
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    np.testing.assert_array_equal(np.concatenate(touched), whole_touched)
    options = {"minimum_pix": 4, "growth": 1.5}
    snowballs = find_snowballs(members, SHAPE, **options)
    np.testing.assert_array_equal(events.find_snowballs(SHAPE, **options), snowballs)
    chain = SHAPE, TIMES_S
    masks = [
        mask_snowballs(snowballs, slice(y, min(y + block_rows, SHAPE[1])), *chain, after_jump_s=3.0)
        for y in range(0, SHAPE[1], block_rows)
    ]
    whole = mask_snowballs(snowballs, slice(0, SHAPE[1]), *chain, after_jump_s=3.0)
    np.testing.assert_array_equal(np.concatenate(masks, axis=1), whole)
    reached = np.array([any(abs(row - y) <= radius for _, y, _, radius in snowballs) for row in range(SHAPE[1])])
    np.testing.assert_array_equal(snowball_rows(snowballs, SHAPE[1]), reached)
    assert not (whole.any(axis=(0, 2)) & ~reached).any()  # a circle may pass between the pixels of a row it reaches


def make_events(rng, fraction=0.03, n_ball=5):
    """Return jumps and onsets of saturation: single jumps, single saturating pixels, and discs of strong jumps."""
    found = np.where(rng.random(SHAPE) < fraction, rng.choice([1, 3, 7], SHAPE), 0).astype(np.uint8)
    onset = np.where(rng.random((2, *SHAPE[1:])) < fraction, rng.integers(0, 5, (2, *SHAPE[1:])), 5).astype(np.int16)
    for _ in range(n_ball):
        difference, y, x = (rng.integers(0, size) for size in SHAPE)
        add_snowball(found, onset, difference, (y, x), radius=rng.uniform(1, 4), core=rng.uniform(0, 2))
    found[RESET] = 0
    return found, onset


def add_snowball(found, onset, difference, centre, *, radius, core=0.0):
    """Put a disc of strong jumps into `found`; what is within `core` saturates instead."""
    ys, xs = np.indices(SHAPE[1:])
    distance = np.hypot(ys - centre[0], xs - centre[1])
    found[difference][(distance <= radius) & (distance >= core)] = JUMP | STRONG | LARGE
    onset[(difference + 1) // 5][distance < core] = (difference + 1) % 5


def empty():
    return np.zeros(SHAPE, np.uint8), np.full((2, *SHAPE[1:]), 5, np.int16)


def collect_slowly(found, onset):
    members = []
    for d in range(SHAPE[0]):
        candidate = (found[d] & STRONG != 0) | (onset[(d + 1) // 5] == (d + 1) % 5)
        if d == RESET:  # saturated from the first read of a group on: no difference ends there
            candidate[:] = False
        padded = np.pad(candidate, 1).astype(int)
        n = sum(padded[1 + v : 1 + v + SHAPE[1], 1 + u : 1 + u + SHAPE[2]] for v in (-1, 0, 1) for u in (-1, 0, 1))
        for y, x in np.argwhere(candidate & (n >= 4)):
            members.append((d, y, x, found[d, y, x] & STRONG != 0))
    return sorted(members)


@pytest.mark.parametrize("fraction", [0.0, 0.03, 0.3])
def test_members_are_what_the_slow_reference_says(fraction):
    found, onset = make_events(np.random.default_rng(3), fraction)
    members = collect_events(found, slice(0, SHAPE[1]), onset)
    assert members.dtype == MEMBER
    assert sorted(members.tolist()) == collect_slowly(found, onset)
    assert len(members) > 50


@pytest.mark.parametrize("core", [0.0, 2.5])
def test_a_snowball_is_found_where_it_is(core):
    found, onset = empty()
    add_snowball(found, onset, 6, (12, 25), radius=4.2, core=core)
    area = np.count_nonzero(np.hypot(np.arange(30)[:, np.newaxis] - 12, np.arange(40) - 25) <= 4.2)
    members = collect_events(found, slice(0, 30), onset)
    assert len(members) == area
    (snowball,) = find_snowballs(members, SHAPE, minimum_pix=10, growth=2.0)
    assert snowball.dtype == SNOWBALL
    assert snowball.tolist()[:3] == (6, 12, 25)
    np.testing.assert_allclose(snowball["RADIUS_PIX"], 2 * np.sqrt(area / np.pi))


def test_the_core_of_a_star_is_no_snowball():
    found, onset = empty()
    add_snowball(found, onset, 6, (12, 25), radius=0, core=3.5)
    found[6, 12, 29] = found[6, 8, 25] = JUMP | STRONG
    members = collect_events(found, slice(0, 30), onset)
    assert len(members) > 30
    assert len(find_snowballs(members, SHAPE, minimum_pix=5, growth=2.0)) == 0


def test_events_that_touch_are_one_and_small_ones_none():
    block = [(0, y, x, True) for y in (3, 4, 5) for x in (0, 1, 2)]
    corner = [(0, y, x, True) for y in (6, 7) for x in (3, 4)]
    later = [(1, y, x, True) for y in (3, 4, 5) for x in (37, 38, 39)]
    wrapped = [(0, y, 39, True) for y in (2, 3, 4, 5)]  # not a neighbour of column 0
    members = np.array(later + block + wrapped + corner, MEMBER)
    balls = find_snowballs(members, SHAPE, minimum_pix=5, growth=1.0)
    assert balls["DIFFERENCE"].tolist() == [0, 1]
    np.testing.assert_allclose(np.pi * balls["RADIUS_PIX"] ** 2, [13, 9])
    np.testing.assert_allclose(balls["Y"], [(9 * 4 + 4 * 6.5) / 13, 4])
    assert len(find_snowballs(members, SHAPE, minimum_pix=4, growth=1.0)) == 3
    assert len(find_snowballs(members[:0], SHAPE, minimum_pix=1, growth=1.0)) == 0


def test_the_mask_of_a_snowball():
    balls = np.array([(1, 10.0, 38.0, 3.0), (8, 29.0, 5.5, 1.0)], SNOWBALL)
    mask = mask_snowballs(balls, slice(0, 30), SHAPE, TIMES_S, after_jump_s=1.6)
    circle = np.hypot(np.arange(30)[:, np.newaxis] - 10, np.arange(40) - 38) <= 3
    for difference in range(9):
        expected = circle if difference in (1, 2) else np.zeros((30, 40), bool)
        if difference == 8:
            expected[29, 5:7] = True
        np.testing.assert_array_equal(mask[difference], expected)
    assert np.flatnonzero(snowball_rows(balls, 30)).tolist() == [7, 8, 9, 10, 11, 12, 13, 28, 29]


def test_too_many_members_are_no_snowballs(monkeypatch, caplog):
    monkeypatch.setattr(jumps, "MAX_MEMBERS", 20)
    block = np.array([(0, y, x, True) for y in (3, 4, 5) for x in (0, 1, 2)], MEMBER)
    events = Events()
    events.add(block)
    events.add(block[:0])
    assert len(events.find_snowballs(SHAPE, minimum_pix=5, growth=1.0)) == 1
    for difference in (1, 2):
        later = block.copy()
        later["DIFFERENCE"] = difference
        events.add(later)
    with caplog.at_level(logging.WARNING):
        assert len(events.find_snowballs(SHAPE, minimum_pix=5, growth=1.0)) == 0
    assert "27 pixels belong to extended jumps, at most 20" in caplog.text


def test_refused():
    found, onset = empty()
    with pytest.raises(ValueError, match="8 differences do not fit 2 groups of 5 reads"):
        spread_jumps(found[:8], TIMES_S, after_jump_s=1.0)
    with pytest.raises(ValueError, match="do not fit each other"):
        collect_events(found, slice(0, 30), onset[:, :29])


@given(n=st.integers(1, 40), data=st.data())
def test_connected_sets_are_those_of_scipy(n, data):
    nodes = st.integers(0, n - 1)
    edges = np.array(data.draw(st.lists(st.tuples(nodes, nodes), max_size=60)), int).reshape(-1, 2).T
    graph = coo_array((np.ones(edges.shape[1], bool), tuple(edges)), shape=(n, n))
    n_event, label = connected_components(graph, directed=False)
    found, labels = jumps._label_connected(n, *edges)
    assert found == n_event
    np.testing.assert_array_equal(labels, label)
