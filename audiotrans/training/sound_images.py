"""One sound file -> its images in the cache: checked, cut where it is long, and written in one file.

The file's name holds a hash of all that it depends on: the source's bytes, its name and the imaging settings. So a
file that exists is right, and a changed source or setting makes a new one.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiotrans.audio import read_blocks
from audiotrans.errors import AudiotransError
from audiotrans.files import WriteError, file_digest
from audiotrans.spectrogram.imaging import DB_PER_UNIT, AudioImaging, AudioSettings
from audiotrans.spectrogram.level import Level, level_of_frames
from audiotrans.spectrogram.vibrato import VibratoRemover
from audiotrans.training.cache import (
    CACHE_VERSION,
    IMAGES,
    SUFFIX,
    Packed,
    packed,
    read_facts,
    write_images,
)
from audiotrans.training.sources import Sound

PART_SECONDS = 60.0
"""Longest sound that becomes one image."""

CHUNK_SECONDS = 10.0
"""Longest sound whose spectrum is held in memory: a minute of stereo would take some 700 MB on the way."""

LEAST_SECONDS = 0.1
"""Shorter sounds hold no note. Those that are shorter than a crop are joined, see `audiotrans.training.prep`."""

SILENT_PEAK_DB = -80.0
"""A file whose highest sample lies below this (dB re full scale) holds no music, at most noise of a converter."""


@dataclass(frozen=True)
class Job:
    """What a worker needs for one sound.

    Attributes:
        sound: the file.
        root: folder of the cache.
        settings: how sounds become images.
        remove_vibrato: percent of the sound's vibrato that is taken out first.
        stamp: see `stamp`; None until the file is looked at.
        sha1: of the file, where it is known.
        with_level: whether what the columns are relative to is kept, too: behind all images, in their order, one row
            each, dB re the level of the whole sound, `DB_PER_UNIT` as in images.
    """

    sound: Sound
    root: Path
    settings: AudioSettings
    remove_vibrato: float = 0.0
    stamp: tuple[int, int] | None = None
    sha1: str | None = None
    with_level: bool = False


@dataclass(frozen=True)
class Images:
    """All images of one sound: several where it is long, or has more channels than one image holds.

    Attributes:
        sound: the file.
        stamp: see `stamp`.
        sha1: of the file.
        seconds: its length.
        level_db: its level (gated RMS, dB re full scale).
        file: that holds its images, from the cache's root.
        pieces: columns and seconds of each image, in order.
        reused: whether they were there before.
    """

    sound: Sound
    stamp: tuple[int, int]
    sha1: str
    seconds: float
    level_db: float
    file: str
    pieces: tuple[tuple[int, float], ...]
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
        WriteError: if the disk is full or the cache cannot be written.
    """
    path = job.sound.path
    try:
        if job.sha1 is None:
            # In this order: a file that is changed meanwhile will look changed next time.
            job = replace(job, stamp=stamp(path))
            job = replace(job, sha1=file_digest(path, "sha1"))
        return find_images(job) or _build(job)
    except WriteError:
        raise
    except AudiotransError as error:
        return Skipped(job.sound, str(error).removeprefix(str(path)).lstrip(": "))
    except OSError as error:
        return Skipped(job.sound, error.strerror or str(error))


def find_images(job: Job) -> Images | None:
    """Return the images of a sound whose sha1 is known, if the cache has them."""
    facts = read_facts(job.root / image_file(job))
    return _images(job, facts, reused=True) if facts else None


