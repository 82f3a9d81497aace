"""A weights file holds the layers of its preset, and they win over what the preset has become."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from audiotrans.errors import AudiotransError
from audiotrans.model.nets import PRESETS, layers
from audiotrans.weights import describe_weights, open_weights, read_weights
from tests.fakes import image
from tests.profiles import made_weights, recipe_of

RECIPE = recipe_of()


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    return made_weights(tmp_path / "m.safetensors", RECIPE)


def rewrite(path: Path, **changes: object) -> None:
    """Change metadata behind the program's back; None removes a key."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in changes.items()}
    kept = {key: value for key, value in (metadata | texts).items() if changes.get(key, "") is not None}
    save_file(tensors, path, metadata=kept)


def change_preset(monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    monkeypatch.setitem(PRESETS, "tiny", replace(PRESETS["tiny"], **changes))


def test_layers_are_written_and_used(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = image((1, 1, 64, 24), 0)
    with torch.inference_mode():
        before = read_weights(stored).model.translate(x, "a", "b")
        change_preset(monkeypatch, slope=0.01, norm_eps=0.5)  # same shapes: nothing else would notice
        after = read_weights(stored).model.translate(x, "a", "b")
    assert torch.equal(before, after)
    change_preset(monkeypatch, width=16)
    assert read_weights(stored).model.settings.width == 8


def test_files_without_layers_follow_their_preset(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rewrite(stored, nets=None)
    assert read_weights(stored).model.settings == RECIPE.model
    change_preset(monkeypatch, slope=0.01)
    assert read_weights(stored).model.settings.slope == 0.01
    change_preset(monkeypatch, width=16)
    with pytest.raises(AudiotransError, match="does not fit its own recipe"):
        read_weights(stored)


def test_describing_an_old_file_writes_its_layers_down(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite(stored, nets=None)
    describe_weights(stored, stored, {"version": 1, "some": "thing"})
    change_preset(monkeypatch, slope=0.01)
    assert read_weights(stored).model.settings.slope == 0.2
    describe_weights(stored, tmp_path / "again.safetensors", None)  # the layers of the file, not of today's preset
    assert read_weights(tmp_path / "again.safetensors").model.settings.slope == 0.2
    again = open_weights(tmp_path / "again.safetensors")
    assert (again.recipe, again.statistics) == (RECIPE, {"version": 1, "some": "thing"})


def test_layers_of_an_earlier_program_take_the_defaults_of_later_settings(stored: Path) -> None:
    old = layers(RECIPE.model)
    del old["latent_discriminator"]
    rewrite(stored, nets=old)
    assert read_weights(stored).model.settings == RECIPE.model


@pytest.mark.parametrize(
    ("nets", "message"),
    [
        ("{", "no readable layers"),
        ([1], "no readable layers"),
        ({"width": "wide"}, "no readable layers"),
        (layers(RECIPE.model) | {"attention": 4}, r"layers of a newer audiotrans \(attention\): update"),
        (layers(RECIPE.model) | {"width": 16}, "does not fit its own recipe"),
    ],
)
def test_layers_that_cannot_be_built_are_refused_in_one_line(stored: Path, nets: object, message: str) -> None:
    rewrite(stored, nets=nets)
    with pytest.raises(AudiotransError, match=message) as error:
        read_weights(stored)
    assert "\n" not in str(error.value)


def test_broken_statistics_are_named(stored: Path) -> None:
    rewrite(stored, profile="{")
    with pytest.raises(AudiotransError, match=r"m\.safetensors: its training-data statistics are broken"):
        open_weights(stored)
