"""Whole training runs: what they leave behind, how they resume and stop, and which caches they refuse."""

from __future__ import annotations

import json
import math
import signal
import sys
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from audiotrans.errors import AudiotransError, UsageError
from audiotrans.model import nets
from audiotrans.recipe import recipe_from_dict, recipe_to_dict
from audiotrans.training import run as training_run
from audiotrans.training.checkpoints import CLOCKED, load_checkpoint
from audiotrans.training.engine import Trainer
from audiotrans.training.run import train
from audiotrans.training.stopping import Interruption, TimeLimit
from tests.fakes import STEP_KEYS, assert_same, fake_cache, image, tiny_recipe

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
    assert {p.name for p in run.iterdir()} == {"best.pt", "last.pt", "metrics.jsonl", "recipe.yaml"}
    found, validations = lines(run), [line for line in lines(run) if "valid/fine" in line]
    assert [line["step"] for line in found] == [1, 2, 2, 3, 4, 4]
    assert [line["step"] for line in validations] == [2, 4]
    assert all(line.keys() == STEP_KEYS | {"step", *CLOCKED} for line in found if line not in validations)
    assert {key for line in validations for key in line} - {"step", "seconds"} == {
        "valid/reconstruction", "valid/cycle", "valid/fine", "valid/statistics_ab", "valid/statistics_ba",
        "valid/score",
    }  # fmt: skip
    assert all(math.isfinite(value) for line in found for value in line.values())
    state, _ = load_checkpoint(path)
    assert state["step"] == 4
    assert [(step, folder) for _, step, folder in seen] == [(3, run / "samples"), (4, run / "samples")]
    # Samples come from the averaged weights, and those are in the checkpoint.
    assert_same(dict(seen[-1][0].state_dict()), dict(state["ema"]))


