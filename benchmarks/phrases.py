"""Phrases that a violin and a piano of a sound bank both play: what to steer training and settings by.

    python -m benchmarks.phrases OUT BANK.sf2 [BANK.sf2 ...] [--count 4] [--seed 0]

Writes `violin/`, `piano/` and `notes/*.csv` as the tools for pairs read them. Melodies are random walks on a scale,
with some double stops; every second bank's phrases sound in a room. Take banks that nothing was trained on. The paired
test set is for final figures alone.
"""

from __future__ import annotations

import csv
from pathlib import Path

import click
import numpy as np

from audiotrans.audio import write
from audiotrans.evaluation.metrics.pitch import Note
from audiotrans.evaluation.soundfont import program_of, synthesise
from audiotrans.evaluation.testset import RATE
from audiotrans.spectrogram.vibrato import Vibrato
from benchmarks.conditions import Wave, in_a_room

SECONDS = 8.0
SCALE = (0, 2, 4, 5, 7, 9, 11)
LOWEST, HIGHEST = 55, 93
"""Of the violin: G3 to A6."""

LENGTHS = (0.16, 0.25, 0.25, 0.33, 0.5, 0.5, 0.75, 1.2)
LEVEL_DB = -23.0
VIBRATO_CENTS = 15.0
ROOM_SECONDS = 0.6


def melody(rng: np.random.Generator) -> list[Note]:
    """Make up a melody that ends half a second before the phrase does."""
    notes, now, step, key = [], 0.1, int(rng.integers(10, 16)), int(rng.integers(0, 12))
    while now < SECONDS - 1.5:
        step = int(np.clip(step + rng.integers(-3, 4), 6, 20))
        lasts = float(rng.choice(LENGTHS))
        pitches = [pitch_of(step, key)]
        if lasts >= 0.5 and rng.random() < 0.3:
            pitches.append(pitch_of(step - int(rng.choice([2, 4, 5])), key))
        notes += [Note(now, lasts * float(rng.uniform(0.85, 1)), pitch) for pitch in pitches]
        now += lasts
    return notes


def pitch_of(step: int, key: int) -> int:
    """Return the MIDI number of a step of the scale, inside the violin's range."""
    octave, degree = divmod(step, len(SCALE))
    pitch = 48 + key + 12 * octave + SCALE[degree]
    while pitch < LOWEST:
        pitch += 12
    while pitch > HIGHEST:
        pitch -= 12
    return pitch


def play(notes: list[Note], instrument: str, bank: Path, room: bool) -> Wave:
    """Return the phrase, ``(2, samples)``: the violin with vibrato, both at one level."""
    wave = synthesise(notes, program_of(instrument), bank, round(SECONDS * RATE)).astype(np.float32)
    if instrument == "violin":
        wave = np.concatenate(list(Vibrato(RATE, len(wave), VIBRATO_CENTS).through([wave])), axis=1)
    if room:
        wave = in_a_room(wave, ROOM_SECONDS)
    return (wave * 10 ** (LEVEL_DB / 20) / np.sqrt(np.square(wave).mean())).astype(np.float32)


def write_notes(path: Path, notes: list[Note]) -> None:
    """Write a score as `read_notes` reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["start_s", "duration_s", "midi"])
        writer.writerows([f"{note.onset_seconds:.3f}", f"{note.duration_seconds:.3f}", note.midi] for note in notes)


@click.command()
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.argument("banks", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--count", default=4, show_default=True, help="Phrases of each bank.")
@click.option("--seed", default=0, show_default=True)
def main(out: Path, banks: tuple[Path, ...], count: int, seed: int) -> None:
    """Render phrases by both instruments of each bank."""
    for place, bank in enumerate(banks):
        for number in range(count):
            notes = melody(np.random.default_rng([seed, place, number]))
            name = f"{bank.stem}_{number:02d}"
            write_notes(out / "notes" / f"{name}.csv", notes)
            for instrument in ("violin", "piano"):
                path = out / instrument / f"{name}.flac"
                path.parent.mkdir(parents=True, exist_ok=True)
                write(path, play(notes, instrument, bank, room=place % 2 == 1), RATE)
    click.echo(f"{count * len(banks)} phrases in {out}")


if __name__ == "__main__":
    main()
