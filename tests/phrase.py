"""A short phrase for the tests of phase reconstruction, and the task of giving it its phases back."""

from __future__ import annotations

import torch
from torch import Tensor

from audiotrans.spectrogram.phase import PhaseTask
from audiotrans.spectrogram.stft import STFT

SAMPLE_RATE = 44_100


def phrase(channels: int = 1, notes: int = 4) -> Tensor:
    """Play damped notes of twelve partials one after another, 0.4 s each, ``(channels, samples)``.

    The channels differ in the partials' phases and levels, as two microphones at some distance do.
    """
    at = torch.arange(int(SAMPLE_RATE * 0.4 * notes), dtype=torch.float64) / SAMPLE_RATE
    wave = torch.zeros(channels, len(at), dtype=torch.float64)
    for number, midi in enumerate((57, 64, 61, 69)[:notes]):
        time = at - 0.4 * number
        envelope = (-3 * time).exp() * (time / 0.01).clamp(0, 1) * ((0.42 - time) / 0.03).clamp(0, 1)
        for partial in range(1, 13):
            turns = 440 * 2 ** ((midi - 69) / 12) * partial * time
            for channel in range(channels):
                level = (1 - 0.12 * (channel * (number + partial) % 5)) * 0.3 / partial
                wave[channel] += level * envelope * (2 * torch.pi * turns + 0.7 * channel * partial).sin()
    return wave.float()


def task_of(wave: Tensor, stft: STFT, **changes: object) -> PhaseTask:
    """Return the task of finding a wave's phases, its own spectrum as the source unless changed."""
    spectrum = stft.forward(wave)
    return PhaseTask(**{"magnitude": spectrum.abs(), "source": spectrum, "generated": None, "stft": stft} | changes)
