"""The folder of a training run: what the model makes of held-out sounds, early and late, and the curves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from audiotrans.errors import AudiotransError
from audiotrans.evaluation.report.content import Clip, Direction, Figure, Kind, Material, System, Take
from audiotrans.evaluation.report.explanations import SAMPLES

T = TypeVar("T")

TITLES = ("input", "reconstruction", "translation", "cycle")
"""What a run writes of every held-out sound."""

_STEP = re.compile(r"step_(\d+)$")
_LABEL = re.compile(r"(?P<domain>.+) (?P<number>\d+) (?P<title>\w+)$")

EARLIER = 4
"""Earlier steps whose translations can be heard beside the last one's: enough to hear progress, few enough to tell."""

SHEETS = 6


def read_run(root: Path) -> Material:
    """Read a training run.

    Args:
        root: folder with ``metrics.jsonl`` or ``samples/``.

    Returns:
        For each domain the held-out sounds: input, what the last step makes of it, translations of earlier steps;
        the curves and sample sheets as figures.
    """
    steps = _steps(root / "samples")
    sheets = sorted(path for path in (root / "samples").glob("step_*.png"))
    figures = [Figure("training curves over the steps", log) for log in [root / "metrics.jsonl"] if log.is_file()]
    figures += [Figure(f"samples at step {_step(path.with_suffix(''))}", path) for path in _spread(sheets, SHEETS)]
    last = [("last step with sounds", f"{max(steps):,}")] if steps else []
    return Material(
        heading=f"Training run {root.resolve().name}",
        what="training run",
        facts=tuple(last),
        directions=_directions(steps) if steps else (),
        warnings=() if steps else ("the run has written no sounds: its samples folder holds none",),
        figures=tuple(figures),
    )


def _steps(samples: Path) -> dict[int, Path]:
    found = {_step(path): path for path in samples.glob("step_*") if path.is_dir() and _STEP.search(path.name)}
    return dict(sorted(found.items()))


def _step(path: Path) -> int:
    found = _STEP.search(path.name)
    if found is None:
        raise AudiotransError(f"{path}: is no sample of a run; such are called step_0001000.")
    return int(found[1])


def _directions(steps: dict[int, Path]) -> tuple[Direction, ...]:
    last = max(steps)
    earlier = _spread([step for step in steps if step != last], EARLIER)
    names = {title: title if title == "input" else f"{title}, step {last:,}" for title in TITLES}
    rows = [(names[title], title, last) for title in TITLES]
    rows += [(f"translation, step {step:,}", "translation", step) for step in earlier]
    clips: dict[str, dict[str, list[Take]]] = {}
    for name, title, step in rows:
        for path in sorted(steps[step].glob("*.wav")):
            parts = _LABEL.match(path.stem)
            if parts and parts["title"] == title:
                label = f"{parts['domain']} {parts['number']}"
                clips.setdefault(parts["domain"], {}).setdefault(label, []).append(Take(name, path))
    return tuple(
        _direction(domain, of, rows, [other for other in clips if other != domain]) for domain, of in clips.items()
    )


def _direction(
    domain: str, clips: dict[str, list[Take]], rows: Sequence[tuple[str, str, int]], others: list[str]
) -> Direction:
    heard = {take.system for takes in clips.values() for take in takes}
    systems = tuple(System(name, _kind(title), SAMPLES[title]) for name, title, _ in rows if name in heard)
    target = others[0] if len(others) == 1 else ""
    return Direction(
        f"from {domain}", systems, tuple(Clip(label, tuple(takes)) for label, takes in clips.items()), target
    )


def _kind(title: str) -> Kind:
    return "input" if title == "input" else "system"


def _spread(items: Sequence[T], count: int) -> list[T]:
    """Take up to ``count`` items from all over a sequence, the first and the last among them."""
    count = min(count, len(items))
    at = {round(i * (len(items) - 1) / max(count - 1, 1)) for i in range(count)}
    return [items[i] for i in sorted(at)]
