"""What a listening page shows, whatever folder it comes from: systems, clips, sounds, scores, and what they mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from audiotrans.evaluation.scoring import Metric

Kind = Literal["system", "baseline", "truth", "input"]
"""``system`` is what is evaluated; the others are there to compare it with."""

MARKER = "report.json"
"""Says that a folder is a listening page, and which neutral file name is whose sound."""


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Score = Annotated[float | None, BeforeValidator(_finite)]
"""A number, or None where there is none: NaN and infinities are read as none."""


@dataclass(frozen=True)
class Summary:
    """The mean of a metric over clips, and its 95 % interval where there is one."""

    mean: Score = None
    low: Score = None
    high: Score = None
    n: int | None = None


@dataclass(frozen=True)
class System:
    """A row of the tables: a model's output, a baseline, the input or the truth."""

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

    def system(self, name: str) -> System:
        """Return the system of a take."""
        return next(system for system in self.systems if system.name == name)


@dataclass(frozen=True)
class Figure:
    """An image that exists already (``path`` ends with .png), or the curves of a training log (.jsonl)."""

    caption: str
    path: Path


@dataclass(frozen=True)
class Material:
    """All that one source folder holds.

    Attributes:
        heading: name of the part of the page.
        what: what kind of folder it was, for the reader.
        facts: short names and values, such as the model.
        metrics: the columns by name, in order.
        directions: the tables and clips.
        conclusions: of the evaluation, in sentences.
        warnings: what the reader must know about the folder itself.
        figures: further images.
    """

    heading: str
    what: str
    facts: tuple[tuple[str, str], ...] = ()
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    directions: tuple[Direction, ...] = ()
    conclusions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()


ABOUT_KINDS: Mapping[Kind, str] = {
    "system": "",
    "baseline": "A simple method to compare systems with.",
    "truth": "The same music, truly played by the target: what a perfect translation would be.",
    "input": "The sound that goes in.",
}

ABOUT_BASELINES: Mapping[str, str] = {
    "copy": "The input unchanged. Perfect content, nothing of the target's timbre: a system must beat it on timbre and "
    "on distance.",
    "copy + EQ": "The input through one fixed filter that gives it the target's mean spectrum. It shows how far colour "
    "alone goes.",
    "random target clip": "Some other recording of the target. Perfect timbre, wrong notes: a system must beat it on "
    "content.",
    "transcribe + synthesise": "The input's notes, found by a transcriber and played by a sound bank. Clean, but "
    "without the player's expression.",
    "score + synthesise": "The written score, every note of it right, played by a sound bank: how far another "
    "instrument in another room is from the truth.",
    "Griffin-Lim of truth": "The truth's magnitudes with phases found by Griffin-Lim. It shows what is lost by phase "
    "alone.",
}

ABOUT_SAMPLES: Mapping[str, str] = {
    "input": ABOUT_KINDS["input"],
    "reconstruction": "Encoded and decoded within its own domain: what the network loses.",
    "translation": "Encoded, and decoded in the other domain.",
    "cycle": "Translated and translated back; a good model returns to the input.",
}
"""What a training run writes of a held-out sound."""


def about_system(name: str, kind: Kind) -> str:
    """Explain a row.

    Args:
        name: of the system.
        kind: what it is there for.

    Returns:
        A sentence or two, or nothing for a system: its name must say it.
    """
    return ABOUT_BASELINES.get(name, ABOUT_KINDS[kind]) if kind == "baseline" else ABOUT_KINDS[kind]


def about_chain(domains: Sequence[str]) -> str:
    """Explain a chain of translations.

    Args:
        domains: that it goes through, the input's own first.
    """
    if len(domains) < 2:
        return ABOUT_KINDS["input"]
    if len(domains) == 2:
        alone = domains[0] == domains[1]
        return ABOUT_SAMPLES["reconstruction"] if alone else f"Translated from {domains[0]} to {domains[1]}."
    back = " A good model returns to the input." if domains[0] == domains[-1] else ""
    return f"Translated from {domains[0]} to {', then to '.join(domains[1:])}.{back}"
