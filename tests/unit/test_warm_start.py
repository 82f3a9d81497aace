"""Fine-tuning: a run that starts with the weights of another model."""

from __future__ import annotations

import json

import pytest
import torch

from audiotrans.errors import RenamedWarning, UsageError
from audiotrans.model.losses import GENERATOR_LOSSES
from audiotrans.recipe import recipe_from_dict, recipe_to_dict
from audiotrans.training.checkpoints import load_checkpoint, steps_of
from audiotrans.training.engine import Trainer
from audiotrans.training.export import export_run
from audiotrans.training.run import train
from audiotrans.training.warm_start import warm_start
from audiotrans.weights import export_weights, read_weights
from tests.fakes import assert_same, fake_cache, image, tiny_recipe

CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("no_board")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return fake_cache(tmp_path_factory.mktemp("warm") / "cache", tiny_recipe(), offset=0.2)


@pytest.fixture(scope="module")
def parent(cache, tmp_path_factory):
    """A run of two steps: its averaged weights differ from those of its last step, and from the start's."""
    folder = tmp_path_factory.mktemp("parent") / "run"
    train(tiny_recipe(train={"steps": 2}), cache, folder, progress=False)
    return folder


def fresh(**parts):
    """Build a trainer of the tiny recipe with another seed than the parent's."""
    return Trainer(tiny_recipe(**parts | {"train": {"seed": 7} | parts.get("train", {})}), 1, CPU)


def copied(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_more_blocks_do_the_same_until_they_learn(parent):
    shallow, deep = fresh(), fresh(model={"blocks": 3})
    warm_start(shallow, str(parent))
    warm_start(deep, str(parent))
    x = image((2, 1, 32, 16), 3)
    for source, target in (("a", "b"), ("b", "a"), ("a", "a")):
        assert torch.equal(deep.model.translate(x, source, target), shallow.model.translate(x, source, target))
    before = {name: p.clone() for name, p in deep.model.named_parameters()}
    for _ in range(2):  # the scale of a new block's last norm moves first, what lies before it then
        deep.train_step(x, -x)
    assert not [name for name, p in deep.model.named_parameters() if torch.equal(p, before[name])]


def one_way(parent, target, **parts):
    """Build a trainer that begins as the parent is, of which translations to one domain alone learn."""
    values = recipe_to_dict(tiny_recipe(**parts)) | {"init": str(parent)}
    values["train"] |= {"only_to": target, "seed": 7}
    values["model"] |= {"residual": 0.0}
    trainer = Trainer(recipe_from_dict(values), 1, CPU)
    warm_start(trainer, str(parent))
    return trainer


@pytest.mark.parametrize(
    ("source", "target", "learns"),
    [("a", "b", ("encoders.a.", "decoders.b.")), ("b", "a", ("encoders.b.", "decoders.a."))],
)
def test_translations_to_one_domain_alone_can_learn(parent, source, target, learns):
    trainer, x = one_way(parent, target, train={"clip_norm": 1.0}), image((2, 1, 32, 16), 3)
    before, back = copied(trainer.model), trainer.model.translate(x, target, source)
    there = trainer.model.translate(x, source, target)
    for _ in range(2):
        assert trainer.train_step(x, -x)["health/generator_gradient"] > 0
    for kept in (trainer.model, trainer.ema):
        moved = {name for name, value in kept.state_dict().items() if not torch.equal(value, before[name])}
        assert moved == {name for name in before if name.startswith(learns)}
        assert torch.equal(kept.translate(x, target, source), back)
        assert not torch.equal(kept.translate(x, source, target), there)


def test_the_term_to_blame_is_found_among_what_learns(parent, monkeypatch):
    monkeypatch.setitem(GENERATOR_LOSSES, "below_notes", lambda t, d, s: (0 * t.ab).sum().sqrt())
    trainer = one_way(parent, "b", losses={"generator": {"vae_reconstruction": 1, "below_notes": 1}})
    trainer.train_step(*[image((2, 1, 32, 16), 3)] * 2)
    assert trainer.guard.found == ["gradient of generator/below_notes"]


def test_half_a_model_learns_beside_the_other_half_of_a_whole_one():
    with pytest.raises(UsageError, match=r"train\.only_to leaves half of the model as it was: name a model with init"):
        fresh(train={"only_to": "b"})
    values = recipe_to_dict(tiny_recipe()) | {"init": "another", "train": {"only_to": "b"}}
    with pytest.raises(UsageError, match=r"only_to and model\.residual 0\.5: .*; set model\.residual to 0"):
        recipe_from_dict(values)


def test_a_run_of_an_option_that_is_gone_goes_on_without_it(parent, tmp_path):
    state = torch.load(parent / "last.pt", weights_only=True)
    state["recipe"] = json.dumps(json.loads(state["recipe"]) | {"tilt": {"a": 0.0, "b": -4.0}})
    torch.save(state, tmp_path / "last.pt")
    with pytest.warns(RenamedWarning, match=r"last\.pt: tilt is gone and does nothing"):
        _, recipe = load_checkpoint(tmp_path / "last.pt")
    assert recipe == load_checkpoint(parent / "last.pt")[1]


def test_fewer_blocks_are_refused(parent):
    with pytest.raises(UsageError, match=r"its model\.blocks is 1, the recipe's 0"):
        warm_start(fresh(model={"blocks": 0}), str(parent))


@pytest.mark.parametrize("name", ["", "last.pt"])
def test_a_run_gives_what_it_would_export_and_its_discriminators(parent, name):
    state, _ = load_checkpoint(parent / "last.pt")
    trainer = fresh()
    warm_start(trainer, str(parent / name))
    for module, part in ((trainer.model, "ema"), (trainer.ema, "ema"), (trainer.discriminators, "discriminators")):
        assert_same(dict(module.state_dict()), dict(state[part]))
    assert trainer.step == 0
    assert trainer.model_adam.state_dict()["state"] == {}


def test_a_weights_file_leaves_the_discriminators_as_they_start(parent, tmp_path):
    path = export_run(parent, tmp_path / "model.safetensors")
    trainer, untouched = fresh(), fresh()
    warm_start(trainer, str(path))
    assert_same(dict(trainer.model.state_dict()), dict(load_checkpoint(parent / "last.pt")[0]["ema"]))
    assert_same(dict(trainer.discriminators.state_dict()), dict(untouched.discriminators.state_dict()))


def test_discriminators_of_other_layers_start_at_random(parent):
    trainer, untouched = fresh(model={"discriminator_width": 6}), fresh(model={"discriminator_width": 6})
    warm_start(trainer, str(parent))
    assert_same(dict(trainer.discriminators.state_dict()), dict(untouched.discriminators.state_dict()))


def test_a_recipe_without_t_takes_d_alone(parent):
    state, _ = load_checkpoint(parent / "last.pt")
    trainer = fresh(model={"kl": "none"})
    warm_start(trainer, str(parent))
    kept = dict(trainer.discriminators.state_dict())
    assert kept.keys() == {name for name in state["discriminators"] if name.startswith("image.")}
    assert_same(kept, {name: state["discriminators"][name] for name in kept})


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"z_channels": 8}, r"model\.z_channels is 4, the recipe's 8"),
        ({"kl": "mu2"}, r"model\.noise_channels is 1, the recipe's 0"),  # UNIT's encoders take no noise
    ],
)
def test_other_layers_are_refused_by_name(parent, model, message):
    with pytest.raises(UsageError, match=message):
        warm_start(fresh(model=model), str(parent))


