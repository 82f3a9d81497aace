"""The cycle command as users run it: all six translations, killed and taken up again, with a real (untrained) model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from audiotrans.cli import main
from tests.standins import tone

pytestmark = pytest.mark.e2e

SIX = {"violin-violin", "violin-piano", "violin-piano-violin", "piano-piano", "piano-violin", "piano-violin-piano"}
PATIENCE = 240.0
"""Seconds: many times what is needed, for machines that are busy."""


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for domain in ("violin", "piano"):
        (tmp_path / "in" / domain).mkdir(parents=True)
        for index in range(4):
            wave = tone(1.0, 1 + index % 2, 16_000, gain=0.1 + 0.05 * index)
            soundfile.write(tmp_path / "in" / domain / f"{index}.flac", wave.T, 16_000)
    return tmp_path / "in"


def arguments(model: Path, clips: Path, out: Path, *more: object) -> list[str]:
    command = ["cycle", clips, "-o", out, "--model", model, "--device", "cpu", "--scores", "fast", "--threads", 1]
    return [str(argument) for argument in (*command, *more)]


def cycle(model: Path, clips: Path, out: Path, *more: object) -> Result:
    command = arguments(model, clips, out, "--workers", 1, *more)
    return CliRunner().invoke(main, command, prog_name="audiotrans")


def content(out: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((out / "cycle.json").read_text())
    return values


def sounds(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted((out / "sounds").rglob("*.*"))}


@pytest.mark.smoke
def test_all_six_translations_of_a_folder(model: Path, clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = cycle(model, clips, out)
    assert result.exit_code == 0, result.output
    assert "violin -> piano -> violin" in result.stdout
    values = content(out)
    assert (values["format"], values["version"], values["model"]) == ("audiotrans-cycle", 1, "toy")
    assert set(values["chains"]) == set(values["means"]) == SIX
    assert values["options"] == {"seed": 0, "phase": None, "strength": 100.0, "scores": "fast"}
    assert len(values["items"]) == 8 * 4  # each input, and its three chains
    for item in values["items"]:
        info = soundfile.info(out / item["sound"])
        assert (info.frames, info.samplerate, info.channels) == (16_000, 16_000, 1 + int(item["clip"]) % 2)
        wanted = {"onset_f1", "loudness_correlation"} if item["chain"] in SIX else set()
        if item["chain"] in SIX and item["chain"].startswith(item["chain"].rpartition("-")[2]):
            wanted |= {"log_spectral_distance_db", "band_distance_db", "multi_resolution_stft"}
        assert set(item["scores"]) == wanted
    mean = values["means"]["violin-violin"]["onset_f1"]
    found = [item["scores"]["onset_f1"] for item in values["items"] if item["chain"] == "violin-violin"]
    assert mean == pytest.approx(np.mean(found))
    assert (out / "sounds/violin/0.flac").read_bytes() == (clips / "violin/0.flac").read_bytes()
    assert {path.name for path in out.iterdir()} == {"cycle.json", "scores.csv", "scores.md", "sounds", ".cycle"}


def test_a_second_run_does_only_what_is_new(model: Path, clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert cycle(model, clips, out, "--chain", "V,P").exit_code == 0
    before = {path: path.stat().st_mtime_ns for path in (out / "sounds").rglob("*.flac")}
    soundfile.write(clips / "violin" / "new.flac", tone(0.5).T, 16_000)
    result = cycle(model, clips, out, "--chain", "V,P")
    assert "1 clips in" in result.stdout
    assert "4 were finished before" in result.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(content(out)["items"]) == 5 * 2
    for change, said in ((("--seed", 1), "seed 0, not 1"), (("--chain", "P,V"), "other chains")):
        refused = cycle(model, clips, out, "--chain", "V,P", *change)
        assert refused.exit_code == 2
        (line,) = refused.stderr.splitlines()
        assert said in line
        assert "--force" in line
    assert cycle(model, clips, out, "--chain", "P,V", "--force").exit_code == 0
    assert {item["chain"] for item in content(out)["items"]} == {"piano", "piano-violin"}
    assert not list((out / "sounds" / "violin-piano").iterdir())


def test_one_bad_input_does_not_stop_the_others(model: Path, clips: Path, tmp_path: Path) -> None:
    soundfile.write(clips / "violin" / "silent.wav", np.zeros(4000), 16_000)
    result = cycle(model, clips, tmp_path / "out", "--chain", "V,P", "--scores", "none")
    assert result.exit_code == 1
    first, last = result.stderr.splitlines()
    assert "silent.wav: the sound is silent" in first
    assert last == "audiotrans: error: 1 of 5 inputs could not be translated: see above"
    assert len(content(tmp_path / "out")["items"]) == 4 * 2
    assert not (tmp_path / "out" / "scores.md").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--chain", "violin"), "name two domains"),
        (("--scores", "some"), "unknown choice of scores"),
        (("--workers", 0), "workers 0"),
        (("--from", "flute"), "unknown domain of this model 'flute'"),
        (("--phase", "nothing"), "unknown phase method"),
        (("--recipe", "missing.yaml"), "missing.yaml"),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(
    model: Path, clips: Path, tmp_path: Path, more: tuple[object, ...], said: str
) -> None:
    result = cycle(model, clips, tmp_path / "out", *more)
    assert result.exit_code in (1, 2)
    (line,) = result.stderr.splitlines()
    assert said in line
    assert not (tmp_path / "out").exists()


def start(command: list[str]) -> subprocess.Popen[str]:
    """Start the command in a process group of its own, so that its workers can be found."""
    return subprocess.Popen(
        [sys.executable, "-m", "audiotrans", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=Path(__file__).parents[2],
    )  # fmt: skip


def wait_for(ready: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)


def records(out: Path) -> list[Path]:
    return list((out / ".cycle" / "clips").glob("*/[!.]*.json"))


def group_is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.skipif(os.name != "posix", reason="processes are killed the POSIX way")
def test_a_killed_run_is_finished_by_the_next(model: Path, clips: Path, tmp_path: Path) -> None:
    for domain in ("violin", "piano"):
        for index in range(4, 12):  # enough that a run is caught in the middle
            soundfile.write(clips / domain / f"{index}.flac", tone(2.0).T, 16_000)
    out, whole = tmp_path / "out", tmp_path / "whole"
    run = start(arguments(model, clips, out, "--workers", 2))
    wait_for(lambda: records(out) or run.poll() is not None)
    run.kill()
    run.communicate()
    wait_for(lambda: group_is_gone(run.pid))  # the workers do not go on alone
    done = {path: path.stat().st_mtime_ns for path in records(out)}
    assert 0 < len(done) < 24
    assert not (out / "cycle.json").exists()

    result = cycle(model, clips, out)
    assert result.exit_code == 0, result.output
    assert f"{24 - len(done)} clips in" in result.stdout
    assert f"{len(done)} were finished before" in result.stdout
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert cycle(model, clips, whole).exit_code == 0
    assert sounds(out) == sounds(whole)  # and nothing half done is left
    assert content(out)["items"] == content(whole)["items"]


@pytest.mark.skipif(os.name != "posix", reason="processes are interrupted the POSIX way")
def test_ctrl_c_keeps_what_is_finished(model: Path, clips: Path, tmp_path: Path) -> None:
    for index in range(4, 16):
        soundfile.write(clips / "violin" / f"{index}.flac", tone(2.0).T, 16_000)
    out = tmp_path / "out"
    run = start(arguments(model, clips, out, "--workers", 1))
    wait_for(lambda: records(out) or run.poll() is not None)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 130
    assert errors.splitlines()[-1] == "audiotrans: error: interrupted"
    assert not [path for path in out.rglob("*partial*")]
    assert cycle(model, clips, out).exit_code == 0
    assert len(content(out)["items"]) == 20 * 4
