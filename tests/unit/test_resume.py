"""A run goes on as it was begun, wherever it lies; what would change it is named, refused, or asked for and logged."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner

from audiotrans.cli import main
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.processes import alone_in
from audiotrans.recipe import recipe_from_dict, recipe_to_dict
from audiotrans.training.cache import fingerprint, read_manifest
from audiotrans.training.checkpoints import load_checkpoint, save_checkpoint
from audiotrans.training.run import train
from tests.fakes import assert_same, fake_cache, tiny_recipe

SETTINGS = {"steps": 2, "save_every": 1, "sample_every": 9}
RECIPE = tiny_recipe(train=SETTINGS)


@pytest.fixture(scope="module", autouse=True)
def _fast(no_board):
    """Train without TensorBoard."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Make a cache and a run of one step, which nothing may change."""
    root = tmp_path_factory.mktemp("resume")
    cache = fake_cache(root / "cache", RECIPE, offset=0.2)
    train(tiny_recipe(train=SETTINGS | {"steps": 1}), cache, root / "short", progress=False)
    train(RECIPE, cache, root / "run", progress=False)
    # As if it had been killed after its first step.
    (root / "run" / "last.pt").rename(root / "whole.pt")
    stored(root / "run", load_checkpoint(root / "short" / "last.pt")[0])
    return root


def stored(run, state):
    cache = json.loads(state.pop("recipe"))["cache"]
    save_checkpoint(run / "last.pt", state, RECIPE.model_copy(update={"cache": cache}))


@pytest.fixture
def run(root, tmp_path):
    return shutil.copytree(root / "run", tmp_path / "run")


def go(recipe, cache, run, **options):
    return train(recipe, cache, run, progress=False, resume=True, **options)


def step(run):
    return load_checkpoint(run / "last.pt")[0]["step"]


def other(**parts):
    """Return the recipe with other values, given as a recipe gives them."""
    values = recipe_to_dict(RECIPE)
    for name, value in parts.items():
        values[name] = values[name] | value if isinstance(value, dict) else value
    return recipe_from_dict(values)


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({"train": {"seed": 1}}, r"train\.seed: 0 -> 1"),
        ({"train": {"batch_size": 3, "learning_rate": 1}}, r"train\.batch_size: 2 -> 3; train\.learning_rate: .*1\.0"),
        ({"train": {"steps": 8}}, r"train\.steps: 2 -> 8"),
        ({"train": {"betas": [0.9, 0.99]}}, r"train\.betas: \[0\.5, 0\.999\] -> \[0\.9, 0\.99\]"),
        ({"losses": {"generator": {"gan": 1}}}, r"losses\.generator\.vae_kl: 0\.1 -> none"),
        ({"losses": {"gan": "bce"}}, r'losses\.gan: "hinge" -> "bce"'),
        ({"domains": {"a": "flute"}}, r"holds violin and piano"),
        ({"init": "violin-piano"}, r'init: "" -> "violin-piano"'),
        ({"shifts": 2}, r"shifts\.a: 1 -> 2; shifts\.b: 1 -> 2"),
        ({"model": {"kl": "linear"}}, r"model\.kl.*take a new run folder"),
    ],
    ids=str,
)  # fmt: skip
def test_other_settings_are_refused_by_name(root, run, parts, named):
    before = (run / "last.pt").read_bytes()
    with pytest.raises(AudiotransError, match=named) as error:
        go(other(**parts), root / "cache", run)
    assert "\n" not in str(error.value)
    assert (run / "last.pt").read_bytes() == before


def test_other_images_under_the_same_name_are_refused(root, run, tmp_path):
    cache = fake_cache(tmp_path / "cache", RECIPE, frames=44)
    with pytest.raises(UsageError, match=r"content of cache: [0-9a-f]{16} -> [0-9a-f]{16}"):
        go(RECIPE, cache, run)
    go(RECIPE, cache, run, changed=True)
    assert step(run) == 2


def test_what_is_asked_for_is_changed_logged_and_the_runs_own_from_then_on(root, run):
    longer = other(train={"steps": 3, "learning_rate": 0.001})
    go(longer, root / "cache", run, changed=True)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (note,) = [line for line in lines if "changed" in line]
    assert note["step"] == 1
    assert note["changed"] == {"train.steps": "2 -> 3", "train.learning_rate": "0.0001 -> 0.001"}
    assert step(run) == 3
    assert load_checkpoint(run / "last.pt")[1].train == longer.train
    go(longer, root / "cache", run)
    with pytest.raises(UsageError, match=r"train\.steps: 3 -> 2"):
        go(RECIPE, root / "cache", run)


def test_a_change_is_the_runs_own_before_a_further_step_is_taken(root, run, monkeypatch):
    def killed(*_):
        raise SystemExit

    monkeypatch.setattr("audiotrans.training.engine.Trainer.train_step", killed)
    with pytest.raises(SystemExit):
        go(other(train={"steps": 3}), root / "cache", run, changed=True)
    assert load_checkpoint(run / "last.pt")[1].train.steps == 3


