"""The gallery of the documentation: what the shipped model makes of the shipped sounds, good and bad, and spectrograms.

    python -m benchmarks.gallery [-o docs/gallery]

Writes small MP3s, spectrograms before and after on one scale, and ``made.json``, which names the model's checksum: the
documentation's build makes the gallery anew where the shipped model is another one.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

import audiotrans
from audiotrans.audio import Wave, read, write
from audiotrans.evaluation.plots import sound_files_figure
from audiotrans.files import file_digest
from audiotrans.weights import shipped_by_name

ROOT = Path(__file__).resolve().parents[1]
MODEL = "violin-piano"


@dataclass(frozen=True)
class Piece:
    """A sound of data/ or one made here, and what is made of it."""

    name: str
    source: str
    to: str
    options: dict[str, float | str] = field(default_factory=dict)


PIECES = (
    Piece("recorded_violin", "data/violin_recording.ogg", "piano"),
    Piece("recorded_piano", "data/piano_recording.ogg", "violin"),
    Piece("violin_to_piano", "data/violin.wav", "piano"),
    Piece("piano_to_violin", "data/piano.wav", "violin"),
    Piece("half", "data/violin.wav", "piano", {"strength": 50}),
    Piece("there_and_back", "violin_to_piano", "violin"),
    Piece("bass", "bass", "violin"),
    Piece("noise", "noise", "piano"),
)
SECONDS = 6.0


def source_of(name: str, folder: Path) -> tuple[Wave, int]:
    """Return a sound: a file, a piece that was made before, the piano 16 semitones lower, or a violin in noise."""
    if name.startswith("data/"):  # of recordings, all
        return read(ROOT / name, seconds=None if name.endswith(".ogg") else SECONDS)
    if name == "bass":  # slower and lower: the shipped model knows the violin's range
        wave, rate = read(ROOT / "data" / "piano.wav", seconds=SECONDS / 2.5)
        places = np.arange(int(wave.shape[1] * 2.5)) / 2.5
        return np.stack([np.interp(places, np.arange(wave.shape[1]), side) for side in wave]).astype(np.float32), rate
    if name == "noise":
        wave, rate = read(ROOT / "data" / "violin.wav", seconds=SECONDS)
        noise = np.random.default_rng(0).standard_normal(wave.shape).astype(np.float32)
        return wave + noise * np.float32(np.sqrt(np.mean(wave**2)) * 10 ** (-10 / 20)), rate
    return read(folder / f"{name}.mp3")


def make(folder: Path) -> None:
    """Write the gallery's files."""
    model = audiotrans.load(MODEL, device="cpu")
    for piece in PIECES:
        wave, rate = source_of(piece.source, folder)
        before = folder / f"{piece.name}.before.mp3"
        after = folder / f"{piece.name}.mp3"
        out = model.convert(wave, rate, to=piece.to, **piece.options)
        for path, sound in ((before, wave), (after, out)):
            peak = float(np.abs(sound).max())
            write(path, sound.mean(0, keepdims=True) / max(peak, 1.0), rate, force=True)
        figure = folder / f"{piece.name}.png"
        figure.unlink(missing_ok=True)
        sound_files_figure([str(before), str(after)], figure)
        with Image.open(figure) as drawn:  # a quarter of the size; nothing to be seen is lost
            small = drawn.convert("RGB").resize((drawn.width * 3 // 4, drawn.height * 3 // 4), Image.Resampling.LANCZOS)
        small.quantize(96).save(figure, optimize=True)
        if not before.name.startswith(("bass", "noise")):
            before.unlink()
        print(f"{after}: {wave.shape[1] / rate:.1f} s")
    (folder / "made.json").write_text(json.dumps({"model": MODEL, "sha256": digest()}) + "\n", encoding="utf-8")


def digest() -> str:
    """Return the checksum of the shipped model."""
    return file_digest(shipped_by_name()[MODEL])


def is_current(folder: Path) -> bool:
    """Tell whether the gallery is of the shipped model."""
    made = folder / "made.json"
    return made.is_file() and json.loads(made.read_text(encoding="utf-8"))["sha256"] == digest()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs" / "gallery")
    chosen = parser.parse_args().output
    chosen.mkdir(parents=True, exist_ok=True)
    make(chosen)
