"""The cache's folder: whether it is ours, its manifest (written last), and images that nothing needs any more."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from audiotrans.errors import UsageError
from audiotrans.spectrogram.imaging import AudioSettings
from audiotrans.training.prepare.images import (
    CACHE_VERSION,
    CacheWriteError,
    Images,
    Job,
    Piece,
    Skipped,
    stamp,
    write_atomically,
)
from audiotrans.training.prepare.sources import DOMAINS, SPLITS

CACHE_FORMAT = "audiotrans-cache"
MANIFEST = "manifest.json"


def open_cache(output: Path) -> dict[str, Any]:
    """Make sure that a folder may be used as a cache.

    Args:
        output: a folder that is missing, empty, or a cache, finished or not.

    Returns:
        The manifest of the last run, empty if there is none.

    Raises:
        UsageError: if it holds anything else, or a file stands there.
    """
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file: give a folder for the cache")
    manifest = output / MANIFEST
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
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
    return content if content.get("version") == CACHE_VERSION else {}


def _is_unfinished(output: Path) -> bool:
    """Tell whether all that is there is what an interrupted run leaves."""
    homes = {f"images/{split}/{domain}" for split in SPLITS for domain in DOMAINS}
    for path in output.rglob("*"):
        if path.is_dir():
            continue
        folder = path.parent.relative_to(output).as_posix()
        if not _is_partial(path) and not (folder in homes and path.suffix == ".safetensors"):
            return False
    return True


def _is_partial(path: Path) -> bool:
    return path.name.startswith(".") and path.suffix == ".partial"


def recall_sha1(jobs: Iterable[Job], manifest: dict[str, Any]) -> list[Job]:
    """Add stamp and SHA-1 to the jobs whose files have not changed since the manifest was written."""
    before = {item["source"]: item for item in manifest.get("items", [])}
    recalled = []
    for job in jobs:
        item = before.get(str(job.sound.path))
        with suppress(OSError):  # gone or forbidden: reading it will say so
            if item and stamp(job.sound.path) == tuple(item["stamp"]):
                job = replace(job, stamp=stamp(job.sound.path), sha1=item["sha1"])
        recalled.append(job)
    return recalled


def move_to_split(images: Images, root: Path, split: str) -> Images:
    """Make images appear under a split; the ones under the other stay until orphans are removed.

    Raises:
        CacheWriteError: if the disk is full or the cache cannot be written.
    """
    pieces = []
    for piece in images.pieces:
        _images, _split, domain, name = piece.file.split("/")
        moved = Piece(f"images/{split}/{domain}/{name}", piece.frames, piece.seconds)
        if not (root / moved.file).exists():
            _link(root / piece.file, root / moved.file)
        pieces.append(moved)
    return replace(images, pieces=tuple(pieces))


def _link(old: Path, new: Path) -> None:
    partial = new.with_name(f".{new.name}.{os.getpid()}.partial")
    try:
        new.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(old, new)
        except OSError:  # file systems without hard links
            shutil.copyfile(old, partial)
            partial.replace(new)
    except OSError as error:
        raise CacheWriteError(f"cannot write {new}: {error.strerror or error}") from error


def write_manifest(
    root: Path,
    names: dict[str, str],
    settings: AudioSettings,
    made: Iterable[tuple[Images, str]],
    skipped: Iterable[Skipped],
    remove_vibrato: dict[str, float],
) -> None:
    """Write what the cache holds: from here on training may read it.

    Args:
        root: folder of the cache.
        names: the domains' names by ``a`` and ``b``.
        settings: how the sounds became images.
        made: every sound's images and split, in the order they shall have.
        skipped: the sounds that were left out.
        remove_vibrato: percent of the vibrato that was taken out, by domain.
    """
    content = {
        "format": CACHE_FORMAT,
        "version": CACHE_VERSION,
        "imaging": asdict(settings),
        "domains": names,
        "remove_vibrato": remove_vibrato,
        "items": [_item(images, split, piece) for images, split in made for piece in images.pieces],
        "skipped": [{"source": str(skip.sound.path), "reason": skip.reason} for skip in skipped],
    }
    write_atomically(root / MANIFEST, json.dumps(content, indent=1).encode("ascii"))


def _item(images: Images, split: str, piece: Piece) -> dict[str, Any]:
    sound = images.sound
    return {
        "domain": sound.domain,
        "split": split,
        "recording": sound.recording,
        "source": str(sound.path),
        "file": piece.file,
        "frames": piece.frames,
        "seconds": round(piece.seconds, 6),
        "level_db": round(images.level_db, 4),
        "sha1": images.sha1,
        "stamp": list(images.stamp),
    }


def remove_orphans(root: Path, made: Iterable[Images]) -> int:
    """Remove images, and halves of images, that the manifest does not name; return how many images.

    Nothing outside the cache's own ``images/<split>/<domain>`` folders is touched.
    """
    wanted = {piece.file for images in made for piece in images.pieces}
    removed = 0
    for split in SPLITS:
        for domain in DOMAINS:
            folder = root / "images" / split / domain
            for path in folder.iterdir() if folder.is_dir() else ():
                is_image = path.suffix == ".safetensors" and path.relative_to(root).as_posix() not in wanted
                if is_image or _is_partial(path):
                    path.unlink()
                    removed += is_image
    return removed