def test_what_no_weight_depends_on_may_differ(root, run):
    go(other(train={"log_every": 2, "save_every": 7, "keep_every": 5, "sample_every": 3}), root / "cache", run)
    assert_same(load_checkpoint(run / "last.pt")[0]["model"], load_checkpoint(root / "whole.pt")[0]["model"])


def test_run_and_cache_may_move(root, run, tmp_path):
    cache = shutil.copytree(root / "cache", tmp_path / "elsewhere")
    manifest = json.loads((cache / "manifest.json").read_text())
    for item in manifest["items"]:
        item |= {"source": "/another/machine/sound.wav", "stamp": [1, 2]}
    (cache / "manifest.json").write_text(json.dumps(manifest))
    go(RECIPE, cache, run)
    assert load_checkpoint(run / "last.pt")[1].cache == str(cache)


@pytest.mark.parametrize("change", [{"weight": 2.0}, {"frames": 39}, {"file": "other"}, {"joined": [{"file": "x"}]}])
def test_a_fingerprint_is_of_all_that_crops_depend_on(root, change):
    manifest = read_manifest(root / "cache")
    before = fingerprint(manifest)
    manifest["items"][1] |= change
    assert fingerprint(manifest) != before


def test_the_start_of_a_run_is_its_own(root, tmp_path):
    begun = other(init=str(root / "short"))
    train(begun, root / "cache", tmp_path / "run", progress=False)
    longer = other(train={"steps": 3})  # says nothing of init
    go(longer, root / "cache", tmp_path / "run", changed=True)
    assert load_checkpoint(tmp_path / "run" / "last.pt")[1].init == str(root / "short")


def test_two_processes_do_not_train_in_one_folder(root, run):
    with alone_in(run), pytest.raises(AudiotransError, match="another process is at work in"):
        go(RECIPE, root / "cache", run)
    go(RECIPE, root / "cache", run)


def test_what_a_killed_run_left_unfinished_is_cleared_and_finished(root, run):
    (run / ".0123abcd.partial").write_bytes(b"half a checkpoint")
    state, _ = load_checkpoint(run / "last.pt")
    stored(run, state | {"best": {"score": 0.0, "step": 1}})
    (run / "best.pt").unlink()  # killed between the two
    go(other(train={"keep_every": 2}), root / "cache", run)
    assert not list(run.glob(".*"))
    assert load_checkpoint(run / "best.pt")[0]["step"] == 1
    assert load_checkpoint(run / "step_0000002.pt")[0]["step"] == 2
    assert step(run) == 2


def test_the_best_and_every_nth_checkpoint_stay(root, tmp_path, monkeypatch):
    scores = iter([0.9, 0.5, 0.7, 0.4, 0.6])
    monkeypatch.setattr("audiotrans.training.run.validate", lambda *_: {"valid/score": next(scores)})
    run = tmp_path / "run"
    train(tiny_recipe(train=SETTINGS | {"steps": 3, "keep_every": 2}), root / "cache", run, progress=False)
    assert {path.name for path in run.glob("*.pt")} == {"last.pt", "best.pt", "step_0000002.pt"}
    assert load_checkpoint(run / "best.pt")[0]["step"] == 2
    go(tiny_recipe(train=SETTINGS | {"steps": 5, "keep_every": 2}), root / "cache", run, changed=True)
    assert {path.name: load_checkpoint(path)[0]["step"] for path in run.glob("*.pt")} == {
        "last.pt": 5, "best.pt": 4, "step_0000002.pt": 2, "step_0000004.pt": 4,
    }  # fmt: skip


# The command ---------------------------------------------------------------------------------------------------------


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_command_needs_no_recipe_to_go_on(root, run, monkeypatch):
    monkeypatch.setattr("audiotrans.cli.train._sample_writer", lambda *_: None)
    command = ("train", "--resume", "--run", run, "--device", "cpu", "-q")
    result = invoke(*command, "--set", "train.seed=1")
    assert result.exit_code == 2
    assert "train.seed: 0 -> 1" in result.stderr
    result = invoke(*command)
    assert (result.exit_code, result.stdout) == (0, f"last checkpoint: {run / 'last.pt'}\n")
    result = invoke(*command, "--set", "train.steps=3", "--changed")
    assert result.exit_code == 0
    assert step(run) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train",), "name a recipe, such as recipes/violin_piano.yaml; to go on with a run: --resume --run FOLDER"),
        (("train", "--resume"), "name a recipe"),
        (("train", "--run", "run"), "name a recipe"),
        (("train", "r.yaml", "--changed"), "--changed goes with --resume"),
    ],
)
def test_what_is_missing_is_said(arguments, message):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
