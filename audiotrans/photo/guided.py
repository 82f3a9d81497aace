"""Guided upsampling: the change of a small image brought to a large photo, along the photo's own edges.

Scaled up as it is, a change of 64 x 64 pixels spills over every edge by a pixel of its own, on a photo of 4,000 columns
by 60: hair gets a halo. So the change is first fitted by the image: near every position it is written as a linear
function of the image's three colours there. The coefficients are smooth, and scaling them up does no harm; applied to
the photo's own colours they give a change whose edges are the photo's. It also loses what has nothing to do with the
image, such as a network's grid and noise.

Source: He, Sun and Tang, Guided Image Filtering, IEEE TPAMI 2013, equations (19) to (21); He and Sun, Fast Guided
Filter, arXiv 1505.00996, 2015.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

RADIUS = 1
"""Pixels of the small image on each side that a linear function is fitted to."""

EPSILON = 0.01
"""Added to the image's variances (its range is [-1, 1]): what varies by less than 13 of 255 steps counts as flat."""


def follow_edges(change: Tensor, image: Tensor, height: int, width: int) -> Tensor:
    """Write a change as linear functions of the image's colours.

    Args:
        change: ``(1, 3, h, w)``.
        image: what it changes, same shape, in [-1, 1].
        height: rows of the photo.
        width: its columns.

    Returns:
        ``(12, min(h, height), width)``: for each channel of the change the factors of the three colours, then the three
        constants; see `rows_of`.
    """
    mean_image, mean_change = _mean(image), _mean(change)
    covariance = _mean(_products(image, change)) - _products(mean_image, mean_change)
    variance = _mean(_products(image, image)) - _products(mean_image, mean_image)
    # (h, w, colour, channel) = (h, w, colour, colour)^-1 (h, w, colour, channel)
    factors = torch.linalg.solve(_matrices(variance) + EPSILON * torch.eye(3), _matrices(covariance))
    factors = factors.permute(3, 2, 0, 1)  # channel, colour, h, w
    constants = mean_change[0] - (factors * mean_image[0]).sum(1)
    told = _mean(torch.cat([factors.flatten(0, 1), constants])[None])
    # Rows are scaled up strip by strip, in `rows_of`.
    size = min(image.shape[2], height), width
    return F.interpolate(told, size, mode="bilinear", antialias=True, align_corners=False)[0]


def rows_of(told: Tensor, guide: Tensor, top: int, height: int) -> Tensor:
    """Return some rows of the change at the photo's size.

    Args:
        told: as `follow_edges` gave it.
        guide: those rows of the photo, ``(3, rows, width)`` in [-1, 1].
        top: the first of them.
        height: rows of the whole photo.

    Returns:
        ``(3, rows, width)``.
    """
    last = told.shape[1] - 1
    place = ((torch.arange(top, top + guide.shape[1]) + 0.5) * (last + 1) / height - 0.5).clamp(0, last)
    above = place.long()
    share = (place - above)[:, None]
    here = told[:, above] * (1 - share) + told[:, (above + 1).clamp(max=last)] * share
    factors, constants = here[:9].reshape(3, *guide.shape), here[9:]
    return (factors * guide).sum(1) + constants


def _mean(x: Tensor) -> Tensor:
    """Return the mean over the window around every position; the border is repeated."""
    return F.avg_pool2d(F.pad(x, (RADIUS,) * 4, mode="replicate"), 2 * RADIUS + 1, stride=1)


def _products(x: Tensor, y: Tensor) -> Tensor:
    """Return all products of a channel of x and one of y, ``(1, 9, h, w)``."""
    return (x[:, :, None] * y[:, None]).flatten(1, 2)


def _matrices(products: Tensor) -> Tensor:
    """Turn ``(1, 9, h, w)`` into ``(h, w, 3, 3)``."""
    return products.reshape(3, 3, *products.shape[2:]).permute(2, 3, 0, 1)
