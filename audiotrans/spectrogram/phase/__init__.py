"""Magnitude -> spectrum: where the phases come from.

A phase method takes a `PhaseTask` and returns a complex spectrum ``(channels, bins, frames)`` of its magnitudes.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from audiotrans.errors import names_extras
from audiotrans.spectrogram.phase.causal import CausalPhase, rtpghi
from audiotrans.spectrogram.phase.choice import auto
from audiotrans.spectrogram.phase.estimates import fast_griffin_lim, pghi, pghi_refined
from audiotrans.spectrogram.phase.methods import griffin_lim, network, source
from audiotrans.spectrogram.phase.task import PhaseTask

PHASES: dict[str, Callable[[PhaseTask], Tensor]] = {
    "auto": auto,
    "source": source,
    "pghi_refined": pghi_refined,
    "pghi": pghi,
    "rtpghi": rtpghi,
    "fast_griffin_lim": fast_griffin_lim,
    "griffin_lim": griffin_lim,
    "network": network,
}
PHASES = {name: names_extras(method) for name, method in PHASES.items()}  # some need numba or librosa

__all__ = [
    "PHASES",
    "CausalPhase",
    "PhaseTask",
    "auto",
    "fast_griffin_lim",
    "griffin_lim",
    "network",
    "pghi",
    "pghi_refined",
    "rtpghi",
    "source",
]
