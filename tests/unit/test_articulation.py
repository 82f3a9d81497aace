"""What a network smooths in time is exaggerated again; what lasts is left alone."""

from __future__ import annotations

import math

import pytest
import torch

from audiotrans.convert.effects import articulate, articulation_columns
from audiotrans.errors import UsageError
from tests.standins import RATE, Local, Silencer, converter, error_db, tone

COLUMNS = 11


def gains(values: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a source of -0.5 everywhere and a translation that adds ``values`` to each of two rows."""
    source = torch.full((1, 1, 2, len(values)), -0.5)
    return source, source + torch.tensor(values)


def test_one_returns_the_very_translation():
    source, translated = gains([0.1, 0.2, 0.1])
    assert articulate(source, translated, 1, COLUMNS) is translated


def test_a_gain_that_lasts_stays_as_it_is():
    source, translated = gains([0.2] * 40)
    torch.testing.assert_close(articulate(source, translated, 3, COLUMNS), translated)


def test_a_source_that_moves_is_not_articulated_itself():
    """Only the gain counts: the source's own attacks are the source's."""
    source = -0.9 + 0.8 * torch.rand((1, 1, 4, 40), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(articulate(source, source + 0.05, 3, COLUMNS), source + 0.05)


def test_one_columns_gain_by_hand():
    values = [0.0] * 40
    values[20] = 0.11
    source, translated = gains(values)
    found = articulate(source, translated, 2, COLUMNS)[0, 0, 0] - source[0, 0, 0]
    assert found[20] == pytest.approx(0.11 + 0.11 * 10 / 11)  # itself less the mean over 11 columns
    torch.testing.assert_close(found[15:20], torch.full((5,), -0.01))
    torch.testing.assert_close(found[:15], torch.zeros(15))
    assert float(found.sum()) == pytest.approx(0.11, rel=1e-5)  # the level over the notes around stays


def test_the_ends_have_the_mean_of_what_is_there():
    values = [0.12] + [0.0] * 39
    source, translated = gains(values)
    found = articulate(source, translated, 2, COLUMNS)[0, 0, 0] - source[0, 0, 0]
    assert found[0] == pytest.approx(0.24 - 0.12 / 6)  # the first of six columns within reach


def test_what_a_single_row_does_is_shared_by_its_neighbours():
    source = torch.full((1, 1, 20, 40), -0.5)
    translated = source.clone()
    translated[0, 0, 10, 20] += 0.11
    more = articulate(source, translated, 2, COLUMNS) - translated
    torch.testing.assert_close(more[0, 0, 8:13, 20], torch.full((5,), 0.11 * 10 / 11 / 5))
    assert not more[0, 0, :8].any()
    assert not more[0, 0, 13:].any()


def test_images_stay_in_range():
    values = [0.0] * 40
    values[8], values[28] = -0.45, 1.4
    source, translated = gains(values)
    found = articulate(source, translated, 4, COLUMNS)
    assert float(found.max()) == 1
    assert float(found.min()) == -1


@pytest.mark.parametrize(("rate", "hop", "columns"), [(44_100, 512, 21), (44_100, 256, 43), (16_000, 128, 31)])
def test_the_window_is_a_quarter_of_a_second_and_odd(rate, hop, columns):
    found = articulation_columns(converter(Local(), sample_rate=rate, n_fft=2048, hop_length=hop).imaging)
    assert found == columns
    assert abs(found * hop / rate - 0.25) <= hop / rate


def test_the_model_says_how_much_by_target_and_a_user_may_say_else():
    model = converter(Local(), articulation=(1.2, 1.5))
    assert model.options("violin").articulation == 1.2
    assert model.options("piano").articulation == 1.5
    assert model.options("piano", articulation=1).articulation == 1
    assert model.options("piano", "piano").articulation == 1  # a reconstruction shall be like its input


@pytest.mark.parametrize("factor", [-0.1, 4.5, math.nan])
def test_other_factors_are_refused(factor):
    with pytest.raises(UsageError, match=r"outside 0\.\.4"):
        converter(Local()).options("piano", articulation=factor)


def test_images_with_phases_are_refused():
    model = converter(Local(), representation="magnitude_phase")
    with pytest.raises(UsageError, match="logarithmic"):
        model.options("piano", articulation=1.5)
    assert model.options("piano", articulation=1).articulation == 1


def test_a_fixed_gain_is_a_fixed_gain():
    wave = tone(1.0)
    model = converter(Silencer(0.2))
    plain, clear = (model.convert(wave, RATE, to="piano", articulation=factor) for factor in (1, 2))
    assert error_db(clear, plain) < -60


def test_tiles_agree_with_the_whole(monkeypatch):
    wave = tone(9.0)
    whole = converter(Local()).convert(wave, RATE, to="piano", articulation=3)
    monkeypatch.setattr("audiotrans.convert.tiles.TILE_PIXELS", 64 * 64)
    model = converter(Local())
    assert len(model.plan_for(model.options("piano", articulation=3)).tiles(wave.shape[1])) > 2
    assert error_db(model.convert(wave, RATE, to="piano", articulation=3), whole) < -100
