"""Crops from a cache: repeatable, within bounds, and refused by name where the cache is not one."""

from __future__ import annotations

import json
import math

import pytest
import torch

from audiotrans.errors import AudiotransError
from audiotrans.training.cache import read_manifest
from audiotrans.training.data import ImageCache, lowest_row, range_weights, stream
from tests.fakes import fake_cache, save_image, tiny_recipe


@pytest.fixture
def root(tmp_path):
    return fake_cache(tmp_path / "cache", tiny_recipe())


def rewrite(root, **changes):
    manifest = json.loads((root / "manifest.json").read_text())
    manifest.update(changes)
    (root / "manifest.json").write_text(json.dumps({k: v for k, v in manifest.items() if v is not None}))


def ramps(root, *lengths):
    """Replace the training images of A: image i has ``lengths[i]`` columns that hold the bytes 100 i + column."""
    data = ImageCache(root)
    for index, (item, frames) in enumerate(zip(data.items["a", "train"], lengths, strict=True)):
        columns = (100 * index + torch.arange(frames)).to(torch.uint8)
        save_image(root / item["file"], columns.expand(1, 32, frames))
        item["frames"] = frames
    return data


def places(crop):
    """Return which image of `ramps` a crop is of, and where its columns lie in it."""
    values = ((crop[0, 5] + 1) * 127.5).round().long()
    return int(values[0]) // 100, (values % 100).tolist()


def test_crops_are_a_function_of_their_arguments(root):
    data, again = ImageCache(root), ImageCache(root)
    arguments = ("a", "train", 7, 3, 16, 5)
    before = torch.get_rng_state()
    x = data.sample(*arguments)
    assert x.shape == (3, 1, 32, 16)
    assert x.dtype == torch.float32
    assert torch.equal(x, again.sample(*arguments))
    assert torch.equal(torch.get_rng_state(), before)
    for place, value in enumerate(("b", "valid", 8, None, None, 6)):
        if value is not None:
            other = [*arguments[:place], value, *arguments[place + 1 :]]
            assert not torch.equal(x, data.sample(*other)), place


def test_crops_start_anywhere_and_are_whole(root):
    data = ramps(root, 20, 40)
    starts = {0: set(), 1: set()}
    for step in range(60):
        for crop in data.sample("a", "train", step, 4, 16, 0):
            index, columns = places(crop)
            assert columns == list(range(columns[0], columns[0] + 16))
            starts[index].add(columns[0])
    # 240 draws over 5 + 25 places: the chance to miss a given one is e^-8.
    assert starts[0] == set(range(5))
    assert {0, 24} <= starts[1] <= set(range(25))


def test_longer_recordings_are_drawn_more_often(root):
    data = ramps(root, 16, 16 + 8)  # 1 and 9 columns to begin at
    drawn = [places(crop)[0] for step in range(40) for crop in data.sample("a", "train", step, 16, 16, 0)]
    share = drawn.count(0) / len(drawn)
    assert share == pytest.approx(1 / 10, abs=0.04)  # 640 draws spread by 0.012


def sounding(*rows, height=64):
    """An image that sounds in these rows only."""
    x = torch.full((1, height, 16), -1.0)
    x[:, list(rows)] = 0.0
    return x


def test_the_lowest_row_is_the_lowest_that_sounds():
    assert lowest_row(sounding(20, 40)) == 20
    assert lowest_row(sounding(1, 30)) == 30  # rumble is not a note
    faint = sounding(20, 40)
    faint[:, 20] = -0.4  # 20 dB below the loudest
    assert lowest_row(faint) == 40
    assert lowest_row(torch.full((1, 64, 16), -1.0)) == 3  # silence: the first that could be a note


def test_the_lowest_row_sounds_in_the_mean_of_the_first_channel():
    x = sounding(20, 40).repeat(2, 1, 1)
    x[1, 10] = 1.0
    assert lowest_row(x) == 20
    x[0, 20, ::2] = -1  # half of the time: 25 dB below in the mean
    assert lowest_row(x) == 40


