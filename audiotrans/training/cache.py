"""The prepared cache: its manifest, its files of images, and how they are read. Needs torch and safetensors only.

A cache is a folder with a ``manifest.json`` and, under ``images/``, a safetensors file for each sound, or for up to
so many photos. An image is kept as 8-bit values, each less its left neighbour (modulo 256), deflated: neighbours are
alike. A value of a sound is off by at most half a step of 8 bits, 1 / 255 of an image unit: 0.20 dB of a range of
100 dB, a tenth of what ``train.gain_db: 2`` adds. Photos are 8-bit already and lose nothing.

A file's name holds a hash of all that it depends on, and the manifest is written last. So a file that exists is right,
an interrupted run continues, and the files of the last manifest stay whole until the next one replaces it.
"""

from __future__ import annotations

import hashlib
import json
import threading
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from audiotrans.errors import AudiotransError, UsageError
from audiotrans.files import from_json, replacing, write_whole

MANIFEST = "manifest.json"
CACHE_FORMAT = "audiotrans-cache"
CACHE_VERSION = 2

MOST_WEIGHT = 1e30
"""Weights of items lie below: sums of them are finite."""

IMAGES = "images"
"""Folder of the image files; those of a domain lie in ``images/a`` or ``images/b``."""

SUFFIX = ".safetensors"

HALF_RANGE = 127.5
"""Steps of 8 bits from the middle of [-1, 1] to its ends."""

KEPT_BYTES = 2_000_000_000
"""What is kept in memory of the images that were read, inflated: of 256 rows and 86 columns a second, 25 hours."""


# Eight bits ----------------------------------------------------------------------------------------------------------


def to_bytes(image: Tensor) -> Tensor:
    """Return an image in [-1, 1] as 8-bit values; `from_bytes` gives it back within half a step, 1 / 255."""
    return ((image.float() + 1) * HALF_RANGE).round().clamp(0, 255).to(torch.uint8)


def from_bytes(values: Tensor) -> Tensor:
    """Return 8-bit values as float32 in [-1, 1]."""
    return values.float() / HALF_RANGE - 1


def deflated(values: NDArray[np.uint8]) -> bytes:
    """Deflate 8-bit values ``(..., columns)`` after taking each one's left neighbour off."""
    change = np.diff(values, axis=-1, prepend=np.zeros((*values.shape[:-1], 1), np.uint8))
    return zlib.compress(change.tobytes())


def inflated(content: bytes, shape: Sequence[int]) -> NDArray[np.uint8]:
    """Undo `deflated`.

    Raises:
        ValueError, zlib.error: if the content is not of this shape.
    """
    change = np.frombuffer(zlib.decompress(content), np.uint8).reshape(shape)
    values: NDArray[np.uint8] = np.add.accumulate(change, axis=-1, dtype=np.uint8)
    return values


# Files of images -----------------------------------------------------------------------------------------------------


class Packed(NamedTuple):
    """An image as a file holds it: its deflated values and its shape, ``(channels, rows, columns)``."""

    content: bytes
    shape: tuple[int, ...]


def packed(values: Tensor) -> Packed:
    """Deflate an image: uint8, or floating point in [-1, 1], which is rounded to 8 bits.

    Raises:
        AudiotransError: if a value is not finite.
    """
    if values.dtype != torch.uint8:
        if not values.isfinite().all():
            raise AudiotransError("its image holds numbers that are not finite")
        values = to_bytes(values)
    return Packed(deflated(values.contiguous().numpy()), tuple(values.shape))


def write_images(path: Path, images: Sequence[Packed], facts: Mapping[str, Any] | None = None) -> None:
    """Write a file of images, whole or not at all.

    Args:
        path: ends in ``.safetensors``.
        images: in the order of their places in the file.
        facts: JSON-ready values to be kept in the file's header, see `read_facts`.

    Raises:
        WriteError: if it cannot be written.
    """
    tensors = {str(place): np.frombuffer(image.content, np.uint8) for place, image in enumerate(images)}
    record = {**(facts or {}), "shapes": [image.shape for image in images]}
    write_whole(path, save(tensors, metadata={"record": json.dumps(record)}))


def read_facts(path: Path) -> dict[str, Any] | None:
    """Return what the header of a file of images holds; None where there is no such file, or it was cut off."""
    try:
        with safe_open(path, "numpy") as file:
            record: dict[str, Any] = from_json(file.metadata()["record"])
            _ = record["shapes"]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    return record


