"""Notes played by a General MIDI sound bank (SoundFont), through fluidsynth or tinysoundfont."""

from __future__ import annotations

import importlib
import importlib.util
import io
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audiotrans import audio
from audiotrans.audio import Wave
from audiotrans.errors import AudiotransError, UsageError, names_extras
from audiotrans.evaluation.metrics.pitch import Note
from audiotrans.evaluation.testset import RATE, fit_length

SOUNDFONT_FOLDERS = (Path("/usr/share/sounds/sf2"), Path("/usr/share/soundfonts"), Path("/usr/local/share/soundfonts"))
HOW_TO_INSTALL = "install fluidsynth (apt install fluidsynth, brew install fluid-synth)"
TICKS_PER_SECOND = 1000
PROGRAM_SECONDS = 120
VELOCITY = 90
"""Where the transcriber does not say how loud a note is."""

GM_PROGRAMS: dict[str, int] = {
    name: program
    for program, names in {
        0: ("piano", "grand_piano", "acoustic_piano", "keyboard", "pia"),
        4: ("electric_piano", "rhodes"),
        6: ("harpsichord",),
        9: ("glockenspiel",),
        11: ("vibraphone",),
        12: ("marimba",),
        13: ("xylophone",),
        16: ("hammond", "electric_organ"),
        19: ("organ", "church_organ", "pipe_organ"),
        21: ("accordion",),
        22: ("harmonica",),
        24: ("nylon_guitar", "classical_guitar"),
        25: ("guitar", "acoustic_guitar", "steel_guitar", "gac"),
        27: ("electric_guitar", "gel"),
        32: ("double_bass", "contrabass", "acoustic_bass"),
        33: ("bass", "electric_bass", "bass_guitar"),
        40: ("violin", "fiddle", "vio"),
        41: ("viola",),
        42: ("cello", "violoncello", "cel"),
        46: ("harp",),
        48: ("strings", "string_ensemble"),
        52: ("voice", "choir", "singing", "vocals", "voi"),
        56: ("trumpet", "tru"),
        57: ("trombone",),
        58: ("tuba",),
        60: ("horn", "french_horn"),
        61: ("brass",),
        64: ("soprano_saxophone", "soprano_sax"),
        65: ("alto_saxophone", "alto_sax"),
        66: ("saxophone", "sax", "tenor_saxophone", "tenor_sax"),
        67: ("baritone_saxophone", "baritone_sax"),
        68: ("oboe",),
        70: ("bassoon",),
        71: ("clarinet", "cla"),
        72: ("piccolo",),
        73: ("flute", "flu"),
        74: ("recorder",),
        75: ("pan_flute",),
        80: ("synth", "synth_lead"),
        104: ("sitar",),
        105: ("banjo",),
        108: ("kalimba",),
        110: ("bagpipe", "bagpipes"),
    }.items()
    for name in names
}
"""General MIDI programs, counted from 0, by the names of domains."""


def program_of(domain: str) -> int:
    """Return the General MIDI program of a domain.

    Raises:
        AudiotransError: no instrument has that name.
    """
    name = domain.casefold().replace(" ", "_").replace("-", "_")
    if name not in GM_PROGRAMS:
        raise AudiotransError(f"no General MIDI instrument is called {domain!r}")
    return GM_PROGRAMS[name]


def find_soundfont(wanted: Path | None) -> Path:
    """Return the SoundFont that a user named, or one that the system has.

    Raises:
        UsageError: the named one does not exist or is not a SoundFont.
        AudiotransError: none was named and none was found.
    """
    if wanted is not None:
        if not wanted.is_file():
            raise UsageError(f"--soundfont {wanted}: there is no such file; give a General MIDI bank (.sf2)")
        with wanted.open("rb") as file:
            head = file.read(12)
        if head[:4] + head[8:] != b"RIFFsfbk":  # fluidsynth would silently play another bank
            raise UsageError(f"--soundfont {wanted}: this is not a SoundFont; give a General MIDI bank (.sf2)")
        return wanted
    for folder in SOUNDFONT_FOLDERS:
        for path in sorted(folder.glob("*.sf2"), key=lambda path: (not path.stem.startswith("default"), path.name)):
            return path
    raise AudiotransError("no SoundFont was found: give a General MIDI bank with --soundfont")


def find_player() -> str:
    """Return the name of the player that is installed.

    Raises:
        AudiotransError: there is none.
    """
    if shutil.which("fluidsynth"):
        return "fluidsynth"
    if importlib.util.find_spec("tinysoundfont") is not None:
        return "tinysoundfont"
    raise AudiotransError(f"no SoundFont player was found: {HOW_TO_INSTALL}, or pip install --no-deps tinysoundfont")


