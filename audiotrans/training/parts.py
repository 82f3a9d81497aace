"""A checkpoint as several small files, for machines that only take such: one set by its index, or none.

The parts' names hold their content's digest, so a new set never touches the files of the one before. The index is
renamed into place when all parts stand: until then the old set is the checkpoint.

A quarter of a checkpoint's bytes are the signs and exponents of float32 numbers, which are much alike: they are
deflated. The other three are as good as noise and stay as they are.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import numpy as np

from audiotrans.errors import AudiotransError
from audiotrans.files import write_whole

FORMAT = "audiotrans-checkpoint-parts"
VERSION = 1

WORD = 4
"""Bytes of a float32; `torch.save` aligns every tensor to a multiple of it."""


def index_of(path: Path) -> Path:
    """Return the path of the index of a checkpoint's parts."""
    return path.with_name(f"{path.name}.json")


def write_parts(path: Path, content: bytes | memoryview, part_bytes: int) -> None:
    """Write a checkpoint as parts of at most ``part_bytes``; earlier parts of it are removed then.

    Args:
        path: name of the checkpoint as one file, which the parts' and the index' names begin with.
        content: of that file.
        part_bytes: largest part, > 0.

    Raises:
        AudiotransError: if the disk is full or the folder cannot be written.
    """
    folded = memoryview(fold(content))
    pieces = [folded[start : start + part_bytes] for start in range(0, len(folded), part_bytes)]
    parts = []
    for number, piece in enumerate(pieces, start=1):
        digest = hashlib.sha256(piece).hexdigest()
        name = f"{path.name}.{number}-of-{len(pieces)}.{digest[:10]}"
        write_whole(path.with_name(name), piece)
        parts.append({"file": name, "bytes": len(piece), "sha256": digest})
    index = {"format": FORMAT, "version": VERSION, "bytes": len(content), "parts": parts}
    write_whole(index_of(path), json.dumps(index, indent=1).encode())
    _remove(path, keep={str(part["file"]) for part in parts})


def remove_parts(path: Path) -> None:
    """Remove index and parts of a checkpoint, if there are any: the index first, that no broken set is left."""
    index_of(path).unlink(missing_ok=True)
    _remove(path)


def _remove(path: Path, keep: Collection[str] = ()) -> None:
    for part in path.parent.glob(f"{path.name}.*-of-*.*"):
        if part.name not in keep:
            with suppress(OSError):  # a file too many harms nobody: the index does not name it
                part.unlink()


def read_parts(path: Path) -> bytes:
    """Join what `write_parts` wrote.

    Args:
        path: as there.

    Raises:
        AudiotransError: if the index is broken, a part is missing, or parts are not of one set.
    """
    index = index_of(path)
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        if (content["format"], content["version"]) != (FORMAT, VERSION):
            raise AudiotransError(f"{index} is {content['format']} {content['version']}, not {FORMAT} {VERSION}")
        size, parts = int(content["bytes"]), [(str(part["file"]), str(part["sha256"])) for part in content["parts"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AudiotransError(f"{index} is broken ({error}): copy it again, with the parts of the same save") from None
    pieces = [_part(path.with_name(name), digest, index) for name, digest in parts]
    try:
        return unfold(b"".join(pieces), size)
    except (ValueError, zlib.error) as error:
        raise AudiotransError(f"{index} does not fit its parts ({error}): copy all of one save again") from None


def _part(path: Path, digest: str, index: Path) -> bytes:
    try:
        piece = path.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise AudiotransError(
            f"{path}, which {index.name} names, cannot be read ({reason}): copy all parts of one save"
        ) from None
    if hashlib.sha256(piece).hexdigest() != digest:
        raise AudiotransError(
            f"{path} is not the part that {index.name} names (its SHA-256 differs): copy all parts of one save"
        )
    return piece


def fold(content: bytes | memoryview) -> bytes:
    """Sort the bytes of float32 words by significance and deflate the most significant ones."""
    padded = bytes(content) + bytes(-len(content) % WORD)
    planes = np.frombuffer(padded, np.uint8).reshape(-1, WORD).T
    return planes[:-1].tobytes() + zlib.compress(planes[-1].tobytes(), 1)


def unfold(folded: bytes, size: int) -> bytes:
    """Undo `fold`.

    Args:
        folded: what it gave.
        size: bytes of its input.

    Raises:
        ValueError, zlib.error: if that is not what `fold` gives.
    """
    words = -(-size // WORD)
    low = (WORD - 1) * words
    content = np.empty((words, WORD), np.uint8)
    content[:, :-1] = np.frombuffer(folded, np.uint8, low).reshape(WORD - 1, words).T
    content[:, -1] = np.frombuffer(zlib.decompress(folded[low:]), np.uint8, words)
    return content.tobytes()[:size]
