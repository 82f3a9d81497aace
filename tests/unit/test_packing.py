"""A packed cache: the same crops within half a step of 8 bits, in small files, and refused where a part is broken."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from audiotrans.errors import AudiotransError, UsageError
from audiotrans.training import packing
from audiotrans.training.datasets import ImageCache, PhotoCache, open_images
from audiotrans.training.packing import pack
from audiotrans.training.prepare.manifest import open_cache
from audiotrans.training.stores import deflated, from_bytes, inflated, to_bytes
from tests.fakes import fake_cache, tiny_recipe

HALF_STEP = 1 / 255
"""Half of a step of 8 bits over [-1, 1]."""

ROUNDING = 3e-7
"""What float32 adds on the way: a few units in the last of 24 bits."""


def packed(cache, output, **options):
    return pack(cache, output, **{"part_mb": 0.02, "progress": False, **options})


@pytest.fixture
def cache(tmp_path):
    return fake_cache(tmp_path / "cache", tiny_recipe(), frames=200, offset=0.2)


@pytest.fixture
def small(cache, tmp_path):
    packed(cache, tmp_path / "packed")
    return tmp_path / "packed"


@pytest.fixture
def photos(tmp_path):
    """Write a prepared cache of photos: three files with five images each, noise and a ramp."""
    root, items = tmp_path / "photos", []
    (root / "images").mkdir(parents=True)
    for number, (domain, split) in enumerate([("a", "train"), ("b", "train"), ("b", "valid")]):
        pixels = torch.randint(256, (5, 3, 20, 18), generator=torch.Generator().manual_seed(number))
        pixels[0] = torch.arange(18) * 10
        save_file({"images": pixels.to(torch.uint8)}, root / f"images/{number}.safetensors")
        place = {"domain": domain, "split": split, "file": f"images/{number}.safetensors", "frames": 18}
        items += [place | {"recording": f"{number}-{index}", "index": index} for index in range(5)]
    imaging = {"type": "photo", "height": 16, "width": 16, "margin": 2, "flip": True}
    manifest = {"imaging": imaging, "domains": {"a": "blond", "b": "brown"}, "items": items, "skipped": []}
    (root / "manifest.json").write_text(json.dumps({"format": "audiotrans-cache", "version": 1} | manifest))
    return root


# Eight bits -------------------------------------------------------------------------------------------------------


def test_eight_bits_are_off_by_half_a_step_at_most():
    x = torch.linspace(-1, 1, 100_001)
    error = (from_bytes(to_bytes(x)) - x).abs()
    assert error.max() <= HALF_STEP + ROUNDING
    assert error.max() * packing.DB_PER_UNIT < 0.2  # dB
    ends = torch.tensor([-1.0, 1.0])
    assert torch.equal(from_bytes(to_bytes(ends)), ends)  # silence stays silence
    every = torch.arange(256).to(torch.uint8)
    assert torch.equal(to_bytes(from_bytes(every)), every)
    assert to_bytes(torch.tensor([-1.5, 1.5])).tolist() == [0, 255]


@pytest.mark.parametrize("shape", [(1, 4, 9), (3, 2, 5, 7), (1, 1, 1), (2, 3, 1)])
def test_deflating_loses_nothing(shape):
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(inflated(deflated(values), list(shape)), values)


# Sounds -----------------------------------------------------------------------------------------------------------


def test_images_come_back_within_half_a_step(cache, small):
    before, after = ImageCache(cache), open_images(small)
    assert type(after) is ImageCache
    assert after.image_size() == before.image_size()
    for item, again in zip(before.manifest["items"], after.manifest["items"], strict=True):
        assert again == item  # recording, split, length and level stay
        one, other = before.read(item), after.read(again)
        assert (other.dtype, other.shape) == (torch.float32, one.shape)
        assert (one - other).abs().max() <= HALF_STEP + ROUNDING
        assert torch.equal(after.read(again, 5, 7), other[..., 5:12])


@pytest.mark.parametrize("match_range", [False, True])
@pytest.mark.parametrize("crop", [64, 16])
def test_crops_are_taken_from_the_same_places(cache, tmp_path, match_range, crop):
    made = packed(cache, tmp_path / "packed", crop_frames=[16])
    before, after = ImageCache(cache), ImageCache(made.root)
    for domain in "ab":
        for split in ("train", "valid"):
            places = [c._places(split, crop, match_range)[domain] for c in (before, after)]
            assert places[0][0] == places[1][0]
            assert torch.equal(places[0][1], places[1][1])  # weights: bit for bit
            one, other = (c.sample(domain, split, 7, 5, crop, 3, match_range=match_range) for c in (before, after))
            # Crops of another place of this noise would differ by 0.2 on average.
            assert (one - other).abs().max() <= HALF_STEP + ROUNDING


def test_lowest_rows_are_the_unpacked_images(cache, tmp_path):
    # Row 20 lies just inside the limit of sounding (0.3 below the loudest), and outside once rounded to 8 bits.
    x = torch.full((1, 32, 200), -1.0)
    x[:, 25], x[:, 20] = 0.0, -0.2998
    assert ((from_bytes(to_bytes(x))[0, 25, 0] - from_bytes(to_bytes(x))[0, 20, 0]) > 0.3) != (0.2998 > 0.3)
    for item in ImageCache(cache).items["a", "train"]:
        save_file({"image": x.half()}, cache / item["file"])
    made = packed(cache, tmp_path / "packed")
    before, after = (ImageCache(root) for root in (cache, made.root))
    for domain in "ab":
        for crop in (64, 128):
            weights = [c._places("train", crop, True)[domain][1] for c in (before, after)]
            assert torch.equal(*weights)
    assert set(after.store.lowest_rows("a", "train", 64)) == {20}
    assert after.store.lowest_rows("a", "train", 63) is None  # not kept: measured, on what was packed
    assert before.store.lowest_rows("a", "train", 64) is None
    assert len(after._places("train", 63, True)["a"][0]) == len(before._places("train", 63, True)["a"][0])


def test_no_file_is_larger_than_asked_and_the_manifest_knows_them(cache, small):
    manifest = json.loads((small / "manifest.json").read_text())
    files = sorted(path.name for path in small.iterdir())
    assert files == ["manifest.json", *(part["file"] for part in manifest["parts"])]
    assert len(manifest["parts"]) > 2
    for part in manifest["parts"]:
        path = small / part["file"]
        assert path.stat().st_size == part["bytes"] <= 20_000
        assert hashlib.sha256(path.read_bytes()).hexdigest() == part["sha256"]
        assert path.stat().st_mode & 0o044  # others may read it
    assert manifest["largest_error"] <= HALF_STEP + ROUNDING
    assert not list(cache.parent.glob(".packed*"))


def test_music_takes_a_third(tmp_path):
    # Noise that changes slowly in time, as held notes do; white noise takes half.
    root = fake_cache(tmp_path / "cache", tiny_recipe(), frames=600)
    for item in ImageCache(root).manifest["items"]:
        slow = torch.nn.functional.avg_pool1d(torch.randn(32, 615), 16, 1)
        save_file({"image": slow[None].half()}, root / item["file"])
    made = packed(root, tmp_path / "packed", part_mb=1)
    assert made.bytes < 0.5 * made.was_bytes
    assert (made.parts, made.images) == (1, 8)


def test_what_was_made_is_said_in_one_line(cache, tmp_path):
    said = str(packed(cache, tmp_path / "packed"))
    assert said.endswith("values are off by at most 0.20 dB")
    assert f"{tmp_path / 'packed'}: 0." in said
    assert " parts (prepared: 0.1 MB)" in said


def test_phases_keep_no_lowest_rows(tmp_path):
    recipe = tiny_recipe(
        imaging={"representation": "magnitude_phase", "channels": 1},
        losses={"generator": {"gan": 1}},
        train={"gain_db": 0},
    )
    made = packed(fake_cache(tmp_path / "cache", recipe), tmp_path / "packed")
    assert json.loads((made.root / "manifest.json").read_text())["lowest_rows"] == {}
    assert "of [-1, 1]" in str(made)


# Photos -----------------------------------------------------------------------------------------------------------


def test_photos_lose_nothing(photos, tmp_path):
    made = packed(photos, tmp_path / "packed")
    assert str(made).endswith("nothing is lost")
    before, after = PhotoCache(photos), open_images(made.root)
    assert isinstance(after, PhotoCache)
    for item in before.manifest["items"]:
        assert torch.equal(before.read(item), after.read(item))
    for split, domain in (("train", "a"), ("train", "b"), ("valid", "b")):
        assert torch.equal(*(c.sample(domain, split, 4, 6, 0, 1) for c in (before, after)))


def test_a_file_of_photos_is_spread_over_parts(photos, tmp_path):
    made = packed(photos, tmp_path / "packed", part_mb=0.003)  # two photos
    assert made.parts > 3
    assert torch.equal(*(PhotoCache(root).sample("a", "train", 0, 9, 0, 0) for root in (photos, made.root)))
    with pytest.raises(UsageError, match=r"part-mb 0.001: images/0.safetensors cannot be cut below 0\.00\d MB"):
        packed(photos, tmp_path / "other", part_mb=0.001)


# What is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["missing", "truncated", "changed"])
def test_a_broken_part_is_named_at_once(small, damage):
    path = small / "part-001.safetensors"
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-1] if damage == "truncated" else content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(AudiotransError, match=r"cannot read .*part-001.safetensors \(.*copy the packed cache again"):
        ImageCache(small)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("parts", None, "manifest.json is broken"),
        ("blocks", None, "manifest.json is broken"),
        ("parts", [{"file": "x"}], "manifest.json is broken"),
        ("version", 2, "is audiotrans-packed 2"),
    ],
)
def test_a_manifest_that_does_not_serve_is_refused(small, key, value, message):
    manifest = json.loads((small / "manifest.json").read_text()) | {key: value}
    (small / "manifest.json").write_text(json.dumps({k: v for k, v in manifest.items() if v is not None}))
    with pytest.raises(AudiotransError, match=message) as error:
        ImageCache(small)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("blocks", [{}, {"file": [[9, "x", [1]]]}, {"file": [[0, "x", [1]]]}, {"file": [5]}])
def test_an_image_that_no_part_holds_is_named(small, blocks):
    manifest = json.loads((small / "manifest.json").read_text())
    name = manifest["items"][0]["file"]
    manifest["blocks"] = {name: blocks["file"]} if blocks else {}
    (small / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(AudiotransError, match=r"cannot read .*(part-000|train-a-0).safetensors") as error:
        ImageCache(small).read(manifest["items"][0])
    assert "\n" not in str(error.value)


def test_prep_does_not_take_a_packed_cache_for_its_own(small):
    with pytest.raises(UsageError, match="is not the manifest of a cache: give another folder"):
        open_cache(small)


def test_only_a_prepared_cache_is_packed(cache, small, tmp_path):
    with pytest.raises(UsageError, match="is packed already"):
        packed(small, tmp_path / "again")
    with pytest.raises(AudiotransError, match="holds no prepared data"):
        packed(tmp_path / "nothing", tmp_path / "again")
    with pytest.raises(UsageError, match="part-mb 0: more than 0"):
        packed(cache, tmp_path / "again", part_mb=0)
    with pytest.raises(UsageError, match="crop-frames 0: 1 or more"):
        packed(cache, tmp_path / "again", crop_frames=[0])
    assert not (tmp_path / "again").exists()


def test_images_that_are_not_finite_are_refused_and_nothing_is_left(cache, tmp_path):
    path = cache / ImageCache(cache).manifest["items"][-1]["file"]
    save_file({"image": load_file(path)["image"].fill_(float("nan"))}, path)
    with pytest.raises(AudiotransError, match=rf"{path.name} holds numbers that are not finite"):
        packed(cache, tmp_path / "packed")
    assert {entry.name for entry in tmp_path.iterdir()} == {"cache"}


def test_what_stands_there_is_kept_unless_forced(cache, small, tmp_path):
    before = {path.name: path.read_bytes() for path in small.iterdir()}
    with pytest.raises(UsageError, match="exists already: use --force"):
        packed(cache, small)
    for foreign in (cache, tmp_path):
        with pytest.raises(UsageError, match="holds something else than a packed cache"):
            packed(cache, foreign, force=True)
    with pytest.raises(UsageError, match="is a file: give a folder"):
        packed(cache, cache / "manifest.json", force=True)
    assert before == {path.name: path.read_bytes() for path in small.iterdir()}
    (small / "left over").touch()
    packed(cache, small, force=True)
    assert before == {path.name: path.read_bytes() for path in small.iterdir()}  # same input, same bytes
    (tmp_path / "empty").mkdir()
    packed(cache, tmp_path / "empty")
