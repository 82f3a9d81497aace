"""What ``info``, ``models`` and ``doctor`` tell, what ``-v`` says, and what a shell completes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
import soundfile
import torch
import torch.utils._pytree as pytree
from click.testing import CliRunner, Result
from torch.utils._python_dispatch import TorchDispatchMode

from audiotrans import doctor
from audiotrans.cli import COMMANDS, main
from audiotrans.convert.converter import Converter
from audiotrans.errors import EXTRAS, AudiotransError, UsageError
from audiotrans.facts import facts_of
from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.processes import choose_device
from audiotrans.recipe import recipe_from_dict
from audiotrans.training.checkpoints import save_checkpoint
from tests.fakes import fake_cache, tiny_recipe
from tests.standins import RATE, SMALL, tone

ROOT = Path(__file__).resolve().parents[2]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="audiotrans")


def test_a_sound_is_told_by_its_length_rate_and_levels(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", 0.5 * np.ones((1000, 2), np.float32), 8000)
    facts = facts_of(str(tmp_path / "a.flac"))
    assert (facts["kind"], facts["format"], facts["seconds"]) == ("sound", "FLAC PCM_16", 0.125)
    assert (facts["sample_rate_hz"], facts["channels"], facts["peak_db"], facts["level_db"]) == (8000, 2, -6.0, -6.0)
    soundfile.write(tmp_path / "silent.wav", np.zeros(10), 8000)
    assert facts_of(str(tmp_path / "silent.wav"))["level_db"] is None


def test_a_model_is_told_by_name_and_by_file() -> None:
    facts = facts_of("violin-piano")
    assert facts == facts_of(facts["file"])
    assert (facts["kind"], facts["domains"], facts["precision"]) == ("model", ["violin", "piano"], "float16")
    assert facts["parameters"] == 2_845_666
    assert set(facts["trained_on"]) == {"violin", "piano"}
    assert len(facts["sha256"]) == 64


def test_a_cache_a_run_and_a_checkpoint_are_told(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    cache = facts_of(str(fake_cache(tmp_path / "cache", recipe)))
    assert (cache["kind"], cache["missing_files"]) == ("cache", 0)
    assert cache["domains"]["violin"]["train"] == {"images": 2, "recordings": 2, "minutes": 0.01}
    assert set(cache["domains"]["piano"]) == {"train", "valid"}
    run = tmp_path / "run"
    save_checkpoint(run / "last.pt", {"step": 12, "steps_before": 5}, recipe)
    lines = [{"step": 2, "generator/gan": 1.5}, {"step": 4, "valid/cycle": 0.2}]
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines) + '{"step": 6, "gen')
    told = facts_of(str(run))
    assert (told["kind"], told["logged_steps"]) == ("run", 4)
    assert (told["last_losses"], told["last_validation"]) == ({"gan": 1.5}, {"cycle": 0.2})
    checkpoint = facts_of(str(run / "last.pt"))
    assert (checkpoint["kind"], checkpoint["step"], checkpoint["steps_with_earlier_runs"]) == ("checkpoint", 12, 17)


def test_a_cache_with_a_broken_manifest_is_one_line(tmp_path: Path) -> None:
    cache = fake_cache(tmp_path / "cache", tiny_recipe())
    manifest = json.loads((cache / "manifest.json").read_text())
    for broken in ({"items": [{}]}, {"domains": []}, {"imaging": {}}):
        (cache / "manifest.json").write_text(json.dumps(manifest | broken))
        with pytest.raises(AudiotransError, match="broken"):
            facts_of(str(cache))


def test_what_is_none_of_these_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("train: {steps: 7}\n")
    (tmp_path / "x.wav").write_text("no sound")
    for name, said in {
        "": "neither a prepared cache", "r.yaml": "recipe show", "x.wav": "x.wav", "y.wav": "no such file",
    }.items():  # fmt: skip
        with pytest.raises(AudiotransError, match=said):
            facts_of(str(tmp_path / name))


def test_info_prints_lines_or_json_and_goes_on_after_a_failure(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(0.4).T, RATE)
    lines = invoke("info", tmp_path / "a.wav", "violin-piano")
    assert lines.exit_code == 0, lines.output
    assert "sample_rate_hz" in lines.stdout
    result = invoke("info", "--json", tmp_path / "a.wav", tmp_path / "b.wav")
    assert result.exit_code == 1
    (facts,) = json.loads(result.stdout)
    assert facts["kind"] == "sound"
    assert [line.split(": ")[1] for line in result.stderr.splitlines()] == ["error", "error"]
    assert "1 of 2" in result.stderr


def test_models_are_listed_as_json() -> None:
    (entry,) = json.loads(invoke("models", "--json").stdout)
    assert (entry["name"], entry["domains"]) == ("violin-piano", ["violin", "piano"])
    assert entry["size_mb"] > 1


def test_convert_tells_programs_what_it_wrote(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(0.4).T, RATE)
    (tmp_path / "b.wav").write_text("no sound")
    result = invoke("convert", tmp_path, "--to", "piano", "-o", tmp_path / "out", "--json", "--device", "cpu")
    first, second = map(json.loads, result.stdout.splitlines())
    assert (first["input"], first["output"]) == (str(tmp_path / "a.wav"), str(tmp_path / "out" / "a.piano.wav"))
    assert first["gain_db"] <= 0
    assert second["input"] == str(tmp_path / "b.wav")
    assert "b.wav" in second["error"]
    assert "--stream" in invoke("convert", "--stream", "--to", "piano", "--json").stderr


@pytest.mark.slow
def test_the_doctor_finds_this_installation_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "imported", lambda names: dict.fromkeys(names, ""))  # it takes seconds
    result = invoke("doctor", "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["faults"] == []
    assert facts["models"]["violin-piano"].startswith("5.7 MB, loads; a second of sound takes")
    assert ".m4a" in facts["formats"]["written_and_read"]
    assert "cores" in facts["devices"]["cpu"]


def test_the_doctor_tells_what_is_absent_broken_or_deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fine.py").write_text("print('noise')")
    (tmp_path / "broken.py").write_text("raise OSError('libcudart.so.13: cannot open shared object file')")
    (tmp_path / "halved.py").write_text("import thelessthere")
    (tmp_path / "deadly.py").write_text("import os; os._exit(11)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = doctor.imported(("fine", "deadly", "broken", "halved", "nothing"))
    assert found == {
        "fine": "", "deadly": "it ends the program, exit code 11", "nothing": "absent",
        "broken": "OSError: libcudart.so.13: cannot open shared object file",
        "halved": "it needs thelessthere, which is not installed",
    }  # fmt: skip


def test_the_doctor_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {
        "soxr": "OSError: x",
        "torchaudio": "OSError: y",
        "numba": "absent",
        "librosa": "absent",
        "jinja2": "absent",
    }
    monkeypatch.setattr(doctor, "imported", lambda names: {name: said.get(name, "") for name in names})
    for part in ("_devices", "_formats", "_models", "_programs", "_places"):
        monkeypatch.setattr(doctor, part, lambda *_: {})
    result = invoke("doctor")
    assert result.exit_code == 1
    assert "does not work: soxr does not load (OSError: x): pip install --force-reinstall soxr" in result.stdout
    assert '(jinja2, librosa): pip install "audiotrans[eval]"' in result.stdout
    assert '(numba): pip install "audiotrans[phase]"' in result.stdout
    assert "audiotrans does not need it" in result.stdout
    assert "1 things" in result.stderr


def test_the_doctor_knows_every_library_and_extra() -> None:
    declared = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    core = declared.partition("\ndependencies = [")[2].partition("\n]")[0]
    assert {doctor.DISTRIBUTIONS.get(name, name) for name in doctor.CORE} == {
        line.strip().strip('"').partition(">=")[0] for line in core.splitlines() if line.strip().startswith('"')
    }
    assert set(EXTRAS.values()) <= set(doctor.PURPOSES)


def test_mps_works_or_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("mps") == torch.device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r"no device 'mps' here \(.*\): use --device cpu"):
        choose_device("mps")


@pytest.mark.parametrize(
    "error",
    [
        NotImplementedError("The operator 'aten::x' is not implemented for the MPS device. Please open"),
        TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64. Please"),
    ],
)
def test_what_mps_cannot_do_is_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("audiotrans.weights.list_models", fail)
    result = invoke("models")
    assert result.exit_code == 1
    assert "device mps cannot do this" in result.stderr
    assert result.stderr.strip().endswith(": use --device cpu")


def test_v_says_what_is_done_and_where_an_error_arose(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(0.4).T, RATE)
    command = ("convert", tmp_path / "a.wav", "--to", "piano", "--device", "cpu", "--threads", 1, "-q")
    said = invoke(*command, "-v").stderr
    assert "audiotrans: threads: 1\n" in said
    assert "audiotrans: device: cpu\n" in said
    assert f"audiotrans: reading {tmp_path / 'a.wav'}: WAV PCM_16, {RATE} Hz, 1 channels, 0.4 s\n" in said
    again = invoke(*command)
    assert "--force" in again.stderr
    assert len(again.stderr.splitlines()) == 1
    assert "Traceback" not in invoke(*command, "-v").stderr
    assert "Traceback" in invoke(*command, "-vv").stderr


def test_every_command_has_v() -> None:
    for name in COMMANDS:
        found = main.get_command(click.Context(main), name)
        commands = getattr(found, "commands", {name: found}).values()
        assert all(any("-v" in parameter.opts for parameter in each.params) for each in commands), name


def completed(words: str) -> set[str]:
    """Return what a bash completes the last of some words by."""
    environment = {**os.environ, "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    environment |= {"_AUDIOTRANS_COMPLETE": "bash_complete"}
    code = "import sys; from audiotrans.cli import main; main(prog_name='audiotrans'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=ROOT)
    return set(done.stdout.splitlines())


def test_a_shell_completes_commands_models_and_files_without_loading_torch() -> None:
    assert "plain,convert" in completed("audiotrans con")
    assert completed("audiotrans convert --model vio") == {"plain,violin-piano"}
    assert completed("audiotrans convert --device m") == {"plain,mps"}
    assert completed("audiotrans convert da") == {"file,da"}


@pytest.mark.parametrize("representation", ["log_mel_gain", "log_magnitude"])
def test_a_conversion_asks_no_device_for_float64_which_mps_lacks(representation: str) -> None:
    recipe = recipe_from_dict({"imaging": SMALL | {"representation": representation}, "model": {"preset": "tiny"}})
    model = Converter(AVBGTN(recipe.model, recipe.imaging.image_channels), recipe)
    wave = torch.from_numpy(np.stack([tone(0.5)] * 2).reshape(2, -1))
    kept: list[np.ndarray] = []
    found = model.measure([wave.numpy()], RATE, 2, kept.append)  # on the CPU, whatever the device
    options = model.options("piano", phase="source")  # others are made in NumPy
    with NoFloat64():
        model._convert_piece(np.concatenate(kept, axis=1), 0, options, found)


class NoFloat64(TorchDispatchMode):
    """Refuses what MPS refuses: all but to take a tensor of the CPU and bring it to another type there."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in pytree.tree_leaves(out) if func is not torch.ops.aten.lift_fresh.default else ():
            assert not isinstance(value, torch.Tensor) or value.dtype not in (torch.float64, torch.complex128), func
        return out
