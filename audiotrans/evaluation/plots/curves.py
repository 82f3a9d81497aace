"""Training logs as curves."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audiotrans.errors import AudiotransError
from audiotrans.evaluation.plots import canvas

Curves = dict[str, list[tuple[float, float]]]
"""Points (step, value) by name."""


def training_curves(metrics_jsonl: str | Path, path: str | Path) -> Path:
    """Draw every number of a training log over the steps, one small panel each.

    Args:
        metrics_jsonl: one JSON object a line with a `step` and numbers, nested objects as well. A last line that was
            cut off by a killed run is passed over.
        path: of the PNG; its folder must exist.

    Returns:
        The path.

    Raises:
        AudiotransError: where the log cannot be read, holds no numbers, or the picture cannot be written.
    """
    curves = read_curves(Path(metrics_jsonl))
    columns = min(3, len(curves))
    figure = canvas.new_figure(len(curves), columns, panel_height=2.2)
    for axis, (name, points) in zip(canvas.grid(figure, len(curves), columns), sorted(curves.items()), strict=True):
        steps, values = zip(*points, strict=True)
        axis.plot(steps, values, linewidth=0.8)
        axis.set_title(name, fontsize="small")
        axis.set_xlabel("step")
        axis.grid(visible=True, alpha=0.3)
    return canvas.save(figure, path)


def read_curves(log: Path) -> Curves:
    """Read the numbers of a training log: step and value of each, by name.

    Raises:
        AudiotransError: where the log cannot be read or holds no numbers.
    """
    try:
        lines = log.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AudiotransError(f"cannot read the training log {log}: {error}") from error
    curves: Curves = {}
    for number, line in enumerate(lines, start=1):
        record = _parse_record(line, log, number, is_last=number == len(lines))
        step = record.pop("step", None)
        if step is not None:
            for name, value in record.items():
                curves.setdefault(name, []).append((step, value))
    if not curves:
        raise AudiotransError(f"{log} holds no numbers with a step; is it the metrics.jsonl of a run?")
    return curves


def _parse_record(line: str, log: Path, number: int, *, is_last: bool) -> dict[str, float]:
    try:
        return _flatten(json.loads(line)) if line.strip() else {}
    except (json.JSONDecodeError, TypeError, AttributeError) as error:
        if is_last:
            return {}
        raise AudiotransError(f"line {number} of {log} is not a JSON object: {error}") from error


def _flatten(record: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Keep the finite numbers of a JSON object; the name of a nested one is joined by a slash."""
    numbers: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            numbers.update(_flatten(value, f"{prefix}{name}/"))
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            numbers[f"{prefix}{name}"] = float(value)
    return numbers
