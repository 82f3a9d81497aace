"""Laws of converting: tiles are invisible, lengths are kept, seeds decide everything."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import hypothesis
import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from audiotrans.convert.converter import Converter
from audiotrans.convert.tiles import TilePlan, cross_fade
from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.model.nets import net_settings
from tests.standins import RATE, Identity, converter, error_db, tiled

seeds = st.integers(0, 2**32 - 1)


@cache
def tiny() -> Converter:
    """Build the smallest real model, untrained: its tiles must agree as those of a trained one."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return converter(AVBGTN(net_settings(preset="tiny"), 1))


def noise_wave(seed: int, samples: int, channels: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal((channels, samples)) * np.linspace(0.2, 1, samples)).astype(np.float32)


def with_core(model: Converter, core: int) -> Converter:
    """Copy a converter with another length of its tiles' cores."""
    other = Converter(model.model, model.recipe, model.device)
    other.plan = replace(model.plan, core=core)
    return other


@given(
    length=st.integers(1, 700),
    cores=st.integers(4, 40),
    margin=st.integers(4, 60),
    blocks=st.integers(1, 300),
    seed=seeds,
)
def test_tiles_of_a_local_operation_equal_the_whole(
    length: int, cores: int, margin: int, blocks: int, seed: int
) -> None:
    # A sum over 2 samples on each side: margins of 2 beyond half the fade are enough for it.
    def local(wave: np.ndarray, start: int = 0) -> np.ndarray:
        del start
        padded = np.pad(wave, ((0, 0), (2, 2)))
        return sum(padded[:, i : i + wave.shape[1]] for i in range(5)).astype(np.float32)

    wave = noise_wave(seed, length)
    pieces = [wave[:, at : at + blocks] for at in range(0, length, blocks)]
    plan = TilePlan(core=4 * cores, margin=margin, fade=min(4, 2 * (margin - 2)))
    out = np.concatenate(list(tiled(pieces, length, plan, local)), axis=1)
    np.testing.assert_allclose(out, local(wave), atol=1e-6)  # rounding of the fades


@given(samples=st.integers(1, 60_000), cut=st.integers(1, 3), seed=seeds)
def test_tiles_of_a_real_model_agree_with_the_whole(samples: int, cut: int, seed: int) -> None:
    model = tiny()
    wave = noise_wave(seed, samples)
    grid = 128 * model.model.stride[1]
    whole = with_core(model, 2**20).convert(wave, RATE, to="piano", phase="source", seed=seed)
    tiled = with_core(model, cut * 8 * grid).convert(wave, RATE, to="piano", phase="source", seed=seed)
    # -80 dB is what may be called no seam; float32 sums in another order give about -120 dB.
    assert error_db(tiled, whole) < -80


@hypothesis.settings(max_examples=hypothesis.settings().max_examples // 3)  # phase estimation takes its time
@given(samples=st.integers(1, 5_000), rate=st.integers(4_000, 96_000), channels=st.integers(1, 8), seed=seeds)
def test_every_length_rate_and_channel_count_is_kept(samples: int, rate: int, channels: int, seed: int) -> None:
    wave = noise_wave(seed, samples, channels)
    before = wave.copy()
    out = tiny().convert(wave, rate, to="violin", seed=seed)
    assert out.shape == wave.shape
    assert np.isfinite(out).all()
    np.testing.assert_array_equal(wave, before)


@given(samples=st.integers(1, 20_000), seed=seeds, channels=st.integers(1, 3))
def test_an_identity_model_returns_the_sound(samples: int, seed: int, channels: int) -> None:
    wave = noise_wave(seed, samples, channels)
    model = converter(Identity())
    model.plan = replace(model.plan, core=4 * model.plan.fade)
    assert error_db(model.convert(wave, RATE, to="piano", phase="source"), wave) < -80


@hypothesis.settings(max_examples=hypothesis.settings().max_examples // 3)  # phase estimation takes its time
@given(samples=st.integers(100, 5_000), seed=seeds, strength=st.floats(0, 100))
def test_the_same_seed_gives_the_same_bytes(samples: int, seed: int, strength: float) -> None:
    wave = noise_wave(seed, samples)
    one, two = (tiny().convert(wave, RATE, to="piano", seed=seed, strength=strength) for _ in range(2))
    assert one.tobytes() == two.tobytes()


@given(fade=st.integers(2, 400), seed=seeds)
def test_cross_fades_begin_as_one_and_end_as_the_other(fade: int, seed: int) -> None:
    one, two = noise_wave(seed, fade), noise_wave(seed + 1, fade)
    out = cross_fade(one, two)
    # The ramp's first value is sin^2(pi / 4 fade), at most (0.8 / fade)^2.
    allowed = 2 * (0.8 / fade) ** 2 * (np.abs(one).max() + np.abs(two).max()) + 1e-6
    assert abs(out[0, 0] - one[0, 0]) < allowed
    assert abs(out[0, -1] - two[0, -1]) < allowed
