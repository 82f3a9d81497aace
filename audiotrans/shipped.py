"""Where models lie: those shipped with the package, by name, and those that users trained, by path."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from audiotrans.errors import UsageError, nearest

SUFFIX = ".safetensors"


def shipped_models() -> Iterator[Path]:
    """Yield the weights files shipped with the package, by name."""
    folder = Path(str(resources.files("audiotrans"))) / "weights"
    yield from sorted(folder.glob(f"*{SUFFIX}"))


def shipped_by_name() -> dict[str, Path]:
    """Return the shipped weights files by the names that ``--model`` takes."""
    return {path.stem: path for path in shipped_models()}


def find(name_or_path: str | Path) -> Path:
    """Return the weights file of a name or path.

    Raises:
        UsageError: listing the names that exist.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give a {SUFFIX} file (audiotrans export-weights makes one of a run)")
    shipped = shipped_by_name()
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    names = ", ".join(shipped) or "none"
    hint = nearest(str(name_or_path), shipped)
    raise UsageError(f"no model {str(name_or_path)!r}: shipped are {names}; or give the path of a {SUFFIX} file.{hint}")
