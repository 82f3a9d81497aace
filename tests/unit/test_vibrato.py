"""Lasting notes get the vibrato that is asked for, or lose theirs; attacks stay, and no cut of a wave matters."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from audiotrans.errors import UsageError
from audiotrans.evaluation.metrics.spectral import log_spectral_distance
from audiotrans.recipe import recipe_from_dict
from audiotrans.spectrogram.vibrato import RATE_HZ, Vibrato, VibratoRemover
from tests.standins import RATE, Local, at_one_level, converter, error_db, pushed, streamed, tone

HERTZ = 44_100


def note(seconds, hertz=440.0, rate=HERTZ, attack=0.005):
    """A tone of ten partials that sets in at once and lasts."""
    at = np.arange(round(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * k * hertz * at) / k for k in range(1, 11))
    return (0.2 * wave * np.minimum(at / attack, 1)).astype(np.float32)


def vibrated(wave, cents=20.0, rate=HERTZ, seed=0):
    vibrato = Vibrato(rate, len(wave), cents, seed)
    return np.concatenate(list(vibrato.through([wave])), axis=1)


def cents_of(wave, hertz=440.0, rate=HERTZ):
    """Return the pitch of a lasting tone at every sample, cents from ``hertz``, from the phase of its first partial."""
    band = scipy.signal.butter(4, [hertz * 0.8, hertz * 1.25], "band", fs=rate, output="sos")
    phase = np.unwrap(np.angle(scipy.signal.hilbert(scipy.signal.sosfiltfilt(band, wave))))
    return 1200 * np.log2(np.gradient(phase)[round(0.6 * rate) : -rate // 4] * rate / (2 * np.pi) / hertz)


@pytest.mark.parametrize("cents", [8.0, 20.0, 50.0])
def test_a_lasting_note_gets_as_much_as_asked_about_its_pitch(cents):
    pitch = cents_of(vibrated(note(4.0)[None], cents)[0])
    assert np.percentile(pitch, 99) == pytest.approx(cents, rel=0.12)
    assert np.percentile(pitch, 1) == pytest.approx(-cents, rel=0.12)
    assert abs(np.median(pitch)) < 0.15 * cents
    crossings = np.count_nonzero(np.diff(np.signbit(pitch))) / (len(pitch) / HERTZ)
    assert crossings / 2 == pytest.approx(RATE_HZ, rel=0.1)


def test_a_note_begins_without_and_the_next_attack_ends_it():
    wave = np.concatenate([np.zeros(HERTZ // 5, np.float32), note(1.5), note(1.5, 660.0)])[None]
    moved = np.abs(vibrated(wave, 30.0) - wave)[0]
    second = round(1.7 * HERTZ)

    def level(start, stop):
        return moved[start:stop].max()

    assert level(0, round(0.25 * HERTZ)) < 1e-6
    assert level(second - HERTZ // 4, second) > 0.02
    assert level(second, second + round(0.1 * HERTZ)) < 0.02
    assert level(second + HERTZ // 2, second + HERTZ) > 0.02


def test_every_channel_moves_alike_and_stays_where_it_was():
    left = note(2.0)
    both = vibrated(np.stack([left, -0.5 * left]))
    np.testing.assert_allclose(both[1], -0.5 * both[0], atol=1e-6)
    power = np.square(np.stack([left, both[0]])[:, HERTZ // 2 :]).mean(axis=1)
    assert power[1] == pytest.approx(power[0], rel=0.01)


def test_high_partials_pass():
    wave = np.sin(2 * np.pi * 12_000 * np.arange(2 * HERTZ) / HERTZ).astype(np.float32)[None] * 0.3
    got = vibrated(wave, 15.0)[:, HERTZ:]
    assert 10 * math.log10(np.square(got).mean() / np.square(wave[:, HERTZ:]).mean()) == pytest.approx(0, abs=0.3)


@settings(max_examples=25)
@given(
    cuts=st.lists(st.integers(0, 9000), max_size=6),
    samples=st.integers(1, 9000),
    rate=st.sampled_from([8000, 16_000, 44_100]),
)
def test_cuts_change_nothing_and_the_lag_is_bounded(cuts, samples, rate):
    wave = np.random.default_rng(samples).normal(0, 0.1, (2, samples)).astype(np.float32)
    got = pushed(Vibrato(rate, 2, 30.0), wave, cuts)
    assert got.shape == wave.shape
    np.testing.assert_array_equal(got, vibrated(wave, 30.0, rate))


def test_silence_stays_silence():
    assert not vibrated(np.zeros((1, 30_000), np.float32)).any()


def test_the_same_seed_gives_the_same_samples():
    wave = note(1.0)[None]
    np.testing.assert_array_equal(vibrated(wave, seed=3), vibrated(wave, seed=3))
    assert (vibrated(wave, seed=3) != vibrated(wave, seed=4)).any()


def test_the_model_says_how_much_by_target_and_a_user_may_say_else():
    model = converter(Local(), vibrato=(12.0, 0.0))
    assert model.options("violin").vibrato == 12
    assert model.options("piano").vibrato == 0
    assert model.options("violin", vibrato=0).vibrato == 0
    assert model.options("piano", vibrato=25).vibrato == 25
    assert model.options("violin", "violin").vibrato == 0  # a reconstruction shall be like its input
    assert model.options("violin", strength=50).faded("vibrato") == 6


@pytest.mark.parametrize("cents", [-1, 101, math.nan])
def test_other_extents_are_refused(cents):
    with pytest.raises(UsageError, match=r"vibrato \S+ is outside 0\.\.100 cents \(0 adds none\)"):
        converter(Local()).options("piano", vibrato=cents)


def test_photos_know_no_vibrato():
    losses = {"generator": {"gan": 1}}
    photos = {"imaging": {"type": "photo"}, "losses": losses, "vibrato": {"b": 5}}
    with pytest.raises(UsageError, match="vibrato is for sounds, not photos: set it to 0"):
        recipe_from_dict(photos)


def test_a_conversion_has_vibrato_and_without_strength_is_the_input():
    model, wave = converter(Local()), tone(3.0, 2)
    plain, moved = (model.convert(wave, RATE, to="violin", vibrato=cents) for cents in (0, 15))
    assert moved.shape == plain.shape
    assert -25 < error_db(moved, plain) < 0
    np.testing.assert_array_equal(model.convert(wave, RATE, to="violin", vibrato=15, strength=0), wave)


def test_tiles_agree_with_the_whole(monkeypatch):
    wave = tone(9.0)
    whole = converter(Local()).convert(wave, RATE, to="violin", vibrato=20)
    monkeypatch.setattr("audiotrans.convert.tiles.TILE_PIXELS", 64 * 64)
    assert error_db(converter(Local()).convert(wave, RATE, to="violin", vibrato=20), whole) < -100


@pytest.mark.parametrize("rate", [RATE, 22_050])
def test_a_stream_has_vibrato_as_the_whole_does_and_says_its_lag(rate):
    model, wave = converter(Local()), tone(3.1, 2, rate)
    got = streamed(model, wave, rate, model.options("violin", vibrato=20, phase="source"))
    assert got.shape == wave.shape
    level_db = model.measure([wave], rate, len(wave)).level_db
    assert error_db(got, at_one_level(model, wave, rate, level_db, to="violin", vibrato=20, phase="source")) < -100


def without_vibrato(wave, share=1.0, rate=HERTZ):
    return np.concatenate(list(VibratoRemover(rate, len(wave), share).through([wave])), axis=1)


def with_vibrato(seconds, hertz, cents, rate_hz=5.6, partials=8):
    """Make a bowed tone with vibrato."""
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
    wave = with_vibrato(3.0, hertz, cents, rate_hz)
    got = without_vibrato(wave[None])[0]
    assert extent(wave, hertz) == pytest.approx(cents, rel=0.1)
    assert extent(got, hertz) < 0.15 * cents + 0.3
    assert abs(np.mean(cents_of(got, hertz))) < 1


def test_a_share_of_it_goes():
    wave = with_vibrato(3.0, 440.0, 20)
    assert extent(without_vibrato(wave[None], 0.5)[0], 440.0) == pytest.approx(10, rel=0.15)


def test_the_notes_of_a_chord_lose_it_each_for_itself():
    chord = with_vibrato(3.0, 277.2, 0, partials=2) + with_vibrato(3.0, 880.0, 25, 6.1)
    got = without_vibrato(chord[None])[0]
    assert extent(chord, 880.0) > 20
    assert extent(got, 880.0) < 5
    assert extent(got, 277.2) < extent(chord, 277.2) + 0.5


def test_the_vibrato_that_we_add_is_taken_out_again():
    wave = note(4.0)
    got = without_vibrato(vibrated(wave[None], 25.0))[0]
    assert extent(got, 440.0) < 2


def test_a_sound_without_vibrato_and_noise_stay_as_they_are():
    wave = np.stack([note(2.0), note(2.0, 660.0)])
    assert log_spectral_distance(wave, without_vibrato(wave), HERTZ) < 1.5
    assert extent(without_vibrato(wave)[0], 440.0) < 0.2
    noise = np.random.default_rng(0).normal(0, 0.1, (1, HERTZ)).astype(np.float32)
    assert log_spectral_distance(noise, without_vibrato(noise), HERTZ) < 3
    assert np.square(without_vibrato(noise)).mean() == pytest.approx(np.square(noise).mean(), rel=0.05)
    np.testing.assert_allclose(without_vibrato(noise, 0.0), noise, atol=1e-6)


def test_a_slur_to_another_note_stays_where_it_was():
    wave = np.concatenate([with_vibrato(1.0, 440.0, 0), with_vibrato(1.0, 466.16, 0)[1000:]])
    before, after = (cents_of(x, 450.0) for x in (wave, without_vibrato(wave[None])[0]))
    rises = [np.flatnonzero(pitch > 0)[0] / HERTZ for pitch in (before, after)]
    assert rises[1] == pytest.approx(rises[0], abs=0.03)
    settled = slice(0, round((rises[0] - 0.1) * HERTZ))
    assert np.abs(after[settled] - before[settled]).max() < 6


def test_an_attack_keeps_its_place_and_level():
    wave = np.concatenate([np.zeros(HERTZ // 2, np.float32), note(1.5)])
    got = without_vibrato(wave[None])[0]
    assert np.abs(got[: HERTZ // 2 - 2048]).max() < 1e-6
    early = slice(HERTZ // 2 - 600, HERTZ // 2)
    assert np.square(got[early]).mean() < 1e-3 * np.square(wave[HERTZ // 2 : HERTZ // 2 + 2000]).mean()
    power = [np.square(x[HERTZ // 2 :]).mean() for x in (wave, got)]
    assert power[1] == pytest.approx(power[0], rel=0.05)


def test_an_attack_after_a_rest_is_as_sharp_as_it_was():
    wave = np.concatenate([with_vibrato(1.2, 440.0, 25), np.zeros(HERTZ // 2, np.float32)])
    wave[-HERTZ // 10] = 0.5  # a click
    got = without_vibrato(wave[None])[0]
    np.testing.assert_allclose(got[-HERTZ // 5 :], wave[-HERTZ // 5 :], atol=1e-5)


def test_every_channel_moves_alike():
    left = with_vibrato(2.0, 440.0, 20)
    both = without_vibrato(np.stack([left, -0.5 * left]))
    np.testing.assert_allclose(both[1], -0.5 * both[0], atol=1e-5)


@settings(max_examples=25)
@given(
    cuts=st.lists(st.integers(0, 30_000), max_size=6),
    samples=st.integers(1, 30_000),
    rate=st.sampled_from([8000, 16_000, 44_100]),
)
def test_cuts_of_a_wave_change_no_removal_and_the_lag_is_bounded(cuts, samples, rate):
    rng = np.random.default_rng(samples)
    wave = (tone(samples / rate + 0.1, 2, rate)[:, :samples] + rng.normal(0, 0.01, (2, samples))).astype(np.float32)
    got = pushed(VibratoRemover(rate, 2), wave, cuts)
    assert got.shape == wave.shape
    assert np.isfinite(got).all()
    np.testing.assert_array_equal(got, without_vibrato(wave, rate=rate))


def test_silence_stays_silence_where_vibrato_is_removed():
    assert not without_vibrato(np.zeros((1, 30_000), np.float32)).any()


def test_the_model_says_how_much_is_removed_by_target_and_a_user_may_say_else():
    model = converter(Local(), remove_vibrato=(0.0, 100.0))
    assert model.options("piano").remove_vibrato == 100
    assert model.options("violin").remove_vibrato == 0
    assert model.options("piano", remove_vibrato=0).remove_vibrato == 0
    assert model.options("piano", "piano").remove_vibrato == 0  # a reconstruction shall be like its input
    assert model.options("piano", strength=50).faded("remove_vibrato") == 50


@pytest.mark.parametrize("percent", [-1, 101, math.nan])
def test_other_shares_are_refused(percent):
    with pytest.raises(UsageError, match=r"remove_vibrato \S+ is outside 0\.\.100 percent \(0 leaves"):
        converter(Local()).options("piano", remove_vibrato=percent)


def test_photos_know_no_vibrato_to_take_out():
    losses = {"generator": {"gan": 1}}
    with pytest.raises(UsageError, match="remove_vibrato is for sounds, not photos: set it to 0"):
        recipe_from_dict({"imaging": {"type": "photo"}, "losses": losses, "remove_vibrato": {"b": 5}})


def test_tiles_with_vibrato_removed_agree_with_the_whole(monkeypatch):
    wave = tone(9.0)
    whole = converter(Local()).convert(wave, RATE, to="piano", remove_vibrato=100)
    monkeypatch.setattr("audiotrans.convert.tiles.TILE_PIXELS", 64 * 64)
    assert error_db(converter(Local()).convert(wave, RATE, to="piano", remove_vibrato=100), whole) < -100


@pytest.mark.parametrize("rate", [RATE, 22_050])
def test_a_stream_loses_vibrato_as_the_whole_does_and_says_its_lag(rate):
    model, wave = converter(Local()), tone(3.1, 2, rate)
    got = streamed(model, wave, rate, model.options("piano", remove_vibrato=100, phase="source"))
    assert got.shape == wave.shape
    level_db = model.measure([wave], rate, len(wave)).level_db
    assert error_db(got, at_one_level(model, wave, rate, level_db, remove_vibrato=100, phase="source")) < -100
