"""Wave <-> spectrum, with an exact inverse for every length, and how loud the music is around each frame.

Images are made relative to the level. With one level for a whole file a soft passage sinks below what a network knows:
20 dB under the rest, a phrase came out 13 dB softer still. So the level follows the music as a slow envelope does: it
rises ahead of what is loud, holds for a moment, and falls at a limited rate, so that a note that dies away is seen to
do so. A knock, an offset and rumble do not move it.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiotrans.errors import AudiotransError


@dataclass(frozen=True)
class STFT:
    """Hann-windowed STFT whose two directions share their settings.

    Frame ``k`` is centred on sample ``k * hop_length``; the wave is taken as zero outside its ends.

    Args:
        n_fft: frame length and FFT size in samples, even.
        hop_length: distance of frames in samples, at most ``n_fft // 2`` so that every sample is covered twice.
    """

    n_fft: int = 2048
    hop_length: int = 512

    def __post_init__(self) -> None:
        if self.n_fft < 4 or self.n_fft % 2:
            raise ValueError(f"n_fft {self.n_fft} must be even and at least 4")
        if not 1 <= self.hop_length <= self.n_fft // 2:
            raise ValueError(f"hop_length {self.hop_length} must lie in 1..{self.n_fft // 2} (n_fft // 2)")

    @property
    def bins(self) -> int:
        """Number of frequency bins, ``n_fft // 2 + 1``."""
        return self.n_fft // 2 + 1

    def frames(self, samples: int) -> int:
        """Number of frames of a wave of ``samples`` samples: ``1 + ceil(samples / hop_length)``."""
        return 1 + -(-samples // self.hop_length)

    def window(self, like: Tensor | None = None) -> Tensor:
        """Return the periodic Hann window, ``(n_fft,)``, real, on the device of ``like``."""
        if like is None:
            return torch.hann_window(self.n_fft)
        real = like.real.dtype if like.is_complex() else like.dtype
        return torch.hann_window(self.n_fft, dtype=real, device=like.device)

    def forward(self, wave: Tensor) -> Tensor:
        """Transform a wave.

        Args:
            wave: real, ``(..., samples)``; any length, also zero.

        Returns:
            Complex spectrum ``(..., n_fft // 2 + 1, 1 + ceil(samples / hop_length))``, unscaled: a sine of
            amplitude 1 at a bin's centre has magnitude ``n_fft / 4``.
        """
        samples = wave.shape[-1]
        right = (self.frames(samples) - 1) * self.hop_length - samples + self.n_fft // 2
        padded = torch.nn.functional.pad(wave, (self.n_fft // 2, right))
        flat = padded.reshape(-1, padded.shape[-1])
        spectrum = torch.stft(
            flat, self.n_fft, self.hop_length, window=self.window(wave), center=False, return_complex=True
        )
        return spectrum.reshape(*wave.shape[:-1], *spectrum.shape[-2:])

    def inverse(self, spectrum: Tensor, length: int) -> Tensor:
        """Return the least-squares wave of a spectrum (Griffin and Lim 1984, eq. 6).

        Args:
            spectrum: complex, ``(..., n_fft // 2 + 1, frames)``.
            length: samples wanted, at most ``(frames - 1) * hop_length``.

        Returns:
            Real wave ``(..., length)``.

        Raises:
            ValueError: if more samples are asked for than the frames hold.
        """
        if length > (spectrum.shape[-1] - 1) * self.hop_length:
            raise ValueError(f"{spectrum.shape[-1]} frames hold fewer than {length} samples")
        if length == 0:
            return spectrum.real.new_zeros(*spectrum.shape[:-2], 0)
        flat = spectrum.reshape(-1, *spectrum.shape[-2:])
        wave = torch.istft(flat, self.n_fft, self.hop_length, window=self.window(spectrum), center=True, length=length)
        return wave.reshape(*spectrum.shape[:-2], length)

    def inconsistency_db(self, spectrum: Tensor) -> float:
        """Measure how far a spectrum is from being the STFT of any wave.

        Args:
            spectrum: complex, ``(..., n_fft // 2 + 1, frames)``.

        Returns:
            ``20 log10(|| |STFT(ISTFT(X))| - |X| || / ||X||)`` in dB; -inf for silence, very low for a real STFT.
        """
        magnitude = spectrum.abs()
        again = self.forward(self.inverse(spectrum, (spectrum.shape[-1] - 1) * self.hop_length)).abs()
        error, total = (again - magnitude).norm(), magnitude.norm()
        return float(20 * torch.log10(error / total)) if error > 0 and total > 0 else float("-inf")


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
"""How far it follows below the loud parts (95 % of all frames are softer): pauses and their noise stay low."""


class LevelMeter:
    """Measure the level of a sound from blocks of any size: of the whole, and of the music around each frame.

    Args:
        stft: whose frames are measured.
        sample_rate: Hz.
        most_frames: forget all but the last so many frames, so that memory has a bound; None keeps all.
    """

    def __init__(self, stft: STFT, sample_rate: int, most_frames: int | None = None) -> None:
        self.stft, self.most_frames = stft, most_frames
        self.seconds_per_frame = stft.hop_length / sample_rate
        self._first_bin = math.ceil(LOWEST_HZ * stft.n_fft / sample_rate)
        # Parseval: the mean square of a wave from the power of half its spectrum, windowed.
        self._scale = 2 / (stft.n_fft * float(stft.window(torch.zeros(0, dtype=torch.float64)).square().sum()))
        self._rest = torch.zeros(0, dtype=torch.float64)
        self._held = torch.zeros(1, stft.n_fft // 2)  # before the sound lies silence, as in `STFT.forward`
        # Plain numbers: small tensors kept between blocks would fragment the heap.
        self._hops, self._frames = array("d"), array("d")  # power of a hop's samples, and of an STFT frame
        self._samples = self._forgotten = 0

    def update(self, block: Tensor) -> None:
        """Take the next samples, ``(channels, n)``."""
        block = block.float().cpu()
        self._samples += block.shape[1]
        power = torch.cat([self._rest, block.double().square().mean(0)])
        whole = len(power) // self.stft.hop_length * self.stft.hop_length
        self._hops.extend(power[:whole].reshape(-1, self.stft.hop_length).mean(1).tolist())
        self._rest = power[whole:].clone()
        self._held = torch.cat([self._held.expand(block.shape[0], -1), block], dim=1)
        frames = (self._held.shape[1] - self.stft.n_fft) // self.stft.hop_length + 1
        if frames > 0:
            self._frames.extend(self._powers(self._held, frames))
            self._held = self._held[:, frames * self.stft.hop_length :].clone()
        if self.most_frames is not None:
            del self._hops[: max(0, len(self._hops) - self.most_frames)]
            more = max(0, len(self._frames) - self.most_frames)
            del self._frames[:more]
            self._forgotten += more

    def _powers(self, wave: Tensor, frames: int) -> list[float]:
        """Return the power of frames that begin ``hop_length`` apart, what lies below `LOWEST_HZ` left out."""
        cut = wave.unfold(1, self.stft.n_fft, self.stft.hop_length)[:, :frames]
        spectrum = torch.fft.rfft(cut * self.stft.window(wave))[..., self._first_bin :]
        power = torch.view_as_real(spectrum).double().square().sum((-2, -1)).mean(0)
        found: list[float] = (power * self._scale).tolist()
        return found

    def level_db(self) -> float:
        """Return the level of the whole in dB re full scale, the mean power of its loud hops; -inf for silence."""
        last = [float(self._rest.mean())] if len(self._rest) else []
        powers = torch.tensor([*self._hops, *last], dtype=torch.float64)
        if not len(powers) or powers.max() <= 0:
            return -math.inf
        loud = powers[powers >= powers.max() * 10 ** (-GATE_DB / 10)]
        return float(10 * torch.log10(loud.mean()))

    def levels_db(self, first: int = 0, frames: int | None = None) -> Levels:
        """Return the level of the music around each frame of `STFT.forward`, ``(frames,)``, dB re full scale.

        Args:
            first: the first frame that is asked for.
            frames: how many; None for all so far. Those that are forgotten, or not there yet, get their neighbour's.
        """
        missing = (
            self.stft.frames(self._samples) - self._forgotten - len(self._frames)
        )  # the end of the sound cuts them
        needed = (missing - 1) * self.stft.hop_length + self.stft.n_fft
        rest = torch.nn.functional.pad(self._held, (0, max(0, needed - self._held.shape[1])))
        powers = np.asarray([*self._frames, *(self._powers(rest, missing) if missing > 0 else [])], dtype=np.float64)
        known = followed(powers, self.seconds_per_frame)
        count = self._forgotten + len(known) - first if frames is None else frames
        return cast(Levels, level_of_frames(known, first - self._forgotten, count))


def followed(power: Levels, seconds_per_frame: float) -> Levels:
    """Return the level of the music around each frame.

    Args:
        power: mean square of each frame, ``(frames,)``, at least 1.
        seconds_per_frame: between frames.

    Returns:
        dB in the unit of ``power``, ``(frames,)``.
    """
    half = max(1, round(MEDIAN_SECONDS / seconds_per_frame / 2))
    around = np.pad(power, half, mode="reflect" if len(power) > half else "edge")
    medians = np.median(np.lib.stride_tricks.sliding_window_view(around, 2 * half + 1), axis=1)
    level = 10 * np.log10(np.maximum(medians, 10 ** (-LIMIT_DB / 10)))
    level = np.maximum(level, np.quantile(level, 0.95) - DEPTH_DB)
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
