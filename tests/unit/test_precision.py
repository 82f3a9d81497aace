"""bf16 is for devices that have it."""

from __future__ import annotations

import pytest
import torch

from audiotrans.training import engine
from audiotrans.training.engine import Trainer
from tests.fakes import tiny_recipe


@pytest.mark.parametrize(
    ("asked", "device", "has", "wanted"),
    [
        ("bf16", "cpu", True, "bf16"),
        ("bf16", "cpu", False, "float32"),
        ("float32", "cpu", True, "float32"),
        ("bf16", "cuda:0", False, "bf16"),
    ],
)
def test_a_cpu_without_it_takes_float32(monkeypatch, asked, device, has, wanted):
    monkeypatch.setattr(engine, "cpu_has_bf16", lambda: has)
    assert engine.quick_precision(asked, torch.device(device)) == wanted


def test_a_build_without_the_library_has_none(monkeypatch):
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    assert engine.cpu_has_bf16() is False


@pytest.mark.parametrize("quick", ["bf16", "float32"])
def test_the_trainer_takes_what_is_quick(monkeypatch, quick):
    monkeypatch.setattr(engine, "quick_precision", lambda asked, device: quick)
    with Trainer(tiny_recipe(train={"precision": "bf16"}), 1, torch.device("cpu"))._precision():
        found = torch.ones(4, 4) @ torch.ones(4, 4)
    assert found.dtype == {"bf16": torch.bfloat16, "float32": torch.float32}[quick]
