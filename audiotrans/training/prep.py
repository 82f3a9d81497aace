"""The whole of prep: find sounds or photos, make their images on several cores, divide them, write the manifest.

Sounds that are shorter than a training crop, such as the single notes of a sample library, are joined with silence
between them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from audiotrans.errors import AudiotransError, UsageError, check_counts
from audiotrans.files import write_error
from audiotrans.photo.images import PhotoSettings
from audiotrans.processes import alone_in, default_workers, in_processes, in_turn
from audiotrans.recipe import Domains, Losses, Recipe
from audiotrans.spectrogram.imaging import AudioSettings
from audiotrans.training.cache import MOST_WEIGHT, open_cache, remove_orphans, write_manifest
from audiotrans.training.photo_images import PhotoSummary, is_celeba, prepare_photos
from audiotrans.training.sound_images import Images, Job, Skipped, column_samples, find_images, make_images, stamp
from audiotrans.training.sources import DOMAINS, SPLITS, Sound, Sources, assign_splits, check_twins, find_sources

ONE_RECORDING = (
    ": all its files are one recording (names that differ only in a last _NN continue each other); "
    "rename them, or divide them into train/ and valid/ yourself"
)

FILES_PER_WORKER = 8
"""A worker takes some seconds to start: fewer files than this are not worth another one."""

GAP_SECONDS = 0.2
"""Silence between short sounds that are joined."""

PAIR_TOLERANCE = 0.5
"""Seconds by which the lengths of a pair may differ: reverberation of another room, an encoder's padding."""

JOINED_SECONDS = 60.0
"""Joined sounds become one image up to about this length."""


def default_recipe(source: Path) -> Recipe:
    """Return what a source without a recipe is prepared for: CelebA's hair colours at 128 x 128, else sounds."""
    if not is_celeba(source):
        return Recipe()
    losses = Losses(generator={"gan": 1.0})  # the defaults are for sounds, and prep reads none of them
    return Recipe(imaging=PhotoSettings(), domains=Domains(a="blond", b="brown"), losses=losses)


def prepare(
    source: Path,
    output: Path,
    recipe: Recipe,
    *,
    where: Sequence[str] = (),
    paired: bool = False,
    weights: Sequence[tuple[str, float]] = (),
    shard: Shard | None = None,
    ray: str | None = None,
    **options: Any,
) -> Summary | ShardSummary | PhotoSummary:
    """Prepare what a recipe is for.

    Args:
        source: folder of sounds or photos.
        output: folder of the cache.
        recipe: its imaging and crop size are used, and how much vibrato conversions take out of their inputs.
        where: conditions on CelebA's images.
        paired: the sounds are pairs, see `prepare_sounds`.
        weights: of sound files, see `prepare_sounds`.
        shard: make the images of so many sounds alone, see `prepare_shard`; what divides and weighs them waits.
        ray: of sounds, see `prepare_sounds`.
        **options: of `prepare_sounds` and `prepare_photos` alike.

    Raises:
        UsageError: for conditions on sounds, what is for sounds alone with photos, or CelebA with a recipe for sounds.
    """
    if isinstance(recipe.imaging, PhotoSettings):
        for_sounds = {"--paired": paired, "--weight": weights, "--shard": shard, "--ray": ray}
        if given := [name for name, value in for_sounds.items() if value]:
            raise UsageError(f"{given[0]} is for sounds, not photos: leave it out")
        return prepare_photos(source, output, where=where, settings=recipe.imaging, **options)
    if where:
        raise UsageError("--where is for CelebA's photos: give a recipe of photos with --recipe")
    if is_celeba(source):
        raise UsageError(f"{source} is CelebA, but the recipe is for sounds: give one with imaging.type photo")
    # Each domain is the input of conversions to the other one.
    remove_vibrato = {"a": recipe.own("remove_vibrato", "b"), "b": recipe.own("remove_vibrato", "a")}
    making: dict[str, Any] = {
        "settings": recipe.imaging,
        "remove_vibrato": remove_vibrato,
        "paired": paired,
        "ray": ray,
    }
    if shard is not None:
        dividing = ("valid_fraction", "seed")
        making |= {name: value for name, value in options.items() if name not in dividing}
        return prepare_shard(source, output, shard, **making)
    frames = recipe.train.crop_frames
    return prepare_sounds(source, output, crop_frames=frames, weights=weights, **making, **options)


