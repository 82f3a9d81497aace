"""What training windows are put through, so that room, equaliser, codec, level and pitch are no cue of the domain."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from audiotrans.evaluation.classifier.features import FeatureSettings

Samples = npt.NDArray[np.float32]
Spectrum = npt.NDArray[np.complex64]
Array = npt.NDArray[np.floating[Any]]

PITCH_SEMITONES = 3.0
"""A window is played faster or slower by up to this much."""

EQ_DB = 12.0
"""Height of a random smooth equaliser."""

LEAD_SECONDS = 0.4
"""Sound before a window that is heard in its reverberation and then cut off."""

_EQ_BUMPS = 7

# Gains are drawn at these frequencies and joined by lines: all that a band of a mel picture can tell.
_KNOTS_HZ = np.geomspace(40.0, 8000.0, 64)


def source_length(settings: FeatureSettings, rng: np.random.Generator) -> int:
    """Draw how many samples of a recording a window and its lead are made of: more make it higher and faster."""
    from scipy import fft

    stretched = _whole(settings) * 2.0 ** (rng.uniform(-PITCH_SEMITONES, PITCH_SEMITONES) / 12.0)
    return int(fft.next_fast_len(round(stretched), real=True))


def _whole(settings: FeatureSettings) -> int:
    """Return the samples of a window and its lead, of a length that the Fourier transform likes."""
    from scipy import fft

    return int(fft.next_fast_len(settings.window + round(LEAD_SECONDS * settings.sample_rate), real=True))


def disturb(samples: Samples, settings: FeatureSettings, rng: np.random.Generator) -> Samples:
    """Change pitch, room, equalisation, bandwidth and noise of a piece of sound.

    All of it is done on one spectrum: resampling there is exact, and costs no more than cutting it off.

    Args:
        samples: mono, of any length; see `source_length`.
        settings: see `FeatureSettings`.
        rng: what decides.

    Returns:
        One window, shape (settings.window,).
    """
    from scipy import fft

    whole = _whole(settings)
    spectrum = fft.rfft(samples)
    if rng.random() < 0.5:
        spectrum *= _room(len(samples), settings, rng)
    # What lies above half the sample rate after the change of length is cut off, or is not there.
    spectrum = np.pad(spectrum[: whole // 2 + 1], (0, max(whole // 2 + 1 - len(spectrum), 0)))
    knots = _KNOTS_HZ * (settings.sample_rate / 16_000)
    hertz = np.linspace(0.0, settings.sample_rate / 2, whole // 2 + 1, dtype=np.float32)
    level = float(np.sqrt(np.mean(np.square(samples)))) + 1e-9
    spectrum *= np.interp(hertz, knots, _gains(knots, rng)).astype(np.float32)
    spectrum += _noise(hertz, knots, level * len(samples), rng)
    changed = fft.irfft(spectrum, whole) * np.float32(whole / len(samples))
    window: Samples = changed[-settings.window :].astype(np.float32)
    if rng.random() < 0.1:  # as a short sound is filled up
        window[int(rng.uniform(0.3, 1.0) * len(window)) :] = 0.0
    return window


def _gains(knots: Array, rng: np.random.Generator) -> Array:
    """Draw the gain of an equaliser, a tilt and bumps of up to 12 dB either way, and of band limits at some knots."""
    position = np.linspace(-1.0, 1.0, len(knots))
    bumps = np.interp(position, np.linspace(-1.0, 1.0, _EQ_BUMPS), rng.normal(0.0, EQ_DB / 3.0, _EQ_BUMPS))
    gain: Array = np.power(10.0, np.clip(rng.uniform(-EQ_DB, EQ_DB) * position + bumps, -EQ_DB, EQ_DB) / 20.0)
    if rng.random() < 0.3:
        gain /= 1.0 + (knots / rng.uniform(2500.0, 7500.0)) ** 16
    if rng.random() < 0.3:
        gain /= 1.0 + (rng.uniform(40.0, 250.0) / knots) ** 4
    return gain


def _room(length: int, settings: FeatureSettings, rng: np.random.Generator) -> Spectrum:
    """Draw a response of direct sound and decaying noise: RT60 0.1 to 0.8 s, its energy 5 to 20 dB below the direct."""
    from scipy import fft

    seconds = rng.uniform(0.1, 0.8)
    count = min(length, round(seconds * settings.sample_rate))
    fall = np.exp(np.linspace(0.0, -math.log(1000.0), count, dtype=np.float32))
    tail = rng.standard_normal(count, dtype=np.float32) * fall
    tail *= np.float32(10.0 ** (-rng.uniform(5.0, 20.0) / 20.0) / np.linalg.norm(tail))
    tail[0] += 1.0
    response: Spectrum = fft.rfft(tail, length)
    return response


def _noise(hertz: Array, knots: Array, level: float, rng: np.random.Generator) -> Spectrum:
    """Draw hiss between white and brown, 15 to 60 dB below the sound; ``level`` is its level times its length."""
    slope = np.interp(hertz, knots, knots ** -rng.uniform(0.0, 1.0)).astype(np.float32)
    drawn = rng.standard_normal((len(hertz), 2), dtype=np.float32).view(np.complex64)[:, 0] * slope
    # Parseval: the sum of |N|^2 over both halves of the spectrum is (level * length)^2.
    scale = level * 10.0 ** (-rng.uniform(15.0, 60.0) / 20.0) / (math.sqrt(2.0) * float(np.linalg.norm(drawn)))
    noise: Spectrum = drawn * np.float32(scale)
    return noise


def exchange_spectra(levels: Tensor, rng: np.random.Generator) -> Tensor:
    """Give half of the windows the long-term spectrum of another window, of any domain, wholly or in part.

    What an equaliser can copy from the other domain is thus seen on both sides and says nothing; what is left to go by
    is how the sound moves: attacks, decays, vibrato, noise between partials.

    Args:
        levels: dB, shape (batch, bands, frames); not changed.
        rng: what decides.
    """
    means = 10.0 * torch.log10(torch.pow(10.0, levels / 10.0).mean(dim=2, keepdim=True))
    donors = torch.from_numpy(rng.permutation(len(levels)))
    amounts = rng.uniform(0.3, 1.2, len(levels)) * (rng.random(len(levels)) < 0.5)
    return levels + torch.from_numpy(amounts).float()[:, None, None] * (means[donors] - means)


def mask(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """Blank out up to 12 bands and 12 frames of each picture (batch, bands, frames).

    Source:
        Park et al., SpecAugment, Interspeech 2019.
    """
    masked = pictures.clone()
    for picture in masked:
        for axis in (0, 1):
            size = int(rng.integers(0, 13))
            start = int(rng.integers(0, max(picture.shape[axis] - size, 1)))
            picture.narrow(axis, start, min(size, picture.shape[axis])).zero_()
    return masked
