"""The folder that ``audiotrans cycle`` writes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field

from audiotrans.evaluation.report.content import Clip, Direction, Kind, Material, Summary, System, Take
from audiotrans.evaluation.report.explanations import about_chain
from audiotrans.evaluation.report.sources.records import MetricRecord, Record, Scores, inside, load_record, metrics_of

FILE = "cycle.json"


class _Item(Record):
    input: str
    clip: str
    domain: str
    chain: str
    sound: str | None = None
    scores: Scores = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)


class _Cycle(Record):
    model: str
    model_sha256: str = ""
    domains: list[str]
    options: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, MetricRecord] = Field(default_factory=dict)
    chains: list[str]
    steps: dict[str, list[str]] = Field(default_factory=dict)
    means: dict[str, Scores] = Field(default_factory=dict)
    items: list[_Item]
    warnings: list[str] = Field(default_factory=list)


def read_cycle(root: Path) -> Material:
    """Read a folder of chains of translations.

    Args:
        root: folder with ``cycle.json``.

    Returns:
        A direction for the clips of every domain, whose systems are the chains that begin there.

    Raises:
        AudiotransError: the file cannot be read or lacks something.
    """
    record = load_record(root / FILE, _Cycle, "audiotrans-cycle")
    options = ", ".join(f"{name} {value}" for name, value in record.options.items() if value is not None)
    facts = (("model", record.model), ("weights", record.model_sha256[:12]), ("options", options))
    directions = (_direction(root, record, domain) for domain in record.domains)
    return Material(
        heading=f"Cycles of {record.model}",
        what="cycles",
        facts=tuple((name, value) for name, value in facts if value),
        metrics=metrics_of(record.metrics),
        directions=tuple(each for each in directions if each.clips),
        warnings=tuple(record.warnings),
    )


def _direction(root: Path, record: _Cycle, domain: str) -> Direction:
    items = [item for item in record.items if item.domain == domain]
    used = {item.chain for item in items}
    chains = [chain for chain in record.chains if chain in used] + sorted(used - set(record.chains))
    heard = {item.clip for item in items if item.chain == domain}
    inputs = {item.clip: path for item in items if item.clip not in heard and (path := Path(item.input)).is_file()}
    if inputs and domain not in chains:
        chains.insert(0, domain)
    systems = tuple(_system(chain, domain, record) for chain in chains)
    return Direction(f"from {domain}", systems, _clips(root, items, chains, domain, inputs), _target(record, domain))


def _system(chain: str, domain: str, record: _Cycle) -> System:
    kind: Kind = "input" if chain == domain else "system"
    count = sum(item.chain == chain for item in record.items)
    summary = {name: Summary(mean, n=count) for name, mean in record.means.get(chain, {}).items()}
    return System(chain, kind, about_chain(record.steps.get(chain) or chain.split("-")), summary)


def _clips(
    root: Path, items: Iterable[_Item], chains: list[str], domain: str, inputs: dict[str, Path]
) -> tuple[Clip, ...]:
    takes: dict[str, dict[str, Take]] = {}
    for item in items:
        take = Take(item.chain, inside(root, item.sound), item.scores, tuple(item.warnings))
        takes.setdefault(item.clip, {})[item.chain] = take
    for clip, path in inputs.items():
        takes[clip].setdefault(domain, Take(domain, path))
    return tuple(Clip(name, tuple(of[chain] for chain in chains if chain in of)) for name, of in takes.items())


def _target(record: _Cycle, domain: str) -> str:
    """Return the other domain where there is just one."""
    others = [each for each in record.domains if each != domain]
    return others[0] if len(others) == 1 else ""
