"""What is not finite is named and skipped, and training goes on; where it does not end, the run ends with advice."""

from __future__ import annotations

import copy
import json
import math

import pytest
import torch

from audiotrans.errors import AudiotransError
from audiotrans.model.losses import GENERATOR_LOSSES
from audiotrans.training.checkpoints import load_checkpoint
from audiotrans.training.data import Crops, Feed
from audiotrans.training.engine import Trainer
from audiotrans.training.guard import Guard
from audiotrans.training.run import train
from tests.fakes import assert_same, fake_cache, image, tiny_recipe

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def _fast(no_board):
    """Train without TensorBoard."""


def crops(trainer, seed=1):
    shape = (2, 1, trainer.recipe.imaging.rows, trainer.recipe.train.crop_frames)
    return image(shape, seed, -0.2), image(shape, seed + 1, 0.2)


def moved(trainer, before):
    """Return which parts of a trainer are others than before, but for its counts."""
    after = trainer.state()
    return {name for name in before if name != "guard" and not same(before[name], after[name])} - {"step"}


def same(one, other):
    try:
        assert_same(one, other)
    except AssertionError:
        return False
    return True


def trainer_of(**parts):
    trainer = Trainer(tiny_recipe(**parts), 1, CPU)
    trainer.train_step(*crops(trainer))  # the optimisers have a state from the first step on
    return trainer, copy.deepcopy(trainer.state())


@pytest.mark.parametrize(("side", "value"), [(0, math.nan), (1, math.inf)])
def test_a_broken_image_moves_nothing_and_the_next_step_goes_on(side, value):
    trainer, before = trainer_of(train={"discriminator_batch": 4})
    given = crops(trainer, 5)
    given[side][1, 0, 3, 3] = value
    more = {"a": crops(trainer, 8)[0], "b": crops(trainer, 8)[1]}
    trainer.train_step(*given, more)
    # The step of an SGD-like player, its average and the past translations are as they were; D's own power iterations,
    # which see no images, may have gone on.
    assert moved(trainer, before) <= {"discriminators"}
    assert_same(dict(trainer.discriminators.named_parameters()), parameters(trainer, before))
    assert {"generator/vae_reconstruction", "generator/cycle_reconstruction"} <= set(trainer.guard.found)
    assert (trainer.step, trainer.guard.skipped, trainer.guard.in_a_row) == (2, 1, 1)
    values = trainer.train_step(*crops(trainer, 5), more)
    assert all(each.isfinite() for each in values.values())
    assert (trainer.guard.found, trainer.guard.skipped, trainer.guard.in_a_row) == ([], 1, 0)
    assert moved(trainer, before) >= {"model", "ema", "model_adam", "discriminators_adam", "pool"}


def parameters(trainer, state):
    return {name: state["discriminators"][name] for name, _ in trainer.discriminators.named_parameters()}


def test_a_broken_image_for_d_alone_holds_d_alone():
    trainer, before = trainer_of(train={"discriminator_batch": 4})
    more = dict(zip("ab", crops(trainer, 8), strict=True))
    more["a"][0, 0, 0, 0] = math.nan
    trainer.train_step(*crops(trainer, 5), more)
    assert set(trainer.guard.found) == {"discriminator/image", "discriminator/gradient"}
    assert {"model", "model_adam", "ema"} <= moved(trainer, before)
    assert "discriminators_adam" not in moved(trainer, before)


@pytest.mark.parametrize("player", ["model", "discriminators"])
def test_a_broken_gradient_is_named_and_moves_nothing_of_its_player(player):
    trainer, before = trainer_of()
    weight = next(getattr(trainer, player).parameters())
    hook = weight.register_hook(lambda gradient: gradient * math.nan)
    trainer.train_step(*crops(trainer, 5))
    name = {"model": "generator/vae_reconstruction", "discriminators": "discriminator/image"}[player]
    assert f"gradient of {name}" in trainer.guard.found
    assert f"{player}_adam" not in moved(trainer, before)
    hook.remove()
    trainer.train_step(*crops(trainer, 7))
    assert f"{player}_adam" in moved(trainer, before)


def test_a_finite_term_with_a_broken_gradient_is_named_alone(monkeypatch):
    # The root's slope at 0 is infinite.
    monkeypatch.setitem(GENERATOR_LOSSES, "below_notes", lambda t, d, s: (0 * t.ab).sum().sqrt())
    trainer = Trainer(tiny_recipe(losses={"generator": {"gan": 1, "vae_reconstruction": 1, "below_notes": 1}}), 1, CPU)
    trainer.train_step(*crops(trainer))
    assert trainer.guard.found == ["gradient of generator/below_notes"]


def test_a_term_without_a_weight_may_be_anything(monkeypatch):
    monkeypatch.setitem(GENERATOR_LOSSES, "below_notes", lambda t, d, s: t.ab.new_tensor(math.nan))
    trainer, _ = trainer_of(losses={"generator": {"gan": 1, "vae_reconstruction": 1}})
    assert not trainer.guard.found


