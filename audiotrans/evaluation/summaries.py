"""What an evaluation says: means with intervals, comparisons with baselines, and their tables.

The comparisons ask whether the order is right: truth above a system above a copy in timbre and distance; content kept
and not made up. A difference counts when its 95 % interval leaves out zero. Where it does not, the conclusion says so
instead of taking the sign of the mean for an answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from audiotrans.evaluation.baselines import COPY, EQUALISED, RANDOM, SYNTHESISED
from audiotrans.evaluation.intervals import Interval, Resamples, Value, paired_difference
from audiotrans.evaluation.metrics.kernel import KernelDistances
from audiotrans.evaluation.scoring import GROUPS, KERNEL_DISTANCES, METRICS
from audiotrans.evaluation.store import Record, plain
from audiotrans.evaluation.tables import (
    aligned_tables,
    csv_text,
    heading,
    markdown_table,
    with_half_width,
    with_interval,
)
from audiotrans.evaluation.testset import Clip, Direction

Array = npt.NDArray[np.floating[Any]]
Result = Mapping[str, Any]

TRUTH = "truth"
YES, NO, UNSURE, UNKNOWN = "yes", "no", "the interval is too wide to tell", "too few recordings to tell"

ALIKE = 0.1
"""Two F1 scores closer than this are called alike: a transcriber hears different instruments differently well."""

TIMBRE = ("target_probability", "kad", "tagger_probability", "kad_tagger")
DISTANCE = ("band_distance_db", "log_spectral_distance_db")
CONTENT = ("note_f1_score", "note_f1", "onset_f1")
"""The first that was measured decides."""

RIVALS = {**dict.fromkeys(TIMBRE, (SYNTHESISED,)), "band_distance_db": (EQUALISED, SYNTHESISED)}
"""Baselines that are hard to beat, by metric: an equaliser, and a transcriber with a sound bank."""

LEGEND = (
    "↑ more is better, ↓ less is better, ≈ nearer to the truth's is better; * the best but for the truth; "
    "[ ] or ± 95 % intervals by recording"
)
TIE = 1e-9
KINDS = {"truth": 0, "system": 1, "baseline": 2, "input": 3}

Differences = Callable[[str, str, str], "Interval | None"]
"""Takes metric, first and second system: the mean of first - second over the clips that both have; None without."""


@dataclass(frozen=True)
class Row:
    """A system with what was measured on each clip that it has an output for."""

    name: str
    kind: str
    clips: list[tuple[Clip, Record]] = field(default_factory=list)

    def values(self, metric: str) -> dict[str, Value]:
        """Return a metric's figures by clip."""
        return {
            clip.name: Value(clip.recording, record.scores[metric])
            for clip, record in self.clips
            if metric in record.scores
        }

    def embedded(self, kad: str) -> frozenset[str]:
        """Return the names of the clips that count in a kernel distance: the ones that were not silent."""
        return frozenset(clip.name for clip, record in self.clips if kad in record.embeddings)


@dataclass(frozen=True)
class Comparison:
    """Whether one system is better than another, or as good.

    Attributes:
        direction: such as ``violin to piano``.
        first: system that is expected to be better, or as good.
        second: the other.
        relation: ``>`` or ``~``.
        metric: key of `METRICS`.
        difference: by how much the first is better (of ``~``: the plain difference), with its interval.
        conclusion: yes, no, or why not.
    """

    direction: str
    first: str
    second: str
    relation: str
    metric: str
    difference: Interval
    conclusion: str

    def __str__(self) -> str:
        """Return the line that people read."""
        metric = METRICS[self.metric]
        unit = f" {metric.unit}" if metric.unit else ""
        return (
            f"{self.direction}: {self.first} {self.relation} {self.second} on {metric.group} ({metric.label}): "
            f"{self.conclusion} (difference {with_interval(self.difference)}{unit})"
        )

    def as_dict(self) -> dict[str, object]:
        """Return what the JSON file says of it."""
        figures = {name: plain(getattr(self.difference, name)) for name in ("mean", "low", "high")}
        names = {name: getattr(self, name) for name in ("direction", "first", "second", "relation", "metric")}
        return {**names, "group": METRICS[self.metric].group, **figures, "conclusion": self.conclusion}


@dataclass(frozen=True)
class Summary:
    """One direction as `evaluation.json` holds it, its comparisons, and the metrics that occur in it."""

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
    """Compute means, intervals and comparisons of one direction.

    Args:
        direction: what into what.
        rows: every system.
        reals: the real clips of the target.
        embeddings: their names by kernel distance, for its label.
        seed: of the bootstrap.
    """
    figures = Figures(direction, rows, reals, seed)
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
    metrics = {name: METRICS[name].as_dict() for name in METRICS if name in there}
    for kad in KERNEL_DISTANCES & metrics.keys() & embeddings.keys():
        metrics[kad] |= {"label": f"KAD ({embeddings[kad]})"}
    return Summary({"source": direction.source, "target": direction.target, "systems": systems}, comparisons, metrics)


