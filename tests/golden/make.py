"""Rebuild golden data: ``python -m tests.golden.make NAME...``. Commit the difference with its reason.

Every file names its rank and its source. Rank 1: closed form; 2: another implementation; 3: a published number;
4: our own past output, which shows that something changed, never that it is right.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.golden import makers_model, makers_sound

DATA = Path(__file__).parent / "data"

MAKERS: dict[str, Callable[[], dict[str, object]]] = {**makers_sound.MAKERS, **makers_model.MAKERS}


def load(name: str) -> dict[str, Any]:
    """Read golden data; single numbers and texts come back as such."""
    with np.load(DATA / f"{name}.npz", allow_pickle=False) as file:
        return {key: value if value.ndim else value.item() for key, value in file.items()}


def main(names: list[str]) -> None:
    """Rebuild the named files."""
    unknown = [name for name in names if name not in MAKERS]
    if unknown or not names:
        sys.exit(f"{' '.join(unknown) or 'nothing named'}: choose from {' '.join(MAKERS)}")
    for name in names:
        np.savez_compressed(DATA / f"{name}.npz", **MAKERS[name]())  # type: ignore[arg-type]


if __name__ == "__main__":
    main(sys.argv[1:])
