"""Crops for training from a prepared cache. Needs torch and safetensors only, so that bare machines can train."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from audiotrans.errors import AudiotransError

MANIFEST = "manifest.json"
FORMAT = "audiotrans-cache"
VERSION = 1


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
        self.items: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for item in self.manifest["items"]:
            self.items.setdefault((item["domain"], item["split"]), []).append(item)
        for domain in "ab":
            if not self.items.get((domain, "train")):
                name = self.manifest["domains"][domain]
                raise AudiotransError(
                    f"the cache {self.root} has no training images of {name!r}; run audiotrans prep again"
                )

    def has(self, split: str) -> bool:
        """Tell whether both domains have images in a split."""
        return all(self.items.get((domain, split)) for domain in "ab")

    def sample(self, domain: str, split: str, step: int, batch: int, crop_frames: int, seed: int) -> Tensor:
        """Draw crops: a pure function of its arguments, so that a resumed run sees what the first would have seen.

        Args:
            domain: ``a`` or ``b``.
            split: ``train`` or ``valid``.
            step: position in the run.
            batch: number of crops.
            crop_frames: columns of each; shorter images are filled with their lowest value.
            seed: of the run.

        Returns:
            Float32 ``(batch, c, rows, crop_frames)`` in [-1, 1]; every second of sound is equally likely.
        """
        generator = stream(seed, "crops", domain, split, step)
        items = self.items[domain, split]
        starts = torch.tensor([max(item["frames"] - crop_frames, 0) + 1 for item in items], dtype=torch.float64)
        chosen = torch.multinomial(starts, batch, replacement=True, generator=generator)
        crops = []
        for index in chosen.tolist():
            start = int(torch.randint(int(starts[index]), (1,), generator=generator))
            crops.append(self._crop(items[index], start, crop_frames))
        return torch.stack(crops)

    def read(self, item: dict[str, Any], start: int = 0, frames: int | None = None) -> Tensor:
        """Read columns of one item of the manifest, float32 ``(c, rows, frames)``.

        Raises:
            AudiotransError: if the file is missing or broken.
        """
        path = self.root / item["file"]
        try:
            with safe_open(path, framework="pt") as file:
                columns = file.get_slice("image")
                stop = columns.get_shape()[-1] if frames is None else start + frames
                image: Tensor = columns[:, :, start:stop].float()
        except Exception as error:  # safetensors raises its own error class, and OSError for missing files
            raise AudiotransError(f"cannot read {path} ({error}); run audiotrans prep again") from None
        return image

    def _crop(self, item: dict[str, Any], start: int, frames: int) -> Tensor:
        image = self.read(item, start, frames)
        missing = frames - image.shape[-1]
        if missing <= 0:
            return image
        return torch.nn.functional.pad(image, (0, missing), value=float(image.min()))


def read_manifest(root: Path) -> dict[str, Any]:
    """Read and check the manifest of a cache.

    Raises:
        AudiotransError: if there is none, or it is broken or of another version.
    """
    try:
        manifest: dict[str, Any] = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
        form, version = manifest["format"], manifest["version"]
    except FileNotFoundError:
        raise AudiotransError(
            f"{root} holds no prepared data; make it with: audiotrans prep SOUNDS -o {root}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AudiotransError(f"{root / MANIFEST} is broken ({error}); run audiotrans prep again") from None
    if form != FORMAT or version != VERSION:
        raise AudiotransError(
            f"{root / MANIFEST} is {form} {version}, not {FORMAT} {VERSION}; run audiotrans prep again"
        )
    return manifest


def stream(seed: int, *place: object) -> torch.Generator:
    """Return a CPU generator that depends on a seed and a place only (a name, a step)."""
    digest = hashlib.sha256(repr((seed, *place)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
