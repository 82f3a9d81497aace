"""A prepared cache made small enough to travel: 8 bits a value, deflated, in files of limited size.

Sounds lose at most half a step of 8 bits, 1 / 255 of an image unit or 0.2 dB of a range of 100 dB: a tenth of what
training adds to each crop as dither and gain. Photos lose nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from audiotrans.errors import AudiotransError, UsageError
from audiotrans.training.datasets import MANIFEST, ImageCache, _grid, lowest_row, open_images
from audiotrans.training.stores import (
    PACKED_FORMAT,
    PACKED_VERSION,
    Files,
    deflated,
    from_bytes,
    stretch_axis,
    to_bytes,
)

CROPS = (64, 96, 128, 192, 256, 384, 512)
"""Lengths of crops, in columns, for which the unpacked images' lowest rows are kept."""

STRETCH_BYTES = 4_000_000
"""Most bytes, before they are deflated, that are deflated together."""

HEADER_BYTES = 200
"""What an entry takes of a safetensors file's header, at most, beside its name."""

DB_PER_UNIT = 50.0
"""All logarithmic images span 100 dB over [-1, 1]."""


@dataclass(frozen=True)
class Packed:
    """What `pack` made.

    Attributes:
        root: the packed cache.
        images: files of images in it.
        parts: files that hold them.
        bytes: of all parts and the manifest.
        was_bytes: of the prepared images.
        largest_error: largest difference of a packed value from its original, in image units (the range is 2).
        log: whether an image unit is `DB_PER_UNIT` dB.
    """

    root: Path
    images: int
    parts: int
    bytes: int
    was_bytes: int
    largest_error: float
    log: bool

    def __str__(self) -> str:
        """Return the line that a user sees."""
        sizes = f"{self.bytes / 1e6:.1f} MB in {self.parts} parts (prepared: {self.was_bytes / 1e6:.1f} MB)"
        if not self.largest_error:
            return f"{self.root}: {sizes}; nothing is lost"
        error = f"{self.largest_error * DB_PER_UNIT:.2f} dB" if self.log else f"{self.largest_error:.4f} of [-1, 1]"
        return f"{self.root}: {sizes}; values are off by at most {error}"


