"""RTPGHI: phases from magnitudes frame by frame, with one frame of look-ahead; for sound that is still arriving.

Source: Prusa and Sondergaard, "Real-time spectrogram inversion using phase gradient heap integration", DAFx 2016; the
heap is replaced by buckets, and channels are kept apart as in `pghi`. Runs on the CPU.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from audiotrans.errors import names_extras
from audiotrans.spectrogram.phase.pghi import gradient_steps, half_advance
from audiotrans.spectrogram.phase.task import (
    MAX_CHANNELS,
    Floats,
    PhaseTask,
    check_magnitude,
    frames_major,
    source_angle,
)
from audiotrans.spectrogram.stft import STFT


class CausalPhase:
    """Give phases to magnitudes that arrive bit by bit. How they are cut into pushes does not change a single bit.

    Several channels keep the source's phase differences between them; each bin follows its loudest channel.

    Args:
        stft: the settings of the magnitudes.
        channels: of the sound, 1 to 8.
        seed: decides the phases of what is too quiet to be integrated.
    """

    delay_frames: int = 1
    """Frames that are held back: a frame's phases need the magnitudes of the one behind it."""

    @names_extras()
    def __init__(self, stft: STFT, channels: int, *, seed: int = 0) -> None:
        if not 1 <= channels <= MAX_CHANNELS:
            raise ValueError(f"{channels} channels: 1 to {MAX_CHANNELS} are possible")
        self.stft, self.channels = stft, channels
        self._waiting: Tensor | None = None  # the magnitudes of the frame held back
        self._integrator = FrameIntegrator(stft, channels, seed)

    def push(self, magnitude: Tensor, source: Tensor) -> Tensor:
        """Take the next frames.

        Args:
            magnitude: wanted, ``(channels, bins, n)``, n >= 0.
            source: complex spectrum of the input, same shape; a single channel's does not matter.

        Returns:
            Complex spectrum of the frames whose phases are settled now, ``(channels, bins, n)``; one frame less at the
            first push that holds any.

        Raises:
            ValueError: for another shape.
            AudiotransError: for magnitudes that are not finite.
        """
        check_magnitude(magnitude, self.stft)
        if magnitude.shape[0] != self.channels or source.shape != magnitude.shape:
            raise ValueError(
                f"magnitudes {tuple(magnitude.shape)} with a source {tuple(source.shape)}: "
                f"give both of {self.channels} channels and the same frames"
            )
        if not magnitude.shape[-1]:
            return torch.polar(magnitude, magnitude)
        seen = magnitude if self._waiting is None else torch.cat([self._waiting, magnitude], dim=-1)
        self._waiting = magnitude[..., -1:].clone()
        plane = frames_major(magnitude)
        directions = self._integrator.push(plane, source_angle(source) if self.channels > 1 else np.zeros_like(plane))
        return _with_magnitude(directions, seen[..., :-1])

    def finish(self) -> Tensor:
        """Return the frame that was held back, ``(channels, bins, 1)``; ``(channels, bins, 0)`` if none ever came."""
        if self._waiting is None:
            return torch.zeros(self.channels, self.stft.bins, 0, dtype=torch.complex64)
        waiting, self._waiting = self._waiting, None
        return _with_magnitude(self._integrator.finish(), waiting)


class FrameIntegrator:
    """The state of the integration: logarithms and angles of two frames, phases and slopes of one."""

    def __init__(self, stft: STFT, channels: int, seed: int) -> None:
        from audiotrans.spectrogram.phase import kernels  # a stream without numba ends before it begins

        self._loops = kernels
        self._steps = np.array(gradient_steps(stft), np.float32)
        self._advance = half_advance(stft)
        self._seed = seed
        self._settled = 0
        self._logs: Floats = np.empty((0, channels, stft.bins), np.float32)
        self._angles: Floats = self._logs
        self._phase = np.zeros(stft.bins, np.float32)
        self._slope = np.zeros((channels, stft.bins), np.float32)

    def push(self, magnitude: Floats, angle: Floats) -> Floats:
        """Take the next frames.

        Args:
            magnitude: ``(channels, n, bins)``, n > 0.
            angle: what the channels keep apart, same shape.

        Returns:
            Directions of the frames that are settled now, ``(channels, frames, 2 bins)``.
        """
        logs = np.maximum(np.ascontiguousarray(magnitude.transpose(1, 0, 2)), np.float32(self._loops.TINY))
        for row in logs.reshape(-1, logs.shape[2]):  # row by row: vector code rounds alike however many frames come
            np.log(row, out=row)
        angles = angle.transpose(1, 0, 2)
        first = not len(self._logs)
        self._logs = np.concatenate([logs[:1] if first else self._logs, logs])
        self._angles = np.concatenate([angles[:1] if first else self._angles, angles])
        return self._settle(closing=False)

    def finish(self) -> Floats:
        """Settle the last frame: ``(channels, 1, 2 bins)``."""
        self._logs = np.concatenate([self._logs, self._logs[-1:]])
        self._angles = np.concatenate([self._angles, self._angles[-1:]])
        return self._settle(closing=True)

    def _settle(self, *, closing: bool) -> Floats:
        count = len(self._logs) - 2
        _, channels, bins = self._logs.shape
        phases = np.empty((count + 1, bins), np.float32)
        phases[0] = self._phase
        place = np.array([self._settled, closing, self._seed], np.int64)
        peaks = self._logs.max((1, 2))
        self._loops.settle_frames(
            self._logs, self._angles, peaks, self._steps, self._advance, place, self._slope, phases
        )
        directions = np.empty((channels, count, 2 * bins), np.float32)
        self._loops.turn(phases[1:], np.ascontiguousarray(self._angles[1:-1].transpose(1, 0, 2)), directions)
        self._settled, self._phase = self._settled + count, phases[-1].copy()
        self._logs, self._angles = self._logs[-2:].copy(), self._angles[-2:].copy()
        return directions


def _with_magnitude(directions: Floats, magnitude: Tensor) -> Tensor:
    """Return the spectrum ``(channels, bins, frames)`` of directions ``(channels, frames, 2 bins)``."""
    spectrum = torch.from_numpy(directions.view(np.complex64)).transpose(-1, -2)
    return spectrum.to(magnitude.device) * magnitude


def rtpghi(task: PhaseTask) -> Tensor:
    """Estimate phases as a stream would get them: `CausalPhase` over the whole sound."""
    causal = CausalPhase(task.stft, task.magnitude.shape[0], seed=task.seed)
    settled = causal.push(task.magnitude, task.source)
    return torch.cat([settled, causal.finish()], dim=-1)
