"""How many steps do runs need to levels that were fixed beforehand, and how many times as many as other runs?

A run is looked at every so many steps only, and ends one day. So what is known of the step at which it reaches a level
is a range, `Reach`: after the examination before, at the latest at the one that found it; and of a run that never got
there, that it takes more steps than it had. Nothing is dropped: ratios are taken of both ends of these ranges.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from audiotrans.evaluation.compare.measures import Exam
from audiotrans.evaluation.compare.statistics import Records, interval

Reached = Callable[[dict[str, float]], bool]

ACCURACY_LEVELS = (0.5, 0.85)
"""Shares of the referee's own accuracy on real images."""

DISTANCE_LEVELS = (0.8, 0.6, 0.3)
"""Shares of the distance that copying the input has."""

LIKENESS_LEVELS = (0.4, 0.3, 0.2)
"""Reconstruction and cycle: shares of the L1 between two images of a domain that have nothing to do with each other."""

CONTENT_LEVELS = (0.3, 0.5)
"""Cosines of the gradients. Two networks may agree on turning light backgrounds dark and back: neither referee nor
cycle sees that; this does (about 0)."""

AT_ONCE = "accuracy 85%, distance 60%, cycle 40% and content 0.3 at once"
"""The one level that stands for a usable translation: a network's first blur may please a referee by itself."""

MANY = 10.0
"""What an "order of magnitude" is taken for."""


def levels(exam: Exam) -> dict[str, Reached]:
    """Return the fixed levels, both directions at once, by what they are called."""
    ceiling = exam.trained.accuracy
    strangers = sum(unrelated(images) for images in exam.images.values()) / len(exam.images)

    def accurate(share: float) -> Reached:
        return lambda r: r["accuracy_ab"] >= share * ceiling["b"] and r["accuracy_ba"] >= share * ceiling["a"]

    def near(share: float) -> Reached:
        return lambda r: all(r[f"distance_{way}"] <= share * exam.copy[way] for way in ("ab", "ba"))

    def like(measure: str, share: float) -> Reached:
        return lambda r: r[measure] <= share * strangers

    def same(cosine: float) -> Reached:
        return lambda r: r["content"] >= cosine

    found = {f"accuracy {share:.0%} of real images'": accurate(share) for share in ACCURACY_LEVELS}
    found |= {f"distance {share:.0%} of copying": near(share) for share in DISTANCE_LEVELS}
    for measure in ("reconstruction", "cycle"):
        found |= {f"{measure} L1 {share:.0%} of unrelated images'": like(measure, share) for share in LIKENESS_LEVELS}
    found |= {f"content kept {cosine:g}": same(cosine) for cosine in CONTENT_LEVELS}
    parts = accurate(0.85), near(0.6), like("cycle", 0.4), same(0.3)
    return found | {AT_ONCE: lambda r: all(part(r) for part in parts)}


def unrelated(images: Tensor) -> float:
    """Return the mean L1 between each image ``(n, c, h, w)`` and the one before it."""
    return float((images - images.roll(1, 0)).abs().mean())


@dataclass(frozen=True)
class Reach:
    """What is known of the step at which a level is reached: after ``low``, at ``high`` or before it (inf: unknown)."""

    low: float
    high: float

    def text(self, epoch: float | None = None) -> str:
        """Return the step of the examination that found it, or that there was none; epochs in brackets.

        Args:
            epoch: its steps, if known.
        """
        step, sign = (self.high, "") if math.isfinite(self.high) else (self.low, "> ")
        return f"{sign}{step:g} ({step / epoch:.1f})" if epoch else f"{sign}{step:g}"


def reach(records: Records, reached: Reached, *, held: bool = True) -> Reach:
    """Find when a level is reached.

    Args:
        records: of one run.
        reached: the level.
        held: whether it counts only if it is held to the end: a network's first noise may happen to please a
            classifier, and some runs fall apart later. Else the first time counts.
    """
    before, found = 0.0, None
    for record in records:
        if not reached(record):
            found = None if held else found
        elif found is None:
            found = Reach(before, record["step"])
        before = record["step"]
    return found or Reach(before, math.inf)


