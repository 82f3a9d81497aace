"""Files that are whole or not there. Needs no sound library, so that bare machines can train."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from audiotrans.errors import AudiotransError


def write_beside(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside ``path`` and rename: a killed process never costs the file that was there.

    Args:
        path: the file to be.
        write: called with the path of a temporary file in the same folder.

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
