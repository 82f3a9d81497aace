"""Rows of a benchmark: one Markdown table for people, one JSON file for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        section: what part of the road it belongs to.
        measure: what was measured, on what.
        value: the figure.
        unit: of the figure.
        at_least: the bar, where more is better.
        at_most: the bar, where less is better.
        low: lower end of the 95 % interval, where there is one.
        high: upper end.
    """

    section: str
    measure: str
    value: float
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def verdict(self) -> str:
        if self.at_least is None and self.at_most is None:
            return ""
        # Written so that nan, which is below and above nothing, misses its bar.
        reached = (self.at_least is None or self.value >= self.at_least) and (
            self.at_most is None or self.value <= self.at_most
        )
        return "yes" if reached else "NO"

    @property
    def bar(self) -> str:
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return "" if self.at_most is None else f"<= {self.at_most:g}"


def markdown(rows: Iterable[Row]) -> str:
    lines = ["| part | measure | value | bar | reached |", "|---|---|---|---|---|"]
    for row in rows:
        interval = "" if row.low is None or row.high is None else f" [{row.low:.1f}, {row.high:.1f}]"
        value = f"{number(row.value)} {row.unit}".strip() + interval
        lines.append(f"| {row.section} | {row.measure} | {value} | {row.bar} | {row.verdict} |")
    return "\n".join(lines)


def number(value: float) -> str:
    """Three figures are more than eight clips can carry, and enough."""
    return f"{value:.0f}" if math.isfinite(value) and abs(value) >= 100 else f"{value:.3g}"


def write_json(rows: Sequence[Row], notes: Sequence[str], path: Path) -> None:
    def plain(value: object) -> object:
        # JSON has neither infinity nor nan.
        return str(value) if isinstance(value, float) and not math.isfinite(value) else value

    records = [{**{name: plain(value) for name, value in asdict(row).items()}, "reached": row.verdict} for row in rows]
    path.write_text(json.dumps({"rows": records, "notes": list(notes)}, indent=1) + "\n", encoding="utf-8")


def bootstrap(
    statistic: Callable[[np.ndarray], float], clips: int, *, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % interval of a statistic of clip indices, by drawing clips with replacement."""
    rng = np.random.default_rng(seed)
    values = [statistic(rng.integers(0, clips, clips)) for _ in range(draws)]
    return float(np.percentile(values, 2.5)), float(np.percentile(values, 97.5))
