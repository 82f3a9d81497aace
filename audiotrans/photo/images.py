"""Photo <-> image: what `spectrogram.imaging` is for sounds.

The network sees a small image of the whole photo. What it changes there is brought to the photo's size along the
photo's own edges and added to it (`photo.guided`), so that the photo keeps its size and its fine detail: a photo of any
size, and of any shape that is not a mere strip, may be translated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from audiotrans.errors import AudiotransError
from audiotrans.photo.guided import follow_edges, rows_of

Pixels = NDArray[np.uint8]

CHANNELS = 3

STRIP_PIXELS = 2**20
"""Pixels of a photo that are changed at a time: memory does not grow by several copies of the photo."""

MOST_STRETCHED = 200
"""How many times as long as the training images' shape a photo may be, the other side scaled to theirs."""


@dataclass(frozen=True)
class PhotoSettings:
    """How photos become images. Part of every recipe, cache and model of photos.

    Attributes:
        height: rows of the images that the network is trained on.
        width: their columns (``train.crop_frames`` is for sounds).
        margin: rows and columns that prepared images have more, in which training crops are placed at random.
        flip: whether training mirrors half of the crops left to right.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # misspelt keys of a recipe are refused

    type: Literal["photo"] = "photo"
    height: int = 128
    width: int = 128
    margin: int = 4
    flip: bool = True

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            size = getattr(self, name)
            if not 16 <= size <= 4096:
                raise ValueError(f"{name} {size}: 16 to 4096 pixels")
        if not 0 <= self.margin <= 256:
            raise ValueError(f"margin {self.margin}: 0 to 256 pixels")

    @property
    def image_channels(self) -> int:
        """Channels of the images: red, green, blue."""
        return CHANNELS

    @property
    def image_rows(self) -> int:
        """Rows of the images."""
        return self.height


@dataclass(frozen=True)
class PhotoContext:
    """What an image cannot hold of its photo.

    Attributes:
        pixels: the photo itself, ``(height, width, 3)``, 0 .. 255.
        image: the image made of it, ``(1, 3, h, w)``.
    """

    pixels: Pixels
    image: Tensor


class PhotoImaging:
    """Turn photos into images and images back into photos.

    Args:
        settings: see `PhotoSettings`.
    """

    def __init__(self, settings: PhotoSettings) -> None:
        self.settings = settings

    def prepare(self, pixels: Pixels) -> Pixels:
        """Cut the largest centred part of a photo that has the training images' shape, and scale it to their size.

        On CelebA's aligned faces of 178 x 218 pixels and square images this is the cut of UNIT's recipe: rows 20 to
        197, all columns.

        Args:
            pixels: ``(height, width, 3)``, 0 .. 255.

        Returns:
            ``(3, settings.height + margin, settings.width + margin)``, 0 .. 255: compact, for the cache.
        """
        height, width = self.settings.height + self.settings.margin, self.settings.width + self.settings.margin
        scale = min(pixels.shape[0] / height, pixels.shape[1] / width)
        rows, columns = max(round(height * scale), 1), max(round(width * scale), 1)
        top, left = (pixels.shape[0] - rows) // 2, (pixels.shape[1] - columns) // 2
        part = _to_tensor(pixels[top : top + rows, left : left + columns])
        scaled = _resized(part, height, width)
        return ((scaled[0] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()

    def to_image(self, pixels: Pixels) -> tuple[Tensor, PhotoContext]:
        """Turn a photo into the image that the network translates.

        Args:
            pixels: ``(height, width, 3)``, 0 .. 255, of any size.

        Returns:
            Image ``(1, 3, h, w)`` in [-1, 1] of the whole photo in its own proportions, scaled so that the settings'
            height and width just fit into it; and the context that `from_image` needs.

        Raises:
            AudiotransError: if the photo is more than `MOST_STRETCHED` times as long as the settings' shape: scaled
                like that, the image would not fit into memory.
        """
        stretch = pixels.shape[1] / pixels.shape[0] * self.settings.height / self.settings.width
        if max(stretch, 1 / stretch) > MOST_STRETCHED:
            size = f"{pixels.shape[1]} x {pixels.shape[0]} pixels"
            raise AudiotransError(f"a photo of {size} is too long and narrow: cut it to at most {MOST_STRETCHED} : 1")
        scale = max(self.settings.height / pixels.shape[0], self.settings.width / pixels.shape[1])
        rows = max(round(pixels.shape[0] * scale), self.settings.height)
        columns = max(round(pixels.shape[1] * scale), self.settings.width)
        image = _resized(_to_tensor(pixels), rows, columns)
        return image, PhotoContext(pixels, image)

    def from_image(self, image: Tensor, context: PhotoContext) -> Pixels:
        """Turn an image back into a photo of the source's size.

        Args:
            image: of the shape that `to_image` gave.
            context: as `to_image` gave it.

        Returns:
            ``(height, width, 3)``, 0 .. 255: the source, with the image's changes brought to its size and added.
        """
        source = context.pixels
        change = follow_edges(image.cpu() - context.image, context.image, source.shape[0], source.shape[1])
        made = np.empty_like(source)
        step = max(STRIP_PIXELS // source.shape[1], 1)
        for top in range(0, source.shape[0], step):
            strip = source[top : top + step]
            guide = _to_tensor(strip)[0]
            changed = (guide + rows_of(change, guide, top, source.shape[0]) + 1) * 127.5
            made[top : top + step] = changed.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
        return made


def _to_tensor(pixels: Pixels) -> Tensor:
    if pixels.ndim != 3 or pixels.shape[2] != CHANNELS or pixels.dtype != np.uint8 or not pixels.size:
        raise ValueError(f"pixels of shape {pixels.shape} and type {pixels.dtype}: give (height, width, 3) of uint8")
    # A copy: Pillow's own arrays are read-only, which torch warns of.
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


def _resized(image: Tensor, height: int, width: int) -> Tensor:
    """Scale ``(n, c, h, w)`` without aliasing; the same tensor where the size is right already."""
    if tuple(image.shape[2:]) == (height, width):
        return image
    return F.interpolate(image, (height, width), mode="bicubic", antialias=True, align_corners=False)
