from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from audiotrans.convert.converter import Converter
from audiotrans.convert.effects import blend
from audiotrans.convert.sound_converter import check_wave
from audiotrans.convert.tiles import TilePlan
from audiotrans.errors import AudiotransError, UsageError
from tests.standins import RATE, Identity, Local, Silencer, converter, error_db, tone


@pytest.mark.parametrize("representation", ["log_mel_gain", "log_magnitude", "magnitude_phase"])
@pytest.mark.parametrize("model", [Identity(), Local()])
def test_tiles_agree_with_the_whole(model: Identity, representation: str) -> None:
    phase = "network" if representation == "magnitude_phase" else "source"
    whole = converter(model, representation=representation)
    tiled = converter(model, representation=representation)
    whole.plan = replace(whole.plan, core=2**20)
    tiled.plan = TilePlan(core=2 * tiled.plan.margin, margin=tiled.plan.margin, fade=tiled.plan.fade)
    wave = tone(3.0, channels=2)
    assert len(tiled.plan.tiles(wave.shape[1])) > 5
    one = whole.convert(wave, RATE, to="piano", phase=phase, seed=3)
    other = tiled.convert(wave, RATE, to="piano", phase=phase, seed=3)
    # Magnitudes near zero have unstable phases in magnitude_phase; elsewhere this is float32 rounding.
    assert error_db(other, one) < -80


def test_identity_leaves_no_seam() -> None:
    tiled = converter(Identity())
    tiled.plan = TilePlan(core=2 * tiled.plan.margin, margin=tiled.plan.margin, fade=tiled.plan.fade)
    wave = tone(4.0)
    out = tiled.convert(wave, RATE, to="piano", phase="source")
    for tile in tiled.plan.tiles(wave.shape[1])[1:]:
        around = slice(tile.begin - 256, tile.begin + 256)
        assert error_db(out[:, around], wave[:, around]) < -80


@pytest.mark.parametrize("samples", [1, 2, 127, 128, 129, 511, 513, 5000])
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 96_000])
def test_any_length_and_rate_comes_back_as_long(samples: int, rate: int) -> None:
    wave = np.full(samples, 0.1, np.float32)
    out = converter(Local()).convert(wave, rate, to="piano")
    assert out.shape == wave.shape
    assert out.dtype == np.float32
    assert np.isfinite(out).all()


def test_resampled_sound_keeps_its_place_and_level() -> None:
    wave = tone(1.0, channels=2, rate=44_100)
    out = converter(Identity()).convert(wave, 44_100, to="piano", phase="source")
    # The chord ends below 3 kHz, so going through 16 kHz loses only the clicks of its attacks.
    assert error_db(out, wave) < -25
    assert np.argmax(np.correlate(out[0, 1000:9000], wave[0, 1100:8900])) == 100


def test_strength_zero_is_the_input_and_between_decibels_are_interpolated() -> None:
    louder = converter(Silencer(0.1))  # 5 dB
    wave = tone(0.5, gain=0.05)
    np.testing.assert_array_equal(louder.convert(wave, RATE, to="piano", strength=0), wave)
    for strength, gain_db in ((100, 5.0), (40, 2.0), (1e-6, 0.0)):
        out = louder.convert(wave, RATE, to="piano", strength=strength, phase="source")
        # 0.1 dB: bands at the image's floor are clamped and give no full gain
        assert abs(20 * math.log10(np.linalg.norm(out) / np.linalg.norm(wave)) - gain_db) < 0.1


def test_blend_takes_phases_the_shorter_way_round() -> None:
    source, target = torch.tensor([0.2, 0.9]), torch.tensor([0.4, -0.9])  # one magnitude and one phase channel
    images = source.reshape(1, 2, 1, 1), target.reshape(1, 2, 1, 1)
    halfway = blend(*images, 0.5, "magnitude_phase").flatten()
    assert halfway[0] == pytest.approx(0.3)
    assert abs(halfway[1]) == pytest.approx(1.0)
    assert blend(*images, 0.5, "log_magnitude").flatten()[1] == pytest.approx(0.0)


