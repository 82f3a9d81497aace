"""The test set: a folder of sounds -> the clips of each direction, with truths and scores where there are any."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from audiotrans import audio
from audiotrans.audio import Wave
from audiotrans.errors import AudiotransError, UsageError, nearest
from audiotrans.evaluation.metrics.pitch import Note, read_notes
from audiotrans.files import file_digest
from audiotrans.training.sources import recording_of

RATE = 44_100
"""Hz at which everything is read and measured."""

CLIP_SECONDS = 10.0
LENGTH_TOLERANCE_SECONDS = 0.1
"""Two sounds of the same notes may differ by this much in length: codecs and frames round it."""

MOST_REAL_CLIPS = 100
"""Real clips of the target that a direction is compared with; more cost time and change little."""

NOTES_FOLDER = "notes"


@dataclass(frozen=True)
class Clip:
    """A piece of a test sound.

    Attributes:
        name: unique within its domain; a piece of a longer file ends in ``_at_20s``.
        recording: what it was cut from; intervals resample recordings, not clips.
        path: its file.
        start_seconds: where it begins there.
        seconds: how long it is.
        truth: the same notes played by the target, or None.
        notes: the score, or None.
        whole: whether it is the whole file.
    """

    name: str
    recording: str
    path: Path
    start_seconds: float
    seconds: float
    truth: Path | None = None
    notes: Path | None = None
    whole: bool = True

    def read(self) -> Wave:
        """Return the wave, float32 (channels, samples) at `RATE`."""
        return read_piece(self.path, self)

    def score(self) -> list[Note] | None:
        """Return the notes that begin within the clip, in seconds from its start; None without a score."""
        if self.notes is None:
            return None
        shifted = [
            replace(note, onset_seconds=note.onset_seconds - self.start_seconds) for note in read_notes(self.notes)
        ]
        return [note for note in shifted if 0 <= note.onset_seconds < self.seconds]

    @property
    def identity(self) -> str:
        """Name the clip's samples: another file, or another piece of it, gives another text."""
        return f"{digest_of(self.path)}@{self.start_seconds:g}+{self.seconds:g}"


@dataclass(frozen=True)
class Direction:
    """What is translated into what.

    Attributes:
        source: domain of the clips.
        target: domain to translate to.
        clips: the inputs.
        reals: real clips of the target domain.
    """

    source: str
    target: str
    clips: tuple[Clip, ...]
    reals: tuple[Clip, ...]

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        return f"{self.source}-to-{self.target}"

    @property
    def paired(self) -> bool:
        """Whether the truth is known of at least one clip."""
        return any(clip.truth is not None for clip in self.clips)


@dataclass(frozen=True)
class Selection:
    """Which clips of a test set are wanted.

    Attributes:
        source: only this domain's clips; None for every domain.
        target: only translations to this domain; None for every other one.
        seconds: length of a clip; longer files are cut.
        limit: clips per direction at most, spread over the recordings; None for all.
        unpaired: whether equal names in two domains are chance.
    """

    source: str | None = None
    target: str | None = None
    seconds: float = CLIP_SECONDS
    limit: int | None = None
    unpaired: bool = False

    def __post_init__(self) -> None:
        if not self.seconds >= 1:
            raise UsageError(f"--seconds {self.seconds:g}: clips of 1 s or more can be measured")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit {self.limit}: give 1 clip per direction or more")


def find_directions(
    folder: Path,
    selection: Selection,
    *,
    train: Path | None = None,
    known: Sequence[Collection[str]] = (),
) -> tuple[list[Direction], list[str]]:
    """Find what can be evaluated on a test set.

    Args:
        folder: has one sub-folder per domain, and perhaps ``notes/<stem>.csv``.
        selection: which clips.
        train: has sub-folders of real sounds too; used for the targets of a test set of one domain.
        known: the domains of each model; a direction is kept where at least one knows both. Empty keeps all.

    Returns:
        The directions, and one-line notes about what was left out.

    Raises:
        UsageError: no domain, an unknown one, or nothing to evaluate.
    """
    domains = _domains(folder)
    real = {} if train is None else _domains(train)
    targets = {**real, **domains} if len(domains) == 1 else domains
    for wanted, there in ((selection.source, domains), (selection.target, targets)):
        if wanted is not None and wanted not in there:
            listed = ", ".join(there) or "none"
            raise UsageError(f"{folder} has no domain {wanted!r}: it has {listed}.{nearest(wanted, there)}")
    notes: list[str] = []
    directions = []
    for source, target in _pairs(domains, targets, selection, known):
        clips = _clips(folder, domains[source], selection.seconds)
        if target in domains and not selection.unpaired:
            clips = _with_truths(clips, domains[source], domains[target], notes)
        reals = _clips(folder, targets[target], selection.seconds)
        if train is not None and target not in real:
            notes.append(f"{train} has no sounds of {target!r}: the equaliser takes the test set's own")
        chosen, compared = spread(clips, selection.limit), spread(reals, MOST_REAL_CLIPS)
        directions.append(Direction(source, target, tuple(chosen), tuple(compared)))
    if not directions:
        raise UsageError(_nothing(folder, domains, known))
    return directions, notes


