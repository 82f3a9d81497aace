"""A step that is divided among processes, or among passes of one, is the step of one large batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from audiotrans.errors import UsageError
from audiotrans.recipe import dump_recipe
from audiotrans.training.checkpoints import CLOCKED, load_checkpoint
from audiotrans.training.distributed import local_device, writes
from audiotrans.training.run import train
from tests.fakes import fake_cache, flat, tiny_recipe

ROOT = Path(__file__).resolve().parents[2]

# Further real crops, past translations, noise, gains and dither are divided, too.
SETTINGS = {"steps": 3, "save_every": 3, "sample_every": 9, "batch_size": 2, "discriminator_batch": 3}
PART = tiny_recipe(train=SETTINGS)
DOUBLED = tiny_recipe(train=SETTINGS | {"batch_size": 4, "discriminator_batch": 6})


@pytest.fixture(scope="module")
def doubled(tmp_path_factory, no_board):
    """Train alone on the doubled batch."""
    root = tmp_path_factory.mktemp("distributed")
    cache = fake_cache(root / "cache", PART, offset=0.2)
    train(DOUBLED, cache, root / "doubled", progress=False)
    return root


def lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_alike(run, doubled):
    """Compare losses and weights; a spread over a batch, and means of ratios, are not those of its parts."""
    for one, other in zip(lines(run), lines(doubled), strict=True):
        assert one.keys() == other.keys()
        for name in one.keys() - {*CLOCKED, "health/z_std"}:
            assert one[name] == pytest.approx(other[name], rel=2e-3, abs=2e-4), (one["step"], name)
    states = [load_checkpoint(each / "last.pt")[0] for each in (run, doubled)]
    for name, value in flat(states[0]["ema"]).items():
        torch.testing.assert_close(value, flat(states[1]["ema"])[name], atol=1e-4, rtol=1e-3, msg=name)
    assert {name: len(images) for name, images in states[0]["pool"].items()} == {"ab": 12, "ba": 12}


def test_passes_that_are_added_up_are_one_large_batch(doubled, tmp_path):
    accumulated = tiny_recipe(train=SETTINGS | {"accumulate": 2})
    train(accumulated, doubled / "cache", tmp_path / "run", progress=False)
    assert_alike(tmp_path / "run", doubled / "doubled")


@pytest.mark.e2e
@pytest.mark.slow
def test_two_processes_are_one_with_the_doubled_batch(doubled, tmp_path):
    (tmp_path / "r.yaml").write_text(dump_recipe(PART))
    run = tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--"]
    command += [
        "audiotrans",
        "train",
        tmp_path / "r.yaml",
        "--cache",
        doubled / "cache",
        "--run",
        run,
        "--device",
        "cpu",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, "-q"], capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"last checkpoint: {run / 'last.pt'}\n"  # of the first process alone
    assert_alike(run, doubled / "doubled")
    with pytest.raises(UsageError, match="processes: 2 -> 1"):
        train(PART, doubled / "cache", run, progress=False, resume=True)


def test_each_process_of_a_machine_has_a_gpu_of_its_own(monkeypatch):
    assert (local_device("cpu"), local_device("cuda:1"), writes()) == ("cpu", "cuda:1", True)
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setenv("RANK", "11")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [local_device(name) for name in ("auto", "cuda", "cuda:1", "cpu")] == ["cuda:3", "cuda:3", "cuda:1", "cpu"]
    assert not writes()
