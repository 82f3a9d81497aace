"""Is the order right? Truth above a system above a copy in timbre and distance; content kept and not made up.

A difference counts when its 95 % interval leaves out zero. Where it does not, the verdict says so instead of taking
the sign of the mean for an answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from audiotrans.evaluation.scoring.baselines import COPY, EQUALISED, RANDOM, SYNTHESISED
from audiotrans.evaluation.scoring.measures import MEASURES
from audiotrans.evaluation.scoring.statistics import Interval
from audiotrans.evaluation.scoring.store import plain

YES, NO, UNSURE, UNKNOWN = "yes", "no", "the interval is too wide to tell", "too few recordings to tell"

ALIKE = 0.1
"""Two F1 scores closer than this are called alike: a transcriber hears different instruments differently well."""

TIMBRE = ("target_probability", "kad", "tagger_probability", "kad_tagger")
DISTANCE = ("band_distance_db", "log_spectral_distance_db")
CONTENT = ("note_f1_score", "note_f1", "onset_f1")
"""The first that was measured decides."""

RIVALS = {
    "target_probability": (SYNTHESISED,),
    "kad": (SYNTHESISED,),
    "tagger_probability": (SYNTHESISED,),
    "kad_tagger": (SYNTHESISED,),
    "band_distance_db": (EQUALISED, SYNTHESISED),
}
"""Anchors that are hard to beat, by measure: what an equaliser, and a transcriber with a sound bank, make of it."""

TRUTH = "truth"


class Differences(Protocol):
    """Gives the mean of first - second of a measure over the clips that both have."""

    def __call__(self, metric: str, first: str, second: str) -> Interval | None:
        """Return it, or None where one of the two was not measured."""


@dataclass(frozen=True)
class Comparison:
    """One verdict.

    Attributes:
        direction: such as ``violin to piano``.
        first: system that is expected to be better, or as good.
        second: the other.
        relation: ``>`` or ``~``.
        metric: key of `MEASURES`.
        difference: by how much the first is better (of ``~``: the plain difference), with its interval.
        verdict: yes, no, or why not.
    """

    direction: str
    first: str
    second: str
    relation: str
    metric: str
    difference: Interval
    verdict: str

    def __str__(self) -> str:
        """Return the line that people read."""
        measure = MEASURES[self.metric]
        value = f"{number(self.difference.mean)} [{number(self.difference.low)}, {number(self.difference.high)}]"
        unit = f" {measure.unit}" if measure.unit else ""
        return (
            f"{self.direction}: {self.first} {self.relation} {self.second} on {measure.group} ({measure.label}): "
            f"{self.verdict} (difference {value}{unit})"
        )

    def as_dict(self) -> dict[str, object]:
        """Return what the JSON file says of it."""
        figures = {name: plain(getattr(self.difference, name)) for name in ("mean", "low", "high")}
        names = {name: getattr(self, name) for name in ("direction", "first", "second", "relation", "metric")}
        return {**names, "group": MEASURES[self.metric].group, **figures, "verdict": self.verdict}


def compare_all(
    direction: str, systems: Sequence[str], measured: Mapping[str, set[str]], differences: Differences
) -> list[Comparison]:
    """Compare every system with the anchors.

    Args:
        direction: such as ``violin to piano``.
        systems: those to be judged.
        measured: by system (anchors and truth included), the measures that it has.
        differences: see `Differences`.
    """
    found = []
    for first, relation, second, metric in _wanted(systems, measured):
        difference = differences(metric, first, second)
        if difference is None or math.isnan(difference.mean):
            continue
        if relation == ">" and MEASURES[metric].better == "lower":
            difference = Interval(-difference.mean, -difference.high, -difference.low, difference.n)
        verdict = better(difference) if relation == ">" else alike(difference)
        found.append(Comparison(direction, first, second, relation, metric, difference, verdict))
    return found


def _wanted(systems: Sequence[str], measured: Mapping[str, set[str]]) -> Iterator[tuple[str, str, str, str]]:
    """Yield first, relation, second and measure of every comparison that can be made."""

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


def number(value: float) -> str:
    """Write a figure for people: three digits, no more than a small test set can carry; a dash for none."""
    if not math.isfinite(value):
        return "-"
    size = abs(value)
    decimals = 0 if size >= 99.95 else 1 if size >= 9.995 else 2 if size >= 0.9995 else 3
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0 else text
