"""Copy + EQ: the input with the long-term spectrum of the target domain, the best that an equaliser can do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from audiotrans import audio
from audiotrans.audio import Wave
from audiotrans.evaluation.metrics.spectral import power_spectrum
from audiotrans.evaluation.scoring.testset import RATE
from audiotrans.spectrogram.stft import STFT

Array = npt.NDArray[np.floating[Any]]

EQ_LIMIT_DB = 30.0
"""No bin is raised or lowered by more: empty bands hold noise alone."""

TRAINING_SECONDS = 20.0
MOST_FILES = 100


def folder_spectrum(folder: Path, limit: int | None = MOST_FILES) -> Array:
    """Return the mean power per bin over the beginnings of a folder's files; shape (1025,).

    Args:
        folder: sounds of one domain.
        limit: files read at most.
    """
    files = audio.find_audio([folder])[:limit]
    return mean_spectrum(audio.read(path, sample_rate=RATE, seconds=TRAINING_SECONDS)[0] for path in files)


def mean_spectrum(waves: Iterable[Wave]) -> Array:
    """Return the mean power per bin of waves (channels, samples), each counted once; shape (1025,)."""
    mean: Array = np.mean([power_spectrum(wave).mean(axis=1) for wave in waves], axis=0)
    return mean


def equalise(wave: Wave, target: Array) -> Wave:
    """Give a wave the long-term spectrum of a domain.

    Both spectra are smoothed over a third of an octave, so that the gain follows the timbre and not single notes.

    Args:
        wave: shape (channels, samples) at `RATE`.
        target: mean power per bin, shape (1025,).

    Returns:
        float32 of the wave's shape.
    """
    gain_db = 10 * np.log10(smooth(target) / smooth(power_spectrum(wave).mean(axis=1)))
    gain = torch.from_numpy(10 ** (np.clip(gain_db, -EQ_LIMIT_DB, EQ_LIMIT_DB) / 20)).float()
    stft = STFT()
    spectrum = stft.forward(torch.from_numpy(np.ascontiguousarray(wave)))
    equalised: Wave = stft.inverse(spectrum * gain[:, None], wave.shape[1]).numpy()
    return equalised


def smooth(power: Array) -> Array:
    """Average power over a third of an octave around each bin."""
    total = np.concatenate([[0.0], np.cumsum(power + 1e-12)])
    bins = np.arange(len(power))
    low = np.floor(bins * 2 ** (-1 / 6)).astype(int)
    high = np.minimum(np.ceil(bins * 2 ** (1 / 6)).astype(int) + 1, len(power))
    averaged: Array = (total[high] - total[low]) / (high - low)
    return averaged