@dataclass(frozen=True)
class Shard:
    """One of ``count`` equal shares of a folder's sounds; ``number`` counts from 1.

    Raises:
        UsageError: for a number outside of 1 to ``count``.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise UsageError(f"shard {self}: of N shards there are 1/N to N/N")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


@dataclass(frozen=True)
class ShardSummary:
    """What a shard's run did; ``str()`` of it is fit to be printed.

    Attributes:
        output: folder of the cache.
        shard: which one.
        sounds: of the whole folder.
        built: sounds of the shard whose images were made now.
        reused: sounds of the shard whose images were there.
        skipped: files of the shard that are left out, each with its reason.
    """

    output: Path
    shard: Shard
    sounds: int
    built: int
    reused: int
    skipped: tuple[tuple[Path, str], ...]

    def __str__(self) -> str:
        """Return the counts, the skipped files with reasons, and what is still to be done."""
        return "\n".join(
            (
                f"{self.output}: shard {self.shard} of {self.sounds} sounds: {self.built} made into images,"
                f" {self.reused} as they were, {len(self.skipped)} skipped",
                *(f"  skipped {reason}" for reason in listed(self.skipped)),
                "  when all shards are done: the same command without --shard writes the manifest",
            )
        )


def listed(skipped: Sequence[tuple[Path, str]], most: int = 20) -> list[str]:
    """Return ``path: reason`` for skipped files, the first ``most`` of them and how many more there are."""
    lines = [f"{path}: {reason}" for path, reason in skipped[:most]]
    more = len(skipped) - most
    return [*lines, f"{more} more: the manifest names them all"] if more > 0 else lines


@dataclass(frozen=True)
class Count:
    """Sounds of one domain and split: files, recordings they were cut from, and seconds."""

    files: int
    recordings: int
    seconds: float


@dataclass(frozen=True)
class Summary:
    """What the cache holds and how it came about; ``str()`` of it is fit to be printed.

    Attributes:
        output: folder of the cache.
        names: the domains' names by ``a`` and ``b``.
        counts: by domain (``a``, ``b``) and split (``train``, ``valid``).
        skipped: files left out, each with its reason.
        built: sounds whose images were made now.
        reused: sounds whose images were there.
        removed: images that nothing needed any more.
        notes: what the user should know about the split.
    """

    output: Path
    names: dict[str, str]
    counts: dict[tuple[str, str], Count]
    skipped: tuple[tuple[Path, str], ...]
    built: int
    reused: int
    removed: int
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return a table of the counts, the skipped files with reasons, and the notes."""
        width = max(len(name) for name in self.names.values())
        lines = [
            f"{self.output}: {self.built} sounds made into images, {self.reused} as they were, "
            f"{len(self.skipped)} skipped, {self.removed} old images removed"
        ]
        for (domain, split), count in self.counts.items():
            lines.append(
                f"  {self.names[domain]:{width}}  {split:5}  {count.files:5} files  "
                f"{count.recordings:5} recordings  {count.seconds / 60:7.1f} min"
            )
        lines += [f"  skipped {reason}" for reason in listed(self.skipped)]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)


