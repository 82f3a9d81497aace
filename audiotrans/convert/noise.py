"""The encoder's noise as a function of the seed and the position in the file, so that overlapping tiles agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from audiotrans.model.avb_gtn import AVBGTN

BLOCK_STRIDES = 16
"""Strides of the model in one block of noise: large enough for few generators, small against a tile."""


def aligned_noise(model: AVBGTN, image: Tensor, first_column: int, seed: int) -> Tensor | None:
    """Draw the noise of a tile.

    Noise is drawn in blocks of a fixed number of image columns, each from its own generator, on the CPU: any tile, in
    any order, on any device, gets the same values at the same place of the file.

    Args:
        model: asked for the shape and the kind of its noise.
        image: the tile, ``(groups, channels, rows, columns)``.
        first_column: position of the tile in the file, image columns; a multiple of the model's stride.
        seed: at least 0.

    Returns:
        Noise of the shape `AVBGTN.noise_shape` names, on the image's device; None for models that take none.
    """
    columns = BLOCK_STRIDES * model.stride[1]
    blank = torch.zeros(()).expand(*image.shape[:3], columns)
    index, offset = divmod(first_column, columns)
    block = model.noise(blank, _generator(seed, index))
    if block is None:
        return None
    shape = model.noise_shape(image)
    first = offset * block.shape[-1] // columns
    blocks = [block]
    while len(blocks) * block.shape[-1] < first + shape[-1]:
        blocks.append(model.noise(blank, _generator(seed, index + len(blocks))))
    return torch.cat(blocks, dim=-1)[..., first : first + shape[-1]].to(image)


def _generator(seed: int, block: int) -> torch.Generator:
    # SeedSequence mixes the two, so that neighbouring seeds and neighbouring blocks are not correlated.
    state = int(np.random.SeedSequence((seed, block)).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state >> 1)
