"""Where a cache's images lie: in the files that ``audiotrans prep`` wrote, or in the parts of ``audiotrans pack``.

A part is a safetensors file of deflated stretches. A stretch holds some columns of one image file, or some of its
photos, as 8-bit values, each less its left neighbour (modulo 256): neighbours in time are alike.
"""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

from audiotrans.errors import AudiotransError

PACKED_FORMAT = "audiotrans-packed"
PACKED_VERSION = 1

HALF_RANGE = 127.5
"""Steps of 8 bits from the middle of [-1, 1] to its ends."""


class Store(Protocol):
    """Reads float32 images in [-1, 1]."""

    def sound(self, file: str, start: int, stop: int | None) -> Tensor:
        """Read columns of an image file of one image, ``(c, rows, stop - start)``; to its end if ``stop`` is None."""

    def photo(self, file: str, index: int) -> Tensor:
        """Read one image of a file of many, ``(3, rows, columns)``."""

    def lowest_rows(self, domain: str, split: str, crop_frames: int) -> list[int] | None:
        """Return the lowest sounding rows of the unpacked images at all places of crops, if they are known."""


class Files:
    """The image files of a prepared cache.

    Args:
        root: folder of the cache.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def sound(self, file: str, start: int, stop: int | None) -> Tensor:
        """Read columns; see `Store`.

        Raises:
            AudiotransError: if the file is missing or broken.
        """
        image: Tensor = self._read(file, "image", (slice(None), slice(None), slice(start, stop))).float()
        return image

    def photo(self, file: str, index: int) -> Tensor:
        """Read one image; see `Store`.

        Raises:
            AudiotransError: if the file is missing or broken.
        """
        return from_bytes(self._read(file, "images", (slice(index, index + 1),))[0])

    def lowest_rows(self, domain: str, split: str, crop_frames: int) -> list[int] | None:
        """Return None: they can be measured."""
        del domain, split, crop_frames
        return None

    def whole(self, file: str) -> Tensor:
        """Return all of a file as it is stored: float16 ``(c, rows, frames)``, or uint8 ``(n, 3, rows, columns)``.

        Raises:
            AudiotransError: if the file is missing or broken.
        """
        return self._read(file, None, (slice(None),))

    def _read(self, file: str, name: str | None, place: tuple[slice, ...]) -> Tensor:
        path = self.root / file
        try:
            with safe_open(path, framework="pt") as opened:
                read: Tensor = opened.get_slice(name or next(iter(opened.keys())))[place]
        except Exception as error:  # safetensors raises its own error class, and OSError for missing files
            raise AudiotransError(f"cannot read {path} ({error}); run audiotrans prep again") from None
        return read


class Parts:
    """The parts of a packed cache; what is read of them stays in memory, inflated.

    Args:
        root: folder of the packed cache.
        manifest: its manifest, see `audiotrans.training.packing`.

    Raises:
        AudiotransError: if a part is missing or is not the one that was packed.
    """

    def __init__(self, root: Path, manifest: dict[str, Any]) -> None:
        self.root, self.manifest = root, manifest
        self._blocks: dict[str, Tensor] = {}
        for part in manifest["parts"]:
            self._check(root / part["file"], part["sha256"])

    @staticmethod
    def _check(path: Path, digest: str) -> None:
        found = hashlib.sha256()
        try:
            with path.open("rb") as file:
                while piece := file.read(1 << 20):
                    found.update(piece)
        except OSError as error:
            raise _broken(path, error.strerror or error) from None
        if found.hexdigest() != digest:
            raise _broken(path, "its SHA-256 is not the manifest's")

    def sound(self, file: str, start: int, stop: int | None) -> Tensor:
        """Read columns; see `Store`."""
        return from_bytes(self.block(file)[:, :, start:stop])

    def photo(self, file: str, index: int) -> Tensor:
        """Read one image; see `Store`."""
        return from_bytes(self.block(file)[index])

    def block(self, file: str) -> Tensor:
        """Return all of an image file as it was packed, uint8 ``(c, rows, frames)`` or ``(n, 3, rows, columns)``.

        Raises:
            AudiotransError: if it is not in the parts.
        """
        if file not in self._blocks:
            try:
                stretches = self.manifest["blocks"][file]
                found = [self._stretch(part, key, shape) for part, key, shape in stretches]
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise _broken(self.root / file, f"the manifest does not say where it is: {error}") from None
            self._blocks[file] = torch.from_numpy(np.concatenate(found, axis=stretch_axis(found[0].ndim)))
        return self._blocks[file]

    def _stretch(self, part: int, key: str, shape: list[int]) -> NDArray[np.uint8]:
        deflated = self._read(part, key).numpy()
        try:
            return inflated(deflated.tobytes(), shape)
        except (ValueError, zlib.error) as error:
            raise _broken(self.root / self.manifest["parts"][part]["file"], error) from None

    def lowest_rows(self, domain: str, split: str, crop_frames: int) -> list[int] | None:
        """Return the lowest sounding rows of the unpacked images at all places of crops; None if none were packed.

        Quantised images would give nearly the same rows, and nearly is not enough for the same crops.
        """
        known = self.manifest.get("lowest_rows", {}).get(f"{split}/{domain}/{crop_frames}")
        if known is None:
            return None
        rows: list[int] = self._read(*known).tolist()
        return rows

    def _read(self, part: int, key: str) -> Tensor:
        path = self.root / self.manifest["parts"][part]["file"]
        try:
            with safe_open(path, framework="pt") as opened:
                found: Tensor = opened.get_tensor(key)
        except Exception as error:  # safetensors raises its own error class, and OSError for missing files
            raise _broken(path, error) from None
        return found


def _broken(path: Path, why: object) -> AudiotransError:
    return AudiotransError(f"cannot read {path} ({why}); copy the packed cache again, or run audiotrans pack again")


def from_bytes(values: Tensor) -> Tensor:
    """Return 8-bit values as float32 in [-1, 1]."""
    return values.float() / HALF_RANGE - 1


def to_bytes(image: Tensor) -> Tensor:
    """Return an image in [-1, 1] as 8-bit values; `from_bytes` gives it back within half a step, 1 / 255."""
    return ((image.float() + 1) * HALF_RANGE).round().clamp(0, 255).to(torch.uint8)


def stretch_axis(dimensions: int) -> int:
    """Return along which axis a file of images is cut: sounds in time, photos one from the other."""
    return 0 if dimensions == 4 else -1


def deflated(values: NDArray[np.uint8]) -> bytes:
    """Deflate 8-bit values ``(..., columns)`` after taking each one's left neighbour off."""
    change = np.diff(values, axis=-1, prepend=np.zeros((*values.shape[:-1], 1), np.uint8))
    return zlib.compress(change.tobytes())


def inflated(content: bytes, shape: list[int]) -> NDArray[np.uint8]:
    """Undo `deflated`.

    Raises:
        ValueError, zlib.error: if the content is not of this shape.
    """
    change = np.frombuffer(zlib.decompress(content), np.uint8).reshape(shape)
    values: NDArray[np.uint8] = np.add.accumulate(change, axis=-1, dtype=np.uint8)
    return values


def open_store(root: Path, manifest: dict[str, Any]) -> Store:
    """Open the images of a cache, prepared or packed, by its manifest.

    Raises:
        AudiotransError: as `Parts`.
    """
    return Parts(root, manifest) if manifest["format"] == PACKED_FORMAT else Files(root)
