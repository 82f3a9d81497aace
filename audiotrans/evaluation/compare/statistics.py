"""Means over runs with intervals, and how they are written."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Records = list[dict[str, float]]
"""The examinations of one run, in the order of their steps."""

Interval = tuple[float, float, float]
"""Mean, lower and upper end of the 95 % interval."""

T_975 = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Student's t, 97.5 %, by number of runs."""


def interval(values: Sequence[float]) -> Interval:
    """Return mean and 95 % interval of the mean over runs; the interval of one run is nan."""
    kept = [value for value in values if math.isfinite(value)]
    if not kept:
        return math.nan, math.nan, math.nan
    mean = float(np.mean(kept))
    if len(kept) < 2:
        return mean, math.nan, math.nan
    half = T_975.get(len(kept), 1.96) * float(np.std(kept, ddof=1)) / math.sqrt(len(kept))
    return mean, mean - half, mean + half


def shown(values: Interval, digits: int = 3) -> str:
    """Write a mean with its interval."""
    mean, low, high = values
    if not math.isfinite(mean):
        return "-"
    if not math.isfinite(low):
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
