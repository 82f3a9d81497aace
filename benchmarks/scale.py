"""A G-major scale that no model has heard, bowed and struck, and how well its notes come back."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from audiotrans.evaluation.metrics.pitch import Note
from audiotrans.evaluation.soundfont import midi_file
from benchmarks.rulers import note_pitch_errors
from benchmarks.table import Row

RATE = 44_100
NOTE_SECONDS = 0.7
STEP_SECONDS = 0.75
LEVEL_DB = -23.0
# G3 to G5: the violin's open G string upwards, two octaves.
MIDI = (55, 57, 59, 60, 62, 64, 66, 67, 69, 71, 72, 74, 76, 78, 79)
PROGRAMS = {"violin": 40, "piano": 0}  # General MIDI, counted from 0


def score() -> list[Note]:
    return [Note(0.25 + index * STEP_SECONDS, NOTE_SECONDS, midi) for index, midi in enumerate(MIDI)]


def bowed_note(hertz: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A bowed string: harmonics of a sawtooth through a few body resonances, slow attack, vibrato, some bow noise."""
    time = np.arange(round(seconds * RATE)) / RATE
    # 8 cents to each side: the median over a note does not move.
    vibrato = hertz * np.cumsum(2.0 ** (8 / 1200 * np.sin(2 * np.pi * 5.5 * time))) / RATE
    wave = 0.003 * rng.standard_normal(len(time))
    for harmonic in range(1, int(14_000 / hertz) + 1):
        frequency = harmonic * hertz
        body = 0.3 + sum(np.exp(-(((frequency - centre) / width) ** 2)) for centre, width in BODY)
        wave += body / harmonic * np.sin(2 * np.pi * harmonic * vibrato)
    return wave * np.clip(time / 0.08, 0, 1) * np.clip((seconds - time) / 0.06, 0, 1)


BODY = ((280.0, 60.0), (460.0, 90.0), (1200.0, 500.0), (2800.0, 900.0))


def struck_note(hertz: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A struck string: stiff, so its partials lie a little high, each with its own decay, and a knock at the start."""
    time = np.arange(round(seconds * RATE)) / RATE
    stiffness = 4e-4 * (hertz / 261.6) ** 1.2
    wave = 0.05 * rng.standard_normal(len(time)) * np.exp(-time / 0.012)
    for partial in range(1, 25):
        # Fletcher's formula for a stiff string.
        frequency = partial * hertz * np.sqrt(1 + stiffness * partial**2)
        if frequency > 14_000:
            break
        # A hammer near an eighth of the string leaves the eighth partial out.
        strength = abs(np.sin(np.pi * partial / 8.3)) / partial**1.2
        decay = np.exp(-time * (0.8 + 0.5 * partial) * (hertz / 261.6) ** 0.5)
        wave += strength * decay * np.sin(2 * np.pi * frequency * time + rng.uniform(0, 2 * np.pi))
    return wave * np.clip(time / 0.003, 0, 1) * np.clip((seconds - time) / 0.05, 0, 1)


INSTRUMENTS: dict[str, Callable[[float, float, np.random.Generator], np.ndarray]] = {
    "violin": bowed_note,
    "piano": struck_note,
}


def synthesise(instrument: str) -> np.ndarray:
    """Return the scale as float32 (2, samples) at 44.1 kHz, -23 dB, with a trace of room noise."""
    rng = np.random.default_rng(0)
    notes = score()
    wave = np.zeros(round((notes[-1].onset_seconds + NOTE_SECONDS + 0.5) * RATE))
    for note in notes:
        sound = INSTRUMENTS[instrument](440 * 2 ** ((note.midi - 69) / 12), note.duration_seconds, rng)
        first = round(note.onset_seconds * RATE)
        wave[first : first + len(sound)] += sound
    wave *= 10 ** (LEVEL_DB / 20) / np.sqrt(np.mean(wave**2))
    stereo = np.stack([wave, 0.8 * np.roll(wave, 20)])  # a source a little to the left
    return (stereo + 10 ** (-77 / 20) * rng.standard_normal(stereo.shape)).astype(np.float32)


def from_soundfont(instrument: str, soundfont: Path) -> np.ndarray:
    """Render the scale with the `fluidsynth` program; float32 (2, samples) at 44.1 kHz, -23 dB."""
    from audiotrans import audio

    with tempfile.TemporaryDirectory() as folder:
        midi, sound = Path(folder) / "scale.mid", Path(folder) / "scale.wav"
        midi.write_bytes(midi_file(score(), PROGRAMS[instrument]))
        program = shutil.which("fluidsynth") or "fluidsynth"
        options = ["-ni", "-q", "-R", "0", "-C", "0", "-r", str(RATE), "-F", str(sound)]
        subprocess.run([program, *options, str(soundfont), str(midi)], check=True, capture_output=True, timeout=120)
        wave, _ = audio.read(sound, sample_rate=RATE)
    return (wave * 10 ** (LEVEL_DB / 20) / np.sqrt(np.mean(wave**2))).astype(np.float32)


def rows(converter, soundfont: Path | None) -> Iterator[Row]:
    """Translate every scale both ways and compare each note's pitch with the input's own."""
    kinds: dict[str, Callable[[str], np.ndarray]] = {"synthetic": synthesise}
    if soundfont is not None:
        kinds["soundfont"] = lambda instrument: from_soundfont(instrument, soundfont)
    first, second = converter.domains
    for kind, render in kinds.items():
        for source, target in ((first, second), (second, first)):
            wave = render(source)
            errors = np.abs(note_pitch_errors(wave, converter.convert(wave, RATE, to=target), RATE, score()))
            heard = errors[~np.isnan(errors)]
            label = f"{kind} scale, {source} to {target}"
            yield Row("pitch", f"{label}: worst note", _largest(heard), "cents", at_most=20)
            yield Row("pitch", f"{label}: median note", _middle(heard), "cents", at_most=20)
            yield Row("pitch", f"{label}: notes compared", len(heard), f"of {len(errors)}")


def _largest(errors: np.ndarray) -> float:
    return float(errors.max()) if len(errors) else float("nan")


def _middle(errors: np.ndarray) -> float:
    return float(np.median(errors)) if len(errors) else float("nan")