@dataclass(frozen=True)
class Ratio:
    """How many times the steps of ``other`` a contestant needs.

    Attributes:
        name: the contestant.
        other: the one that it is compared with.
        value: geometric mean over the seeds, from the examinations that found the level; nan where a run never did.
        low: lower end: of the 95 % interval of the mean logarithm over seeds, of the smallest ratios that the runs'
            `Reach` allow; 0 where they allow any.
        high: upper end, of the largest; inf where there is none.
        got_there: how many runs of each reached the level.
        runs: seeds that both have.
        first: whether every run had it at its first examination.
    """

    name: str
    other: str
    value: float
    low: float
    high: float
    got_there: tuple[int, int]
    runs: int
    first: bool

    def __str__(self) -> str:
        """Return one line that says what the runs decide."""
        if not self.runs:
            return "no seed that both have"
        if not any(self.got_there):
            return "neither got there"
        if self.runs == 1:
            return "one seed: no interval"
        if self.first:
            return "both at the first examination: examine more often to tell"
        never = [name for name, count in zip((self.name, self.other), self.got_there, strict=True) if not count]
        start = f"{never[0]} never got there; " if never else ""
        if self.low > 1:
            return start + _times(self.name, self.other, self.value, self.low, self.high)
        if self.high < 1:
            swapped = [1 / end if end else math.inf for end in (self.value, self.high, self.low)]
            return start + _times(self.other, self.name, *swapped)
        return start + f"too wide to tell: [{self.low:.2g}, {self.high:.2g}]"

    @property
    def tenfold(self) -> str:
        """Whether either needs ten times the steps of the other: ``shown``, ``excluded`` or ``open``."""
        if self.low >= MANY or self.high <= 1 / MANY:
            return "shown"
        return "excluded" if self.low > 1 / MANY and self.high < MANY else "open"


def _times(slow: str, fast: str, value: float, low: float, high: float) -> str:
    if math.isinf(high):
        return f"{slow} needs more than {low:.2g} times the steps of {fast}"
    middle = f"{value:.2g} " if math.isfinite(value) else ""
    return f"{slow} needs {middle}[{low:.2g}, {high:.2g}] times the steps of {fast}"


def ratio(
    name: str, runs: Mapping[int, Records], other: str, other_runs: Mapping[int, Records], reached: Reached
) -> Ratio:
    """Compare the steps that two contestants need to a level, seed by seed, as far as both runs of a seed have come.

    Args:
        name: of the first.
        runs: its examinations by seed.
        other: of the second.
        other_runs: likewise.
        reached: the level, held to the end.
    """
    pairs = []
    for seed in sorted(set(runs) & set(other_runs)):
        both = runs[seed], other_runs[seed]
        end = min(records[-1]["step"] if records else 0 for records in both)
        cut = [[record for record in records if record["step"] <= end] for records in both]
        if end:
            pairs.append((reach(cut[0], reached), reach(cut[1], reached)))
    logs = [_log(a.high) - _log(b.high) for a, b in pairs]
    low = _end([_log(a.low) - _log(b.high) for a, b in pairs], 1)
    high = _end([_log(a.high) - _log(b.low) for a, b in pairs], 2)
    return Ratio(
        name, other,
        value=math.exp(sum(logs) / len(logs)) if logs and all(map(math.isfinite, logs)) else math.nan,
        low=math.exp(low) if math.isfinite(low) else 0.0,
        high=math.exp(high) if math.isfinite(high) else math.inf,
        got_there=(sum(math.isfinite(a.high) for a, _ in pairs), sum(math.isfinite(b.high) for _, b in pairs)),
        runs=len(pairs), first=bool(pairs) and all(each.low == 0 for pair in pairs for each in pair),
    )  # fmt: skip


def _log(step: float) -> float:
    return math.log(step) if step > 0 else -math.inf


def _end(logs: Sequence[float], side: int) -> float:
    """Return one end of the interval over seeds; infinite where a seed's own range is, or there is but one seed."""
    found = interval(logs)[side] if all(map(math.isfinite, logs)) else math.nan
    return found if math.isfinite(found) else math.inf * (-1 if side == 1 else 1)