def stamp(path: Path) -> tuple[int, int]:
    """Return size in bytes and time of the last change in ns: what tells a changed file without reading it."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def image_file(job: Job) -> str:
    """Return the path of a sound's file of images from the cache's root."""
    settings = asdict(job.settings)
    del settings["phase"]  # how phases are found leaves no trace in an image
    known = [CACHE_VERSION, settings, job.sound.domain, job.sound.key, job.sha1]
    known += ([job.remove_vibrato] if job.remove_vibrato else []) + (["level"] if job.with_level else [])
    facts = json.dumps(known, sort_keys=True)
    digest = hashlib.sha1(facts.encode(), usedforsecurity=False).hexdigest()[:12]
    stem = re.sub(r"[^A-Za-z0-9.-]+", "_", job.sound.path.stem)[:60].strip("._") or "sound"
    return f"{IMAGES}/{job.sound.domain}/{stem}-{digest}{SUFFIX}"


def _build(job: Job) -> Images:
    samples, level, level_db = _measure(job)
    images: list[Packed] = []
    levels: list[Packed] = []
    pieces: list[tuple[int, float]] = []
    first = 0
    for seconds, groups in _part_images(job, samples, level):
        columns = groups.shape[-1]
        for image in groups:
            images.append(packed(image))
            pieces.append((columns, seconds))
            levels += [_packed_level(job, level, level_db, first, columns)] if job.with_level else []
        first += columns
    facts = {"seconds": samples / job.settings.sample_rate, "level_db": level_db, "pieces": pieces}
    write_images(job.root / image_file(job), [*images, *levels], facts)
    return _images(job, facts, reused=False)


def _packed_level(job: Job, level: Level, level_db: float, first: int, columns: int) -> Packed:
    stride = job.settings.time_stride
    found = np.broadcast_to(level_of_frames(level, first * stride, columns * stride), columns * stride)[::stride]
    return packed(torch.from_numpy((found - level_db) / DB_PER_UNIT)[None, None])


def _images(job: Job, facts: dict[str, Any], *, reused: bool) -> Images:
    pieces = tuple((int(frames), float(seconds)) for frames, seconds in facts["pieces"])
    stamped, sha1, file = job.stamp or (0, 0), job.sha1 or "", image_file(job)
    return Images(job.sound, stamped, sha1, facts["seconds"], facts["level_db"], file, pieces, reused)


def _measure(job: Job) -> tuple[int, Level, float]:
    """Decode the whole file once; return its samples at the settings' rate, its images' level and its gated one, dB."""
    meter = _imaging(job.settings).level_meter()
    samples, peak = 0, 0.0
    for block in read_blocks(job.sound.path, sample_rate=job.settings.sample_rate):
        samples += block.shape[-1]
        peak = max(peak, float(np.abs(block).max(initial=0.0)))
        meter.update(block)
    seconds = samples / job.settings.sample_rate
    if seconds < LEAST_SECONDS:
        raise AudiotransError(f"too short: {seconds:.2f} s; at least {LEAST_SECONDS} s is needed")
    if peak < 10 ** (SILENT_PEAK_DB / 20):
        there = f"its highest sample is {20 * math.log10(peak):.0f} dB" if peak else "every sample is zero"
        raise AudiotransError(f"silent: {there}; at least {SILENT_PEAK_DB:.0f} dB re full scale is needed")
    return samples, _imaging(job.settings).level(meter), meter.level_db()


def column_samples(settings: AudioSettings) -> int:
    """Return how many samples lie between the columns of an image."""
    return settings.hop_length * settings.time_stride


def _part_images(job: Job, samples: int, level: Level) -> Iterator[tuple[float, Tensor]]:
    """Yield each part's seconds and images ``(groups, c, rows, frames)``; parts are of equal length."""
    seconds = samples / job.settings.sample_rate
    parts = max(1, math.ceil(seconds / PART_SECONDS))
    per_part = max(1, math.ceil(seconds / parts / CHUNK_SECONDS))
    chunks = _chunk_images(job, samples, level, parts * per_part)
    while part := list(islice(chunks, per_part)):
        yield sum(chunk for chunk, _ in part), torch.cat([image for _, image in part], dim=-1)


def _chunk_images(job: Job, samples: int, level: Level, count: int) -> Iterator[tuple[float, Tensor]]:
    """Yield seconds and images of ``count`` chunks; side by side they are exactly the image of the whole file."""
    settings, imaging = job.settings, _imaging(job.settings)
    column = column_samples(settings)
    columns = 1 + (imaging.stft.frames(samples) - 1) // settings.time_stride
    edges = [columns * index // count for index in range(count + 1)]
    # A frame reaches half its length to both sides: read so much more and drop those columns again.
    margin = math.ceil(settings.n_fft / 2 / column)
    bounds = [
        (max(0, left - margin) * column, min(samples, (right + margin) * column)) for left, right in pairwise(edges)
    ]
    bounds[-1] = (bounds[-1][0], samples)
    waves = cut(_without_vibrato(job, read_blocks(job.sound.path, sample_rate=settings.sample_rate)), bounds)
    for wave, (start, _), (left, right) in zip(waves, bounds, pairwise(edges), strict=True):
        frames = imaging.stft.frames(wave.shape[1])
        own = level_of_frames(level, start // settings.hop_length, frames)
        image, _context = imaging.to_image(torch.from_numpy(wave), own)
        skip = left - start // column
        seconds = (min(right * column, samples) - left * column) / settings.sample_rate
        yield seconds, image[..., skip : skip + right - left]


def _without_vibrato(job: Job, blocks: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Yield what a conversion would see of a sound."""
    if not job.remove_vibrato:
        yield from blocks
        return
    for first in blocks:  # which tells how many channels there are
        remover = VibratoRemover(job.settings.sample_rate, len(first), job.remove_vibrato / 100)
        yield from remover.through(chain([first], blocks))


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
