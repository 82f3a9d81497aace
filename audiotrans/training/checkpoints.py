"""Everything that is written of a run: checkpoints that continue it, and weights that others load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from audiotrans.errors import AudiotransError
from audiotrans.files import replacing
from audiotrans.model.nets import NetSettings
from audiotrans.recipe import Recipe, recipe_from_dict, recipe_to_dict, with_new_keys
from audiotrans.weights import VERSION, header, stored_nets

CHECKPOINT_NAME = "last.pt"
"""Of the last checkpoint in the folder of a run."""

CHECKPOINT = "audiotrans-checkpoint"

OLD_PARTS = {"critics": "discriminators", "critics_adam": "discriminators_adam"}
"""Parts of a state as checkpoints of version 0.1 name them, and today's names."""


def save_checkpoint(path: Path, state: dict[str, Any], recipe: Recipe) -> None:
    """Write a training state (plain dicts, numbers and tensors) with its recipe and its preset's layers, atomically.

    Raises:
        AudiotransError: if the disk is full or the folder cannot be written.
    """
    described = {"recipe": json.dumps(recipe_to_dict(recipe)), **header(recipe.model)}
    whole = {"format": CHECKPOINT, "version": VERSION, **described, **state}
    with replacing(path) as partial:
        torch.save(whole, partial)


def load_checkpoint(path: Path) -> tuple[dict[str, Any], Recipe]:
    """Read what `save_checkpoint` wrote; runs no code from the file.

    Raises:
        AudiotransError: if the file is missing, broken or not a checkpoint of this version.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise AudiotransError(f"{path} does not exist: nothing to resume") from None
    except Exception as error:  # torch raises pickle, zip and runtime errors for broken files
        raise AudiotransError(f"{path} is not a readable checkpoint ({type(error).__name__})") from None
    if not isinstance(state, dict) or state.get("format") != CHECKPOINT or state.get("version") != VERSION:
        raise AudiotransError(f"{path} is not an {CHECKPOINT} of version {VERSION}")
    state = {OLD_PARTS.get(name, name): value for name, value in state.items()}
    return state, recipe_from_dict(with_new_keys(json.loads(state["recipe"])), str(path))


def layers_of(state: dict[str, Any], recipe: Recipe, path: Path) -> NetSettings:
    """Return the layers that a checkpoint's weights have: its preset may have changed since it was written.

    Args:
        state: from `load_checkpoint`.
        recipe: from there.
        path: of the checkpoint, for messages.

    Raises:
        AudiotransError: if they are not readable, or of a newer version.
    """
    return stored_nets(state, path, recipe.model)


def steps_of(state: dict[str, Any]) -> int:
    """Return how many steps a checkpoint's weights have taken, with those of the runs that it was fine-tuned from."""
    return int(state["step"]) + int(state.get("steps_before", 0))
