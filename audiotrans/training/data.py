"""Crops for training from a prepared cache.

Needs torch, numpy and safetensors only, so that bare machines can train.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiotrans.errors import AudiotransError
from audiotrans.model.extra_losses import FIRST_NOTE_ROW
from audiotrans.training.cache import Images, from_bytes, read_manifest

SOUNDING = 0.3
"""Image units below the loudest row at which a row still counts as sounding: 15 dB."""

OUTSIDE = 0.05
"""Weight that crops outside the shared range keep."""

Place = tuple[dict[str, Any], int]


class ImageCache:
    """A folder that `audiotrans prep` wrote.

    Args:
        root: the folder.

    Raises:
        AudiotransError: if it holds no cache, or one of another version, or a domain without images.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.manifest = read_manifest(self.root)
        self.images = Images(self.root)
        self.items: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for item in self.manifest["items"]:
            self.items.setdefault((item["domain"], item["split"]), []).append(item)
        self._joined: dict[tuple[str, int], Tensor] = {}
        self._drawn: dict[tuple[str, int, bool], dict[str, tuple[list[Place], Tensor]]] = {}
        for domain in "ab":
            if not self.items.get((domain, "train")):
                name = self.manifest["domains"][domain]
                raise AudiotransError(
                    f"the cache {self.root} has no training images of {name!r}; run audiotrans prep again"
                )

    def has(self, split: str) -> bool:
        """Tell whether both domains have images in a split."""
        return all(self.items.get((domain, split)) for domain in "ab")

    def sample(
        self, domain: str, split: str, step: int, batch: int, crop_frames: int, seed: int, *, match_range: bool = False
    ) -> Tensor:
        """Draw crops: a pure function of its arguments, so that a resumed run sees what the first would have seen.

        Args:
            domain: ``a`` or ``b``.
            split: ``train`` or ``valid``.
            step: position in the run.
            batch: number of crops.
            crop_frames: columns of each; shorter images are filled with their lowest value.
            seed: of the run.
            match_range: draw both domains from the pitch range that they share, see `range_weights`.

        Returns:
            Float32 ``(batch, c, rows, crop_frames)`` in [-1, 1]; every second of sound is equally likely, unless ranges
            are matched.
        """
        generator = stream(seed, "crops", domain, split, step)
        places, weights = self._places(split, crop_frames, match_range)[domain]
        chosen = torch.multinomial(weights, batch, replacement=True, generator=generator)
        crops = []
        for index in chosen.tolist():
            item, first = places[index]
            start = first + int(torch.randint(_starts(item, first, crop_frames), (1,), generator=generator))
            crops.append(self._crop(item, start, crop_frames))
        return torch.stack(crops)

    def _places(self, split: str, crop_frames: int, match_range: bool) -> dict[str, tuple[list[Place], Tensor]]:
        """Return where crops may begin (on a grid of half crops) and how likely each place is, by domain."""
        key = split, crop_frames, match_range
        if key not in self._drawn:
            step = max(crop_frames // 2, 1)
            places = {
                domain: [
                    (item, at) for item in self.items[domain, split] for at in _grid(item["frames"], crop_frames, step)
                ]
                for domain in "ab"
            }
            weights = {
                domain: torch.tensor([_starts(item, at, crop_frames) for item, at in found], dtype=torch.float64)
                for domain, found in places.items()
            }
            if match_range:
                lowest = {d: [lowest_row(self.read(item, at, crop_frames)) for item, at in places[d]] for d in "ab"}
                shared = range_weights(lowest["a"], lowest["b"], (weights["a"], weights["b"]))
                weights = {"a": weights["a"] * shared[0], "b": weights["b"] * shared[1]}
            self._drawn[key] = {domain: (places[domain], weights[domain]) for domain in "ab"}
        return self._drawn[key]

    def image_size(self) -> tuple[int, int]:
        """Return channels and rows of the images."""
        channels, rows, _ = self.read(self.manifest["items"][0], 0, 1).shape
        return channels, rows

    def read(self, item: dict[str, Any], start: int = 0, frames: int | None = None) -> Tensor:
        """Read columns of one item of the manifest, float32 ``(c, rows, frames)`` in [-1, 1].

        Raises:
            AudiotransError: if the file is missing or broken.
        """
        return from_bytes(self._values(item)[..., start : None if frames is None else start + frames])

    def _values(self, item: dict[str, Any]) -> Tensor:
        key = item["file"], item["index"]
        if not item.get("joined"):
            return self.images.values(*key)
        if key not in self._joined:
            first = self.images.values(*key)
            silence = torch.zeros((*first.shape[:2], item["gap"]), dtype=torch.uint8)
            others = [self.images.values(each["file"], each["index"]) for each in item["joined"]]
            self._joined[key] = torch.cat([first, *(part for other in others for part in (silence, other))], dim=-1)
        return self._joined[key]

    def _crop(self, item: dict[str, Any], start: int, frames: int) -> Tensor:
        image = self.read(item, start, frames)
        missing = frames - image.shape[-1]
        if missing <= 0:
            return image
        return torch.nn.functional.pad(image, (0, missing), value=float(image.min()))


class PhotoCache(ImageCache):
    """A cache of photos: images of one size, many to a file, cropped in both directions and mirrored."""

    def sample(
        self, domain: str, split: str, step: int, batch: int, crop_frames: int, seed: int, *, match_range: bool = False
    ) -> Tensor:
        """Draw images: a pure function of its arguments.

        Args:
            domain: ``a`` or ``b``.
            split: ``train``: random crops, mirrored half of the time if the settings say so; else centred crops.
            step: position in the run.
            batch: number of images.
            crop_frames: not used: the settings that the cache was made with name the size.
            seed: of the run.
            match_range: not used.

        Returns:
            Float32 ``(batch, 3, height, width)`` in [-1, 1].
        """
        del crop_frames, match_range
        generator = stream(seed, "crops", domain, split, step)
        items, settings = self.items[domain, split], self.manifest["imaging"]
        chosen = torch.randint(len(items), (batch,), generator=generator).tolist()
        crops = []
        for index in chosen:
            image = self.read(items[index])
            room = torch.tensor([image.shape[1] - settings["height"], image.shape[2] - settings["width"]])
            places = torch.rand(3, generator=generator)
            top, left = ((places[:2] * (room + 1)).long() if split == "train" else room // 2).tolist()
            crop = image[:, top : top + settings["height"], left : left + settings["width"]]
            mirrored = split == "train" and settings["flip"] and places[2] < 0.5
            crops.append(crop.flip(2) if mirrored else crop)
        return torch.stack(crops)

    def image_size(self) -> tuple[int, int]:
        """Return channels and rows of the images."""
        return self.read(self.manifest["items"][0]).shape[0], int(self.manifest["imaging"]["height"])


def open_images(root: Path | str) -> ImageCache:
    """Open a cache of sounds or of photos.

    Raises:
        AudiotransError: as `ImageCache`.
    """
    kind = read_manifest(Path(root))["imaging"].get("type")
    return PhotoCache(root) if kind == "photo" else ImageCache(root)


def _starts(item: dict[str, Any], first: int, crop_frames: int) -> int:
    """Count the columns from ``first`` to the next place at which a crop may begin."""
    left = int(item["frames"]) - crop_frames + 1 - first
    return max(min(max(crop_frames // 2, 1), left), 1)


def _grid(frames: int, crop_frames: int, step: int) -> range:
    return range(0, max(frames - crop_frames + 1, 1), step)


def lowest_row(image: Tensor) -> int:
    """Return the lowest row of a logarithmic image ``(c, rows, frames)`` that sounds: about the lowest note's.

    A row sounds if its mean lies within `SOUNDING` of the loudest row's mean; rows are taken from the first channel.
    """
    profile = image[0, FIRST_NOTE_ROW:].mean(1)
    return FIRST_NOTE_ROW + int((profile >= profile.max() - SOUNDING).nonzero()[0])


def range_weights(
    lowest_a: Sequence[int], lowest_b: Sequence[int], counts: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Weigh crops so that both domains are drawn from the range of lowest notes that they share.

    A discriminator that always hears bass notes on one side asks for them on the other, where no note can be made of
    nothing: the translation fills up with rumble. Each domain's histogram over thirds of octaves is brought to the
    lesser of both; crops outside the shared range keep `OUTSIDE` of their weight, so that they are not unheard of.

    Args:
        lowest_a: `lowest_row` of each crop of A.
        lowest_b: the same of B.
        counts: how often each crop of A and of B counts; once if None.

    Returns:
        Weights of either domain's crops, float64, > 0.
    """
    bins = [torch.tensor([math.floor(3 * math.log2(row + 1)) for row in rows]) for rows in (lowest_a, lowest_b)]
    size = int(max(found.max() for found in bins)) + 1
    counted = counts or (None, None)
    sums = [torch.bincount(found, n, minlength=size).double() for found, n in zip(bins, counted, strict=True)]
    shares = [found / found.sum() for found in sums]
    shared = torch.minimum(*shares)
    a, b = (
        (shared / share.clamp(min=1e-12))[found].clamp(min=OUTSIDE) for share, found in zip(shares, bins, strict=True)
    )
    return a, b


def stream(seed: int, *place: object) -> torch.Generator:
    """Return a CPU generator that depends on a seed and a place only (a name, a step)."""
    digest = hashlib.sha256(repr((seed, *place)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