def prepare_sounds(
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
    paired: bool = False,
    weights: Sequence[tuple[str, float]] = (),
    workers: int | None = None,
    ray: str | None = None,
    progress: bool = True,
) -> Summary:
    """Turn the sounds of two domains into the cache that training reads.

    It can be run again at any time: unchanged sounds are not read again, an interrupted run continues, changed
    settings make new images, and images of sounds that are gone are removed. Sounds that are shorter than a crop are
    joined with `GAP_SECONDS` of silence between them.

    Args:
        source: IRMAS' training data, or a folder with a sub-folder of sounds for each domain, or one with ``train``
            and ``valid`` that each have both domains: that split is kept.
        output: folder of the cache; new, empty, or a cache.
        a: first domain: a folder's name, an IRMAS class by English name or code, or ``name=path``.
        b: second domain, likewise.
        settings: how sounds become images.
        valid_fraction: share of the recordings that is held out, on average; above 0, below 1.
        seed: another seed holds out other recordings.
        crop_frames: image columns of a training crop; shorter sounds are joined.
        remove_vibrato: percent of the vibrato that is taken out of the sounds of ``a`` and ``b``; nothing if None.
        paired: each sound has a twin of its name in the other domain, the same notes at the same time: training can
            draw both at one place. Short ones are not joined.
        weights: patterns of file names, such as ``garner*``, and how many times as often as others training shall draw
            from those files, > 0; the first that fits counts. A pair counts if either name fits.
        workers: processes; 1 works in this one; None chooses by cores and files. More than 1 needs a script to have
            the guard ``if __name__ == "__main__"``.
        ray: ``local`` or the address of a Ray cluster, whose workers do the work; see `audiotrans.cluster.on_cluster`.
        progress: show a bar with speed and time left.

    Returns:
        What was found and done.

    Raises:
        UsageError: for arguments, folders or an output that are not allowed.
        AudiotransError: if a domain has less sound to train on than one crop, the cache cannot be written or another
            process writes it, or of pairs one cannot be read or its lengths differ.
    """
    _check(valid_fraction, crop_frames, weights)
    settings = settings or AudioSettings()
    work = _Work(Path(source), Path(output), a, b, settings, remove_vibrato, paired, workers, ray)
    for pattern, _ in weights:
        if not any(fnmatch(sound.path.name, pattern) for sound in work.sources.sounds):
            raise UsageError(f"weight of {pattern}: no file has such a name; * stands for any letters, as in 'garner*'")
    with work.alone():
        results = work.make(work.jobs, progress)
        made = [result for result in results if isinstance(result, Images)]
        skipped = [result for result in results if isinstance(result, Skipped)]
        if paired:
            made.sort(key=lambda images: (images.sound.domain, images.sound.pair))
            _refuse_unlike(made, skipped)
        splits = _splits([images.sound for images in made], valid_fraction, seed)
        _refuse_empty(work.sources, made, skipped, splits, settings, crop_frames)
        content = {
            "imaging": asdict(settings),
            "domains": work.sources.names,
            "remove_vibrato": work.removal,
            "paired": paired,
            "items": _paired_items(made, splits, weights)
            if paired
            else _items(made, splits, settings, crop_frames, weights),
            "skipped": [{"source": str(skip.sound.path), "reason": skip.reason} for skip in skipped],
        }
        write_manifest(work.root, content)
        removed = remove_orphans(work.root, {images.file for images in made})
    joins = () if paired else _joins(work.sources, made, settings, crop_frames)
    notes = (*_notes(work.sources, made, splits), *joins)
    return _summary(work.root, work.sources, made, skipped, splits, removed, notes)


