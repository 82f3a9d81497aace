"""Vibrato: what a violinist's finger adds to a note that lasts, and no picture of a piano holds.

The pitch of every partial of a translation is the source's, so a piano's notes would come out as straight as its
strings. Here the finished wave is read a little ahead of time and a little behind in turn, as a delay line does: all
partials swing together, by the same number of cents, as on a string. A note begins straight. The swing comes in while
it lasts and is gone at the next attack, which is told from the wave itself: where the level of many bands rises.

Nothing depends on how the wave is cut into blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from audiotrans.audio import Wave

RATE_HZ = 5.6
"""Swings per second, about what string players do (5 to 6); it wanders by `WANDER`."""

WANDER = ((0.031, 0.041), (0.019, 0.113))
"""Share of the rate that it wanders by, and the frequency of that in Hz, twice: nobody is a clock."""

WAIT_SECONDS = 0.12
"""A note is straight for so long, less `_STEPS_AHEAD` steps; then the swing comes in over `RISE_SECONDS`."""

RISE_SECONDS = 0.22
FALL_SECONDS = 0.04
"""How fast an attack ends the swing."""

CALM_DB, ATTACK_DB = 1.8, 3.2
"""Mean rise over bands within `_BACK` steps that is nothing but noise, and one that is an attack for certain."""

_STEP_SECONDS = 0.0116
_BACK = 3
_BANDS = 40
_RANGE_DB = 50.0
"""Bands further below the loudest one so far count as silent."""

_STEPS_AHEAD = 4
"""So much earlier than it can be told, an attack counts: the swing must be over when it comes."""

_GUARD = 48
"""Samples on each side that the interpolating splines are computed from, beyond what is read."""


class Vibrato:
    """Takes a wave block by block and gives it with vibrato.

    Args:
        sample_rate: Hz.
        channels: of the wave; all swing alike.
        cents: how far the pitch swings to each side.
        seed: where the swing begins; the same seed gives the same samples.
    """

    def __init__(self, sample_rate: int, channels: int, cents: float, seed: int = 0) -> None:
        self._rate = sample_rate
        self._starts = np.random.default_rng(seed).uniform(0, 2 * math.pi, 1 + len(WANDER))
        # A delay of d sin(2 pi f t) shifts the pitch by the share 2 pi f d.
        self._depth = (2 ** (cents / 1200) - 1) / (2 * math.pi * RATE_HZ) * sample_rate
        self._margin = math.ceil(self._depth) + _GUARD
        self._steadiness = Steadiness(sample_rate, channels)
        self._segment = 2 * self._steadiness.step
        self._ahead = max(self._margin, _STEPS_AHEAD * self._steadiness.step)  # samples held beyond a segment
        self._held = np.zeros((channels, self._margin), np.float32)  # from sample _at - _margin on
        self._at = 0

    @property
    def delay_samples(self) -> int:
        """After n samples were taken, at least so many fewer have been given."""
        return self._segment - 1 + self._ahead

    def through(self, blocks: Iterable[Wave]) -> Iterator[Wave]:
        """Yield a whole wave's blocks, ``(channels, n)`` each, with vibrato; in all as many samples."""
        for block in blocks:
            yield self.push(block)
        yield self.finish()

    def push(self, block: Wave) -> Wave:
        """Take the next samples ``(channels, n)``; give what is ready, ``(channels, m)``."""
        self._held = np.concatenate([self._held, block], axis=1)
        out = []
        size = self._margin + self._segment + self._ahead
        while self._held.shape[1] >= size:
            out.append(self._swing(self._held[:, :size]))
            self._held = self._held[:, self._segment :]
            self._at += self._segment
        return np.concatenate(out, axis=1) if out else np.zeros((len(block), 0), np.float32)

    def finish(self) -> Wave:
        """Give the rest: in all, as many samples as were taken."""
        left = self._held.shape[1] - self._margin
        silence = np.zeros((len(self._held), -left % self._segment + self._ahead), np.float32)
        return self.push(silence)[:, :left]

    def _swing(self, piece: Wave) -> Wave:
        """Give the samples between the margins of a piece."""
        from scipy.ndimage import map_coordinates

        early = _STEPS_AHEAD * self._steadiness.step
        if not self._at:
            self._steadiness.push(piece[:, self._margin : self._margin + early])
        heard = self._margin + early
        share = self._steadiness.push(piece[:, heard : heard + self._segment])
        time = (self._at + np.arange(self._segment)) / self._rate
        places = self._margin + np.arange(self._segment) + self._depth * share * np.sin(self._phase(time))
        swung = [map_coordinates(channel, places[None], np.float32, order=5, mode="mirror") for channel in piece]
        out: Wave = np.stack(swung)
        return out

    def _phase(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the angle of the swing: the integral of a rate that wanders."""
        phase: NDArray[np.float64] = 2 * math.pi * RATE_HZ * seconds + self._starts[0]
        for (share, hertz), start in zip(WANDER, self._starts[1:], strict=True):
            phase += share * RATE_HZ / hertz * np.sin(2 * math.pi * hertz * seconds + start)
        return phase


class Steadiness:
    """How far a note has settled at every sample: 0 at its attack and in silence, 1 once it has lasted.

    Args:
        sample_rate: Hz.
        channels: of the wave.

    Attributes:
        step: samples from one look at the spectrum to the next; it sees the past alone.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self.step = 1 << round(math.log2(_STEP_SECONDS * sample_rate))
        self._seconds = self.step / sample_rate
        self._bands = _band_edges(2 * self.step, sample_rate)
        self._window = np.hanning(2 * self.step).astype(np.float32)
        self._past = np.zeros((0, len(self._bands) - 1))
        self._loudest = 0.0
        self._heard = np.zeros((channels, 2 * self.step), np.float32)
        self._lasted = self._share = 0.0

    def push(self, block: Wave) -> NDArray[np.float64]:
        """Take samples, a multiple of the step; return their steadiness in [0, 1], which runs one step behind."""
        parts = []
        for start in range(0, block.shape[1], self.step):
            before = self._share
            self._advance(block[:, start : start + self.step])
            parts.append(before + (self._share - before) * np.arange(self.step) / self.step)
        steadiness: NDArray[np.float64] = np.concatenate(parts)
        return steadiness

    def _advance(self, samples: Wave) -> None:
        self._heard = np.concatenate([self._heard[:, self.step :], samples], axis=1)
        rise = self._rise()
        calm = 0.0 if rise is None else min(max((ATTACK_DB - rise) / (ATTACK_DB - CALM_DB), 0.0), 1.0)
        self._lasted = (self._lasted + self._seconds) * calm
        wanted = min(max((self._lasted - WAIT_SECONDS) / RISE_SECONDS, 0.0), 1.0)
        wanted = wanted * wanted * (3 - 2 * wanted)
        self._share = max(wanted, self._share - self._seconds / FALL_SECONDS)

    def _rise(self) -> float | None:
        """Return by how many dB the level of the bands has risen on average, a fall being no rise; None of silence."""
        spectra = torch.fft.rfft(torch.from_numpy(self._heard * self._window))  # scipy's takes long to import
        power = spectra.abs().square().sum(0).numpy()
        bands = np.add.reduceat(power, self._bands[:-1])[: len(self._bands) - 1]
        self._loudest = max(self._loudest, float(bands.max()))
        if bands.max() <= self._loudest * 10 ** (-_RANGE_DB / 10):
            self._past = self._past[:0]
            return None
        level = 10 * np.log10(bands / self._loudest + 10 ** (-_RANGE_DB / 10))
        self._past = np.concatenate([self._past, level[None]])[-_BACK - 1 :]
        return float(np.maximum(level - self._past[0], 0).mean())


def _band_edges(size: int, sample_rate: int) -> NDArray[np.intp]:
    """Return the first bins of bands of equal ratio from 150 Hz to 8 kHz, and the end of the last."""
    hertz = np.geomspace(150, min(8000, sample_rate / 2), _BANDS + 1)
    return np.unique(np.round(hertz * size / sample_rate).astype(np.intp))
