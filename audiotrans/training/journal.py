"""What a run says of itself: metrics.jsonl, and TensorBoard events where that is installed."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

METRICS_NAME = "metrics.jsonl"


def forget_after(path: Path, step: int) -> None:
    """Drop metric lines of steps that a resumed run will take again."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("".join(f"{line}\n" for line in lines if _step_of(line) <= step), encoding="utf-8")


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except ValueError:  # the line that a killed run was writing
        return math.inf


class Journal:
    """Writes metrics.jsonl, and TensorBoard events where that is installed (the ``train`` extra).

    Args:
        run: folder of the run.
        step: where the run goes on; events of later steps are purged.
    """

    def __init__(self, run: Path, step: int) -> None:
        self._file = (run / METRICS_NAME).open("a", encoding="utf-8")
        self._began = time.monotonic()
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self._board: Any = None
        else:
            self._board = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Add the values of a step, rounded to five digits."""
        line = {"step": step, "seconds": round(time.monotonic() - self._began, 1)}
        self._file.write(json.dumps(line | {name: float(f"{value:.5g}") for name, value in values.items()}) + "\n")
        self._file.flush()
        for name, value in values.items() if self._board else ():
            self._board.add_scalar(name, value, step)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        if self._board:
            self._board.close()
