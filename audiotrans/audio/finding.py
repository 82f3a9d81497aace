"""What the user names -> the sound files meant: files, folders, patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from audiotrans.audio.formats import AUDIO_SUFFIXES, suffix_list
from audiotrans.audio.reading import missing
from audiotrans.errors import UsageError


def find_audio(paths: Sequence[Path | str]) -> list[Path]:
    """Find the sound files that a list of files, folders and patterns means.

    A file is taken as it is, whatever its suffix. A folder is searched with all its sub-folders, by suffix; hidden
    files and folders (a leading dot) are left out, unfinished outputs among them. A pattern (``*``, ``?``, ``[...]``,
    ``**`` for any depth) that is not itself the name of a file is expanded, and a folder that matches is searched.

    Args:
        paths: What the user named.

    Returns:
        The files in the order of ``paths``, sorted within each, every file once.

    Raises:
        UsageError: A folder or pattern gives no sound file, or nothing was named.
        AudiotransError: A named file does not exist.
    """
    found: dict[Path, None] = {}
    for path in paths:
        found.update(dict.fromkeys(_expanded(str(path))))
    if not found:
        raise UsageError(f"no sound file was named; name files, folders or patterns ({suffix_list()}).")
    return list(found)


def _expanded(name: str) -> list[Path]:
    path = Path(name)
    if path.is_dir():
        return _searched([path]) or _nothing(f"{name}: the folder holds no sound file ({suffix_list()}).")
    # Names such as IRMAS' "[vio][cla]0001__1.wav" look like patterns, and are none.
    if path.exists():
        return [path]
    if not glob.has_magic(name):
        raise missing(path)
    matches = sorted(Path(match) for match in glob.glob(name, recursive=True))
    return _searched(matches) or _nothing(f"{name}: the pattern matches no sound file ({suffix_list()}).")


def _searched(paths: Iterable[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(Path(folder) / name for folder, name in _visible(path))
        else:
            files.append(path)
    return [path for path in files if path.suffix.lower() in AUDIO_SUFFIXES]


def _visible(folder: Path) -> Iterable[tuple[str, str]]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from ((place, name) for name in names if not name.startswith("."))


def _nothing(message: str) -> list[Path]:
    raise UsageError(message)
