"""Write what a page plays and shows: sounds that browsers play, matched in loudness, and their spectrograms."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from audiotrans.audio import AudioInfo, Wave, probe, read, resample, write
from audiotrans.errors import AudiotransError, UsageError, names_extras
from audiotrans.evaluation import plots
from audiotrans.evaluation.report.content import Clip, Direction, Figure, Material, Take

FORMATS = ("flac", "ogg", "wav", "as-is")
"""FLAC (16 bits) is the default: Chromium, Firefox and Safari play it, it adds no artefacts of a codec to those that
are to be heard, and all sounds of a clip stay in step. Ogg Vorbis is smaller; Safari before 18.4 lacks it."""

FLAC_SILENCE = 4 * 4096
"""Samples of silence behind every FLAC file. Chromium fails for good when it is to seek into the last three frames (of
4096 samples) of a FLAC file ("demuxer seek failed"); silence costs some bytes, and the page stops where the sound does.
"""

PLAYABLE = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3"})
"""What browsers play, so that ``as-is`` may copy it."""

QUIETEST_DB = 15.0
"""A sound further than this below its clip's median is not matched: all others would have to be made as faint."""

SOUNDS = "sounds"
FIGURES = "figures"

Tick = Callable[[], object]
"""Called after every sound."""

K_WEIGHTING = "DeMan"
"""The one of pyloudnorm's filters that equals the standard's table at 48 kHz; its default is an approximation."""

_LOWEST_RATE = 8000  # Hz; the standard's filter for the head's resonance at 1.7 kHz does not exist far below
_MOST_CHANNELS = 5  # whose weights the standard gives


@dataclass(frozen=True)
class ReadyTake:
    """A take on the page.

    Attributes:
        take: what it is.
        sound: path of the sound within the page, or None.
        spectrogram: path of its spectrogram, or None.
        seconds: duration.
        loudness: in LUFS, or None for silence.
        gain_db: what makes it as loud as the clip's others, <= 0.
        lowered_db: how far it was lowered so that it does not clip, >= 0.
    """

    take: Take
    sound: str | None = None
    spectrogram: str | None = None
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
    """A source on the page, its figures as captions and paths within the page; ``key`` is its HTML id."""

    key: str
    material: Material
    directions: tuple[ReadyDirection, ...]
    figures: tuple[tuple[str, str], ...]


def write_sounds(materials: Sequence[Material], folder: Path, sound_format: str, tick: Tick) -> list[ReadyMaterial]:
    """Write the sounds and figures of a page.

    Args:
        materials: what it is about.
        folder: of the page.
        sound_format: one of ``FORMATS``.
        tick: called after every sound.

    Returns:
        The same with the paths of what was written.

    Raises:
        AudiotransError: a sound cannot be read, or a file written.
    """
    for name in (SOUNDS, FIGURES):
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
    ready: list[ReadyTake] = []
    levels = {}
    for take in clip.takes:
        if take.sound is None:
            ready.append(ReadyTake(take))
            continue
        name = neutral_name(key, take.system)
        sound, wave, rate, lowered_db = write_sound(take.sound, folder / SOUNDS, name, sound_format)
        spectrogram = f"{FIGURES}/{name}.png"
        levels[spectrogram] = plots.strip_levels(wave, rate)
        loudness, seconds = loudness_lufs(wave, rate), wave.shape[1] / rate
        ready.append(ReadyTake(take, f"{SOUNDS}/{sound}", spectrogram, seconds, loudness, 0.0, lowered_db))
        tick()
    loudest = max((float(level.max()) for level in levels.values()), default=0.0)
    for place, level in levels.items():
        plots.save_strip(level, folder / place, loudest)
    gains = matching_gains([take.loudness for take in ready])
    return ReadyClip(
        key, clip.name, tuple(replace(take, gain_db=gain) for take, gain in zip(ready, gains, strict=True))
    )


def neutral_name(clip_key: str, system: str) -> str:
    """Name a sound's files so that the name does not tell the system, and the same page gets the same names."""
    return hashlib.sha256(f"{clip_key}\0{system}".encode()).hexdigest()[:12]