def _as_dict(interval: Interval) -> dict[str, float | int | None]:
    return {"mean": plain(interval.mean), "low": plain(interval.low), "high": plain(interval.high), "n": interval.n}


def _clip(clip: Clip, record: Record) -> dict[str, Any]:
    scores = {name: plain(value) for name, value in record.scores.items()}
    about = {"clip": clip.name, "recording": clip.recording, "sound": record.sound}
    return {**about, "scores": scores, "warnings": list(record.warnings)}


class Figures:
    """Means, kernel distances and differences, all from the same resamples of recordings."""

    def __init__(
        self, direction: Direction, rows: Sequence[Row], reals: Sequence[tuple[Clip, Record]], seed: int
    ) -> None:
        self._rows: Mapping[str, Row] = {row.name: row for row in rows}
        self._resamples = Resamples.of([clip.recording for clip in direction.clips], seed)
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
            self._distances[kad] = KernelDistances(reals, self._resamples, self._seed) if reals else None
        return self._distances[kad]

    def of(self, row: Row) -> dict[str, Interval]:
        """Return a system's figures by metric, in the order of `METRICS`."""
        if row.name not in self._found:
            self._found[row.name] = {
                name: interval for name in METRICS if (interval := self._interval(row, name)) is not None
            }
        return self._found[row.name]

    def _interval(self, row: Row, metric: str) -> Interval | None:
        if metric in KERNEL_DISTANCES:
            return self._kernel_interval(row, metric)
        values = row.values(metric)
        return self._resamples.mean(list(values.values())) if values else None

    def _kernel_interval(self, row: Row, kad: str) -> Interval | None:
        names, distances = row.embedded(kad), self._distances_in(kad)
        if not names or distances is None:
            return None
        return distances.interval(self._statistics(distances, row, kad, names), len(names))

    def _statistics(self, distances: KernelDistances, row: Row, kad: str, names: frozenset[str]) -> Array:
        """Return a system's kernel distance on these clips, for all recordings once and for every resample."""
        key = row.name, kad, names
        if key not in self._kernel:
            chosen = [(clip, record) for clip, record in row.clips if clip.name in names]
            clips = [(clip.recording, record.content, record.embeddings[kad]) for clip, record in chosen]
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
        return paired_difference(self._resamples, [one[name] for name in shared], [other[name] for name in shared])


def compare_all(
    direction: str, systems: Sequence[str], measured: Mapping[str, set[str]], differences: Differences
) -> list[Comparison]:
    """Compare every system with the truth and the baselines.

    Args:
        direction: such as ``violin to piano``.
        systems: those that are evaluated.
        measured: by system (baselines and truth included), the metrics that it has.
        differences: see `Differences`.
    """
    found = []
    for first, relation, second, metric in _wanted(systems, measured):
        difference = differences(metric, first, second)
        if difference is None or math.isnan(difference.mean):
            continue
        if relation == ">" and METRICS[metric].better == "lower":
            difference = Interval(-difference.mean, -difference.high, -difference.low, difference.n)
        conclusion = better(difference) if relation == ">" else alike(difference)
        found.append(Comparison(direction, first, second, relation, metric, difference, conclusion))
    return found


def _wanted(systems: Sequence[str], measured: Mapping[str, set[str]]) -> Iterator[tuple[str, str, str, str]]:
    """Yield first, relation, second and metric of every comparison that can be made."""

    def both(first: str, second: str, metric: str) -> bool:
        return metric in measured.get(first, set()) and metric in measured.get(second, set())

    for metric in (*TIMBRE, *DISTANCE):
        for system in systems:
            pairs = ((TRUTH, system), (system, COPY), *((system, rival) for rival in RIVALS.get(metric, ())))
            yield from ((first, ">", second, metric) for first, second in pairs if both(first, second, metric))
    content = next((metric for metric in CONTENT if metric in measured.get(COPY, set())), None)
    if content is None:
        return
    for first, relation, second in (
        (TRUTH, "~", COPY),
        (TRUTH, ">", RANDOM),
        (COPY, ">", RANDOM),
        *((system, "~", COPY) for system in systems),
        *((system, ">", RANDOM) for system in systems),
    ):
        if both(first, second, content):
            yield first, relation, second, content


def better(difference: Interval) -> str:
    """Say whether a difference is above zero."""
    if math.isnan(difference.low):
        return UNKNOWN
    if difference.low > 0:
        return YES
    return NO if difference.high <= 0 else UNSURE


def alike(difference: Interval, margin: float = ALIKE) -> str:
    """Say whether a difference is within the margin on both sides."""
    if math.isnan(difference.low):
        return UNKNOWN
    if -margin <= difference.low and difference.high <= margin:
        return YES
    return NO if difference.low > margin or difference.high < -margin else UNSURE


