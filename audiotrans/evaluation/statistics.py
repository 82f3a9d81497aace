"""Confidence intervals: the bootstrap by recording for means, paired differences and kernel distances; Student's t.

Clips of one recording share its player, room and music, so they are not independent: whole recordings are resampled
with replacement, with all their clips. With few recordings the plain percentile interval is too narrow (its spread is
that of n - 1 of n, its tails are a normal's); it is expanded as Hesterberg recommends, which changes nothing for many
recordings. Below five recordings the resamples are too coarse for the percentiles that this asks for, and the interval
is Student's, with the resamples' spread. With fewer than two there is none.

Source:
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993; Hesterberg, What Teachers Should Know About the
    Bootstrap, The American Statistician 2015, section 5.3 (the expanded percentile interval).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from audiotrans.evaluation.metrics.kernel import median_bandwidth

Array = npt.NDArray[np.floating[Any]]

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval.

    Attributes:
        mean: the figure itself, nan where nothing was measured.
        low: lower end; nan with fewer than two recordings.
        high: upper end, likewise.
        n: clips (or runs) that were measured.
    """

    mean: float
    low: float = math.nan
    high: float = math.nan
    n: int = 0


@dataclass(frozen=True)
class Value:
    """One clip's figure, and the recording that it was cut from."""

    recording: str
    value: float


@dataclass(frozen=True)
class Resamples:
    """How often each recording is in each resample: the same for everything that is to be compared.

    Attributes:
        recordings: their names, sorted.
        counts: how often each is in it, shape (resamples, recordings).
    """

    recordings: tuple[str, ...]
    counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, recordings: Sequence[str], seed: int = 0, count: int = RESAMPLES) -> Resamples:
        """Sample as many recordings as there are, with replacement, ``count`` times."""
        names = tuple(sorted(set(recordings)))
        rng = np.random.default_rng(seed)
        counts = rng.multinomial(len(names), np.full(len(names), 1 / max(len(names), 1)), size=count)
        return cls(names, counts)

    def mean(self, values: Sequence[Value]) -> Interval:
        """Average figures over clips.

        Args:
            values: of recordings that are resampled; figures that are not finite do not count.

        Returns:
            The mean over the clips and its interval over the recordings that have a figure.
        """
        index = {name: place for place, name in enumerate(self.recordings)}
        sums, counts = np.zeros(len(index)), np.zeros(len(index))
        for value in values:
            if math.isfinite(value.value):
                sums[index[value.recording]] += value.value
                counts[index[value.recording]] += 1
        n, recordings = int(counts.sum()), int(np.count_nonzero(counts))
        if not n:
            return Interval(math.nan)
        with np.errstate(invalid="ignore"):  # a resample of recordings that have no figure at all
            means = (self.counts @ sums) / (self.counts @ counts)
        mean = float(sums.sum() / n)
        return Interval(mean, *expanded_interval(means, recordings, mean), n)


def expanded_interval(statistics: Array, recordings: int, centre: float, level: float = LEVEL) -> tuple[float, float]:
    """Return the expanded percentile interval of bootstrapped statistics.

    The plain percentiles at (1 - level) / 2 and 1 - (1 - level) / 2 move outwards to those of a normal at the place
    of Student's t, times sqrt(n / (n - 1)). Where these are rarer than a resample of one recording n times, which is as
    far out as one can be, the interval reaches that many standard deviations of the resamples to both sides of the
    centre.

    Args:
        statistics: one for each resample, shape (resamples,); those that are not finite do not count.
        recordings: n, how many were resampled.
        centre: the statistic of all recordings.
        level: of confidence.

    Returns:
        Lower and upper end; nan for fewer than two recordings.
    """
    from scipy.stats import norm, t

    finite = statistics[np.isfinite(statistics)]
    if recordings < 2 or not len(finite):
        return math.nan, math.nan
    reach = math.sqrt(recordings / (recordings - 1)) * float(t.ppf((1 + level) / 2, recordings - 1))
    tail = float(norm.cdf(-reach))
    if tail < recordings**-recordings:
        spread = reach * float(finite.std())
        return centre - spread, centre + spread
    low, high = np.quantile(finite, [tail, 1 - tail])
    return float(low), float(high)