def _figure(figure: Figure, folder: Path, name: str) -> str:
    target = folder / FIGURES / f"{name}.png"
    if figure.path.suffix == ".jsonl":
        plots.training_curves(figure.path, target)
        return f"{FIGURES}/{target.name}"
    try:
        shutil.copyfile(figure.path, target)
    except OSError as error:
        raise AudiotransError(f"{figure.path}: cannot be copied: {error.strerror or error}") from error
    return f"{FIGURES}/{target.name}"


def write_sound(source: Path, folder: Path, name: str, sound_format: str) -> tuple[str, Wave, int, float]:
    """Write a sound for the page.

    Args:
        source: the file.
        folder: of the page's sounds.
        name: the new file's, without a suffix; it must not tell whose sound it is.
        sound_format: one of ``FORMATS``.

    Returns:
        The new file's name; what it holds, (channels, samples); its sample rate in Hz; and the dB by which it was
        lowered so that it does not clip, >= 0.

    Raises:
        AudiotransError: the file cannot be read or the new one written.
        UsageError: ``as-is`` with a file that browsers do not play.
    """
    wave, rate = read(source)
    suffix = source.suffix.lower() if sound_format == "as-is" else f".{sound_format}"
    if suffix not in PLAYABLE:
        raise UsageError(f"{source}: browsers do not play {suffix or 'this'}; choose --format flac, ogg or wav.")
    target = folder / f"{name}{suffix}"
    if sound_format == "as-is" and suffix != ".flac":
        shutil.copyfile(source, target)
        return target.name, wave, rate, 0.0
    # Sixteen bits: enough for listening, half the size of the default's 24, and played everywhere.
    like = probe(source) if sound_format == "as-is" else AudioInfo(source, rate, len(wave), wave.shape[1], "", "PCM_16")
    behind = FLAC_SILENCE if suffix == ".flac" else 0
    gain = write(target, np.pad(wave, ((0, 0), (0, behind))), rate, like=like, named=source)
    return target.name, wave * np.float32(gain), rate, max(0.0, -20.0 * math.log10(gain))


@names_extras()
def loudness_lufs(wave: Wave, sample_rate: int) -> float | None:
    """Measure the integrated loudness after ITU-R BS.1770-4.

    Args:
        wave: (channels, samples), not empty. A wave that is shorter than the standard's block of 0.4 s is repeated. Of
            more than five channels, the first two stand for all.
        sample_rate: in Hz.

    Returns:
        LUFS, K-weighted and gated, or None for what lies under the gate (-70 LUFS): silence.
    """
    from pyloudnorm import Meter

    heard = wave if len(wave) <= _MOST_CHANNELS else wave[:2]
    if sample_rate < _LOWEST_RATE:
        heard, sample_rate = resample(heard, sample_rate, _LOWEST_RATE), _LOWEST_RATE
    block, hop = (math.ceil(seconds * sample_rate) for seconds in (0.4, 0.1))
    if heard.shape[1] < block:
        heard = np.tile(heard, -(-2 * block // heard.shape[1]))[:, : 2 * block]
    # Whole blocks only: the meter rounds their number, and would fill up the last one with silence.
    whole = block + (heard.shape[1] - block) // hop * hop
    meter = Meter(sample_rate, filter_class=K_WEIGHTING)
    loudness = float(meter.integrated_loudness(heard[:, :whole].T.astype(np.float64)))
    return loudness if math.isfinite(loudness) else None


def matching_gains(levels: Sequence[float | None]) -> list[float]:
    """Find the gains that make the sounds of one clip equally loud, by lowering only: raising could clip.

    Args:
        levels: loudness of each, LUFS; None for silence.

    Returns:
        A gain in dB, <= 0, for each; 0 for silence, and for what is ``QUIETEST_DB`` or more below the median.
    """
    heard = [level for level in levels if level is not None]
    if not heard:
        return [0.0 for _ in levels]
    target = min(level for level in heard if level > float(np.median(heard)) - QUIETEST_DB)
    return [0.0 if level is None else min(0.0, target - level) for level in levels]
