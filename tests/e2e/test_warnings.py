"""A model that knows what it was trained on: exported with its cache, it warns of what it does not know."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result
from safetensors.numpy import load_file

from audiotrans.cli import main
from audiotrans.convert.converter import load
from audiotrans.convert.jobs import plan_jobs
from audiotrans.convert.sound_converter import run_jobs
from audiotrans.errors import AudiotransError
from audiotrans.model import nets
from audiotrans.weights import read_weights
from tests.profiles import made_cache, made_weights, melody, recipe_of
from tests.standins import RATE

pytestmark = pytest.mark.e2e


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="audiotrans")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a weights file without a profile."""
    return made_weights(tmp_path_factory.mktemp("plain") / "plain.safetensors", recipe_of())


@pytest.fixture(scope="module")
def model(plain: Path) -> Path:
    """Give the same with one, made as users make it."""
    cache, out = made_cache(plain.parent / "cache", recipe_of()), plain.with_name("model.safetensors")
    result = run("export-weights", plain, "--cache", cache, "-o", out)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return out


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    for kind in ("bowed", "plucked"):
        soundfile.write(tmp_path / f"{kind}.wav", melody(kind, 100, 7.0).T, RATE, subtype="FLOAT")
    return tmp_path


def test_describing_a_model_changes_none_of_its_tensors(plain: Path, model: Path) -> None:
    before, after = load_file(plain), load_file(model)
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert value.dtype == after[name].dtype
        assert value.tobytes() == after[name].tobytes()
    again = model.with_name("again.safetensors")
    assert run("export-weights", model, "-o", again).exit_code == 0  # without its cache: it keeps its profile
    assert load(again, device="cpu").statistics == load(model, device="cpu").statistics
    refused = run("export-weights", model, "-o", again, "--force", "--half")
    assert refused.exit_code == 2
    assert "its card and its precision stay as they are" in refused.stderr
    small = again.stat().st_size - plain.stat().st_size
    assert 0 < small < 8000


def test_a_wrong_instrument_is_converted_with_a_warning(model: Path, sounds: Path) -> None:
    result = run("convert", sounds / "plucked.wav", "--to", "plucked", "--model", model, "--device", "cpu", "-q")
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"audiotrans: warning: {sounds / 'plucked.wav'}: sounds like plucked, not like the bowed")
    assert (sounds / "plucked.plucked.wav").exists()
    right = run("convert", sounds / "bowed.wav", "--to", "plucked", "--model", model, "--device", "cpu")
    assert (right.exit_code, right.stderr) == (0, "")


def test_a_model_without_statistics_says_nothing(plain: Path, sounds: Path) -> None:
    result = run("convert", sounds / "plucked.wav", "--to", "plucked", "--model", plain, "--device", "cpu")
    assert (result.exit_code, result.stderr) == (0, "")
    assert load(plain, device="cpu").check(melody("plucked", 1), RATE, source="bowed") == []


def test_several_draws_of_several_inputs_warn_once_for_each(model: Path, sounds: Path) -> None:
    converter = load(model, device="cpu")
    (sounds / "broken.wav").write_text("this is no sound")
    jobs = plan_jobs([sounds], sounds / "out", "plucked", samples=3)
    outcomes = list(run_jobs(converter, jobs, converter.options("plucked")))
    assert len(outcomes) == 7
    warned = [line for outcome in outcomes for line in outcome.warnings]
    assert len(warned) == 1
    assert warned[0].startswith(f"{sounds / 'plucked.wav'}: ")


@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_the_array_check_says_what_the_file_says(model: Path, tmp_path: Path, rate: int) -> None:
    converter = load(model, device="cpu")
    # Longer than a tile (33 s of this imaging), at two rates: the pieces heard must be the same ones.
    wave = np.concatenate([melody("plucked", 5, 40.0), 0.5 * melody("plucked", 6, 40.0)])
    noisy = np.clip(9 * wave, -1, 1)
    soundfile.write(tmp_path / "x.wav", noisy.T, rate, subtype="FLOAT")
    jobs = plan_jobs([tmp_path / "x.wav"], None, "plucked")
    (done,) = run_jobs(converter, jobs, converter.options("plucked"))
    lines = converter.check(noisy, rate, source="bowed")
    assert [line.partition(": ")[2] for line in done.warnings] == lines
    assert any(line.startswith("clipped") for line in lines)


def test_the_array_check_refuses_what_converting_refuses_and_names_silence(model: Path) -> None:
    converter = load(model, device="cpu")
    with pytest.raises(AudiotransError, match="unknown domain of this model 'cello'"):
        converter.check(melody("bowed", 1), RATE, source="cello")
    (line,) = converter.check(np.zeros((1, RATE), np.float32), RATE, source="bowed")
    assert line.startswith("it is silent")


def test_an_edited_preset_does_not_change_old_models(
    plain: Path, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wider = replace(nets.PRESETS["tiny"], width=16, slope=0.01)
    monkeypatch.setitem(nets.PRESETS, "tiny", wider)
    for path in (plain, model):
        found = read_weights(path).model
        assert (found.settings.width, found.settings.slope) == (8, 0.2)
    out = tmp_path / "again.safetensors"
    assert run("export-weights", plain, "-o", out).exit_code == 0
    assert read_weights(out).model.settings.width == 8


def test_exporting_a_run_takes_the_recipes_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from audiotrans.model.avb_gtn import AVBGTN
    from audiotrans.training.checkpoints import save_checkpoint

    monkeypatch.chdir(tmp_path)
    recipe = recipe_of()
    state = {"step": 3, "ema": AVBGTN(recipe.model, recipe.imaging.image_channels).state_dict()}
    save_checkpoint(Path("run/last.pt"), state, recipe)
    without = run("export-weights", "run", "-o", "a.safetensors")
    assert without.exit_code == 0
    assert without.stderr.startswith("no statistics of its training data: convert will not warn")
    made_cache(Path(recipe.cache), recipe)
    within = run("export-weights", "run", "-o", "b.safetensors")
    assert (within.exit_code, within.stderr) == (0, "")
    assert load("a.safetensors", device="cpu").statistics is None
    statistics = load("b.safetensors", device="cpu").statistics
    assert statistics is not None
    assert [domain.name for domain in statistics.sides.values()] == ["bowed", "plucked"]
    values = json.dumps(statistics.to_dict())
    assert "Infinity" not in values
    wrong = run("export-weights", "run", "-o", "c.safetensors", "--cache", "nowhere")
    assert wrong.exit_code == 1
    assert "nowhere holds no prepared data" in wrong.stderr
    assert not Path("c.safetensors").exists()
