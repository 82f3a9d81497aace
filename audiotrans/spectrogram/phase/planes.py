"""One task as the compiled loops want it: frames-major float32 planes whose loudest bin is near 1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from audiotrans.spectrogram.phase.task import PhaseTask, check_magnitude

if TYPE_CHECKING:
    from audiotrans.spectrogram.phase.kernels import Floats


@dataclass(frozen=True)
class Planes:
    """A task's arrays.

    Attributes:
        magnitude: ``(channels, frames, bins)``, the loudest between 1/2 and 1.
        angle: phases of the source in the centred convention (see `kernels`), same shape; None for a single channel.
        mid_side: see `PhaseTask`, scaled as ``magnitude``; None: not known.
    """

    magnitude: Floats
    angle: Floats | None
    mid_side: Floats | None


def planes(task: PhaseTask) -> Planes:
    """Lay out a task.

    Raises:
        ValueError: for shapes that do not belong together.
        AudiotransError: for magnitudes that are not finite.
    """
    check_magnitude(task.magnitude, task.stft)
    if task.source.shape != task.magnitude.shape:
        raise ValueError(f"a source of shape {tuple(task.source.shape)} for magnitudes {tuple(task.magnitude.shape)}")
    scale = power_of_two(task.magnitude)
    mid_side = None
    if task.mid_side is not None:
        if len(task.magnitude) != 2 or task.mid_side.shape != task.magnitude.shape:
            raise ValueError(
                f"mid and side of shape {tuple(task.mid_side.shape)}: only stereo has them, as its channels"
            )
        mid_side = frames_major(task.mid_side * scale)
    angle = source_angle(task.source) if len(task.source) > 1 else None
    return Planes(frames_major(task.magnitude * scale), angle, mid_side)


def source_angle(source: Tensor) -> Floats:
    """Return the phases of ``(channels, bins, frames)``, ``(channels, frames, bins)``, centred; 0 for silence."""
    from audiotrans.spectrogram.phase.channel_kernels import angles

    plane = spectrum_plane(source.cpu().to(torch.complex64))
    found = np.empty((*plane.shape[:2], plane.shape[2] // 2), np.float32)
    angles(plane, found)
    return found


def power_of_two(values: Tensor) -> float:
    """Return the power of two that brings the largest absolute value to 1/2 .. 1: an exact scaling; 1 for silence."""
    largest = float(values.abs().max()) if values.numel() else 0.0
    return math.ldexp(1.0, -max(-100, min(100, math.frexp(largest)[1]))) if largest else 1.0


def frames_major(real: Tensor) -> Floats:
    """Return ``(..., bins, frames)`` as contiguous float32 ``(..., frames, bins)``."""
    array: Floats = real.detach().cpu().float().transpose(-1, -2).contiguous().numpy()
    return array


def spectrum_plane(spectrum: Tensor) -> Floats:
    """Return complex64 ``(..., bins, frames)`` as contiguous float32 ``(..., frames, 2 bins)``."""
    array: Floats = spectrum.detach().transpose(-1, -2).contiguous().resolve_conj().numpy().view(np.float32)
    return array


def spectrum_like(plane: Floats, magnitude: Tensor) -> Tensor:
    """Return a spectrum with exactly the magnitudes asked for, in their precision and on their device.

    Args:
        plane: ``(channels, frames, 2 bins)`` of about the right magnitude, the loudest near 1; overwritten.
        magnitude: ``(channels, bins, frames)``.
    """
    from audiotrans.spectrogram.phase.channel_kernels import dress

    alike = magnitude.device.type == "cpu" and magnitude.dtype == torch.float32
    dress(frames_major(magnitude if alike else torch.ones_like(magnitude)), plane)
    spectrum = torch.from_numpy(plane.view(np.complex64)).transpose(-1, -2)
    return spectrum if alike else spectrum.to(magnitude.device) * magnitude
