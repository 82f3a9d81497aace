"""The training loop: who moves when, what is repeatable, and what a run leaves behind."""

from __future__ import annotations

import copy
import json
import math
import signal
import sys

import pytest
import torch

from audiotrans.errors import AudiotransError, UsageError
from audiotrans.training import engine
from audiotrans.training.checkpoints import load_checkpoint
from audiotrans.training.datasets import ImageCache
from audiotrans.training.engine import Trainer, batch, train
from audiotrans.training.interrupt import Interruption
from tests.fakes import fake_cache, image, tiny_recipe

CPU = torch.device("cpu")
RECIPE = tiny_recipe()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return fake_cache(tmp_path_factory.mktemp("engine") / "cache", RECIPE, offset=0.2)


@pytest.fixture(autouse=True)
def _no_board(request, monkeypatch):
    """Leave TensorBoard out: it takes longer to import than all of this to run."""
    if "tensorboard" not in request.node.name:
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


def go(recipe, cache, run, **options):
    return train(recipe, cache, run, progress=False, **options)


def lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def batches(recipe=RECIPE):
    shape = (2, 1, recipe.imaging.rows, recipe.train.crop_frames)
    return image(shape, 1, -0.2), image(shape, 2, 0.2)


def flat(state, prefix=""):
    """Flatten nested dicts and lists of a checkpoint to name: value."""
    if isinstance(state, dict):
        return {k: v for key, value in state.items() for k, v in flat(value, f"{prefix}/{key}").items()}
    if isinstance(state, list | tuple):
        return flat(dict(enumerate(state)), prefix)
    return {prefix: state}


def assert_same(one, other):
    one, other = flat(one), flat(other)
    assert one.keys() == other.keys()
    for name, value in one.items():
        same = torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
        assert same, name


# One step --------------------------------------------------------------------------------------------------------


def test_each_parameter_occurs_once_in_the_optimisers():
    trainer = Trainer(RECIPE, 1, CPU)
    for optimiser, module in ((trainer.model_adam, trainer.model), (trainer.critics_adam, trainer.critics)):
        held = [p for group in optimiser.param_groups for p in group["params"]]
        assert len({id(p) for p in held}) == len(held)
        assert {id(p) for p in held} == {id(p) for p in module.parameters()}
    assert not any(p.requires_grad for p in trainer.ema.parameters())


@pytest.mark.parametrize("kl", ["softplus", "mu2"])
def test_only_the_named_players_weights_move(kl):
    trainer = Trainer(tiny_recipe(model={"kl": kl}), 1, CPU)
    modules = {"model": trainer.model, "critics": trainer.critics}
    descend, moved = trainer._descend, []

    def spy(optimiser, loss):
        before = {name: copy.deepcopy(list(module.parameters())) for name, module in modules.items()}
        for module in modules.values():
            module.zero_grad()
        descend(optimiser, loss)
        moved.append(
            {n for n, m in modules.items() for p, q in zip(m.parameters(), before[n], strict=True) if (p != q).any()}
        )
        graded = {n for n, m in modules.items() for p in m.parameters() if p.grad is not None and p.grad.any()}
        assert graded == moved[-1]

    trainer._descend = spy
    trainer.train_step(*batches())
    assert moved == [{"model"}, {"critics"}]


def test_every_part_of_both_players_learns():
    # Hinge leaves the last bias alone while all logits lie within the margin.
    trainer = Trainer(tiny_recipe(losses={"gan": "bce"}), 1, CPU)
    before = {name: p.clone() for module in (trainer.model, trainer.critics) for name, p in module.named_parameters()}
    for _ in range(2):  # T's last layer starts at zero, so its other layers move from the second step on
        trainer.train_step(*batches())
    after = dict(trainer.model.named_parameters()) | dict(trainer.critics.named_parameters())
    still = [name for name, p in after.items() if torch.equal(p, before[name])]
    assert not still


