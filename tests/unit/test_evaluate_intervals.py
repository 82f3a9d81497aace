"""Intervals and kernel distances against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t

from audiotrans.evaluation.intervals import Resamples, Value, expanded_interval, paired_difference
from audiotrans.evaluation.metrics.kernel import KernelDistances, kernel_distance


def values(*figures: float) -> list[Value]:
    return [Value(f"r{index:03d}", figure) for index, figure in enumerate(figures)]


def draws_of(some: list[Value], seed: int = 0, draws: int = 2000) -> Resamples:
    return Resamples.of([value.recording for value in some], seed, draws)


def test_a_constant_has_an_interval_of_no_width():
    some = values(*[0.7] * 8)
    found = draws_of(some).mean(some)
    assert (found.mean, found.low, found.high) == pytest.approx((0.7, 0.7, 0.7))
    assert found.n == 8


@pytest.mark.parametrize("count", [2, 3, 4])
def test_few_recordings_get_students_interval(count):
    figures = np.arange(count, dtype=float)
    some = values(*figures)
    found = draws_of(some, draws=40_000).mean(some)
    half = t.ppf(0.975, count - 1) * figures.std(ddof=1) / math.sqrt(count)
    # The spread of 40,000 draws is known to about 0.4 %.
    assert found.high - found.mean == pytest.approx(half, rel=0.02)
    assert found.mean - found.low == pytest.approx(half, rel=0.02)


def test_many_recordings_get_the_normal_interval(rng):
    figures = rng.standard_normal(200)
    some = values(*figures)
    found = draws_of(some, draws=20_000).mean(some)
    half = 1.96 * figures.std() / math.sqrt(200)
    # Tails at 2.5 % of 20,000 draws are uncertain by about 1.5 % of the width, and the expansion adds 1 %.
    assert found.high - found.low == pytest.approx(2 * half, rel=0.05)


def test_the_interval_of_eight_covers_about_as_often_as_it_says(rng):
    covered, plainly = 0, 0
    for seed in range(400):
        figures = rng.standard_normal(8)
        draws = draws_of(values(*figures), seed, 400)
        found = draws.mean(values(*figures))
        covered += found.low <= 0 <= found.high
        low, high = np.quantile(draws.counts @ figures / 8, [0.025, 0.975])
        plainly += low <= 0 <= high
    # Of 1,500 such sets 94.8 % were covered, by plain percentiles 88.4 %; the standard error of 400 is 1.1 %.
    assert covered / 400 > 0.90
    assert covered - plainly > 0.03 * 400


def test_clips_of_one_recording_are_no_independent_witnesses():
    figures = np.arange(8.0)
    alone = values(*figures)
    copies = [Value(value.recording, value.value) for value in alone for _ in range(10)]
    one, ten = draws_of(alone).mean(alone), draws_of(copies).mean(copies)
    assert (ten.low, ten.high) == pytest.approx((one.low, one.high))
    assert (one.n, ten.n) == (8, 80)


def test_one_recording_has_no_interval_and_nothing_has_no_mean():
    alone = [Value("one", 1.0), Value("one", 3.0)]
    found = draws_of(alone).mean(alone)
    assert found.mean == 2.0
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    nothing = draws_of(alone).mean([Value("one", math.nan)])
    assert math.isnan(nothing.mean)
    assert nothing.n == 0


def test_figures_that_are_missing_do_not_count():
    some = values(1.0, math.nan, 3.0, math.inf, 2.0)
    found = draws_of(some).mean(some)
    assert (found.mean, found.n) == (2.0, 3)
    assert math.isfinite(found.low)


def test_paired_differences_cancel_what_clips_share(rng):
    level = rng.standard_normal(12) * 100
    first, second = values(*(level + 1.0)), values(*level)
    found = paired_difference(draws_of(first), first, second)
    assert (found.mean, found.low, found.high) == (pytest.approx(1.0), pytest.approx(1.0), pytest.approx(1.0))


def test_same_seed_same_interval():
    some = values(*range(9))
    assert draws_of(some, 3).mean(some) == draws_of(some, 3).mean(some)
    assert draws_of(some, 3).mean(some) != draws_of(some, 4).mean(some)


def test_the_expanded_interval_asks_for_rarer_draws_with_fewer_recordings(rng):
    statistics = rng.standard_normal(100_000)
    widths = [np.ptp(expanded_interval(statistics, count, 0.0)) for count in (6, 10, 1000)]
    assert widths[0] > widths[1] > widths[2]
    # t of 5 degrees of freedom, times sqrt(6 / 5); the rarest thousandth of the draws is known to a few percent.
    assert widths[0] == pytest.approx(2 * 2.571 * math.sqrt(6 / 5), rel=0.05)
    assert widths[2] == pytest.approx(2 * 1.96, rel=0.02)


def windows(rng: np.random.Generator, centre: float, count: int) -> np.ndarray:
    return (centre + rng.standard_normal((count, 3))).astype(np.float32)


def test_single_windows_give_the_plain_kernel_distance(rng):
    reals = [(f"real{index}", windows(rng, 0.0, 1)) for index in range(9)]
    clips = [(f"clip{index}", f"clip{index}", windows(rng, 1.0, 1)) for index in range(7)]
    distances = KernelDistances(reals, Resamples.of([name for name, _, _ in clips]))
    found = distances.statistics(clips)[0]
    wanted = kernel_distance(np.concatenate([rows for _, rows in reals]), np.concatenate([rows for *_, rows in clips]))
    assert found == pytest.approx(wanted, abs=1e-9)


def test_real_clips_are_at_no_distance_to_themselves(rng):
    reals = [(f"r{index}", windows(rng, 0.3 * index, 4)) for index in range(5)]
    distances = KernelDistances(reals, Resamples.of([name for name, _ in reals]))
    statistics = distances.statistics([(name, name, rows) for name, rows in reals])
    assert np.nanmax(np.abs(statistics)) < 1e-12


def test_kernel_distances_rank_and_their_difference_has_an_interval(rng):
    reals = [(f"r{index}", windows(rng, 0.0, 6)) for index in range(8)]
    distances = KernelDistances(reals, Resamples.of([name for name, _ in reals]))
    near, far = (
        distances.statistics([(name, name, windows(rng, centre, 6)) for name, _ in reals]) for centre in (0.2, 3.0)
    )
    difference = distances.interval(far - near, 8)
    assert difference.mean > 0.5
    assert 0 < difference.low < difference.mean < difference.high


def test_a_kernel_distance_needs_two_recordings(rng):
    distances = KernelDistances([("one", windows(rng, 0.0, 6))], Resamples.of(["one"]))
    found = distances.interval(distances.statistics([("one", "one", windows(rng, 1.0, 6))]), 1)
    assert math.isnan(found.mean)
    assert math.isnan(found.low)


def test_music_that_is_shared_does_not_count_across(rng):
    """Windows of one recording are alike: an output must not be praised for the notes that it shares with its truth."""
    centres = rng.standard_normal((6, 3)) * 5
    reals = [(f"r{index}", (centre + 0.01 * windows(rng, 0.0, 4))) for index, centre in enumerate(centres)]
    same = [(name, name, rows + np.float32(0.01)) for name, rows in reals]
    distances = KernelDistances(reals, Resamples.of([name for name, _ in reals]))
    assert abs(distances.statistics(same)[0]) < 0.01
    plain = kernel_distance(np.concatenate([rows for _, rows in reals]), np.concatenate([rows for *_, rows in same]))
    # Counting the pairs of one recording across, but each window's own pair not within, favours the copy.
    assert plain < distances.statistics(same)[0]
