from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from audiotrans.errors import AudiotransError
from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.recipe import recipe_from_dict, recipe_to_dict
from audiotrans.spectrogram.imaging import AudioImaging
from audiotrans.training.cache import write_manifest
from audiotrans.training.samples import sample_writer, sheet_images
from tests.fakes import save_image
from tests.standins import RATE, SMALL, Identity, Silencer, tone

RECIPE = recipe_from_dict({"imaging": SMALL, "model": {"preset": "tiny"}})


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Prepare three violins and one piano by hand; only the violins' recordings still exist."""
    root = tmp_path / "cache"
    imaging = AudioImaging(RECIPE.imaging)
    items = []
    for number, (domain, split) in enumerate([("a", "train"), ("a", "valid"), ("a", "valid"), ("b", "train")]):
        wave = tone(0.5)
        image, _ = imaging.to_image(torch.from_numpy(wave))
        save_image(root / "images" / f"{number}.safetensors", image[0])
        if domain == "a":
            soundfile.write(tmp_path / f"{number}.wav", wave.T, RATE)
        items.append({
            "domain": domain, "split": split, "recording": str(number), "source": str(tmp_path / f"{number}.wav"),
            "file": f"images/{number}.safetensors", "index": 0, "frames": image.shape[-1], "seconds": 0.5,
        })  # fmt: skip
    whole = recipe_to_dict(RECIPE)
    write_manifest(root, {"imaging": whole["imaging"], "domains": whole["domains"], "items": items, "skipped": []})
    return root


def test_a_sheet_and_sounds_are_written(cache: Path, tmp_path: Path) -> None:
    drawn: list[Any] = []
    write = sample_writer(RECIPE, cache, "cpu", lambda *arguments: drawn.append(arguments))
    model = AVBGTN(RECIPE.model, RECIPE.imaging.image_channels).train()
    write(model, 30, tmp_path / "samples")
    ((pictures, path, rows, seconds),) = drawn
    views = ("input", "reconstruction", "translation", "cycle")
    assert list(pictures) == [f"{label}: {view}" for label in ("violin 1", "violin 2", "piano 1") for view in views]
    assert path == tmp_path / "samples" / "step_0000030.png"
    assert all(picture.shape == (1, len(rows), 64) and np.isfinite(picture).all() for picture in pictures.values())
    assert seconds == 128 / RATE
    sounds = sorted(path.name for path in (tmp_path / "samples" / "step_0000030").iterdir())
    assert sounds == sorted(f"violin {number} {view}.wav" for number in (1, 2) for view in views)
    assert all(soundfile.info(tmp_path / "samples" / "step_0000030" / name).frames == RATE // 2 for name in sounds)
    assert model.training  # as it was


def test_a_broken_recording_does_not_end_the_training(cache: Path, tmp_path: Path) -> None:
    for path in tmp_path.glob("*.wav"):
        path.write_text("no longer a sound")
    write = sample_writer(RECIPE, cache, "cpu", lambda *_: None)
    write(AVBGTN(RECIPE.model, RECIPE.imaging.image_channels), 1, tmp_path / "samples")
    assert not list((tmp_path / "samples").rglob("*.wav"))


def test_the_views_are_what_they_say() -> None:
    imaging = AudioImaging(RECIPE.imaging)
    rumble, rows = imaging.rumble_rows, RECIPE.imaging.image_rows
    image = torch.linspace(-0.5, 0.5, 16 * rows).reshape(1, 1, rows, 16)
    views = sheet_images(Silencer(0.25), imaging, image, "b")  # type: ignore[arg-type]
    shifts = [float((view - image)[..., rumble:, :].mean()) for view in views.values()]
    assert shifts == pytest.approx([0.0, 0.0, 0.25, 0.5], abs=1e-6)
    assert rumble
    assert all(torch.equal(view[..., :rumble, :], image[..., :rumble, :]) for view in views.values())
    assert torch.equal(sheet_images(Identity(), imaging, image, "a")["cycle"], image)  # type: ignore[arg-type]


def test_a_missing_cache_is_named(tmp_path: Path) -> None:
    with pytest.raises(AudiotransError, match="audiotrans prep"):
        sample_writer(RECIPE, tmp_path, "cpu", lambda *_: None)
