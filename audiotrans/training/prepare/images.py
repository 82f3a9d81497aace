"""One sound file -> its images in the cache: checked, cut where it is long, and written so that none is half done.

An image's name holds a hash of all that it depends on: the source's bytes, its name and the imaging settings. So a
file that exists is right, a changed source or setting makes new files, and those of the last manifest stay whole
until the next one replaces it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import chain, islice, pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from audiotrans.audio import read_blocks
from audiotrans.errors import AudiotransError
from audiotrans.spectrogram.imaging import AudioImaging, AudioSettings
from audiotrans.spectrogram.vibrato_removal import VibratoRemover
from audiotrans.training.prepare.sources import SPLITS, Sound

CACHE_VERSION = 1

PART_SECONDS = 60.0
"""Longest sound that becomes one image file."""

CHUNK_SECONDS = 10.0
"""Longest sound whose spectrum is held in memory: a minute of stereo would take some 700 MB on the way."""

SILENT_PEAK_DB = -80.0
"""A file whose highest sample lies below this (dB re full scale) holds no music, at most noise of a converter."""


class CacheWriteError(AudiotransError):
    """The cache cannot be written: no fault of the sound at hand, so the whole run ends."""


@dataclass(frozen=True)
class Job:
    """What a worker needs for one sound.

    Attributes:
        sound: the file.
        root: folder of the cache.
        split: ``train`` or ``valid``: where new images go.
        settings: how sounds become images.
        crop_frames: columns that a training crop has; shorter sounds are refused.
        remove_vibrato: percent of the sound's vibrato that is taken out first.
        stamp: see `stamp`; None until the file is looked at.
        sha1: of the file, where it is known.
    """

    sound: Sound
    root: Path
    split: str
    settings: AudioSettings
    crop_frames: int
    remove_vibrato: float = 0.0
    stamp: tuple[int, int] | None = None
    sha1: str | None = None


@dataclass(frozen=True)
class Piece:
    """One image file: its path from the cache's root, its columns and the seconds of sound in it.

    A sound has several where it is long, or has more channels than one image holds.
    """

    file: str
    frames: int
    seconds: float


@dataclass(frozen=True)
class Images:
    """All images of one sound.

    Attributes:
        sound: the file.
        stamp: see `stamp`.
        sha1: of the file.
        seconds: its length.
        level_db: its level (gated RMS, dB re full scale).
        pieces: the image files, in order.
        reused: whether they were there before.
    """

    sound: Sound
    stamp: tuple[int, int]
    sha1: str
    seconds: float
    level_db: float
    pieces: tuple[Piece, ...]
    reused: bool


@dataclass(frozen=True)
class Skipped:
    """A sound that is left out, and why."""

    sound: Sound
    reason: str


def make_images(job: Job) -> Images | Skipped:
    """Check one sound and write its images, or find them written.

    Args:
        job: see `Job`.

    Returns:
        The images; or the reason, if the file is at fault.

    Raises:
        CacheWriteError: if the disk is full or the cache cannot be written.
    """
    path = job.sound.path
    try:
        if job.sha1 is None:
            # In this order: a file that is changed meanwhile will look changed next time.
            job = replace(job, stamp=stamp(path))
            job = replace(job, sha1=file_sha1(path))
        images = find_images(job) or _build(job)
        refuse_short(images.seconds, job)
    except CacheWriteError:
        raise
    except AudiotransError as error:
        return Skipped(job.sound, str(error).removeprefix(str(path)).lstrip(": "))
    except OSError as error:
        return Skipped(job.sound, error.strerror or str(error))
    return images


def find_images(job: Job) -> Images | None:
    """Return the images of a sound whose sha1 is known, if the cache has all of them, in either split."""
    for split in SPLITS:
        images = _read_record(job, split)
        if images:
            return images
    return None


def stamp(path: Path) -> tuple[int, int]:
    """Return size in bytes and time of the last change in ns: what tells a changed file without reading it."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def file_sha1(path: Path) -> str:
    """Return the SHA-1 of a file, read in blocks."""
    digest = hashlib.sha1(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file beside its place and rename it, so that it is whole or not there.

    Raises:
        CacheWriteError: if it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(content)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise CacheWriteError(_cannot_write(path, error)) from error


def _cannot_write(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left to write {path}: make room and run again; finished files are kept"
    return f"cannot write {path}: {error.strerror or error}"


def image_path(job: Job, split: str, index: int) -> str:
    """Return the path of a sound's ``index``-th image from the cache's root."""
    settings = asdict(job.settings)
    del settings["phase"]  # the way back to sound leaves no trace in an image
    known = [CACHE_VERSION, settings, job.sound.domain, job.sound.key, job.sha1]
    facts = json.dumps(known + ([job.remove_vibrato] if job.remove_vibrato else []), sort_keys=True)
    digest = hashlib.sha1(facts.encode(), usedforsecurity=False).hexdigest()[:12]
    stem = re.sub(r"[^A-Za-z0-9.-]+", "_", job.sound.path.stem)[:60].strip("._") or "sound"
    number = f"-{index}" if index else ""
    return f"images/{split}/{job.sound.domain}/{stem}-{digest}{number}.safetensors"


def _read_record(job: Job, split: str) -> Images | None:
    """Read the images' figures from the header of the first, which was written last."""
    try:
        with safe_open(job.root / image_path(job, split, 0), "pt") as file:
            record = json.loads(file.metadata()["record"])
        pieces = tuple(
            Piece(image_path(job, split, index), frames, seconds)
            for index, (frames, seconds) in enumerate(record["pieces"])
        )
        for piece in pieces[1:]:
            with safe_open(job.root / piece.file, "pt"):
                pass
        return _images(job, record["seconds"], record["level_db"], pieces, reused=True)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        # Missing, or cut off when the machine went down: to be made again.
        return None


def _build(job: Job) -> Images:
    samples, level_db = _measure(job)
    total_seconds = samples / job.settings.sample_rate
    pieces: list[Piece] = []
    first: dict[str, Tensor] = {}
    for seconds, images in _part_images(job, samples, level_db):
        for image in images:
            pieces.append(Piece(image_path(job, job.split, len(pieces)), image.shape[-1], seconds))
            tensors = {"image": image.to(torch.float16).contiguous()}
            first = first or tensors
            if tensors is not first:
                write_atomically(job.root / pieces[-1].file, save(tensors))
    figures = [(piece.frames, piece.seconds) for piece in pieces]
    record = json.dumps({"seconds": total_seconds, "level_db": level_db, "pieces": figures})
    # Last: where the first image stands, all of them do.
    write_atomically(job.root / pieces[0].file, save(first, metadata={"record": record}))
    return _images(job, total_seconds, level_db, tuple(pieces), reused=False)


def _images(job: Job, seconds: float, level_db: float, pieces: tuple[Piece, ...], *, reused: bool) -> Images:
    return Images(job.sound, job.stamp or (0, 0), job.sha1 or "", seconds, level_db, pieces, reused)


def _measure(job: Job) -> tuple[int, float]:
    """Decode the whole file once; return its samples at the settings' rate and its level in dB."""
    meter = _imaging(job.settings).level_meter()
    samples, peak = 0, 0.0
    for block in read_blocks(job.sound.path, sample_rate=job.settings.sample_rate):
        samples += block.shape[-1]
        peak = max(peak, float(np.abs(block).max(initial=0.0)))
        meter.update(torch.from_numpy(block))
    refuse_short(samples / job.settings.sample_rate, job)
    if peak < 10 ** (SILENT_PEAK_DB / 20):
        there = f"its highest sample is {20 * math.log10(peak):.0f} dB" if peak else "every sample is zero"
        raise AudiotransError(f"silent: {there}; at least {SILENT_PEAK_DB:.0f} dB re full scale is needed")
    return samples, meter.level_db()


def refuse_short(seconds: float, job: Job) -> None:
    """Refuse a sound that is shorter than one crop.

    Raises:
        AudiotransError: naming its length and the least that is needed.
    """
    settings = job.settings
    # An image has a column at its very start, so n columns span n - 1 steps.
    least = (job.crop_frames - 1) * _column_samples(settings) / settings.sample_rate
    if seconds < least:
        raise AudiotransError(
            f"too short: {seconds:.2f} s; at least {math.ceil(least * 100) / 100:.2f} s "
            f"(a crop of {job.crop_frames} columns) is needed"
        )


def _column_samples(settings: AudioSettings) -> int:
    return settings.hop_length * settings.time_stride


def _part_images(job: Job, samples: int, level_db: float) -> Iterator[tuple[float, Tensor]]:
    """Yield each part's seconds and images ``(groups, c, rows, frames)``; parts are of equal length."""
    seconds = samples / job.settings.sample_rate
    parts = max(1, math.ceil(seconds / PART_SECONDS))
    per_part = max(1, math.ceil(seconds / parts / CHUNK_SECONDS))
    chunks = _chunk_images(job, samples, level_db, parts * per_part)
    while part := list(islice(chunks, per_part)):
        yield sum(chunk for chunk, _ in part), torch.cat([image for _, image in part], dim=-1)


def _chunk_images(job: Job, samples: int, level_db: float, count: int) -> Iterator[tuple[float, Tensor]]:
    """Yield seconds and images of ``count`` chunks; side by side they are exactly the image of the whole file."""
    settings, imaging = job.settings, _imaging(job.settings)
    column = _column_samples(settings)
    columns = 1 + (imaging.stft.frames(samples) - 1) // settings.time_stride
    edges = [columns * index // count for index in range(count + 1)]
    # A frame reaches half its length to both sides: read so much more and drop those columns again.
    margin = math.ceil(settings.n_fft / 2 / column)
    bounds = [
        (max(0, left - margin) * column, min(samples, (right + margin) * column)) for left, right in pairwise(edges)
    ]
    bounds[-1] = (bounds[-1][0], samples)
    waves = cut(_straightened(job, read_blocks(job.sound.path, sample_rate=settings.sample_rate)), bounds)
    for wave, (start, _), (left, right) in zip(waves, bounds, pairwise(edges), strict=True):
        image, _context = imaging.to_image(torch.from_numpy(wave), level_db)
        skip = left - start // column
        seconds = (min(right * column, samples) - left * column) / settings.sample_rate
        yield seconds, image[..., skip : skip + right - left]


def _straightened(job: Job, blocks: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Yield what a conversion would see of a sound."""
    if not job.remove_vibrato:
        yield from blocks
        return
    for first in blocks:  # which tells how many channels there are
        straightener = VibratoRemover(job.settings.sample_rate, len(first), job.remove_vibrato / 100)
        yield from straightener.through(chain([first], blocks))


def cut(blocks: Iterable[NDArray[np.float32]], bounds: Sequence[tuple[int, int]]) -> Iterator[NDArray[np.float32]]:
    """Cut pieces out of a stream, holding one piece and one block at a time.

    Args:
        blocks: float32 ``(channels, samples)`` each, one after the other.
        bounds: first and last sample (exclusive) of each piece, starts and stops rising; pieces may overlap.

    Yields:
        The pieces, ``(channels, stop - start)``.

    Raises:
        AudiotransError: if the stream ends before the last bound.
    """
    stream = iter(blocks)
    held: list[NDArray[np.float32]] = []
    first = 0
    for start, stop in bounds:
        while first + sum(block.shape[-1] for block in held) < stop:
            block = next(stream, None)
            if block is None:
                raise AudiotransError("it ended early when read again: is something else writing it?")
            held.append(block)
        whole = np.concatenate(held, axis=-1)[:, start - first :]
        held, first = [whole], start
        yield np.ascontiguousarray(whole[:, : stop - start])


@lru_cache(maxsize=1)
def _imaging(settings: AudioSettings) -> AudioImaging:
    """Build the imaging once for all of a process' files."""
    return AudioImaging(settings)
