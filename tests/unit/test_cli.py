from __future__ import annotations

import errno
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner, Result

from audiotrans import __version__, weights
from audiotrans.cli import main
from audiotrans.convert import converter as converters
from audiotrans.errors import AudiotransError
from audiotrans.processes import choose_device
from audiotrans.recipe import Recipe, dump_recipe
from audiotrans.training import prep
from tests.fakes import fake_cache, tiny_recipe
from tests.standins import RATE, Identity, Local, Silencer, converter, tone


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="audiotrans")


def refused(result: Result, code: int = 2) -> str:
    """Check that a user's mistake gave one line and an exit code, and return the line."""
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit)
    (line,) = result.stderr.strip().splitlines()  # click ends the line of an interrupt
    assert line.startswith("audiotrans: error: ")
    assert result.stdout == ""
    return line


@pytest.fixture
def violin(tmp_path: Path) -> Path:
    path = tmp_path / "violin.wav"
    soundfile.write(path, tone(0.4).T, RATE)
    return path


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let models be stand-ins; return those that were loaded, and where to."""
    calls: list[Any] = []

    def converter_of(stored: Any, device: torch.device) -> Any:
        calls.append((stored.path, device))
        return converter(Silencer(0.3) if stored.path == "loud" else Local())

    monkeypatch.setattr(weights, "find", lambda name: name)
    monkeypatch.setattr(weights, "open_weights", lambda path: SimpleNamespace(path=path, recipe=Recipe()))
    monkeypatch.setattr(converters, "converter_of", converter_of)
    return calls


@pytest.mark.smoke
def test_help_and_version() -> None:
    assert "convert" in invoke().stdout
    assert invoke("--version").stdout.strip().endswith(__version__)
    assert "violin-piano: violin <-> piano" in invoke("models").stdout
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        assert command.name == name
        for words in ((name,), *((name, below) for below in getattr(command, "commands", ()))):
            result = invoke(*words, "--help")
            assert result.exit_code == 0
            assert "Usage" in result.stdout


def test_mistakes_in_the_command_line_are_one_line() -> None:
    assert "See audiotrans convert --help" in refused(invoke("convert", "--to", "piano"))
    assert "--to" in refused(invoke("convert", "x.wav"))
    assert "no such option" in refused(invoke("convert", "x.wav", "--too", "piano")).lower()
    assert "strength" in refused(invoke("convert", "x.wav", "--to", "piano", "--strength", "much"))
    assert "conver" in refused(invoke("conver"))
    assert "audiotrans recipe" in refused(invoke("recipe"))


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (click.Abort(), 130, "interrupted"),
        (AudiotransError("two\nlines"), 1, "two lines"),
        (OSError(errno.ENOSPC, "No space left on device", "a.wav"), 1, "a.wav: No space left on device"),
    ],
)
def test_whatever_happens_is_one_line(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(weights, "list_models", fail)
    assert said in refused(invoke("models"), code)


def test_a_closed_pipe_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(weights, "list_models", fail)
    result = invoke("models")
    assert (result.exit_code, result.stderr) == (1, "")


def test_convert_writes_beside_the_input_and_says_so(violin: Path, shipped: list[Any]) -> None:
    result = invoke("convert", violin, "--to", "piano")
    assert result.exit_code == 0, result.output
    assert shipped == [("violin-piano", choose_device("auto"))]
    assert result.stdout.startswith(str(violin.with_name("violin.piano.wav")))
    assert "0.4 s of sound" in result.stdout
    assert result.stderr == ""  # no progress bar where there is no terminal
    assert soundfile.info(violin.with_name("violin.piano.wav")).frames == soundfile.info(violin).frames


def test_convert_hands_every_option_on(violin: Path, shipped: list[Any], tmp_path: Path) -> None:
    out = tmp_path / "out.flac"
    options = "--from piano --to violin --model loud --device cpu --phase source --strength 10 --seed 3 --force -q"
    result = invoke("convert", violin, "-o", out, *options.split())
    assert (result.exit_code, result.output) == (0, "")
    assert shipped == [("loud", torch.device("cpu"))]
    before, after = (np.linalg.norm(soundfile.read(path)[0]) for path in (violin, out))
    # A tenth of the stand-in's 15 dB, less what is lost at the floor.
    assert 20 * np.log10(after / before) == pytest.approx(1.5, abs=0.1)


def test_convert_draws_samples(violin: Path, shipped: list[Any], tmp_path: Path) -> None:
    result = invoke("convert", violin, "--to", "piano", "--samples", 2, "-o", tmp_path / "made")
    assert result.exit_code == 0, result.output
    assert [path.name for path in sorted((tmp_path / "made").iterdir())] == ["violin.piano.1.wav", "violin.piano.2.wav"]
    assert len(result.stdout.splitlines()) == 2
    assert len(shipped) == 1


def test_convert_says_when_it_turned_the_sound_down(violin: Path, shipped: list[Any]) -> None:
    result = invoke("convert", violin, "--to", "piano", "--model", "loud", "--phase", "source")
    assert "so that no peak clips" in result.stdout
    assert shipped


def test_convert_goes_on_after_a_bad_file(violin: Path, shipped: list[Any], tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_text("no sound")
    result = invoke("convert", tmp_path, "--to", "piano", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 1
    first, last = result.stderr.splitlines()
    assert "bad.wav" in first
    assert "1 of 2" in last
    assert shipped


def test_convert_refuses_in_one_line(violin: Path, shipped: list[Any], tmp_path: Path) -> None:
    assert "piano, violin" in refused(invoke("convert", violin, "--to", "flute"))
    assert "0..100" in refused(invoke("convert", violin, "--to", "piano", "--strength", 101))
    assert "griffin_lim" in refused(invoke("convert", violin, "--to", "piano", "--phase", "pghi2"))
    assert "samples 0" in refused(invoke("convert", violin, "--to", "piano", "--samples", 0))
    assert "threads 0" in refused(invoke("convert", violin, "--to", "piano", "--threads", 0))
    assert "nothing.wav" in refused(invoke("convert", tmp_path / "nothing.wav", "--to", "piano"), 1)
    violin.with_name("violin.piano.wav").write_bytes(b"mine")
    assert "--force" in refused(invoke("convert", violin, "--to", "piano"))
    assert violin.with_name("violin.piano.wav").read_bytes() == b"mine"
    assert len(shipped) == 3  # nothing was loaded for what could be refused before


def test_prep_takes_imaging_and_names_from_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(prep, "prepare_sounds", lambda *args, **options: calls.append((args, options)) or "the summary")
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "imaging: {rows: 64}\ndomains: {a: flute, b: organ}\ncache: elsewhere\ntrain: {crop_frames: 96}\n"
    )
    result = invoke("prep", tmp_path, "--recipe", recipe, "--b", "piano", "-q")
    assert result.stdout == "the summary\n"
    ((source, output), options) = calls[0]
    assert (source, output) == (tmp_path, Path("elsewhere"))
    assert (options["a"], options["b"], options["settings"].rows) == ("flute", "piano", 64)
    assert (options["crop_frames"], options["progress"], options["valid_fraction"]) == (96, False, 0.1)


def test_train_hands_the_recipe_to_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(
        "audiotrans.training.run.train", lambda *args, **options: calls.append((args, options)) or Path("last.pt")
    )
    monkeypatch.setattr("audiotrans.cli.train._sample_writer", lambda *_: None)
    recipe = tmp_path / "small.yaml"
    recipe.write_text("train: {steps: 7}\n")
    result = invoke("train", recipe, "--set", "train.seed=5", "--cache", tmp_path, "--device", "cpu")
    assert result.stdout == "last checkpoint: last.pt\n"
    ((used, cache, run), options) = calls[0]
    assert (used.train.steps, used.train.seed, cache, run) == (7, 5, tmp_path, Path("runs/small"))
    limit = options.pop("limit")
    assert (limit.minutes, limit.stopped_at) == (None, None)
    assert options.pop("teach") is None
    assert options == {"device": "cpu", "resume": False, "changed": False, "on_sample": None, "progress": True}


def test_training_goes_on_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ["matplotlib", *(name for name in sys.modules if name.startswith("matplotlib."))]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # slow to import
    for name in [name for name in sys.modules if name.startswith("audiotrans.evaluation.plots")]:
        monkeypatch.delitem(sys.modules, name)
    small = tiny_recipe(train={"steps": 1})
    cache = fake_cache(tmp_path / "cache", small)
    (tmp_path / "r.yaml").write_text(dump_recipe(small))
    result = invoke("train", tmp_path / "r.yaml", "--cache", cache, "--run", tmp_path / "run", "--device", "cpu", "-q")
    assert result.exit_code == 0, result.output
    (line,) = result.stderr.splitlines()
    assert re.fullmatch(r"no sample sheets: matplotlib\S* is not installed", line)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "best.pt", "last.pt", "metrics.jsonl", "recipe.yaml",
    }  # fmt: skip


@pytest.mark.smoke
def test_recipe_show_prints_the_whole(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("train: {steps: 7}\n")
    shown = invoke("recipe", "show", recipe, "--set", "train.seed=5").stdout
    assert "steps: 7" in shown
    assert "seed: 5" in shown
    assert "representation: log_mel_gain" in shown
    recipe.write_text("trian: {steps: 7}\n")
    assert "Did you mean 'train'" in refused(invoke("recipe", "show", recipe))
    assert "missing.yaml" in refused(invoke("recipe", "show", tmp_path / "missing.yaml"), 1)


def test_old_names_are_answered_with_todays_in_one_line(tmp_path: Path) -> None:
    for old, new in (("--passes", "--shifts"), ("--straighten", "--remove-vibrato")):
        line = refused(invoke("convert", "x.wav", "--to", "piano", old, 2))
        assert line == f"audiotrans: error: {old} is now called {new}"
    line = refused(invoke("convert", "x.wav", "--to", "piano", "--tilt", -3))
    assert line.startswith("audiotrans: error: --tilt is gone: ")
    recipe = tmp_path / "r.yaml"
    recipe.write_text("passes: 2\n")
    result = invoke("recipe", "show", recipe)
    assert "shifts:\n  a: 2\n  b: 2" in result.stdout
    assert result.stderr == f"audiotrans: warning: {recipe}: passes is called shifts now: rename it\n"


def test_export_refuses_before_it_reads(tmp_path: Path) -> None:
    assert ".safetensors" in refused(invoke("export-weights", tmp_path, "-o", tmp_path / "model.pt"))
    (tmp_path / "m.safetensors").touch()
    assert "--force" in refused(invoke("export-weights", tmp_path, "-o", tmp_path / "m.safetensors"))
    assert "last.pt" in refused(invoke("export-weights", tmp_path, "-o", tmp_path / "new.safetensors"), 1)
    asked = {"--articulation": "TO=VALUE, such as piano=1", "--vibrato": "TO=VALUE"}
    for option, wanted in asked.items():
        command = ("export-weights", tmp_path, "-o", tmp_path / "new.safetensors", option, "much")
        assert f"{option} 'much': write {wanted}" in refused(invoke(*command))


def test_the_bar_tells_speed_and_time_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from audiotrans.convert.jobs import sound_bar

    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with sound_bar("violin.wav") as tick:
        assert tick is not None
        for second in range(1, 5):
            tick(second, 4.0)
    shown = capsys.readouterr().err
    assert "violin.wav" in shown
    assert "x real time" in shown or "starting" in shown
    with sound_bar("violin.wav", quiet=True) as tick:
        assert tick is None


def test_standins_have_what_converting_asks_of_a_model() -> None:
    from audiotrans.model.avb_gtn import AVBGTN

    asked = ("stride", "context_frames", "local", "noise", "noise_shape", "translate")
    assert all(hasattr(AVBGTN, name) and hasattr(Identity, name) for name in asked)