class Images:
    """The image files of a cache, mapped into memory as they are.

    What is read of them stays in memory inflated, `KEPT_BYTES` of it: what was used least lately goes first.

    Args:
        root: folder of the cache.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._kept: dict[tuple[tuple[str, int], ...], Tensor] = {}  # in the order of their last use
        self._bytes = 0
        self._lock = threading.Lock()  # crops are drawn in threads while the main one validates

    def values(self, parts: Sequence[tuple[str, int]], gap: int = 0) -> Tensor:
        """Return an image, uint8 ``(channels, rows, columns)``.

        Args:
            parts: what it is joined of, one or more: a file, from the cache's root, and the place in it.
            gap: columns of 0 between them.

        Raises:
            AudiotransError: if a file is missing or broken.
        """
        key = tuple(parts)
        with self._lock:
            found = self._kept.pop(key, None)
            if found is not None:
                self._kept[key] = found
                return found
        images = [self._read(self.root / file, place) for file, place in parts]
        found = images[0]
        if len(images) > 1:
            silence = torch.zeros((*found.shape[:2], gap), dtype=torch.uint8)
            found = torch.cat([found, *(part for other in images[1:] for part in (silence, other))], dim=-1)
        with self._lock:
            self._keep(key, found)
        return found

    def _keep(self, key: tuple[tuple[str, int], ...], values: Tensor) -> None:
        if key not in self._kept:  # another thread may have read the same
            self._kept[key] = values
            self._bytes += values.numel()
        while self._bytes > KEPT_BYTES and len(self._kept) > 1:
            self._bytes -= self._kept.pop(next(iter(self._kept))).numel()

    @staticmethod
    def _read(path: Path, place: int) -> Tensor:
        try:
            with safe_open(path, "numpy") as file:
                shape = from_json(file.metadata()["record"])["shapes"][place]
                content = file.get_tensor(str(place))
            return torch.from_numpy(inflated(content.tobytes(), shape))
        except (OSError, SafetensorError, KeyError, IndexError, TypeError, ValueError, zlib.error) as error:
            way_out = "remove it and run" if path.exists() else "run"
            raise AudiotransError(f"cannot read {path} ({error}); {way_out} audiotrans prep again") from None


# The manifest and the folder -----------------------------------------------------------------------------------------


def read_manifest(root: Path, sounds: str = "SOUNDS") -> dict[str, Any]:
    """Read and check the manifest of a cache, to train from it.

    Args:
        root: the cache.
        sounds: what `prep` is given to make such a one, for the message.

    Raises:
        AudiotransError: if there is none, or it is broken or of another version.
    """
    try:
        manifest: dict[str, Any] = from_json((root / MANIFEST).read_text(encoding="utf-8"))
        form, version = manifest["format"], manifest["version"]
    except FileNotFoundError:
        raise AudiotransError(
            f"{root} holds no prepared data; make it with: audiotrans prep {sounds} -o {root}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AudiotransError(f"{root / MANIFEST} is broken ({error}); run audiotrans prep again") from None
    if (form, version) != (CACHE_FORMAT, CACHE_VERSION):
        raise AudiotransError(
            f"{root / MANIFEST} is {form} {version}, this program reads {CACHE_FORMAT} {CACHE_VERSION}: run audiotrans"
            " prep again, into a new folder"
        )
    fault = _fault(manifest)
    if fault:
        raise AudiotransError(f"{root / MANIFEST} is broken ({fault}); run audiotrans prep again")
    return manifest


def fingerprint(manifest: Mapping[str, Any]) -> str:
    """Return a digest of all that crops depend on: the same wherever the cache, or the sounds it was made of, lie.

    Files of images are named after a hash of their content, so that their names stand for it.
    """
    imaging = {key: value for key, value in manifest["imaging"].items() if key != "phase"}
    items = [_placeless(item) for item in manifest["items"]]
    content = json.dumps([imaging, manifest["domains"], items], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _placeless(item: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in item.items() if key not in ("source", "stamp")}
    return kept | {"joined": [_placeless(each) for each in item["joined"]]} if item.get("joined") else kept


def _fault(manifest: Mapping[str, Any]) -> str:
    """Say where a manifest is not as `write_manifest` is given it; empty where it is."""
    imaging, domains, items = (manifest.get(key) for key in ("imaging", "domains", "items"))
    if not isinstance(imaging, dict) or not isinstance(items, list):
        return "it says nothing of imaging or items"
    if not isinstance(domains, dict) or not all(isinstance(domains.get(side), str) for side in "ab"):
        return "it names no domains"
    if imaging.get("type") == "photo" and not all(_is_whole(imaging.get(side), 1) for side in ("height", "width")):
        return "its imaging has no height and width"
    for number, item in enumerate(items):
        for key, fits in _OF_ITEM.items():
            if not isinstance(item, dict) or not fits(item.get(key)):
                return f"item {number} has no {key} as prep writes it"
    return ""


def _is_whole(value: object, least: int = 0) -> bool:
    return type(value) is int and least <= value < 2**31


def _is_inside(file: object) -> bool:
    """Tell whether a file's name stays in the folder of the cache."""
    if not isinstance(file, str) or not file or "\0" in file:
        return False
    return not any(kind(file).anchor or ".." in kind(file).parts for kind in (PurePosixPath, PureWindowsPath))


