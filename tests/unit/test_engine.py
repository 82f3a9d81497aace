"""One step of the training loop: who moves when, and what is repeatable."""

from __future__ import annotations

import copy
import math
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from audiotrans.recipe import recipe_from_dict, recipe_to_dict
from audiotrans.training import data as feed
from audiotrans.training import engine
from audiotrans.training.data import ImageCache
from audiotrans.training.engine import POOL_SIZE, Trainer
from tests.fakes import STEP_KEYS, assert_same, fake_cache, image, tiny_recipe

CPU = torch.device("cpu")
RECIPE = tiny_recipe()


def batches(recipe=RECIPE):
    shape = (2, 1, recipe.imaging.rows, recipe.train.crop_frames)
    return image(shape, 1, -0.2), image(shape, 2, 0.2)


def batch(trainer, data, domain):
    return feed.real_crops(trainer.recipe, data, domain, trainer.step)


def more(trainer, data):
    return feed.further_crops(trainer.recipe, data, trainer.step)


def test_each_parameter_occurs_once_in_the_optimisers():
    trainer = Trainer(RECIPE, 1, CPU)
    for optimiser, module in (
        (trainer.model_adam, trainer.model),
        (trainer.discriminators_adam, trainer.discriminators),
    ):
        held = [p for group in optimiser.param_groups for p in group["params"]]
        assert len({id(p) for p in held}) == len(held)
        assert {id(p) for p in held} == {id(p) for p in module.parameters()}
    assert not any(p.requires_grad for p in trainer.ema.parameters())


@pytest.mark.parametrize("kl", ["softplus", "mu2", "adaptive"])
def test_only_the_named_players_weights_move(kl):
    trainer = Trainer(tiny_recipe(model={"kl": kl}), 1, CPU)
    modules = {"model": trainer.model, "discriminators": trainer.discriminators}
    descend, moved = trainer._descend, []

    def spy(*given, **named):
        before = {name: copy.deepcopy(list(module.parameters())) for name, module in modules.items()}
        for module in modules.values():
            module.zero_grad()
        values = descend(*given, **named)
        moved.append(
            {n for n, m in modules.items() for p, q in zip(m.parameters(), before[n], strict=True) if (p != q).any()}
        )
        graded = {n for n, m in modules.items() for p in m.parameters() if p.grad is not None and p.grad.any()}
        assert graded == moved[-1]
        return values

    trainer._descend = spy
    trainer.train_step(*batches())
    assert moved == [{"model"}, {"discriminators"}]


def test_every_part_of_both_players_learns():
    # Hinge leaves the last bias alone while all logits lie within the margin.
    trainer = Trainer(tiny_recipe(losses={"gan": "bce"}), 1, CPU)
    before = {
        name: p.clone() for module in (trainer.model, trainer.discriminators) for name, p in module.named_parameters()
    }
    for _ in range(2):  # T's last layer starts at zero, so its other layers move from the second step on
        trainer.train_step(*batches())
    after = dict(trainer.model.named_parameters()) | dict(trainer.discriminators.named_parameters())
    still = [name for name, p in after.items() if torch.equal(p, before[name])]
    assert not still


def test_a_step_reports_every_term_and_the_discriminators_health():
    values = Trainer(RECIPE, 1, CPU).train_step(*batches())
    assert set(values) == STEP_KEYS
    assert all(value.shape == () and not value.requires_grad and value.isfinite() for value in values.values())
    assert values["discriminator/latent"] == pytest.approx(2 * math.log(2))  # T starts undecided


def test_what_the_encoders_see_is_translated_and_held_against_the_crops_themselves():
    recipe, (a, b) = tiny_recipe(losses={"generator": {"vae_reconstruction": 1}}), batches()
    dark = {"a": (a - 0.1).clamp(-1, 1), "b": (b - 0.1).clamp(-1, 1)}
    trainer = Trainer(recipe, 1, CPU)
    shown = []
    trainer.model.register_forward_hook(lambda _m, args, kwargs, t: shown.append(((args, kwargs), t)), with_kwargs=True)
    values = trainer.train_step(a, b, None, dark)
    ((_args, t),) = shown
    wanted = torch.nn.functional.l1_loss(t.aa, a) + torch.nn.functional.l1_loss(t.bb, b)
    torch.testing.assert_close(values["generator/vae_reconstruction"], wanted.detach())


