"""How loud a sound is, and how loud the music is around each frame.

Images are made relative to the level. With one level for a whole file a soft passage sinks below what a network knows:
20 dB under the rest, a phrase came out 13 dB softer still. So the level follows the music as a slow envelope does: it
rises ahead of what is loud, holds for a moment, and falls at a limited rate, so that a note that dies away is seen to
do so. A knock, an offset and rumble do not move it. Without torch: what measures sounds for an exported graph is this.
"""

from __future__ import annotations

import math
from array import array
from typing import cast

import numpy as np
from numpy.typing import NDArray

from audiotrans.errors import AudiotransError

Wave = NDArray[np.float32]
Levels = NDArray[np.float64]
Level = float | Levels
"""dB re full scale that an image is relative to: one number, or one for each frame."""

GATE_DB = 30.0
"""Frames this far below the loudest do not count for the level of a whole sound: pauses must not change it."""

LIMIT_DB = 400.0
"""Levels beyond this on either side of full scale are no sounds, and near the end of what float32 can square."""

LOWEST_HZ = 60.0
"""What lies below counts for nothing: offset, rumble, steps."""

MEDIAN_SECONDS = 0.17
"""A frame's power becomes the median of so much around it: a knock of 20 ms is 66 ms long in windows of 46."""

RISE_DB_PER_SECOND = 60.0
"""How fast the level rises ahead of something loud; a step too high for `AHEAD_SECONDS` is taken at once."""

AHEAD_SECONDS = 0.75
"""How far it looks ahead."""

HOLD_SECONDS = 0.3
"""How long it stays after something loud."""

FALL_DB_PER_SECOND = 40.0
"""How fast it falls after that, about as a piano's notes do."""

DEPTH_DB = 45.0
"""How far it follows below the loud parts: pauses and their noise stay low."""

LOUD_SHARE = 0.95
"""Share of the frames that are softer than the loud parts."""


MEDIANS_AT_ONCE = 8192


