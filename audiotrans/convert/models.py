"""Models by name or by path: those shipped with the package and those that users trained themselves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from audiotrans.errors import AudiotransError, UsageError
from audiotrans.shipped import find, shipped_models

if TYPE_CHECKING:
    import torch

    from audiotrans.convert.converter import Converter
    from audiotrans.convert.photos import PhotoConverter

DEFAULT_MODEL = "violin-piano"


@dataclass(frozen=True)
class ModelEntry:
    """A shipped model, known from its file's header alone.

    Attributes:
        name: what ``--model`` takes.
        path: of its weights.
        domains: names of its two domains.
        summary: one line from its card.
    """

    name: str
    path: Path
    domains: tuple[str, str]
    summary: str

    def __str__(self) -> str:
        """Return the line that a user sees."""
        size = self.path.stat().st_size / 1e6
        return f"{self.name}: {self.domains[0]} <-> {self.domains[1]}, {size:.1f} MB. {self.summary}".rstrip()


def list_models() -> list[ModelEntry]:
    """List the shipped models, by name."""
    return [_entry(path) for path in shipped_models()]


def is_photo_model(name_or_path: str | Path) -> bool:
    """Tell from a model's file header alone whether it translates pictures.

    Raises:
        UsageError: for a name that no model has.
        AudiotransError: for a file that is not a model of ours.
    """
    from safetensors import SafetensorError, safe_open

    path = find(name_or_path)
    try:
        with safe_open(path, framework="numpy") as file:
            imaging = json.loads((file.metadata() or {})["recipe"]).get("imaging", {})
    except (OSError, SafetensorError, KeyError, ValueError):
        raise AudiotransError(f"{path} is no audiotrans model: its metadata holds no readable recipe") from None
    return bool(imaging.get("type") == "photo")


def load_photo(name_or_path: str | Path, *, device: str = "auto") -> PhotoConverter:
    """Load a model of pictures; arguments and errors as in `load`."""
    path = find(name_or_path)
    target = choose_device(device)
    from audiotrans.convert.photos import PhotoConverter
    from audiotrans.training.checkpoints import read_weights

    model, recipe, _ = read_weights(path)
    return PhotoConverter(model, recipe, target)


def load(name_or_path: str | Path = DEFAULT_MODEL, *, device: str = "auto") -> Converter:
    """Load a model with everything that converting needs.

    Args:
        name_or_path: a shipped model's name, or a weights file.
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        UsageError: for a name that no model has, or a device that is not there.
        AudiotransError: for a file that is not a model of ours.
    """
    path = find(name_or_path)
    target = choose_device(device)
    from audiotrans.convert.converter import Converter
    from audiotrans.convert.domain_check import read_profile
    from audiotrans.training.checkpoints import read_weights

    model, recipe, _ = read_weights(path)
    return Converter(model, recipe, target, read_profile(path))


def choose_device(name: str) -> torch.device:
    """Turn a user's word into a device.

    Raises:
        UsageError: for an unknown word, or CUDA where there is none.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or not (index.isdigit() or (not index and ":" not in name)):
        raise UsageError(f"unknown device {name!r}: choose auto, cpu, cuda or cuda:0, cuda:1, ...")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise UsageError(f"no device {name!r} here ({count} CUDA devices are usable): use --device cpu or auto")
    return torch.device(name)


def use_threads(threads: int | None) -> None:
    """Set how many CPU threads torch uses in this process, at most one for each core; None leaves it alone.

    Raises:
        UsageError: for fewer than one.
    """
    if threads is None:
        return
    if threads < 1:
        raise UsageError(f"threads {threads}: give 1 or more")
    import torch

    from audiotrans.processes import usable_cores

    torch.set_num_threads(min(threads, usable_cores()))


def _entry(path: Path) -> ModelEntry:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:  # reads the header only
            metadata = file.metadata() or {}
        domains = json.loads(metadata["recipe"])["domains"]
        summary = json.loads(metadata.get("card", "{}")).get("summary", "")
        return ModelEntry(path.stem, path, (domains["a"], domains["b"]), summary)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise AudiotransError(f"{path} is not a model of audiotrans ({error})") from error