def test_the_residual_is_what_was_lost_of_the_crop_itself_not_of_what_the_encoders_saw():
    (a, b), trainer = batches(), Trainer(tiny_recipe(model={"residual": 0.5}), 1, CPU)
    dark = {"a": (a - 0.1).clamp(-1, 1), "b": (b - 0.1).clamp(-1, 1)}
    seen, decoded, made = [], [], []
    trainer.model.encoders["a"].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    trainer.model.decoders["b"].register_forward_hook(lambda _, given, out: decoded.append(out))
    trainer.model.register_forward_hook(lambda _, args, t: made.append(t))
    trainer.train_step(a, b, None, dark)
    t = made[0]
    assert torch.equal(seen[0][:, :1], dark["a"])
    assert torch.equal(t.a, a)
    torch.testing.assert_close(t.ab, decoded[0].chunk(2)[0] + 0.5 * (a - t.aa))


@pytest.mark.parametrize(
    ("losses", "cycles"),
    [
        ({"generator": {"gan": 1, "vae_reconstruction": 1}, "discriminator": {"image": 1}}, False),
        ({"generator": {"gan": 1, "cycle_reconstruction": 1}, "discriminator": {"image": 1}}, True),
        ({"generator": {"gan": 1}, "discriminator": {"image": 1, "latent": 1}}, True),
    ],
)
def test_nothing_is_translated_back_unless_a_loss_or_t_asks_for_it(losses, cycles):
    trainer, made = Trainer(tiny_recipe(losses=losses), 1, CPU), []
    trainer.model.register_forward_hook(lambda _m, _args, t: made.append(t))
    found = trainer.train_step(*batches())
    assert [(t.aba is not None, t.z_ab is not None) for t in made] == [(cycles, cycles)]
    assert ("generator/cycle_reconstruction" in found) is cycles


def test_what_is_asked_for_does_not_depend_on_the_way_back():
    recipe = tiny_recipe(losses={"generator": {"gan": 1, "vae_reconstruction": 1}, "discriminator": {"image": 1}})
    without, whole = Trainer(recipe, 1, CPU), Trainer(recipe, 1, CPU)
    whole.asks_cycle = True
    for _ in range(2):
        found, wanted = (trainer.train_step(*batches()) for trainer in (without, whole))
    assert set(wanted) - set(found) == {"generator/cycle_kl", "generator/cycle_reconstruction"} & set(wanted)
    assert_same(dict(without.model.state_dict()), dict(whole.model.state_dict()))
    assert_same(dict(without.discriminators.state_dict()), dict(whole.discriminators.state_dict()))


def test_a_teacher_is_asked_for_the_crops_themselves():
    values = recipe_to_dict(RECIPE) | {"teacher": "someone", "losses": {"generator": {"imitation": 1}}}
    recipe, (a, b), asked = recipe_from_dict(values), batches(), []
    trainer = Trainer(recipe, 1, CPU, lambda images, side: asked.append((side, images)) or images)
    trainer.train_step(a, b, None, {"a": -a, "b": -b})
    assert [side for side, _ in asked] == ["a", "b"]
    assert torch.equal(asked[0][1], a)
    assert torch.equal(asked[1][1], b)


@pytest.mark.parametrize(("target", "source"), [("b", "a"), ("a", "b")])
def test_a_teacher_is_asked_for_the_direction_alone_that_learns(target, source):
    values = recipe_to_dict(RECIPE) | {"teacher": "someone", "init": "it", "losses": {"generator": {"imitation": 1}}}
    values["train"] |= {"only_to": target}
    values["model"] |= {"residual": 0.0}
    crops, asked = dict(zip("ab", batches(), strict=True)), []
    trainer = Trainer(recipe_from_dict(values), 1, CPU, lambda images, side: asked.append(side) or -images)
    made = []
    trainer.model.register_forward_hook(lambda _m, _args, t: made.append(t))
    found = trainer.train_step(crops["a"], crops["b"])
    assert asked == [source]
    translated = {"a": made[0].ab, "b": made[0].ba}[source]
    wanted = torch.nn.functional.l1_loss(translated, -crops[source]).detach()
    torch.testing.assert_close(found["generator/imitation"], wanted)


@pytest.mark.parametrize("precision", ["bf16", "float32"])
def test_a_teacher_computes_in_float32_whatever_its_student_does(monkeypatch, precision):
    monkeypatch.setattr(engine, "quick_precision", lambda asked, device: precision)
    values = recipe_to_dict(RECIPE) | {"teacher": "someone", "losses": {"generator": {"imitation": 1}}}
    found = []

    def teach(images, side):
        found.append((images @ images.mT).dtype)
        return images

    Trainer(recipe_from_dict(values), 1, CPU, teach).train_step(*batches())
    assert found == [torch.float32] * 2