def test_ranges_are_matched_to_what_both_domains_share():
    a, b = range_weights([20, 20, 20, 20], [20, 5, 5, 5])
    # A quarter of B lies in A's range: A keeps a quarter of its weight, B's shared crop all of it.
    assert a.tolist() == pytest.approx([0.25] * 4)
    assert b.tolist() == pytest.approx([1, 0.05, 0.05, 0.05])
    a, b = range_weights([10, 40], [40, 10])
    assert a.tolist() == b.tolist() == [1, 1]


def test_matched_crops_come_from_the_shared_range(root):
    data = ImageCache(root)
    for domain, rows in (("a", (20, 20)), ("b", (20, 5))):
        for item, row in zip(data.items[domain, "train"], rows, strict=True):
            save_image(root / item["file"], sounding(row, height=32))
            item["frames"] = 16
    low = {}
    for match in (False, True):
        drawn = data.sample("b", "train", 0, 600, 16, 0, match_range=match)
        low[match] = float((drawn[:, 0, 5, 0] > -0.5).float().mean())
    # Equal weights, then 0.05 against 1; 600 draws spread by 0.02 and 0.009.
    assert low[False] == pytest.approx(0.5, abs=0.08)
    assert low[True] == pytest.approx(0.05 / 1.05, abs=0.04)


def drawn_low(data, domain, *, match):
    """Return the share of 600 crops that sound in row 5."""
    return float((data.sample(domain, "train", 0, 600, 16, 0, match_range=match)[:, 0, 5, 0] > -0.5).float().mean())


def test_matched_domains_are_drawn_by_one_histogram(root):
    data = ImageCache(root)
    for domain, frames in (("a", (16, 19)), ("b", (19, 16))):  # 1 and 4 columns to begin at
        for item, row, columns in zip(data.items[domain, "train"], (5, 20), frames, strict=True):
            save_image(root / item["file"], sounding(row, height=32)[..., :1].repeat(1, 1, columns))
            item["frames"] = columns
    # 600 draws spread by at most 0.02.
    assert drawn_low(data, "a", match=False) == pytest.approx(0.2, abs=0.08)
    assert drawn_low(data, "b", match=False) == pytest.approx(0.8, abs=0.08)
    assert drawn_low(data, "a", match=True) == pytest.approx(0.5, abs=0.08)
    assert drawn_low(data, "b", match=True) == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("split", ["train", "valid"])
def test_matched_crops_are_a_function_of_their_arguments_too(root, split):
    data, again = ImageCache(root), ImageCache(root)
    again.sample("b", split, 0, 1, 24, 0, match_range=True)  # other crops first
    for domain in "ab":
        x, y = (cache.sample(domain, split, 7, 3, 16, 5, match_range=True) for cache in (data, again))
        assert torch.equal(x, y)


@pytest.mark.parametrize(("frames", "crop"), [(16, 16), (17, 16), (23, 16), (24, 16), (25, 16), (31, 15), (30, 15)])
def test_the_last_frames_of_a_file_are_drawn_too(root, frames, crop):
    data = ramps(root, frames, frames)
    crops = torch.cat([data.sample("a", "train", step, 20, crop, 0) for step in range(20)])
    starts = {places(crop)[1][0] for crop in crops}
    # 400 draws: the rarest of at most 17 starts has a share of 1 / 32, and e^-12 to be missed.
    assert starts == set(range(frames - crop + 1))


def test_short_images_are_filled_with_their_lowest_value(root):
    data = ramps(root, 6, 6)
    crop = data.sample("a", "train", 0, 1, 16, 0)[0, 0]
    lowest = float(crop[0, 0])
    assert torch.equal(crop[:, 6:], torch.full((32, 10), lowest))
    assert float(crop[0, 5]) == pytest.approx(lowest + 5 / 127.5)