def prepare_shard(
    source: Path | str,
    output: Path | str,
    shard: Shard,
    *,
    a: str = "violin",
    b: str = "piano",
    settings: AudioSettings | None = None,
    remove_vibrato: Mapping[str, float] | None = None,
    paired: bool = False,
    workers: int | None = None,
    ray: str | None = None,
    progress: bool = True,
) -> ShardSummary:
    """Make the images of one of N equal shares of a folder's sounds, for N processes or machines at a time.

    All may write one cache, and each can be run again at any time. `prepare_sounds` then finds their images, makes what
    is missing, and writes the manifest: the cache is, byte for byte, what it would have been without shards. Where the
    machines share no disk, the folders ``images`` of their caches are copied into one first.

    Args:
        source: see `prepare_sounds`, as all that is not named here.
        output: folder of the cache.
        shard: which one; the n-th of N has every N-th sound from the n-th on, by domain and name.
        a: first domain.
        b: second domain.
        settings: how sounds become images.
        remove_vibrato: percent, by domain.
        paired: whether the sounds are pairs.
        workers: processes of this one.
        ray: a cluster in place of processes.
        progress: show a bar.

    Raises:
        UsageError: for arguments, folders or an output that are not allowed.
        AudiotransError: if a run without shards writes this cache, or it cannot be written.
    """
    work = _Work(Path(source), Path(output), a, b, settings or AudioSettings(), remove_vibrato, paired, workers, ray)
    with work.alone(shared=True):
        results = work.make(work.jobs[shard.number - 1 :: shard.count], progress)
    made = [result for result in results if isinstance(result, Images)]
    reused = sum(images.reused for images in made)
    skipped = tuple((skip.sound.path, skip.reason) for skip in results if isinstance(skip, Skipped))
    return ShardSummary(work.root, shard, len(work.jobs), len(made) - reused, reused, skipped)


