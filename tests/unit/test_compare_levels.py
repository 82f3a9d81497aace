"""Levels, ratios of steps and intervals of a comparison, by hand."""

from __future__ import annotations

import math

import pytest

from audiotrans.evaluation.compare.summary import Reach, curve, ratio, reach
from audiotrans.evaluation.intervals import student_interval


def run(*values: float, every: int = 100) -> list[dict[str, float]]:
    """Make a run's evaluations of one metric, x."""
    return [{"step": every * (i + 1), "x": value} for i, value in enumerate(values)]


def high(record: dict[str, float]) -> bool:
    return record["x"] > 5


def test_a_level_counts_only_if_it_is_held_to_the_end():
    assert reach(run(9, 0, 9, 9), high) == Reach(200, 300)
    assert reach(run(9, 0, 9, 9), high, held=False) == Reach(0, 100)
    assert reach(run(9, 0), high) == Reach(200, math.inf)
    assert reach([], high) == Reach(0, math.inf)
    assert reach(run(9, 0), high).text() == "> 200"
    assert reach(run(0, 9), high).text(epoch=80) == "200 (2.5)"


def runs(*each: list[dict[str, float]]) -> dict[int, list[dict[str, float]]]:
    return dict(enumerate(each))


def test_the_ratio_of_steps_spans_what_lies_between_evaluations():
    slow, fast = run(*[0] * 7, 9, 9), run(0, 9, *[9] * 7)
    found = ratio("slow", runs(slow, slow, slow), "fast", runs(fast, fast, fast), high)
    # Reached after 700 and by 800 steps; after 100 and by 200. Equal seeds add nothing to that.
    assert (found.value, found.low, found.high) == pytest.approx((4, 3.5, 8))
    assert str(found) == "slow needs 4 [3.5, 8] times the steps of fast"
    assert found.tenfold == "excluded"
    turned = ratio("fast", runs(fast, fast, fast), "slow", runs(slow, slow, slow), high)
    assert str(turned) == str(found)


def test_seeds_that_differ_widen_the_ratio():
    slow, fast, late = run(*[0] * 7, 9, 9), run(0, 9, *[9] * 7), run(*[0] * 6, 9, 9, 9)
    found = ratio("a", runs(slow, late), "b", runs(fast, slow), high)
    assert found.low < 1 < found.high
    assert str(found).startswith("too wide to tell: [")
    assert str(ratio("a", runs(slow), "b", runs(fast), high)) == "one seed: no interval"


def test_runs_that_never_get_there_are_kept_as_a_lower_bound():
    never, fast = run(*[0] * 9), run(0, 9, *[9] * 7)
    found = ratio("a", runs(never, never), "b", runs(fast, fast), high)
    assert str(found) == "a never got there; a needs more than 4.5 times the steps of b"  # 900 / 200
    assert math.isnan(found.value)
    assert found.tenfold == "open"
    assert ratio(
        "a", runs(run(*[0] * 30)) | {1: run(*[0] * 30)}, "b", runs(*[run(0, *[9] * 29)] * 2), high
    ).tenfold == ("shown")  # 3,000 / 200
    assert str(ratio("a", runs(never, never), "b", runs(never, never), high)) == "neither got there"
    # One of two seeds got there: whatever the other would have needed is not made up.
    assert "too wide" in str(ratio("a", runs(never, fast), "b", runs(fast, fast), high))


def test_ratios_that_nothing_is_known_of_say_so():
    at_once = run(9, 9)
    assert "evaluate more often" in str(ratio("a", runs(at_once, at_once), "b", runs(at_once, at_once), high))
    assert str(ratio("a", runs(at_once), "b", {7: at_once}, high)) == "no seed that both have"


def test_a_pair_of_runs_is_cut_to_the_shorter():
    # What the longer run does at 300 the shorter one has not had the chance to do.
    found = ratio("a", runs(*[run(0, 0, 9)] * 2), "b", runs(*[run(0, 0)] * 2), high)
    assert str(found) == "neither got there"


def test_intervals_by_hand():
    found = student_interval([1.0, 2.0, 3.0])
    # Student's t for two degrees of freedom, 4.303, times 1 / sqrt(3).
    assert (found.mean, found.low, found.high) == pytest.approx((2.0, 2 - 2.4843, 2 + 2.4843), abs=1e-3)
    found = student_interval(list(range(12)))
    assert (found.high - found.low) / 2 == pytest.approx(
        2.201 * math.sqrt(13 / 12), rel=1e-3
    )  # eleven degrees of freedom
    assert math.isnan(student_interval([1.0]).low)
    assert math.isnan(student_interval([math.nan]).mean)


def test_curves_take_the_steps_that_all_seeds_reached():
    runs = {0: [{"step": 1, "x": 1.0}, {"step": 2, "x": 3.0}], 1: [{"step": 1, "x": 3.0}]}
    found = curve(runs, "x")
    assert found.steps.tolist() == [1]
    assert found.mean.tolist() == [2.0]
