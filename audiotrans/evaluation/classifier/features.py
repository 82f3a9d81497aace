"""What the judge hears: windows of a sound as log-mel pictures whose level does not count."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from audiotrans.evaluation.metrics.spectral import band_matrix

Samples = npt.NDArray[np.float32]

SILENT_RMS = 1e-4
"""A window below this level (-80 dB re full scale) is silent."""

QUIET_DB = 40.0
"""A window this far below the loudest of its sound is a pause or a fading room: it says nothing of an instrument."""

_TINY_POWER = 1e-12
_DB_PER_UNIT = 15.0


@dataclass(frozen=True)
class FeatureSettings:
    """How sound becomes pictures.

    Attributes:
        sample_rate: Hz; what lies above half of it, where codecs cut off and microphones differ, is not heard.
        window_seconds: length of the sound that one verdict is about.
        hop_seconds: from one window to the next.
        n_fft: of the Hann-windowed transform, in samples.
        hop_length: from frame to frame, in samples.
        bands: mel-spaced bands from 30 Hz to half the sample rate.
        range_db: what lies further below the loudest point of a window is raised to that floor.
    """

    sample_rate: int = 16_000
    window_seconds: float = 1.5
    hop_seconds: float = 0.75
    n_fft: int = 1024
    hop_length: int = 256
    bands: int = 80
    range_db: float = 70.0

    @property
    def window(self) -> int:
        """Samples of a window."""
        return round(self.window_seconds * self.sample_rate)

    @property
    def hop(self) -> int:
        """Samples from one window to the next."""
        return round(self.hop_seconds * self.sample_rate)


def window_starts(samples: Samples, settings: FeatureSettings) -> list[int]:
    """Return where the windows of a mono sound begin that are not silent; the last one ends with the sound.

    Args:
        samples: shape (samples,), at the settings' rate; a sound shorter than a window has one, filled with silence.
        settings: see `FeatureSettings`.
    """
    last = max(len(samples) - settings.window, 0)
    starts = list(range(0, last + 1, settings.hop))
    if last - starts[-1] > settings.hop // 4:
        starts.append(last)
    levels = np.array([_rms(samples[start : start + settings.window]) for start in starts])
    least = max(SILENT_RMS, float(levels.max()) * 10.0 ** (-QUIET_DB / 20.0))
    return [start for start, level in zip(starts, levels, strict=True) if level >= least]


def cut(samples: Samples, start: int, length: int) -> Samples:
    """Return samples[start : start + length], filled up with silence."""
    piece = samples[start : start + length]
    return np.pad(piece, (0, length - len(piece))) if len(piece) < length else piece


def _rms(samples: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0


def decibels(waves: Tensor, settings: FeatureSettings) -> Tensor:
    """Return the power of mono windows (batch, samples) in mel bands, dB, shape (batch, bands, frames)."""
    spectra = torch.stft(
        waves, settings.n_fft, settings.hop_length, window=_hann(settings.n_fft), center=False, return_complex=True
    )
    bands = _bands(settings.sample_rate, settings.bands, settings.n_fft)
    return 10.0 * torch.log10(torch.clamp(bands @ spectra.abs().square(), min=_TINY_POWER))


def picture(levels: Tensor, settings: FeatureSettings) -> Tensor:
    """Turn dB (batch, bands, frames) into what the net sees: floored, free of level, about -3 to 3.

    A gain of the sound moves all dB alike and is gone after the mean is taken off.
    """
    loudest = levels.amax(dim=(1, 2), keepdim=True)
    floored = torch.maximum(levels, loudest - settings.range_db)
    return (floored - floored.mean(dim=(1, 2), keepdim=True)) / _DB_PER_UNIT


@lru_cache(maxsize=4)
def _hann(size: int) -> Tensor:
    return torch.hann_window(size)


@lru_cache(maxsize=4)
def _bands(sample_rate: int, bands: int, n_fft: int) -> Tensor:
    return torch.from_numpy(band_matrix(sample_rate, bands, n_fft)).float()
