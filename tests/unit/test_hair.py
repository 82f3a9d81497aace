"""The hair benchmark's own parts: what it says of known changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audiotrans.errors import AudiotransError
from audiotrans.evaluation.metrics.kernel import kernel_distance
from benchmarks import hair
from benchmarks.hair import View, changes, edges_kept, seen, views, weighted_distance


def photo(height: int = 120, width: int = 160) -> np.ndarray:
    return np.random.default_rng(0).integers(40, 200, (height, width, 3), dtype=np.uint8)


def mask(height: int = 120, width: int = 160) -> np.ndarray:
    found = np.zeros((height, width), dtype=bool)
    found[20:60, 50:110] = True
    return found


def test_a_change_is_counted_where_it_is():
    before, where = photo(), mask()
    after = before.copy()
    after[where] += 30
    after[~where] += 3
    found = {row.measure.split(" (")[0]: row for row in changes("x", before, after, where)}
    assert found["size kept"].value == 1
    assert found["L1 in the hair"].value == pytest.approx(30)
    assert found["L1 outside"].value == pytest.approx(3)
    assert found["L1 in the hair over outside"].value == pytest.approx(10)
    assert found["gradient cosine outside"].value == pytest.approx(1)  # one shift for all of it moves no edge


def test_the_band_around_the_outline_does_not_count():
    before, where = photo(), mask()
    after = before.copy()
    after[19] = 255  # the row above the hair
    found = {row.measure.split(" (")[0]: row.value for row in changes("x", before, after, where)}
    assert found["L1 in the hair"] == 0
    # Beside the hair and its band that row counts.
    assert 0 < found["L1 outside"] < 1


def test_moved_edges_are_told():
    before, everywhere = photo(), np.ones((120, 160), dtype=bool)
    assert edges_kept(before, before // 2, everywhere) > 0.99
    assert edges_kept(before, 255 - before, everywhere) == pytest.approx(-1)
    assert abs(edges_kept(before, np.roll(before, 5, 1), everywhere)) < 0.1
    half = mask()
    other = before.copy()
    other[~half] = 0
    assert edges_kept(before, other, half) == pytest.approx(1)  # what lies elsewhere is not looked at


def test_views_lie_within_the_photo_and_keep_its_proportions():
    for width, height, face in ((512, 512, hair.FACE), (300, 900, (100, 400, 200, 500)), (640, 480, None)):
        found = views(width, height, face)
        assert [view.name for view in found] == ["whole", *(["face"] if face else []), "777 x 431"]
        for view in found:
            left, top, right, bottom = view.box
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            assert (right - left) / (bottom - top) == pytest.approx(view.size[0] / view.size[1], rel=1e-6)
        assert found[-1].size == (777, 431)


def test_a_view_is_the_box_at_its_size():
    before = photo()
    np.testing.assert_array_equal(seen(before, View("x", (10, 20, 50, 60), (40, 40))), before[20:60, 10:50])
    assert seen(before, View("x", (0, 0, 160, 120), (777, 431))).shape == (431, 777, 3)


def test_the_weighted_distance_is_the_kernel_distance_and_repeats_make_no_pairs():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 5)), rng.normal(size=(9, 5)) + 1

    def k(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.exp(-((a[:, None] - b[None]) ** 2).sum(2) / 8)

    once = weighted_distance(k(x, x), k(y, y), k(x, y), np.ones(12), np.ones(9))
    assert once == pytest.approx(kernel_distance(x, y, bandwidth=2.0), rel=1e-9)
    twice = weighted_distance(k(x, x), k(y, y), k(x, y), 2 * np.ones(12), 2 * np.ones(9))
    assert twice == pytest.approx(once, rel=1e-9)


def test_the_portrait_is_optional(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "skimage", None)
    with pytest.raises(AudiotransError, match="--photo and --hair"):
        hair.portrait()


def test_translations_that_are_the_target_reach_the_bars():
    """A classifier that looks at the mean colour, and models whose answers are known."""

    class Mean(torch.nn.Module):
        def embed(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean((2, 3))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.embed(images).mean(1)

    generator = torch.Generator().manual_seed(0)
    noise = [0.5 * torch.randn(20, 3, 4, 4, generator=generator) for _ in range(4)]
    images, others = {"a": noise[0] - 1, "b": noise[1] + 1}, {"a": noise[2] - 1, "b": noise[3] + 1}
    held_out = hair.EvaluationSet.of(Mean(), images, others)  # type: ignore[arg-type]
    names = {"a": "blond", "b": "brown"}
    good = {row.measure: row for row in hair.outcome_rows("x", held_out, {"a": others["b"], "b": others["a"]}, names)}
    share = good["blond to brown: accuracy, share of real images'"]
    assert (share.value, share.low, share.high, share.verdict) == (100, 100, 100, "yes")
    below = good["brown to blond: kernel distance below copying"]
    assert below.low < below.value < below.high
    assert below.value > 90
    copied = {row.measure: row for row in hair.outcome_rows("x", held_out, images, names)}
    assert copied["blond to brown: accuracy, share of real images'"].verdict == "NO"
    assert copied["blond to brown: kernel distance below copying"].value == pytest.approx(0, abs=1e-6)
    assert copied["blond to brown: content kept (gradient cosine)"].value == pytest.approx(1)
