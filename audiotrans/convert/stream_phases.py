"""Phases for magnitudes that arrive in parts: those methods that need not know the whole sound."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from audiotrans.errors import UsageError
from audiotrans.spectrogram.imaging import AudioImaging
from audiotrans.spectrogram.phase import PHASES, CausalPhase, PhaseTask
from audiotrans.spectrogram.representations import Context, Decoded
from audiotrans.spectrogram.stft import STFT

COLUMNWISE = ("source", "network")
"""Phase methods that treat every column apart."""

CAUSAL = "rtpghi"
"""The phase method that needs nothing but the past and one column."""


class StreamPhase(Protocol):
    """A phase method that takes a spectrum in parts."""

    delay_frames: int

    def push(self, decoded: Decoded, source: Tensor) -> Tensor:
        """Take the next columns; return the spectrum of those whose phases are settled."""

    def finish(self) -> Tensor:
        """Return the spectrum of the columns that are left."""


class _Columnwise:
    """A method that treats every column apart."""

    delay_frames = 0

    def __init__(self, name: str, stft: STFT, channels: int, seed: int) -> None:
        self._method, self._stft, self._seed = PHASES[name], stft, seed
        self._none = torch.zeros(channels, stft.bins, 0, dtype=torch.complex64)

    def push(self, decoded: Decoded, source: Tensor) -> Tensor:
        return self._method(PhaseTask(decoded.magnitude, source, decoded.phase, self._stft, decoded.gain, self._seed))

    def finish(self) -> Tensor:
        return self._none


class _Integrated:
    """The causal phase integration, which keeps its own state."""

    def __init__(self, stft: STFT, channels: int, seed: int) -> None:
        self._phase = CausalPhase(stft, channels, seed=seed)
        self.delay_frames = self._phase.delay_frames

    def push(self, decoded: Decoded, source: Tensor) -> Tensor:
        return self._phase.push(decoded.magnitude, source)

    def finish(self) -> Tensor:
        return self._phase.finish()


def stream_phase(imaging: AudioImaging, name: str, channels: int, seed: int) -> StreamPhase:
    """Build a phase method for a stream.

    Raises:
        UsageError: for one that needs the whole sound.
    """
    if name == "auto":
        name = COLUMNWISE[0] if _is_gain(imaging) else CAUSAL
    if name in COLUMNWISE:
        return _Columnwise(name, imaging.stft, channels, seed)
    if name == CAUSAL:
        return _Integrated(imaging.stft, channels, seed)
    raise UsageError(f"phase {name} needs the whole sound: choose source, {CAUSAL} or auto for a stream")


def _is_gain(imaging: AudioImaging) -> bool:
    """Ask the representation, with a column of silence, whether its images are gains on the source."""
    spectrum = torch.zeros(1, imaging.stft.bins, 1, dtype=torch.complex64)
    image = imaging.representation.encode(spectrum, 0.0)
    return imaging.representation.decode(image, Context(spectrum, image, 0, 0.0)).gain is not None
