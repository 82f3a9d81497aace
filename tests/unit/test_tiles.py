from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from audiotrans.convert.converter import plan_tiles
from audiotrans.convert.effects import aligned_noise, noise_period
from audiotrans.convert.tiles import SlidingWindow, TilePlan, cross_fade
from tests.standins import Identity, Silencer, settings, tiled


def test_tiles_cover_the_stream_once_and_start_on_the_grid() -> None:
    plan = TilePlan(core=64, margin=16, fade=8)
    for length in (1, 63, 64, 65, 95, 96, 97, 111, 112, 127, 128, 129, 1000):
        tiles = plan.tiles(length)
        assert tiles[0].begin == 0
        assert tiles[-1].end == length
        assert all(one.end == two.begin for one, two in pairwise(tiles))
        assert all(tile.start % 16 == 0 for tile in tiles)
        sizes = [tile.end - tile.begin for tile in tiles]
        assert min(sizes[1:], default=32) >= 32  # a last sliver would have no room to fade
        assert max(sizes) <= 64  # nor memory for more


def test_tile_plan_refuses_a_fade_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="fade"):
        TilePlan(core=64, margin=16, fade=40)
    with pytest.raises(ValueError, match="even"):
        TilePlan(core=64, margin=16, fade=7)


def test_convert_tiles_by_identity_returns_the_stream(rng: np.random.Generator) -> None:
    wave = rng.standard_normal((2, 1003)).astype(np.float32)
    blocks = np.array_split(wave, [1, 5, 300, 301, 900], axis=1)
    plan = TilePlan(core=64, margin=16, fade=8)
    out = np.concatenate(list(tiled(blocks, 1003, plan, lambda piece, _: piece.copy())), axis=1)
    np.testing.assert_allclose(out, wave, atol=1e-6)  # float32 rounding of the fades


def test_convert_tiles_tells_each_piece_its_place(rng: np.random.Generator) -> None:
    wave = rng.standard_normal((1, 500)).astype(np.float32)

    def check(piece: np.ndarray, start: int) -> np.ndarray:
        np.testing.assert_array_equal(piece, wave[:, start : start + piece.shape[1]])
        return piece

    list(tiled([wave], 500, TilePlan(core=64, margin=16, fade=0), check))


def test_sliding_window_only_moves_forward() -> None:
    window = SlidingWindow([np.zeros((1, 10), np.float32)] * 3)
    assert window.take(12, 25).shape == (1, 13)
    with pytest.raises(ValueError, match="lies before 10"):
        window.take(5, 25)
    with pytest.raises(ValueError, match="ends at sample 30"):
        window.take(12, 31)


def test_cross_fade_keeps_agreeing_sounds_and_the_power_of_others(rng: np.random.Generator) -> None:
    one, two = rng.standard_normal((2, 1, 20_000)).astype(np.float32)
    np.testing.assert_allclose(cross_fade(one, one), one, rtol=1e-5)
    middle = cross_fade(one, two)[:, 8_000:12_000]
    # Without the correction the middle of two unrelated sounds is 3 dB too quiet.
    assert abs(10 * math.log10(np.mean(middle**2))) < 0.3
    silence = np.zeros_like(one)
    assert not cross_fade(silence, silence).any()


def test_plan_tiles_follows_the_models_grid_and_context() -> None:
    model = Identity()
    plan = plan_tiles(settings(), 64, model)  # type: ignore[arg-type]
    assert plan.core % (4 * 128) == 0
    assert plan.margin % (4 * 128) == 0
    assert plan.margin >= 8 * 128 + 512 + plan.fade // 2
    strided = plan_tiles(settings(representation="magnitude_phase", time_stride=2), 256, model)  # type: ignore[arg-type]
    assert strided.margin % (4 * 256) == 0


def test_noise_of_a_tile_is_a_slice_of_the_whole() -> None:
    model: Any = Identity()
    whole = aligned_noise(model, torch.zeros(1, 1, 3, 400), 0, seed=5)
    assert whole is not None
    for first in (0, 4, 64, 100, 300):
        piece = aligned_noise(model, torch.zeros(1, 1, 3, 90), first, seed=5)
        assert torch.equal(piece, whole[..., first : first + 90])  # type: ignore[arg-type]
    other = aligned_noise(model, torch.zeros(1, 1, 3, 400), 0, seed=6)
    assert abs(torch.corrcoef(torch.stack([whole.flatten(), other.flatten()]))[0, 1]) < 0.15  # type: ignore[union-attr]
    assert abs(torch.corrcoef(whole[0, 0, 0, :384].reshape(6, 64)).fill_diagonal_(0)).max() < 0.6


def test_noise_repeats_after_its_period_and_not_before() -> None:
    model: Any = Identity()
    period = noise_period(model)
    noise = aligned_noise(model, torch.zeros(1, 1, 3, 2 * period), 0, seed=5)
    assert noise is not None
    assert torch.equal(noise[..., :period], noise[..., period:])
    assert len({tuple(column) for column in noise[0, 0, :, :period].T.tolist()}) == period


def test_noise_at_the_latent_is_aligned_too() -> None:
    class AtLatent(Identity):
        def noise_shape(self, image: torch.Tensor) -> tuple[int, int, int, int]:
            return (image.shape[0], 2, image.shape[2] // 4, -(-image.shape[3] // 4))

    model: Any = AtLatent()
    whole = aligned_noise(model, torch.zeros(1, 1, 8, 400), 0, seed=1)
    piece = aligned_noise(model, torch.zeros(1, 1, 8, 101), 120, seed=1)
    assert whole is not None
    assert whole.shape == (1, 2, 2, 100)
    assert torch.equal(piece, whole[..., 30:56])  # type: ignore[arg-type]


def test_models_without_noise_are_given_none() -> None:
    assert aligned_noise(Silencer(0.0), torch.zeros(1, 1, 3, 40), 0, seed=5) is None  # type: ignore[arg-type]