def student_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Average independent figures, such as those of training runs, with Student's interval of the mean.

    Args:
        values: figures; those that are not finite do not count.
        level: of confidence.

    Returns:
        The mean and its interval; its ends are nan with fewer than two figures.
    """
    from scipy.stats import t

    kept = [value for value in values if math.isfinite(value)]
    if not kept:
        return Interval(math.nan)
    mean = float(np.mean(kept))
    if len(kept) < 2:
        return Interval(mean, n=1)
    half = float(t.ppf((1 + level) / 2, len(kept) - 1)) * float(np.std(kept, ddof=1)) / math.sqrt(len(kept))
    return Interval(mean, mean - half, mean + half, len(kept))


def paired_difference(resamples: Resamples, first: Sequence[Value], second: Sequence[Value]) -> Interval:
    """Average the differences first - second over the clips that have both; the two are of the same clips in order."""
    differences = [Value(a.recording, a.value - b.value) for a, b in zip(first, second, strict=True)]
    return resamples.mean(differences)


class KernelDistances:
    """Kernel distances (KAD) of several systems to the same real clips, with intervals by recording.

    The squared maximum mean discrepancy of `kernel_distance`, with one difference: only pairs of windows of different
    recordings count, within each set and across. Windows of one recording are alike whatever plays them, and an output
    would be praised for the music that it shares with its truth. So real clips have exactly 0 to themselves.

    Args:
        reals: embeddings (windows, dims) of each real clip, with the recording of each.
        resamples: of the recordings that the systems' clips come from.
        seed: of the resamples of real recordings, where they are not the same as the systems'.
    """

    def __init__(self, reals: Sequence[tuple[str, Array]], resamples: Resamples, seed: int = 0) -> None:
        self._resamples = resamples
        names = tuple(sorted({name for name, _ in reals}))
        same = names == resamples.recordings
        self._real_resamples = resamples if same else Resamples.of(names, seed + 1, len(resamples.counts))
        self._reals, self._real_names = _stacked(reals)
        self.bandwidth = median_bandwidth(self._reals) if len(self._reals) > 1 else math.nan

    @cached_property
    def _within_reals(self) -> Array:
        return self._mean_kernel(
            self._blocks(
                self._reals, self._real_names, self._reals, self._real_names, self._real_resamples, self._real_resamples
            ),
            self._real_resamples,
            self._real_resamples,
        )

    def statistics(self, clips: Sequence[tuple[str, str, Array]]) -> Array:
        """Return a system's distance for all recordings once, then for every resample; shape (1 + resamples,).

        Args:
            clips: recording of the input, recording that the output's notes come from (the same but for a random
                clip), and embedding (windows, dims).
        """
        rows, inputs = _stacked([(name, rows) for name, _, rows in clips])
        _, content = _stacked([(name, rows) for _, name, rows in clips])
        if not len(rows) or not self.bandwidth > 0:
            return np.full(1 + len(self._resamples.counts), math.nan)
        own = self._blocks(rows, content, rows, content, self._resamples, self._resamples, inputs, inputs)
        across = self._blocks(
            rows, content, self._reals, self._real_names, self._resamples, self._real_resamples, inputs
        )
        distances: Array = (
            self._mean_kernel(own, self._resamples, self._resamples)
            + self._within_reals
            - 2.0 * self._mean_kernel(across, self._resamples, self._real_resamples)
        )
        return distances

    def interval(self, statistics: Array, n: int) -> Interval:
        """Turn `statistics`, or a difference of two of them, into a figure with its interval."""
        recordings = min(len(self._resamples.recordings), len(self._real_resamples.recordings))
        return Interval(float(statistics[0]), *expanded_interval(statistics[1:], recordings, float(statistics[0])), n)

    def _blocks(
        self,
        x: Array,
        x_content: list[str],
        y: Array,
        y_content: list[str],
        x_resamples: Resamples,
        y_resamples: Resamples,
        x_inputs: list[str] | None = None,
        y_inputs: list[str] | None = None,
    ) -> tuple[Array, Array]:
        """Sum and count the kernel over pairs of different recordings; both (recordings of x, recordings of y)."""
        from scipy.spatial.distance import cdist

        kernel = np.exp(cdist(x, y, "sqeuclidean") / (-2.0 * self.bandwidth**2))
        counted = (np.array(x_content)[:, None] != np.array(y_content)[None, :]).astype(np.float64)
        left = _membership(x_inputs or x_content, x_resamples)
        right = _membership(y_inputs or y_content, y_resamples)
        return left.T @ (kernel * counted) @ right, left.T @ counted @ right

    @staticmethod
    def _mean_kernel(blocks: tuple[Array, Array], first: Resamples, second: Resamples) -> Array:
        sums, counts = blocks
        left: Array = np.vstack([np.ones((1, len(first.recordings))), first.counts])
        right: Array = np.vstack([np.ones((1, len(second.recordings))), second.counts])
        with np.errstate(invalid="ignore"):  # a resample of one recording alone has no pair
            mean: Array = np.einsum("di,ij,dj->d", left, sums, right) / np.einsum("di,ij,dj->d", left, counts, right)
        return mean


def _stacked(clips: Sequence[tuple[str, Array]]) -> tuple[Array, list[str]]:
    """Put the windows of all clips under each other; returns them and the name for each."""
    if not clips:
        return np.zeros((0, 1)), []
    names = [name for name, rows in clips for _ in range(len(rows))]
    return np.concatenate([rows for _, rows in clips]).astype(np.float64), names


def _membership(names: Sequence[str], resamples: Resamples) -> Array:
    """Return a 1 where a window belongs to a recording; shape (windows, recordings)."""
    index: Mapping[str, int] = {name: place for place, name in enumerate(resamples.recordings)}
    member = np.zeros((len(names), len(index)))
    member[np.arange(len(names)), [index[name] for name in names]] = 1.0
    return member
