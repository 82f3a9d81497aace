"""Laws of what training draws: weights that match ranges, crops that reach every frame, and the pool."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from audiotrans.model.extra_losses import FIRST_NOTE_ROW, SOUNDING_ON_AVERAGE
from audiotrans.training.data import OUTSIDE, _grid, draw_places, lowest_row, range_weights
from audiotrans.training.history import HistoryBuffer
from tests.fakes import image

rows = st.lists(st.integers(3, 255), min_size=1, max_size=40)
near = st.lists(st.integers(3, 20), min_size=1, max_size=40)  # few thirds of octaves, so that ranges overlap


def third(row: int) -> int:
    return math.floor(3 * math.log2(row + 1))


def shares(lowest: list[int], weights: torch.Tensor | None = None) -> dict[int, float]:
    """Return each third's share of all crops, or of their weight per crop."""
    found: dict[int, float] = {}
    for row, weight in zip(lowest, [1.0] * len(lowest) if weights is None else weights.tolist(), strict=True):
        found[third(row)] = found.get(third(row), 0) + weight / len(lowest)
    return found


@given(a=rows | near, b=rows | near)
def test_weights_bring_both_histograms_to_the_lesser(a, b):
    before = shares(a), shares(b)
    for lowest, weights, own in zip((a, b), range_weights(a, b), before, strict=True):
        assert weights.shape == (len(lowest),)
        assert weights.dtype == torch.float64
        for found, share in shares(lowest, weights).items():
            lesser = min(before[0].get(found, 0), before[1].get(found, 0))
            assert math.isclose(share, max(lesser, OUTSIDE * own[found]), rel_tol=1e-9)


@given(a=near, b=near)
def test_what_is_drawn_by_matched_weights_has_one_histogram(a, b):
    one, other = (shares(lowest, w) for lowest, w in zip((a, b), range_weights(a, b), strict=True))
    own = shares(a), shares(b)
    for found in one.keys() & other.keys():
        rare = min(s[found] for s in own) < OUTSIDE * max(s[found] for s in own)
        assert rare or math.isclose(one[found], other[found], rel_tol=1e-9)


@given(a=rows | near, b=rows | near, seed=st.integers(0, 2**31))
def test_weights_are_a_function_of_the_range_alone(a, b, seed):
    one, other = range_weights(a, b)
    swapped_b, swapped_a = range_weights(b, a)
    assert torch.equal(one, swapped_a)
    assert torch.equal(other, swapped_b)
    order = torch.randperm(len(a), generator=torch.Generator().manual_seed(seed)).tolist()
    moved, same = range_weights([a[i] for i in order], b)
    assert torch.equal(moved, one[order])
    assert torch.equal(same, other)
    assert ((one >= OUTSIDE) & (one <= 1)).all()


@given(a=near)
def test_equal_ranges_need_no_weights_and_separate_ones_get_none(a):
    assert all((weights == 1).all() for weights in range_weights(a, a))
    assert all((weights == OUTSIDE).all() for weights in range_weights([row + 30 for row in a], a))


@given(seed=st.integers(0, 2**31), height=st.integers(8, 64), frames=st.integers(1, 20), channels=st.integers(1, 3))
def test_the_lowest_row_sounds_and_none_below_does(seed, height, frames, channels):
    x = image((channels, height, frames), seed)
    found = lowest_row(x)
    level = x[0].mean(1)
    loudest = float(level[FIRST_NOTE_ROW:].max())
    assert FIRST_NOTE_ROW <= found < height
    assert level[found] >= loudest - SOUNDING_ON_AVERAGE - 1e-6  # the bound is rounded to float32
    assert (level[FIRST_NOTE_ROW:found] < loudest - SOUNDING_ON_AVERAGE + 1e-6).all()


@given(frames=st.integers(1, 500), crop_frames=st.integers(1, 200))
def test_every_start_of_a_crop_lies_in_one_place(frames, crop_frames):
    step = max(crop_frames // 2, 1)
    places = _grid(frames, crop_frames, step)
    reached = [at for first in places for at in range(first, min(first + step, max(frames - crop_frames, 0) + 1))]
    assert reached == list(range(max(frames - crop_frames, 0) + 1))  # each once, the very last included


@given(size=st.integers(0, 6), batches=st.lists(st.integers(1, 4), max_size=8), count=st.integers(0, 9))
def test_a_pool_holds_the_last_images(size, batches, count):
    pool, taken = HistoryBuffer(size), 0
    for batch in batches:
        pool.keep("ab", torch.arange(taken, taken + batch).reshape(-1, 1, 1, 1) / 64)  # exact in float16
        taken += batch
    drawn = [round(float(x) * 64) for x in pool.draw("ab", count, torch.Generator().manual_seed(0))]
    assert len(drawn) == len(set(drawn)) == min(count, size, taken)
    assert set(drawn) <= set(range(taken)[-size:] if size else [])


@given(weights=st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=1, max_size=9), seed=st.integers(0, 2**31))
def test_places_are_drawn_by_their_weights_and_those_of_none_never(weights, seed):
    weights[seed % len(weights)] = 2.0
    wanted = torch.tensor(weights, dtype=torch.float64)
    drawn = draw_places(wanted.cumsum(0), 4000, torch.Generator().manual_seed(seed))
    counts = torch.bincount(drawn, minlength=len(weights)).double()
    assert not counts[wanted == 0].any()
    assert len(counts) == len(weights)
    # A count spreads by at most the root of 1000: six of them are never seen.
    assert (counts - 4000 * wanted / wanted.sum()).abs().max() < 190