def test_gradients_are_clipped_to_a_norm_and_their_own_is_reported(monkeypatch):
    seen = {}

    def step(optimiser):
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        seen[id(optimiser)] = torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    norms = {}
    for clip in (0, 1e-3):
        trainer = Trainer(tiny_recipe(train={"clip_norm": clip}), 1, CPU)
        values = trainer.train_step(*crops(trainer))
        for name, optimiser in (("generator", trainer.model_adam), ("discriminator", trainer.discriminators_adam)):
            norms[name, clip] = float(seen[id(optimiser)])
            reported = float(values[f"health/{name}_gradient"])
            assert norms[name, clip] == pytest.approx(1e-3 if clip else reported, rel=1e-3)
            assert reported > 1e-3


@pytest.mark.parametrize(("kl", "picture"), [("softplus", -1.0), ("adaptive", 0.3)])
def test_a_silent_batch_and_a_constant_picture_are_steps_like_others(kl, picture):
    trainer = Trainer(tiny_recipe(model={"kl": kl}, train={"dither": 0}), 1, CPU)
    flat = torch.full((2, 1, 32, 16), picture)
    for _ in range(2):
        trainer.train_step(flat, flat)
        assert not trainer.guard.found
    trainer.train_step(*crops(trainer))
    assert not trainer.guard.found


@pytest.mark.parametrize(("part", "gan"), [("image", "hinge"), ("image", "lsgan"), ("latent", "bce")])
def test_a_d_or_t_that_is_sure_beyond_all_doubt_ends_nothing(part, gan):
    trainer = Trainer(tiny_recipe(losses={"gan": gan}), 1, CPU)
    with torch.no_grad():
        for each in getattr(trainer.discriminators, part).parameters():
            each.fill_(1e4) if each.ndim == 1 else each.mul_(1e4)
    for seed in (1, 3):
        trainer.train_step(*crops(trainer, seed))
        assert not trainer.guard.found


# Whole runs ----------------------------------------------------------------------------------------------------------


RECIPE = tiny_recipe(train={"steps": 7, "save_every": 2, "skip_limit": 3})


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return fake_cache(tmp_path_factory.mktemp("guard") / "cache", RECIPE, offset=0.2)


def break_images(monkeypatch, steps):
    """Put a NaN into the images of some steps."""
    draw = Feed.take

    def broken(feed, step):
        drawn = draw(feed, step)
        return Crops(drawn.a * math.nan, *drawn[1:]) if step in steps else drawn

    monkeypatch.setattr(Feed, "take", broken)


def lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_run_goes_on_after_broken_steps_and_counts_them(cache, tmp_path, monkeypatch, capsys):
    break_images(monkeypatch, {1, 4, 5})  # the steps 2, 5 and 6; at 2 and 6 it would have saved
    train(RECIPE, cache, tmp_path)
    skipped = [(line["step"], line["skipped"]) for line in lines(tmp_path) if "skipped" in line]
    assert skipped == [(2, 1), (5, 2), (6, 3)]
    assert "generator/vae_reconstruction" in lines(tmp_path)[1]["because"]
    assert [line["step"] for line in lines(tmp_path) if "generator/gan" in line] == [1, 3, 4, 7]
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()
    assert "step 2 is skipped, 1 so far: not finite: generator/" in capsys.readouterr().err
    state, _ = load_checkpoint(tmp_path / "last.pt")
    assert (state["step"], state["guard"]) == (7, {"skipped": 3, "in_a_row": 0})
    assert all(each.isfinite().all() for each in state["ema"].values())


def test_counts_are_part_of_the_state():
    guard = Guard()
    guard.load_state_dict({"skipped": 3, "in_a_row": 1})
    assert not guard.passes({"fine": torch.zeros(()), "broken": torch.tensor(math.inf)})
    guard.count()
    assert (guard.found, guard.state_dict()) == (["broken"], {"skipped": 4, "in_a_row": 2})


def test_too_many_in_a_row_end_the_run_with_advice_and_a_checkpoint_from_before_them(cache, tmp_path, monkeypatch):
    break_images(monkeypatch, {3, 4, 5})
    with pytest.raises(
        AudiotransError, match=r"in 3 steps in a row, up to step 6; .*last\.pt of step 2 is whole"
    ) as error:
        train(RECIPE, cache, tmp_path, progress=False)
    assert "train.clip_norm=1" in str(error.value)
    assert "\n" not in str(error.value)
    assert load_checkpoint(tmp_path / "last.pt")[0]["step"] == 2


def test_without_a_checkpoint_the_advice_is_another(cache, tmp_path, monkeypatch):
    break_images(monkeypatch, range(9))
    with pytest.raises(AudiotransError, match="nothing was saved yet: begin again with"):
        train(RECIPE, cache, tmp_path, progress=False)
