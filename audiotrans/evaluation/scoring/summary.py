"""Records of a direction -> means with intervals, and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from audiotrans.evaluation.scoring.measures import KERNEL_DISTANCES, MEASURES
from audiotrans.evaluation.scoring.statistics import Draws, Interval, KernelDistances, Value, paired_difference
from audiotrans.evaluation.scoring.store import Record, plain
from audiotrans.evaluation.scoring.testset import Clip, Direction
from audiotrans.evaluation.scoring.verdicts import Comparison, compare_all

Array = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Row:
    """A system with what was measured on each clip that it has an output for."""

    name: str
    kind: str
    clips: list[tuple[Clip, Record]] = field(default_factory=list)

    def values(self, metric: str) -> dict[str, Value]:
        """Return a measure's figures by clip."""
        return {
            clip.name: Value(clip.recording, record.scores[metric])
            for clip, record in self.clips
            if metric in record.scores
        }

    def embedded(self, kad: str) -> frozenset[str]:
        """Return the names of the clips that count in a kernel distance: the ones that were not silent."""
        return frozenset(clip.name for clip, record in self.clips if kad in record.embeddings)


@dataclass(frozen=True)
class Summary:
    """One direction, as `evaluation.json` holds it, its verdicts, and the measures that occur in it."""

    direction: dict[str, Any]
    comparisons: list[Comparison]
    metrics: dict[str, dict[str, str]]


def summarise(
    direction: Direction,
    rows: Sequence[Row],
    reals: Sequence[tuple[Clip, Record]],
    embeddings: Mapping[str, str],
    seed: int,
) -> Summary:
    """Sum a direction up.

    Args:
        direction: what into what.
        rows: every system.
        reals: the real clips of the target.
        embeddings: their names by kernel distance, for its label.
        seed: of the bootstrap.
    """
    figures = _Figures(direction, rows, reals, seed)
    systems = [
        {
            "name": row.name,
            "kind": row.kind,
            "summary": {name: _as_dict(interval) for name, interval in figures.of(row).items()},
            "clips": [_clip(clip, record) for clip, record in row.clips],
        }
        for row in rows
    ]
    measured = {row.name: set(figures.of(row)) for row in rows}
    names = [row.name for row in rows if row.kind == "system"]
    comparisons = compare_all(f"{direction.source} to {direction.target}", names, measured, figures.difference)
    there = {name for found in measured.values() for name in found}
    metrics = {name: MEASURES[name].as_dict() for name in MEASURES if name in there}
    for kad in KERNEL_DISTANCES & metrics.keys() & embeddings.keys():
        metrics[kad] |= {"label": f"KAD ({embeddings[kad]})"}
    return Summary({"source": direction.source, "target": direction.target, "systems": systems}, comparisons, metrics)


def _as_dict(interval: Interval) -> dict[str, float | int | None]:
    return {"mean": plain(interval.mean), "low": plain(interval.low), "high": plain(interval.high), "n": interval.n}


def _clip(clip: Clip, record: Record) -> dict[str, Any]:
    scores = {name: plain(value) for name, value in record.scores.items()}
    about = {"clip": clip.name, "recording": clip.recording, "sound": record.sound}
    return {**about, "scores": scores, "warnings": list(record.warnings)}


class _Figures:
    """Means, kernel distances and differences, all from the same draws of recordings."""

    def __init__(
        self, direction: Direction, rows: Sequence[Row], reals: Sequence[tuple[Clip, Record]], seed: int
    ) -> None:
        self._rows: Mapping[str, Row] = {row.name: row for row in rows}
        self._draws = Draws.of([clip.recording for clip in direction.clips], seed)
        self._reals = reals
        self._seed = seed
        self._distances: dict[str, KernelDistances | None] = {}
        self._kernel: dict[tuple[str, str, frozenset[str]], Array] = {}
        self._found: dict[str, dict[str, Interval]] = {}

    def _distances_in(self, kad: str) -> KernelDistances | None:
        """Return the distances in one embedding; None where no real clip has it."""
        if kad not in self._distances:
            reals = [
                (clip.recording, record.embeddings[kad]) for clip, record in self._reals if kad in record.embeddings
            ]
            self._distances[kad] = KernelDistances(reals, self._draws, self._seed) if reals else None
        return self._distances[kad]

    def of(self, row: Row) -> dict[str, Interval]:
        """Return a system's figures by measure, in the order of `MEASURES`."""
        if row.name not in self._found:
            self._found[row.name] = {
                name: interval for name in MEASURES if (interval := self._interval(row, name)) is not None
            }
        return self._found[row.name]

    def _interval(self, row: Row, metric: str) -> Interval | None:
        if metric in KERNEL_DISTANCES:
            return self._kernel_interval(row, metric)
        values = row.values(metric)
        return self._draws.mean(list(values.values())) if values else None

    def _kernel_interval(self, row: Row, kad: str) -> Interval | None:
        names, distances = row.embedded(kad), self._distances_in(kad)
        if not names or distances is None:
            return None
        return distances.interval(self._statistics(distances, row, kad, names), len(names))

    def _statistics(self, distances: KernelDistances, row: Row, kad: str, names: frozenset[str]) -> Array:
        """Return a system's kernel distance on these clips, for all recordings once and for every draw."""
        key = row.name, kad, names
        if key not in self._kernel:
            chosen = [(clip, record) for clip, record in row.clips if clip.name in names]
            clips = [(clip.recording, record.heard, record.embeddings[kad]) for clip, record in chosen]
            self._kernel[key] = distances.statistics(clips)
        return self._kernel[key]

    def difference(self, metric: str, first: str, second: str) -> Interval | None:
        """Return the mean difference over the clips that both have."""
        if metric in KERNEL_DISTANCES:
            distances = self._distances_in(metric)
            rows = self._rows[first], self._rows[second]
            names = rows[0].embedded(metric) & rows[1].embedded(metric)
            if distances is None or not names:
                return None
            statistics = [self._statistics(distances, row, metric, names) for row in rows]
            return distances.interval(statistics[0] - statistics[1], len(names))
        one, other = self._rows[first].values(metric), self._rows[second].values(metric)
        shared = [name for name in one if name in other]
        if not shared:
            return None
        return paired_difference(self._draws, [one[name] for name in shared], [other[name] for name in shared])
