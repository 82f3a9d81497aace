"""What is written of a run: whole or not at all, read without running code, and refused by name if not ours."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from audiotrans.errors import AudiotransError
from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.recipe import recipe_to_dict
from audiotrans.training import checkpoints
from audiotrans.training.checkpoints import load_checkpoint, save_checkpoint
from audiotrans.weights import export_weights, read_weights
from tests.fakes import image, tiny_recipe

RECIPE = tiny_recipe()


@pytest.fixture
def net():
    torch.manual_seed(3)
    return AVBGTN(RECIPE.model, 1)


def metadata(**changes):
    values = {"format": "audiotrans-model", "version": "1", "recipe": json.dumps(recipe_to_dict(RECIPE)), "card": "{}"}
    return {k: v for k, v in (values | changes).items() if v is not None}


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    state = {"step": 7, "model": {"w": torch.randn(3, 2), "n": torch.tensor(4)}, "adam": {"betas": (0.5, 0.999)}}
    save_checkpoint(tmp_path / "run" / "last.pt", state, RECIPE)
    found, recipe = load_checkpoint(tmp_path / "run" / "last.pt")
    assert recipe == RECIPE
    assert found["step"] == 7
    assert torch.equal(found["model"]["w"], state["model"]["w"])
    assert found["adam"] == {"betas": (0.5, 0.999)}
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["last.pt"]


@pytest.mark.parametrize("death", [KeyboardInterrupt, OSError, RuntimeError])
def test_a_run_that_dies_while_saving_keeps_the_last_checkpoint(tmp_path, monkeypatch, death):
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"step": 1}, RECIPE)
    before = path.read_bytes()

    def half(whole, beside):
        Path(beside).write_bytes(before[: len(before) // 2])
        assert path.read_bytes() == before  # what a killed process would leave
        raise death("no space left")

    monkeypatch.setattr(checkpoints.torch, "save", half)
    with pytest.raises(KeyboardInterrupt if death is KeyboardInterrupt else AudiotransError):
        save_checkpoint(path, {"step": 2}, RECIPE)
    assert load_checkpoint(path)[0]["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "run").write_text("a file, not a folder")
    with pytest.raises(AudiotransError, match=r"cannot write .*last\.pt"):
        save_checkpoint(tmp_path / "run" / "last.pt", {}, RECIPE)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "last.pt"
    with pytest.raises(AudiotransError, match=r"there is no checkpoint .*last\.pt: name the folder"):
        load_checkpoint(path)
    path.write_text("hello")
    with pytest.raises(AudiotransError, match="is not a readable checkpoint"):
        load_checkpoint(path)
    save_checkpoint(path, {"step": 1}, RECIPE)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(AudiotransError, match="is not a readable checkpoint"):
        load_checkpoint(path)
    for foreign in ([1, 2], {"format": "other"}, {"format": "audiotrans-checkpoint", "version": "0"}):
        torch.save(foreign, path)
        with pytest.raises(AudiotransError, match="is not an audiotrans-checkpoint of version 1"):
            load_checkpoint(path)


def test_a_checkpoint_of_the_old_words_is_read(tmp_path):
    values = recipe_to_dict(RECIPE)
    values["train"]["critic_batch"] = values["train"].pop("discriminator_batch")
    weights = {"image.w": torch.ones(2)}
    old = {"format": "audiotrans-checkpoint", "version": "1", "recipe": json.dumps(values), "step": 3}
    torch.save(old | {"critics": weights, "critics_adam": {"state": {}}}, tmp_path / "last.pt")
    state, recipe = load_checkpoint(tmp_path / "last.pt")
    assert recipe == RECIPE
    assert torch.equal(state["discriminators"]["image.w"], weights["image.w"])
    assert state["discriminators_adam"] == {"state": {}}
    assert "critics" not in state


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": 1}, "is broken"),
        ({"recipe": "{"}, "is broken"),
        ({"recipe": "[" * 100_000}, "is broken .*nested too deeply"),
        ({"recipe": "[]"}, "valid dictionary"),
        ({"step": "x"}, "is broken .its step is not a number of steps"),
        ({"step": -1}, "is broken .its step is not a number of steps"),
        ({"steps_before": 1.5}, "is broken .its steps_before is not a number of steps"),
        ({"data": "x"}, "is broken .its data are not digests"),
        ({"ema": [1]}, "is broken .its ema are not weights"),
        ({"model": {"a": 1}}, "is broken .its model are not weights"),
        ({"ema": {"a": torch.tensor([1.0, math.nan])}}, "its ema holds numbers that are not finite, in a"),
    ],
)
def test_a_checkpoint_that_is_not_as_it_was_written_is_refused(tmp_path, changes, message):
    save_checkpoint(tmp_path / "last.pt", {"step": 1, "model": {}, "ema": {}}, RECIPE)
    torch.save(torch.load(tmp_path / "last.pt", weights_only=True) | changes, tmp_path / "last.pt")
    with pytest.raises(AudiotransError, match=message) as caught:
        load_checkpoint(tmp_path / "last.pt")
    assert "\n" not in str(caught.value)


class Code:
    """Something whose unpickling would run code."""

    def __reduce__(self):
        return (print, ("this must not run",))


def test_a_checkpoint_that_holds_code_is_refused(tmp_path, capsys):
    torch.save({"format": "audiotrans-checkpoint", "version": "1", "step": Code()}, tmp_path / "last.pt")
    with pytest.raises(AudiotransError, match="is not a readable checkpoint"):
        load_checkpoint(tmp_path / "last.pt")
    assert "must not run" not in capsys.readouterr().out


@pytest.mark.parametrize("half", [False, True])
def test_exported_weights_translate_alike(tmp_path, net, half):
    card = {"data": "none", "steps": 0}
    export_weights(net.state_dict(), RECIPE, tmp_path / "m.safetensors", card=card, half=half)
    stored = read_weights(tmp_path / "m.safetensors")
    found, recipe, read_card = stored.model, stored.recipe, stored.card
    assert (recipe, read_card) == (RECIPE, card)
    assert not found.training
    assert not any(p.requires_grad for p in found.parameters())
    assert {p.dtype for p in found.parameters()} == {torch.float32}
    for name, value in net.state_dict().items():
        kept = value.half().float() if half else value
        assert torch.equal(found.state_dict()[name], kept), name
    x = image((1, 1, 32, 21), 1)
    with torch.inference_mode():
        wanted, got = (m.eval().translate(x, "a", "b") for m in (net, found))
    # float16 rounds weights by 2^-11 at most, and some twenty layers add it up: 0.01 is 0.5 dB of a 100 dB image.
    torch.testing.assert_close(got, wanted, atol=1e-2 if half else 0, rtol=0)


def test_half_precision_halves_the_file(tmp_path):
    net = AVBGTN(tiny_recipe(model={"preset": "tiny", "width": 16}).model, 1)
    for half in (False, True):
        export_weights(net.state_dict(), RECIPE, tmp_path / f"{half}.safetensors", half=half)
    sizes = [(tmp_path / f"{half}.safetensors").stat().st_size for half in (True, False)]
    assert sizes[0] / sizes[1] == pytest.approx(0.5, abs=0.05)


def test_a_weights_file_describes_itself(tmp_path, net):
    export_weights(net.state_dict(), RECIPE, tmp_path / "m.safetensors", card={"licence": "CC0"})
    with safe_open(tmp_path / "m.safetensors", framework="pt") as file:
        found = file.metadata()
    assert (found["format"], found["version"]) == ("audiotrans-model", "1")
    assert json.loads(found["recipe"]) == recipe_to_dict(RECIPE)
    assert json.loads(found["card"]) == {"licence": "CC0"}


WIDER = json.dumps(recipe_to_dict(tiny_recipe(model={"preset": "tiny", "width": 8})))
WRONG_METADATA = {
    "foreign": {"format": None},
    "version": {"version": "2"},
    "no recipe": {"recipe": None},
    "broken recipe": {"recipe": "{"},
    "unknown key": {"recipe": '{"model": {"widht": 4}}'},
    "shapes": {"recipe": WIDER},
    "deep": {"recipe": '{"model": ' * 100 + "1" + "}" * 100},
}
WRITERS = {
    "missing": lambda path, weights: None,
    "folder": lambda path, weights: path.mkdir(),
    "text": lambda path, weights: path.write_text("not a model"),
    "empty": lambda path, weights: path.touch(),
    "truncated": lambda path, weights: path.write_bytes(path.read_bytes()[:-100]),
    "not finite": lambda path, weights: save_file(
        {name: value * math.inf for name, value in weights.items()}, path, metadata=metadata()
    ),
    "a weight missing": lambda path, weights: save_file(dict(list(weights.items())[1:]), path, metadata=metadata()),
}


def damaged(case, path, weights):
    if case in WRONG_METADATA:
        save_file(weights, path, metadata=metadata(**WRONG_METADATA[case]))
        return
    if case == "truncated":
        save_file(weights, path, metadata=metadata())
    WRITERS[case](path, weights)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("missing", "no model file .*m.safetensors; see: audiotrans models"),
        ("folder", "no model file"),
        ("text", "is not an audiotrans model: not a readable safetensors file"),
        ("empty", "not a readable safetensors file"),
        ("truncated", "not a readable safetensors file"),
        ("foreign", "is not an audiotrans model: its metadata names no audiotrans-model"),
        ("version", "is of version 2, this program reads 1"),
        ("no recipe", "its metadata holds no readable recipe"),
        ("broken recipe", "its metadata holds no readable recipe"),
        ("unknown key", r"m.safetensors: model.widht: unknown key.*Did you mean 'width'"),
        ("shapes", "does not fit its own recipe: .*size mismatch"),
        ("a weight missing", "does not fit its own recipe: .*Missing key"),
        ("not finite", "is damaged: its .* holds numbers that are not finite"),
        ("deep", "its metadata holds no readable recipe"),
    ],
)
def test_files_that_are_not_ours_are_refused_in_one_line(tmp_path, net, case, message):
    path = tmp_path / "m.safetensors"
    damaged(case, path, net.state_dict())
    with pytest.raises(AudiotransError, match=message) as error:
        read_weights(path)
    assert "\n" not in str(error.value)
