"""Everything that is written of a run: checkpoints that continue it, and its log, metrics.jsonl."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from audiotrans.errors import AudiotransError
from audiotrans.files import from_json, replacing, write_error, write_whole
from audiotrans.model.nets import NetSettings
from audiotrans.recipe import Recipe, recipe_from_dict, recipe_to_dict, warn_of_gone, with_new_keys
from audiotrans.weights import VERSION, header, stored_nets

CHECKPOINT_NAME = "last.pt"
"""Of the last checkpoint in the folder of a run."""

BEST_NAME = "best.pt"
"""Of the checkpoint whose averaged weights did best in validation."""

CLOCKED = ("seconds", "waited")
"""Keys of a line of metrics.jsonl that tell of time: all others are the same when a run is trained again."""

METRICS_NAME = "metrics.jsonl"
"""Of the log in the folder of a run: a line of JSON for each step that is logged."""

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
        with partial.open("rb+") as file:
            os.fsync(file.fileno())  # a machine that loses its power must not keep a new name of an empty file


def kept_name(step: int) -> str:
    """Return the name of a checkpoint that is kept beside the last one."""
    return f"step_{step:07d}.pt"


def keep_as(path: Path, name: str) -> None:
    """Keep a checkpoint under a further name: a link where the disk has links, as a file is never changed.

    Raises:
        AudiotransError: if the disk is full or the folder cannot be written.
    """
    with replacing(path.with_name(name)) as partial:
        partial.unlink()
        try:
            os.link(path, partial)
        except OSError:
            shutil.copyfile(path, partial)


def load_checkpoint(path: Path) -> tuple[dict[str, Any], Recipe]:
    """Read what `save_checkpoint` wrote; runs no code from the file.

    Raises:
        AudiotransError: if the file is missing, broken or not a checkpoint of this version.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise AudiotransError(f"there is no checkpoint {path}: name the folder of a run, or a file in it") from None
    except Exception as error:  # torch raises pickle, zip and runtime errors for broken files
        raise AudiotransError(f"{path} is not a readable checkpoint ({type(error).__name__})") from None
    if not isinstance(state, dict) or state.get("format") != CHECKPOINT or state.get("version") != VERSION:
        raise AudiotransError(f"{path} is not an {CHECKPOINT} of version {VERSION}")
    state = {OLD_PARTS.get(name, name): value for name, value in state.items()}
    try:
        stored = from_json(state["recipe"])
        values = with_new_keys(stored)
        _check(state)
    except (KeyError, TypeError, ValueError) as error:
        raise AudiotransError(f"{path} is broken ({error}): it cannot be used") from None
    warn_of_gone(stored, str(path))
    return state, recipe_from_dict(values, str(path))


def _check(state: dict[str, Any]) -> None:
    """Raise ValueError where a state's numbers and weights are not what `save_checkpoint` writes."""
    for name, value in (("step", state.get("step")), ("steps_before", state.get("steps_before", 0))):
        if type(value) is not int or not 0 <= value < 2**62:
            raise ValueError(f"its {name} is not a number of steps")
    if not isinstance(state.get("data", {}), dict):
        raise ValueError("its data are not digests")
    for name in ("model", "ema", "discriminators"):
        part = state.get(name, {})
        if not isinstance(part, dict) or not all(isinstance(value, torch.Tensor) for value in part.values()):
            raise ValueError(f"its {name} are not weights")
        for key, value in part.items():
            if value.is_floating_point() and not value.isfinite().all():
                raise ValueError(f"its {name} holds numbers that are not finite, in {key}")


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


def metrics_of(run: Path) -> list[dict[str, float]]:
    """Return the lines of a run's log; none where it has no log. A line that was cut off is left out."""
    log, lines = run / METRICS_NAME, []
    for text in log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else ():
        try:
            line = from_json(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
    return lines


class Stateful(Protocol):
    """What takes a state: a network, an optimiser, a pool."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> object:
        """Take it."""


def fit(part: Stateful, state: dict[str, Any], what: str) -> None:
    """Load a state, or say in one line that it does not fit.

    Args:
        part: what takes it.
        state: to be taken.
        what: where it comes from, for the message.

    Raises:
        AudiotransError: if it has other layers.
    """
    try:
        part.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise AudiotransError(f"{what} has other layers than this version of audiotrans: {reason}") from None


def forget_after(path: Path, step: int) -> None:
    """Drop metric lines of steps that a resumed run will take again."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    write_whole(path, "".join(f"{line}\n" for line in lines if _step_of(line) <= step))


def _step_of(line: str) -> float:
    try:
        return float(from_json(line)["step"])
    except ValueError:  # the line that a killed run was writing
        return math.inf


class Journal:
    """Writes metrics.jsonl, and TensorBoard events where that is installed (the ``train`` extra).

    Args:
        run: folder of the run; None for a process that does not write.
        step: where the run goes on; events of later steps are purged.
    """

    def __init__(self, run: Path | None, step: int) -> None:
        self._file = (run / METRICS_NAME if run else Path(os.devnull)).open("a", encoding="utf-8")
        self._began = time.monotonic()
        self._board: Any = None
        if run is None:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            pass
        else:
            self._board = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, values: dict[str, float], waited: float | None = None) -> None:
        """Add the values of a step, rounded to five digits; those that are not finite are left out.

        Args:
            step: their step.
            values: by name.
            waited: share of the time since the last such line in which training waited for crops.
        """
        values = {name: value for name, value in values.items() if math.isfinite(value)}
        speed = {} if waited is None else {"waited": round(waited, 4)}
        self._write(step, speed | {name: float(f"{value:.5g}") for name, value in values.items()})
        for name, value in values.items() if self._board else ():
            self._board.add_scalar(name, value, step)

    def note(self, step: int, **facts: int | str | dict[str, str]) -> None:
        """Add a line of what happened at a step."""
        self._write(step, facts)

    def _write(self, step: int, values: Mapping[str, Any]) -> None:
        line = {"step": step, "seconds": round(time.monotonic() - self._began, 1)}
        try:
            self._file.write(json.dumps(line | dict(values)) + "\n")
            self._file.flush()
        except OSError as error:
            raise write_error(Path(self._file.name), error) from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):  # a full disk was told of already
            self._file.close()
        if self._board:
            self._board.close()
