"""Photos through a model: the change follows the photo's edges, and what the auto-encoder loses is not a change."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from audiotrans.convert.photos import KEPT, PhotoConverter
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.photo import images
from audiotrans.photo.guided import follow_edges, rows_of
from audiotrans.photo.images import PhotoImaging, PhotoSettings
from audiotrans.recipe import Recipe, recipe_from_dict


def recipe(**model: object) -> Recipe:
    return recipe_from_dict(
        {
            "imaging": {"type": "photo", "height": 32, "width": 32},
            "domains": {"a": "blond", "b": "brown"},
            "model": {"preset": "light", "width": 4, "z_channels": 4, "blocks": 1, "discriminator_width": 4, **model},
            "losses": {"generator": {"gan": 1, "vae_reconstruction": 10}},
        }
    )


class Blurring(AVBGTN):
    """A model that loses all detail, and makes things darker by .2 on the way to the other domain."""

    def __init__(self, **model: object) -> None:
        super().__init__(recipe(**model).model, 3)

    def translate(self, image: Tensor, source: str, target: str, noise: Tensor | None = None) -> Tensor:
        return torch.full_like(image, float(image.mean())) - 0.2 * (source != target)


def pixels_of(height: int = 90, width: int = 70, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).integers(60, 196, (height // 10 + 1, width // 10 + 1, 3), dtype=np.uint8)
    return np.ascontiguousarray(rows.repeat(10, 0).repeat(10, 1)[:height, :width])


def test_what_the_auto_encoder_loses_is_kept():
    pixels = pixels_of()
    kept = PhotoConverter(Blurring(), recipe()).convert(pixels, to="brown")
    # A change that is the same everywhere: .2 of a range of 2, to a rounding.
    np.testing.assert_allclose(kept, pixels - 0.2 * 127.5, atol=0.51)
    lost = PhotoConverter(Blurring(), recipe(), keep=0).convert(pixels, to="brown")
    assert np.std(lost) < 0.5 * np.std(pixels)  # nothing but its mean colour was reconstructed


def test_a_model_trained_to_keep_keeps_as_it_was_trained():
    assert PhotoConverter(Blurring(), recipe()).keep == KEPT
    trained = recipe(residual=0.5)
    converter = PhotoConverter(Blurring(), trained)
    assert converter.keep == 0.5
    image = PhotoImaging(trained.imaging).to_image(pixels_of())[0]
    found = converter._translated(image, torch.zeros(0), converter.options("brown"))
    torch.testing.assert_close(found, Blurring().translate(image, "a", "b"))  # its translate does all by itself
    with pytest.raises(UsageError, match="keep 2"):
        PhotoConverter(Blurring(), recipe(), keep=2)


@pytest.mark.parametrize(("option", "value"), [("phase", "pghi"), ("articulation", 1.5), ("shifts", 2), ("vibrato", 9)])
def test_what_is_for_sound_is_refused(option, value):
    with pytest.raises(UsageError, match=f"{option} '?{value}'? is for sound: leave --{option} out"):
        PhotoConverter(Blurring(), recipe()).options("brown", **{option: value})


def test_strength_scales_the_change():
    pixels = pixels_of()
    half = PhotoConverter(Blurring(), recipe()).convert(pixels, to="brown", strength=50)
    np.testing.assert_allclose(half, pixels - 0.1 * 127.5, atol=0.51)


def test_a_model_of_sound_is_refused():
    with pytest.raises(AudiotransError, match="translates sound"):
        PhotoConverter(Blurring(), Recipe())


def step(height: int, width: int, column: int) -> np.ndarray:
    """Make a photo that is dark up to a column and light from there on."""
    pixels = np.full((height, width, 3), 60, dtype=np.uint8)
    pixels[:, column:] = 180
    return pixels


@pytest.mark.parametrize("size", [(640, 640), (431, 777), (300, 1200)])
def test_a_change_ends_where_the_photo_has_its_edge(size):
    """The dark half gets redder by 40. Scaled up by itself the change would spill over a step that falls between."""
    height, width = size
    column = width // 2 + width // 200  # not where pixels of the small image meet
    photo = step(height, width, column)
    road = PhotoImaging(PhotoSettings(height=32, width=32))
    image, context = road.to_image(photo)
    dark = ((180 / 127.5 - 1 - image.mean(1, keepdim=True)) / (120 / 127.5)).clamp(0, 1)  # its share of each pixel
    made = road.from_image(image + dark * torch.tensor([40 / 127.5, 0, 0])[None, :, None, None], context)
    red = made[height // 2, :, 0].astype(int) - photo[height // 2, :, 0]
    halo = width // 20  # three quarters of a pixel of the small image and more
    assert np.abs(red[column : column + halo]).max() <= 6  # of 40: the light side stays what it was
    assert red[column - halo : column].min() >= 30
    assert np.abs(made.astype(int) - photo)[..., 1:].max() <= 1


def test_noise_that_has_nothing_to_do_with_the_photo_is_lost():
    generator = torch.Generator().manual_seed(0)
    noise = 0.3 * torch.randn(1, 3, 32, 32, generator=generator)
    flat = torch.zeros(1, 3, 32, 32)
    told = rows_of(follow_edges(noise, flat, 32, 32), flat[0], 0, 32)
    assert float(told.std()) < 0.3 / 3  # means over 3 x 3 pixels, and again over 3 x 3
    even = torch.full((1, 3, 32, 32), 0.1)
    torch.testing.assert_close(rows_of(follow_edges(even, noise, 32, 32), noise[0], 0, 32), even[0])


def test_strips_join_without_a_seam(monkeypatch: pytest.MonkeyPatch):
    road, pixels = PhotoImaging(PhotoSettings(height=32, width=32)), pixels_of(150, 97)
    image, context = road.to_image(pixels)
    change = 0.2 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    whole = road.from_image(image + change, context)
    monkeypatch.setattr(images, "STRIP_PIXELS", 97 * 7)
    np.testing.assert_array_equal(road.from_image(image + change, context), whole)


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (300, 2), (20, 20), (33, 31)])
def test_photos_smaller_than_the_image_come_back(size):
    road, pixels = PhotoImaging(PhotoSettings(height=32, width=32)), pixels_of(*size)
    image, context = road.to_image(pixels)
    made = road.from_image(image + 0.1, context)
    np.testing.assert_allclose(made, pixels + 0.1 * 127.5, atol=0.51)


def test_a_large_photo_keeps_its_proportions():
    image, _ = PhotoImaging(PhotoSettings(height=64, width=64)).to_image(np.zeros((300, 400, 3), dtype=np.uint8))
    assert image.shape == (1, 3, 64, 85)  # as 4,000 x 3,000 pixels, too: nothing is squashed


def test_read_only_pixels_are_taken_as_they_are():
    pixels = pixels_of()
    imaging = PhotoImaging(PhotoSettings(height=32, width=32))
    expected, _ = imaging.to_image(pixels.copy())
    pixels.setflags(write=False)  # as Pillow's own arrays
    image, _ = imaging.to_image(pixels)
    assert torch.equal(image, expected)
