"""Everything that is written of a run: checkpoints that continue it, and weights that others load."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from audiotrans.errors import AudiotransError
from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.training.recipe import Recipe, recipe_from_dict, recipe_to_dict

CHECKPOINT = "audiotrans-checkpoint"
WEIGHTS = "audiotrans-model"
VERSION = "1"


def _replace(path: Path, write: Callable[[Path], None]) -> None:
    """Write beside ``path`` and rename: a killed process never costs the file that was there.

    Raises:
        AudiotransError: if the disk is full or the folder cannot be written.
    """
    beside: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        beside = Path(name)
        write(beside)
        beside.chmod(0o644)
        beside.replace(path)
    except (OSError, RuntimeError) as error:
        raise AudiotransError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from None
    finally:
        if beside:
            beside.unlink(missing_ok=True)


def save_checkpoint(path: Path, state: dict[str, Any], recipe: Recipe) -> None:
    """Write a training state (plain dicts, numbers and tensors) with its recipe, atomically."""
    whole = {"format": CHECKPOINT, "version": VERSION, "recipe": json.dumps(recipe_to_dict(recipe)), **state}
    _replace(path, lambda beside: torch.save(whole, beside))


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
        raise AudiotransError(f"{path} is no readable checkpoint ({type(error).__name__})") from None
    if not isinstance(state, dict) or state.get("format") != CHECKPOINT or state.get("version") != VERSION:
        raise AudiotransError(f"{path} is no {CHECKPOINT} of version {VERSION}")
    return state, recipe_from_dict(json.loads(state["recipe"]), str(path))


def export_weights(
    weights: dict[str, Tensor], recipe: Recipe, path: Path, *, card: dict[str, Any] | None = None, half: bool = False
) -> None:
    """Write a model that `read_weights` and ``--model`` load.

    Args:
        weights: state dict of an `AVBGTN`.
        recipe: the recipe it was trained by.
        path: a ``.safetensors`` file.
        card: what to say of the model: data, licence, steps, figures.
        half: store float16: half the size, far below what is audible.
    """
    kept = {name: (value.half() if half else value.float()).contiguous().cpu() for name, value in weights.items()}
    metadata = {
        "format": WEIGHTS,
        "version": VERSION,
        "recipe": json.dumps(recipe_to_dict(recipe)),
        "card": json.dumps(card or {}),
    }
    _replace(Path(path), lambda beside: save_file(kept, beside, metadata=metadata))


def read_weights(path: Path | str) -> tuple[AVBGTN, Recipe, dict[str, Any]]:
    """Build the model that `export_weights` wrote.

    Returns:
        The model in evaluation mode on the CPU, its recipe and its card.

    Raises:
        AudiotransError: if the file is missing, is not one of ours, or does not fit its own recipe.
    """
    path = Path(path)
    if not path.is_file():
        raise AudiotransError(f"no model file {path}; see: audiotrans models")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name).float() for name in file.keys()}
    except Exception:  # safetensors raises its own error class for anything that is not its format
        raise AudiotransError(f"{path} is no audiotrans model: not a readable safetensors file") from None
    if metadata.get("format") != WEIGHTS:
        raise AudiotransError(f"{path} is no audiotrans model: its metadata names no {WEIGHTS}")
    if metadata.get("version") != VERSION:
        raise AudiotransError(f"{path} is of version {metadata.get('version')}, this program reads {VERSION}")
    try:
        values, card = json.loads(metadata["recipe"]), json.loads(metadata.get("card", "{}"))
    except (KeyError, ValueError):
        raise AudiotransError(f"{path} is no audiotrans model: its metadata holds no readable recipe") from None
    recipe = recipe_from_dict(values, str(path))
    with torch.random.fork_rng(devices=[]):  # the start values are overwritten: a caller's random state is not ours
        model = AVBGTN(recipe.model, recipe.imaging.image_channels)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise AudiotransError(f"{path} does not fit its own recipe: {' '.join(str(error).split())[:200]}") from None
    return model.eval().requires_grad_(False), recipe, card