def test_building_a_trainer_touches_no_gpu(monkeypatch):
    def touched(*_, **__):
        raise AssertionError("a GPU was asked")

    for name in ("device_count", "get_rng_state", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, touched)
    assert Trainer(RECIPE, 1, CPU).step == 0


@pytest.mark.parametrize("residual", [0.0, 0.6, 1.0])
def test_translations_are_as_noisy_to_d_as_real_crops_are(residual):
    recipe = tiny_recipe(model={"residual": residual}, train={"dither": 0.05})
    trainer, made = Trainer(recipe, 1, CPU), []
    asked = given_to_d(trainer)
    trainer.model.register_forward_hook(lambda _, args, t: made.append(t))
    trainer.train_step(*batches())
    t = made[0]
    own = asked[0]  # of the generator's step
    for domain, translation in (("b", t.ab), ("a", t.ba)):
        noise = (own[domain] - translation)[translation.abs() < 0.8]
        # What the residual takes over brings its share of the crop's own noise; 1000 values spread by 2 %.
        assert float(noise.detach().std()) == pytest.approx(0.05 * math.sqrt(1 - residual**2), rel=0.1, abs=1e-6)
        assert residual == 1 or own[domain].abs().max() <= 1
    assert torch.equal(asked[1]["b"][2:], own["b"])  # D's own step sees the same, after the real ones


def test_noise_on_translations_lets_the_gradient_through():
    trainer, made = Trainer(tiny_recipe(model={"residual": 0.0}, train={"dither": 0.05}), 1, CPU), []
    trainer.model.register_forward_hook(lambda _, args, t: made.append(t))
    trainer.train_step(*batches())
    edge = replace(made[0], ab=torch.full((1, 1, 32, 16), -1.0, requires_grad=True))
    trainer._dithered(edge, [0])["ab"].sum().backward()
    assert torch.equal(edge.ab.grad, torch.ones_like(edge.ab))


def test_unit_reports_no_t():
    values = Trainer(tiny_recipe(model={"preset": "tiny", "kl": "mu2"}), 1, CPU).train_step(*batches())
    assert set(values) == {name for name in STEP_KEYS if not name.startswith("health/t_")}
    assert values["discriminator/latent"] == 0


def test_a_step_depends_on_the_recipes_seed_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = Trainer(RECIPE, 1, CPU)
    first = one.train_step(*batches())
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    other = Trainer(RECIPE, 1, CPU)
    assert_same(first, other.train_step(*batches()))
    assert_same(one.state(), other.state())
    moved = Trainer(tiny_recipe(train={"seed": 1}), 1, CPU)
    assert not torch.equal(next(moved.model.parameters()), next(one.model.parameters()))


def test_the_average_starts_short_and_grows_long():
    trainer = Trainer(RECIPE, 1, CPU)
    start = next(trainer.ema.parameters()).clone()
    assert torch.equal(start, next(trainer.model.parameters()))
    trainer.train_step(*batches())
    wanted = torch.lerp(start, next(trainer.model.parameters()), 0.9)  # decay (1 + 0) / (10 + 0)
    torch.testing.assert_close(next(trainer.ema.parameters()), wanted)
    trainer.step = 10**6
    ema, now = next(trainer.ema.parameters()).clone(), next(trainer.model.parameters()).detach()
    trainer._average()
    torch.testing.assert_close(next(trainer.ema.parameters()), torch.lerp(ema, now, 1 - RECIPE.train.ema))


@pytest.mark.parametrize(
    ("decay_from", "step", "factor"), [(0.5, 0, 1), (0.5, 50, 1), (0.5, 75, 0.5), (0.5, 99, 0.02), (1.0, 99, 1)]
)
def test_learning_rates_fall_linearly_after_their_share_of_the_run(decay_from, step, factor):
    recipe = tiny_recipe(train={"steps": 100, "decay_from": decay_from})
    trainer = Trainer(recipe, 1, CPU)
    trainer.step = step
    trainer._set_learning_rates()
    assert trainer.model_adam.param_groups[0]["lr"] == pytest.approx(1e-4 * factor)
    assert trainer.discriminators_adam.param_groups[0]["lr"] == pytest.approx(4e-4 * factor)