def _is_weight(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and 0 < value < MOST_WEIGHT)


def _are_parts(parts: object) -> bool:
    """Check the further sounds of an item that holds several."""
    keys = ("file", "index", "level")
    return parts is None or (
        isinstance(parts, list)
        and all(isinstance(part, dict) and all(_OF_ITEM[key](part.get(key)) for key in keys) for part in parts)
    )


_OF_ITEM: dict[str, Callable[[Any], bool]] = {
    "domain": lambda value: value in ("a", "b"),
    "split": lambda value: value in ("train", "valid", "test"),
    "source": lambda value: value is None or (isinstance(value, str) and "\0" not in value),
    "file": _is_inside,
    "index": _is_whole,
    "frames": lambda value: _is_whole(value, 1),
    "weight": _is_weight,
    "gap": lambda value: value is None or _is_whole(value),
    "level": lambda value: value is None or _is_whole(value),
    "joined": _are_parts,
}
"""What a manifest says of each image, and what that may be."""


def open_cache(output: Path) -> dict[str, Any]:
    """Make sure that prep may use a folder as a cache.

    Args:
        output: a folder that is missing, empty, or a cache, finished or not.

    Returns:
        The manifest of the last run; empty if there is none, or it is broken or of another version.

    Raises:
        UsageError: if it holds anything else, or a file stands there.
    """
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file: give a folder for the cache")
    manifest = output / MANIFEST
    try:
        content = from_json(manifest.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        content = None
    except OSError as error:
        raise UsageError(f"cannot read {manifest} ({error.strerror}): give another folder") from None
    except ValueError:
        raise UsageError(f"{manifest} is not the manifest of a cache: give another folder") from None
    if content is None:
        if output.is_dir() and not _is_unfinished(output):
            raise UsageError(f"{output} holds something else than a cache: give an empty or a new folder")
        return {}
    if not isinstance(content, dict) or content.get("format") != CACHE_FORMAT:
        raise UsageError(f"{manifest} is not the manifest of a cache: give another folder")
    return content if content.get("version") == CACHE_VERSION and not _fault(content) else {}


def write_manifest(root: Path, content: Mapping[str, Any]) -> None:
    """Write what the cache holds: from here on training may read it.

    Args:
        root: folder of the cache.
        content: ``imaging``, ``domains``, ``items`` and what else is worth knowing, JSON-ready.

    Raises:
        WriteError: if it cannot be written.
    """
    whole = {"format": CACHE_FORMAT, "version": CACHE_VERSION, **content}
    with replacing(root / MANIFEST) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        json.dump(whole, file, indent=1)  # piece by piece: of ten thousand sounds the pieces alone are 30 MB


def remove_orphans(root: Path, wanted: Collection[str]) -> int:
    """Remove files of images, whole or half, that the manifest does not name; return how many whole ones.

    Nothing outside the cache's own folders is touched, those of version 1 (``images/<split>/<domain>``) among them.

    Args:
        root: folder of the cache.
        wanted: the files that stay, from the root.
    """
    removed = 0
    for path in _files_of_images(root):
        if path.relative_to(root).as_posix() not in wanted:
            path.unlink()
            removed += not _is_partial(path)
    return removed


def _is_unfinished(output: Path) -> bool:
    """Tell whether all that is there is what an interrupted run leaves, or others that are at work leave."""
    homes = _homes(output)
    return all(
        path.is_dir() or (path.parent in homes and _is_ours(path)) or _is_partial(path) for path in output.rglob("*")
    )


def _homes(root: Path) -> list[Path]:
    homes = [root / IMAGES / domain for domain in "ab"]
    return homes + [root / IMAGES / split / domain for split in ("train", "valid", "test") for domain in "ab"]


def _files_of_images(root: Path) -> list[Path]:
    return [path for home in _homes(root) if home.is_dir() for path in home.iterdir() if _is_ours(path)]


def _is_ours(path: Path) -> bool:
    return path.suffix == SUFFIX or _is_partial(path)


def _is_partial(path: Path) -> bool:
    return path.name.startswith(".") and path.suffix == ".partial"
