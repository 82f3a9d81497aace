"""Vibrato added to a wave and vibrato removed from one, block by block.

A translation keeps the pitch of every partial of its source. So a piano's notes would become a violin's without
vibrato, and a violinist's vibrato would stay in a piano's notes. `Vibrato` mends the first after translation,
`VibratoRemover` the second before it. Neither depends on how the wave is cut into blocks.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audiotrans.audio import Wave
from audiotrans.spectrogram.fft import irfft, rfft

Bins = NDArray[np.float64]
Index = NDArray[np.intp]


class _Blockwise(ABC):
    """Takes a wave ``(channels, samples)`` block by block, and gives it changed and later."""

    @abstractmethod
    def push(self, block: Wave) -> Wave: ...

    @abstractmethod
    def finish(self) -> Wave: ...

    def through(self, blocks: Iterable[Wave]) -> Iterator[Wave]:
        """Yield a whole wave's blocks, ``(channels, n)`` each, changed; in all as many samples."""
        for block in blocks:
            yield self.push(block)
        yield self.finish()


RATE_HZ = 5.6
"""Vibrato rate, about what string players do (5 to 6); it wanders by `WANDER`."""

WANDER = ((0.031, 0.041), (0.019, 0.113))
"""Share of the rate that it wanders by, and the frequency of that in Hz, twice: nobody is a clock."""

WAIT_SECONDS = 0.12
"""A note has none for so long, less `_STEPS_AHEAD` steps; then the extent rises over `RISE_SECONDS`."""

RISE_SECONDS = 0.22
FALL_SECONDS = 0.04
"""How fast an attack ends the vibrato."""

CALM_DB, ATTACK_DB = 1.8, 3.2
"""Mean rise over bands within `_BACK` steps that is noise at most, and one that is an attack for certain."""

_STEP_SECONDS = 0.0116
_BACK = 3
_BANDS = 40
_BANDS_RANGE_DB = 50.0
"""Bands further below the loudest one so far count as silent."""

_STEPS_AHEAD = 4
"""So much earlier than it is found, an attack counts: the vibrato must be over when it comes."""

_GUARD = 48
"""Samples on each side that the interpolating splines are computed from, beyond what is read."""


class Vibrato(_Blockwise):
    """Adds vibrato to lasting notes.

    The finished wave is read a little ahead of time and a little behind in turn, as a delay line does: the pitch of all
    partials moves together, by the same number of cents, as on a string. A note begins without vibrato, which comes in
    while the note lasts and is gone at the next attack. Attacks are found in the wave itself: where the level of many
    bands rises.

    Args:
        sample_rate: Hz.
        channels: of the wave; all move alike.
        cents: vibrato extent: how far the pitch moves to each side.
        seed: of the phase that the vibrato begins with; the same seed gives the same samples.
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

    def push(self, block: Wave) -> Wave:
        """Take the next samples ``(channels, n)``; give what is ready, ``(channels, m)``."""
        self._held = np.concatenate([self._held, block], axis=1)
        out = []
        size = self._margin + self._segment + self._ahead
        while self._held.shape[1] >= size:
            out.append(self._moved(self._held[:, :size]))
            self._held = self._held[:, self._segment :]
            self._at += self._segment
        return np.concatenate(out, axis=1) if out else np.zeros((len(block), 0), np.float32)

    def finish(self) -> Wave:
        """Give the rest: in all, as many samples as were taken."""
        left = self._held.shape[1] - self._margin
        silence = np.zeros((len(self._held), -left % self._segment + self._ahead), np.float32)
        return self.push(silence)[:, :left]

    def _moved(self, piece: Wave) -> Wave:
        """Return the samples between the margins of a piece, with vibrato."""
        from scipy.ndimage import map_coordinates

        early = _STEPS_AHEAD * self._steadiness.step
        if not self._at:
            self._steadiness.push(piece[:, self._margin : self._margin + early])
        start = self._margin + early
        share = self._steadiness.push(piece[:, start : start + self._segment])
        time = (self._at + np.arange(self._segment)) / self._rate
        places = self._margin + np.arange(self._segment) + self._depth * share * np.sin(self._phase(time))
        moved = [map_coordinates(channel, places[None], np.float32, order=5, mode="mirror") for channel in piece]
        out: Wave = np.stack(moved)
        return out

    def _phase(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the phase of the vibrato: the integral of a rate that wanders."""
        phase: NDArray[np.float64] = 2 * math.pi * RATE_HZ * seconds + self._starts[0]
        for (share, hertz), start in zip(WANDER, self._starts[1:], strict=True):
            phase += share * RATE_HZ / hertz * np.sin(2 * math.pi * hertz * seconds + start)
        return phase


