"""Models by name or by path: those shipped with the package and those that users trained themselves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from audiotrans.errors import UsageError
from audiotrans.weights import find, read_weights

if TYPE_CHECKING:
    import torch

    from audiotrans.convert.converter import Converter
    from audiotrans.convert.photos import PhotoConverter

DEFAULT_MODEL = "violin-piano"


def load_photo(name_or_path: str | Path, *, device: str = "auto") -> PhotoConverter:
    """Load a model of pictures; arguments and errors as in `load`."""
    path = find(name_or_path)
    target = choose_device(device)
    from audiotrans.convert.photos import PhotoConverter

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
