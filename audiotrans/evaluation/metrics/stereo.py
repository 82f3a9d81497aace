"""Metrics of the stereo image: coherence of the two channels and their difference of level, band by band.

With L and R the spectra (Hann window of 2048 samples, hop 512) of the two channels, and sums over the bins of one
band b and the frames of one block,

    E_L = sum |L|^2 + e      E_R = sum |R|^2 + e      e = 1e-8 times the largest sum |L|^2 + |R|^2 of the reference
    coherence        c(b) = Re sum L conj(R) / sqrt(E_L E_R)                 within -1 and 1
    level difference d(b) = 10 log10(E_L / E_R)                              in dB, positive where the left is louder

The coherence is the correlation of the channels in that band: 1 for one source in the middle, -1 where a fold-down to
mono cancels, 0 for channels that have nothing to do with each other or where one is silent (the e decides). Its real
part and not its magnitude, since channels whose phases drifted apart keep the magnitude in every band with a single
partial, and lose the image all the same.

The bands are two ERB wide on the ERB-rate scale of Glasberg and Moore, 21 of them from 0 Hz to 20.8 kHz, as in binaural
cue coding; those that begin above half the sample rate do not exist there.

Source:
    The cues and the bands of two ERB: Faller and Baumgarte, Binaural cue coding, part II, IEEE Transactions on Speech
    and Audio Processing 11, 2003. The scale: Glasberg and Moore, Hearing Research 47, 1990.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from audiotrans.errors import AudiotransError
from audiotrans.evaluation.metrics.spectral import HOP_LENGTH, N_FFT
from audiotrans.evaluation.wave_checks import Wave, validate, validate_wave
from audiotrans.spectrogram.stft import STFT

Array = npt.NDArray[np.floating[Any]]

BANDS = 21
BAND_ERB = 2.0
# Bands whose energy lies further below the loudest band's are room and codec noise, whose image is inaudible.
RANGE_DB = 60.0
_SMALL = 1e-8


@dataclass(frozen=True)
class StereoImage:
    """Cues of a sound of two channels; all of shape (bands, blocks).

    Attributes:
        coherence: correlation of the channels, -1 to 1.
        level_difference_db: left over right, dB.
        energy: of both channels, sum of |STFT|^2.
    """

    coherence: Array
    level_difference_db: Array
    energy: Array


def band_edges_hz(bands: int = BANDS) -> Array:
    """Return the edges of the bands in Hz, shape (bands + 1,), from 21.4 log10(1 + 0.00437 f) ERB = 0, 2, 4..."""
    edges: Array = (10.0 ** (BAND_ERB * np.arange(bands + 1) / 21.4) - 1.0) / 0.00437
    return edges


def stereo_image(
    wave: Wave, sample_rate: int, *, block_seconds: float | None = None, loudest: float | None = None
) -> StereoImage:
    """Compute coherence and level difference of a sound, as the head of this module defines them.

    Args:
        wave: shape (2, samples).
        sample_rate: Hz; places the bands.
        block_seconds: length of the blocks; None takes the whole sound as one.
        loudest: largest energy of the reference, for its e; None takes the sound's own.

    Raises:
        AudiotransError: where the wave does not have two channels, is empty or is not finite.
    """
    validate_wave(wave)
    if wave.shape[0] != 2:
        raise AudiotransError(f"the wave has shape {wave.shape}; a stereo image needs two channels")
    left, right, cross = _sums(wave, sample_rate, block_seconds)
    energy = left + right
    # Silence has no cues: the smallest float keeps 0 / 0 away and makes both of them 0.
    small = max(_SMALL * (float(energy.max()) if loudest is None else loudest), float(np.finfo(np.float64).tiny))
    coherence = cross / (np.sqrt(left + small) * np.sqrt(right + small))
    return StereoImage(coherence, 10.0 * np.log10((left + small) / (right + small)), energy)


def stereo_coherence_error(
    reference: Wave, estimate: Wave, sample_rate: int, *, block_seconds: float | None = None
) -> float:
    """Compute the stereo coherence error: the mean of |c' - c| over the bands.

    Bands more than 60 dB below the reference's loudest are left out. With blocks, those of a band count by their
    energy in the reference.

    Args:
        reference: shape (channels, samples).
        estimate: the same shape.
        sample_rate: Hz.
        block_seconds: None compares the whole sounds; 0.2, about what the ear integrates a place over, also sees an
            image that is right on average and wanders.

    Returns:
        0 for the same image, 2 at most; nan where the sounds do not have two channels, since there is no image.

    Raises:
        AudiotransError: where the waves cannot be compared or the reference is silent.
    """
    images = _images(reference, estimate, sample_rate, block_seconds)
    if images is None:
        return math.nan
    return _mean_error(images[0].coherence, images[1].coherence, images[0].energy)


def level_difference_error_db(
    reference: Wave, estimate: Wave, sample_rate: int, *, block_seconds: float | None = None
) -> float:
    """Compute the error of the left-right level difference: the mean of |d' - d| over the bands, in dB.

    Args:
        reference: shape (channels, samples).
        estimate: the same shape.
        sample_rate: Hz.
        block_seconds: as in `stereo_coherence_error`.

    Returns:
        Decibels, 0 for the same image; nan where the sounds do not have two channels.

    Raises:
        AudiotransError: where the waves cannot be compared or the reference is silent.
    """
    images = _images(reference, estimate, sample_rate, block_seconds)
    if images is None:
        return math.nan
    return _mean_error(images[0].level_difference_db, images[1].level_difference_db, images[0].energy)


def _images(
    reference: Wave, estimate: Wave, sample_rate: int, block_seconds: float | None
) -> tuple[StereoImage, StereoImage] | None:
    validate(reference, estimate, sample_rate)
    if reference.shape[0] != 2:
        return None
    first = stereo_image(reference, sample_rate, block_seconds=block_seconds)
    loudest = float(first.energy.max())
    if loudest <= 0.0:
        raise AudiotransError("the reference is silent, so it has no stereo image to compare with")
    # The estimate gets the reference's e: an image of nothing but rounding must not count as a wide one.
    return first, stereo_image(estimate, sample_rate, block_seconds=block_seconds, loudest=loudest)


def _sums(wave: Wave, sample_rate: int, block_seconds: float | None) -> tuple[Array, Array, Array]:
    """Return the band and block sums of |L|^2, |R|^2 and Re L conj(R), each of shape (bands, blocks)."""
    samples = torch.from_numpy(np.asarray(wave, dtype=np.float64))
    left, right = STFT(N_FFT, HOP_LENGTH).forward(samples).numpy()
    frames = left.shape[1]
    block = frames if block_seconds is None else max(1, round(block_seconds * sample_rate / HOP_LENGTH))
    hertz = np.arange(left.shape[0]) * sample_rate / N_FFT
    first = np.searchsorted(hertz, band_edges_hz())
    # What the last band leaves over, and bands beyond half the sample rate, take part in no sum.
    used = int(np.sum(first[:-1] < len(hertz)))
    stop = min(int(first[used]), len(hertz))

    def total(power: Array) -> Array:
        bands = np.add.reduceat(power[:stop], first[:used], axis=0)
        summed: Array = np.add.reduceat(bands, np.arange(0, frames, block), axis=1)
        return summed

    return total(np.abs(left) ** 2), total(np.abs(right) ** 2), total((left * right.conj()).real)


def _mean_error(reference: Array, estimate: Array, energy: Array) -> float:
    by_band = energy.sum(axis=1)
    audible = by_band > by_band.max() * 10.0 ** (-RANGE_DB / 10.0)
    weights = energy[audible] / by_band[audible, None]
    return float(np.mean(np.sum(weights * np.abs(estimate - reference)[audible], axis=1)))
