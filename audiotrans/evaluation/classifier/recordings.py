"""The judge's training sounds: found as `prep` finds them, split by recording, held as 16-bit mono.

Recordings only. A folder that evaluation wrote holds what a model made; a judge that had learnt from it would grade
the model by itself, so such folders are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from audiotrans.audio import read
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.evaluation.classifier.features import FeatureSettings, window_starts
from audiotrans.evaluation.metrics.checks import mono
from audiotrans.training.sources import SPLITS, Sound, assign_splits, find_sources

MADE_BY_US = ("evaluation.json", "cycle.json")
"""Files that mark a folder of sounds made by a model."""

MOST_SECONDS = 7200.0
"""Sound of one domain that is used: 2 hours, 0.23 GB. Of a larger collection every file gives its first part."""

LEAST_SECONDS = 20.0
"""What every file gives at least."""

_FULL_SCALE = 32767.0


@dataclass(frozen=True)
class Recording:
    """A sound in memory.

    Attributes:
        sound: its file, domain and recording, as `prep` knows them.
        label: index of its domain.
        split: ``train`` or ``valid``.
        samples: mono, 16 bit, shape (samples,), at the judge's rate.
        gain: what the samples times this are is the sound again.
    """

    sound: Sound
    label: int
    split: str
    samples: npt.NDArray[np.int16]
    gain: float

    def wave(self, start: int = 0, stop: int | None = None) -> npt.NDArray[np.float32]:
        """Return the samples from ``start`` to ``stop`` as float32."""
        return self.samples[start:stop].astype(np.float32) * np.float32(self.gain)


def domain_names(source: Path) -> tuple[str, ...]:
    """Name the domains of a folder by its sub-folders (of its train folder where it is split already).

    Raises:
        UsageError: where there are fewer than two.
    """
    if not source.is_dir():
        raise UsageError(f"{source} is not a folder: give the folder that holds the sounds")
    root = source / "train" if all((source / split).is_dir() for split in SPLITS) else source
    names = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(names) < 2:
        there = ", ".join(names) or "none"
        raise UsageError(f"{root} needs two or more sub-folders, one for each domain; it has {there}")
    return tuple(names)


def find_sounds(source: Path, domains: Sequence[str]) -> tuple[tuple[str, ...], list[list[Sound]]]:
    """Find the sounds of two or more domains.

    Args:
        source: as `audiotrans.training.sources.find_sources` takes it.
        domains: names, IRMAS classes or ``name=path``.

    Returns:
        The domains' names, and the sounds of each.

    Raises:
        UsageError: a folder is missing, empty or the same for two domains, or was written by an evaluation.
    """
    if len(domains) < 2:
        raise UsageError(f"a judge tells two or more domains apart; {len(domains)} given")
    names: list[str] = []
    sounds: list[list[Sound]] = []
    for other in domains[1:]:
        pair = find_sources(source, domains[0], other)
        for key in "ab" if not names else "b":
            names.append(pair.names[key])
            sounds.append([sound for sound in pair.sounds if sound.domain == key])
    if len({name.casefold() for name in names}) < len(names):
        raise UsageError(f"two of the domains have the same name: {', '.join(names)}")
    paths = [sound.path.resolve() for of_domain in sounds for sound in of_domain]
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise UsageError(f"{twice} is in two domains: they must be apart")
    refuse_made_sounds(paths)
    return tuple(names), sounds


def refuse_made_sounds(paths: Iterable[Path]) -> None:
    """Refuse sound files that lie in a folder which evaluate or cycle wrote, at any depth.

    Raises:
        UsageError: naming the folder.
    """
    folders = {folder for path in paths for folder in path.parents}
    for folder in sorted(folders):
        for mark in MADE_BY_US:
            if (folder / mark).is_file():
                raise UsageError(
                    f"{folder} holds {mark}: its sounds were made by a model, and a judge learns from recordings only"
                )


def load_recordings(
    sounds: Sequence[Sequence[Sound]],
    names: Sequence[str],
    settings: FeatureSettings,
    *,
    valid_fraction: float,
    seed: int,
    progress: bool,
) -> tuple[list[Recording], list[str]]:
    """Read the sounds and divide them by recording.

    Args:
        sounds: of each domain.
        names: of the domains.
        settings: see `FeatureSettings`.
        valid_fraction: share of the recordings that is held out, where the source is not split already.
        seed: another seed holds out other recordings.
        progress: show a bar.

    Returns:
        The recordings, and a line for each file that was left out.

    Raises:
        AudiotransError: where a domain has nothing to train on.
    """
    found, skipped = [], []
    with tqdm(total=sum(map(len, sounds)), desc="read", unit="file", disable=not progress) as bar:
        for label, of_domain in enumerate(sounds):
            splits = assign_splits((sound.recording for sound in of_domain), valid_fraction, seed)
            seconds = max(MOST_SECONDS / len(of_domain), LEAST_SECONDS)
            for sound in of_domain:
                split = sound.split or splits[sound.recording]
                try:
                    found.append(_load(sound, label, split, settings, seconds))
                except AudiotransError as error:
                    skipped.append(str(error))
                bar.update()
    for label, name in enumerate(names):
        if not any(recording.label == label and recording.split == "train" for recording in found):
            first = f"; the first trouble is {skipped[0]}" if skipped else ""
            raise AudiotransError(f"no sound of {name!r} can be trained on{first}")
    return found, skipped


def _load(sound: Sound, label: int, split: str, settings: FeatureSettings, seconds: float) -> Recording:
    wave, _ = read(sound.path, sample_rate=settings.sample_rate, seconds=seconds)
    samples = mono(wave)
    peak = float(np.abs(samples).max())
    if not window_starts(samples.astype(np.float32), settings):
        raise AudiotransError(f"{sound.path}: is silent")
    gain = peak / _FULL_SCALE
    return Recording(sound, label, split, np.rint(samples / gain).astype(np.int16), gain)


def by_split(recordings: Iterable[Recording], split: str) -> Iterator[Recording]:
    """Yield the recordings of one split."""
    return (recording for recording in recordings if recording.split == split)
