"""Held-out figures: known for models that are known."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.training.data import ImageCache, rumble_rows
from audiotrans.training.validation import validate
from tests.fakes import fake_cache, tiny_recipe

RECIPE, CPU = tiny_recipe(), torch.device("cpu")


class Lift(nn.Module):
    """Adds ``step`` from A to B and takes it off again from B to A."""

    def __init__(self, step: float) -> None:
        super().__init__()
        self.step = step

    def noise_shape(self, image):
        return (image.shape[0], 0, *image.shape[2:])

    def translate(self, image, source, target, noise=None):
        return image + self.step * ((target == "b") - (source == "b"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return ImageCache(fake_cache(tmp_path_factory.mktemp("valid") / "cache", RECIPE, offset=0.2))


def test_a_copy_is_perfect_but_for_the_domain(data):
    values = validate(Lift(0), data, RECIPE, CPU)
    assert set(values) == {
        "valid/reconstruction", "valid/cycle", "valid/fine", "valid/statistics_ab", "valid/statistics_ba",
        "valid/score",
    }  # fmt: skip
    assert values["valid/reconstruction"] == values["valid/cycle"] == 0
    assert values["valid/fine"] == pytest.approx(0, abs=1e-2)  # the guard of the cosine, on a small spread
    assert values["valid/statistics_ab"] == values["valid/statistics_ba"] == 1


def test_the_right_shift_brings_the_statistics_home(data):
    values = validate(Lift(0.4), data, RECIPE, CPU)  # domains lie 0.4 apart
    assert values["valid/statistics_ab"] < 0.5  # what stays is the two noises' own difference
    assert values["valid/statistics_ab"] == pytest.approx(values["valid/statistics_ba"], rel=0.3)
    assert values["valid/cycle"] == pytest.approx(0, abs=1e-6)
    away = validate(Lift(-0.4), data, RECIPE, CPU)
    assert away["valid/statistics_ab"] > 1.5


def test_figures_repeat_and_leave_randomness_alone(data):
    torch.manual_seed(0)
    model = AVBGTN(RECIPE.model, 1).eval()
    before = torch.get_rng_state()
    first, second = (validate(model, data, RECIPE, CPU) for _ in range(2))
    assert first == second
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.isfinite(torch.tensor(value)) for value in first.values())


def test_two_domains_of_the_same_silence_give_finite_figures(tmp_path):
    cache = ImageCache(fake_cache(tmp_path / "cache", RECIPE))
    silence = torch.full((1, 32, 40), -1.0)
    cache.read = lambda item, start=0, frames=None: silence[..., start : start + (frames or 40)]
    values = validate(Lift(0), cache, RECIPE, CPU)
    assert values["valid/statistics_ab"] == 0
    assert values["valid/fine"] == 0


def test_rumble_is_hidden_from_the_model_and_not_counted(data):
    rumble = rumble_rows(RECIPE)
    assert rumble

    class Louder(Lift):
        def translate(self, image, source, target, noise=None):
            assert (image[..., :rumble, :] == -1).all()
            made = image.clone()
            made[..., :rumble, :] = 1
            return made

    values = validate(Louder(0), data, RECIPE, CPU)
    assert values["valid/reconstruction"] == values["valid/cycle"] == 0
    assert values["valid/statistics_ab"] == values["valid/statistics_ba"] == 1
