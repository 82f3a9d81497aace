"""Everything that is written of a run: checkpoints that continue it, and weights that others load."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import torch

from audiotrans.errors import AudiotransError
from audiotrans.files import replacing
from audiotrans.model.nets import NetSettings
from audiotrans.recipe import Recipe, recipe_from_dict, recipe_to_dict, with_new_keys
from audiotrans.training.parts import index_of, read_parts, remove_parts, write_parts
from audiotrans.weights import VERSION, header, stored_nets

CHECKPOINT_NAME = "last.pt"
"""Of the last checkpoint in the folder of a run."""

CHECKPOINT = "audiotrans-checkpoint"


def save_checkpoint(path: Path, state: dict[str, Any], recipe: Recipe, *, part_mb: float | None = None) -> None:
    """Write a training state (plain dicts, numbers and tensors) with its recipe and its preset's layers, atomically.

    Args:
        path: of the checkpoint as one file.
        state: to be written.
        recipe: of the run.
        part_mb: write parts of at most so many MB (10^6 bytes) and an index beside ``path`` in place of it.

    Raises:
        AudiotransError: if the disk is full or the folder cannot be written.
    """
    described = {"recipe": json.dumps(recipe_to_dict(recipe)), **header(recipe.model)}
    whole = {"format": CHECKPOINT, "version": VERSION, **described, **state}
    if part_mb is None:
        with replacing(path) as partial:
            torch.save(whole, partial)
        remove_parts(path)
        return
    content = io.BytesIO()
    torch.save(whole, content)
    write_parts(path, content.getbuffer(), int(part_mb * 1e6))
    path.unlink(missing_ok=True)


def has_checkpoint(path: Path) -> bool:
    """Tell whether a checkpoint stands at a path, as one file or in parts."""
    return path.exists() or index_of(path).exists()


def load_checkpoint(path: Path) -> tuple[dict[str, Any], Recipe]:
    """Read what `save_checkpoint` wrote, in one file or in parts; runs no code from the file.

    Where both stand, because a process was killed between writing one and removing the other, or because parts were
    copied to an older file, the later step is taken.

    Raises:
        AudiotransError: if the file is missing, broken or not a checkpoint of this version.
    """
    found = [_decoded(io.BytesIO(read_parts(path)), index_of(path))] if index_of(path).exists() else []
    if path.exists() or not found:
        found.append(_decoded(path, path))
    state = max(found, key=lambda state: int(state.get("step", 0)))
    return state, recipe_from_dict(with_new_keys(json.loads(state["recipe"])), str(path))


def _decoded(source: Path | io.BytesIO, path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(source, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise AudiotransError(f"{path} does not exist: nothing to resume") from None
    except Exception as error:  # torch raises pickle, zip and runtime errors for broken files
        raise AudiotransError(f"{path} is no readable checkpoint ({type(error).__name__})") from None
    if not isinstance(state, dict) or state.get("format") != CHECKPOINT or state.get("version") != VERSION:
        raise AudiotransError(f"{path} is no {CHECKPOINT} of version {VERSION}")
    return state


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
