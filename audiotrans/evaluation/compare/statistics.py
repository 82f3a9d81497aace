"""Means over runs with intervals, and how they are written."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Interval = tuple[float, float, float]
"""Mean, lower and upper end of the 95 % interval."""


def interval(values: Sequence[float]) -> Interval:
    """Return mean and 95 % interval of the mean over runs, by Student's t; the interval of one run is nan."""
    from scipy.stats import t

    kept = [value for value in values if math.isfinite(value)]
    if not kept:
        return math.nan, math.nan, math.nan
    mean = float(np.mean(kept))
    if len(kept) < 2:
        return mean, math.nan, math.nan
    half = float(t.ppf(0.975, len(kept) - 1)) * float(np.std(kept, ddof=1)) / math.sqrt(len(kept))
    return mean, mean - half, mean + half


def shown(values: Interval, digits: int = 3) -> str:
    """Write a mean with its interval."""
    mean, low, high = values
    if not math.isfinite(mean):
        return "-"
    if not math.isfinite(low):
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