class _Work:
    """The sounds of a folder and what is to be made of them; arguments as those of `prepare_sounds`."""

    def __init__(
        self,
        source: Path,
        root: Path,
        a: str,
        b: str,
        settings: AudioSettings,
        remove_vibrato: Mapping[str, float] | None,
        paired: bool,
        workers: int | None,
        ray: str | None,
    ) -> None:
        check_counts(workers=workers)
        self.root, self.workers, self.ray = root, workers, ray
        self.sources = find_sources(source, a, b)
        if paired:
            check_twins(self.sources)
        self.manifest = open_cache(root)
        self.removal = removal = {domain: float((remove_vibrato or {}).get(domain, 0)) for domain in DOMAINS}
        self.jobs = [Job(each, root, settings, removal[each.domain], with_level=paired) for each in self.sources.sounds]

    @contextmanager
    def alone(self, *, shared: bool = False) -> Iterator[None]:
        """Keep others out: a run that writes the manifest removes unfinished files, which shards are just writing."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(self.root, error) from error
        with alone_in(self.root, shared=shared):
            yield

    def make(self, jobs: Sequence[Job], progress: bool) -> list[Images | Skipped]:
        """Return every job's result in the jobs' order; images that are there already need no worker."""
        results: dict[Sound, Images | Skipped] = {}
        todo = []
        for job in _recall_sha1(jobs, self.manifest):
            found = find_images(job) if job.sha1 else None
            if found:
                results[job.sound] = found
            else:
                todo.append(job)
        count = min(self.workers or default_workers(len(todo), FILES_PER_WORKER), max(1, len(todo)))
        if self.ray is not None or count > 1:
            most = count if self.ray is None else self.workers
            stream = in_processes(make_images, todo, most, start=_start_worker, ray=self.ray, shared=self.root)
        else:
            stream = in_turn(make_images, todo)
        bar = tqdm(total=len(jobs), initial=len(results), desc="prep", unit="file", disable=not progress)
        with bar, closing(stream):
            for result in stream:
                results[result.sound] = result
                bar.update()
        return [results[job.sound] for job in jobs]


def _check(valid_fraction: float, crop_frames: int, weights: Sequence[tuple[str, float]]) -> None:
    if not 0 < valid_fraction < 1:
        raise UsageError(f"valid fraction {valid_fraction}: above 0 and below 1 (0.1 holds out a tenth)")
    if crop_frames < 1:
        raise UsageError(f"crop of {crop_frames} columns: at least 1")
    for pattern, weight in weights:
        if not 0 < weight < MOST_WEIGHT:
            raise UsageError(
                f"weight {weight:g} of {pattern}: above 0 and below {MOST_WEIGHT:g} (leave the files out instead of 0)"
            )


def _splits(sounds: Sequence[Sound], valid_fraction: float, seed: int) -> dict[Sound, str]:
    """Divide the sounds of which images could be made: what is of no use must not count."""
    splits: dict[Sound, str] = {}
    for domain in DOMAINS:
        of_domain = [sound for sound in sounds if sound.domain == domain]
        by_recording = assign_splits((sound.recording for sound in of_domain), valid_fraction, seed)
        splits |= {sound: sound.split or by_recording[sound.recording] for sound in of_domain}
    return splits


def _recall_sha1(jobs: Sequence[Job], manifest: Mapping[str, Any]) -> list[Job]:
    """Add stamp and SHA-1 to the jobs whose files have not changed since the manifest was written."""
    before = {sound["source"]: sound for item in manifest.get("items", []) for sound in (item, *item.get("joined", ()))}
    recalled = []
    for job in jobs:
        known = before.get(str(job.sound.path))
        with suppress(OSError):  # gone or forbidden: reading it will say so
            if known and stamp(job.sound.path) == tuple(known["stamp"]):
                job = replace(job, stamp=stamp(job.sound.path), sha1=known["sha1"])
        recalled.append(job)
    return recalled


def _start_worker() -> None:
    torch.set_num_threads(1)  # the processes are the parallelism


def _refuse_empty(
    sources: Sources,
    made: Sequence[Images],
    skipped: Sequence[Skipped],
    splits: Mapping[Sound, str],
    settings: AudioSettings,
    crop_frames: int,
) -> None:
    for domain, name in sources.names.items():
        trained = [each for each in made if each.sound.domain == domain and splits[each.sound] == "train"]
        bad = [skip for skip in skipped if skip.sound.domain == domain and skip.sound.split != "valid"]
        if not trained and bad:
            first = f"{bad[0].sound.path}: {bad[0].reason}"
            raise AudiotransError(f"none of the {len(bad)} files of {name!r} can be trained on; the first is {first}")
        seconds, least = sum(each.seconds for each in trained), _crop_seconds(settings, crop_frames)
        if seconds < least:
            raise AudiotransError(
                f"{name!r} has {seconds:.2f} s of sound to train on: at least {least:.2f} s (a crop of {crop_frames}"
                " columns) is needed"
            )


def _refuse_unlike(made: Sequence[Images], skipped: Sequence[Skipped]) -> None:
    """Refuse pairs of which one side is missing or longer than the other; ``made`` is sorted by domain and name."""
    for skip in skipped:
        raise AudiotransError(f"{skip.sound.path}: {skip.reason}; mend it, or remove it and its twin")
    half = len(made) // 2
    for a, b in zip(made[:half], made[half:], strict=True):
        if abs(a.seconds - b.seconds) > PAIR_TOLERANCE:
            raise AudiotransError(
                f"{a.sound.path} lasts {a.seconds:.2f} s, its twin {b.sound.path} {b.seconds:.2f} s: pairs begin"
                f" together and differ by {PAIR_TOLERANCE} s at most; cut them alike, or remove both"
            )


def _crop_seconds(settings: AudioSettings, crop_frames: int) -> float:
    # An image has a column at its very start, so n columns span n - 1 steps.
    return (crop_frames - 1) * column_samples(settings) / settings.sample_rate


def _is_short(images: Images, crop_frames: int) -> bool:
    return all(frames < crop_frames for frames, _ in images.pieces)


def _items(
    made: Sequence[Images],
    splits: Mapping[Sound, str],
    settings: AudioSettings,
    crop_frames: int,
    weights: Sequence[tuple[str, float]],
) -> list[dict[str, Any]]:
    """Return the manifest's items: one for each image, and one for all short ones of a side that are joined."""
    items: list[dict[str, Any]] = []
    short: dict[tuple[str, str, float], list[dict[str, Any]]] = defaultdict(list)
    for images in made:
        split = splits[images.sound]
        weight = _weight(weights, images)
        found = [_item(images, split, index) | weight for index in range(len(images.pieces))]
        if _is_short(images, crop_frames):
            short[images.sound.domain, split, weight.get("weight", 1.0)] += found
        else:
            items += found
    for group in short.values():
        items += _joined(group, settings)
    return items


