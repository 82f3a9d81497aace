"""Photos of two domains -> the cache: CelebA by its attributes, or a folder of photos for each domain.

Many small photos go into one file: up to `PER_FILE` of them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from audiotrans.errors import AudiotransError, UsageError, check_counts, nearest
from audiotrans.photo.celeba import (
    ATTRIBUTES_FILE,
    IMAGES_FOLDER,
    Attributes,
    parse_condition,
    parse_domain,
    read_partition,
)
from audiotrans.photo.images import PhotoImaging, PhotoSettings, Pixels
from audiotrans.photo.pillow import find_photos, read_photo, without_warnings
from audiotrans.training.cache import IMAGES, SUFFIX, open_cache, packed, remove_orphans, write_images, write_manifest
from audiotrans.training.sources import assign_splits

PER_FILE = 512

ALL_SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Photo:
    """One photo file of a domain (``a`` or ``b``) and a split (``train``, ``valid`` or ``test``)."""

    domain: str
    split: str
    path: Path


@dataclass(frozen=True)
class PhotoSummary:
    """What a cache of photos holds; ``str()`` of it is fit to be printed.

    Attributes:
        output: folder of the cache.
        names: the domains' names by ``a`` and ``b``.
        counts: images by domain and split.
        skipped: files left out, each with its reason.
        notes: what the user should know.
    """

    output: Path
    names: dict[str, str]
    counts: dict[tuple[str, str], int]
    skipped: tuple[tuple[Path, str], ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the counts, the skipped files with reasons, and the notes."""
        lines = [f"{self.output}: {sum(self.counts.values())} images, {len(self.skipped)} files skipped"]
        for domain, name in self.names.items():
            parts = [f"{self.counts[domain, split]:6} {split}" for split in ALL_SPLITS if self.counts[domain, split]]
            lines.append(f"  {name:12} {', '.join(parts)}")
        lines += [f"  skipped {reason}" for _, reason in self.skipped[:20]]
        if len(self.skipped) > 20:
            lines.append(f"  and {len(self.skipped) - 20} more: the manifest names them all")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def is_celeba(source: Path) -> bool:
    """Tell whether a folder has CelebA's attribute file."""
    return (source / ATTRIBUTES_FILE).is_file()


