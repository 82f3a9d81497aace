"""Training in slices on a bare machine: stopped by the clock, resumed exactly."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from audiotrans.cli import main
from audiotrans.cli import train as cli_train
from audiotrans.errors import UsageError
from audiotrans.recipe import dump_recipe, recipe_from_dict
from audiotrans.training import stopping
from audiotrans.training.checkpoints import CLOCKED, load_checkpoint
from audiotrans.training.engine import Trainer
from audiotrans.training.export import export_run
from audiotrans.training.run import train
from audiotrans.training.stopping import TimeLimit
from tests.fakes import assert_same, fake_cache, tiny_recipe

ROOT = Path(__file__).resolve().parents[2]

# discriminator_batch above batch_size: the pool of past translations has to survive the stop too.
RECIPE = tiny_recipe(train={"discriminator_batch": 4, "match_range": True, "steps": 6, "save_every": 4})

NOT_THERE = ("soundfile", "soxr", "librosa", "numba", "matplotlib", "PIL", "tensorboard", "torch.utils.tensorboard")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return fake_cache(tmp_path_factory.mktemp("slices") / "cache", RECIPE, offset=0.2)


@pytest.fixture(autouse=True)
def _no_board(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # slow to import


def state(run):
    return load_checkpoint(run / "last.pt")[0]


def lines(run):
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in CLOCKED} for line in found]


@pytest.fixture(scope="module")
def whole(cache, tmp_path_factory):
    """Run six steps without a break."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch.utils.tensorboard", None)
        run = tmp_path_factory.mktemp("whole") / "run"
        train(RECIPE, cache, run, progress=False)
    return run


class Clock:
    """Counts the steps of training as minutes."""

    def __init__(self, monkeypatch):
        self.now, step = 0.0, Trainer.train_step
        monkeypatch.setattr(stopping.time, "monotonic", lambda: self.now)

        def timed(trainer, *crops):
            self.now += 60.0
            return step(trainer, *crops)

        monkeypatch.setattr(Trainer, "train_step", timed)


def test_slices_equal_an_uninterrupted_run_bit_for_bit(cache, whole, tmp_path, monkeypatch):
    Clock(monkeypatch)
    stops = []
    for resume in (False, True, True):
        limit = TimeLimit(2.5)
        train(RECIPE, cache, tmp_path, progress=False, resume=resume, limit=limit)
        stops.append((limit.stopped_at, state(tmp_path)["step"]))
    assert stops == [(3, 3), (None, 6), (None, 6)]
    one, other = state(whole), state(tmp_path)
    assert one.pop("recipe") == other.pop("recipe")
    assert_same(one, other)
    assert lines(tmp_path) == lines(whole)


def test_a_stop_after_a_step_that_was_saved_saves_once(cache, tmp_path, monkeypatch):
    Clock(monkeypatch)
    saved = []

    def save(path, state, recipe):
        saved.append(state["step"])
        path.touch()

    monkeypatch.setattr("audiotrans.training.run.save_checkpoint", save)
    limit = TimeLimit(4)
    train(RECIPE, cache, tmp_path, progress=False, limit=limit)
    assert (saved, limit.stopped_at) == ([4], 4)


def test_one_step_is_taken_however_late_it_is(cache, tmp_path):
    limit = TimeLimit(1, began=-1e9)
    train(RECIPE, cache, tmp_path, progress=False, limit=limit)
    assert (limit.stopped_at, state(tmp_path)["step"]) == (1, 1)


@pytest.mark.parametrize("minutes", [0, -1, float("nan")])
def test_a_limit_is_above_zero(minutes):
    with pytest.raises(UsageError, match="more than 0 are needed"):
        TimeLimit(minutes)


def test_an_unfinished_run_is_not_overwritten_and_can_be_exported(cache, tmp_path):
    train(RECIPE, cache, tmp_path / "run", progress=False, limit=TimeLimit(1, began=-1e9))
    with pytest.raises(UsageError, match="holds a run already"):
        train(RECIPE, cache, tmp_path / "run", progress=False)
    assert export_run(tmp_path / "run", tmp_path / "m.safetensors").stat().st_size > 1000


