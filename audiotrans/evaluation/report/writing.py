"""The page's folder: built beside its place, renamed when it is complete, and only ever replaced by its like."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from audiotrans.errors import AudiotransError, UsageError

MARKER = "report.json"
"""Says that a folder is a listening page, and which neutral file name is whose sound."""

FORMAT = "audiotrans-report"


def check_output(output: Path, sources: Sequence[Path], *, force: bool) -> None:
    """Refuse a place where the page must not go, before any work.

    Args:
        output: the folder to be made.
        sources: what the page is made of.
        force: whether an existing page may be replaced.

    Raises:
        UsageError: it is a file, holds something that is no page of ours, a page without ``force``, or a source.
    """
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output}: is a file; name a folder for the page.")
    if not output.exists() or not any(output.iterdir()):
        return
    if not is_page(output):
        raise UsageError(f"{output}: holds files that are no listening page, and is left alone; name another folder.")
    if not force:
        raise UsageError(f"{output}: there is a page already; --force replaces it, or choose another name.")
    inner = [source for source in sources if source.resolve().is_relative_to(output.resolve())]
    if inner:
        raise UsageError(f"{output}: cannot be replaced, the source {inner[0]} lies in it; choose another name.")


def is_page(folder: Path) -> bool:
    """Tell whether a folder is a listening page, by its marker."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(marker, dict) and marker.get("format") == FORMAT


@contextmanager
def replaced_folder(output: Path) -> Iterator[Path]:
    """Give an empty folder that takes the output's name when the context ends without an error.

    Args:
        output: the folder to be made; checked by ``check_output``.

    Yields:
        A hidden folder beside it, which is deleted after an error.

    Raises:
        AudiotransError: the disk is full, or the place cannot be written.
    """
    place = Path(os.path.abspath(output))  # "." has no name of its own to put a partial folder beside
    partial = place.with_name(f".{place.name}.partial.{os.getpid()}")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        _swap(partial, place)
    except OSError as error:
        raise AudiotransError(f"{output}: cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _swap(new: Path, place: Path) -> None:
    """Put the new folder where the old one is; the old one is back in its place if that fails."""
    old = new.with_name(f"{new.name}.old")
    if place.exists():
        os.replace(place, old)
    try:
        os.replace(new, place)
    except OSError:
        if old.exists():
            os.replace(old, place)
        raise
    shutil.rmtree(old, ignore_errors=True)