def test_items_are_read_whole_or_in_part(root):
    data = ImageCache(root)
    item = data.manifest["items"][0]
    whole = data.read(item)
    assert whole.shape == (1, 32, 40)
    assert torch.equal(data.read(item, 5, 7), whole[..., 5:12])


def test_a_cache_without_held_out_images_says_so(tmp_path, root):
    assert ImageCache(root).has("valid")
    assert not ImageCache(fake_cache(tmp_path / "other", tiny_recipe(), valid=False)).has("valid")


def test_streams_differ_by_seed_and_place():
    draws = [torch.randint(2**62, (1,), generator=g).item() for g in (
        stream(0, "a"), stream(0, "a", 1), stream(1, "a"), stream(0, "b"), stream(0, "a", "1")
    )]  # fmt: skip
    assert len(set(draws)) == 5
    assert torch.randint(2**62, (1,), generator=stream(0, "a")).item() == draws[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"format": "other"},
            r"is other 2, this program reads audiotrans-cache 2: run audiotrans prep again, into a new",
        ),
        ({"version": 1}, r"is audiotrans-cache 1, this program reads audiotrans-cache 2: run audiotrans prep again"),
        ({"format": "audiotrans-packed", "version": 1}, r"is audiotrans-packed 1, .* run audiotrans prep again, into"),
        ({"format": None}, r"manifest.json is broken"),
        ({"items": None}, r"manifest.json is broken \(it says nothing of imaging or items\)"),
        ({"imaging": None}, r"manifest.json is broken \(it says nothing of imaging or items\)"),
        ({"items": []}, r"has no training images of 'violin'"),
    ],
)
def test_caches_that_do_not_serve_are_refused(root, changes, message):
    rewrite(root, **changes)
    with pytest.raises(AudiotransError, match=message):
        ImageCache(root)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("file", "../../outside.safetensors"),
        ("file", "/etc/passwd"),
        ("file", "C:\\outside.safetensors"),
        ("file", "images\\..\\..\\outside.safetensors"),
        ("file", "a\0b"),
        ("file", None),
        ("domain", ["a"]),
        ("split", "trian"),
        ("index", -1),
        ("index", True),
        ("frames", 0),
        ("frames", 1e9),
        ("frames", 2**40),
        ("weight", 0),
        ("weight", math.inf),
        ("gap", "1"),
        ("joined", 3),
        ("joined", [{"file": "../x.safetensors", "index": 0}]),
    ],
)
def test_a_manifest_names_nothing_outside_and_nothing_that_cannot_be(root, key, value):
    items = read_manifest(root)["items"]
    rewrite(root, items=[items[0], {**items[1], key: value}, *items[2:]])
    with pytest.raises(AudiotransError, match=rf"manifest.json is broken \(item 1 has no {key} as prep writes it\)"):
        ImageCache(root)


def test_an_image_of_another_width_than_the_manifest_says_is_named(root):
    items = read_manifest(root)["items"]
    rewrite(root, items=[{**item, "frames": 41} for item in items])
    with pytest.raises(AudiotransError, match="holds an image of 40 columns, its manifest says 41: remove it and run"):
        ImageCache(root).sample("a", "train", 0, 1, 16, 0)


def test_a_folder_without_a_cache_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(AudiotransError, match="holds no prepared data; make it with: audiotrans prep"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00"])
def test_a_broken_manifest_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(AudiotransError, match=r"manifest.json is broken .*run audiotrans prep again"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("damage", ["missing", "truncated", "text"])
def test_a_broken_image_is_named(root, damage):
    data = ImageCache(root)
    path = root / data.manifest["items"][0]["file"]
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:50] if damage == "truncated" else b"not an image")
    with pytest.raises(AudiotransError, match=rf"cannot read .*{path.name}.*run audiotrans prep again"):
        data.read(data.manifest["items"][0])
