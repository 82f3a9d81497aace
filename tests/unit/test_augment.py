"""Crops are transposed as a tape at another speed does it, and the same step gives the same crops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audiotrans.errors import UsageError
from audiotrans.recipe import recipe_from_dict
from audiotrans.spectrogram.imaging import AudioImaging, AudioSettings
from audiotrans.training.data import augment, equalise, transpose
from tests.standins import RATE, settings


def chord(hertz: float, imaging: AudioSettings) -> torch.Tensor:
    """Return the image of a steady sound of five partials, ``(c, rows, frames)``."""
    at = np.arange(RATE) / RATE
    wave = sum(np.sin(2 * np.pi * k * hertz * at) / k for k in range(1, 6))
    image, _ = AudioImaging(imaging).to_image(torch.from_numpy(0.1 * wave[None].astype(np.float32)))
    return image[0]


ROWS = {"log_mel_gain": 256, "log_magnitude": None}


@pytest.mark.parametrize("representation", list(ROWS))
@pytest.mark.parametrize("semitones", [-3, -1.5, 2, 4])
def test_a_transposed_image_is_that_of_the_transposed_sound(representation, semitones):
    imaging = settings(representation=representation, n_fft=2048, rows=ROWS[representation])
    found = transpose(chord(500, imaging), semitones, imaging)[0, :, 50]
    wanted = chord(500 * 2 ** (semitones / 12), imaging)[0, :, 50]
    peaks = [int(found[row - 6 : row + 7].argmax()) for row in wanted.topk(1).indices]
    assert peaks == [6]
    plain = chord(500, imaging)[0, :, 50]
    assert (found - wanted).abs().mean() < 0.5 * (plain - wanted).abs().mean()


def test_by_nothing_is_nothing():
    image = torch.rand((2, 64, 9)) - 0.5
    torch.testing.assert_close(transpose(image, 0, settings()), image)


def test_an_octave_up_and_down_by_hand():
    imaging = settings(representation="log_magnitude", rows=None)
    rows = AudioImaging(imaging).representation.rows
    image = torch.linspace(-1, 1, rows)[None, :, None].repeat(1, 1, 3)
    up, down = transpose(image, 12, imaging)[0, :, 0], transpose(image, -12, imaging)[0, :, 0]
    torch.testing.assert_close(up[20], image[0, 10, 0])
    torch.testing.assert_close(down[20], image[0, 40, 0])
    torch.testing.assert_close(down[rows // 2 + 1 :], torch.ones(rows - rows // 2 - 1))  # what lay above is not known


def test_steps_differ_and_repeat_and_domains_are_apart():
    recipe = recipe_from_dict({"train": {"transpose": 3}})
    image = chord(500, AudioSettings())[None, :, :, :16]
    first, again, other, later = (
        augment(image, recipe, 0, *place) for place in (("a", 5), ("a", 5), ("b", 5), ("a", 6))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, later)
    assert first.abs().max() <= 1


def test_without_it_nothing_is_drawn_or_changed():
    image = torch.rand((2, 1, 256, 8)) - 0.5
    assert torch.equal(augment(image, recipe_from_dict({}), 0, "a", 1), image)


def test_photos_and_phases_are_refused():
    losses = {"generator": {"gan": 1, "vae_reconstruction": 10}}
    for imaging in ({"type": "photo"}, {"representation": "magnitude_phase"}):
        with pytest.raises(UsageError, match="transpose"):
            recipe_from_dict({"imaging": imaging, "losses": losses, "train": {"transpose": 2}})
    with pytest.raises(UsageError, match="transpose"):
        recipe_from_dict({"train": {"transpose": 13}})


def coloured(db: float, count: int = 64, place: tuple[str, int] = ("a", 5)) -> torch.Tensor:
    """Return the decibels that an equaliser adds to each row of so many crops, ``(n, rows)``."""
    images = torch.zeros(count, 2, 256, 3)
    found = equalise(images, recipe_from_dict({"train": {"equalise_db": db}}), 0, *place)
    assert torch.equal(found, found[:, :1, :, :1].expand_as(found))  # all channels and columns alike
    return 50 * found[:, 0, :, 0]


def test_an_equaliser_s_curves_are_smooth_over_octaves_and_reach_up_to_what_was_asked_for():
    curves, hertz = coloured(8), torch.from_numpy(AudioImaging(recipe_from_dict({}).imaging).row_frequencies())
    most = curves.abs().amax(1, keepdim=True)
    assert 7 < most.max() <= 8 + 1e-4
    assert most.min() < 1.5  # each crop has a strength of its own
    octaves = torch.log2(hertz.clamp(min=60))
    assert (curves.diff(dim=1).abs() <= 1.6 * most * octaves.diff() + 1e-3).all()
    assert torch.equal(curves[:, hertz <= 60], curves[:, :1].expand(-1, int((hertz <= 60).sum())))
    tilts = curves[:, hertz < 300].mean(1) - curves[:, hertz > 5000].mean(1)
    assert 16 < (tilts > 0).sum() < 48  # darker as often as brighter
    assert tilts.abs().max() > 8  # as steep as 2 dB an octave


def test_an_equaliser_is_a_function_of_its_place():
    assert torch.equal(coloured(8), coloured(8))
    assert not torch.equal(coloured(8), coloured(8, place=("b", 5)))
    assert not torch.equal(coloured(8), coloured(8, place=("a", 6)))


def test_an_equalised_image_stays_in_its_range():
    images = torch.full((8, 1, 256, 3), 0.95)
    assert equalise(images, recipe_from_dict({"train": {"equalise_db": 20}}), 0, "a", 1).max() == 1