def _paired_items(
    made: Sequence[Images], splits: Mapping[Sound, str], weights: Sequence[tuple[str, float]]
) -> list[dict[str, Any]]:
    """Return one item for each sound, so that a place is the same on both sides however they were cut.

    A pair's weight is that of the first pattern that either of its names fits.
    """
    items, half = [], len(made) // 2
    for images, twin in zip(made, (*made[half:], *made[:half]), strict=True):
        count, weight = len(images.pieces), _weight(weights, images, twin)
        pieces = [_item(images, splits[images.sound], index) | {"level": index + count} for index in range(count)]
        items.append((_join(pieces, 0) if count > 1 else pieces[0]) | weight)
    return items


def _weight(weights: Sequence[tuple[str, float]], *alike: Images) -> dict[str, float]:
    """Return what an item says of how often training draws from it: nothing if as often as from others."""
    names = [images.sound.path.name for images in alike]
    weight = next((weight for pattern, weight in weights if any(fnmatch(name, pattern) for name in names)), 1.0)
    return {} if weight == 1 else {"weight": weight}


def _item(images: Images, split: str, index: int) -> dict[str, Any]:
    sound, (frames, seconds) = images.sound, images.pieces[index]
    return {
        "domain": sound.domain,
        "split": split,
        "recording": sound.recording,
        "source": str(sound.path),
        "file": images.file,
        "index": index,
        "frames": frames,
        "seconds": round(seconds, 6),
        "level_db": round(images.level_db, 4),
        "sha1": images.sha1,
        "stamp": list(images.stamp),
    }


def _joined(short: Sequence[dict[str, Any]], settings: AudioSettings) -> Iterator[dict[str, Any]]:
    """Join items of one domain and split up to `JOINED_SECONDS`: the first of each group holds the others."""
    column = column_samples(settings) / settings.sample_rate
    gap, most = max(1, round(GAP_SECONDS / column)), JOINED_SECONDS / column
    group: list[dict[str, Any]] = []
    for item in short:
        if group and sum(each["frames"] + gap for each in group) + item["frames"] > most:
            yield _join(group, gap)
            group = []
        group.append(item)
    yield _join(group, gap)


def _join(group: Sequence[dict[str, Any]], gap: int) -> dict[str, Any]:
    frames = sum(each["frames"] for each in group) + gap * (len(group) - 1)
    seconds = round(sum(each["seconds"] for each in group), 6)
    return {**group[0], "frames": frames, "seconds": seconds, "gap": gap, "joined": list(group[1:])}


def _summary(
    root: Path,
    sources: Sources,
    made: Sequence[Images],
    skipped: Sequence[Skipped],
    splits: Mapping[Sound, str],
    removed: int,
    notes: tuple[str, ...],
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
    return Summary(root, sources.names, counts, left_out, len(made) - reused, reused, removed, notes)


def _notes(sources: Sources, made: Sequence[Images], splits: Mapping[Sound, str]) -> Iterator[str]:
    for domain, name in sources.names.items():
        sides: dict[str, set[str]] = defaultdict(set)
        for images in made:
            if images.sound.domain == domain:
                sides[images.sound.recording].add(splits[images.sound])
        shared = sorted(recording for recording, of in sides.items() if len(of) > 1)
        if shared:
            yield f"by its name {shared[0]!r} of {name} is in both train and valid ({len(shared)} such recordings)"
        for split in SPLITS:
            if not any(split in of for of in sides.values()):
                yield f"{name} has nothing for {split}" + ("" if sources.split_kept else ONE_RECORDING)


def _joins(sources: Sources, made: Sequence[Images], settings: AudioSettings, crop_frames: int) -> Iterator[str]:
    for domain, name in sources.names.items():
        count = sum(each.sound.domain == domain and _is_short(each, crop_frames) for each in made)
        if count:
            yield (
                f"{count} sounds of {name} are shorter than a crop ({_crop_seconds(settings, crop_frames):.2f} s):"
                f" they are joined, with {GAP_SECONDS} s of silence between"
            )
