"""Confidence intervals: the bootstrap by recording, for means and paired differences, and Student's t.

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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

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
