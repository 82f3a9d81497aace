"""What a listening page is about, whatever folder it comes from: systems, clips, sounds, scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Kind = Literal["system", "baseline", "truth", "input"]
"""``system`` is what is judged; the others are there to compare it with."""

Better = Literal["higher", "lower", "closer to truth", ""]


@dataclass(frozen=True)
class Metric:
    """A column of the tables.

    Attributes:
        key: name in the scores.
        label: what the reader sees.
        unit: of the numbers, or empty.
        better: which way is good; empty where there is no good way.
        group: heading over the column.
        about: one or two sentences for the reader; empty where nothing is known.
    """

    key: str
    label: str
    unit: str = ""
    better: Better = ""
    group: str = ""
    about: str = ""


@dataclass(frozen=True)
class Summary:
    """The mean of a metric over clips, and its 95 % interval where there is one."""

    mean: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class System:
    """A row of the tables: a model's output, an anchor, the input or the truth."""

    name: str
    kind: Kind = "system"
    about: str = ""
    summary: Mapping[str, Summary] = field(default_factory=dict)


@dataclass(frozen=True)
class Take:
    """One clip as one system renders it; ``sound`` is None where it was scored but not kept."""

    system: str
    sound: Path | None
    scores: Mapping[str, float | None] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Clip:
    """One piece of sound in all its takes, in the order of the direction's systems."""

    name: str
    takes: tuple[Take, ...]


@dataclass(frozen=True)
class Direction:
    """A table and its clips.

    Attributes:
        heading: such as "violin to piano".
        systems: the rows.
        clips: what can be heard.
        target: domain that the sounds should belong to, for the blind test's question; empty where it is not known.
    """

    heading: str
    systems: tuple[System, ...]
    clips: tuple[Clip, ...]
    target: str = ""


@dataclass(frozen=True)
class Figure:
    """A picture that exists already (``path`` ends with .png), or the curves of a training log (.jsonl)."""

    caption: str
    path: Path


@dataclass(frozen=True)
class Material:
    """All that one source folder holds.

    Attributes:
        heading: name of the part of the page.
        what: what kind of folder it was, for the reader.
        facts: short names and values, such as the model.
        metrics: the columns, in order.
        directions: the tables and clips.
        verdicts: sentences that the evaluation drew.
        warnings: what the reader must know about the folder itself.
        figures: further pictures.
    """

    heading: str
    what: str
    facts: tuple[tuple[str, str], ...] = ()
    metrics: tuple[Metric, ...] = ()
    directions: tuple[Direction, ...] = ()
    verdicts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
