"""What conversion does to a sound's images around the model: noise, shift averaging, articulation, blending.

Images are ``(groups, channels, rows, columns)`` in [-1, 1]; the logarithmic ones hold decibels.

- `shift_average` (cycle spinning): a network with strides works differently on each place of its grid: stripes in
  time, and partials whose level depends on the row that they fall on, so that an octave stands out like a
  note of its own. What depends on the place averages out, what depends on the sound stays. Moving the rows shows the
  network other keys as well: rows are hertz, and three of them are a semitone or so where violins play.
- `articulate`: a network that is also asked for small errors hedges: its gains rise and fall less, and later, than true
  attacks and decays do. Unsharp masking along time gives that back: the part of each row's gain that differs from its
  mean over a quarter of a second, averaged over neighbouring rows, is multiplied by a factor. What lasts longer, with
  it level and colour, stays as it was made; so does what single bins do, which is noise and not the shape of a note.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

if TYPE_CHECKING:
    from audiotrans.model.avb_gtn import AVBGTN
    from audiotrans.options import ConvertOptions, Side
    from audiotrans.spectrogram.imaging import AudioImaging

NOISE_BLOCK_STRIDES = 16
"""Strides of the model in one block of noise: large enough for few generators, small against a tile."""

NOISE_BLOCKS = 16
"""After so many blocks the noise repeats, after twelve seconds where frames are 512 samples: a graph holds it all."""

SHIFT_ROWS = 3
"""Rows from one shift to the next, chosen by measurement (docs/diary.md)."""

ARTICULATION_SECONDS = 0.25
"""Length of the mean that a gain is compared with."""

ARTICULATION_ROWS = 5
"""Rows over which the fast part is averaged: the width of a partial, 100 Hz where rows are bins."""


def translated(
    model: AVBGTN,
    imaging: AudioImaging,
    image: Tensor,
    options: ConvertOptions,
    sides: tuple[Side, Side],
    noise: Callable[[Tensor], Tensor | None],
) -> Tensor:
    """Translate a piece of a sound's image with everything around the model.

    Args:
        model: that translates.
        imaging: that made the image.
        image: ``(groups, channels, rows, columns)`` in [-1, 1].
        options: what to do, complete.
        sides: of the model, that the image belongs to and that it is translated to.
        noise: gives the encoder's noise for an image, such as `aligned_noise`.

    Returns:
        The same shape, blended with ``image`` by the strength.
    """

    def once(moved: Tensor) -> Tensor:
        return model.translate(moved, *sides, noise(moved))

    seen = without_rumble(image, imaging)
    made = shift_average(seen, once, options.shifts or 1, model.stride)
    # A gain makes no bass where there is none; it would raise the rumble of the room.
    made = torch.cat([image[..., : imaging.rumble_rows, :], made[..., imaging.rumble_rows :, :]], dim=-2)
    factor = 1.0 if options.articulation is None else options.articulation
    made = articulate(image, made, factor, articulation_columns(imaging))
    return blend(image, made, options.share, imaging.settings.representation)


def without_rumble(image: Tensor, imaging: AudioImaging) -> Tensor:
    """Return an image as the network is to see it: silent in `AudioImaging.rumble_rows`."""
    silent = torch.full_like(image[..., : imaging.rumble_rows, :], -1)
    return torch.cat([silent, image[..., imaging.rumble_rows :, :]], dim=-2)


def reach(model: AVBGTN, imaging: AudioImaging, options: ConvertOptions) -> int:
    """Return how many columns further on each side `translated` depends on than the model alone does."""
    articulated = 0 if options.articulation == 1 else articulation_columns(imaging) // 2
    return articulated + shift_columns(options.shifts or 1, model.stride)


def aligned_noise(model: AVBGTN, image: Tensor, first_column: int, seed: int) -> Tensor | None:
    """Return the encoder's noise for a tile: a function of the seed and the position in the file, with a period.

    Noise is made in blocks of a fixed number of image columns, each from its own generator, on the CPU: any tile, in
    any order, on any device, gets the same values at the same place of the file, so that overlapping tiles agree.

    Args:
        model: asked for the shape and the kind of its noise.
        image: the tile, ``(groups, channels, rows, columns)``.
        first_column: position of the tile in the file, image columns; a multiple of the model's stride.
        seed: at least 0.

    Returns:
        Noise of the shape `AVBGTN.noise_shape` names, on the image's device; None for models that take none.
    """
    columns = NOISE_BLOCK_STRIDES * model.stride[1]
    blank = torch.zeros(()).expand(*image.shape[:3], columns)
    index, offset = divmod(first_column, columns)
    block = model.noise(blank, _generator(seed, index % NOISE_BLOCKS))
    if block is None:
        return None
    shape = model.noise_shape(image)
    first = offset * block.shape[-1] // columns
    blocks = [block]
    while len(blocks) * block.shape[-1] < first + shape[-1]:
        blocks.append(model.noise(blank, _generator(seed, (index + len(blocks)) % NOISE_BLOCKS)))
    return torch.cat(blocks, dim=-1)[..., first : first + shape[-1]].to(image)


def noise_period(model: AVBGTN) -> int:
    """Return the image columns after which `aligned_noise` repeats."""
    return NOISE_BLOCKS * NOISE_BLOCK_STRIDES * model.stride[1]


def _generator(seed: int, block: int) -> torch.Generator:
    # SeedSequence mixes the two, so that neighbouring seeds and neighbouring blocks are not correlated.
    state = int(np.random.SeedSequence((seed, block)).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state >> 1)


def shift_average(image: Tensor, translate: Callable[[Tensor], Tensor], shifts: int, stride: tuple[int, int]) -> Tensor:
    """Average the translations of one image that is moved a little each time.

    Args:
        image: logarithmic.
        translate: of an image to one of the same shape.
        shifts: how many; number ``i`` moves the image up by ``SHIFT_ROWS * i`` rows and later by ``i`` columns, modulo
            the stride. 1 is the plain translation.
        stride: of the model, rows and columns.

    Returns:
        The mean, moved back, in the shape of ``image``. Rows below half of a move, and the lowest `SHIFT_ROWS`, take no
        part in it, rows from the whole of it on in full: what lies there is rumble, which the network leaves alone
        where it is, and would make bass of higher up.

    Source:
        Coifman and Donoho 1995, "Translation-invariant de-noising", for wavelets.
    """
    rows = torch.arange(image.shape[-2], device=image.device, dtype=image.dtype)[:, None]
    total, counted = translate(image), torch.ones_like(rows)
    for i in range(1, shifts):
        up, later = SHIFT_ROWS * i, i % stride[1]
        # Whole strides are added, so that an image of the grid stays one.
        moved = pad(image, (later, -later % stride[1], up, -up % stride[0]), mode="replicate")
        found = translate(moved)[..., up : up + image.shape[-2], later : later + image.shape[-1]]
        share = torch.clamp(2 * rows / max(up, 2 * SHIFT_ROWS) - 1, 0, 1)
        total, counted = total + share * found, counted + share
    return total / counted


def shift_columns(shifts: int, stride: tuple[int, int]) -> int:
    """Return how many columns further on each side `shift_average` depends on than one translation does."""
    return min(shifts, stride[1]) - 1


def articulate(source: Tensor, translated: Tensor, factor: float, columns: int) -> Tensor:
    """Exaggerate the fast part of a translation's gain.

    Args:
        source: logarithmic image.
        translated: the network's translation of it; the same shape.
        factor: of the fast part; 1 returns ``translated``.
        columns: of the mean, from `articulation_columns`. At the ends it is taken of the columns that there are.

    Returns:
        The same shape, in [-1, 1].
    """
    if factor == 1:
        return translated
    gain = translated - source
    fast = gain - _mean(gain, 1, columns)
    return torch.clamp(translated + (factor - 1) * _mean(fast, ARTICULATION_ROWS, 1), -1, 1)


def _mean(image: Tensor, rows: int, columns: int) -> Tensor:
    """Return each pixel's mean over the neighbours that there are; both sizes are odd."""
    return avg_pool2d(image, (rows, columns), 1, (rows // 2, columns // 2), count_include_pad=False)


def articulation_columns(imaging: AudioImaging) -> int:
    """Return the columns of the mean of `articulate`: the odd number nearest to `ARTICULATION_SECONDS`."""
    return 2 * int(ARTICULATION_SECONDS / imaging.seconds_per_frame / 2) + 1


def blend(source: Tensor, translated: Tensor, share: float, representation: str) -> Tensor:
    """Interpolate between two images.

    Args:
        source: ``(groups, channels, rows, columns)`` in [-1, 1].
        translated: the same shape.
        share: 0 gives ``source``, 1 ``translated``.
        representation: of the images; the logarithmic ones are interpolated in decibels, and the phase channels of
            ``magnitude_phase`` go the shorter way round the circle.
    """
    if share == 1:
        return translated
    step = translated - source
    if representation != "magnitude_phase":
        return source + share * step
    mixed = source + share * step
    turn = torch.remainder(step[:, 1::2] + 1, 2) - 1  # an image's phase of 1 is half a turn
    mixed[:, 1::2] = torch.remainder(source[:, 1::2] + share * turn + 1, 2) - 1
    return mixed