def markdown(result: Result) -> str:
    """Return the whole evaluation as Markdown, with intervals: first what it comes to, then the figures."""
    lines = [f"# {result['test_set']}: {result['model'] or 'baselines'}", ""]
    lines += [*_listed("## Conclusions", result["conclusions"]), f"{LEGEND}.", ""]
    for direction in result["directions"]:
        lines += [f"## {_title(direction)}", "", f"{_counts(direction)}.", ""]
        for group, header, rows in _groups(result, direction, with_interval):
            lines += [f"### {group}", "", markdown_table(["system", *header], rows), ""]
    lines += _listed("## Notes", result["warnings"])
    return "\n".join(lines).rstrip() + "\n"


def _listed(title: str, items: Sequence[str]) -> list[str]:
    return [title, "", *(f"- {item}" for item in items), ""] if items else []


def terminal(result: Result, width: int = 100) -> str:
    """Return the evaluation as aligned columns, a block for each group; the conclusions last, where a terminal ends.

    Args:
        result: what `evaluation.json` holds.
        width: of the terminal in characters; metrics that do not fit go into a block below.
    """
    lines: list[str] = []
    for direction in result["directions"]:
        lines += [f"{_title(direction)} ({_counts(direction)})", ""]
        for group, header, rows in _groups(result, direction, with_half_width):
            for table in aligned_tables([group, *header], rows, width):
                lines += [*table, ""]
    lines += [LEGEND, ""]
    lines += [f"conclusion: {line}" for line in result["conclusions"]]
    lines += [f"note: {line}" for line in result["warnings"]]
    return "\n".join(lines).rstrip()


def as_csv(result: Result) -> str:
    """Return one line for each direction, system and metric."""
    about, columns = ("label", "unit", "better", "group"), ("mean", "low", "high", "n")
    return csv_text(
        ("source", "target", "system", "kind", "metric", *about, *columns),
        (
            (
                *(direction["source"], direction["target"], system["name"], system["kind"], metric),
                *(result["metrics"][metric][name] for name in about),
                *(figures[column] for column in columns),
            )
            for direction in result["directions"]
            for system in direction["systems"]
            for metric, figures in system["summary"].items()
        ),
    )


def _groups(
    result: Result, direction: Mapping[str, Any], write: Callable[[Interval], str]
) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Yield group, column titles and rows (name, cells) of every group that has a metric."""
    systems = sorted((s for s in direction["systems"] if s["summary"]), key=lambda system: KINDS[system["kind"]])
    for group in GROUPS:
        metrics = [name for name, meta in result["metrics"].items() if meta["group"] == group]
        metrics = [name for name in metrics if any(name in system["summary"] for system in systems)]
        if not metrics:
            continue
        best = {name: best_of(systems, name, result["metrics"][name]["better"]) for name in metrics}
        rows = [
            [system["name"], *(_cell(system, name, best[name], write) for name in metrics)]
            for system in systems
            if any(name in system["summary"] for name in metrics)
        ]
        yield group, [heading(result["metrics"][name]) for name in metrics], rows


def _cell(system: Mapping[str, Any], metric: str, best: set[str], write: Callable[[Interval], str]) -> str:
    figures = system["summary"].get(metric, {})
    mean, low, high = (math.nan if figures.get(name) is None else figures[name] for name in ("mean", "low", "high"))
    return write(Interval(mean, low, high)) + ("*" if system["name"] in best else "")


def best_of(systems: Sequence[Mapping[str, Any]], metric: str, better: str) -> set[str]:
    """Return the names of the best systems and baselines; none where no direction is better or all are equal."""
    means: dict[str, float] = {
        system["name"]: system["summary"][metric]["mean"]
        for system in systems
        if system["kind"] in ("system", "baseline") and system["summary"].get(metric, {}).get("mean") is not None
    }
    if better == "closer to truth":
        true = next((s["summary"].get(metric, {}).get("mean") for s in systems if s["kind"] == "truth"), None)
        means = {} if true is None else {name: -abs(value - true) for name, value in means.items()}
    elif better == "lower":
        means = {name: -value for name, value in means.items()}
    elif better != "higher":
        return set()
    best = {name for name, value in means.items() if value >= max(means.values()) - TIE}
    return best if len(best) < len(means) else set()


def _title(direction: Mapping[str, Any]) -> str:
    return f"{direction['source']} to {direction['target']}"


def _counts(direction: Mapping[str, Any]) -> str:
    clips = {clip["clip"]: clip["recording"] for system in direction["systems"] for clip in system["clips"]}
    return f"{_many(len(clips), 'clip')} of {_many(len(set(clips.values())), 'recording')}"


def _many(count: int, name: str) -> str:
    return f"{count} {name}" + ("" if count == 1 else "s")
