"""The quick training step is the plain one: the same terms and the same gradients, to float32's accuracy."""

from __future__ import annotations

import pytest
import torch

from audiotrans.model.losses import GENERATOR_LOSSES
from audiotrans.model.nets import iterate_spectral_norms
from audiotrans.recipe import recipe_from_dict
from audiotrans.training.engine import Trainer
from benchmarks.training_speed import PlainTrainer, measure, random_crops
from tests.fakes import TINY, tiny_recipe

CPU = torch.device("cpu")
READ_T = {"vae_kl", "cycle_kl"}
TERMS = [name for name in GENERATOR_LOSSES if name != "feature_matching"]
CONDITIONAL = {"conditional_discriminator": True}


def recipe(generator, *, latent=1.0, **model):
    many = 1 if model.get("conditional_discriminator") else 3
    parts = {
        "model": TINY["model"] | {"residual": 0.0} | model,
        "losses": {"generator": generator, "discriminator": {"image": 1.0, "latent": latent}, "identity_steps": 0},
        # A teacher says nothing of pairs.
        "train": TINY["train"]
        | {"discriminator_batch": many, "equalise_db": 3.0, "pairs_share": float(set(generator) != {"imitation"})},
    }
    return recipe_from_dict({"imaging": TINY["imaging"], "teacher": "someone", "pairs": "somewhere", **parts})


def both(asked):
    """Return both trainers with the same weights, whose spectral norms have settled: another round changes nothing."""
    ours = Trainer(asked, 1, CPU, lambda images, side: images.flip(3))
    for layer in (module for module in ours.discriminators.modules() if hasattr(module, "parametrizations")):
        with torch.no_grad():  # a clear largest singular value, which a few rounds find
            first = layer.parametrizations.weight.original[0]
            first.mul_(4)
    for _ in range(60):
        iterate_spectral_norms(ours.discriminators)
    torch.nn.init.normal_(ours.discriminators.latent.joint[-1].weight) if ours.discriminators.latent else None
    return ours, PlainTrainer(ours, ours.teach)


def assert_same_step(asked):
    """Take a step of pairs, where any loss says something of them, and one without where the teacher does."""
    crops = random_crops(asked, 1, 0)
    pairs = {"true_ab": crops.a.flip(2), "true_ba": crops.b.flip(2)}
    steps = [pairs] if asked.train.pairs_share else []
    steps += [{}] if "imitation" in asked.losses.generator else []
    for targets in steps:
        ours, plain = both(asked)
        found, wanted = (player.train_step(*crops._replace(targets=targets)) for player in (ours, plain))
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            torch.testing.assert_close(found[name], value, atol=2e-5, rtol=1e-4, msg=name)
        for player in ("model", "discriminators"):
            assert_same_gradients(getattr(ours, player), getattr(plain, player))


def assert_same_gradients(one, other):
    pairs = [(p.grad, q.grad) for p, q in zip(one.parameters(), other.parameters(), strict=True)]
    largest = max((float(q.norm()) for _, q in pairs if q is not None), default=0.0)
    for number, (p, q) in enumerate(pairs):
        if p is None or q is None:
            assert all(grad is None or not grad.any() for grad in (p, q)), number
            continue
        # float32 sums in another order, through some forty layers; biases before a norm have no gradient but that.
        assert (p - q).norm() < 1e-3 * q.norm() + 1e-5 * largest, number


@pytest.mark.parametrize("term", TERMS)
def test_each_terms_gradient_is_the_plain_steps(term):
    assert_same_step(recipe({term: 1.0}))


@pytest.mark.parametrize("term", ["gan", "feature_matching"])
def test_the_gradient_of_a_discriminator_that_sees_the_source_is_the_plain_steps(term):
    assert_same_step(recipe({term: 1.0}, **CONDITIONAL))


@pytest.mark.parametrize(
    "model",
    [
        {"kl": "adaptive"}, {"kl": "mu2"}, {"residual": 0.5}, {"latent_discriminator": "global"},
        {"preset": "light", "width": 4, "discriminator_width": 4, "z_channels": 4, "discriminator_scales": 1},
        CONDITIONAL,
    ],
)  # fmt: skip
def test_a_whole_step_is_the_plain_one(model):
    terms = GENERATOR_LOSSES if model.get("conditional_discriminator") else TERMS
    assert_same_step(recipe(dict.fromkeys(terms, 1.0), **model))


def test_a_t_that_nothing_trains_costs_nothing_and_says_nothing():
    asked = recipe({"gan": 1.0, "vae_reconstruction": 1.0}, latent=0.0)
    trainer = Trainer(asked, 1, CPU, lambda images, side: images)
    trainer.discriminators.latent.forward = None  # asking it would fail
    before = {name: p.clone() for name, p in trainer.discriminators.latent.named_parameters()}
    found = trainer.train_step(*random_crops(asked, 1, 0))
    assert not READ_T & {name.removeprefix("generator/") for name in found}
    assert not [name for name in found if name.startswith("health/t_")]
    assert all(torch.equal(p, before[name]) for name, p in trainer.discriminators.latent.named_parameters())


def test_the_benchmark_measures_both():
    found = measure(tiny_recipe(train={"discriminator_batch": 3}), 1, CPU)
    assert found.keys() == {"ours", "plain", "times"}
    assert all(value > 0 for value in found.values())