def test_other_images_are_refused_by_name(tmp_path):
    """Weights for another hop would fit the layers, and mean nothing."""
    path = tmp_path / "other.safetensors"
    other = tiny_recipe(imaging={"hop_length": 32})
    export_weights(dict(fresh().model.state_dict()), other, path)
    with pytest.raises(UsageError, match=r"imaging\.hop_length is 32, the recipe's 64"):
        warm_start(fresh(), str(path))


def test_another_way_to_phases_is_no_other_image(tmp_path):
    path = tmp_path / "other.safetensors"
    weights = {name: value + 1 for name, value in fresh().model.state_dict().items()}
    export_weights(weights, tiny_recipe(imaging={"phase": "pghi"}), path)
    trainer = fresh()
    warm_start(trainer, str(path))
    assert_same(dict(trainer.model.state_dict()), weights)


def test_an_unknown_name_is_answered_with_the_shipped_ones():
    with pytest.raises(UsageError, match="shipped are violin-piano"):
        warm_start(fresh(), "violin-pano")


def test_a_run_goes_on_from_the_weights_and_resumes_without_them(cache, parent, tmp_path):
    own = tmp_path / "parent.safetensors"
    export_run(parent, own)
    still = tiny_recipe(train={"steps": 1, "learning_rate": 1e-12}).model_copy(update={"init": str(own)})
    train(still, cache, tmp_path / "run", progress=False)
    before = load_checkpoint(parent / "last.pt")[0]["ema"]
    for name, value in load_checkpoint(tmp_path / "run" / "last.pt")[0]["model"].items():
        torch.testing.assert_close(value, before[name], atol=1e-9, rtol=0)  # Adam's first step: the learning rate
    own.unlink()  # a checkpoint stands for itself
    further = still.model_copy(update={"train": still.train.model_copy(update={"steps": 2})})
    train(further, cache, tmp_path / "run", resume=True, changed=True, progress=False)
    assert load_checkpoint(tmp_path / "run" / "last.pt")[0]["step"] == 2


def test_steps_are_counted_over_all_runs(cache, parent, tmp_path):
    """Of a parent, a run from it and one from the exported file of that; the parent's folder is nobody's business."""
    child, grandchild = tiny_recipe(train={"steps": 3}), tiny_recipe(train={"steps": 4})
    train(child.model_copy(update={"init": str(parent)}), cache, tmp_path / "child", progress=False)
    own = export_run(tmp_path / "child", tmp_path / "child.safetensors")
    stored = read_weights(own)
    recipe, card = stored.recipe, stored.card
    assert (recipe.init, card["steps"]) == (parent.name, 2 + 3)
    train(grandchild.model_copy(update={"init": str(own)}), cache, tmp_path / "grandchild", progress=False)
    train(grandchild, cache, tmp_path / "grandchild", resume=True, progress=False)
    state, _ = load_checkpoint(tmp_path / "grandchild" / "last.pt")
    assert (state["step"], steps_of(state)) == (4, 2 + 3 + 4)
    assert steps_of({"step": 7}) == 7  # of a checkpoint written before they were counted


def test_only_the_discriminators_learn_while_they_warm_up():
    trainer = fresh(train={"discriminator_warmup": 1})
    shape = (2, 1, trainer.recipe.imaging.rows, trainer.recipe.train.crop_frames)
    model, discriminators = copied(trainer.model), copied(trainer.discriminators)
    trainer.train_step(image(shape, 1, -0.2), image(shape, 2, 0.2))
    assert_same(dict(trainer.model.state_dict()), model)
    assert any((value != discriminators[name]).any() for name, value in trainer.discriminators.state_dict().items())
    trainer.train_step(image(shape, 1, -0.2), image(shape, 2, 0.2))
    assert any((value != model[name]).any() for name, value in trainer.model.state_dict().items())
