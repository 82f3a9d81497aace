"""What a process does with the memory that it frees."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt


def keep_freed_memory() -> None:
    """Keep what is freed for what comes next, where the C library can be told so (glibc).

    By default it gives large blocks back to the system at once. A conversion asks for the same blocks again with every
    tile, and the system clears them page by page before it hands them out. The peak is up to a seventh higher for it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # musl has none
        mallopt(_MMAP_THRESHOLD, 2**30)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
