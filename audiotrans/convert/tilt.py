"""The brightness that a network hears: a sound's image, tilted before it is translated.

A network learns how bright the target is from the inputs that it was trained on; brighter ones, close to a bow or in a
bare room, become brighter than the target ever is. What it hears can be made darker, or brighter, without a change to
the sound that its gains are applied to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from audiotrans.spectrogram.imaging import AudioImaging

PIVOT_HZ = 2000.0
"""Where the level stays. Of a darker sound, what lies below, where most notes are, is lifted: it is heard no softer."""

OCTAVES = 4.0
"""On either side of the pivot; what lies beyond is changed no further."""

LOWEST_HZ = 80.0
"""What lies under it is lifted less and less, an octave below not at all: rumble is no note to be heard louder."""


def tilt(image: Tensor, slope: float, imaging: AudioImaging) -> Tensor:
    """Change an image's levels in proportion to the distance from 2 kHz.

    Args:
        image: in decibels over 100 dB, ``(groups, channels, rows, columns)`` in [-1, 1].
        slope: dB per octave; below 0 darker. 0 returns ``image``.
        imaging: that made it: it knows where the rows lie.

    Returns:
        The same shape, in [-1, 1].
    """
    if not slope:
        return image
    hertz = torch.as_tensor(imaging.row_frequencies())
    octaves = torch.log2(hertz / PIVOT_HZ).clamp(-OCTAVES, OCTAVES)  # the row of 0 Hz is as far away as any
    change = slope / 50 * octaves
    lifted = change.clamp(min=0) * (1 + torch.log2(hertz / LOWEST_HZ)).clamp(0, 1)
    return (image + torch.where(change > 0, lifted, change)[:, None].to(image)).clamp(-1, 1)
