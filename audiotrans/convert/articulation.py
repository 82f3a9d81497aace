"""Notes that begin and end as clearly as the target's: what a network smooths in time, exaggerated again.

A network that is also asked for small errors hedges: its gains rise and fall less, and later, than true attacks and
decays do. Unsharp masking along time gives that back: the part of each row's gain that differs from its mean over a
quarter of a second, averaged over neighbouring rows, is multiplied by a factor. What lasts longer, with it level and
colour, stays as it was made; so does what single bins do, which is noise and not the shape of a note.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from audiotrans.spectrogram.imaging import AudioImaging

SECONDS = 0.25
"""Length of the mean that a gain is compared with."""


ROWS = 5
"""Rows over which the fast part is averaged: the width of a partial, 100 Hz where rows are bins."""


def window(imaging: AudioImaging) -> int:
    """Return the columns of the mean: the odd number nearest to `SECONDS`."""
    return 2 * int(SECONDS / imaging.seconds_per_frame / 2) + 1


def articulate(source: Tensor, translated: Tensor, factor: float, columns: int) -> Tensor:
    """Exaggerate the fast part of a translation's gain.

    Args:
        source: image in decibels, ``(groups, channels, rows, columns)`` in [-1, 1].
        translated: the network's translation of it; the same shape.
        factor: of the fast part; 1 returns ``translated``.
        columns: of the mean, from `window`. At the ends it is taken of the columns that there are.

    Returns:
        The same shape, in [-1, 1].
    """
    if factor == 1:
        return translated
    gain = translated - source
    fast = gain - _mean(gain, 1, columns)
    return torch.clamp(translated + (factor - 1) * _mean(fast, ROWS, 1), -1, 1)


def _mean(image: Tensor, rows: int, columns: int) -> Tensor:
    """Return each pixel's mean over the neighbours that there are; both sizes are odd."""
    return avg_pool2d(image, (rows, columns), 1, (rows // 2, columns // 2), count_include_pad=False)
