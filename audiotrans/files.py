"""Files of every kind: written whole or not at all, found from what the user names, told apart by their bytes.

Needs no sound library, so that bare machines can train.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import logging
import mimetypes
import os
import secrets
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from audiotrans.errors import AudiotransError, UsageError, nearest

_log = logging.getLogger(__name__)

MOST_NAMED = 50
"""Files of one kind that a message names."""

_NOT_READ = {
    ".mid": "holds notes, no sound",
    ".midi": "holds notes, no sound",
    ".m4p": "is protected by its seller",
    **dict.fromkeys((".ofr", ".ofs", ".shn", ".sf2", ".aup3"), "cannot be read here"),
}
"""What musicians' folders hold beside sound, of which Python knows nothing or too little."""

LONGEST_NAME = 255  # bytes that the common file systems allow for one name

_REASONS = {
    errno.ENOSPC: "no space is left on the disk; make room, or write elsewhere",
    errno.EDQUOT: "your disk quota is used up; make room, or write elsewhere",
    errno.EFBIG: "the file grew larger than is allowed here (ulimit -f); allow larger ones, or write elsewhere",
    errno.EACCES: "you are not allowed to write there; change the permissions or write elsewhere",
    errno.EPERM: "you are not allowed to write there; change the permissions or write elsewhere",
    errno.EROFS: "that disk is read-only; write elsewhere",
    errno.EEXIST: "a part of this path is a file, not a folder; write elsewhere",
    errno.ENOTDIR: "a part of this path is a file, not a folder; write elsewhere",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


class WriteError(AudiotransError):
    """A file cannot be written: no fault of the input at hand, so that further inputs would meet it too."""


def write_error(path: Path | str, error: BaseException) -> WriteError:
    """Build the message about a file that cannot be written, from what the system or a library said."""
    reason = _REASONS.get(getattr(error, "errno", None) or 0) or getattr(error, "strerror", None)
    if reason is None and not isinstance(error, OSError):  # torch and safetensors hide the system's own error
        reason = f"the disk may be full ({str(error).partition(chr(10))[0]})"
    return WriteError(f"cannot write {path}: {reason or error}")


def refuse_existing(path: Path, force: bool) -> None:
    """Refuse to overwrite what stands at a path, be it a link that leads nowhere, unless ``force`` says so.

    Raises:
        UsageError: with the way out.
    """
    if os.path.lexists(path) and not force:
        raise UsageError(f"{path} exists already: use --force to overwrite it, or -o to write elsewhere")


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Make a hidden file beside a place, which takes that place when it is finished, as `replacing` does.

    For those who write while they do other work: the system's errors come as they are.
    """
    # A name made of the output's own would be longer than the file system allows where the output's just fits.
    partial = path.with_name(f".{secrets.token_hex(4)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.touch(exist_ok=False)  # so that a folder that cannot be written is named by the system's error
        mode = partial.stat().st_mode
        yield partial
        if partial.stat().st_mode != mode:  # libraries that write a file of their own make it for its owner alone
            with contextlib.suppress(OSError):
                partial.chmod(mode)
        os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Remove what a process that was killed had begun to write with `beside`, at any depth of a folder."""
    for partial in folder.rglob(f".{'[0-9a-f]' * 8}.partial"):
        with contextlib.suppress(OSError):
            partial.unlink()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file beside its place and rename it: a killed process never costs the file that was there.

    Missing folders are made. After an error or Ctrl-C nothing is left behind.

    Args:
        path: the file to be.

    Yields:
        The path of an empty file in the same folder, to be written and nothing else to be done. Its name has no
        suffix that tells a format.

    Raises:
        WriteError: if the disk is full or the folder cannot be written.
    """
    try:
        with beside(path) as partial:
            yield partial
    except (OSError, RuntimeError, SafetensorError) as error:
        raise write_error(path, error) from error


def write_whole(path: Path, content: str | bytes | memoryview) -> None:
    """Write a text (as UTF-8, ``?`` for what is no Unicode in it) or bytes to a file, whole or not at all.

    Raises:
        WriteError: if it cannot be written.
    """
    with replacing(path) as partial:
        partial.write_bytes(content.encode(errors="replace") if isinstance(content, str) else content)


def short_name(stem: str, ending: str) -> str:
    """Join the parts of a file's name, the first cut so far that the file system takes the whole.

    Args:
        stem: what may be cut, at its end.
        ending: what stays, such as ``.piano.wav``.
    """
    room = LONGEST_NAME - len(os.fsencode(ending))
    while len(os.fsencode(stem)) > room:
        stem = stem[:-1]
    return stem + ending


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Compute the SHA-256 (or another digest of `hashlib`, by name) of a file, read in blocks, in hexadecimal.

    Raises:
        OSError: if the file cannot be read.
    """
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def from_json(text: str | bytes) -> Any:
    """Read JSON that someone else may have written.

    Raises:
        ValueError: if it is not JSON, or nested so deeply that no file of ours can be meant.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None


def real(path: Path | str) -> Path:
    """Return where a path leads, links followed; of links that lead in a circle as far as they can be."""
    return Path(os.path.realpath(path))


def missing(path: Path) -> AudiotransError:
    """Build the message about a file that does not exist, with the most similar name that does."""
    if os.path.islink(path):
        return AudiotransError(f"{path}: this link leads to {os.readlink(path)}, where no file is.")
    try:
        near = nearest(path.name, [entry.name for entry in path.parent.iterdir()])
    except OSError:
        near = ""
    return AudiotransError(f"{path}: there is no such file.{near}")


def find_files(paths: Sequence[Path | str], suffixes: Collection[str], what: str) -> list[Path]:
    """Find the files of one kind that a list of files, folders and patterns means.

    A file is taken as it is, whatever its suffix. A folder is searched with all its sub-folders, linked ones too, by
    suffix; hidden files and folders (a leading dot) are left out, unfinished outputs among them. A pattern (``*``,
    ``?``, ``[...]``, ``**`` for any depth) that is not itself the name of a file is expanded, and a folder that matches
    is searched. A folder is searched once, by its own name rather than by a link, so that links cannot lead in circles;
    a link to a folder above itself is not followed, since all that lies beside it would come too.

    Files in a folder that look like sound or video, but do not have one of the suffixes, are named in the log if sound
    is looked for.

    Args:
        paths: what the user named.
        suffixes: in lower case, with their dot, the common ones first.
        what: kind of file, for messages: ``sound``, ``photo``.

    Returns:
        The files in the order of ``paths``, sorted within each, every path once.

    Raises:
        UsageError: a folder or pattern gives no such file, or nothing was named.
        AudiotransError: a named file does not exist.
    """
    found: dict[Path, None] = {}
    for path in paths:
        found.update(dict.fromkeys(_expanded(str(path), suffixes, what)))
    if not found:
        raise UsageError(f"no {what} file was named; name files, folders or patterns ({_listed(suffixes)}).")
    return list(found)


def _expanded(name: str, suffixes: Collection[str], what: str) -> list[Path]:
    path = Path(name)
    if path.is_dir():
        place, matches = "the folder holds", [path]
    # Names such as IRMAS' "[vio][cla]0001__1.wav" look like patterns, but are not.
    elif path.exists():
        return [path]
    elif glob.has_magic(name):
        place, matches = "the pattern matches", sorted(Path(match) for match in glob.glob(name, recursive=True))
    else:
        raise missing(path)
    files = [file for match in matches for file in (_searched(match) if match.is_dir() else [match])]
    found = [file for file in files if file.suffix.lower() in suffixes]
    if what == "sound":
        _name_passed_over(name, [file for file in files if file.suffix.lower() not in suffixes])
    if not found:
        raise UsageError(f"{name}: {place} no {what} file ({_listed(suffixes)}).")
    return found


def _listed(suffixes: Collection[str]) -> str:
    common = list(suffixes)[:18]
    return ", ".join(common) + (", ..." if len(suffixes) > len(common) else "")


def _name_passed_over(name: str, files: Iterable[Path]) -> None:
    """Say which files of a folder look like sound, but are not read: a line for each kind of them."""
    passed: dict[str, list[str]] = defaultdict(list)
    for file in files:
        suffix = file.suffix.lower()
        kind = mimetypes.guess_type(f"x{suffix}", strict=False)[0] or ""
        if suffix in _NOT_READ or kind.startswith(("audio/", "video/")):
            passed[suffix].append(file.name)
    for suffix, names in passed.items():
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        why = _NOT_READ.get(suffix, "cannot be read here")
        _log.warning("%s: passed over, %s %s: %s%s.", name, suffix, why, ", ".join(names[:MOST_NAMED]), more)


def _searched(root: Path) -> list[Path]:
    """List the visible files below a folder, sorted; real folders come before linked ones, each is searched once."""
    seen: set[tuple[int, int] | str] = set()
    roots, files = [root], []
    for top in roots:  # grows: links that are met are searched when all real folders above them have been
        for place, folders, names in os.walk(top, onerror=_name_closed):
            status = os.stat(place)
            # Some file systems of Windows number no files.
            key = (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(place)
            if key in seen:
                folders.clear()
                continue
            seen.add(key)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            links = [Path(place) / name for name in folders if os.path.islink(os.path.join(place, name))]
            roots += [link for link in links if not real(place).is_relative_to(real(link))]
            files += [Path(place) / name for name in names if not name.startswith(".")]
    return sorted(files)


def _name_closed(error: OSError) -> None:
    _log.warning("%s: this folder is passed over: %s.", error.filename, error.strerror)
