"""Several translations of one picture, each a little out of place, averaged: cycle spinning.

A network with strides paints differently on each place of its grid: stripes in time, and partials whose level depends
on the row that they fall on, so that an octave stands out and is heard as a note of its own. What depends on the place
averages out, what depends on the sound stays. Moving the rows shows the network other keys as well: rows are
hertz, and three of them are a semitone or so where violins play.

Source: Coifman and Donoho 1995, "Translation-invariant de-noising", for wavelets.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import pad

ROWS = 3
"""Rows from pass to pass, chosen by measurement (docs/experiments.md)."""


def spin(image: Tensor, translate: Callable[[Tensor], Tensor], passes: int, stride: tuple[int, int]) -> Tensor:
    """Average several translations.

    Args:
        image: ``(groups, channels, rows, columns)``.
        translate: of an image to one of the same shape.
        passes: how many; pass ``i`` moves the image up by ``ROWS * i`` rows and later by ``i`` columns, modulo the
            stride. 1 is the plain translation.
        stride: of the model, rows and columns.

    Returns:
        The mean, in place, in the shape of ``image``.
    """
    mean = translate(image)
    for i in range(1, passes):
        rows, columns = ROWS * i, i % stride[1]
        # Whole strides are added, so that an image of the grid stays one.
        moved = pad(image, (columns, -columns % stride[1], rows, -rows % stride[0]), mode="replicate")
        found = translate(moved)[..., rows : rows + image.shape[-2], columns : columns + image.shape[-1]]
        mean = mean + (found - mean) / (i + 1)
    return mean


def reach(passes: int, stride: tuple[int, int]) -> int:
    """Return how many columns further on each side a mean depends on than one translation does."""
    return min(passes, stride[1]) - 1
