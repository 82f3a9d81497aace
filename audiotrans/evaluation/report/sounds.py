"""The page's sounds: in a format that browsers play, with a measured loudness."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audiotrans.audio import AudioInfo, probe, read, write
from audiotrans.audio.resampling import Wave
from audiotrans.errors import UsageError
from audiotrans.evaluation.report.loudness import loudness_lufs

FORMATS = ("flac", "ogg", "wav", "as-is")
"""FLAC (16 bits) is the default: Chromium, Firefox and Safari play it, it adds no artefacts of a codec to those that
are to be judged, and all sounds of a clip stay in step. Ogg Vorbis is smaller; Safari before 18.4 lacks it."""

FLAC_SILENCE = 4 * 4096
"""Samples of silence behind every FLAC file. Chromium fails for good when it is to seek into the last three frames (of
4096 samples) of a FLAC file ("demuxer seek failed"); silence costs some bytes, and the page stops where the sound does.
"""

PLAYABLE = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3"})
"""What browsers play, so that ``as-is`` may copy it."""


@dataclass(frozen=True)
class Sound:
    """A sound of the page.

    Attributes:
        name: of its file.
        wave: as the file holds it, (channels, samples).
        sample_rate: in Hz.
        loudness: integrated loudness in LUFS (ITU-R BS.1770), or None for silence.
        lowered_db: how far it was lowered so that it does not clip, >= 0.
    """

    name: str
    wave: Wave
    sample_rate: int
    loudness: float | None
    lowered_db: float

    @property
    def seconds(self) -> float:
        """Duration."""
        return float(self.wave.shape[1] / self.sample_rate)


def make_sound(source: Path, folder: Path, name: str, sound_format: str) -> Sound:
    """Write a sound for the page.

    Args:
        source: the file.
        folder: of the page's sounds.
        name: the new file's, without a suffix; it must not tell whose sound it is.
        sound_format: one of ``FORMATS``.

    Returns:
        The sound.

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
        return Sound(target.name, wave, rate, loudness_lufs(wave, rate), 0.0)
    # Sixteen bits: enough for listening, half the size of the default's 24, and played everywhere.
    like = probe(source) if sound_format == "as-is" else AudioInfo(source, rate, len(wave), wave.shape[1], "", "PCM_16")
    behind = FLAC_SILENCE if suffix == ".flac" else 0
    gain = write(target, np.pad(wave, ((0, 0), (0, behind))), rate, like=like)
    wave = wave * np.float32(gain)
    return Sound(target.name, wave, rate, loudness_lufs(wave, rate), max(0.0, -20.0 * math.log10(gain)))
