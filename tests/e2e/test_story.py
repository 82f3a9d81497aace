"""The whole road as a researcher walks it: folders of sound, prep, train, resume, export, convert."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from audiotrans.cli import main

pytestmark = pytest.mark.e2e

RATE = 44_100
RECIPE = Path(__file__).parents[2] / "recipes" / "debug.yaml"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="audiotrans")


def melody(path: Path, seed: int, *, struck: bool) -> None:
    """Write three seconds of notes, sustained or decaying."""
    rng = np.random.default_rng(seed)
    time = np.arange(RATE // 2) / RATE
    notes = []
    for hertz in rng.uniform(220, 880, 6):
        tone = sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 6))
        notes.append(tone * (np.exp(-6 * time) if struck else np.minimum(1, 20 * time)))
    wave = 0.1 * np.concatenate(notes) + 1e-4 * rng.standard_normal(3 * RATE)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.stack([wave, 0.7 * wave]).T, RATE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepare, train six steps, and resume to eight."""
    root = tmp_path_factory.mktemp("story")
    for number, name in enumerate(("one", "two", "three")):
        melody(root / "sounds" / "violin" / f"{name}.wav", number, struck=False)
        melody(root / "sounds" / "piano" / f"{name}.wav", 10 + number, struck=True)
    prepared = run("prep", root / "sounds", "--recipe", RECIPE, "-o", root / "cache", "--workers", 1, "-q")
    assert prepared.exit_code == 0, prepared.output
    road = ("train", RECIPE, "--cache", root / "cache", "--run", root / "run", "--device", "cpu", "-q")
    first = run(*road)
    assert first.exit_code == 0, first.output
    again = run(*road, "--resume", "--changed", "--set", "train.steps=8")
    assert again.exit_code == 0, again.output
    return root


@pytest.mark.smoke
def test_training_logs_named_terms_validates_and_draws(folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "generator/gan" in line] == [2, 4, 6, 8]
    assert {"generator/vae_kl", "generator/cycle_reconstruction", "discriminator/latent", "health/t_accuracy"} <= set(
        lines[0]
    )
    assert any("valid/statistics_ab" in line for line in lines)
    samples = folder / "run" / "samples"
    assert (samples / "step_0000006.png").stat().st_size > 10_000
    sounds = sorted(path.name for path in (samples / "step_0000006").iterdir())
    assert {"violin 1 translation.wav", "piano 1 cycle.wav"} <= set(sounds)


@pytest.mark.smoke
def test_exported_weights_convert_a_file(folder: Path) -> None:
    weights, output = folder / "toy.safetensors", folder / "as_piano.flac"
    exported = run("export-weights", folder / "run", "-o", weights, "--half", "--cache", folder / "cache")
    assert exported.exit_code == 0, exported.output
    little, without = exported.stderr.splitlines()  # nine seconds a side are too few to know right inputs by
    assert "holds too little sound for statistics: " in little
    assert without == "no statistics of its training data: convert will not warn of unlike inputs"
    source = folder / "sounds" / "violin" / "one.wav"
    converted = run("convert", source, "--to", "piano", "--model", weights, "-o", output, "--device", "cpu")
    assert converted.exit_code == 0, converted.output
    wave, rate = soundfile.read(output)
    assert (rate, wave.shape) == (RATE, (3 * RATE, 2))
    assert np.isfinite(wave).all()
    assert 1e-3 < np.abs(wave).max() <= 1


def test_a_run_folder_in_use_is_not_overwritten(folder: Path) -> None:
    refused = run("train", RECIPE, "--cache", folder / "cache", "--run", folder / "run", "-q")
    assert refused.exit_code == 2
    assert "--resume" in refused.output
    assert "Traceback" not in refused.output


def test_a_cache_for_another_imaging_is_refused(folder: Path) -> None:
    refused = run(
        "train", RECIPE, "--cache", folder / "cache", "--run", folder / "new", "--set", "imaging.rows=128", "-q"
    )
    assert refused.exit_code == 1
    assert "imaging.rows 256, the recipe 128" in refused.output
