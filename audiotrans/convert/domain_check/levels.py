"""What the samples themselves say, as they pass by: the peak, and whether it was cut off flat."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FLAT = 0.999
"""Share of the peak from which a sample stands at the peak."""

LEAST_PEAK = 0.25
"""Sounds below -12 dB re full scale are not searched: in them a few equal samples may be the steps of the format."""


class PeakMeter:
    """Peak of a stream, and how many of its samples are cut off: three or more alike in a row at the peak.

    A wave turns round smoothly at its crest, even a slow one at the steps of 16 bits; a clipped one goes on level.
    """

    def __init__(self) -> None:
        self.peak = 0.0
        self.samples = self.clipped = 0

    def update(self, block: NDArray[np.float32]) -> None:
        """Take the next samples, ``(channels, n)``."""
        self.samples += block.size
        size = np.abs(block)
        peak = float(size.max(initial=0.0))
        if peak > self.peak:
            if FLAT * peak > self.peak:  # what stood flat so far lies below the new peak
                self.clipped = 0
            self.peak = peak
        if peak < max(FLAT * self.peak, LEAST_PEAK):
            return
        for channel, heights in zip(block, size, strict=True):
            self.clipped += _flat(channel, np.flatnonzero(heights >= FLAT * self.peak))

    @property
    def clipped_share(self) -> float:
        """Share of the samples that are cut off, 0..1."""
        return self.clipped / max(self.samples, 1)

    @property
    def peak_db(self) -> float:
        """The peak in dB re full scale; -inf for silence."""
        return 20 * math.log10(self.peak) if self.peak else -math.inf


def _flat(wave: NDArray[np.float32], high: NDArray[np.intp]) -> int:
    """Count the samples at ``high`` that belong to runs of three or more equal ones."""
    if len(high) < 3:
        return 0
    same = (np.diff(high) == 1) & (wave[high[1:]] == wave[high[:-1]])
    middle = same[1:] & same[:-1]  # between two equals
    member = np.zeros(len(high), dtype=bool)
    for offset in range(3):
        member[offset : len(high) - 2 + offset] |= middle
    return int(member.sum())