def test_a_step_reports_every_term_and_the_critics_health():
    values = Trainer(RECIPE, 1, CPU).train_step(*batches())
    assert set(values) == KEYS
    assert all(value.shape == () and not value.requires_grad and value.isfinite() for value in values.values())
    assert values["critic/latent"] == pytest.approx(2 * math.log(2))  # T starts undecided


KEYS = {
    "generator/gan", "generator/vae_kl", "generator/vae_reconstruction", "generator/cycle_kl",
    "generator/cycle_reconstruction", "generator/identity", "generator/fine_structure", "critic/image",
    "critic/latent", "health/z_std", "health/t_accuracy", "health/t_posterior", "health/t_prior",
    "health/d_real_a", "health/d_real_b", "health/d_fake_ab", "health/d_fake_ba",
}  # fmt: skip


def test_unit_reports_no_t():
    values = Trainer(tiny_recipe(model={"preset": "tiny", "kl": "mu2"}), 1, CPU).train_step(*batches())
    assert set(values) == {name for name in KEYS if not name.startswith("health/t_")}
    assert values["critic/latent"] == 0


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
    assert trainer.critics_adam.param_groups[0]["lr"] == pytest.approx(4e-4 * factor)


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


def test_terms_without_a_weight_do_not_count():
    terms = {"gan": torch.tensor(2.0), "identity": torch.tensor(math.nan), "cycle_kl": torch.tensor(5.0)}
    assert float(Trainer._weighted(terms, {"gan": 3.0, "identity": 0.0})) == 6


def test_crops_are_changed_in_level_and_dithered(cache):
    data = ImageCache(cache)
    draw = ("a", "train", 0, 2, 16, 0)
    plain = Trainer(tiny_recipe(train={"gain_db": 0, "dither": 0}), 1, CPU)
    assert torch.equal(batch(plain, data, "a"), data.sample(*draw))
    loud = Trainer(tiny_recipe(train={"gain_db": 5, "dither": 0}), 1, CPU)
    gains = batch(loud, data, "a") - data.sample(*draw)
    for gain, crop in zip(gains, data.sample(*draw), strict=True):
        inside = gain[crop.abs() < 0.8]  # one gain per crop, at most 5 dB: 0.1 of an image that spans 100 dB over 2
        assert inside.std() < 1e-6
        assert inside.abs().max() <= 0.1
    assert not torch.equal(gains[0], gains[1])
    noisy = Trainer(tiny_recipe(train={"gain_db": 0, "dither": 0.01}), 1, CPU)
    dither = batch(noisy, data, "a") - data.sample(*draw)
    assert dither.std() == pytest.approx(0.01, rel=0.1)  # 1024 draws spread by 2 %
    assert batch(noisy, data, "a").abs().max() <= 1


