"""Everything that is written of a run: checkpoints that continue it, and weights that others load."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from audiotrans.errors import AudiotransError
from audiotrans.files import write_beside
from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.model.nets import NetSettings
from audiotrans.recipe import Recipe, recipe_from_dict, recipe_to_dict, with_new_keys
from audiotrans.training.parts import index_of, read_parts, remove_parts, write_parts

CHECKPOINT_NAME = "last.pt"
"""Of the last checkpoint in the folder of a run."""

CHECKPOINT = "audiotrans-checkpoint"
WEIGHTS = "audiotrans-model"
VERSION = "1"


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
    described = {"recipe": json.dumps(recipe_to_dict(recipe)), **_extras(recipe.model.nets)}
    whole = {"format": CHECKPOINT, "version": VERSION, **described, **state}
    if part_mb is None:
        write_beside(path, lambda beside: torch.save(whole, beside))
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
    return _stored_nets(state, path) or recipe.model.nets


def steps_of(state: dict[str, Any]) -> int:
    """Return how many steps a checkpoint's weights have taken, with those of the runs that it was fine-tuned from."""
    return int(state["step"]) + int(state.get("steps_before", 0))


def export_weights(
    weights: dict[str, Tensor],
    recipe: Recipe,
    path: Path,
    *,
    card: dict[str, Any] | None = None,
    half: bool = False,
    profile: dict[str, Any] | None = None,
    nets: NetSettings | None = None,
) -> None:
    """Write a model that `read_weights` and ``--model`` load.

    The recipe names a preset; its layers are written beside it, so that a preset may change and old files stay right.

    Args:
        weights: state dict of an `AVBGTN`.
        recipe: the recipe it was trained by.
        path: a ``.safetensors`` file.
        card: what to say of the model: data, licence, steps, figures.
        half: store float16: half the size, far below what is audible.
        profile: what its training data were like, in plain values.
        nets: its layers; None for those of the recipe's preset.
    """
    kept = {name: (value.half() if half else value.float()).contiguous().cpu() for name, value in weights.items()}
    metadata = {
        "format": WEIGHTS,
        "version": VERSION,
        "recipe": json.dumps(recipe_to_dict(recipe)),
        "card": json.dumps(card or {}),
        **_extras(nets or recipe.model.nets, profile),
    }
    write_beside(Path(path), lambda beside: save_file(kept, beside, metadata=metadata))


def describe_weights(path: Path, output: Path, profile: dict[str, Any] | None, changed: Recipe | None = None) -> None:
    """Copy a weights file, adding the layers of its preset (where they are missing) and a profile.

    Args:
        path: what `export_weights` wrote; its tensors and the rest of its metadata are taken over as they are.
        output: may be the same file.
        profile: what its training data were like; None keeps the one that it has.
        changed: its recipe with other settings of conversion; None keeps the one that it has.

    Raises:
        AudiotransError: as `read_weights` does.
    """
    _, recipe, _ = read_weights(path)  # whole, and built as this program's presets say: they may be written down
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    extras = _extras(recipe.model.nets, profile)
    extras |= {"nets": metadata["nets"]} if "nets" in metadata else {}
    extras |= {"recipe": json.dumps(recipe_to_dict(changed))} if changed else {}
    write_beside(output, lambda beside: save_file(tensors, beside, metadata={**metadata, **extras}))


def _extras(nets: NetSettings, profile: dict[str, Any] | None = None) -> dict[str, str]:
    extras = {"nets": asdict(nets)} | ({"profile": profile} if profile else {})
    return {key: json.dumps(value, separators=(",", ":")) for key, value in extras.items()}


def read_recipe(path: Path | str) -> tuple[Recipe, Any]:
    """Read a weights file's recipe, and the profile of its training data (None without one); no tensor is read.

    Raises:
        AudiotransError: as `read_weights` does.
    """
    path = Path(path)
    metadata, _ = _open(path, tensors=False)
    values, _ = _described(metadata, path)
    try:
        profile = json.loads(metadata.get("profile", "null"))
    except ValueError:
        raise AudiotransError(f"{path}: its profile of the training data is broken: export it again") from None
    return recipe_from_dict(values, str(path)), profile


def read_weights(path: Path | str) -> tuple[AVBGTN, Recipe, dict[str, Any]]:
    """Build the model that `export_weights` wrote.

    Returns:
        The model in evaluation mode on the CPU, its recipe and its card.

    Raises:
        AudiotransError: if the file is missing, is not one of ours, or does not fit its own recipe.
    """
    path = Path(path)
    metadata, weights = _open(path)
    values, card = _described(metadata, path)
    recipe = recipe_from_dict(values, str(path))
    nets = _stored_nets(metadata, path) or recipe.model.nets
    with torch.random.fork_rng(devices=[]):  # the start values are overwritten: a caller's random state is not ours
        model = AVBGTN(recipe.model, recipe.imaging.image_channels, nets)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise AudiotransError(f"{path} does not fit its own recipe: {' '.join(str(error).split())[:200]}") from None
    return model.eval().requires_grad_(False), recipe, card


def _open(path: Path, *, tensors: bool = True) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.is_file():
        raise AudiotransError(f"no model file {path}; see: audiotrans models")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name).float() for name in file.keys() if tensors}
    except Exception:  # safetensors raises its own error class for anything that is not its format
        raise AudiotransError(f"{path} is no audiotrans model: not a readable safetensors file") from None
    return metadata, weights


def _described(metadata: dict[str, str], path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the plain recipe and the card that a weights file holds."""
    if metadata.get("format") != WEIGHTS:
        raise AudiotransError(f"{path} is no audiotrans model: its metadata names no {WEIGHTS}")
    if metadata.get("version") != VERSION:
        raise AudiotransError(f"{path} is of version {metadata.get('version')}, this program reads {VERSION}")
    try:
        return with_new_keys(json.loads(metadata["recipe"])), json.loads(metadata.get("card", "{}"))
    except (KeyError, ValueError):
        raise AudiotransError(f"{path} is no audiotrans model: its metadata holds no readable recipe") from None


def _stored_nets(metadata: dict[str, Any], path: Path) -> NetSettings | None:
    """Return the layers that a weights file or checkpoint names; None for files that name their preset only."""
    if "nets" not in metadata:
        return None
    try:
        values = with_new_keys(json.loads(metadata["nets"]))
        unknown = sorted(set(values) - {field.name for field in fields(NetSettings)})
        nets = TypeAdapter(NetSettings).validate_python(values)
    except (TypeError, ValueError):
        raise AudiotransError(f"{path} cannot be used: its metadata holds no readable layers") from None
    if unknown:
        raise AudiotransError(f"{path} has layers of a newer audiotrans ({unknown[0]}): update the program to use it")
    return nets
