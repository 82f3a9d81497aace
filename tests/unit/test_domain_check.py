"""Where the limits of a domain lie, and what is said of an input beyond them."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from audiotrans.convert.tiles import TilePlan
from audiotrans.convert.warnings import (
    MOST_TILES,
    NAMES,
    SHRINK,
    ClippingMeter,
    DomainCheck,
    DomainStatistics,
    FeatureExtractor,
    TrainingStatistics,
    describe,
    findings,
    likeness,
)
from audiotrans.errors import AudiotransError
from audiotrans.spectrogram.imaging import AudioImaging
from audiotrans.training.data import ImageCache
from audiotrans.training.statistics import (
    distance_limit,
    fit_statistics,
    held_out,
    likeness_limit,
    pitch_range,
    statistics_for,
)
from tests.profiles import made_cache, melody, recipe_of
from tests.standins import RATE, settings


def domain(mean, scale, correlation=(0.0,), **rest):
    return DomainStatistics("x", tuple(mean), tuple(scale), tuple(correlation), **rest)


def test_distance_is_mahalanobis_per_root_of_the_feature_count():
    plain = domain((1.0, 2.0), (1.0, 2.0))
    np.testing.assert_allclose(plain.distances(np.array([[1.0, 2.0], [2.0, 2.0], [1.0, 6.0]])), [0, 0.5**0.5, 2**0.5])
    # With correlation r, the square along (1, 1) is 2 / (1 + r), and across it 2 / (1 - r).
    tied = domain((0.0, 0.0), (1.0, 1.0), (0.6,))
    wanted = [(2 / 1.6 / 2) ** 0.5, (2 / 0.4 / 2) ** 0.5]
    np.testing.assert_allclose(tied.distances(np.array([[1.0, 1.0], [1.0, -1.0]])), wanted)


def test_statistics_are_those_of_the_windows(rng):
    true = np.array([[1.0, 0.5], [0.5, 1.0]])
    features = rng.multivariate_normal([3.0, -1.0], true, size=20_000)
    found = describe("x", features)
    # The standard error of means and correlations over 20,000 windows is .007.
    np.testing.assert_allclose(found.mean, [3.0, -1.0], atol=0.03)
    assert found.correlation[0] == pytest.approx((1 - SHRINK) * 0.5, abs=0.03)
    # Shrinking takes a tenth of the correlation, which widens the mean square along and narrows it across.
    assert np.mean(found.distances(features) ** 2) == pytest.approx(1.0, abs=0.05)


def test_a_feature_that_never_varies_does_not_decide_alone():
    found = describe("x", np.column_stack([np.full(50, 5.0), np.arange(50.0)]))
    assert found.scale[0] == pytest.approx(0.05)
    assert np.isfinite(found.distances(np.array([[6.0, 25.0]]))).all()


def test_likeness_is_one_at_home_and_minus_one_next_door():
    own, other = domain((0.0, 0.0), (1.0, 1.0), (0.3,)), domain((4.0, 1.0), (2.0, 1.0), (-0.2,))
    places = np.array([[0.0, 0.0], [4.0, 1.0], [2.0, 0.5], [-4.0, -1.0]])
    np.testing.assert_allclose(likeness(own, other, places), [1, -1, 0, 3], atol=1e-12)
    np.testing.assert_allclose(likeness(other, own, places), [-1, 1, 0, -3], atol=1e-12)
    assert likeness(own, own, places).tolist() == [0, 0, 0, 0]


def test_limits_leave_the_rarest_windows_out():
    assert distance_limit(np.arange(1001.0), 1.25) == pytest.approx(1.25 * 995)
    assert likeness_limit(np.linspace(-0.5, 1, 1001)) == pytest.approx(-0.4925 - 0.25)
    assert likeness_limit(np.full(10, 0.9)) == -0.25  # two domains far apart: half-way is not yet the other one
    assert likeness_limit(np.linspace(-2, 2, 1001)) < -1.98  # two that cannot be told apart: hardly anything is


def test_pitch_range_leaves_out_a_hundredth_at_either_end():
    partials = np.zeros(10)
    partials[[0, 2, 5, 9]] = 1, 50, 148, 1
    frequencies = 100.0 * np.arange(10)
    assert pitch_range(partials, frequencies) == (200.0, 500.0)
    assert pitch_range(np.zeros(10), frequencies) is None


def test_limits_are_found_on_recordings_that_were_not_measured(rng):
    players = [rng.standard_normal((200, 3)) + shift for shift in ([0, 0, 0], [3, 0, 0], [0, 3, 0])]
    known = describe("x", np.concatenate(players))
    away = describe("y", rng.standard_normal((200, 3)) + 20)
    distances, scores = held_out(known, away, players)
    assert len(distances) == len(scores) == 600
    # Measured by the other two players, a third one is further away than by all three: 1.1 is expected there.
    assert np.median(distances) > 1.25 * np.median(known.distances(np.concatenate(players)))
    alone, _ = held_out(known, away, players[:1])  # nothing can be held out
    np.testing.assert_allclose(alone, known.distances(players[0]))


def test_statistics_come_back_from_a_file():
    size = len(NAMES)
    known = describe("x", np.random.default_rng(0).standard_normal((100, size)))
    whole = TrainingStatistics(
        {"a": replace(known, pitch_hz=(200.0, 900.0), distance=2.5), "b": replace(known, name="y")}
    )
    text = json.dumps(whole.to_dict(), allow_nan=False)
    assert TrainingStatistics.from_dict(json.loads(text), size) == whole
    assert len(text) < 6000
    assert whole.side("y") == "b"


def test_statistics_of_another_program_are_not_used_and_broken_ones_are_named():
    assert TrainingStatistics.from_dict({"version": 2}, 3) is None
    for broken in ({}, [], {"version": 1}, {"version": 1, "domains": {"a": {}, "b": {}}}):
        with pytest.raises(AudiotransError, match="training-data statistics are broken"):
            TrainingStatistics.from_dict(broken, 3)
    whole = TrainingStatistics({"a": domain((0.0, 0.0), (1.0, 1.0)), "b": domain((1.0, 1.0), (1.0, 1.0))}).to_dict()
    for key, value in (("mean", 3), ("scale", [1, 0]), ("mean", [math.nan, 0]), ("windows", "x"), ("pitch_hz", [1])):
        for damaged in ({**whole["domains"]["a"], key: value}, 0.5, []):
            with pytest.raises(AudiotransError, match="training-data statistics are broken") as caught:
                TrainingStatistics.from_dict({**whole, "domains": {**whole["domains"], "a": damaged}}, 2)
            assert "\n" not in str(caught.value)
    two = TrainingStatistics({"a": domain((0.0, 0.0), (1.0, 1.0)), "b": domain((1.0, 1.0), (1.0, 1.0))})
    with pytest.raises(AudiotransError, match="of another size"):
        TrainingStatistics.from_dict(two.to_dict(), 3)


def sine(gain, pitch=220.0, seconds=1.0, rate=44_100):
    return (gain * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)).astype(np.float32)[None]


@pytest.mark.parametrize("block", [441, 44_100])
def test_samples_cut_off_flat_are_counted(block):
    meter, wave = ClippingMeter(), np.clip(sine(2.0), -1, 1)
    for start in range(0, wave.shape[1], block):
        meter.update(wave[:, start : start + block])
    # sin > 1/2 for two thirds of the time; runs that a border between blocks cuts lose two samples at most.
    assert meter.clipped_share == pytest.approx(2 / 3, abs=0.02)
    assert meter.peak_db == pytest.approx(0)


@pytest.mark.parametrize(("gain", "pitch"), [(1.0, 60.0), (1.0, 5_000.0), (0.01, 60.0), (3.0, 441.0)])
def test_clean_crests_are_not_flat_even_in_16_bits(gain, pitch):
    meter = ClippingMeter()
    meter.update(np.round(sine(gain, pitch) * 32767).astype(np.float32) / 32767)
    assert meter.clipped_share < 2e-4


def test_a_later_peak_forgets_what_stood_flat_below_it():
    meter = ClippingMeter()
    meter.update(np.full((1, 100), 0.5, np.float32))
    assert meter.clipped == 100
    meter.update(np.array([[0.1, 0.9, 0.1]], np.float32))
    assert (meter.clipped, meter.samples) == (0, 103)
    assert ClippingMeter().peak_db == -math.inf


@pytest.mark.parametrize(
    "changes",
    [{}, {"representation": "log_magnitude"}, {"representation": "magnitude_phase", "time_stride": 2}, {"channels": 1}],
)
def test_every_representation_can_be_measured(changes):
    imaging = AudioImaging(settings(**changes))
    wave = np.concatenate([melody("bowed", 1), 0.5 * melody("bowed", 2)])
    found = FeatureExtractor(imaging).measure(imaging.to_image(torch.from_numpy(wave))[0])
    assert found.features.shape == (4, len(NAMES))
    assert np.isfinite(found.features).all()
    assert found.sounding == found.columns


def test_a_tone_is_found_where_it_is_and_silence_is_not_counted():
    imaging = AudioImaging(settings())
    extractor = FeatureExtractor(imaging)
    wave = np.concatenate([sine(0.3, 500.0, 4.0, RATE), np.zeros((1, 4 * RATE), np.float32)], axis=1)
    found = extractor.measure(imaging.to_image(torch.from_numpy(wave))[0])
    assert extractor.frequencies[int(np.argmax(found.partials))] == pytest.approx(500, abs=16)  # half a row
    assert found.sounding / found.columns == pytest.approx(0.5, abs=0.02)
    assert len(found.features) == 1  # of four seconds that sound
    assert len((found + extractor.none() + found).features) == 2
    assert len(extractor.measure(imaging.to_image(torch.from_numpy(sine(0.3, 500.0, 0.5, RATE)))[0]).features) == 0


def test_decay_noise_and_sustain_are_told_apart():
    imaging = AudioImaging(settings())
    noise = np.random.default_rng(0).standard_normal((1, 6 * RATE)).astype(np.float32)

    def found(wave):
        image, _ = imaging.to_image(torch.from_numpy(wave))
        return dict(zip(NAMES, FeatureExtractor(imaging).measure(image).features[0], strict=True))

    bowed, plucked, hiss = found(melody("bowed", 7)), found(melody("plucked", 7)), found(0.1 * noise)
    assert plucked["slope_50"] < -20 < bowed["slope_50"]  # dB a second; plucked notes lose 43 to 70
    assert plucked["rise_99"] > 1.5 * bowed["rise_99"]
    assert hiss["partials_low"] < bowed["partials_low"] / 2
    assert hiss["steady_long"] < 0.2 < bowed["steady_long"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    recipe = recipe_of()
    data = ImageCache(made_cache(tmp_path_factory.mktemp("profile") / "cache", recipe))
    imaging = AudioImaging(recipe.imaging)
    return fit_statistics(data, imaging), imaging


def said(trained, source, wave):
    profile, imaging = trained
    check = DomainCheck(profile, imaging, profile.side(source))
    (tile,) = check.expect(TilePlan(wave.shape[1], 0, 0).tiles(wave.shape[1]))
    check.meter.update(wave)
    image, _ = imaging.to_image(torch.from_numpy(wave))
    check.add(image, tile.start)
    check.add(image, tile.start)  # another draw of the same tile is not found again
    return check.warnings(imaging.level_db(torch.from_numpy(wave)))


@pytest.mark.parametrize("kind", ["bowed", "plucked"])
def test_sounds_of_the_domain_pass_without_a_word(trained, kind):
    for seed in range(100, 110):
        assert said(trained, kind, melody(kind, seed, 6.0)) == []
    assert said(trained, kind, melody(kind, 50, 0.4)) == []  # too short to tell


def test_the_other_domain_is_named_with_the_way_out(trained):
    (line,) = said(trained, "bowed", melody("plucked", 100))
    assert line.startswith("sounds like plucked, not like the bowed that the model learned (4 of 4 stretches of 3 s")
    assert "--from plucked --to bowed" in line
    (line,) = said(trained, "plucked", melody("bowed", 100))
    assert "--from bowed --to plucked" in line


def test_noise_is_unlike_both(trained):
    noise = 0.1 * np.random.default_rng(1).standard_normal((1, 6 * RATE)).astype(np.float32)
    for kind in ("bowed", "plucked"):
        (line,) = said(trained, kind, noise)
        assert line.startswith(f"unlike the {kind} that the model learned, most in its ")
        assert "use a model of such sounds" in line


def test_pitches_beyond_the_range_are_named(trained):
    high = said(trained, "plucked", melody("plucked", 3, octave=2))
    assert any("lies above" in line and "transpose it" in line for line in high)
    low = said(trained, "bowed", melody("bowed", 3, octave=-1))
    assert any("lies below A3 (21" in line for line in low)  # the lowest note, 220 Hz, falls into the row of 219 Hz
    hum = melody("bowed", 3) + sine(0.2, 94.0, 12.0, RATE)
    assert any(line.startswith("a steady tone near 94 Hz lies under 100%") for line in said(trained, "bowed", hum))


def test_levels_that_cannot_be_right_are_named(trained):
    wave = melody("bowed", 100)
    assert any(line.startswith("clipped: ") for line in said(trained, "bowed", np.clip(8 * wave, -1, 1)))
    (line,) = said(trained, "bowed", wave / 1000)
    assert line.startswith("nearly silent: its level is -8")
    (line,) = said(trained, "bowed", wave * 32768)
    assert line.startswith("too loud: its level is ")
    assert "scale its samples to [-1, 1]" in line
    (line,) = said(trained, "bowed", np.pad(wave[:, : 3 * RATE], ((0, 0), (0, 20 * RATE))))
    assert line.startswith("mostly silence: it sounds for 1")


def test_clipping_alone_needs_no_images(trained):
    profile, imaging = trained
    meter = ClippingMeter()
    meter.update(np.clip(sine(1.2), -1, 1))
    extractor = FeatureExtractor(imaging)
    lines = findings(profile, "a", extractor.none(), extractor.frequencies, -20.0, meter)
    assert [line.partition(":")[0] for line in lines] == ["clipped"]
    assert "cut off flat at +0.0 dB" in lines[0]


def test_long_inputs_are_measured_in_tiles_spread_evenly(trained):
    profile, imaging = trained
    tiles = TilePlan(RATE, 0, 0).tiles(1000 * RATE)
    chosen = DomainCheck(profile, imaging, "a").expect(tiles)
    assert len(chosen) == MOST_TILES
    assert (chosen[0], chosen[-1]) == (tiles[0], tiles[-1])
    gaps = np.diff([tile.begin for tile in chosen]) / RATE
    assert set(gaps) <= {20.0, 21.0}  # 999 seconds in 49 steps


def test_a_cache_that_does_not_suit_is_refused_by_name_and_passed_over_by_default(tmp_path, caplog):
    recipe = recipe_of()
    assert statistics_for(recipe, None) is None  # the recipe's own cache is not here
    with pytest.raises(AudiotransError, match="holds no prepared data"):
        statistics_for(recipe, tmp_path)
    root = made_cache(tmp_path / "cache", recipe, recordings=1)
    with caplog.at_level("WARNING"):
        assert statistics_for(recipe, root) is None
    assert "too little sound for statistics: 7 windows of 3 s sound in 'bowed', statistics need 40" in caplog.text
    with pytest.raises(AudiotransError, match=r"imaging.rows 64, the model 32; name the cache"):
        statistics_for(recipe_of(rows=32), root)
    manifest = json.loads((root / "manifest.json").read_text())
    (root / "manifest.json").write_text(json.dumps(manifest | {"domains": {"a": "x", "b": "plucked"}}))
    with pytest.raises(AudiotransError, match="holds x and plucked, the model translates bowed and plucked"):
        statistics_for(recipe, root)
    assert statistics_for(recipe.model_copy(update={"cache": str(root)}), None) is None