def pack(
    cache: Path | str,
    output: Path | str,
    *,
    part_mb: float = 15.0,
    crop_frames: Sequence[int] = (),
    force: bool = False,
    progress: bool = True,
) -> Packed:
    """Rewrite a prepared cache in 8 bits, in files of limited size; whatever trains from it reads the result too.

    Args:
        cache: folder that `audiotrans prep` wrote.
        output: folder to make.
        part_mb: largest file, in MB (10^6 bytes).
        crop_frames: further lengths of crops, beside `CROPS`, that ``train.match_range`` shall draw exactly as from
            the prepared cache.
        force: whether to overwrite a packed cache that exists.
        progress: show a bar.

    Returns:
        What was made.

    Raises:
        UsageError: for an output that exists or is something else, or parts too small for one column or photo.
        AudiotransError: if the cache cannot be read, or the disk is full.
    """
    data, output = open_images(cache), Path(output)
    if not isinstance(data.store, Files):
        raise UsageError(f"{cache} is packed already: give the cache that audiotrans prep made")
    if not part_mb > 0:
        raise UsageError(f"part-mb {part_mb:g}: more than 0 is needed")
    if any(crop < 1 for crop in crop_frames):
        raise UsageError(f"crop-frames {min(crop_frames)}: 1 or more is needed")
    _check_output(output, force)
    beside = output.parent / f".{output.name}.{os.getpid()}.partial"
    try:
        beside.mkdir(parents=True)
        packer = _Packer(beside, int(part_mb * 1e6))
        was_bytes = _pack_images(packer, data, data.store, sorted({*CROPS, *crop_frames}), progress)
        _write_manifest(packer, data.manifest)
        made = _summary(packer, output, was_bytes, _is_log(data.manifest))
        _move(beside, output)
    except OSError as error:
        raise AudiotransError(f"cannot write {output}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return made


def _check_output(output: Path, force: bool) -> None:
    """Refuse to overwrite, unasked or anything but a packed cache."""
    if output.is_file():
        raise UsageError(f"{output} is a file: give a folder for the packed cache")
    if not output.exists() or not any(output.iterdir()):
        return
    try:
        ours = json.loads((output / MANIFEST).read_text(encoding="utf-8"))["format"] == PACKED_FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise UsageError(f"{output} holds something else than a packed cache: give an empty or a new folder")
    if not force:
        raise UsageError(f"{output} exists already: use --force to overwrite it")


def _move(beside: Path, output: Path) -> None:
    old = output.with_name(f".{output.name}.{os.getpid()}.old")
    if output.exists():
        output.replace(old)
    beside.replace(output)
    shutil.rmtree(old, ignore_errors=True)


@dataclass
class _Packer:
    """Fills parts one after the other, and keeps what the manifest must say of them."""

    root: Path
    part_bytes: int
    blocks: dict[str, list[tuple[int, str, list[int]]]] = field(default_factory=dict)
    lowest: dict[str, tuple[int, str]] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)
    largest_error: float = 0.0
    _held: dict[str, Tensor] = field(default_factory=dict)
    _bytes: int = 0

    def images(self, file: str, values: Tensor) -> None:
        """Take in all of an image file, uint8 ``(c, rows, frames)`` or ``(n, 3, rows, columns)``."""
        axis = stretch_axis(values.ndim)
        one = values.numel() // values.shape[axis]
        count = max(1, min(STRETCH_BYTES, self.part_bytes // 4) // one)
        self.blocks[file] = []
        for number, stretch in enumerate(torch.split(values, count, dim=axis)):
            content = torch.frombuffer(bytearray(deflated(stretch.contiguous().numpy())), dtype=torch.uint8)
            key = f"{file}#{number}"
            self.blocks[file].append((self.add(key, content), key, list(stretch.shape)))

    def add(self, key: str, values: Tensor) -> int:
        """Put an entry into the part at hand, or into the next if that is full; return the part's number."""
        size = values.numel() * values.element_size() + len(key) + HEADER_BYTES
        if size > self.part_bytes:
            need, file = math.ceil(size / 1e3) / 1e3, key.partition("#")[0]
            raise UsageError(f"part-mb {self.part_bytes / 1e6:g}: {file} cannot be cut below {need:g} MB: give more")
        if self._bytes + size > self.part_bytes:
            self.flush()
        self._held[key] = values
        self._bytes += size
        return len(self.parts)

    def flush(self) -> None:
        """Write the part at hand."""
        if self._held:
            name = f"part-{len(self.parts):03d}.safetensors"
            (self.root / name).write_bytes(save(self._held))
            self.parts.append(name)
        self._held, self._bytes = {}, 0


def _pack_images(packer: _Packer, data: ImageCache, store: Files, crops: Sequence[int], progress: bool) -> int:
    """Put all images into parts, and the lowest rows of sounds; return the bytes that they were."""
    lowest: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    was_bytes = 0
    for item in tqdm(data.manifest["items"], desc="pack", unit="image", disable=not progress):
        if item["file"] in packer.blocks:
            continue  # photos: many items to a file
        stored = store.whole(item["file"])
        if not stored.isfinite().all():
            raise AudiotransError(f"{store.root / item['file']} holds numbers that are not finite: prepare it again")
        was_bytes += stored.numel() * stored.element_size()
        values = stored if stored.dtype == torch.uint8 else to_bytes(stored)
        if values is not stored:
            error = float((from_bytes(values) - stored.float()).abs().max())
            packer.largest_error = max(packer.largest_error, error)
        packer.images(item["file"], values)
        for crop in crops if _is_log(data.manifest) else ():
            lowest[item["split"], item["domain"], crop] += _lowest_rows(stored.float(), item["frames"], crop)
    for (split, domain, crop), rows in lowest.items():
        name = f"{split}/{domain}/{crop}"
        key = f"lowest/{name}"
        packer.lowest[name] = packer.add(key, torch.tensor(rows, dtype=torch.int16)), key
    packer.flush()
    return was_bytes


def _lowest_rows(image: Tensor, frames: int, crop: int) -> list[int]:
    # Contiguous as a crop is that was read from a file: the same numbers in the same order give the same mean.
    return [lowest_row(image[..., at : at + crop].contiguous()) for at in _grid(frames, crop, max(crop // 2, 1))]


def _is_log(manifest: dict[str, Any]) -> bool:
    imaging = manifest["imaging"]
    kind, form = imaging.get("type", "audio"), imaging.get("representation")
    return bool(kind == "audio" and form != "magnitude_phase")


def _write_manifest(packer: _Packer, manifest: dict[str, Any]) -> None:
    parts = []
    for name in packer.parts:
        content = (packer.root / name).read_bytes()
        parts.append({"file": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    packed = {
        **manifest, "format": PACKED_FORMAT, "version": PACKED_VERSION, "parts": parts, "blocks": packer.blocks,
        "lowest_rows": packer.lowest, "largest_error": packer.largest_error,
    }  # fmt: skip
    (packer.root / MANIFEST).write_text(json.dumps(packed), encoding="ascii")


def _summary(packer: _Packer, output: Path, was_bytes: int, log: bool) -> Packed:
    size = sum(path.stat().st_size for path in packer.root.iterdir())
    return Packed(output, len(packer.blocks), len(packer.parts), size, was_bytes, packer.largest_error, log)
