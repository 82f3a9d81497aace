"""Two made instruments, bowed and plucked, a cache of their images, and a tiny model that was trained on neither."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.recipe import Recipe, recipe_from_dict, recipe_to_dict
from audiotrans.spectrogram.imaging import AudioImaging, AudioSettings
from audiotrans.training.cache import write_manifest
from audiotrans.weights import export_weights
from tests.fakes import save_image
from tests.standins import RATE, SMALL

DOMAINS = {"a": "bowed", "b": "plucked"}


def melody(kind: str, seed: int, seconds: float = 12.0, octave: int = 0) -> NDArray[np.float32]:
    """Play random notes between 220 and 660 Hz, ``octave`` octaves higher, float32 ``(1, n)``."""
    rng = np.random.default_rng([seed, kind == "bowed"])
    out = np.zeros(round(seconds * RATE))
    start = 0
    while start < len(out):
        length = min(round(RATE * rng.uniform(0.25, 0.7)), len(out) - start)
        at = np.arange(length) / RATE
        pitch = 220 * 2 ** (rng.integers(0, 20) / 12 + octave)
        out[start : start + length] = note(kind, pitch, at, rng)
        start += length
    out += 1e-4 * rng.standard_normal(len(out))
    return (0.2 * out / out.std() * 0.5).astype(np.float32)[None]


def note(kind: str, pitch: float, at: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Make one note: bowed ones swell and vibrate, plucked ones decay."""
    bowed = kind == "bowed"
    turn = 2 * np.pi * pitch * at + (0.4 * np.sin(2 * np.pi * rng.uniform(5, 6) * at) if bowed else 0)
    shape = np.minimum(at / 0.08, 1) if bowed else np.minimum(at / 0.004, 1) * np.exp(-at * rng.uniform(5, 8))
    partials = range(1, 9 if bowed else 5)
    return shape * sum(np.sin(k * turn) / k for k in partials if k * pitch < RATE / 2)


def recipe_of(**imaging: Any) -> Recipe:
    """Build the recipe of the two instruments."""
    return recipe_from_dict({"imaging": SMALL | imaging, "model": {"preset": "tiny"}, "domains": DOMAINS})


def made_cache(root: Path, recipe: Recipe, recordings: int = 6) -> Path:
    """Write a cache of melodies of both instruments, 12 s a recording."""
    assert isinstance(recipe.imaging, AudioSettings)
    imaging, items = AudioImaging(recipe.imaging), []
    for side, kind in DOMAINS.items():
        for index in range(recordings):
            wave = torch.from_numpy(melody(kind, index))
            image, _ = imaging.to_image(wave)
            name = f"images/{kind}-{index}.safetensors"
            save_image(root / name, image[0])
            place = {"domain": side, "split": "train", "recording": f"{kind}-{index}", "file": name, "index": 0}
            items.append(place | {"frames": image.shape[-1], "level_db": imaging.level_db(wave)})
    values = recipe_to_dict(recipe)
    write_manifest(root, {"imaging": values["imaging"], "domains": DOMAINS, "items": items, "skipped": []})
    return root


def made_weights(path: Path, recipe: Recipe) -> Path:
    """Write an untrained model without a profile."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = AVBGTN(recipe.model, recipe.imaging.image_channels)
        export_weights(model.state_dict(), recipe, path)
    return path