class LevelMeter:
    """Measure the level of a sound from blocks of any size: of the whole, and of the music around each frame.

    Args:
        n_fft: length of the frames that are measured, samples.
        hop_length: their distance, samples.
        sample_rate: Hz.
        most_frames: forget all but the last so many frames, so that memory has a bound; None keeps all.
    """

    def __init__(self, n_fft: int, hop_length: int, sample_rate: int, most_frames: int | None = None) -> None:
        self.n_fft, self.hop_length, self.most_frames = n_fft, hop_length, most_frames
        self.seconds_per_frame = hop_length / sample_rate
        self._window, self._lowest = _hop_by_hop(n_fft, hop_length, first_bin(n_fft, sample_rate))
        self._rest = np.zeros(0)
        self._held = np.zeros((1, n_fft // 2), np.float32)  # before the sound lies silence, as in `STFT.forward`
        # Plain numbers: small tensors kept between blocks would fragment the heap.
        self._hops, self._frames = array("d"), array("d")  # power of a hop's samples, and of an STFT frame
        self._samples = self._forgotten = 0

    def update(self, block: Wave) -> None:
        """Take the next samples, ``(channels, n)``."""
        block = np.asarray(block, np.float32)
        self._samples += block.shape[1]
        power = np.concatenate([self._rest, np.square(block, dtype=np.float64).mean(0)])
        whole = len(power) // self.hop_length * self.hop_length
        self._hops.extend(power[:whole].reshape(-1, self.hop_length).mean(1).tolist())
        self._rest = power[whole:].copy()
        held = np.broadcast_to(self._held, (block.shape[0], self._held.shape[1]))
        self._held = np.concatenate([held, block], axis=1)
        frames = (self._held.shape[1] - self.n_fft) // self.hop_length + 1
        if frames > 0:
            self._frames.extend(self._powers(self._held, frames))
            self._held = self._held[:, frames * self.hop_length :].copy()
        if self.most_frames is not None:
            del self._hops[: max(0, len(self._hops) - self.most_frames)]
            more = max(0, len(self._frames) - self.most_frames)
            del self._frames[:more]
            self._forgotten += more

    def _powers(self, wave: Wave, frames: int) -> list[float]:
        """Return the power of frames that begin ``hop_length`` apart, what lies below `LOWEST_HZ` left out.

        It is a frame's energy less that of its lowest bins (Parseval): a few products with each hop of samples, where
        the spectrum of a frame takes ten times as long. In float64, for rumble may be far louder than the music.
        """
        hops, used = len(self._window), (frames + len(self._window) - 1) * self.hop_length
        padded = np.pad(wave, ((0, 0), (0, max(0, used - wave.shape[1]))))[:, :used].astype(np.float64)
        cut = padded.reshape(-1, self.hop_length)
        squares = (np.square(cut) @ self._window.T).reshape(len(wave), -1, hops)
        products = (cut @ self._lowest).reshape(len(wave), squares.shape[1], hops, -1)
        energy = sum(squares[:, hop : hop + frames, hop] for hop in range(hops))
        low = sum(products[:, hop : hop + frames, hop] for hop in range(hops))
        # Nothing but an offset has no level: float32 holds nothing so far below it.
        power = np.maximum(energy - np.square(low).sum(-1), energy * 1e-13)
        found: list[float] = power.mean(0).tolist()
        return found

    def level_db(self) -> float:
        """Return the level of the whole in dB re full scale, the mean power of its loud hops; -inf for silence."""
        powers = np.append(np.array(self._hops), [self._rest.mean()] if len(self._rest) else [])
        if not len(powers) or powers.max() <= 0:
            return -math.inf
        loud = powers[~(powers < powers.max() * 10 ** (-GATE_DB / 10))]  # what is not a number stays so
        return float(10 * np.log10(loud.mean()))

    def levels_db(self, first: int = 0, frames: int | None = None) -> Levels:
        """Return the level of the music around each frame of `STFT.forward`, ``(frames,)``, dB re full scale.

        Args:
            first: the first frame that is asked for.
            frames: how many; None for all so far. Those that are forgotten, or not there yet, get their neighbour's.
        """
        known = followed(self._known(), self.seconds_per_frame)
        count = self._forgotten + len(known) - first if frames is None else frames
        return cast(Levels, level_of_frames(known, first - self._forgotten, count))

    def _known(self) -> Levels:
        """Return the power of every frame so far."""
        frames_in_all = 1 + -(-self._samples // self.hop_length)  # as `STFT.frames`; the end of the sound cuts some
        missing = frames_in_all - self._forgotten - len(self._frames)
        needed = (missing - 1) * self.hop_length + self.n_fft
        rest = np.pad(self._held, ((0, 0), (0, max(0, needed - self._held.shape[1]))))
        return np.append(np.array(self._frames), self._powers(rest, missing) if missing > 0 else [])


def first_bin(n_fft: int, sample_rate: int) -> int:
    """Return the first bin that counts, the lowest at or above `LOWEST_HZ`."""
    return math.ceil(LOWEST_HZ * n_fft / sample_rate)


def _hop_by_hop(n_fft: int, hop_length: int, bins: int) -> tuple[Levels, Levels]:
    """Return what gives the energy of Hann-windowed frames from the hops that they are made of.

    Args:
        n_fft: length of frames.
        hop_length: of hops.
        bins: how many of the lowest do not count.

    Returns:
        The squared window, ``(hops, hop_length)``, and cosines and sines of the lowest bins, windowed, ``(hop_length,
        hops * 2 * bins)``; scaled so that a frame's energy is its mean square.
    """
    hops = -(-n_fft // hop_length)
    window = (0.5 - 0.5 * np.cos(2 * np.pi / n_fft * np.arange(n_fft))) / math.sqrt(0.375 * n_fft)
    angle = 2 * np.pi / n_fft * np.outer(np.arange(bins), np.arange(n_fft))
    weight = np.sqrt(np.where(np.arange(bins) == 0, 1, 2) / n_fft)  # but for 0 Hz, bins come in pairs
    waves = np.concatenate([np.cos(angle), np.sin(angle)]) * np.tile(weight, 2)[:, None] * window
    rows = np.concatenate([np.square(window)[None], waves])
    cut = np.pad(rows, ((0, 0), (0, hops * hop_length - n_fft))).reshape(-1, hops, hop_length)
    return cut[0], np.ascontiguousarray(cut[1:].transpose(2, 1, 0).reshape(hop_length, -1))


def power_scale(n_fft: int) -> float:
    """Return what makes a sum of squares over half a Hann-windowed spectrum the mean square of its wave (Parseval)."""
    return 2 / (n_fft * 0.375 * n_fft)


def followed(power: Levels, seconds_per_frame: float) -> Levels:
    """Return the level of the music around each frame.

    Args:
        power: mean square of each frame, ``(frames,)``, at least 1.
        seconds_per_frame: between frames.

    Returns:
        dB in the unit of ``power``, ``(frames,)``.
    """
    level = _medians_db(power, seconds_per_frame)
    level = np.maximum(level, _loudness_db(level) - DEPTH_DB)
    rise, fall = RISE_DB_PER_SECOND * seconds_per_frame, FALL_DB_PER_SECOND * seconds_per_frame
    risen = level.copy()
    for step in range(1, min(max(1, round(AHEAD_SECONDS / seconds_per_frame)), len(level) - 1) + 1):
        risen[:-step] = np.maximum(risen[:-step], level[step:] - rise * step)
    hold = round(HOLD_SECONDS / seconds_per_frame)
    padded = np.pad(risen, (hold, 0), constant_values=-np.inf)
    held = np.lib.stride_tricks.sliding_window_view(padded, hold + 1).max(1)
    fallen = fall * np.arange(len(held))
    out: Levels = np.maximum.accumulate(held + fallen) - fallen
    return out


def _medians_db(power: Levels, seconds_per_frame: float) -> Levels:
    """Return the median power around each frame, dB."""
    half = max(1, round(MEDIAN_SECONDS / seconds_per_frame / 2))
    around = np.pad(power, half, mode="reflect" if len(power) > half else "edge")
    windows = np.lib.stride_tricks.sliding_window_view(around, 2 * half + 1)
    parts = range(0, len(windows), MEDIANS_AT_ONCE)  # of hours of sound, a copy of all windows is large
    medians = np.concatenate([np.median(windows[start : start + MEDIANS_AT_ONCE], axis=1) for start in parts])
    level: Levels = 10 * np.log10(np.maximum(medians, 10 ** (-LIMIT_DB / 10)))
    return level


def _loudness_db(level: Levels) -> float:
    return float(np.quantile(level, LOUD_SHARE))


def level_of_frames(level: Level, first: int, frames: int) -> Level:
    """Return the part of a sound's level that some of its frames need; beyond its ends the nearest goes on."""
    if not isinstance(level, np.ndarray):
        return level
    found: Levels = level[np.clip(np.arange(first, first + frames), 0, len(level) - 1)]
    return found


def check_level(level_db: float) -> None:
    """Refuse a level that no sound can have.

    Args:
        level_db: dB re full scale.

    Raises:
        AudiotransError: for silence, more than `LIMIT_DB`, or what is not a number.
    """
    if level_db < -LIMIT_DB:
        raise AudiotransError("the sound is silent: there is nothing to translate")
    if not level_db <= LIMIT_DB:  # also not a number
        raise AudiotransError(f"the sound's level is {level_db:g} dB re full scale: at most {LIMIT_DB:g} is possible")
