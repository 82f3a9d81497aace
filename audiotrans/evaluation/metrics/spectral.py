"""Distances between spectra and between samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from audiotrans.errors import AudiotransError
from audiotrans.evaluation.wave_checks import Wave, mono, validate
from audiotrans.spectrogram.stft import STFT

Array = npt.NDArray[np.floating[Any]]

N_FFT = 2048
HOP_LENGTH = 512
RANGE_DB = 80.0
BANDS = 256
# Lossy codecs and the low-pass of most mastering leave little to trust above this frequency.
BAND_LIMIT_HZ = 12_000.0
# Keeps the logarithm of silence finite: -200 dB re full scale, far below any floor that is applied afterwards.
_TINY_POWER = 1e-20


def power_spectrum(wave: Wave, n_fft: int = N_FFT, hop_length: int = HOP_LENGTH) -> Array:
    """Return the power |STFT|^2 of the mono mix.

    Args:
        wave: shape (channels, samples).
        n_fft: length of the Hann window and of the transform, in samples.
        hop_length: in samples.

    Returns:
        Shape (n_fft // 2 + 1, frames).
    """
    samples = torch.from_numpy(mono(wave).astype(np.float32))
    power: Array = STFT(n_fft, hop_length).forward(samples).abs().square().double().numpy()
    return power


def log_spectral_distance(reference: Wave, estimate: Wave, sample_rate: int) -> float:
    """Compute the log-spectral distance of two sounds, bin by bin, in dB.

    With R and E the power spectra (Hann window of 2048 samples, hop 512) of the two mono mixes in dB, both raised to
    a floor 80 dB below the loudest bin of R: the root mean square of R - E over the bins of a frame, then the mean
    over the frames. Equal sounds give 0; a change of level by g dB gives at most |g|.

    Args:
        reference: shape (channels, samples).
        estimate: the same shape.
        sample_rate: Hz; only checked here, the bins are taken as they come.

    Raises:
        AudiotransError: where the waves cannot be compared or the reference is silent.
    """
    validate(reference, estimate, sample_rate)
    return _distance_db(power_spectrum(reference), power_spectrum(estimate))


def band_distance(reference: Wave, estimate: Wave, sample_rate: int) -> float:
    """Compute the `log_spectral_distance` on 256 mel-spaced bands up to 12 kHz instead of on bins, in dB.

    Half of the linear bins lie above 11 kHz, where lossy sources are empty or full of artefacts; bands weigh the
    spectrum as the ear does and leave that range out.

    Args:
        reference: shape (channels, samples).
        estimate: the same shape.
        sample_rate: Hz; places the bands.

    Raises:
        AudiotransError: where the waves cannot be compared or the reference is silent.
    """
    validate(reference, estimate, sample_rate)
    bands = band_matrix(sample_rate)
    return _distance_db(bands @ power_spectrum(reference), bands @ power_spectrum(estimate))


def _distance_db(reference_power: Array, estimate_power: Array) -> float:
    reference_db, estimate_db = floored_db(reference_power, estimate_power)
    return float(np.sqrt(np.mean((reference_db - estimate_db) ** 2, axis=0)).mean())


def floored_db(reference_power: Array, estimate_power: Array) -> tuple[Array, Array]:
    """Turn both powers into dB above the floor that the reference sets."""
    loudest = float(reference_power.max())
    if loudest <= _TINY_POWER:
        raise AudiotransError("the reference is silent, so a distance in dB has no floor to stand on")
    floor = 10.0 * math.log10(loudest) - RANGE_DB
    return np.maximum(_to_db(reference_power), floor), np.maximum(_to_db(estimate_power), floor)


def _to_db(power: Array) -> Array:
    decibels: Array = 10.0 * np.log10(np.maximum(power, _TINY_POWER))
    return decibels


def band_matrix(sample_rate: int, bands: int = BANDS, n_fft: int = N_FFT) -> Array:
    """Return triangular mel-spaced bands as weights over the bins, each row summing to 1 (a mean of power).

    Where the bands lie closer than the bins, a triangle is widened to one bin on each side of its centre, so that no
    band is empty.

    Args:
        sample_rate: Hz.
        bands: how many, from 30 Hz to 12 kHz or to the Nyquist frequency where that is lower.
        n_fft: of the power spectrum, in samples.

    Returns:
        Shape (bands, n_fft // 2 + 1).

    Source:
        The mel scale 2595 log10(1 + f / 700): O'Shaughnessy, Speech Communication, 1987.
    """
    centres = _mel_spaced(30.0, min(BAND_LIMIT_HZ, sample_rate / 2), bands + 2)
    bin_hz = sample_rate / n_fft
    left = np.maximum(centres[1:-1] - centres[:-2], bin_hz)[:, None]
    right = np.maximum(centres[2:] - centres[1:-1], bin_hz)[:, None]
    offset = np.arange(n_fft // 2 + 1) * bin_hz - centres[1:-1, None]
    weights = np.maximum(1.0 - np.where(offset < 0, -offset / left, offset / right), 0.0)
    normalised: Array = weights / weights.sum(axis=1, keepdims=True)
    return normalised


def _mel_spaced(low_hz: float, high_hz: float, count: int) -> Array:
    mel = np.linspace(math.log1p(low_hz / 700.0), math.log1p(high_hz / 700.0), count)
    hertz: Array = 700.0 * np.expm1(mel)
    return hertz


def multi_resolution_stft_distance(
    reference: Wave, estimate: Wave, sample_rate: int, sizes: Sequence[int] = (512, 1024, 2048)
) -> float:
    """Compute the multi-resolution STFT distance: spectral convergence plus mean absolute log-magnitude difference.

    With A and B the magnitudes at one window size, both raised to 80 dB below the loudest bin of A, the term is
    ||A - B|| / ||A|| (Frobenius) + mean |ln A - ln B|; the hop is a quarter of the window. No unit; 0 for equal sounds.

    Args:
        reference: shape (channels, samples).
        estimate: the same shape.
        sample_rate: Hz; only checked.
        sizes: windows in samples.

    Raises:
        AudiotransError: where the waves cannot be compared or the reference is silent.

    Source:
        Yamamoto, Song and Kim, Parallel WaveGAN, ICASSP 2020, equations (4) to (6).
    """
    validate(reference, estimate, sample_rate)
    terms = []
    for size in sizes:
        first, second = floored_db(
            power_spectrum(reference, size, size // 4), power_spectrum(estimate, size, size // 4)
        )
        log_difference = np.abs(first - second).mean() * math.log(10.0) / 20.0
        first, second = 10.0 ** (first / 20.0), 10.0 ** (second / 20.0)
        terms.append(np.linalg.norm(first - second) / np.linalg.norm(first) + log_difference)
    return float(np.mean(terms))


def snr_db(reference: Wave, estimate: Wave) -> float:
    """Compute the signal-to-noise ratio: energy of the reference over that of the difference, all channels, in dB.

    Returns:
        Infinity where the two are equal.

    Raises:
        AudiotransError: where the waves cannot be compared or the reference is silent.
    """
    validate(reference, estimate)
    signal = float(np.sum(np.square(reference, dtype=np.float64)))
    if signal == 0.0:
        raise AudiotransError("the reference is silent, so there is no signal to compare the noise with")
    noise = float(np.sum(np.square(reference.astype(np.float64) - estimate)))
    return math.inf if noise == 0.0 else 10.0 * math.log10(signal / noise)
