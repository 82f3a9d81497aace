"""A model goes out as a graph, and converts without torch to the very sound of `convert`."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner

from audiotrans.audio import read
from audiotrans.cli import main
from tests.folders import write_tone
from tests.sounds import snr_db

for library in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(library, reason=f"{library} is not installed: pip install 'audiotrans[export]'")

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]

NO_TORCH = """
import sys
sys.modules.update(dict.fromkeys(["torch", "numba", "librosa", "onnx", "onnxscript"]))
from audiotrans.cli import main
main(sys.argv[1:])
"""


def run(*arguments: str | Path) -> str:
    done = CliRunner().invoke(main, [str(each) for each in arguments])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.smoke
def test_an_exported_graph_converts_without_torch_as_the_model_does(model: Path, tmp_path: Path) -> None:
    graph, sound = tmp_path / "toy.onnx", tmp_path / "sound.wav"
    write_tone(sound, seconds=40.0)  # more than one tile
    said = run("export", model, "--to", "piano", "--articulation", "1.5", "--check", sound, "-o", graph)
    assert f"dB SNR or better on notes, noise, a short tone, {sound}" in said

    to_piano = ("convert", sound, "--to", "piano", "--vibrato", "20", "-q")
    run(*to_piano, "--articulation", "1.5", "--model", model, "-o", tmp_path / "torch.flac")
    command = [*to_piano, "--runtime", "onnx", "--model", graph, "-o", tmp_path / "onnx.flac"]
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH, *map(str, command)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    wanted, found = (read(tmp_path / f"{name}.flac")[0] for name in ("torch", "onnx"))
    assert found.shape == wanted.shape
    assert snr_db(wanted, found) > 60  # two Fourier transforms, rounded apart, and 16 bits


def test_torchscript_holds_the_graph_and_its_facts(model: Path, tmp_path: Path) -> None:
    import torch

    said = run("export", model, "--to", "violin", "--format", "torchscript", "-o", tmp_path / "toy.ts")
    assert "dB SNR or better" in said
    facts = {"audiotrans": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of its own future
        sound = torch.jit.load(str(tmp_path / "toy.ts"), _extra_files=facts)
    assert json.loads(facts["audiotrans"])["to"] == "violin"
    assert sound(torch.zeros(2, 7777)).shape == (2, 7777)
