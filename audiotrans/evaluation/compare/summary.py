"""What a comparison found: curves with intervals, steps to fixed levels, pictures of the progress, one page of text."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiotrans.evaluation.compare.measures import MEASURES, Exam
from audiotrans.training.prepare.images import write_atomically

Records = list[dict[str, float]]

ACCURACY_LEVELS = (0.5, 0.85)
"""Shares of the referee's own accuracy on real images."""

DISTANCE_LEVELS = (0.8, 0.6)
"""Shares of the distance that copying the input has."""

T_975 = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Student's t, 97.5 %, by number of runs."""


@dataclass(frozen=True)
class Curve:
    """A figure over the steps: all seeds' mean and its 95 % interval (Student's t; nan for one run)."""

    steps: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def read_runs(output: Path) -> dict[str, dict[int, Records]]:
    """Return the examinations by recipe and seed, of all runs that a comparison's folder holds."""
    plan = json.loads((output / "compare.json").read_text(encoding="utf-8"))
    found: dict[str, dict[int, Records]] = {}
    for name in plan["recipes"]:
        for path in sorted((output / "runs").glob(f"{name}-*/exams.jsonl")):
            seed = path.parent.name.removeprefix(f"{name}-")
            if seed.isdigit():
                lines = path.read_text(encoding="utf-8").splitlines()
                found.setdefault(name, {})[int(seed)] = [json.loads(line) for line in lines]
    return found


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return mean and 95 % interval of the mean over runs; the interval of one run is nan."""
    kept = [value for value in values if math.isfinite(value)]
    if not kept:
        return math.nan, math.nan, math.nan
    mean = float(np.mean(kept))
    if len(kept) < 2:
        return mean, math.nan, math.nan
    half = T_975.get(len(kept), 1.96) * float(np.std(kept, ddof=1)) / math.sqrt(len(kept))
    return mean, mean - half, mean + half


def curve(runs: Mapping[int, Records], measure: str) -> Curve:
    """Gather a figure of all seeds, at the steps that all of them have reached."""
    by_step = [{record["step"]: record.get(measure, math.nan) for record in records} for records in runs.values()]
    steps = sorted(set.intersection(*(set(each) for each in by_step))) if by_step else []
    found = np.array([interval([each[step] for each in by_step]) for step in steps]).reshape(len(steps), 3)
    return Curve(np.array(steps, dtype=np.float64), *found.T)


def steps_to(records: Records, reached: Callable[[dict[str, float]], bool]) -> float:
    """Return the first examined step from which on a level is held to the end; inf if never.

    Held to the end, for a network's first noise may happen to please a classifier.
    """
    first = math.inf
    for record in records:
        if not reached(record):
            first = math.inf
        elif math.isinf(first):
            first = record["step"]
    return first


def levels(exam: Exam) -> dict[str, Callable[[dict[str, float]], bool]]:
    """Return the fixed levels, both directions at once, by what they are called."""
    ceiling = exam.trained.accuracy

    def accurate(share: float) -> Callable[[dict[str, float]], bool]:
        return lambda r: r["accuracy_ab"] >= share * ceiling["b"] and r["accuracy_ba"] >= share * ceiling["a"]

    def near(share: float) -> Callable[[dict[str, float]], bool]:
        return lambda r: all(r[f"distance_{way}"] <= share * exam.copy[way] for way in ("ab", "ba"))

    found = {f"accuracy {share:.0%} of real images'": accurate(share) for share in ACCURACY_LEVELS}
    return found | {f"distance {share:.0%} of copying": near(share) for share in DISTANCE_LEVELS}


def write_summary(output: Path, exam: Exam) -> Path:
    """Write summary.md, curves.png and the pictures of the progress.

    Args:
        output: the comparison's folder.
        exam: that all runs were judged by.

    Returns:
        The summary.
    """
    from audiotrans.evaluation.plots.compare import comparison_curves, progress_sheet

    runs = read_runs(output)
    names = {measure: MEASURES[measure].label for measure in MEASURES}
    curves = {name: {m: curve(of_seed, m) for m in MEASURES} for name, of_seed in runs.items()}
    references = {
        "accuracy_ab": {"real images": exam.trained.accuracy["b"], "input": exam.copy_accuracy["ab"]},
        "accuracy_ba": {"real images": exam.trained.accuracy["a"], "input": exam.copy_accuracy["ba"]},
        "distance_ab": {"real images": exam.floor["ab"], "input": exam.copy["ab"]},
        "distance_ba": {"real images": exam.floor["ba"], "input": exam.copy["ba"]},
    }
    pictures = [comparison_curves(curves, names, references, output / "curves.png")] if curves else []
    for name in runs:
        folder = output / "runs" / f"{name}-{min(runs[name])}" / "samples"
        sources = {way: exam.images[way[0]] for way in ("ab", "ba")}
        pictures.append(progress_sheet(folder, sources, output / f"progress-{name}.png"))
    text = "\n".join(_text(output, exam, runs, pictures))
    path = output / "summary.md"
    write_atomically(path, f"{text}\n".encode())
    return path


def _text(output: Path, exam: Exam, runs: dict[str, dict[int, Records]], pictures: Sequence[Path]) -> list[str]:
    plan = json.loads((output / "compare.json").read_text(encoding="utf-8"))
    a, b = plan["domains"]["a"], plan["domains"]["b"]
    count = len(exam.images["a"])
    lines = [
        f"# {a} <-> {b}: {', '.join(runs)}",
        "",
        f"{plan['steps']} steps, examined every {plan['every']} on {count} held-out images of each domain "
        f"(A {a}, B {b}).",
        f"The referee takes {exam.trained.accuracy['a']:.1%} of real {a} and {exam.trained.accuracy['b']:.1%} of real "
        f"{b} images for what they are; of unchanged inputs it takes {exam.copy_accuracy['ab']:.1%} for {b} and "
        f"{exam.copy_accuracy['ba']:.1%} for {a}.",
        f"Kernel distance (embedding: the referee's 64 features; Gaussian kernel): copying {exam.copy['ab']:.4f} / "
        f"{exam.copy['ba']:.4f}, other real images {exam.floor['ab']:.4f} / {exam.floor['ba']:.4f} (to {b} / to {a}).",
        "Figures are means over seeds with 95 % intervals of the mean.",
        "",
        "## At the end",
        "",
        *_table_of_ends(runs),
        "",
        "## Steps to fixed levels, both directions at once",
        "",
        *_table_of_levels(runs, levels(exam), plan["steps"]),
        "",
        "## Pictures",
        "",
        *(f"- [{path.name}]({path.name})" for path in pictures),
    ]
    return lines


def _table_of_ends(runs: dict[str, dict[int, Records]]) -> list[str]:
    lines = ["| | " + " | ".join(f"{name} ({len(of_seed)} seeds)" for name, of_seed in runs.items()) + " |"]
    lines.append("|---" * (len(runs) + 1) + "|")
    for measure, told in MEASURES.items():
        cells = []
        for of_seed in runs.values():
            ends = [records[-1].get(measure, math.nan) for records in of_seed.values() if records]
            cells.append(shown(interval(ends)))
        lines.append(f"| {told.label} | " + " | ".join(cells) + " |")
    lasts = [
        ", ".join(f"{records[-1]['step']:g}" for records in of_seed.values() if records) for of_seed in runs.values()
    ]
    return [*lines, "| steps reached | " + " | ".join(lasts) + " |"]


def _table_of_levels(
    runs: dict[str, dict[int, Records]], wanted: dict[str, Callable[[dict[str, float]], bool]], steps: int
) -> list[str]:
    lines = ["| level | " + " | ".join(runs) + " |", "|---" * (len(runs) + 1) + "|"]
    for name, reached in wanted.items():
        cells = []
        for of_seed in runs.values():
            found = [steps_to(records, reached) for records in of_seed.values()]
            each = ", ".join(f"{step:g}" if math.isfinite(step) else f"> {steps}" for step in found)
            whole = shown(interval(found), 0) if found and all(map(math.isfinite, found)) else ""
            cells.append(f"{whole} ({each})" if whole else each)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def shown(values: tuple[float, float, float], digits: int = 3) -> str:
    """Write a mean with its interval."""
    mean, low, high = values
    if not math.isfinite(mean):
        return "-"
    if not math.isfinite(low):
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