def _domains(folder: Path) -> dict[str, Path]:
    """Return the sub-folders that hold sounds, by name."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder: give one that has a sub-folder of sounds for each domain")
    found = {}
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not entry.name.startswith(".") and entry.name != NOTES_FOLDER and _files(entry):
            found[entry.name] = entry
    if not found:
        raise UsageError(
            f"{folder} has no sub-folder with sounds: make one for each domain, such as violin/ and piano/"
        )
    return found


def _files(folder: Path) -> list[Path]:
    try:
        return audio.find_audio([folder])
    except UsageError:
        return []


def _pairs(
    domains: Collection[str], targets: Iterable[str], selection: Selection, known: Sequence[Collection[str]]
) -> Iterator[tuple[str, str]]:
    first = list(known[0]) if known else []  # a model's own order comes before the alphabet's
    sources = [*(name for name in first if name in domains), *(name for name in domains if name not in first)]
    for source, target in itertools.product(sources, targets):
        wanted = selection.source in (None, source) and selection.target in (None, target) and source != target
        if wanted and (not known or any(source in names and target in names for names in known)):
            yield source, target


def _nothing(folder: Path, domains: Iterable[str], known: Sequence[Collection[str]]) -> str:
    listed = ", ".join(domains)
    if known:
        models = "; ".join(" and ".join(names) for names in known)
        return f"{folder} has sounds of {listed}, the models translate {models}: name the sub-folders after the domains"
    return f"{folder} has sounds of {listed} alone: a translation needs a second domain, here or in --train"


def _clips(root: Path, folder: Path, seconds: float) -> list[Clip]:
    """Cut the files of a domain into clips."""
    clips: list[Clip] = []
    owners: dict[str, Path] = {}
    for path in audio.find_audio([folder]):
        relative = path.relative_to(folder)
        stem = relative.with_suffix("").as_posix()
        if owners.setdefault(stem, path) != path:
            raise UsageError(f"{owners[stem]} and {path} have the same name: keep one of them")
        score = root / NOTES_FOLDER / f"{stem}.csv"
        notes = score if score.is_file() else None
        length = audio.probe(path).seconds
        for start, piece in cuts(length, seconds):
            whole = piece == length
            name = stem if whole else f"{stem}_at_{start:g}s"
            clips.append(Clip(name, recording_of(relative), path, start, piece, None, notes, whole))
    return clips


def cuts(length: float, seconds: float) -> list[tuple[float, float]]:
    """Divide a length into pieces: starts and lengths in seconds; a rest of less than half a piece is left out."""
    if length <= seconds:
        return [(0.0, length)]
    starts = [index * seconds for index in range(int(length // seconds) + 1)]
    return [(start, min(seconds, length - start)) for start in starts if length - start >= seconds / 2]


def _with_truths(clips: list[Clip], source: Path, target: Path, notes: list[str]) -> list[Clip]:
    """Give every clip its truth, if the files of equal name in the two folders can be the same notes."""
    twins = {path.relative_to(target).with_suffix("").as_posix(): path for path in _files(target)}
    found = {}
    for path in {clip.path for clip in clips}:
        twin = twins.get(path.relative_to(source).with_suffix("").as_posix())
        if twin is None:
            continue
        difference = abs(audio.probe(path).seconds - audio.probe(twin).seconds)
        if difference > LENGTH_TOLERANCE_SECONDS:
            notes.append(
                f"{path} and {twin} differ by {difference:.1f} s: equal names are chance then, and the set is unpaired"
            )
            return clips
        found[path] = twin
    return [replace(clip, truth=found.get(clip.path)) for clip in clips]


def spread(clips: Sequence[Clip], limit: int | None) -> list[Clip]:
    """Choose clips of as many recordings as possible: the first of each, then the second, ...; in their old order."""
    if limit is None or len(clips) <= limit:
        return list(clips)
    turn: dict[str, int] = {}
    ranked = []
    for index, clip in enumerate(clips):
        ranked.append((turn.setdefault(clip.recording, 0), index))
        turn[clip.recording] += 1
    return [clips[index] for index in sorted(index for _, index in sorted(ranked)[:limit])]


def read_piece(path: Path, clip: Clip) -> Wave:
    """Read the piece of a file at which a clip lies in its own, as long as the clip; (channels, samples) at `RATE`.

    Raises:
        AudiotransError: the file ends more than `LENGTH_TOLERANCE_SECONDS` before the clip does.
    """
    wave, _ = audio.read(path, sample_rate=RATE, start_seconds=clip.start_seconds, seconds=clip.seconds)
    wanted = round(clip.seconds * RATE)
    if wave.shape[1] < wanted - round(LENGTH_TOLERANCE_SECONDS * RATE):
        there = wave.shape[1] / RATE
        raise AudiotransError(f"{path}: only {there:.2f} s of the {clip.seconds:.2f} s of {clip.path} are there")
    return fit_length(wave, wanted)


def fit_length(wave: Wave, length: int) -> Wave:
    """Cut a wave (channels, samples), or add silence, to a length in samples."""
    missing = max(0, length - wave.shape[1])
    return np.ascontiguousarray(np.pad(wave, ((0, 0), (0, missing)))[:, :length], dtype=np.float32)


def fit_channels(wave: Wave, channels: int) -> Wave:
    """Give a wave (channels, samples) another number of channels: the mean of all in each, where it differs."""
    if wave.shape[0] == channels:
        return wave
    return np.repeat(wave.mean(axis=0, keepdims=True), channels, axis=0)


def digest_of(path: Path) -> str:
    """Return a short digest of a file's bytes, computed once while the file does not change."""
    status = path.stat()
    return _digest(path, status.st_size, status.st_mtime_ns)


@cache
def _digest(path: Path, _size: int, _changed_ns: int) -> str:
    return file_digest(path)[:16]
