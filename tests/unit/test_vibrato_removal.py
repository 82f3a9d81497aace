"""Vibrato goes, notes and attacks and chords stay, and nothing depends on how a wave is cut."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiotrans.errors import UsageError
from audiotrans.evaluation.metrics.spectral import log_spectral_distance
from audiotrans.recipe import recipe_from_dict
from audiotrans.spectrogram.vibrato import VibratoRemover
from tests.standins import RATE, Local, converter, error_db, pushed, streamed, tone
from tests.unit.test_vibrato import cents_of, note, vibrated

HERTZ = 44_100


def straightened(wave, share=1.0, rate=HERTZ):
    return np.concatenate(list(VibratoRemover(rate, len(wave), share).through([wave])), axis=1)


def swung(seconds, hertz, cents, rate_hz=5.6, partials=8):
    """A bowed tone whose pitch swings."""
    at = np.arange(round(seconds * HERTZ)) / HERTZ
    pitch = hertz * 2 ** (cents / 1200 * np.sin(2 * np.pi * rate_hz * at))
    phase = 2 * np.pi * np.cumsum(pitch) / HERTZ
    wave = sum(np.sin(k * phase) / k for k in range(1, partials + 1))
    return (0.2 * wave * np.minimum(at / 0.02, 1)).astype(np.float32)


def extent(wave, hertz):
    pitch = cents_of(wave, hertz)
    return math.sqrt(2 * np.mean(np.square(pitch - np.mean(pitch))))


@pytest.mark.parametrize("hertz", [220.0, 440.0, 1100.0])
@pytest.mark.parametrize(("cents", "rate_hz"), [(8, 5.5), (20, 4.5), (30, 6.5)])
def test_vibrato_of_every_size_and_rate_goes_and_the_pitch_stays(hertz, cents, rate_hz):
    wave = swung(3.0, hertz, cents, rate_hz)
    got = straightened(wave[None])[0]
    assert extent(wave, hertz) == pytest.approx(cents, rel=0.1)
    assert extent(got, hertz) < 0.15 * cents + 0.3
    assert abs(np.mean(cents_of(got, hertz))) < 1


def test_a_share_of_it_goes():
    wave = swung(3.0, 440.0, 20)
    assert extent(straightened(wave[None], 0.5)[0], 440.0) == pytest.approx(10, rel=0.15)


def test_the_notes_of_a_chord_are_straightened_each_for_itself():
    chord = swung(3.0, 277.2, 0, partials=2) + swung(3.0, 880.0, 25, 6.1)
    got = straightened(chord[None])[0]
    assert extent(chord, 880.0) > 20
    assert extent(got, 880.0) < 5
    assert extent(got, 277.2) < extent(chord, 277.2) + 0.5


def test_the_vibrato_that_we_add_is_taken_out_again():
    wave = note(4.0)
    got = straightened(vibrated(wave[None], 25.0))[0]
    assert extent(got, 440.0) < 2


def test_a_straight_sound_and_noise_stay_as_they_are():
    wave = np.stack([note(2.0), note(2.0, 660.0)])
    assert log_spectral_distance(wave, straightened(wave), HERTZ) < 1.5
    assert extent(straightened(wave)[0], 440.0) < 0.2
    noise = np.random.default_rng(0).normal(0, 0.1, (1, HERTZ)).astype(np.float32)
    assert log_spectral_distance(noise, straightened(noise), HERTZ) < 3
    assert np.square(straightened(noise)).mean() == pytest.approx(np.square(noise).mean(), rel=0.05)
    np.testing.assert_allclose(straightened(noise, 0.0), noise, atol=1e-6)


def test_a_slur_to_another_note_stays_where_it_was():
    wave = np.concatenate([swung(1.0, 440.0, 0), swung(1.0, 466.16, 0)[1000:]])
    before, after = (cents_of(x, 450.0) for x in (wave, straightened(wave[None])[0]))
    rises = [np.flatnonzero(pitch > 0)[0] / HERTZ for pitch in (before, after)]
    assert rises[1] == pytest.approx(rises[0], abs=0.03)
    settled = slice(0, round((rises[0] - 0.1) * HERTZ))
    assert np.abs(after[settled] - before[settled]).max() < 6


def test_an_attack_keeps_its_place_and_level():
    wave = np.concatenate([np.zeros(HERTZ // 2, np.float32), note(1.5)])
    got = straightened(wave[None])[0]
    assert np.abs(got[: HERTZ // 2 - 2048]).max() < 1e-6
    early = slice(HERTZ // 2 - 600, HERTZ // 2)
    assert np.square(got[early]).mean() < 1e-3 * np.square(wave[HERTZ // 2 : HERTZ // 2 + 2000]).mean()
    power = [np.square(x[HERTZ // 2 :]).mean() for x in (wave, got)]
    assert power[1] == pytest.approx(power[0], rel=0.05)


def test_an_attack_after_a_rest_is_as_sharp_as_it_was():
    wave = np.concatenate([swung(1.2, 440.0, 25), np.zeros(HERTZ // 2, np.float32)])
    wave[-HERTZ // 10] = 0.5  # a click
    got = straightened(wave[None])[0]
    np.testing.assert_allclose(got[-HERTZ // 5 :], wave[-HERTZ // 5 :], atol=1e-5)


def test_every_channel_moves_alike():
    left = swung(2.0, 440.0, 20)
    both = straightened(np.stack([left, -0.5 * left]))
    np.testing.assert_allclose(both[1], -0.5 * both[0], atol=1e-5)


@settings(max_examples=25)
@given(
    cuts=st.lists(st.integers(0, 30_000), max_size=6),
    samples=st.integers(1, 30_000),
    rate=st.sampled_from([8000, 16_000, 44_100]),
)
def test_cuts_change_nothing_and_the_lag_is_bounded(cuts, samples, rate):
    rng = np.random.default_rng(samples)
    wave = (tone(samples / rate + 0.1, 2, rate)[:, :samples] + rng.normal(0, 0.01, (2, samples))).astype(np.float32)
    got = pushed(VibratoRemover(rate, 2), wave, cuts)
    assert got.shape == wave.shape
    assert np.isfinite(got).all()
    np.testing.assert_array_equal(got, straightened(wave, rate=rate))


def test_silence_stays_silence():
    assert not straightened(np.zeros((1, 30_000), np.float32)).any()


def test_the_model_says_how_much_by_target_and_a_user_may_say_else():
    model = converter(Local(), remove_vibrato=(0.0, 100.0))
    assert model.request("piano").remove_vibrato == 100
    assert model.request("violin").remove_vibrato == 0
    assert model.request("piano", remove_vibrato=0).remove_vibrato == 0
    assert model.request("piano", "piano").remove_vibrato == 0  # a reconstruction shall be like its input
    assert model.request("piano", strength=50).remove_vibrato == 50


@pytest.mark.parametrize("percent", [-1, 101, math.nan])
def test_other_shares_are_refused(percent):
    with pytest.raises(UsageError, match=r"remove_vibrato \S+ is outside 0\.\.100 percent \(0 leaves"):
        converter(Local()).request("piano", remove_vibrato=percent)


def test_photos_know_no_vibrato_to_take_out():
    losses = {"generator": {"gan": 1}}
    with pytest.raises(UsageError, match="remove_vibrato is for sounds, not photos: set it to 0"):
        recipe_from_dict({"imaging": {"type": "photo"}, "losses": losses, "remove_vibrato": {"b": 5}})


def test_tiles_agree_with_the_whole(monkeypatch):
    wave = tone(9.0)
    whole = converter(Local()).convert(wave, RATE, to="piano", remove_vibrato=100)
    monkeypatch.setattr("audiotrans.convert.tiles.TILE_PIXELS", 64 * 64)
    assert error_db(converter(Local()).convert(wave, RATE, to="piano", remove_vibrato=100), whole) < -100


@pytest.mark.parametrize("rate", [RATE, 22_050])
def test_a_stream_is_straightened_as_the_whole_is_and_says_its_lag(rate):
    model, wave = converter(Local()), tone(3.1, 2, rate)
    got = streamed(model, wave, rate, model.request("piano", remove_vibrato=100, phase="source"))
    assert got.shape == wave.shape
    assert error_db(got, model.convert(wave, rate, to="piano", remove_vibrato=100, phase="source")) < -100