@pytest.mark.parametrize(
    ("fade", "step", "weight"), [(100, 0, 10), (100, 25, 7.5), (100, 100, 0), (100, 500, 0), (0, 500, 10)]
)
def test_the_identity_term_fades(fade, step, weight):
    trainer = Trainer(tiny_recipe(losses={"identity_steps": fade}), 1, CPU)
    trainer.step = step
    weights = trainer._generator_weights()
    assert weights["identity"] == pytest.approx(weight)
    assert trainer.recipe.losses.generator["identity"] == 10  # the recipe's own stays
    terms = {"identity": torch.tensor(3.0), "gan": torch.tensor(2.0)}
    assert float(trainer._weighted(terms, weights)) == pytest.approx(3 * weight + 2)


def test_the_fading_identity_term_is_over_for_a_model_trained_before():
    recipe = tiny_recipe(losses={"identity_steps": 10})
    assert Trainer(recipe.model_copy(update={"init": "model"}), 1, CPU)._generator_weights()["identity"] == 0


def test_terms_without_a_weight_do_not_count():
    terms = {"gan": torch.tensor(2.0), "identity": torch.tensor(math.nan), "cycle_kl": torch.tensor(5.0)}
    assert float(Trainer._weighted(terms, {"gan": 3.0, "identity": 0.0})) == 6


def test_crops_are_changed_in_level_and_dithered(tmp_path):
    data = ImageCache(fake_cache(tmp_path / "cache", RECIPE, offset=0.2))
    drawn = torch.cat([data.sample("a", "train", feed.at(0, image), 1, 16, 0) for image in (0, 1)])
    plain = Trainer(tiny_recipe(train={"gain_db": 0, "dither": 0}), 1, CPU)
    assert torch.equal(batch(plain, data, "a"), drawn)
    loud = Trainer(tiny_recipe(train={"gain_db": 5, "dither": 0}), 1, CPU)
    gains = batch(loud, data, "a") - drawn
    for gain, crop in zip(gains, drawn, strict=True):
        inside = gain[crop.abs() < 0.8]  # one gain per crop, at most 5 dB: 0.1 of an image that spans 100 dB over 2
        assert inside.std() < 1e-6
        assert inside.abs().max() <= 0.1
    assert not torch.equal(gains[0], gains[1])
    noisy = Trainer(tiny_recipe(train={"gain_db": 0, "dither": 0.01}), 1, CPU)
    dither = batch(noisy, data, "a") - drawn
    assert dither.std() == pytest.approx(0.01, rel=0.1)  # 1024 draws spread by 2 %
    assert batch(noisy, data, "a").abs().max() <= 1


def given_to_d(trainer):
    """Record what D is asked: images by domain, real ones first."""
    asked = []
    trainer.discriminators.image.register_forward_pre_hook(lambda _, given: asked.append(given[0]))
    return asked


def test_d_sees_more_real_crops_and_past_translations(tmp_path):
    data = ImageCache(fake_cache(tmp_path / "cache", RECIPE, offset=0.2))
    trainer = Trainer(tiny_recipe(train={"batch_size": 1, "discriminator_batch": 3}), 1, CPU)
    asked, past = given_to_d(trainer), {"b": [], "a": []}
    for kept in (0, 1, 2, 3):
        asked.clear()
        a, b, further = batch(trainer, data, "a"), batch(trainer, data, "b"), more(trainer, data)
        trainer.train_step(a, b, further)
        own, all_shown = asked  # the generator's step, D's
        for domain, real in (("a", a), ("b", b)):
            assert len(own[domain]) == 1  # the generator's step shows D its own translations alone
            assert torch.equal(all_shown[domain][:3], torch.cat([real, further[domain]]))
            shown = all_shown[domain][3:]
            assert len(shown) == 1 + min(kept, 2)  # as many as there are
            assert torch.equal(shown[:1], own[domain])
            assert all(any(torch.equal(one, other) for other in past[domain]) for one in shown[1:])
            past[domain].append(own[domain][0].detach().half().float())


def test_further_crops_are_others_and_repeat(tmp_path):
    data = ImageCache(fake_cache(tmp_path / "cache", RECIPE))
    assert more(Trainer(RECIPE, 1, CPU), data) == {}
    trainer = Trainer(tiny_recipe(train={"discriminator_batch": 5}), 1, CPU)
    one, again = more(trainer, data), more(trainer, data)
    for domain in "ab":
        assert one[domain].shape == (3, 1, 32, 16)
        assert torch.equal(one[domain], again[domain])
        own = batch(trainer, data, domain)
        assert not any(torch.equal(x, y) for x in one[domain] for y in own)
    trainer.step = 1
    assert not torch.equal(more(trainer, data)["a"], one["a"])