def test_same_seed_same_bytes_and_another_seed_another_sound() -> None:
    model = converter(Local())
    wave = tone(0.5)
    one, two, three = (model.convert(wave, RATE, to="piano", seed=seed) for seed in (1, 1, 2))
    assert one.tobytes() == two.tobytes()
    assert one.tobytes() != three.tobytes()


def test_convert_does_not_change_its_input_and_takes_one_dimension() -> None:
    wave = tone(0.3)[0].astype(np.float64)
    before = wave.copy()
    assert converter(Local()).convert(wave, RATE, to="piano").shape == wave.shape
    np.testing.assert_array_equal(wave, before)


def test_to_equal_to_from_is_the_models_reconstruction() -> None:
    model = converter(Silencer(0.1))
    wave = tone(0.3)
    out = model.convert(wave, RATE, to="violin", source="violin", phase="source")
    assert error_db(out, wave) < -80
    assert model.options("violin").source == "piano"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"to": "flute"}, "unknown domain of this model 'flute'.*piano, violin"),
        ({"to": "pian"}, "Did you mean 'piano'"),
        ({"source": "cello"}, "'cello'.*piano, violin"),
        ({"strength": 101.0}, "strength 101.*0..100"),
        ({"strength": -1.0}, "strength -1"),
        ({"strength": math.nan}, "strength nan"),
        ({"phase": "pghi2"}, "phase method 'pghi2'.*griffin_lim"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_requests_are_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        converter(Identity()).options(**{"to": "piano", **changes})


@pytest.mark.parametrize("shape", [(1,), (100,), (2, 70_000)])
@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_silence_stays_silence(shape: tuple[int, ...], rate: int) -> None:
    out = converter(Local()).convert(np.zeros(shape, np.float32), rate, to="piano")
    assert out.shape == shape
    assert out.dtype == np.float32
    assert not out.any()


@pytest.mark.parametrize(
    ("wave", "rate", "message"),
    [
        (np.zeros((2, 0), np.float32), RATE, "empty"),
        (np.array([0.1, np.nan], np.float32), RATE, "NaN"),
        (np.array([0.1, np.inf], np.float32), RATE, "infinite"),
        (np.ones(10, np.int16), RATE, "int16"),
        ([0.1, 0.2], RATE, "list"),
        (np.ones((100, 2), np.float32), RATE, r"\(100, 2\)"),
        (np.ones((1, 1, 9), np.float32), RATE, r"\(1, 1, 9\)"),
        (np.ones(10, np.float32), 0, "0 Hz"),
    ],
)
def test_waves_are_refused_by_name(wave: Any, rate: int, message: str) -> None:
    with pytest.raises(AudiotransError, match=message):
        converter(Identity()).convert(wave, rate, to="piano")


@pytest.mark.parametrize("rate", [math.nan, math.inf, -1, 0, 44_100.5, "44100", None])
def test_rates_that_are_none_are_refused(rate: object) -> None:
    with pytest.raises(AudiotransError, match="give the wave's rate, a whole number above 0"):
        check_wave(np.ones(4), rate)  # type: ignore[arg-type]


def test_samples_that_single_precision_cannot_hold_are_refused() -> None:
    with pytest.raises(AudiotransError, match="NaN or infinite samples"):
        check_wave(np.full(4, 1e300), RATE)


def test_check_wave_returns_a_new_float32_matrix() -> None:
    wave = np.ones(4, np.float32)
    assert check_wave(wave, RATE).shape == (1, 4)
    assert not np.shares_memory(check_wave(wave, RATE), wave)


def test_models_of_photos_are_refused() -> None:
    recipe = SimpleNamespace(imaging=SimpleNamespace(type="photo"))
    with pytest.raises(AudiotransError, match="photos"):
        Converter(Identity(), recipe)  # type: ignore[arg-type]