def synthesise(notes: Sequence[Note], program: int, soundfont: Path, samples: int) -> Wave:
    """Play notes with an instrument of a SoundFont, without reverberation or chorus.

    Args:
        notes: what to play; pitches are rounded to semitones.
        program: General MIDI program from 0.
        soundfont: the bank (.sf2).
        samples: length of the result; sooner or later notes are cut off.

    Returns:
        float32 (2, samples) at `RATE`, at the level that the player gives.

    Raises:
        AudiotransError: no player, or it cannot read the bank.
    """
    play = {"fluidsynth": _fluidsynth, "tinysoundfont": _tinysoundfont}[find_player()]
    return fit_length(play(notes, program, soundfont, samples), samples)


def _fluidsynth(notes: Sequence[Note], program: int, soundfont: Path, _samples: int) -> Wave:
    with tempfile.TemporaryDirectory() as folder:
        midi, sound = Path(folder) / "notes.mid", Path(folder) / "notes.wav"
        midi.write_bytes(midi_file(notes, program))
        command = [shutil.which("fluidsynth") or "fluidsynth", "-ni", "-q", "-R", "0", "-C", "0", "-r", str(RATE)]
        command += ["-F", str(sound), str(soundfont.absolute()), str(midi)]
        try:
            # A fixed program and files of our own making; no shell is involved.
            subprocess.run(command, check=True, capture_output=True, timeout=PROGRAM_SECONDS)  # noqa: S603
            wave, _ = audio.read(sound, sample_rate=RATE)
        except (OSError, subprocess.SubprocessError, AudiotransError) as error:
            raise AudiotransError(f"fluidsynth could not play {soundfont}: {error}") from error
    return wave


def _tinysoundfont(notes: Sequence[Note], program: int, soundfont: Path, samples: int) -> Wave:
    synth: Any = importlib.import_module("tinysoundfont").Synth(samplerate=RATE)
    try:
        bank = synth.sfload(str(soundfont))
        synth.program_select(0, bank, 0, program)
    except Exception as error:
        raise AudiotransError(f"tinysoundfont could not read {soundfont}: {error}") from error
    pieces, now = [], 0
    for at, key, velocity in _events(notes):
        sample = min(round(at * RATE), samples)
        if sample > now:
            pieces.append(np.frombuffer(bytes(synth.generate(sample - now)), np.float32))
            now = sample
        if velocity:
            synth.noteon(0, key, velocity)
        else:
            synth.noteoff(0, key)
    if samples > now:
        pieces.append(np.frombuffer(bytes(synth.generate(samples - now)), np.float32))
    return np.ascontiguousarray(np.concatenate(pieces).reshape(-1, 2).T)


def _events(notes: Sequence[Note]) -> list[tuple[float, int, int]]:
    """Return seconds, key and velocity (0 ends a note) in order; what ends and begins at once ends first."""
    events = []
    for note in notes:
        key = int(np.clip(round(note.midi), 0, 127))
        level = getattr(note, "level", None)
        velocity = VELOCITY if level is None else int(np.clip(round(127 * level), 1, 127))
        start = max(note.onset_seconds, 0.0)
        events.append((start, key, velocity))
        events.append((start + max(note.duration_seconds, 0.01), key, 0))
    return sorted(events, key=lambda event: (event[0], event[2] > 0, event[1]))


@names_extras()
def midi_file(notes: Sequence[Note], program: int) -> bytes:
    """Return notes as a standard MIDI file: one track, 1000 ticks a second, half a second of silence at the end.

    Args:
        notes: with a `level` (0 to 1), which becomes the velocity, or without, at velocity 90.
        program: General MIDI program from 0.
    """
    import mido

    # 500 ticks a quarter note at the default tempo of half a second a quarter.
    midi = mido.MidiFile(type=0, ticks_per_beat=TICKS_PER_SECOND // 2)
    track, now = midi.add_track(), 0
    track.append(mido.Message("program_change", program=program))
    for seconds, key, velocity in _events(notes):
        tick = round(seconds * TICKS_PER_SECOND)
        kind = "note_on" if velocity else "note_off"
        track.append(mido.Message(kind, note=key, velocity=velocity, time=tick - now))
        now = tick
    track.append(mido.MetaMessage("end_of_track", time=TICKS_PER_SECOND // 2))
    file = io.BytesIO()
    midi.save(file=file)
    return file.getvalue()
