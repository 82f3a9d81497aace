"""What is changed of crops at random, so that a network cannot tell the domains by level, dither, key or microphone."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import cast

import numpy as np
import torch
from torch import Tensor

from audiotrans.recipe import Recipe
from audiotrans.spectrogram.imaging import AudioImaging, AudioSettings
from audiotrans.training.data import stream

CURVE_WAVES = 4
"""Half waves over the rows of the finest part of a random equaliser's curve."""


def augment(images: Tensor, recipe: Recipe, seed: int, domain: str, step: int) -> Tensor:
    """Transpose crops, change their level and dither them, as the recipe says.

    Args:
        images: ``(n, c, rows, frames)`` in [-1, 1].
        recipe: for ``train.transpose``, ``train.gain_db`` and ``train.dither``.
        seed: of the draw.
        domain: ``a`` or ``b``.
        step: position in the run.

    Returns:
        The same shape, in [-1, 1].
    """
    settings = recipe.train
    if settings.transpose:
        imaging = cast(AudioSettings, recipe.imaging)  # the recipe refuses anything else
        pitches = torch.rand(len(images), generator=stream(seed, "transpose", domain, step)) * 2 - 1
        moved = [
            transpose(image, float(pitch) * settings.transpose, imaging)
            for image, pitch in zip(images, pitches, strict=True)
        ]
        images = torch.stack(moved)
    generator = stream(seed, "augment", domain, step)
    if settings.gain_db:
        # All logarithmic images span 100 dB over [-1, 1].
        gain = (torch.rand(len(images), 1, 1, 1, generator=generator) * 2 - 1) * settings.gain_db / 50
        images = images + gain
    if settings.dither:
        images = images + settings.dither * torch.randn(images.shape, generator=generator)
    return images.clamp(-1, 1)


def equalise(images: Tensor, recipe: Recipe, seed: int, domain: str, step: int) -> Tensor:
    """Colour crops as another microphone, place or record would: each by a smooth curve of gains of its own.

    Args:
        images: logarithmic, ``(n, c, rows, frames)`` in [-1, 1].
        recipe: for ``train.equalise_db``, the most that any curve lifts or lowers a row by.
        seed: of the draw.
        domain: ``a`` or ``b``.
        step: position in the run.

    Returns:
        The same shape, in [-1, 1].
    """
    generator = stream(seed, "equalise", domain, step)
    waves = torch.arange(1, CURVE_WAVES + 1)
    heights = torch.randn(len(images), CURVE_WAVES, generator=generator) / waves  # the first is a tilt, the widest
    places = (torch.arange(images.shape[2]) + 0.5) / images.shape[2]
    curves = heights @ torch.cos(math.pi * waves[:, None] * places)
    most = torch.rand(len(images), 1, generator=generator) * recipe.train.equalise_db / 50
    curves = curves / curves.abs().amax(1, keepdim=True) * most
    return (images + curves[:, None, :, None]).clamp(-1, 1)


def transpose(image: Tensor, semitones: float, imaging: AudioSettings) -> Tensor:
    """Move a logarithmic image's frequencies by a factor, as a tape at another speed does; its time stays.

    Args:
        image: ``(c, rows, frames)``.
        semitones: up, or down where negative.
        imaging: that made it: it knows where the rows lie.

    Returns:
        The same shape. Between rows decibels are interpolated; above the highest row of the input is what it holds.
    """
    bins = _row_bins(imaging)
    places = np.interp(bins / 2 ** (semitones / 12), bins, np.arange(len(bins)))
    below = torch.from_numpy(np.minimum(places.astype(np.int64), len(bins) - 2))
    share = torch.from_numpy(places).to(image) - below.to(image)
    return torch.lerp(image[:, below], image[:, below + 1], share[:, None])


@lru_cache(maxsize=4)
def _row_bins(imaging: AudioSettings) -> np.ndarray:
    return AudioImaging(imaging).representation.row_bins()
