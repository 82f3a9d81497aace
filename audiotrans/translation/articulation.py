"""Notes that begin and end as clearly as the target's: what a network smooths in time, exaggerated again.

A network that is also asked for small errors hedges: its gains rise and fall less, and later, than true attacks and
decays do. Unsharp masking along time gives that back: the part of each row's gain that differs from its mean over a
quarter of a second is multiplied by a factor. What lasts longer, and with it level and colour, stays as it was made.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d

from audiotrans.sound.imaging import AudioImaging

SECONDS = 0.25
"""Length of the mean that a gain is compared with."""


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
    rows = gain.flatten(0, 2)[:, None]
    slow = avg_pool1d(rows, columns, 1, columns // 2, count_include_pad=False).reshape(gain.shape)
    return torch.clamp(translated + (factor - 1) * (gain - slow), -1, 1)
