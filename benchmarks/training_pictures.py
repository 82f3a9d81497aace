"""Pictures of good and of bad training for docs/training.md: ``python -m benchmarks.training_pictures -o docs``.

Makes two small folders of sounds, one bowed and one struck, prepares them, and trains a tiny network three times: as
`recipes/violin_piano.yaml` does, with a learning rate fifty times as high, and with discriminators that hardly learn.
Draws each run by `audiotrans plot progress`. A minute of one core a run.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
RATE = 44_100
WIDTH = 940  # pixels of a picture
TUNES, NOTES, NOTE_SECONDS = 6, 16, 0.5

TINY = (
    "model.preset=tiny train.steps=240 train.decay_from=1 train.crop_frames=64 train.threads=1 "
    "train.save_every=40 train.log_every=5 train.sample_every=1000"
)
RUNS = {
    "good": "",
    "wild": "train.learning_rate=1.0e-2",
    # Sounds so plain are told apart without what helps with music (docs/model.md): only learning too slowly hides them.
    "asleep": "train.discriminator_learning_rate=2.0e-6",
}
"""What each run sets beside `TINY`."""


def tune(rng: np.random.Generator, bowed: bool) -> np.ndarray:
    """Make a melody of eight seconds: notes that swell and vibrate, or notes that are struck and decay."""
    at = np.arange(round(NOTE_SECONDS * RATE)) / RATE
    notes = []
    for pitch in rng.choice([0, 2, 4, 5, 7, 9, 11, 12, 14, 16], NOTES):
        hertz = 220 * 2 ** (pitch / 12)
        phase = 2 * np.pi * hertz * at + (0.8 * np.sin(2 * np.pi * 6 * at) if bowed else 0)
        orders = np.arange(1, 1 + int(8_000 / hertz))
        if bowed:
            parts = np.sin(np.outer(orders, phase)) / orders[:, None]
            shape = np.minimum(at / 0.08, 1) * np.minimum((NOTE_SECONDS - at) / 0.05, 1)
        else:
            parts = np.sin(np.outer(orders, phase)) / orders[:, None] ** 1.5 * np.exp(-np.outer(1 + orders, at))
            shape = np.minimum(at / 0.003, 1) * np.minimum((NOTE_SECONDS - at) / 0.02, 1)
        notes.append(rng.uniform(0.1, 0.2) * parts.sum(0) * shape)
    return np.concatenate(notes) + 1e-4 * rng.normal(size=NOTES * len(at))


def audiotrans(*words: str | Path) -> None:
    print("audiotrans", *words, flush=True)
    subprocess.run([sys.executable, "-m", "audiotrans", *map(str, words)], cwd=ROOT, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", dest="output", type=Path, default=ROOT / "docs", help="folder of the pictures")
    parser.add_argument("--runs", nargs="*", choices=tuple(RUNS), default=list(RUNS))
    chosen = parser.parse_args()
    rng = np.random.default_rng(0)
    recipe = ROOT / "recipes" / "violin_piano.yaml"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in ("violin", "piano"):
            (folder / "sounds" / name).mkdir(parents=True)
            for letter in "abcdef"[:TUNES]:
                sound = folder / "sounds" / name / f"tune-{letter}.wav"
                soundfile.write(sound, tune(rng, name == "violin"), RATE)
        audiotrans("prep", folder / "sounds", "--recipe", recipe, "-o", folder / "cache", "-q")
        for name in chosen.runs:
            changes = [part for change in f"{TINY} {RUNS[name]}".split() for part in ("--set", change)]
            audiotrans("train", recipe, "--cache", folder / "cache", "--run", folder / name, *changes, "-q")
            shutil.rmtree(folder / name / "samples", ignore_errors=True)  # the curves alone
            picture = chosen.output.resolve() / f"training_{name}.png"
            audiotrans("plot", "progress", folder / name, "-o", picture, "--force")
            with Image.open(picture) as drawn:
                small = drawn.convert("RGB").resize((WIDTH, round(WIDTH * drawn.height / drawn.width)))
            small.quantize(64).save(picture, optimize=True)


if __name__ == "__main__":
    main()