class Steadiness:
    """Measures how far a note has settled at every sample: 0 at its attack and in silence, 1 once it has lasted.

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
        self._recent = np.zeros((channels, 2 * self.step), np.float32)
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
        self._recent = np.concatenate([self._recent[:, self.step :], samples], axis=1)
        rise = self._rise()
        calm = 0.0 if rise is None else min(max((ATTACK_DB - rise) / (ATTACK_DB - CALM_DB), 0.0), 1.0)
        self._lasted = (self._lasted + self._seconds) * calm
        wanted = min(max((self._lasted - WAIT_SECONDS) / RISE_SECONDS, 0.0), 1.0)
        wanted = wanted * wanted * (3 - 2 * wanted)
        self._share = max(wanted, self._share - self._seconds / FALL_SECONDS)

    def _rise(self) -> float | None:
        """Return by how many dB the level of the bands has risen on average, a fall counted as 0; None for silence."""
        power = np.square(np.abs(rfft(self._recent * self._window))).sum(0)
        bands = np.add.reduceat(power, self._bands[:-1])[: len(self._bands) - 1]
        self._loudest = max(self._loudest, float(bands.max()))
        if bands.max() <= self._loudest * 10 ** (-_BANDS_RANGE_DB / 10):
            self._past = self._past[:0]
            return None
        level = 10 * np.log10(bands / self._loudest + 10 ** (-_BANDS_RANGE_DB / 10))
        self._past = np.concatenate([self._past, level[None]])[-_BACK - 1 :]
        return float(np.maximum(level - self._past[0], 0).mean())


def _band_edges(size: int, sample_rate: int) -> NDArray[np.intp]:
    """Return the first bins of bands of equal ratio from 150 Hz to 8 kHz, and the end of the last."""
    hertz = np.geomspace(150, min(8000, sample_rate / 2), _BANDS + 1)
    return np.unique(np.round(hertz * size / sample_rate).astype(np.intp))


WINDOW_SECONDS = 0.046
"""Of the Hann window, to the next power of two: short against a period of vibrato, long enough to separate partials."""

MEAN_SECONDS = 0.24
"""Half the length of the Hann-weighted mean that a partial is moved to; vibrato of 4 Hz and more is gone from it."""

LEAST_SECONDS = 0.14
"""Partials that are shorter stay as they are."""

HIGHEST_HZ = 3000.0
MOST_CENTS = 45.0
"""No partial is moved further: what goes further is another note."""

LINK_CENTS, LINK_BINS = 45.0, 0.35
"""Peaks of neighbouring frames are one partial if no further apart than the larger of these."""

JUMP_CENTS = 60.0
"""A partial that moves so far within three frames has become another note, and is followed anew from there."""

_CHUNK = 64
"""Frames worked on at a time."""

_HOPS = 4
"""Frames in the length of a window."""

_PEAK_RANGE_DB, _PEAK_FLOOR_DB = 45.0, 60.0
"""Peaks further below the loudest of their frame, or of the whole wave so far, do not count."""

_REACH = 8
"""Bins on each side of a peak that move with it, at most."""

_LOW_BIN = 4
_APART = 2.0**13
"""More than the bins of a frame: keys of peaks in order of frame and frequency."""


class VibratoRemover(_Blockwise):
    """Removes the vibrato of every partial.

    Partials are followed through short-time spectra, each for itself, since the notes of a chord have vibrato of their
    own. Where a partial lasts, it is moved to the mean of its own pitch over twice `MEAN_SECONDS`: its bins by a
    fraction of a bin, its phase by what that adds up to, which stays continuous. All channels move alike. Attacks and
    noise, which are not lasting partials, keep their magnitudes; their phases stay turned as the partial before left
    them, until there is a rest. What lies above `HIGHEST_HZ` stays.

    Source: instantaneous frequencies by reassignment, Auger and Flandrin 1995; peaks moved with their surroundings,
    Laroche and Dolson 1999.

    Args:
        sample_rate: Hz.
        channels: of the wave.
        share: of the vibrato's extent that is removed, 0 to 1.
    """

    def __init__(self, sample_rate: int, channels: int, share: float = 1.0) -> None:
        self._size = 1 << round(math.log2(WINDOW_SECONDS * sample_rate))
        self._hop = self._size // _HOPS
        hops_per_second = sample_rate / self._hop
        self._follower = _Follower(
            reach=round(MEAN_SECONDS * hops_per_second), least=round(LEAST_SECONDS * hops_per_second), share=share
        )
        self._bins = min(math.ceil(HIGHEST_HZ / sample_rate * self._size), self._size // 2 - _REACH)
        angle = 2 * np.pi * np.arange(self._size) / self._size
        self._window = (0.5 - 0.5 * np.cos(angle)).astype(np.float32)
        self._slope = (np.pi / self._size * np.sin(angle)).astype(np.float32)
        # Frame 0 is centred one hop before the first sample, so that every sample has all its frames.
        self._held = np.zeros((channels, self._size // 2 + self._hop), np.float32)
        frames = self._follower.past + _CHUNK + self._follower.reach
        self._spectra = np.zeros((channels, frames, self._size // 2 + 1), np.complex64)
        self._power = np.zeros((frames, self._bins + _REACH))
        self._places = np.zeros((frames, self._bins + _REACH))
        self._floor = np.full(frames, np.inf)
        self._loudest = 0.0
        self._turn = np.zeros(self._bins + _REACH)  # of each bin's phase, so far
        self._moved = np.zeros(self._bins + _REACH)
        self._sum = np.zeros((channels, self._size - self._hop), np.float32)  # what later frames add to
        self._skip = self._follower.reach * self._hop + self._hop + self._size // 2  # given before the first sample
        self._taken = self._given = 0

    @property
    def delay_samples(self) -> int:
        """After n samples were taken, at least so many fewer have been given."""
        return (_CHUNK + self._follower.reach) * self._hop + self._size - 1

    def push(self, block: Wave) -> Wave:
        """Take the next samples ``(channels, n)``; give what is ready, ``(channels, m)``."""
        self._taken += block.shape[1]
        return self._advance(block)

    def finish(self) -> Wave:
        """Give the rest: in all, as many samples as were taken."""
        silence = np.zeros((len(self._held), self.delay_samples + 1), np.float32)
        return self._advance(silence)[:, : self._taken - self._given]

    def _advance(self, block: Wave) -> Wave:
        self._held = np.concatenate([self._held, block], axis=1)
        out = [np.zeros((len(block), 0), np.float32)]
        size = (_CHUNK - 1) * self._hop + self._size
        while self._held.shape[1] >= size:
            self._analyse(self._held[:, :size])
            self._held = self._held[:, _CHUNK * self._hop :]
            wave = self._joined(self._moved_frames())
            out.append(wave[:, self._skip :])
            self._skip = max(0, self._skip - wave.shape[1])
        given = np.concatenate(out, axis=1)
        self._given += given.shape[1]
        return given

    def _analyse(self, wave: Wave) -> None:
        """Append a chunk of frames, and forget as many."""
        frames = np.lib.stride_tricks.sliding_window_view(wave, self._size, axis=1)[:, :: self._hop]
        # Centred, so that phases change smoothly from bin to bin of a partial.
        spectra, slopes = (_spectra(frames, w) for w in (self._window, self._slope))
        count = self._power.shape[1]
        low, turned = spectra[..., :count], slopes[..., :count]
        power = np.square(np.abs(low)).sum(axis=0, dtype=np.float64)
        shift = (turned * low.conj()).imag.sum(axis=0, dtype=np.float64) / np.maximum(power, 1e-30)
        loudest = np.maximum.accumulate(np.maximum(power.max(axis=1), self._loudest))
        self._loudest = float(loudest[-1])
        floor = np.maximum(power.max(axis=1) * 10 ** (-_PEAK_RANGE_DB / 10), loudest * 10 ** (-_PEAK_FLOOR_DB / 10))
        self._spectra = np.concatenate([self._spectra[:, _CHUNK:], spectra], axis=1)
        self._power = np.concatenate([self._power[_CHUNK:], power])
        self._places = np.concatenate([self._places[_CHUNK:], np.arange(count) - shift * self._size / (2 * np.pi)])
        self._floor = np.concatenate([self._floor[_CHUNK:], floor])

    def _moved_frames(self) -> NDArray[np.complex64]:
        """Return the spectra of the chunk that has its future, moved: ``(channels, frames, bins)``."""
        first = self._follower.past
        chunk = slice(first, first + _CHUNK)
        spectra = self._spectra[:, chunk].copy()
        peaks = self._follower.follow(self._power, self._places, self._floor, self._bins).within(chunk)
        moves, turns = self._turned(peaks, self._power[chunk], self._floor[chunk])
        if moves.any() or turns.any():
            low = spectra[..., : moves.shape[1]]
            spectra[..., : moves.shape[1]] = shifted(low, moves) * np.exp(1j * turns)
        return spectra

    def _turned(self, peaks: Peaks, power: Bins, floor: Bins) -> tuple[Bins, Bins]:
        """Return by how many bins each bin of a chunk moves and how far its phase is turned: ``(frames, bins)`` each.

        Bins without a partial keep what their phases were turned by, so that none jumps, until they are silent: an
        attack after a rest has all its phases in place.
        """
        owner = regions(power, peaks.frames, peaks.bins)
        owned = owner >= 0
        moves = np.where(owned, np.append(peaks.moves, 0.0)[owner], 0.0)
        peak = np.append(peaks.bins, 0)[owner]  # the bin whose phases each bin follows
        silent = (moves == 0) & (power < floor[:, None])
        turns = np.empty_like(moves)
        for frame, at in enumerate(peak):
            turn = self._turn[at] - np.pi / _HOPS * (moves[frame] + self._moved[at])
            self._turn = np.where(owned[frame], np.remainder(turn, 2 * np.pi), self._turn)
            self._turn[silent[frame]] = 0
            self._moved, turns[frame] = moves[frame], self._turn
        return moves, turns

    def _joined(self, spectra: NDArray[np.complex64]) -> Wave:
        """Overlap and add a chunk of frames; give the samples that no later frame adds to."""
        waves = irfft(spectra, self._size)
        hops = (waves * np.fft.ifftshift(self._window * (2 / 3))).reshape(len(waves), _CHUNK, _HOPS, self._hop)
        total = np.zeros((len(waves), _CHUNK + _HOPS - 1, self._hop), np.float32)
        total[:, : _HOPS - 1] = self._sum.reshape(len(waves), _HOPS - 1, self._hop)
        for hop in reversed(range(_HOPS)):  # the earliest frame first
            total[:, hop : hop + _CHUNK] += hops[:, :, (hop + _HOPS // 2) % _HOPS]
        joined: Wave = total.reshape(len(waves), -1)
        self._sum = joined[:, _CHUNK * self._hop :]
        return joined[:, : _CHUNK * self._hop]


def _spectra(frames: Wave, window: Wave) -> NDArray[np.complex64]:
    """Return spectra of windowed frames ``(..., samples)``, phases counted from their centres."""
    half = len(window) // 2
    turned = np.empty(frames.shape, np.float32)  # each frame's second half first
    np.multiply(frames[..., half:], window[half:], out=turned[..., :half])
    np.multiply(frames[..., :half], window[:half], out=turned[..., half:])
    return rfft(turned)


@dataclass(frozen=True)
class Peaks:
    """Peaks of some frames, in order of frame and frequency; arrays of one length.

    Attributes:
        frames: that they are in.
        bins: that they are at.
        moves: bins by which they are to go down.
    """

    frames: Index
    bins: Index
    moves: Bins

    def within(self, frames: slice) -> Peaks:
        """Return the peaks of a stretch of frames, which are counted from its first one."""
        first, stop = np.searchsorted(self.frames, [frames.start, frames.stop])
        return Peaks(self.frames[first:stop] - frames.start, self.bins[first:stop], self.moves[first:stop])


class _Follower:
    """Finds partials and how far each is from its own mean pitch.

    Args:
        reach: frames on each side that the mean is taken of.
        least: frames that a partial must last.
        share: of the distance that is to go.
    """

    def __init__(self, reach: int, least: int, share: float) -> None:
        self.reach, self._least, self._share = reach, least, share
        self._weights = 0.5 + 0.5 * np.cos(np.pi * np.arange(reach + 1) / (reach + 1))

    @property
    def past(self) -> int:
        """Frames before one that its moves depend on: those of the mean, and what decides whether they are linked."""
        return self.reach + 4

    def follow(self, power: Bins, places: Bins, floor: Bins, bins: int) -> Peaks:
        """Find the peaks of some frames and their moves.

        Args:
            power: ``(frames, bins)``.
            places: instantaneous frequency of each, in bins; the same shape.
            floor: least power of a peak, ``(frames,)``.
            bins: to look at; at most those that there are, less two.
        """
        frames, at = _peaks(power, places, floor, bins)
        place = places[frames, at]
        back, ahead = _links(frames, place)
        pitch = 1200 * np.log2(place)
        total, weight, count = pitch.copy(), np.ones(len(pitch)), np.ones(len(pitch), np.intp)
        for link in (back, ahead):
            there = np.append(link, len(link))  # one past the last stands for none, and leads to itself
            values, one = np.append(pitch, 0.0), np.append(np.ones(len(pitch)), 0.0)
            step = np.arange(len(pitch))
            for share in self._weights[1:]:
                step = there[step]
                total += share * values[step]
                weight += share * one[step]
                count += step < len(pitch)
        away = np.clip(pitch - total / weight, -MOST_CENTS, MOST_CENTS) * self._share
        away[count < self._least] = 0
        return Peaks(frames, at, place - place * 2 ** (-away / 1200))


def _peaks(power: Bins, places: Bins, floor: Bins, bins: int) -> tuple[Index, Index]:
    """Return frame and bin of the largest values within two bins, above the floor, whose frequency is near."""
    middle = power[:, _LOW_BIN:bins]
    found = middle > floor[:, None]
    for distance in (1, 2):
        found &= middle >= power[:, _LOW_BIN - distance : bins - distance]
        found &= middle > power[:, _LOW_BIN + distance : bins + distance]
    found &= np.abs(places[:, _LOW_BIN:bins] - np.arange(_LOW_BIN, bins)) < 1
    frames, at = np.nonzero(found)
    return frames, at + _LOW_BIN


def _links(frames: Index, place: Bins) -> tuple[Index, Index]:
    """Return for each peak that of the frame before and after that continues it; their number stands for no peak."""
    count = len(frames)
    nearest = [_nearest(frames, place, frames + step) for step in (-1, 1)]
    back, ahead = (np.append(link, count) for link in nearest)
    own = np.arange(count)
    back[:count][ahead[back[:count]] != own] = count  # each must be the other's nearest
    values = np.append(place, np.nan)
    before = values[back[:count]]
    far = (np.abs(_cents(place, before)) > LINK_CENTS) & (np.abs(place - before) > LINK_BINS)
    jump = np.abs(_cents(place, values[back[back[back[:count]]]])) > JUMP_CENTS  # never where one is missing
    back[:count][far | jump] = count
    ahead[:] = count
    linked = back[:count] < count
    ahead[back[:count][linked]] = own[linked]
    return back[:count], ahead[:count]


def _nearest(frames: Index, place: Bins, wanted: Index) -> Index:
    """Return for each peak the one nearest in frequency among those of another frame; their number stands for none."""
    count = len(frames)
    keys = np.concatenate([frames * _APART + place, [np.inf]])
    target = wanted * _APART + place
    after = np.searchsorted(keys[:count], target)
    before = np.maximum(after - 1, 0)
    found = np.where(np.abs(keys[after] - target) < np.abs(keys[before] - target), after, before)
    there = np.append(frames, -9)
    return np.where(there[found] == wanted, found, count)


def _cents(first: Bins, second: Bins) -> Bins:
    distance: Bins = 1200 * np.log2(first / second)
    return distance


def regions(power: Bins, frames: Index, bins: Index) -> Index:
    """Return to which peak each bin belongs, -1 where to no one: each has those to the next valleys, at most `_REACH`.

    Args:
        power: ``(frames, bins)``.
        frames: of the peaks, ascending.
        bins: of the peaks, ascending in each frame.

    Returns:
        Numbers of peaks, ``(frames, bins)``.
    """
    neighbours = np.flatnonzero(np.diff(frames) == 0)
    valleys = _valleys(power, frames[neighbours], bins[neighbours], bins[neighbours + 1])
    first, stop = np.maximum(bins - _REACH, 0), np.minimum(bins + _REACH + 1, power.shape[1])
    stop[neighbours] = np.minimum(stop[neighbours], valleys)
    first[neighbours + 1] = np.maximum(first[neighbours + 1], valleys)
    owner = np.full(power.shape, -1, np.intp)
    peak, at = _spans(first, stop)
    owner[frames[peak], at] = peak
    return owner


def _valleys(power: Bins, frames: Index, first: Index, stop: Index) -> Index:
    """Return the bin of the least power, the first of several, in each of some non-empty spans of bins."""
    if not len(frames):
        return np.zeros(0, np.intp)
    span, at = _spans(first, stop)
    values = power[frames[span], at]
    least = np.minimum.reduceat(values, np.searchsorted(span, np.arange(len(frames))))
    found = np.flatnonzero(values == least[span])
    valleys: Index = at[found[np.searchsorted(span[found], np.arange(len(frames)))]]
    return valleys


def _spans(first: Index, stop: Index) -> tuple[Index, Index]:
    """Return all places from each ``first`` to before its ``stop``, in turn: the numbers of the spans, the places."""
    lengths = stop - first
    span = np.repeat(np.arange(len(first)), lengths)
    return span, np.arange(len(span)) - np.repeat(np.cumsum(lengths) - lengths - first, lengths)


def shifted(spectra: NDArray[np.complex64], moves: Bins) -> NDArray[np.complex64]:
    """Move bins down by fractions of a bin: cubic interpolation between those of a centred window's spectrum.

    Args:
        spectra: ``(channels, frames, bins)``.
        moves: ``(frames, bins)``: each bin takes what lies so far above it.
    """
    frames, bins = np.nonzero(moves)
    places = bins + moves[frames, bins]
    below = np.clip(np.floor(places).astype(np.intp), 1, spectra.shape[-1] - 3)
    u = (places - below).astype(np.float32)
    weights = (
        -u * (u - 1) * (u - 2) / 6,
        (u + 1) * (u - 1) * (u - 2) / 2,
        -(u + 1) * u * (u - 2) / 2,
        (u + 1) * u * (u - 1) / 6,
    )
    parts = [weight * spectra[:, frames, below + i - 1] for i, weight in enumerate(weights)]
    out = spectra.copy()
    out[:, frames, bins] = parts[0] + parts[1] + parts[2] + parts[3]
    return out
