"""Phases from magnitudes alone: fast Griffin-Lim, PGHI, and PGHI refined by fast Griffin-Lim.

What runs where: PGHI and the start of every method run on the CPU, one bin after the other. The iterations run on the
CPU in float32 (`iterations`) or, for tensors on another device, there, all channels at once (`batched`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from audiotrans.spectrogram.phase.batched import iterate_batched
from audiotrans.spectrogram.phase.gradients import integrated_phase
from audiotrans.spectrogram.phase.iterations import iterate
from audiotrans.spectrogram.phase.planes import Planes, planes, spectrum_like
from audiotrans.spectrogram.phase.task import PhaseTask

if TYPE_CHECKING:
    from audiotrans.spectrogram.phase.kernels import Floats

    Guess = Callable[[Floats, Floats | None, int], Floats]
    """Magnitudes and angles ``(channels, frames, bins)``, seed -> what to add to the angles, ``(frames, bins)``."""

REFINEMENTS = 10
"""Iterations after PGHI. More win little on exact magnitudes and cost on magnitudes that no wave has."""

GRIFFIN_LIM_ITERATIONS = 32
"""What torchaudio and librosa users get by default."""


def pghi(task: PhaseTask) -> Tensor:
    """Integrate the phase gradients that the magnitudes hold (`gradients`); no iterations.

    Several channels keep the source's phase differences between them; each bin follows the gradients of its loudest
    channel. Where the magnitudes of mid and side are known, those two are integrated instead, each alone.
    """
    return _estimate(task, _integrated(task), 0)


def pghi_refined(task: PhaseTask) -> Tensor:
    """Refine `pghi` by `REFINEMENTS` fast Griffin-Lim iterations; stereo jointly with mid and side."""
    return _estimate(task, _integrated(task), REFINEMENTS)


def fast_griffin_lim(task: PhaseTask) -> Tensor:
    """Iterate from random phases (`iterations`), `GRIFFIN_LIM_ITERATIONS` times; stereo jointly with mid and side."""

    def at_random(magnitude: Floats, angle: Floats | None, seed: int) -> Floats:
        drawn = np.random.default_rng(seed).random(magnitude.shape[1:], np.float32)
        return (drawn - np.float32(0.5)) * np.float32(2 * np.pi)

    return _estimate(task, at_random, GRIFFIN_LIM_ITERATIONS)


def _integrated(task: PhaseTask) -> Guess:
    return lambda magnitude, angle, seed: integrated_phase(magnitude, angle, task.stft, seed=seed)


def _estimate(task: PhaseTask, guess: Guess, iterations: int) -> Tensor:
    laid = planes(task)
    if not laid.magnitude.any():
        return torch.polar(task.magnitude, torch.zeros_like(task.magnitude))
    spectrum = _start(laid, guess, task.seed)
    if iterations:
        mid_side = laid.mid_side
        if mid_side is None and laid.angle is not None and len(laid.angle) == 2:
            mid_side = _derived_mid_side(laid.magnitude, laid.angle)
        if task.magnitude.device.type == "cpu":
            iterate(spectrum, laid.magnitude, mid_side, task.stft, iterations)
        else:
            spectrum = iterate_batched(spectrum, laid.magnitude, mid_side, task.stft, iterations, task.magnitude.device)
    return spectrum_like(spectrum, task.magnitude)


def _start(laid: Planes, guess: Guess, seed: int) -> Floats:
    """Return the spectrum before any iteration, ``(channels, frames, 2 bins)``."""
    from audiotrans.spectrogram.phase.channel_kernels import turn
    from audiotrans.spectrogram.phase.iteration_kernels import impose
    from audiotrans.spectrogram.phase.kernels import polar

    channels, frames, bins = laid.magnitude.shape
    spectrum = np.empty((channels, frames, 2 * bins), np.float32)
    if laid.mid_side is not None:
        for number, magnitude in enumerate(laid.mid_side):
            polar(magnitude, guess(magnitude[None], None, seed + number), spectrum[number])
        return np.stack([spectrum[0] + spectrum[1], spectrum[0] - spectrum[1]])
    phase = guess(laid.magnitude, laid.angle, seed)
    if laid.angle is None:
        polar(laid.magnitude[0], phase, spectrum[0])
    else:
        turn(phase, laid.angle, spectrum)
        impose(laid.magnitude, 0, spectrum)
    return spectrum


def _derived_mid_side(magnitude: Floats, angle: Floats) -> Floats:
    """Derive the magnitudes of mid and side from the source's phase differences between left and right.

    With the cosine c of the difference, ``4 |M|^2 = L^2 + R^2 + 2 L R c`` and ``4 |S|^2 = L^2 + R^2 - 2 L R c``:
    exact where the source's differences hold, and the gain of left and right where both have the same.
    """
    from audiotrans.spectrogram.phase.channel_kernels import mid_side_magnitude

    made = np.empty_like(magnitude)
    mid_side_magnitude(magnitude, angle, made)
    return made
