"""Photos -> cache -> crops: CelebA's layout, plain folders, and what training draws of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from audiotrans.errors import AudiotransError, UsageError
from audiotrans.photo.images import PhotoSettings
from audiotrans.recipe import Recipe, recipe_from_dict
from audiotrans.training.data import ImageCache, PhotoCache, open_images
from audiotrans.training.photo_images import prepare_photos
from audiotrans.training.prep import default_recipe, prepare
from audiotrans.training.run import train

SETTINGS = PhotoSettings(height=16, width=16, margin=2)
HAIR = {"blond": (230, 200, 120), "brown": (90, 60, 30)}


def face(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (22, 18)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((*size, 3), 128, dtype=np.uint8)
    pixels[: size[0] // 2] = colour
    Image.fromarray(pixels).save(path)


def celeba(root: Path, each: int = 6, partition: bool = True) -> Path:
    rows, splits = [], []
    for index in range(2 * each):
        name, kind = f"{index + 1:06d}.png", "blond" if index < each else "brown"
        face(root / "img_align_celeba" / name, HAIR[kind])
        male = 1 if index % each == 0 else -1
        rows.append(f"{name} {1 if kind == 'blond' else -1} {1 if kind == 'brown' else -1} {male}")
        splits.append(f"{name} {[0, 0, 0, 0, 1, 2][index % each % 6]}")
    (root / "list_attr_celeba.txt").write_text("\n".join([str(len(rows)), "Blond_Hair Brown_Hair Male", *rows]))
    if partition:
        (root / "list_eval_partition.txt").write_text("\n".join(splits))
    return root


def folders(root: Path, each: int = 5) -> Path:
    for name, colour in HAIR.items():
        for index in range(each):
            face(root / name / f"{index}.jpg", colour)
    return root


def quiet(source: Path, output: Path, **options: object):
    return prepare_photos(source, output, settings=SETTINGS, progress=False, **options)


def test_celeba_is_divided_as_its_partition_says(tmp_path):
    summary = quiet(celeba(tmp_path / "celeba"), tmp_path / "cache")
    for domain in "ab":
        assert [summary.counts[domain, split] for split in ("train", "valid", "test")] == [4, 1, 1]
    assert "goes with gender" in str(summary)


def test_conditions_take_images_out(tmp_path):
    summary = quiet(celeba(tmp_path / "celeba"), tmp_path / "cache", where=["Male=-1"])
    assert summary.counts["a", "train"] == summary.counts["b", "train"] == 3
    assert "goes with gender" not in str(summary)


def test_without_a_partition_a_share_is_held_out(tmp_path):
    summary = quiet(celeba(tmp_path / "celeba", partition=False), tmp_path / "cache", valid_fraction=0.3)
    assert summary.counts["a", "train"] + summary.counts["a", "valid"] == 6
    assert summary.counts["a", "valid"] >= 1


def test_plain_folders_of_photos_make_a_cache_too(tmp_path):
    summary = quiet(folders(tmp_path / "faces"), tmp_path / "cache", a="blond", b="brown")
    assert sum(summary.counts.values()) == 10
    cache = open_images(tmp_path / "cache")
    assert isinstance(cache, PhotoCache)
    assert cache.image_size() == (3, 16)


def test_the_cache_holds_the_photos_colours(tmp_path):
    quiet(celeba(tmp_path / "celeba"), tmp_path / "cache")
    cache = PhotoCache(tmp_path / "cache")
    for domain, name in (("a", "blond"), ("b", "brown")):
        crop = cache.sample(domain, "valid", 0, 1, 0, 0)[0]
        found = (crop[:, 2, 8] + 1) * 127.5
        assert torch.allclose(found, torch.tensor(HAIR[name]).float(), atol=1.0)


def test_crops_depend_on_the_step_alone_and_are_mirrored_half_of_the_time(tmp_path):
    root = tmp_path / "faces"
    for name in HAIR:
        pixels = np.zeros((18, 18, 3), dtype=np.uint8)
        pixels[:, :9] = 255  # bright on the left
        (root / name).mkdir(parents=True)
        for index in range(2):
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    quiet(root, tmp_path / "cache")
    cache = PhotoCache(tmp_path / "cache")
    crops = cache.sample("a", "train", 3, 200, 0, 0)
    assert torch.equal(crops, cache.sample("a", "train", 3, 200, 0, 0))
    assert not torch.equal(crops, cache.sample("a", "train", 4, 200, 0, 0))
    mirrored = (crops[:, 0, 8, 0] < 0).float().mean()
    assert 0.35 < mirrored < 0.65  # 200 fair draws: within four standard deviations of a half


def test_a_second_run_replaces_the_cache(tmp_path):
    quiet(celeba(tmp_path / "celeba"), tmp_path / "cache")
    before = {path.name for path in (tmp_path / "cache").rglob("*.safetensors")}
    quiet(celeba(tmp_path / "celeba"), tmp_path / "cache")
    assert {path.name for path in (tmp_path / "cache").rglob("*.safetensors")} == before
    quiet(celeba(tmp_path / "celeba"), tmp_path / "cache", where=["Male=-1"])
    named = {item["file"] for item in json.loads((tmp_path / "cache/manifest.json").read_text())["items"]}
    kept = {path.relative_to(tmp_path / "cache").as_posix() for path in (tmp_path / "cache").rglob("*.safetensors")}
    assert kept == named


def test_broken_photos_are_skipped_and_named(tmp_path):
    source = folders(tmp_path / "faces")
    (source / "blond" / "broken.jpg").write_bytes(b"no picture")
    summary = quiet(source, tmp_path / "cache", a="blond", b="brown")
    assert [path.name for path, _ in summary.skipped] == ["broken.jpg"]
    assert "broken.jpg" in str(summary)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"a": "Blond_Hairs"}, "Did you mean 'Blond_Hair'"),
        ({"a": "brown"}, "must differ"),
        ({"where": ["Male=2"]}, "Male=-1"),
        ({"where": ["Blond_Hair=-1"]}, "no image"),
        ({"valid_fraction": 0.0}, "valid fraction"),
    ],
)
def test_what_a_user_gets_wrong_is_told_in_one_line(tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        quiet(celeba(tmp_path / "celeba"), tmp_path / "cache", **options)


def test_folders_that_are_not_there_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"no folder 'blonde'.*Did you mean 'blond'"):
        quiet(folders(tmp_path / "faces"), tmp_path / "cache", a="blonde", b="brown")
    with pytest.raises(UsageError, match="needs CelebA"):
        quiet(tmp_path / "faces", tmp_path / "cache", where=["Male=-1"])
    for path in (tmp_path / "faces/blond").iterdir():
        path.write_bytes(b"")
    with pytest.raises(AudiotransError, match="no photo of 'blond'"):
        quiet(tmp_path / "faces", tmp_path / "cache")


def test_the_source_or_the_recipe_says_sound_or_photo(tmp_path):
    source = celeba(tmp_path / "celeba")
    assert default_recipe(source).imaging == PhotoSettings()
    assert default_recipe(tmp_path) == Recipe()
    with pytest.raises(UsageError, match="the recipe is for sounds"):
        prepare(source, tmp_path / "cache", Recipe(), a="violin", b="piano")
    with pytest.raises(UsageError, match="--where is for CelebA"):
        prepare(tmp_path, tmp_path / "cache", Recipe(), a="violin", b="piano", where=["Male=-1"])


def tiny_photo_recipe(**train_settings: object) -> Recipe:
    return recipe_from_dict(
        {
            "imaging": {"type": "photo", "height": 16, "width": 16, "margin": 2},
            "domains": {"a": "blond", "b": "brown"},
            "model": {"preset": "light", "width": 4, "z_channels": 4, "blocks": 1, "discriminator_width": 4,
                      "discriminator_scales": 1},
            "losses": {"generator": {"gan": 1, "vae_kl": 0.1, "vae_reconstruction": 10, "cycle_reconstruction": 10}},
            "train": {"steps": 4, "threads": 1, "save_every": 2, "log_every": 1, **train_settings},
        }
    )  # fmt: skip


def test_photos_train_from_the_cache(tmp_path):
    quiet(celeba(tmp_path / "celeba"), tmp_path / "cache")
    train(tiny_photo_recipe(), tmp_path / "cache", tmp_path / "run", progress=False)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 4
    assert any("valid/cycle" in line for line in lines)


def test_sizes_that_do_not_fit_the_model_are_named(tmp_path):
    quiet(celeba(tmp_path / "celeba"), tmp_path / "cache")
    recipe = tiny_photo_recipe().model_copy(update={"model": Recipe().model.__class__(preset="base")})
    with pytest.raises(UsageError, match=r"imaging\.height 16"):
        train(recipe, tmp_path / "cache", tmp_path / "run", progress=False)


def test_recipes_of_photos_refuse_what_is_for_sounds():
    for values, message in (
        ({"losses": {"generator": {"gan": 1, "fine_structure": 1}}}, "fine_structure is for sounds"),
        ({"losses": {"generator": {"gan": 1}}, "train": {"gain_db": 2}}, "gain_db is for sounds"),
        ({"imaging": {"type": "photo", "heigth": 64}}, "Did you mean 'height'"),
        ({"imaging": {"type": "foto"}}, "imaging.type: choose 'audio' or 'photo'"),
    ):
        with pytest.raises(UsageError, match=message):
            recipe_from_dict({"imaging": {"type": "photo"}, **values})


def test_a_cache_of_sounds_opens_as_before(tmp_path):
    from tests.fakes import fake_cache, tiny_recipe

    recipe = tiny_recipe()
    assert type(open_images(fake_cache(tmp_path / "cache", recipe))) is ImageCache
