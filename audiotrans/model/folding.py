"""Convolutions of an enlarged image, computed before it is enlarged: the same result for a fraction of the work.

A layer that enlarges its input by whole factors and then convolves it multiplies copies of one number again and again
(nearest neighbours), or convolves few channels at full size, which processors do badly (sub-pixels). Either is exactly
one convolution on the small grid whose output channels are the places within a pixel: rounding apart, and with zeros
around, nothing else changes, and the parameters stay those of the plain layer.

Source: sub-pixel convolution, Shi et al. 2016.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pixel_shuffle

Pair = tuple[int, int]


def places(kernel: int, factor: int) -> Tensor:
    """Say where the taps of a kernel on the fine grid fall on the coarse one, along one axis.

    Args:
        kernel: its taps, odd; it is centred.
        factor: fine places in a coarse one.

    Returns:
        ``(factor, reach, factor, kernel)`` of 0 and 1: fine output place, coarse tap (odd many, centred), fine input
        place within that tap, tap of the kernel.
    """
    half = kernel // 2
    reach = -(-half // factor)
    out, coarse, inner, tap = torch.meshgrid(
        torch.arange(factor), torch.arange(-reach, reach + 1), torch.arange(factor), torch.arange(kernel), indexing="ij"
    )
    return (coarse * factor + inner == out + tap - half).float()


class _Folded(nn.Conv2d):
    """A convolution of odd kernel and zeros around, of an image that is ``factors`` times as large as its input."""

    rows: Tensor
    frames: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, factors: Pair) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        self.factors = factors
        for axis, factor in zip(("rows", "frames"), factors, strict=True):
            self.register_buffer(axis, places(kernel, factor), persistent=False)

    def _small(self, x: Tensor, weight: Tensor) -> Tensor:
        """Convolve on the small grid and go to the large one; ``weight`` is ``(out, r, f, in, height, width)``."""
        rows, frames = weight.shape[1:3]
        bias = None if self.bias is None else self.bias.repeat_interleave(rows * frames)
        padding = (weight.shape[-2] // 2, weight.shape[-1] // 2)
        return unfold(conv2d(x, weight.flatten(0, 2), bias, padding=padding), self.factors)


class EnlargedConv(_Folded):
    """Nearest-neighbour enlargement by ``factors``, then a convolution."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, in, h, w)`` to ``(b, out, h * rows, w * frames)``."""
        rows, frames = self.rows.sum(2), self.frames.sum(2)  # all places of a pixel hold the same
        return self._small(x, torch.einsum("pua,qvb,oiab->opqiuv", rows, frames, self.weight))


class UnfoldedConv(_Folded):
    """Sub-pixel enlargement by ``factors`` (`unfold`), then a convolution."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, in * rows * frames, h, w)`` to ``(b, out, h * rows, w * frames)``."""
        weight = torch.einsum("purx,qvsy,oixy->opqirsuv", self.rows, self.frames, self.weight)
        return self._small(x, weight.flatten(3, 5))


def unfold(x: Tensor, factors: Pair) -> Tensor:
    """Rearrange ``(b, c * r * f, h, w)`` to ``(b, c, h * r, w * f)``: sub-pixel enlargement with two factors."""
    rows, frames = factors
    if rows == frames:
        return pixel_shuffle(x, rows)  # keeps channels_last memory, which what follows wants
    b, c, h, w = x.shape
    split = x.reshape(b, c // (rows * frames), rows, frames, h, w)
    return split.permute(0, 1, 4, 2, 5, 3).reshape(b, c // (rows * frames), h * rows, w * frames)
