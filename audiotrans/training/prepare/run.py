"""The whole of prep: find the sounds, make their images on several cores, divide them, write the manifest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import torch
from tqdm import tqdm

from audiotrans.errors import AudiotransError, UsageError
from audiotrans.processes import default_workers, in_processes
from audiotrans.spectrogram.imaging import AudioSettings
from audiotrans.training.prepare.images import Images, Job, Skipped, find_images, make_images
from audiotrans.training.prepare.manifest import move_to_split, open_cache, recall_sha1, remove_orphans, write_manifest
from audiotrans.training.prepare.sources import DOMAINS, SPLITS, Sound, Sources, find_sources
from audiotrans.training.prepare.split import assign_splits
from audiotrans.training.prepare.summary import Count, Summary

ONE_RECORDING = (
    ": all its files are one recording (names that differ only in a last _NN continue each other); "
    "rename them, or divide them into train/ and valid/ yourself"
)

FILES_PER_WORKER = 8
"""A worker takes some seconds to start: fewer files than this are not worth another one."""


def prepare(
    source: Path | str,
    output: Path | str,
    *,
    a: str = "violin",
    b: str = "piano",
    settings: AudioSettings | None = None,
    valid_fraction: float = 0.1,
    seed: int = 0,
    crop_frames: int = 128,
    remove_vibrato: Mapping[str, float] | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Summary:
    """Turn the sounds of two domains into the cache that training reads.

    It can be run again at any time: unchanged sounds are not read again, an interrupted run continues, changed
    settings make new images, and images of sounds that are gone are removed.

    Args:
        source: IRMAS' training data, or a folder with a sub-folder of sounds for each domain, or one with ``train``
            and ``valid`` that each have both domains: that split is kept.
        output: folder of the cache; new, empty, or a cache.
        a: first domain: a folder's name, an IRMAS class by English name or code, or ``name=path``.
        b: second domain, likewise.
        settings: how sounds become images.
        valid_fraction: share of the recordings that is held out, on average; above 0, below 1.
        seed: another seed holds out other recordings.
        crop_frames: image columns of a training crop; shorter sounds are skipped.
        remove_vibrato: percent of the vibrato that is taken out of the sounds of ``a`` and ``b``; nothing if None.
        workers: processes; 1 works in this one; None chooses by cores and files. More than 1 needs a script to have
            the guard ``if __name__ == "__main__"``.
        progress: show a bar with speed and time left.

    Returns:
        What was found and done.

    Raises:
        UsageError: for arguments, folders or an output that are not allowed.
        AudiotransError: if a domain has no sound that is fit for training, or the cache cannot be written.
    """
    _check(valid_fraction, crop_frames, workers)
    root = Path(output)
    sources = find_sources(Path(source), a, b)
    manifest = open_cache(root)
    settings = settings or AudioSettings()
    likely = _splits(sources.sounds, valid_fraction, seed)
    straight = {domain: float((remove_vibrato or {}).get(domain, 0)) for domain in "ab"}
    jobs = [Job(sound, root, likely[sound], settings, crop_frames, straight[sound.domain]) for sound in sources.sounds]
    results = _make_all(recall_sha1(jobs, manifest), workers, progress)
    made = [result for result in results if isinstance(result, Images)]
    skipped = [result for result in results if isinstance(result, Skipped)]
    _refuse_empty(sources, made, skipped)
    # Again, for now it is known which recordings are of use.
    splits = _splits([images.sound for images in made], valid_fraction, seed)
    made = [move_to_split(images, root, splits[images.sound]) for images in made]
    write_manifest(root, sources.names, settings, [(each, splits[each.sound]) for each in made], skipped, straight)
    removed = remove_orphans(root, made)
    return _summary(root, sources, made, skipped, splits, removed)


def _check(valid_fraction: float, crop_frames: int, workers: int | None) -> None:
    if not 0 < valid_fraction < 1:
        raise UsageError(f"valid fraction {valid_fraction}: above 0 and below 1 (0.1 holds out a tenth)")
    if crop_frames < 1:
        raise UsageError(f"crop of {crop_frames} columns: at least 1")
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} workers: at least 1 (1 works without further processes)")


def _splits(sounds: Sequence[Sound], valid_fraction: float, seed: int) -> dict[Sound, str]:
    splits: dict[Sound, str] = {}
    for domain in DOMAINS:
        of_domain = [sound for sound in sounds if sound.domain == domain]
        by_recording = assign_splits((sound.recording for sound in of_domain), valid_fraction, seed)
        splits |= {sound: sound.split or by_recording[sound.recording] for sound in of_domain}
    return splits


def _make_all(jobs: Sequence[Job], workers: int | None, progress: bool) -> list[Images | Skipped]:
    """Return every job's result in the jobs' order; images that are there already need no worker."""
    results: dict[Sound, Images | Skipped] = {}
    todo = []
    for job in jobs:
        # Whether a reused sound is still long enough is for make_images to say: it does so without reading it.
        result = make_images(job) if job.sha1 and find_images(job) else None
        if result:
            results[job.sound] = result
        else:
            todo.append(job)
    count = min(workers or default_workers(len(todo), FILES_PER_WORKER), max(1, len(todo)))
    stream = (
        in_processes(make_images, todo, count, start=_start_worker) if count > 1 else (make_images(job) for job in todo)
    )
    bar = tqdm(total=len(jobs), initial=len(results), desc="prep", unit="file", disable=not progress)
    with bar, closing(stream):
        for result in stream:
            results[result.sound] = result
            bar.update()
    return [results[job.sound] for job in jobs]


def _start_worker() -> None:
    torch.set_num_threads(1)  # the processes are the parallelism


def _refuse_empty(sources: Sources, made: Sequence[Images], skipped: Sequence[Skipped]) -> None:
    for domain, name in sources.names.items():
        # Of a split that is kept, train is what must not be empty.
        if any(images.sound.domain == domain and images.sound.split != "valid" for images in made):
            continue
        bad = [skip for skip in skipped if skip.sound.domain == domain and skip.sound.split != "valid"]
        first = f"{bad[0].sound.path}: {bad[0].reason}"
        raise AudiotransError(f"none of the {len(bad)} files of {name!r} can be trained on; the first is {first}")


def _summary(
    root: Path,
    sources: Sources,
    made: Sequence[Images],
    skipped: Sequence[Skipped],
    splits: dict[Sound, str],
    removed: int,
) -> Summary:
    groups: dict[tuple[str, str], list[Images]] = {(domain, split): [] for domain in DOMAINS for split in SPLITS}
    for images in made:
        groups[images.sound.domain, splits[images.sound]].append(images)
    counts = {
        key: Count(
            len(group), len({images.sound.recording for images in group}), sum(images.seconds for images in group)
        )
        for key, group in groups.items()
    }
    reused = sum(images.reused for images in made)
    left_out = tuple((skip.sound.path, skip.reason) for skip in skipped)
    notes = tuple(_notes(sources, groups))
    return Summary(root, sources.names, counts, left_out, len(made) - reused, reused, removed, notes)


def _notes(sources: Sources, groups: dict[tuple[str, str], list[Images]]) -> Iterator[str]:
    for domain, name in sources.names.items():
        sides = defaultdict(set)
        for split in SPLITS:
            for images in groups[domain, split]:
                sides[images.sound.recording].add(split)
        shared = sorted(recording for recording, of in sides.items() if len(of) > 1)
        if shared:
            yield f"by its name {shared[0]!r} of {name} is in both train and valid ({len(shared)} such recordings)"
        for split in SPLITS:
            if not groups[domain, split]:
                yield f"{name} has nothing for {split}" + ("" if sources.split_kept else ONE_RECORDING)
