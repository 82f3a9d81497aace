"""Phase methods: each maps a `PhaseTask` to a complex spectrum ``(channels, bins, frames)`` of its magnitudes.

What runs where: PGHI and the start of every estimate run on the CPU, one bin after the other, in loops that numba
compiles. Iterations run on the CPU in float32 too or, for tensors on another device, there, all channels at once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiotrans.errors import UsageError, names_extras
from audiotrans.spectrogram.phase.griffin_lim import iterate, iterate_batched
from audiotrans.spectrogram.phase.pghi import integrated_phase
from audiotrans.spectrogram.phase.rtpghi import rtpghi
from audiotrans.spectrogram.phase.task import (
    Floats,
    PhaseTask,
    Planes,
    common,
    direction,
    planes,
    power_of_two,
    spectrum_like,
)

Guess = Callable[[Floats, Floats | None, int], Floats]
"""Magnitudes and angles ``(channels, frames, bins)``, seed -> what to add to the angles, ``(frames, bins)``."""

REFINEMENTS = 10
"""Iterations after PGHI. More win little on exact magnitudes and cost on magnitudes that no wave has."""

GRIFFIN_LIM_ITERATIONS = 32
"""What librosa's users get by default; more rarely helps on generated magnitudes."""


def auto(task: PhaseTask) -> Tensor:
    """Keep the source's phases where they fit the new magnitudes at least as well as integrated ones, else estimate.

    A gain on the source's spectrum always keeps the source's phases. Elsewhere the test is the inconsistency
    (`STFT.inconsistency_db`) of the magnitudes with the source's phases against that with those of `pghi`; where the
    source loses, `pghi_refined` decides.
    """
    kept = source(task)
    if task.gain is not None:
        return kept
    scale = power_of_two(task.magnitude)  # float32 holds sounds whose power it does not
    if task.stft.inconsistency_db(kept * scale) <= task.stft.inconsistency_db(pghi(task) * scale):
        return kept
    return pghi_refined(task)


def network(task: PhaseTask) -> Tensor:
    """Use the phase that the network generated, as the paper does (section 4.3).

    Raises:
        UsageError: if the representation holds no phase.
    """
    if task.generated is None:
        raise UsageError(
            "phase 'network' needs a model trained on magnitude_phase images; use auto, source or pghi_refined"
        )
    return torch.polar(task.magnitude, task.generated)


def source(task: PhaseTask) -> Tensor:
    """Use the input's own phase: right where the output is a gain on the input's spectrum."""
    if task.gain is not None:
        return task.source * task.gain
    return task.magnitude * direction(task.source)


def griffin_lim(task: PhaseTask) -> Tensor:
    """Estimate phases by fast Griffin-Lim iterations (Griffin and Lim 1984; Perraudin et al. 2013, momentum 0.99).

    Runs librosa's implementation on the channels' mean power and lends each channel the input's inter-channel phase
    differences: channels estimated apart would lose their stereo image.
    """
    import librosa

    mono = task.magnitude.square().mean(0).sqrt()
    # Silence around: librosa warns of sounds shorter than a frame, and refuses a single frame.
    edge = -(-task.stft.n_fft // task.stft.hop_length)
    padded = torch.nn.functional.pad(mono, (edge, edge)).cpu().numpy()
    method: Any = librosa.griffinlim
    # librosa 1.0 gave the seed another name.
    seed = "rng" if "rng" in inspect.signature(method).parameters else "random_state"
    wave = method(
        padded,
        n_iter=GRIFFIN_LIM_ITERATIONS,
        hop_length=task.stft.hop_length,
        n_fft=task.stft.n_fft,
        length=(padded.shape[-1] - 1) * task.stft.hop_length,
        pad_mode="constant",
        momentum=0.99,
        **{seed: task.seed},
    )
    spectrum = task.stft.forward(torch.from_numpy(np.asarray(wave, np.float32)).to(mono))
    shared = direction(spectrum[..., edge : edge + mono.shape[-1]])
    return task.magnitude * shared * direction(task.source * direction(common(task.source)).conj())


def pghi(task: PhaseTask) -> Tensor:
    """Integrate the phase gradients that the magnitudes hold (`phase.pghi`); no iterations.

    Several channels keep the source's phase differences between them; each bin follows the gradients of its loudest
    channel. Where the magnitudes of mid and side are known, those two are integrated instead, each alone.
    """
    return _estimate(task, _integrated(task), 0)


def pghi_refined(task: PhaseTask) -> Tensor:
    """Refine `pghi` by `REFINEMENTS` fast Griffin-Lim iterations; stereo jointly with mid and side."""
    return _estimate(task, _integrated(task), REFINEMENTS)


def fast_griffin_lim(task: PhaseTask) -> Tensor:
    """Iterate from random phases, `GRIFFIN_LIM_ITERATIONS` times (`phase.griffin_lim`); stereo jointly with M and S."""

    def at_random(magnitude: Floats, angle: Floats | None, seed: int) -> Floats:
        share = np.random.default_rng(seed).random(magnitude.shape[1:], np.float32)
        return (share - np.float32(0.5)) * np.float32(2 * np.pi)

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
    from audiotrans.spectrogram.phase import kernels

    channels, frames, bins = laid.magnitude.shape
    spectrum = np.empty((channels, frames, 2 * bins), np.float32)
    if laid.mid_side is not None:
        for number, magnitude in enumerate(laid.mid_side):
            kernels.polar(magnitude, guess(magnitude[None], None, seed + number), spectrum[number])
        return np.stack([spectrum[0] + spectrum[1], spectrum[0] - spectrum[1]])
    phase = guess(laid.magnitude, laid.angle, seed)
    if laid.angle is None:
        kernels.polar(laid.magnitude[0], phase, spectrum[0])
    else:
        kernels.turn(phase, laid.angle, spectrum)
        kernels.impose(laid.magnitude, 0, spectrum)
    return spectrum


def _derived_mid_side(magnitude: Floats, angle: Floats) -> Floats:
    """Derive the magnitudes of mid and side from the source's phase differences between left and right.

    With the cosine c of the difference, ``4 |M|^2 = L^2 + R^2 + 2 L R c`` and ``4 |S|^2 = L^2 + R^2 - 2 L R c``:
    exact where the source's differences hold, and the gain of left and right where both have the same.
    """
    from audiotrans.spectrogram.phase import kernels

    made = np.empty_like(magnitude)
    kernels.mid_side_magnitude(magnitude, angle, made)
    return made


PHASES: dict[str, Callable[[PhaseTask], Tensor]] = {
    "auto": names_extras()(auto),
    "source": source,
    "pghi_refined": names_extras()(pghi_refined),
    "pghi": names_extras()(pghi),
    "rtpghi": names_extras()(rtpghi),
    "fast_griffin_lim": names_extras()(fast_griffin_lim),
    "griffin_lim": names_extras()(griffin_lim),
    "network": network,
}
"""Methods by name. `names_extras`: numba or librosa may be missing."""
