"""Loud and soft with the shipped model: a soft phrase stays as soft, and what is not music moves no level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiotrans.convert.converter import Converter, load
from audiotrans.evaluation.metrics.spectral import log_spectral_distance

DATA = Path(__file__).resolve().parents[2] / "data"
SECONDS = 3

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def model() -> Converter:
    return load(device="cpu")


@pytest.fixture(scope="module", params=[("violin", "piano"), ("piano", "violin")], ids=["to piano", "to violin"])
def phrase(request: pytest.FixtureRequest, model: Converter) -> tuple[np.ndarray, int, str, np.ndarray]:
    """Return three seconds, their rate, where they go, and what they become alone."""
    source, target = request.param
    wave, rate = soundfile.read(DATA / f"{source}.wav", dtype="float32", frames=SECONDS * 44100)
    return wave.T, rate, target, model.convert(wave.T, rate, to=target)


def level_db(wave: np.ndarray) -> float:
    """Return the level of what can be heard: from 30 Hz on."""
    spectrum = np.fft.rfft(wave.astype(np.float64), axis=1)
    spectrum[:, : 30 * SECONDS] = 0
    return float(10 * np.log10(np.square(np.fft.irfft(spectrum, wave.shape[1], axis=1)).mean()))


@pytest.mark.parametrize("softer_db", [10, 20, 27])
def test_a_soft_phrase_before_a_loud_one_comes_out_as_much_softer(phrase, model, softer_db):
    wave, rate, target, alone = phrase
    gain = np.float32(10 ** (-softer_db / 20))
    out = model.convert(np.concatenate([wave * gain, wave], axis=1), rate, to=target)[:, : wave.shape[1]] / gain
    assert level_db(out) - level_db(alone) == pytest.approx(0, abs=2)
    assert log_spectral_distance(alone, out, rate) < 4


def test_a_soft_phrase_after_a_loud_one_comes_out_as_much_softer(phrase, model):
    wave, rate, target, _ = phrase
    # Without vibrato, whose phase after three seconds is another one: that is neither level nor timbre.
    alone = model.convert(wave, rate, to=target, vibrato=0)
    both = np.concatenate([wave, wave * np.float32(0.1)], axis=1)
    out = model.convert(both, rate, to=target, vibrato=0)[:, wave.shape[1] :]
    assert level_db(out * 10) - level_db(alone) == pytest.approx(0, abs=2)
    assert log_spectral_distance(alone, out * 10, rate) < 4


def test_a_knock_leaves_the_rest_as_it_is(phrase, model):
    wave, rate, target, alone = phrase
    gain = np.float32(10 ** (-27 / 20))
    soft, at = wave * gain, int(2.7 * rate)
    soft[:, at : at + rate // 50] = np.random.default_rng(0).uniform(-1, 1, rate // 50)
    before = slice(0, at - rate // 5)
    out = model.convert(soft, rate, to=target)[:, before] / gain
    assert 20 * np.log10(np.linalg.norm(out) / np.linalg.norm(alone[:, before])) == pytest.approx(0, abs=1)


@pytest.mark.parametrize("kind", ["an offset", "rumble"])
def test_what_cannot_be_heard_changes_nothing_that_can(phrase, model, kind):
    wave, rate, target, alone = phrase
    more = 0.01 if kind == "an offset" else 0.02 * np.sin(2 * np.pi * 8 * np.arange(wave.shape[1]) / rate)
    out = model.convert((wave + more).astype(np.float32), rate, to=target)
    assert level_db(out) - level_db(alone) == pytest.approx(0, abs=0.5)
