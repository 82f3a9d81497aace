"""The kernel distance: hand values, no bias, and a larger distance for what lies further away."""

from __future__ import annotations

import math

import numpy as np
import pytest

from audiotrans.errors import AudiotransError
from audiotrans.evaluation.metrics import kernel
from audiotrans.evaluation.metrics.kernel import kernel_distance, median_bandwidth


def test_two_points_against_two_points_by_hand() -> None:
    # All four on a line. The kernel of distance d at bandwidth 1 is exp(-d^2 / 2); within the sets the distances are
    # 1 and 1, across them 3, 4, 2, 3.
    x, y = np.array([[0.0], [1.0]]), np.array([[3.0], [4.0]])
    across = (2 * math.exp(-4.5) + math.exp(-8) + math.exp(-2)) / 4
    # float64 sums of four terms: 1e-12 is generous.
    assert kernel_distance(x, y, bandwidth=1.0) == pytest.approx(2 * math.exp(-0.5) - 2 * across, abs=1e-12)


def test_the_bandwidth_is_the_median_distance_of_the_reference() -> None:
    x, y = np.array([[0.0], [1.0], [3.0]]), np.array([[100.0], [90.0]])
    assert median_bandwidth(x) == 2.0  # of 1, 2, 3
    assert kernel_distance(x, y) == kernel_distance(x, y, bandwidth=2.0)


def test_the_limit_of_sets_far_apart() -> None:
    x, y = np.array([[0.0], [1e-9], [1e-9]]), np.array([[1e6], [1e6]])
    assert kernel_distance(x, y, bandwidth=1.0) == pytest.approx(2.0, abs=1e-12)


def test_no_bias_where_both_sets_are_of_one_distribution() -> None:
    rng = np.random.default_rng(1)
    found = [
        kernel_distance(rng.standard_normal((20, 4)), rng.standard_normal((30, 4)), bandwidth=2.0) for _ in range(400)
    ]
    # The mean of 400 draws lies within 4 standard errors of 0; the biased estimate would be some 20 of them off.
    assert abs(np.mean(found)) < 4 * np.std(found) / math.sqrt(len(found))
    assert min(found) < 0 < max(found)  # not cut off at 0


def test_further_means_a_larger_distance() -> None:
    rng = np.random.default_rng(2)
    x, noise = rng.standard_normal((100, 8)), rng.standard_normal((100, 8))
    found = [kernel_distance(x, noise + shift) for shift in (0.0, 0.25, 0.5, 1.0, 2.0)]
    assert found == sorted(found)
    # The population value at shift 0 is 0; that of one draw of 100 is about 0.01.
    assert abs(found[0]) < 0.02
    assert found[-1] > 0.3


def test_a_narrower_set_is_told_apart_although_its_mean_is_right() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((150, 4))
    alike, narrow = rng.standard_normal((150, 4)), 0.2 * rng.standard_normal((150, 4))
    assert kernel_distance(x, narrow) > 10 * abs(kernel_distance(x, alike))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((37, 3)), rng.standard_normal((21, 3))
    whole = kernel_distance(x, y)
    monkeypatch.setattr(kernel, "_BLOCK_ROWS", 5)
    assert kernel_distance(x, y) == pytest.approx(whole, abs=1e-12)  # another order of the same sums


def test_the_bandwidth_of_a_large_set_is_taken_from_a_part() -> None:
    rows = np.random.default_rng(5).standard_normal((4000, 2))
    # Half of the rows: the median of some two million distances is that of eight million to a percent.
    assert median_bandwidth(rows) == pytest.approx(median_bandwidth(rows[::2]), rel=0.01)


def test_the_inputs_stay_as_they_are() -> None:
    x, y = np.ones((3, 2), np.float32), np.zeros((3, 2), np.float32)
    x[0] = 2
    before = x.copy(), y.copy()
    kernel_distance(x, y)
    assert all(np.array_equal(*pair) for pair in zip(before, (x, y), strict=True))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones((1, 2)), np.ones((3, 2)), r"the reference has 1 embedding"),
        (np.ones((3, 2)), np.ones((1, 2)), r"the estimate has 1 embedding"),
        (np.ones(3), np.ones((3, 2)), r"shape \(3,\)"),
        (np.eye(3), np.ones((3, 2)), "3 dimensions, the estimate 2"),
        (np.eye(2), np.full((3, 2), np.nan), "the estimate holds NaN"),
        (np.ones((3, 2)), np.eye(2), "bandwidth is 0: it must be positive"),
    ],
)
def test_what_cannot_be_measured_is_refused(x: np.ndarray, y: np.ndarray, message: str) -> None:
    with pytest.raises(AudiotransError, match=message):
        kernel_distance(x, y)
