"""Material -> what the page shows: sounds written, loudness matched, spectrograms drawn, everything numbered."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from audiotrans.errors import AudiotransError
from audiotrans.evaluation import plots
from audiotrans.evaluation.report.content import Clip, Direction, Figure, Material, Take
from audiotrans.evaluation.report.loudness import matching_gains
from audiotrans.evaluation.report.sounds import make_sound

SOUNDS = "sounds"
PICTURES = "pictures"

Tick = Callable[[], object]
"""Called after every sound."""


@dataclass(frozen=True)
class ReadyTake:
    """A take on the page.

    Attributes:
        take: what it is.
        sound: path of the sound within the page, or None.
        picture: path of its spectrogram, or None.
        seconds: duration.
        loudness: in LUFS, or None for silence.
        gain_db: what makes it as loud as the clip's others, <= 0.
        lowered_db: how far it was lowered so that it does not clip, >= 0.
    """

    take: Take
    sound: str | None = None
    picture: str | None = None
    seconds: float = 0.0
    loudness: float | None = None
    gain_db: float = 0.0
    lowered_db: float = 0.0


@dataclass(frozen=True)
class ReadyClip:
    """A clip on the page; ``key`` is its HTML id."""

    key: str
    name: str
    takes: tuple[ReadyTake, ...]

    @property
    def seconds(self) -> float:
        """Duration of the longest take."""
        return max((take.seconds for take in self.takes), default=0.0)


@dataclass(frozen=True)
class ReadyDirection:
    """A direction on the page; ``key`` is its HTML id."""

    key: str
    direction: Direction
    clips: tuple[ReadyClip, ...]


@dataclass(frozen=True)
class ReadyMaterial:
    """A source on the page, its figures as captions and paths within the page."""

    key: str
    material: Material
    directions: tuple[ReadyDirection, ...]
    figures: tuple[tuple[str, str], ...]


def assemble(materials: Sequence[Material], folder: Path, sound_format: str, tick: Tick) -> list[ReadyMaterial]:
    """Write the sounds and pictures of a page.

    Args:
        materials: what it is about.
        folder: of the page.
        sound_format: one of ``sounds.FORMATS``.
        tick: called after every sound.

    Returns:
        The same with the paths of what was written.

    Raises:
        AudiotransError: a sound cannot be read, or a file written.
    """
    for name in (SOUNDS, PICTURES):
        (folder / name).mkdir()
    ready = []
    for number, material in enumerate(materials, start=1):
        directions = tuple(
            _direction(direction, f"m{number}-d{at}", folder, sound_format, tick)
            for at, direction in enumerate(material.directions, start=1)
        )
        figures = tuple(
            (figure.caption, _figure(figure, folder, f"figure-{number}-{at}"))
            for at, figure in enumerate(material.figures, start=1)
        )
        ready.append(ReadyMaterial(f"m{number}", material, directions, figures))
    return ready


def _direction(direction: Direction, key: str, folder: Path, sound_format: str, tick: Tick) -> ReadyDirection:
    clips = tuple(
        _clip(clip, f"{key}-c{at}", folder, sound_format, tick) for at, clip in enumerate(direction.clips, start=1)
    )
    return ReadyDirection(key, direction, clips)


def _clip(clip: Clip, key: str, folder: Path, sound_format: str, tick: Tick) -> ReadyClip:
    ready, levels = [], []
    for take in clip.takes:
        if take.sound is None:
            ready.append(ReadyTake(take))
            continue
        name = neutral_name(key, take.system)
        sound = make_sound(take.sound, folder / SOUNDS, name, sound_format)
        levels.append((name, plots.strip_levels(sound.wave, sound.sample_rate)))
        paths = f"{SOUNDS}/{sound.name}", f"{PICTURES}/{name}.png"
        ready.append(ReadyTake(take, *paths, sound.seconds, sound.loudness, 0.0, sound.lowered_db))
        tick()
    loudest = max((float(level.max()) for _, level in levels), default=0.0)
    for name, level in levels:
        plots.save_strip(level, folder / PICTURES / f"{name}.png", loudest)
    return ReadyClip(key, clip.name, _matched(ready))


def _matched(takes: list[ReadyTake]) -> tuple[ReadyTake, ...]:
    gains = matching_gains([take.loudness for take in takes])
    return tuple(
        ReadyTake(take.take, take.sound, take.picture, take.seconds, take.loudness, gain, take.lowered_db)
        for take, gain in zip(takes, gains, strict=True)
    )


def neutral_name(clip_key: str, system: str) -> str:
    """Name a sound's files so that the name does not tell the system, and the same page gets the same names."""
    return hashlib.sha256(f"{clip_key}\0{system}".encode()).hexdigest()[:12]


def _figure(figure: Figure, folder: Path, name: str) -> str:
    target = folder / PICTURES / f"{name}.png"
    if figure.path.suffix == ".jsonl":
        plots.training_curves(figure.path, target)
        return f"{PICTURES}/{target.name}"
    try:
        shutil.copyfile(figure.path, target)
    except OSError as error:
        raise AudiotransError(f"{figure.path}: cannot be copied: {error.strerror or error}") from error
    return f"{PICTURES}/{target.name}"
