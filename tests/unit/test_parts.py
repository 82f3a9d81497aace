"""A checkpoint in parts: one set by its index, joined without a word, refused where it is mixed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from audiotrans.errors import AudiotransError
from audiotrans.training import parts
from audiotrans.training.checkpoints import has_checkpoint, load_checkpoint, save_checkpoint
from audiotrans.training.parts import fold, unfold
from tests.fakes import assert_same, tiny_recipe

RECIPE = tiny_recipe()


def state(step):
    draw = torch.Generator().manual_seed(step)
    weights = {"w": torch.randn(60, 50, generator=draw), "u": torch.randn(7, generator=draw).half()}
    return {"step": step, "model": weights, "adam": {"betas": (0.5, 0.999), "n": torch.tensor(4)}}


def save(path, step, part_mb=0.005):
    save_checkpoint(path, state(step), RECIPE, part_mb=part_mb)


def names(folder):
    return {path.name for path in folder.iterdir()}


def index(folder):
    return json.loads((folder / "last.pt.json").read_text())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "last.pt"


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 1000, 4097])
def test_folding_loses_nothing(size):
    content = np.random.default_rng(size).bytes(size)
    assert unfold(fold(content), size) == content


def test_folding_takes_the_alike_eighth_of_weights():
    content = torch.randn(100_000, generator=torch.Generator().manual_seed(0)).numpy().tobytes()
    # Signs and exponents of normal numbers hold less than 4 of their 8 bits.
    assert len(fold(content)) < 0.9 * len(content)


def test_parts_come_back_as_the_state(path):
    save(path, 7)
    assert has_checkpoint(path)
    found, recipe = load_checkpoint(path)
    assert recipe == RECIPE
    kept = {name: found[name] for name in state(7)}
    assert_same(kept, state(7))
    held = [part["file"] for part in index(path.parent)["parts"]]
    assert names(path.parent) == {"last.pt.json", *held}
    assert len(held) > 2
    assert all((path.parent / name).stat().st_size <= 5000 for name in held)


def test_a_new_set_replaces_the_old(path):
    save(path, 1)
    old = names(path.parent)
    save(path, 2, part_mb=0.008)
    assert load_checkpoint(path)[0]["step"] == 2
    assert len(index(path.parent)["parts"]) == len(names(path.parent)) - 1
    assert names(path.parent) & old == {"last.pt.json"}


def test_one_file_and_parts_replace_each_other(path):
    save(path, 1)
    save(path, 2, part_mb=None)
    assert names(path.parent) == {"last.pt"}
    assert load_checkpoint(path)[0]["step"] == 2
    save(path, 3)
    assert "last.pt" not in names(path.parent)
    assert load_checkpoint(path)[0]["step"] == 3


@pytest.mark.parametrize(("in_parts", "whole"), [(1, 2), (2, 1)])
def test_the_later_of_both_is_taken(tmp_path, path, in_parts, whole):
    save(path, in_parts)
    save(tmp_path / "last.pt", whole, part_mb=None)
    (tmp_path / "last.pt").rename(path)
    assert load_checkpoint(path)[0]["step"] == 2


def test_a_run_that_dies_while_saving_keeps_the_old_set(path, monkeypatch):
    save(path, 1)
    before, write, calls = names(path.parent), parts.write_whole, []

    def dying(target, content):
        calls.append(target)
        if len(calls) == 3:
            raise KeyboardInterrupt
        write(target, content)

    monkeypatch.setattr(parts, "write_whole", dying)
    with pytest.raises(KeyboardInterrupt):
        save(path, 2)
    assert names(path.parent) > before  # what a killed process leaves
    assert load_checkpoint(path)[0]["step"] == 1
    monkeypatch.undo()
    save(path, 3)
    assert len(names(path.parent)) == len(before)  # nothing of the dead save is left


def test_a_mixed_set_is_refused(tmp_path, path):
    save(path, 1)
    save(tmp_path / "other" / "last.pt", 2)
    mine, other = (sorted(folder.glob("last.pt.2-of*")) for folder in (path.parent, tmp_path / "other"))
    mine[0].write_bytes(other[0].read_bytes())
    with pytest.raises(AudiotransError, match=r"last.pt.2-of-\d+.\w+ is not the part that last.pt.json names"):
        load_checkpoint(path)
    (tmp_path / "other" / "last.pt.json").replace(path.parent / "last.pt.json")
    message = r"last.pt.1-of-\S+, which last.pt.json names, cannot be read .*: copy all parts of one save"
    with pytest.raises(AudiotransError, match=message) as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)


def test_a_missing_or_cut_part_is_named(path):
    save(path, 1)
    part = next(path.parent.glob("last.pt.1-of*"))
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(AudiotransError, match=f"{part.name} is not the part .*SHA-256"):
        load_checkpoint(path)
    part.unlink()
    with pytest.raises(AudiotransError, match=f"{part.name}, which last.pt.json names, cannot be read"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parts": None}, "last.pt.json is broken"),
        ({"bytes": "many"}, "last.pt.json is broken"),
        ({"version": 2}, "is audiotrans-checkpoint-parts 2, not audiotrans-checkpoint-parts 1"),
        ({"bytes": 400_000}, "does not fit its parts"),
        ({"parts": []}, "does not fit its parts"),
    ],
)
def test_a_broken_index_is_refused_in_one_line(path, changes, message):
    save(path, 1)
    (path.parent / "last.pt.json").write_text(json.dumps(index(path.parent) | changes))
    with pytest.raises(AudiotransError, match=message) as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)
    (path.parent / "last.pt.json").write_text("{")
    with pytest.raises(AudiotransError, match="is broken"):
        load_checkpoint(path)


def test_parts_that_hold_no_checkpoint_are_refused(path):
    path.parent.mkdir()
    parts.write_parts(path, b"hello, world", 5)
    with pytest.raises(AudiotransError, match=r"last\.pt\.json is no readable checkpoint"):
        load_checkpoint(path)


def test_where_nothing_is_there_is_nothing_to_resume(path):
    assert not has_checkpoint(path)
    with pytest.raises(AudiotransError, match="does not exist: nothing to resume"):
        load_checkpoint(path)
