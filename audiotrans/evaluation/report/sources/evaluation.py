"""The folder that ``audiotrans evaluate`` writes."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from audiotrans.evaluation.report.content import Clip, Direction, Kind, Material, Summary, System, Take
from audiotrans.evaluation.report.explanations import about_system
from audiotrans.evaluation.report.sources.records import (
    MetricRecord,
    Record,
    Score,
    Scores,
    inside,
    load_record,
    metrics_of,
)

FILE = "evaluation.json"


class _Summary(Record):
    mean: Score = None
    low: Score = None
    high: Score = None
    n: int | None = None


class _Clip(Record):
    clip: str
    recording: str = ""
    sound: str | None = None
    scores: Scores = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)


class _System(Record):
    name: str
    kind: Kind = "system"
    about: str = ""
    summary: dict[str, _Summary] = Field(default_factory=dict)
    clips: list[_Clip] = Field(default_factory=list)


class _Direction(Record):
    source: str
    target: str
    systems: list[_System]


class _Evaluation(Record):
    model: str
    created_with: str = ""
    test_set: str = ""
    metrics: dict[str, MetricRecord] = Field(default_factory=dict)
    directions: list[_Direction]
    verdicts: list[str] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)


def read_evaluation(root: Path) -> Material:
    """Read an evaluation.

    Args:
        root: folder with ``evaluation.json``.

    Returns:
        Its tables, clips and verdicts.

    Raises:
        AudiotransError: the file cannot be read or lacks something.
    """
    record = load_record(root / FILE, _Evaluation, "audiotrans-evaluation")
    facts = (("model", record.model), ("test set", record.test_set), ("made with", record.created_with))
    return Material(
        heading=f"Evaluation of {record.model}",
        what="evaluation",
        facts=tuple((name, value) for name, value in facts if value),
        metrics=metrics_of(record.metrics),
        directions=tuple(_direction(root, each) for each in record.directions),
        verdicts=tuple(record.verdicts),
        warnings=tuple(record.warnings),
    )


def _direction(root: Path, record: _Direction) -> Direction:
    systems = tuple(_system(each) for each in record.systems)
    return Direction(f"{record.source} to {record.target}", systems, _clips(root, record.systems), record.target)


def _system(record: _System) -> System:
    summary = {name: Summary(each.mean, each.low, each.high, each.n) for name, each in record.summary.items()}
    return System(record.name, record.kind, record.about or about_system(record.name, record.kind), summary)


def _clips(root: Path, systems: list[_System]) -> tuple[Clip, ...]:
    """Turn clips by system into systems by clip."""
    takes: dict[str, list[Take]] = {}
    for system in systems:
        for each in system.clips:
            take = Take(system.name, inside(root, each.sound), each.scores, tuple(each.warnings))
            takes.setdefault(each.clip, []).append(take)
    return tuple(Clip(name, tuple(found)) for name, found in takes.items())
