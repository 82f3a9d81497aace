"""The evaluate command as users run it: the shipped model and classifier on the shipped sounds, without a network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import soundfile
from click.testing import CliRunner, Result

from audiotrans.cli import main

pytestmark = pytest.mark.e2e

DATA = Path(__file__).resolve().parents[2] / "data"


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a test set of two recordings of 3 s for each domain; the shipped phrases are pairs."""
    folder = tmp_path_factory.mktemp("sounds")
    for domain in ("violin", "piano"):
        (folder / domain).mkdir()
        shutil.copy(DATA / f"{domain}_short.flac", folder / domain / "short.flac")
        wave, rate = soundfile.read(DATA / f"{domain}.wav")
        soundfile.write(folder / domain / "long.flac", wave[: 3 * rate], rate)
    return folder


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)], prog_name="audiotrans")


@pytest.mark.smoke
def test_the_shipped_model_on_the_shipped_sounds(sounds: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = evaluate(sounds, "--to", "piano", "--device", "cpu", "-o", out)
    assert done.exit_code == 0, done.output
    result = json.loads((out / "evaluation.json").read_text())
    (direction,) = result["directions"]
    systems = {system["name"]: system for system in direction["systems"]}
    assert {"input", "truth", "violin-piano", "copy", "copy + EQ", "random target clip"} <= set(systems)
    for system in systems.values():
        assert all((out / clip["sound"]).is_file() for clip in system["clips"])

    def mean(system: str, metric: str) -> float:
        return systems[system]["summary"][metric]["mean"]

    # An evaluation that did not see what everybody hears would be worth nothing.
    assert mean("violin-piano", "band_distance_db") < mean("copy", "band_distance_db")
    assert mean("truth", "target_probability") > 0.5 > mean("copy", "target_probability")
    assert mean("violin-piano", "pitch_error_cents") < 20 < mean("random target clip", "pitch_error_cents")
    assert mean("copy", "onset_f1") == 1.0
    # Two recordings have an interval, however wide.
    assert systems["copy"]["summary"]["band_distance_db"]["low"] is not None
    before = (out / "evaluation.json").read_text()
    again = evaluate(sounds, "--to", "piano", "--device", "cpu", "-o", out, "--resume", "-q")
    assert again.exit_code == 0, again.output
    assert (out / "evaluation.json").read_text() == before
