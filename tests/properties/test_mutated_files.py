"""Laws of files that someone else may have written: whatever was changed in one, it is read, or refused in one line.

`benchmarks.fuzz` takes many more of them through the whole command; sounds have their law in test_audio.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audiotrans.errors import AudiotransError
from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.photo.pillow import read_photo, without_warnings
from audiotrans.recipe import dump_recipe, load_recipe
from audiotrans.training.checkpoints import load_checkpoint, save_checkpoint, steps_of
from audiotrans.training.data import ImageCache
from audiotrans.weights import export_weights, read_weights
from benchmarks.fuzz_inputs import (
    mutated,
    mutated_checkpoint,
    mutated_json,
    mutated_safetensors,
    mutated_text,
    picture,
)
from tests.fakes import fake_cache, tiny_recipe

RECIPE = tiny_recipe()
SEEDS = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder in which a whole file of each kind is changed again and again."""
    folder = tmp_path_factory.mktemp("mutated")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = AVBGTN(RECIPE.model, RECIPE.imaging.image_channels).state_dict()
    export_weights(weights, RECIPE, folder / "whole.safetensors", card={"steps": 1}, half=True)
    save_checkpoint(folder / "whole.pt", {"step": 1, "ema": weights, "model": weights}, RECIPE)
    fake_cache(folder / "cache", RECIPE)
    return folder


def read_or_refused(path: Path, content: bytes, read: Callable[[Path], object]) -> None:
    path.write_bytes(content)
    said = ""
    try:
        read(path)
    except AudiotransError as error:
        said = str(error)
    assert "\n" not in said
    assert not said or str(path) in said


@given(SEEDS)
def test_recipes(place: Path, rng: np.random.Generator) -> None:
    read_or_refused(
        place / "x.yaml", mutated_text(dump_recipe(RECIPE), rng), lambda path: dump_recipe(load_recipe(path))
    )


@given(SEEDS)
def test_model_files(place: Path, rng: np.random.Generator) -> None:
    whole = (place / "whole.safetensors").read_bytes()
    read_or_refused(place / "x.safetensors", mutated_safetensors(whole, rng), read_weights)


@given(SEEDS)
def test_checkpoints(place: Path, rng: np.random.Generator) -> None:
    mark = place / "code was run"
    content = mutated_checkpoint((place / "whole.pt").read_bytes(), rng, mark)
    read_or_refused(place / "x.pt", content, lambda path: steps_of(load_checkpoint(path)[0]))
    assert not mark.exists()


@given(SEEDS)
def test_manifests(place: Path, rng: np.random.Generator) -> None:
    whole, path = place / "manifest.json", place / "cache" / "manifest.json"
    if not whole.exists():
        whole.write_bytes(path.read_bytes())

    def draw(manifest: Path) -> None:
        crops = ImageCache(manifest.parent).sample("a", "train", 0, 2, 16, 0)
        assert crops.shape == (2, 1, 32, 16)
        assert crops.isfinite().all()

    path.write_bytes(mutated_json(whole.read_text(encoding="utf-8"), rng))
    said = ""
    try:
        draw(path)
    except AudiotransError as error:  # of the folder, or a file in it
        said = str(error)
    assert "\n" not in said
    assert not said or str(path.parent) in said


@given(SEEDS, st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "TIFF"]))
def test_photos(place: Path, rng: np.random.Generator, kind: str) -> None:
    with without_warnings():
        read_or_refused(place / f"x.{kind.lower()}", mutated(picture(kind), rng), read_photo)


def test_json_that_was_not_changed_stays_what_it_was() -> None:
    """The changes above change something: half of them at least can no longer be read as it was written."""
    text = json.dumps({"a": [1, 2, {"b": "c"}], "d": 0.5})
    changed = [mutated_json(text, np.random.default_rng(seed)) for seed in range(40)]
    assert sum(each.decode(errors="replace") != text for each in changed) > 30