def test_a_device_without_bf16_is_named_where_training_begins_and_no_earlier(cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("audiotrans.training.engine.quick_precision", lambda asked, device: "float32")
    recipe = tiny_recipe(train={"precision": "bf16", "steps": 1})
    train(recipe, cache, tmp_path / "run")
    assert capsys.readouterr().err.startswith("this CPU has no bf16 arithmetic: training in float32\n")
    with pytest.raises(UsageError, match="holds a run already"):
        train(recipe, cache, tmp_path / "run")
    assert capsys.readouterr().err == ""


class PowerCut(Exception):
    pass


def interrupted(recipe, cache, run, at, error):
    """Run until ``error`` strikes after step ``at``."""

    def strike(model, step, folder):
        if step == at:
            raise error

    with pytest.raises(error):
        go(recipe, cache, run, on_sample=strike)


# discriminator_batch 6 of 2: each step wants four past translations, and only the pool of the first part holds them.
@pytest.mark.parametrize(
    "settings",
    [
        {"precision": "float32"},
        {"precision": "bf16"},
        {"discriminator_batch": 6},
        {"discriminator_batch": 6, "match_range": True},
        {"kl": "adaptive"},
    ],
    ids=str,
)
def test_two_steps_and_two_more_equal_four(cache, tmp_path, settings):
    settings, kl = {name: value for name, value in settings.items() if name != "kl"}, settings.get("kl", "softplus")
    recipe = tiny_recipe(train=settings, model={"kl": kl})
    go(recipe, cache, tmp_path / "whole")
    interrupted(recipe, cache, tmp_path / "parts", 2, PowerCut)
    assert load_checkpoint(tmp_path / "parts" / "last.pt")[0]["step"] == 2
    go(recipe, cache, tmp_path / "parts", resume=True)
    one, other = (load_checkpoint(tmp_path / name / "last.pt")[0] for name in ("whole", "parts"))
    assert one.pop("recipe") == other.pop("recipe")
    assert_same(one, other)
    timeless = [
        [{k: v for k, v in line.items() if k not in CLOCKED} for line in lines(tmp_path / name)]
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


@pytest.fixture
def sigint():
    """Put a handler in SIGINT's place, and the inherited one back."""
    inherited = signal.getsignal(signal.SIGINT)
    yield lambda handler: signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGINT, inherited)


def test_an_interrupt_saves_the_step_it_came_in(cache, tmp_path, monkeypatch, sigint):
    sigint(signal.default_int_handler)
    step = Trainer.train_step

    def struck(trainer, *crops):
        if trainer.step == 2:
            signal.raise_signal(signal.SIGINT)  # in the middle of the third step
        return step(trainer, *crops)

    monkeypatch.setattr(Trainer, "train_step", struck)
    with pytest.raises(KeyboardInterrupt):
        go(RECIPE, cache, tmp_path)
    assert load_checkpoint(tmp_path / "last.pt")[0]["step"] == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("told", [True, False])
def test_sigterm_saves_and_is_no_error_for_those_who_ask(cache, tmp_path, monkeypatch, told):
    step, limit = Trainer.train_step, TimeLimit() if told else None

    def struck(trainer, *crops):
        signal.raise_signal(signal.SIGTERM)
        return step(trainer, *crops)

    monkeypatch.setattr(Trainer, "train_step", struck)
    inherited = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with nullcontext() if told else pytest.raises(KeyboardInterrupt):
            go(RECIPE, cache, tmp_path, limit=limit)
    finally:
        signal.signal(signal.SIGTERM, inherited)
    assert load_checkpoint(tmp_path / "last.pt")[0]["step"] == 1
    assert limit is None or limit.stopped_at == 1


def test_a_run_in_the_background_stays_deaf(sigint):
    sigint(signal.SIG_IGN)  # what a shell's ``&`` leaves
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
    assert not interruption.asked


def test_a_second_interrupt_takes_effect_at_once(sigint):
    sigint(signal.default_int_handler)
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
    with pytest.raises(UsageError, match=r'is of another model .*model\.kl: "softplus" -> "linear".*a new run'):
        go(other, cache, run, resume=True)


def test_layers_of_a_preset_that_has_changed_are_refused_in_one_line(whole, cache, monkeypatch):
    run, _, _ = whole
    monkeypatch.setitem(nets.PRESETS, "tiny", replace(nets.PRESETS["tiny"], image_std=0.7))  # no shape tells of it
    with pytest.raises(UsageError, match="has other layers than preset tiny now: take a new run folder"):
        go(tiny_recipe(), cache, run, resume=True)


def test_a_state_that_does_not_fit_is_told_in_one_line(whole):
    state, _ = load_checkpoint(whole[1])
    state["model"] = {f"old.{name}": value for name, value in state["model"].items()}
    with pytest.raises(AudiotransError, match="the checkpoint has other layers than this version") as caught:
        Trainer(RECIPE, 2, CPU).load(state)
    assert "\n" not in str(caught.value)


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


@pytest.mark.parametrize("player", ["model", "discriminators"])
def test_weights_that_are_not_finite_are_never_saved(cache, tmp_path, monkeypatch, player):
    step = Trainer.train_step

    def poisoned(trainer, *crops):
        values = step(trainer, *crops)
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
        (
            {"domains": {"b": "flute"}},
            r"holds violin and piano, the recipe translates violin and flute; run audiotrans prep with it",
        ),
        ({"train": {"crop_frames": 18}}, r"train\.crop_frames 18 does not suit this model: .* multiple of 4 from 16"),
        ({"model": {"preset": "tiny", "discriminator_scales": 3}}, r"imaging\.rows 32 .* multiple of 8 from 64"),
    ],
)
def test_a_cache_that_does_not_fit_is_refused_by_name(cache, tmp_path, parts, message):
    with pytest.raises(AudiotransError, match=message):
        go(tiny_recipe(**parts), cache, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_cache_with_another_share_of_vibrato_removed_is_refused(tmp_path):
    straight = recipe_from_dict(recipe_to_dict(tiny_recipe(train={"steps": 1})) | {"remove_vibrato": {"b": 100}})
    cache = fake_cache(tmp_path / "cache", straight)
    go(straight, cache, tmp_path / "old")  # of a version that did not say
    manifest = json.loads((cache / "manifest.json").read_text())
    (cache / "manifest.json").write_text(json.dumps(manifest | {"remove_vibrato": {"a": 0.0, "b": 0.0}}))
    with pytest.raises(
        AudiotransError,
        match=r"has 0 percent of the vibrato of violin removed, the recipe's conversions 100; run audiotrans prep",
    ):
        go(straight, cache, tmp_path / "new")
    go(tiny_recipe(train={"steps": 1}), cache, tmp_path / "new")


def test_the_phase_method_may_differ_from_the_caches(cache, tmp_path):
    last = go(tiny_recipe(imaging={"phase": "source"}, train={"steps": 1}), cache, tmp_path)
    assert load_checkpoint(last)[0]["step"] == 1


@pytest.mark.parametrize("scales", [0, 1, 2, 3])
def test_the_least_size_that_is_let_through_can_be_trained(scales):
    model = {
        "preset": "tiny",
        "width": 4,
        "discriminator_width": 4,
        "discriminator_scales": scales,
        "latent_discriminator": "patch",
    }
    for frames in range(16, 200, 4):
        recipe = tiny_recipe(model=model, train={"crop_frames": frames})
        try:
            training_run._check_size(recipe, 256)
        except UsageError:
            continue
        break
    assert frames == {0: 16, 1: 16, 2: 32, 3: 64}[scales]
    x = image((1, 1, 256, frames), 0)
    assert Trainer(recipe, 1, CPU).train_step(x, x)["generator/gan"].isfinite()
