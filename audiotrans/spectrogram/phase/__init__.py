"""Magnitude -> spectrum: where the phases come from."""

from audiotrans.spectrogram.phase.methods import PHASES
from audiotrans.spectrogram.phase.rtpghi import CausalPhase
from audiotrans.spectrogram.phase.task import PhaseTask

__all__ = ["PHASES", "CausalPhase", "PhaseTask"]
