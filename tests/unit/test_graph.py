"""A model as one graph from wave to wave: its transforms, its levels, and the sound of `Converter`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audiotrans.convert.converter import Converter
from audiotrans.convert.graph import LevelGraph, RealFourier, RealSTFT, SoundGraph
from audiotrans.convert.graph_export import KINDS, export_graph
from audiotrans.errors import AudiotransError
from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.recipe import recipe_from_dict
from audiotrans.spectrogram.level import followed
from audiotrans.spectrogram.stft import STFT
from tests.sounds import snr_db
from tests.standins import RATE, SMALL

MEASURED = torch.full((1,), math.nan)


def converter(**model: Any) -> Converter:
    recipe = recipe_from_dict({"imaging": SMALL, "model": {"preset": "tiny", **model}})
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Converter(AVBGTN(recipe.model, recipe.imaging.image_channels), recipe)


def wave(samples: int, channels: int = 2, seed: int = 0) -> np.ndarray:
    """Return noise that swells and fades, so that its level has something to follow."""
    swell = 10 ** (np.sin(np.arange(samples) / 3000) - 1.5)
    noise = np.random.default_rng(seed).normal(size=(channels, samples))
    return (swell * noise).astype(np.float32)


@pytest.mark.parametrize("size", [4, 14, 96, 100, 512, 2048])
def test_the_real_transform_is_the_fourier_transform(size):
    frames = torch.randn(2, 3, size, generator=torch.Generator().manual_seed(size))
    fourier = RealFourier(size)
    found = fourier(frames)
    expected = torch.fft.rfft(frames.double())
    torch.testing.assert_close(
        torch.complex(found[:, :, 0], found[:, :, 1]), expected.to(torch.complex64), rtol=1e-5, atol=1e-4
    )
    torch.testing.assert_close(fourier.inverse(found), frames, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("samples", [1, 127, 128, 5000])
def test_frames_and_the_way_back_are_those_of_the_stft(samples):
    stft, sound = STFT(512, 128), torch.from_numpy(wave(samples))
    real = RealSTFT(stft)
    found = real.forward(sound)
    expected = stft.forward(sound)
    assert found.shape == (2, expected.shape[2], 2, 257)
    torch.testing.assert_close(
        torch.complex(found[:, :, 0], found[:, :, 1]).transpose(1, 2), expected, rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(real.inverse(found, samples), sound, rtol=1e-4, atol=1e-5)


@given(seed=st.integers(0, 2**32 - 1), frames=st.integers(9, 300), hop=st.sampled_from([0.005, 512 / 44100, 0.05]))
def test_levels_of_a_graph_follow_as_those_of_the_meter(seed, frames, hop):
    power = np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 1, frames)).clip(-30, 30))
    half = LevelGraph(hop).beside
    if frames > half:
        found = LevelGraph(hop)(torch.from_numpy(power).float()).numpy()
        np.testing.assert_allclose(found, followed(power, hop), atol=1e-3)


@pytest.mark.parametrize(
    "asked",
    [{}, {"strength": 60.0}, {"shifts": 3}, {"articulation": 1.5}, {"seed": 7}, {"source": "piano"}],
    ids=str,
)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_graph_sounds_as_the_converter(asked, channels):
    model = converter()
    options = model.options("piano", **asked)
    sound = wave(30_001, channels)
    wanted = model.convert(sound, RATE, to="piano", phase="source", vibrato=0.0, remove_vibrato=0.0, **asked)
    with torch.inference_mode():
        found = SoundGraph(model, options)(torch.from_numpy(sound), MEASURED).numpy()
    assert snr_db(wanted, found) > 90
    assert snr_db(sound, wanted) < 30  # it did something


@pytest.mark.parametrize("settings", [{"residual": 0.5}, {"kl": "mu2"}], ids=str)
def test_other_models_go_through_a_graph_too(settings):
    model = converter(**settings)
    sound = wave(9_000)
    wanted = model.convert(sound, RATE, to="violin", vibrato=0.0, remove_vibrato=0.0)
    with torch.inference_mode():
        found = SoundGraph(model, model.options("violin"))(torch.from_numpy(sound), MEASURED).numpy()
    assert snr_db(wanted, found) > 90


@pytest.mark.parametrize("samples", [1, 100, 1023, 1024, 1500])
def test_short_sounds_keep_their_length(samples):
    model = converter()
    sound = torch.from_numpy(wave(samples))
    with torch.inference_mode():
        found = SoundGraph(model, model.options("piano"))(sound, MEASURED)
    assert found.shape == sound.shape
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e12])
def test_silence_stays_silence_and_no_level_is_too_much(scale):
    model = converter()
    sound = torch.from_numpy(wave(8_000)) * scale
    graph = SoundGraph(model, model.options("piano"))
    with torch.inference_mode():
        found, plain = graph(sound, MEASURED), graph(torch.from_numpy(wave(8_000)), MEASURED)
    torch.testing.assert_close(found, plain * scale, rtol=1e-3, atol=1e-4 * scale)


def test_levels_that_are_given_count_in_place_of_those_measured():
    model = converter()
    sound = torch.from_numpy(wave(20_000))
    graph = SoundGraph(model, model.options("piano"))
    meter = model.level_meter()
    meter.update(sound.numpy())
    own = torch.from_numpy(meter.levels_db()).float()
    with torch.inference_mode():
        measured, given, other = (graph(sound, each) for each in (MEASURED, own, own + 20))
    assert snr_db(measured.numpy(), given.numpy()) > 90
    assert snr_db(measured.numpy(), other.numpy()) < 40


def test_models_whose_phases_are_estimated_are_refused():
    recipe = recipe_from_dict({"imaging": {**SMALL, "representation": "log_magnitude"}, "model": {"preset": "tiny"}})
    model = Converter(AVBGTN(recipe.model, recipe.imaging.image_channels), recipe)
    with pytest.raises(AudiotransError, match="log_magnitude images are estimated"):
        SoundGraph(model, model.options("piano"))


@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_an_exporter_that_fails_is_named_with_its_version(kind, tmp_path, monkeypatch):
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("no conversion of aten.pad\nStep 3 of 3")

    pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install '.[export]'")
    monkeypatch.setattr(torch.export, "export", fails)
    monkeypatch.setattr(torch.jit, "trace", fails)
    made = converter()
    with pytest.raises(AudiotransError, match=r"no graph can be made with torch \d.*aten.pad.*pip install -U torch"):
        export_graph(made, made.options("piano"), tmp_path / f"a{KINDS[kind][0]}", kind=kind)
    assert list(tmp_path.iterdir()) == []


def test_frames_that_overlap_by_no_whole_number_of_hops_are_refused():
    recipe = recipe_from_dict({"imaging": {**SMALL, "hop_length": 120}, "model": {"preset": "tiny"}})
    model = Converter(AVBGTN(recipe.model, recipe.imaging.image_channels), recipe)
    with pytest.raises(AudiotransError, match="no multiple of its hop"):
        SoundGraph(model, model.options("piano"))
