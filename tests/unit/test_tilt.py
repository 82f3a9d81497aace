"""What the network hears is darker or brighter than the sound, by so many decibels an octave."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from audiotrans.convert.effects import tilt
from audiotrans.convert.photos import PhotoConverter
from audiotrans.errors import UsageError
from audiotrans.options import ConvertOptions
from audiotrans.recipe import recipe_from_dict
from audiotrans.spectrogram.imaging import AudioImaging
from tests.standins import RATE, Identity, Local, converter, error_db, settings, streamed, tone


@pytest.mark.parametrize("representation", ["log_mel_gain", "log_magnitude"])
@pytest.mark.parametrize("slope", [-3.0, 2.0])
def test_an_image_is_tilted_about_2_khz_by_so_many_db_an_octave(representation, slope):
    imaging = AudioImaging(
        settings(representation=representation, n_fft=2048, rows=256 if "mel" in representation else None)
    )
    hertz = imaging.representation.row_bins() * imaging.settings.sample_rate / 2048
    found = tilt(torch.zeros(1, 2, len(hertz), 3), slope, imaging)[0, 1, :, 2] * 50  # decibels

    def at(wanted):
        return float(np.interp(wanted, hertz, found.numpy()))

    assert at(2000) == pytest.approx(0, abs=0.05)
    assert at(4000) == pytest.approx(slope, abs=0.05)
    assert at(500) == pytest.approx(-2 * slope, abs=0.2)
    assert at(150) == pytest.approx(-slope * math.log2(2000 / 150), abs=0.3)
    assert float(found[0]) == pytest.approx(min(-4 * slope, 0))  # 0 Hz, infinitely many octaves away, is never lifted
    assert at(38) == pytest.approx(min(-4 * slope, 0), abs=0.5)
    assert float(found.abs().max()) <= abs(4 * slope) + 1e-4


def test_an_image_stays_in_its_range_and_none_is_left_alone():
    imaging = AudioImaging(settings())
    image = torch.full((1, 1, imaging.representation.rows, 4), 0.99)
    assert tilt(image, 0.0, imaging) is image
    assert tilt(image, 6.0, imaging).max() == 1


def test_the_network_hears_it_and_the_sound_is_not_changed_by_more_than_the_network_asks():
    """An identity hears a darker sound and paints it: what comes out is as much darker."""
    wave = np.random.default_rng(0).standard_normal((1, RATE)).astype(np.float32) * 0.1
    found = converter(Identity(), n_fft=2048, rows=256).convert(wave, RATE, to="piano", tilt=-2)
    level = [np.abs(np.fft.rfft(x[0])) ** 2 for x in (wave, found)]
    hertz = np.fft.rfftfreq(wave.shape[1], 1 / RATE)

    def change(low, high):
        band = (hertz >= low) & (hertz < high)
        return 10 * math.log10(level[1][band].sum() / level[0][band].sum())

    assert change(3800, 4200) == pytest.approx(-2, abs=0.5)
    assert change(960, 1040) == pytest.approx(2, abs=0.5)
    assert change(1900, 2100) == pytest.approx(0, abs=0.5)


def test_the_model_says_how_much_by_target_and_a_user_may_say_else():
    model = converter(Local(), tilt=(2.0, -1.5))
    assert [model.options(to).tilt for to in ("violin", "piano")] == [2, -1.5]
    assert model.options("piano", tilt=0).tilt == 0
    assert model.options("piano", "piano").tilt == 0  # a reconstruction shall be like its input
    assert model.options("piano", "piano", tilt=1).tilt == 1


@pytest.mark.parametrize("slope", [-6.1, 7, math.nan])
def test_other_slopes_are_refused(slope):
    with pytest.raises(UsageError, match=r"tilt \S+ is outside -6\.\.6 dB per octave \(0 leaves it as it is\)"):
        converter(Local()).options("piano", tilt=slope)


def test_photos_and_painted_phases_know_none():
    losses = {"generator": {"gan": 1}}
    for imaging, what in (({"type": "photo"}, "is for sounds"), ({"representation": "magnitude_phase"}, "needs a log")):
        with pytest.raises(UsageError, match=f"tilt {what}.*: set it to 0"):
            recipe_from_dict({"imaging": imaging, "losses": losses, "tilt": {"b": 1}})
    with pytest.raises(UsageError, match="tilt needs a model of logarithmic images"):
        converter(Local(), representation="magnitude_phase", rows=None).options("piano", tilt=1)
    with pytest.raises(UsageError, match="tilt 1 is for sound: leave --tilt out"):
        PhotoConverter.complete(object(), ConvertOptions("blond", tilt=1))  # type: ignore[arg-type]


def test_tiles_and_streams_agree_with_the_whole(monkeypatch):
    model, wave = converter(Local(), tilt=(0.0, -3.0)), tone(4.0, 2)
    whole = model.convert(wave, RATE, to="piano", phase="source")
    assert error_db(whole, model.convert(wave, RATE, to="piano", phase="source", tilt=0)) > -30
    assert error_db(streamed(model, wave, RATE, model.options("piano", phase="source")), whole) < -100
    monkeypatch.setattr("audiotrans.convert.tiles.TILE_PIXELS", 64 * 64)
    assert error_db(model.convert(wave, RATE, to="piano", phase="source"), whole) < -100
