"""A melody on instruments of a General MIDI soundfont, by fluidsynth."""

from __future__ import annotations

import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiotrans.audio import read

TICKS = 480
"""To a quarter note; at the usual tempo, half a second."""

PROGRAMS: dict[str, tuple[int, int]] = {
    "violin": (40, 0), "violin, an octave up": (40, 1), "violin, two octaves up": (40, 2),
    "violin, two octaves down": (40, -2), "piano": (0, 0), "piano, two octaves up": (0, 2), "viola": (41, 0),
    "cello": (42, -1), "strings": (48, 0), "choir": (52, 0), "trumpet": (56, 0), "horn": (60, 0), "saxophone": (65, 0),
    "oboe": (68, 0), "clarinet": (71, 0), "flute": (73, 0), "church organ": (19, 0), "rock organ": (18, 0),
    "accordion": (21, 0), "synth lead": (81, 0), "synth pad": (89, 0), "electric piano": (4, 0),
    "harpsichord": (6, 0), "vibraphone": (11, 0), "guitar": (24, 0), "distorted guitar": (30, 0), "bass": (32, -2),
    "sitar": (104, 0),
}  # fmt: skip
"""Program and octave of each instrument."""

Note = tuple[float, float, int, int]


def melody(octaves: int = 0) -> list[Note]:
    """Make 12 s of notes between G3 and G5 in C major, long and short: start, seconds, MIDI number, velocity."""
    rng = np.random.default_rng(3)
    scale = [p for p in range(55, 80) if p % 12 in (0, 2, 4, 5, 7, 9, 11)]
    notes, at, place = [], 0.1, len(scale) // 2
    while at < 11.5:
        seconds = float(rng.choice([0.125, 0.25, 0.25, 0.5, 1.0]))
        place = int(np.clip(place + rng.integers(-3, 4), 0, len(scale) - 1))
        notes.append((at, 0.95 * seconds, scale[place] + 12 * octaves, int(rng.integers(70, 105))))
        at += seconds
    return notes


def play(soundfont: Path, program: int, octaves: int = 0) -> NDArray[np.float32]:
    """Play the melody; float32 ``(2, n)`` at 44.1 kHz."""
    return _rendered(soundfont, melody(octaves), bytes([0xC0, program]), 0)


def play_drums(soundfont: Path) -> NDArray[np.float32]:
    """Play a rock beat: bass drum, snare and hi-hat."""
    beat = [(i / 4, 0.2, key, 100) for i in range(48) for key in ((42,), (42, 36), (42,), (42, 38))[i % 4]]
    return _rendered(soundfont, beat, bytes([0xC9, 0]), 9)


def _rendered(soundfont: Path, notes: list[Note], start: bytes, channel: int) -> NDArray[np.float32]:
    with tempfile.TemporaryDirectory() as folder:
        score, sound = Path(folder) / "x.mid", Path(folder) / "x.wav"
        score.write_bytes(_midi(notes, start, channel))
        command = ["fluidsynth", "-ni", "-q", "-g", "0.7", "-r", "44100", "-F", sound, soundfont, score]
        subprocess.run(list(map(str, command)), check=True, capture_output=True)
        return read(sound)[0]


def _midi(notes: list[Note], start: bytes, channel: int) -> bytes:
    """Write a MIDI file of one track."""
    per_second = 2 * TICKS
    on = [(round(at * per_second), 1, bytes([0x90 | channel, key, velocity])) for at, _, key, velocity in notes]
    off = [(round((at + long) * per_second), 0, bytes([0x80 | channel, key, 0])) for at, long, key, _ in notes]
    track, now = _length(0) + start, 0
    for at, _, message in sorted(on + off):
        track += _length(at - now) + message
        now = at
    track += _length(per_second) + b"\xff\x2f\x00"
    header = b"MThd" + struct.pack(">IHHH", 6, 0, 1, TICKS)
    return header + b"MTrk" + struct.pack(">I", len(track)) + track


def _length(value: int) -> bytes:
    """Encode a number in groups of seven bits, the highest first, all but the last marked."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.insert(0, value & 0x7F | 0x80)
    return bytes(groups)
