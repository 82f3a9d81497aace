"""What conversion does to images around the model: articulation, shift averaging."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from audiotrans.convert.converter import load
from audiotrans.convert.effects import articulate, articulation_columns, shift_average, shift_columns
from audiotrans.errors import UsageError
from audiotrans.recipe import recipe_from_dict
from tests.standins import RATE, Identity, Local, Silencer, converter, error_db, tone

COLUMNS = 11

GRID = (4, 4)

NO_STRUCTURE = {"generator": {"gan": 1, "vae_reconstruction": 10}}


# Articulation: what a network smooths in time is exaggerated again; what lasts is left alone.


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


def test_articulation_the_model_says_how_much_by_target_and_a_user_may_say_else():
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


def test_articulation_tiles_agree_with_the_whole(monkeypatch):
    wave = tone(9.0)
    whole = converter(Local()).convert(wave, RATE, to="piano", articulation=3)
    monkeypatch.setattr("audiotrans.convert.tiles.TILE_PIXELS", 64 * 64)
    model = converter(Local())
    assert len(model.plan_for(model.options("piano", articulation=3)).tiles(wave.shape[1])) > 2
    assert error_db(model.convert(wave, RATE, to="piano", articulation=3), whole) < -100


# Shift averaging: what depends on the place of the network's grid averages out; what depends on the image stays.


def an_image(rows: int = 24, columns: int = 33) -> Tensor:
    return torch.rand((1, 2, rows, columns), generator=torch.Generator().manual_seed(0)) - 0.5


def striped(image: Tensor) -> Tensor:
    """Add 0.1 to every fourth column of the grid, as an upsampling layer may."""
    return image + 0.1 * (torch.arange(image.shape[-1]) % 4 == 0)


def test_one_pass_is_the_translation_itself():
    assert torch.equal(shift_average(an_image(), striped, 1, GRID), striped(an_image()))


@pytest.mark.parametrize("shifts", [2, 3, 4, 8])
def test_what_a_translation_does_to_each_pixel_stays_in_its_place(shifts):
    torch.testing.assert_close(shift_average(an_image(), torch.tanh, shifts, GRID), torch.tanh(an_image()))


def test_stripes_of_the_grid_become_a_level():
    found = shift_average(an_image(), striped, 4, GRID) - an_image()
    torch.testing.assert_close(found[..., 9:, :], torch.full_like(found[..., 9:, :], 0.025))


def test_a_row_that_the_network_prefers_is_shared_by_its_neighbours():
    def preferring(image: Tensor) -> Tensor:
        lifted = image.clone()
        lifted[..., 20, :] += 0.4
        return lifted

    gain = (shift_average(an_image(), preferring, 4, GRID) - an_image())[0, 0, :, 5]
    torch.testing.assert_close(gain[[11, 14, 17, 20]], torch.full((4,), 0.1))
    assert float(gain.sum()) == pytest.approx(0.4, rel=1e-5)


def test_rumble_is_left_where_it_is():
    """A network that lifts all but its lowest three rows must not be shown these three higher up."""

    def lifting(image: Tensor) -> Tensor:
        lifted = image.clone()
        lifted[..., 3:, :] += 0.4
        return lifted

    gain = (shift_average(an_image(), lifting, 4, GRID) - an_image())[0, 0, :, 5]
    torch.testing.assert_close(gain[:4], torch.tensor([0, 0, 0, 0.4]))


@pytest.mark.parametrize("columns", [1, 4, 7, 8])
def test_images_of_the_grid_stay_images_of_the_grid(columns):
    seen = []

    def watching(image: Tensor) -> Tensor:
        seen.append(tuple(image.shape[-2:]))
        return image

    shift_average(an_image(24, columns), watching, 5, GRID)
    assert all(rows % 4 == 0 and (width - columns) % 4 == 0 for rows, width in seen)
    assert len(seen) == 5


def test_the_reach_grows_by_the_largest_move():
    assert [shift_columns(shifts, GRID) for shifts in (1, 2, 4, 8)] == [0, 1, 3, 3]


def test_shifts_the_model_says_how_many_and_a_user_may_say_else():
    model = converter(Local(), shifts=3)
    assert model.options("piano").shifts == 3
    assert model.options("piano", shifts=1).shifts == 1
    for wrong in (0, 9, -1):
        with pytest.raises(UsageError, match=r"outside 1\.\.8"):
            model.options("piano", shifts=wrong)


def test_phases_of_the_network_are_not_averaged():
    model = converter(Local(), representation="magnitude_phase")
    with pytest.raises(UsageError, match="logarithmic"):
        model.options("piano", shifts=2)
    with pytest.raises(UsageError, match=r"shifts needs a logarithmic representation: set it to 1"):
        recipe_from_dict({"imaging": {"representation": "magnitude_phase"}, "losses": NO_STRUCTURE, "shifts": 2})


def test_shifts_tiles_agree_with_the_whole(monkeypatch):
    wave = tone(9.0)
    whole = converter(Local()).convert(wave, RATE, to="piano", shifts=4)
    assert error_db(converter(Local()).convert(wave, RATE, to="piano"), whole) > -60  # it does something
    monkeypatch.setattr("audiotrans.convert.tiles.TILE_PIXELS", 64 * 64)
    model = converter(Local())
    assert len(model.plan_for(model.options("piano", shifts=4)).tiles(wave.shape[1])) > 2
    assert error_db(model.convert(wave, RATE, to="piano", shifts=4), whole) < -100


def test_the_identity_is_the_identity():
    wave = tone(1.0)
    model = converter(Identity())
    plain, spun = (model.convert(wave, RATE, to="piano", shifts=shifts) for shifts in (1, 4))
    assert error_db(spun, plain) < -100


@pytest.mark.slow
def test_one_pass_of_the_shipped_model_depends_little_on_the_row_of_a_partial():
    """Steady notes, one like the other but for their pitch: the second partials' gain should vary slowly with it.

    In image units, one translation and four shifts: .058 and .051; models that did not imitate four shifts had .10 and
    .16 in one.
    """
    model = load(device="cpu")
    at = np.arange(44_100) / 44_100
    rough = []
    for shifts in (1, 4):
        gains = []
        for midi in range(60, 72):
            hertz = 440 * 2 ** ((midi - 69) / 12)
            wave = sum(np.sin(2 * np.pi * k * hertz * at) / k for k in range(1, 12))
            image, _ = model.imaging.to_image(torch.from_numpy(0.1 * wave[None].astype(np.float32)))
            out = model.translate_image(image, 0, model.options("piano", shifts=shifts))
            row = int(np.argmin(np.abs(model.imaging.row_frequencies() - 2 * hertz)))
            gains.append(float((out - image)[..., row, 20:60].mean()))
        rough.append(float(np.abs(np.diff(gains, 2)).mean()))
    assert rough[0] < 0.07
    assert rough[0] < 2 * rough[1]