@pytest.mark.parametrize("seed", [1, 2])
def test_further_crops_of_one_seed_are_not_the_crops_of_another(tmp_path, seed):
    data = ImageCache(fake_cache(tmp_path / "cache", RECIPE))
    further = more(Trainer(tiny_recipe(train={"batch_size": 2, "discriminator_batch": 4, "seed": 0}), 1, CPU), data)
    for domain in "ab":
        other = batch(Trainer(tiny_recipe(train={"batch_size": 2, "seed": seed}), 1, CPU), data, domain)
        assert not torch.equal(further[domain], other)


@pytest.mark.parametrize(("discriminator_batch", "kept"), [(1, 0), (2, 0), (3, 2)])
def test_translations_are_kept_only_where_they_will_be_shown(discriminator_batch, kept):
    trainer = Trainer(tiny_recipe(train={"discriminator_batch": discriminator_batch}), 1, CPU)
    asked = given_to_d(trainer)
    trainer.train_step(*batches())
    # Without further crops D sees the step's own.
    assert [{d: len(x) for d, x in images.items()} for images in asked] == [{"a": 2, "b": 2}, {"a": 4, "b": 4}]
    assert {name: len(images) for name, images in trainer.state()["pool"].items()} == (
        {"ab": 2, "ba": 2} if kept else {}
    )
    assert trainer.pool.size == (POOL_SIZE if kept else 0)


# bf16 is for devices that have it -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "device", "has", "wanted"),
    [
        ("bf16", "cpu", True, "bf16"),
        ("bf16", "cpu", False, "float32"),
        ("float32", "cpu", True, "float32"),
        ("bf16", "cuda:0", True, "bf16"),
        ("bf16", "cuda:0", False, "float32"),
        ("float32", "cuda:0", True, "float32"),
    ],
)
def test_a_device_without_it_takes_float32(monkeypatch, asked, device, has, wanted):
    monkeypatch.setattr(engine, "cpu_has_bf16", lambda: has)
    monkeypatch.setattr(engine, "gpu_has_bf16", lambda device: has)
    assert engine.quick_precision(asked, torch.device(device)) == wanted


def test_a_gpu_that_only_imitates_it_has_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    # As torch answers on a GPU of before 2020.
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert engine.gpu_has_bf16(torch.device("cuda:0")) is False


def test_kernels_are_chosen_for_gpus_alone(monkeypatch):
    cudnn, matmul = SimpleNamespace(), SimpleNamespace()
    monkeypatch.setattr(torch.backends, "cudnn", cudnn)
    monkeypatch.setattr(torch.backends.cuda, "matmul", matmul)
    engine.choose_kernels(CPU)
    assert not vars(cudnn)
    assert not vars(matmul)
    engine.choose_kernels(torch.device("cuda:0"))
    assert vars(cudnn) == {"benchmark": True, "allow_tf32": True}
    assert vars(matmul) == {"allow_tf32": True}


def test_a_build_without_the_library_has_none(monkeypatch):
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    assert engine.cpu_has_bf16() is False


@pytest.mark.parametrize("quick", ["bf16", "float32"])
def test_the_trainer_takes_what_is_quick(monkeypatch, quick):
    monkeypatch.setattr(engine, "quick_precision", lambda asked, device: quick)
    with Trainer(tiny_recipe(train={"precision": "bf16"}), 1, CPU)._precision():
        found = torch.ones(4, 4) @ torch.ones(4, 4)
    assert found.dtype == {"bf16": torch.bfloat16, "float32": torch.float32}[quick]


# Checkpoints of other optimisers ------------------------------------------------------------------------------------


def test_a_checkpoint_of_another_way_of_adam_and_another_layout_goes_on_alike():
    one, other = (Trainer(tiny_recipe(train={"channels_last": layout}), 1, CPU) for layout in (True, False))
    one.train_step(*batches())
    state = copy.deepcopy(one.state())
    for part in ("model_adam", "discriminators_adam"):
        for group in state[part]["param_groups"]:
            group |= {"foreach": True, "fused": None}
    other.load(state)
    assert all(group["fused"] for group in other.model_adam.param_groups)
    one.train_step(*batches())
    other.train_step(*batches())
    for p, q in zip(one.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-6, rtol=1e-4)
