"""Several translations of one picture, each a little out of place, averaged: cycle spinning.

A network with strides paints differently on each place of its grid: stripes in time, and partials whose level depends
on the row that they fall on, so that an octave stands out and is heard as a note of its own. What depends on the place
averages out, what depends on the sound stays. Moving the rows shows the network other keys as well: rows are
hertz, and three of them are a semitone or so where violins play.

Source: Coifman and Donoho 1995, "Translation-invariant de-noising", for wavelets.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

ROWS = 3
"""Rows from pass to pass, chosen by measurement (docs/experiments.md)."""


def shift_average(image: Tensor, translate: Callable[[Tensor], Tensor], shifts: int, stride: tuple[int, int]) -> Tensor:
    """Average several translations.

    Args:
        image: ``(groups, channels, rows, columns)``.
        translate: of an image to one of the same shape.
        shifts: how many; pass ``i`` moves the image up by ``ROWS * i`` rows and later by ``i`` columns, modulo the
            stride. 1 is the plain translation.
        stride: of the model, rows and columns.

    Returns:
        The mean, in place, in the shape of ``image``. Rows below half of a move, and the lowest `ROWS`, take no part in
        it, rows from the whole of it on in full: what lies there is rumble, which the network leaves alone where it is,
        and would take for bass higher up.
    """
    rows = torch.arange(image.shape[-2], device=image.device, dtype=image.dtype)[:, None]
    total, counted = translate(image), torch.ones_like(rows)
    for i in range(1, shifts):
        up, later = ROWS * i, i % stride[1]
        # Whole strides are added, so that an image of the grid stays one.
        moved = pad(image, (later, -later % stride[1], up, -up % stride[0]), mode="replicate")
        found = translate(moved)[..., up : up + image.shape[-2], later : later + image.shape[-1]]
        share = torch.clamp(2 * rows / max(up, 2 * ROWS) - 1, 0, 1)
        total, counted = total + share * found, counted + share
    return total / counted


def reach(shifts: int, stride: tuple[int, int]) -> int:
    """Return how many columns further on each side a mean depends on than one translation does."""
    return min(shifts, stride[1]) - 1