def prepare_photos(
    source: Path | str,
    output: Path | str,
    *,
    a: str = "blond",
    b: str = "brown",
    where: Sequence[str] = (),
    settings: PhotoSettings | None = None,
    valid_fraction: float = 0.1,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> PhotoSummary:
    """Turn the photos of two domains into the cache that training reads.

    Args:
        source: CelebA's folder, or a folder with a sub-folder of photos for each domain (or with ``train``,
            ``valid`` and perhaps ``test`` that each have both).
        output: folder of the cache; new, empty, or a cache, which is replaced.
        a: first domain: in CelebA a hair colour (blond, brown, black, gray), an attribute's name, or
            ``name=ATTRIBUTE``; else a sub-folder's name.
        b: second domain, likewise.
        where: CelebA conditions on both domains, such as ``Male=-1``.
        settings: how photos become images.
        valid_fraction: share that is held out where the source comes without a split; above 0, below 1.
        seed: of that choice.
        workers: threads that read photos; None chooses by cores.
        progress: show a bar with speed and time left.

    Returns:
        What was found and done.

    Raises:
        UsageError: for arguments, folders or an output that are not allowed.
        AudiotransError: if a domain has no readable photo for training, or the cache cannot be written.
    """
    if not 0 < valid_fraction < 1:
        raise UsageError(f"valid fraction {valid_fraction}: above 0 and below 1 (0.1 holds out a tenth)")
    check_counts(workers=workers)
    root, folder, settings = Path(output), Path(source), settings or PhotoSettings()
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder: give CelebA's, or one with a folder of photos for each domain")
    open_cache(root)
    if is_celeba(folder):
        names, photos, notes = _celeba(folder, a, b, where, valid_fraction, seed)
    elif where:
        raise UsageError(f"--where needs CelebA's {ATTRIBUTES_FILE}, which {folder} does not have")
    else:
        names, photos, notes = _folders(folder, a, b, valid_fraction, seed)
    return _write(root, names, photos, notes, settings, workers, progress)


_Found = tuple[dict[str, str], list[Photo], list[str]]


def _celeba(folder: Path, a: str, b: str, where: Sequence[str], valid_fraction: float, seed: int) -> _Found:
    attributes, partition = Attributes(folder), read_partition(folder)
    (name_a, in_a), (name_b, in_b) = parse_domain(a), parse_domain(b)
    _refuse_same(name_a, name_b)
    files_a, files_b, both = attributes.select(in_a, in_b, [parse_condition(text) for text in where])
    for name, condition, files in ((name_a, in_a, files_a), (name_b, in_b, files_b)):
        if not files:
            raise UsageError(f"no image of {attributes.path} is {name!r} ({condition}) under the conditions given")
    photos = []
    for domain, files in (("a", files_a), ("b", files_b)):
        splits = partition or assign_splits(files, valid_fraction, seed)
        missing = [file for file in files if file not in splits]
        if missing:
            raise AudiotransError(f"{folder}: the partition file does not name {missing[0]}: fetch it again")
        photos += [Photo(domain, splits[file], folder / IMAGES_FOLDER / file) for file in files]
    notes = [f"{both} images were in both domains and are left out"] if both else []
    if not where and {in_a.attribute, in_b.attribute} <= {"Blond_Hair", "Brown_Hair", "Black_Hair", "Gray_Hair"}:
        notes.append("hair colour goes with gender in CelebA; --where Male=-1 keeps a model from learning that instead")
    return {"a": name_a, "b": name_b}, photos, notes


def _refuse_same(a: str, b: str) -> None:
    if a.casefold() == b.casefold():
        raise UsageError(f"both domains are {a!r}: --a and --b must differ")


def _folders(folder: Path, a: str, b: str, valid_fraction: float, seed: int) -> _Found:
    _refuse_same(a, b)
    names = {"a": a, "b": b}
    splits = [split for split in ALL_SPLITS if all((folder / split / name).is_dir() for name in names.values())]
    if "train" in splits:
        found = [
            Photo(domain, split, path)
            for split in splits
            for domain, name in names.items()
            for path in find_photos([folder / split / name])
        ]
        return names, found, []
    photos = []
    for domain, name in names.items():
        if not (folder / name).is_dir():
            there = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
            listed = ", ".join(there[:12]) or "no folders"
            raise UsageError(f"{folder} has no folder {name!r}: it has {listed}.{nearest(name, there)}")
        paths = find_photos([folder / name])
        keys = [path.relative_to(folder).as_posix() for path in paths]
        splits_of = assign_splits(keys, valid_fraction, seed)
        photos += [Photo(domain, splits_of[key], path) for key, path in zip(keys, paths, strict=True)]
    return names, photos, []


def _write(
    root: Path,
    names: dict[str, str],
    photos: Sequence[Photo],
    notes: Sequence[str],
    settings: PhotoSettings,
    workers: int | None,
    progress: bool,
) -> PhotoSummary:
    items: list[dict[str, object]] = []
    skipped: list[tuple[Path, str]] = []
    bar = tqdm(total=len(photos), desc="prep", unit="photo", disable=not progress)
    with bar, without_warnings(), ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        for domain in "ab":
            for split in ALL_SPLITS:
                chosen = [photo for photo in photos if (photo.domain, photo.split) == (domain, split)]
                for part in _parts(chosen):
                    made = list(pool.map(lambda photo: _image(photo, settings), part))
                    bar.update(len(part))
                    skipped += [(p.path, m) for p, m in zip(part, made, strict=True) if isinstance(m, str)]
                    good = [(p, m) for p, m in zip(part, made, strict=True) if not isinstance(m, str)]
                    items += _file(root, good)
    counts = {
        (domain, split): sum(item["domain"] == domain and item["split"] == split for item in items)
        for domain in "ab"
        for split in ALL_SPLITS
    }
    _refuse_empty(names, counts, skipped)
    left_out = [{"source": str(path), "reason": reason} for path, reason in skipped]
    content = {"imaging": asdict(settings), "domains": names, "items": items, "skipped": left_out}
    write_manifest(root, content)
    remove_orphans(root, {str(item["file"]) for item in items})
    return PhotoSummary(root, names, counts, tuple(skipped), tuple(notes))


def _refuse_empty(
    names: dict[str, str], counts: dict[tuple[str, str], int], skipped: Sequence[tuple[Path, str]]
) -> None:
    for domain, name in names.items():
        if not counts[domain, "train"]:
            first = f"; the first is {skipped[0][1]}" if skipped else ""
            raise AudiotransError(f"no photo of {name!r} can be trained on: {len(skipped)} files were skipped{first}")


def _parts(photos: Sequence[Photo]) -> Iterator[Sequence[Photo]]:
    for start in range(0, len(photos), PER_FILE):
        yield photos[start : start + PER_FILE]


def _image(photo: Photo, settings: PhotoSettings) -> Pixels | str:
    """Return the image of a photo, or why it is left out."""
    try:
        return PhotoImaging(settings).prepare(read_photo(photo.path))
    except AudiotransError as error:
        return str(error)


def _file(root: Path, images: Sequence[tuple[Photo, Pixels]]) -> list[dict[str, object]]:
    """Write one file of images, named by its content; return its items for the manifest."""
    if not images:
        return []
    digest = hashlib.sha1(b"".join(pixels.tobytes() for _, pixels in images), usedforsecurity=False).hexdigest()[:16]
    name = f"{IMAGES}/{images[0][0].domain}/{digest}{SUFFIX}"
    if not (root / name).exists():
        write_images(root / name, [packed(torch.from_numpy(np.ascontiguousarray(pixels))) for _, pixels in images])
    return [
        {
            "domain": photo.domain, "split": photo.split, "recording": photo.path.name, "source": str(photo.path),
            "file": name, "index": index, "frames": int(pixels.shape[2]),
        }
        for index, (photo, pixels) in enumerate(images)
    ]  # fmt: skip