def test_loaders_change_nothing_nor_does_another_number_of_them_in_between(cache, whole, tmp_path):
    def ahead(loaders, prefetch):
        changed = RECIPE.train.model_copy(update={"loaders": loaders, "prefetch": prefetch})
        return RECIPE.model_copy(update={"train": changed})

    train(ahead(2, 3), cache, tmp_path, progress=False, limit=TimeLimit(1, began=-1e9))
    train(ahead(3, 1), cache, tmp_path, progress=False, resume=True)
    one, other = ({key: value for key, value in state(run).items() if key != "recipe"} for run in (whole, tmp_path))
    assert_same(one, other)
    assert lines(whole) == lines(tmp_path)


# The commands ------------------------------------------------------------------------------------------------------


def invoke(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


def test_the_command_says_that_it_is_unfinished_and_how_to_go_on(cache, tmp_path, monkeypatch):
    monkeypatch.setattr("audiotrans.cli.train._sample_writer", lambda *_: None)
    (tmp_path / "r.yaml").write_text(dump_recipe(tiny_recipe(train={"steps": 2})))
    command = ["train", tmp_path / "r.yaml", "--cache", cache, "--run", tmp_path / "run", "--device", "cpu", "-q"]
    first = invoke(*command, "--max-minutes", "1e-9")
    assert first.stdout.splitlines() == [
        f"last checkpoint: {tmp_path / 'run' / 'last.pt'}",
        "unfinished: stopped at step 1 of 2; give the same command with --resume to go on",
    ]
    second = invoke(*command, "--resume")
    assert second.stdout == f"last checkpoint: {tmp_path / 'run' / 'last.pt'}\n"
    assert state(tmp_path / "run")["step"] == 2


def test_photos_train_on_without_pillow(monkeypatch, capsys):
    photo = recipe_from_dict({"imaging": {"type": "photo"}, "losses": {"generator": {"gan": 1}}})
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "PIL.Image", raising=False)
    assert cli_train._sample_writer(photo, Path("unread"), "cpu") is None
    assert re.fullmatch(r"no sample sheets: PIL\S* is not installed\n", capsys.readouterr().err)


def test_a_library_that_is_missed_at_the_first_sheet_is_named_once(capsys):
    def write(model, step, folder):
        raise ModuleNotFoundError("No module named 'numba'", name="numba")

    sample = cli_train._forgiving(write)
    for step in (1, 2):
        sample(None, step, Path("nowhere"))
    assert capsys.readouterr().err == "no sample sheets: numba is not installed\n"


def bare(tmp_path, *arguments):
    """Run the command in a fresh interpreter that lacks all that a GPU machine may lack."""
    code = (
        "import sys\n"
        f"for name in {NOT_THERE!r}: sys.modules[name] = None\n"
        "import torch; torch.set_num_threads(1)\n"
        "from audiotrans.cli import main\n"
        "main([*sys.argv[1:]])"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_a_bare_machine_trains_validates_and_exports(cache, tmp_path):
    (tmp_path / "r.yaml").write_text(dump_recipe(tiny_recipe(train={"steps": 2, "sample_every": 1})))
    done = bare(tmp_path, "train", tmp_path / "r.yaml", "--cache", cache, "--run", tmp_path / "run", "-q")
    assert done.stdout == f"last checkpoint: {tmp_path / 'run' / 'last.pt'}\n"
    (line,) = done.stderr.splitlines()
    assert line in {f"no sample sheets: {name} is not installed" for name in NOT_THERE}
    found = lines(tmp_path / "run")
    assert [line["step"] for line in found] == [1, 2, 2]
    assert "valid/statistics_ab" in found[-1]
    bare(tmp_path, "export-weights", tmp_path / "run", "-o", tmp_path / "m.safetensors")
    assert (tmp_path / "m.safetensors").exists()