# A run -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(cache, tmp_path_factory):
    """Run four steps without a break; shared, as nothing may change it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch.utils.tensorboard", None)
        run = tmp_path_factory.mktemp("runs") / "whole"
        seen = []
        path = go(tiny_recipe(train={"sample_every": 3}), cache, run,
                  on_sample=lambda model, step, folder: seen.append((model, step, folder)))  # fmt: skip
    return run, path, seen


def test_a_run_leaves_recipe_metrics_and_checkpoint(whole):
    run, path, seen = whole
    assert path == run / "last.pt"
    assert {p.name for p in run.iterdir()} == {"last.pt", "metrics.jsonl", "recipe.yaml"}
    found, validations = lines(run), [line for line in lines(run) if "valid/fine" in line]
    assert [line["step"] for line in found] == [1, 2, 2, 3, 4, 4]
    assert [line["step"] for line in validations] == [2, 4]
    assert all(line.keys() == KEYS | {"step", "seconds"} for line in found if line not in validations)
    assert {key for line in validations for key in line} - {"step", "seconds"} == {
        "valid/reconstruction", "valid/cycle", "valid/fine", "valid/profile_ab", "valid/profile_ba",
    }  # fmt: skip
    assert all(math.isfinite(value) for line in found for value in line.values())
    state, _ = load_checkpoint(path)
    assert state["step"] == 4
    assert [(step, folder) for _, step, folder in seen] == [(3, run / "samples"), (4, run / "samples")]
    # Samples come from the averaged weights, and those are in the checkpoint.
    assert_same(dict(seen[-1][0].state_dict()), dict(state["ema"]))


class PowerCut(Exception):
    pass


def interrupted(recipe, cache, run, at, error):
    """Run until ``error`` strikes after step ``at``."""

    def strike(model, step, folder):
        if step == at:
            raise error

    with pytest.raises(error):
        go(recipe, cache, run, on_sample=strike)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_two_steps_and_two_more_equal_four(cache, tmp_path, precision):
    recipe = tiny_recipe(train={"precision": precision})
    go(recipe, cache, tmp_path / "whole")
    interrupted(recipe, cache, tmp_path / "parts", 2, PowerCut)
    assert load_checkpoint(tmp_path / "parts" / "last.pt")[0]["step"] == 2
    go(recipe, cache, tmp_path / "parts", resume=True)
    one, other = (load_checkpoint(tmp_path / name / "last.pt")[0] for name in ("whole", "parts"))
    assert one.pop("recipe") == other.pop("recipe")
    assert_same(one, other)
    timeless = [
        [{k: v for k, v in line.items() if k != "seconds"} for line in lines(tmp_path / name)]
        for name in ("whole", "parts")
    ]
    assert timeless[0] == timeless[1]


def test_steps_after_the_last_checkpoint_are_logged_once(cache, tmp_path):
    run = tmp_path / "run"
    interrupted(RECIPE, cache, run, 3, PowerCut)  # step 3 is in the metrics, the checkpoint holds step 2
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "gener')  # killed while writing
    go(RECIPE, cache, run, resume=True)
    assert [line["step"] for line in lines(run) if "valid/fine" not in line] == [1, 2, 3, 4]


def test_an_interrupt_saves_the_step_it_came_in(cache, tmp_path, monkeypatch):
    step = Trainer.train_step

    def struck(trainer, a, b, more):
        if trainer.step == 2:
            signal.raise_signal(signal.SIGINT)  # in the middle of the third step
        return step(trainer, a, b, more)

    monkeypatch.setattr(Trainer, "train_step", struck)
    with pytest.raises(KeyboardInterrupt):
        go(RECIPE, cache, tmp_path)
    assert load_checkpoint(tmp_path / "last.pt")[0]["step"] == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_takes_effect_at_once():
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        assert interruption.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_finished_run_resumes_to_nothing(whole, cache):
    run, path, _ = whole
    before = path.read_bytes(), (run / "metrics.jsonl").read_text()
    assert go(RECIPE, cache, run, resume=True) == path
    assert before == (path.read_bytes(), (run / "metrics.jsonl").read_text())


def test_a_run_is_not_overwritten(whole, cache):
    run, path, _ = whole
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"holds a run already: continue it with --resume, or choose another --run"):
        go(RECIPE, cache, run)
    assert path.read_bytes() == before


def test_only_the_same_model_resumes(whole, cache):
    run, _, _ = whole
    other = tiny_recipe(model={"kl": "linear"})
    with pytest.raises(UsageError, match="is of another model; take a new run folder or the recipe in"):
        go(other, cache, run, resume=True)


def test_there_must_be_something_to_resume(cache, tmp_path):
    with pytest.raises(AudiotransError, match="does not exist: nothing to resume"):
        go(RECIPE, cache, tmp_path / "run", resume=True)


@pytest.mark.parametrize("log_every", [1, 1000])
def test_a_run_that_diverges_stops_in_one_line_and_keeps_a_sound_checkpoint(cache, tmp_path, monkeypatch, log_every):
    calm = Trainer._set_learning_rates

    def jump(trainer):
        calm(trainer)
        if trainer.step == 2:
            trainer.model_adam.param_groups[0]["lr"] = 1e30

    monkeypatch.setattr(Trainer, "_set_learning_rates", jump)
    recipe = tiny_recipe(train={"log_every": log_every, "save_every": 1, "steps": 9})
    with pytest.raises(
        AudiotransError, match=r"is no longer finite at step [34]; .*lower train\.learning_rate"
    ) as error:
        go(recipe, cache, tmp_path)
    assert "\n" not in str(error.value)
    state, _ = load_checkpoint(tmp_path / "last.pt")
    assert state["step"] == 2
    assert all(value.abs().max() < 1e3 for value in state["model"].values())
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


@pytest.mark.parametrize("player", ["model", "critics"])
def test_weights_that_are_not_finite_are_never_saved(cache, tmp_path, monkeypatch, player):
    step = Trainer.train_step

    def poisoned(trainer, a, b, more):
        values = step(trainer, a, b, more)
        if trainer.step == 2:
            with torch.no_grad():
                next(getattr(trainer, player).parameters()).fill_(math.nan)
        return values

    monkeypatch.setattr(Trainer, "train_step", poisoned)
    with pytest.raises(AudiotransError, match="a weight is no longer finite at step 2"):
        go(tiny_recipe(train={"save_every": 1}), cache, tmp_path)
    assert load_checkpoint(tmp_path / "last.pt")[0]["step"] == 1


def test_without_held_out_images_nothing_is_validated(tmp_path):
    cache = fake_cache(tmp_path / "cache", RECIPE, valid=False)
    go(RECIPE, cache, tmp_path / "run")
    assert [line["step"] for line in lines(tmp_path / "run")] == [1, 2, 3, 4]


def test_tensorboard_gets_the_same_figures(cache, tmp_path):
    pytest.importorskip("tensorboard")
    go(tiny_recipe(train={"steps": 1}), cache, tmp_path)
    assert list((tmp_path / "tensorboard").iterdir())


# What does not fit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"imaging": {"hop_length": 128}}, r"has imaging\.hop_length 64, the recipe 128; run audiotrans prep with it"),
        ({"imaging": {"rows": 40}}, r"has imaging\.rows 32, the recipe 40"),
        ({"domains": {"b": "flute"}}, r"holds \{'a': 'violin', 'b': 'piano'\}, the recipe wants .*'flute'"),
        ({"train": {"crop_frames": 18}}, r"train\.crop_frames 18 does not suit this model: .* multiple of 4 from 16"),
        ({"model": {"preset": "tiny", "critic_scales": 3}}, r"imaging\.rows 32 .* multiple of 8 from 64"),
    ],
)
def test_a_cache_that_does_not_fit_is_refused_by_name(cache, tmp_path, parts, message):
    with pytest.raises(AudiotransError, match=message):
        go(tiny_recipe(**parts), cache, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_phase_method_may_differ_from_the_caches(cache, tmp_path):
    go(tiny_recipe(imaging={"phase": "source"}, train={"steps": 1}), cache, tmp_path)


@pytest.mark.parametrize("scales", [0, 1, 2, 3])
def test_the_least_size_that_is_let_through_can_be_trained(scales):
    model = {"preset": "tiny", "width": 4, "critic_width": 4, "critic_scales": scales, "latent_critic": "patch"}
    for frames in range(16, 200, 4):
        recipe = tiny_recipe(model=model, train={"crop_frames": frames})
        try:
            engine._check_size(recipe, 256)
        except UsageError:
            continue
        break
    assert frames == {0: 16, 1: 16, 2: 32, 3: 64}[scales]
    x = image((1, 1, 256, frames), 0)
    assert Trainer(recipe, 1, CPU).train_step(x, x)["generator/gan"].isfinite()
