"""The cache's files: 8 bits within half a step, whole or not there, and refused by name where they are broken."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from audiotrans.errors import AudiotransError, UsageError
from audiotrans.training import cache as cache_module
from audiotrans.training.cache import (
    Images,
    deflated,
    from_bytes,
    inflated,
    open_cache,
    packed,
    read_facts,
    remove_orphans,
    to_bytes,
    write_images,
    write_manifest,
)
from audiotrans.training.data import ImageCache, PhotoCache, open_images
from tests.fakes import fake_cache, image, save_image, tiny_recipe

HALF_STEP = 1 / 255
"""Half of a step of 8 bits over [-1, 1]."""

ROUNDING = 3e-7
"""What float32 adds on the way: a few units in the last of 24 bits."""

DB_PER_UNIT = 50
"""All logarithmic images span 100 dB over [-1, 1]."""


@pytest.fixture
def photos(tmp_path):
    """Write a cache of photos: three files with five images each, noise and a ramp."""
    root, items = tmp_path / "photos", []
    for number, (domain, split) in enumerate([("a", "train"), ("b", "train"), ("b", "valid")]):
        pixels = torch.randint(256, (5, 3, 20, 18), generator=torch.Generator().manual_seed(number))
        pixels[0] = torch.arange(18) * 10
        save_image(root / f"images/{number}.safetensors", *pixels.to(torch.uint8))
        place = {"domain": domain, "split": split, "file": f"images/{number}.safetensors", "frames": 18}
        items += [place | {"recording": f"{number}-{index}", "index": index} for index in range(5)]
    imaging = {"type": "photo", "height": 16, "width": 16, "margin": 2, "flip": True}
    write_manifest(root, {"imaging": imaging, "domains": {"a": "blond", "b": "brown"}, "items": items})
    return root


# Eight bits -------------------------------------------------------------------------------------------------------


def test_eight_bits_are_off_by_half_a_step_at_most():
    x = torch.linspace(-1, 1, 100_001)
    error = (from_bytes(to_bytes(x)) - x).abs()
    assert error.max() <= HALF_STEP + ROUNDING
    assert error.max() * DB_PER_UNIT < 0.2  # dB
    ends = torch.tensor([-1.0, 1.0])
    assert torch.equal(from_bytes(to_bytes(ends)), ends)  # silence stays silence
    every = torch.arange(256).to(torch.uint8)
    assert torch.equal(to_bytes(from_bytes(every)), every)
    assert to_bytes(torch.tensor([-1.5, 1.5])).tolist() == [0, 255]


@pytest.mark.parametrize("shape", [(1, 4, 9), (3, 2, 5, 7), (1, 1, 1), (2, 3, 1)])
def test_deflating_loses_nothing(shape):
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(inflated(deflated(values), list(shape)), values)


def test_music_takes_a_quarter(tmp_path):
    # Noise that changes slowly in time, as held notes do; white noise takes half.
    slow = torch.nn.functional.avg_pool1d(torch.randn(32, 1015, generator=torch.Generator().manual_seed(0)), 16, 1)
    save_image(tmp_path / "x.safetensors", slow[None])
    assert (tmp_path / "x.safetensors").stat().st_size < 0.5 * 2 * slow.numel()  # against float16


# Files of images --------------------------------------------------------------------------------------------------


def test_images_come_back_within_half_a_step_with_their_facts(tmp_path):
    one, other = image((1, 32, 40), 0), image((2, 32, 7), 1)
    path = tmp_path / "images/a/x.safetensors"
    write_images(path, [packed(one), packed(other)], {"seconds": 1.5})
    found = Images(tmp_path)
    for place, wanted in enumerate((one, other)):
        values = found.values([("images/a/x.safetensors", place)])
        assert (values.dtype, values.shape) == (torch.uint8, wanted.shape)
        assert (from_bytes(values) - wanted).abs().max() <= HALF_STEP + ROUNDING
    assert read_facts(path) == {"seconds": 1.5, "shapes": [[1, 32, 40], [2, 32, 7]]}
    assert read_facts(tmp_path / "nothing") is None
    assert path.stat().st_mode & 0o044  # others may read it


def test_bytes_are_kept_as_they_are(photos):
    data = open_images(photos)
    assert isinstance(data, PhotoCache)
    ramp = (torch.arange(18) * 10).expand(3, 20, 18)
    assert torch.equal(to_bytes(data.read(data.manifest["items"][5])), ramp.to(torch.uint8))


def test_what_was_used_least_lately_leaves_memory_first(tmp_path, monkeypatch):
    save_image(tmp_path / "x.safetensors", *(image((1, 4, 25), seed) for seed in range(4)))  # 100 bytes each
    monkeypatch.setattr(cache_module, "KEPT_BYTES", 350)
    found = Images(tmp_path)
    for place in (0, 1, 0):
        found.values([("x.safetensors", place)])
    joined = [("x.safetensors", 2), ("x.safetensors", 3)]
    whole = found.values(joined, gap=5)
    assert list(found._kept) == [(("x.safetensors", 0),), tuple(joined)]  # 100 and 220 bytes, not their parts beside
    assert whole.shape == (1, 4, 55)
    assert not whole[..., 25:30].any()
    assert torch.equal(whole[..., 30:], Images(tmp_path).values([joined[1]]))


def test_what_was_read_stays_in_memory_up_to_a_limit(tmp_path, monkeypatch):
    save_image(tmp_path / "x.safetensors", *(image((1, 4, 25), seed) for seed in range(4)))  # 100 bytes each
    monkeypatch.setattr(cache_module, "KEPT_BYTES", 250)
    found = Images(tmp_path)
    first = [found.values([("x.safetensors", place)]).clone() for place in range(4)]
    assert list(found._kept) == [(("x.safetensors", 2),), (("x.safetensors", 3),)]
    assert torch.equal(found.values([("x.safetensors", 0)]), first[0])
    (tmp_path / "x.safetensors").unlink()
    assert torch.equal(found.values([("x.safetensors", 0)]), first[0])
    with pytest.raises(AudiotransError, match="cannot read"):
        found.values([("x.safetensors", 1)])


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(AudiotransError, match="numbers that are not finite"):
        packed(torch.tensor([[[0.0, float("nan")]]]))


@pytest.mark.parametrize("damage", ["missing", "truncated", "changed", "foreign", "no such place"])
def test_a_broken_file_is_named_in_one_line(tmp_path, damage):
    path = tmp_path / "x.safetensors"
    save_image(path, image((1, 32, 40), 0))
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage != "no such place":
        broken = {"truncated": content[:-9], "changed": content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]}
        path.write_bytes(broken.get(damage, b"not an image"))
    way_out = "run" if damage == "missing" else "remove it and run"
    with pytest.raises(AudiotransError, match=rf"cannot read .*x\.safetensors \(.*\); {way_out} audiotrans prep") as e:
        Images(tmp_path).values([("x.safetensors", 1 if damage == "no such place" else 0)])
    assert "\n" not in str(e.value)
    assert (read_facts(path) is None) == (damage in ("missing", "truncated", "foreign"))


# Joined sounds ----------------------------------------------------------------------------------------------------


def test_joined_sounds_are_read_as_one_with_silence_between(tmp_path):
    root = fake_cache(tmp_path / "cache", tiny_recipe())
    manifest = json.loads((root / "manifest.json").read_text())
    one, other, *rest = manifest["items"]
    manifest["items"] = [one | {"frames": 85, "gap": 5, "joined": [other]}, *rest]
    apart = [ImageCache(root).read(item) for item in (one, other)]
    (root / "manifest.json").write_text(json.dumps(manifest))
    data = ImageCache(root)
    whole = data.read(data.manifest["items"][0])
    assert torch.equal(whole, torch.cat([apart[0], torch.full((1, 32, 5), -1.0), apart[1]], dim=-1))
    assert torch.equal(data.read(data.manifest["items"][0], 38, 9), whole[..., 38:47])
    starts = {round(float(crop.sum()), 3) for step in range(20) for crop in data.sample("a", "train", step, 8, 80, 0)}
    assert len(starts) == 6  # 85 columns: places 0 to 5


# The folder -------------------------------------------------------------------------------------------------------


def test_orphans_go_and_nothing_else(tmp_path):
    ours = [tmp_path / place / "x.safetensors" for place in ("images/a", "images/b", "images/train/a")]
    half = tmp_path / "images/b/.1234.partial"
    others = [tmp_path / "notes.txt", tmp_path / "images/mine.safetensors", tmp_path / "images/a/mine.txt"]
    for path in (*ours, half, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    assert remove_orphans(tmp_path, {"images/a/x.safetensors"}) == 2
    assert [path.exists() for path in (*ours, half)] == [True, False, False, False]
    assert all(path.exists() for path in others)


def test_an_old_or_packed_cache_is_refused_with_the_way_out(tmp_path):
    for form, version in (("audiotrans-cache", 1), ("audiotrans-packed", 1)):
        manifest = {"format": form, "version": version, "imaging": {}, "domains": {}, "items": []}
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(AudiotransError, match=rf"is {form} 1, .* run audiotrans prep again, into a new") as error:
            open_images(tmp_path)
        assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match="is not the manifest of a cache: give another folder"):
        open_cache(tmp_path)  # a packed cache is not prep's own
    (tmp_path / "manifest.json").write_text('{"format": "audiotrans-cache", "version": 1}')
    assert open_cache(tmp_path) == {}
