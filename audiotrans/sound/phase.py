"""Magnitude -> spectrum: where the phases come from.

A phase method takes a `PhaseTask` and returns a complex spectrum ``(channels, bins, frames)`` of its magnitudes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from audiotrans.errors import UsageError
from audiotrans.sound.stft import STFT

GRIFFIN_LIM_ITERATIONS = 32
"""What torchaudio and librosa users get by default; more rarely helps on generated magnitudes."""

CONSISTENT_DB = -10.0
"""`auto` keeps the source's phase below this inconsistency: there the output is a re-enveloped source."""


@dataclass(frozen=True)
class PhaseTask:
    """One sound's magnitudes and what is known of its phases.

    Attributes:
        magnitude: ``(channels, bins, frames)``, >= 0.
        source: complex spectrum of the input, same shape.
        generated: phase in radians that a network painted, same shape, or None.
        stft: the settings all of them were made with.
        gain: whether the magnitude is a gain on the source's.
        seed: for methods that start from random phases.
    """

    magnitude: Tensor
    source: Tensor
    generated: Tensor | None
    stft: STFT
    gain: bool = False
    seed: int = 0


def network(task: PhaseTask) -> Tensor:
    """Use the phase that the network generated, as the paper does (section 4.3).

    Raises:
        UsageError: if the representation holds no phase.
    """
    if task.generated is None:
        raise UsageError(
            "phase 'network' needs a model trained on magnitude_phase images; use source, griffin_lim or auto"
        )
    return torch.polar(task.magnitude, task.generated)


def source(task: PhaseTask) -> Tensor:
    """Use the input's own phase: right where the output is a gain on the input's spectrum."""
    return task.magnitude * _direction(task.source)


def griffin_lim(task: PhaseTask) -> Tensor:
    """Estimate phases by fast Griffin-Lim iterations (Griffin and Lim 1984; Perraudin et al. 2013, momentum 0.99).

    Runs torchaudio's implementation on the channels' mean power and lends each channel the input's inter-channel phase
    differences: channels estimated apart would lose their stereo image.
    """
    from torchaudio.transforms import GriffinLim

    mono = task.magnitude.square().mean(0).sqrt()
    # Silence around: torchaudio mirrors the wave at its ends, where `STFT` has zeros, and refuses what is too short to.
    edge = -(-task.stft.n_fft // task.stft.hop_length)
    padded = torch.nn.functional.pad(mono, (edge, edge))
    method = GriffinLim(
        task.stft.n_fft, n_iter=GRIFFIN_LIM_ITERATIONS, hop_length=task.stft.hop_length, power=1.0, momentum=0.99
    ).to(mono)
    with torch.random.fork_rng():
        torch.manual_seed(task.seed)
        wave = method(padded)
    common = _direction(task.stft.forward(wave)[..., edge : edge + mono.shape[-1]])
    return task.magnitude * common * _direction(task.source * _direction(_common(task.source)).conj())


def auto(task: PhaseTask) -> Tensor:
    """Keep the input's phase where it is consistent with the new magnitudes, otherwise estimate.

    A gain on the input's spectrum always keeps the input's phase: iterating on imperfect magnitudes costs more there
    than it mends. Elsewhere the test is the inconsistency of the magnitudes with the input's phase
    (`STFT.inconsistency_db`) against `CONSISTENT_DB`.
    """
    kept = source(task)
    if task.gain or task.stft.inconsistency_db(kept) < CONSISTENT_DB:
        return kept
    return griffin_lim(task)


def _common(spectrum: Tensor) -> Tensor:
    """Sum the channels, turned to the polarity of the loudest: channels of opposite polarity must not cancel."""
    loudest = spectrum[spectrum.abs().square().sum((1, 2)).argmax()]
    agreement = (spectrum * loudest.conj()).real.sum((1, 2))
    return torch.where(agreement[:, None, None] < 0, -spectrum, spectrum).sum(0)


def _direction(spectrum: Tensor) -> Tensor:
    """Return ``exp(j angle)``; 1 where the spectrum is zero."""
    return torch.polar(torch.ones_like(spectrum.real), spectrum.angle())


PHASES: dict[str, Callable[[PhaseTask], Tensor]] = {
    "auto": auto,
    "source": source,
    "griffin_lim": griffin_lim,
    "network": network,
}
