"""What a comparison found: curves with intervals, steps to fixed levels, pictures of the progress, one page of text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from audiotrans.evaluation.compare import imagenet
from audiotrans.evaluation.compare.kept import read_scale
from audiotrans.evaluation.compare.levels import MANY, Reached, levels, ratio, reach
from audiotrans.evaluation.compare.measures import MEASURES, Exam
from audiotrans.evaluation.compare.statistics import Records, interval, shown
from audiotrans.recipe import load_recipe
from audiotrans.training.prepare.images import write_atomically

VERDICTS = (
    "Levels held to the end, runs paired by seed and cut to the shorter of the two. In brackets the 95 % interval of "
    "the ratio (of the mean of its logarithm over the seeds, Student's t), widened by what lies between two "
    f"examinations and after the last. Tenfold: whether either needs {MANY:g} times the steps of the other."
)


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


def curve(runs: Mapping[int, Records], measure: str) -> Curve:
    """Gather a figure of all seeds, at the steps that all of them have reached."""
    by_step = [{record["step"]: record.get(measure, math.nan) for record in records} for records in runs.values()]
    steps = sorted(set.intersection(*(set(each) for each in by_step))) if by_step else []
    found = np.array([interval([each[step] for each in by_step]) for step in steps]).reshape(len(steps), 3)
    return Curve(np.array(steps, dtype=np.float64), *found.T)


def write_summary(output: Path, exam: Exam) -> Path:
    """Write summary.md, curves.png and the pictures of the progress.

    Args:
        output: the comparison's folder.
        exam: that all runs were judged by.

    Returns:
        The summary.
    """
    from audiotrans.evaluation.plots import comparison_curves, ends_sheet, progress_sheet

    runs = read_runs(output)
    names = {measure: MEASURES[measure].label for measure in MEASURES}
    curves = {name: {m: curve(of_seed, m) for m in MEASURES} for name, of_seed in runs.items()}
    references = {
        "accuracy_ab": {"real images": exam.trained.accuracy["b"], "input": exam.copy_accuracy["ab"]},
        "accuracy_ba": {"real images": exam.trained.accuracy["a"], "input": exam.copy_accuracy["ba"]},
        "distance_ab": {"real images": exam.floor["ab"], "input": exam.copy["ab"]},
        "distance_ba": {"real images": exam.floor["ba"], "input": exam.copy["ba"]},
    }
    scale = read_scale(output)
    if scale is not None:
        references |= {
            f"imagenet_{way}": {"real images": scale.floor[way], "input": scale.copy[way]} for way in ("ab", "ba")
        }
    pictures = [comparison_curves(curves, names, references, output / "curves.png")] if curves else []
    sources = {way: exam.images[way[0]] for way in ("ab", "ba")}
    for name in runs:
        folder = output / "runs" / f"{name}-{min(runs[name])}" / "samples"
        pictures.append(progress_sheet(folder, sources, output / f"progress-{name}.png"))
    if runs:
        folders = {name: output / "runs" / f"{name}-{min(runs[name])}" / "samples" for name in runs}
        pictures.append(ends_sheet(folders, sources, output / "ends.png"))
    text = "\n".join(_text(output, exam, runs, pictures))
    path = output / "summary.md"
    write_atomically(path, f"{text}\n".encode())
    return path


def _text(output: Path, exam: Exam, runs: dict[str, dict[int, Records]], pictures: Sequence[Path]) -> list[str]:
    plan = json.loads((output / "compare.json").read_text(encoding="utf-8"))
    a, b = plan["domains"]["a"], plan["domains"]["b"]
    counts = {domain: distinct(images) for domain, images in exam.images.items()}
    lines = [
        f"# {a} <-> {b}: {', '.join(runs)}",
        "",
        f"{plan['steps']} steps, examined every {plan['every']} on {counts['a']} and {counts['b']} "
        f"different held-out images of the domains (A {a}, B {b}).",
        f"The referee takes {exam.trained.accuracy['a']:.1%} of real {a} and {exam.trained.accuracy['b']:.1%} of real "
        f"{b} images for what they are; of unchanged inputs it takes {exam.copy_accuracy['ab']:.1%} for {b} and "
        f"{exam.copy_accuracy['ba']:.1%} for {a}.",
        f"Kernel distance (embedding: the referee's 64 features; Gaussian kernel): copying {exam.copy['ab']:.4f} / "
        f"{exam.copy['ba']:.4f}, other real images {exam.floor['ab']:.4f} / {exam.floor['ba']:.4f} (to {b} / to {a}).",
        *_text_of_imagenet(output),
        "Figures are means over seeds with 95 % intervals of the mean.",
        "",
        "## At the end",
        "",
        *_table_of_ends(runs),
        "",
        *_text_of_levels(output, runs, levels(exam), plan.get("epoch")),
        "",
        "## Pictures",
        "",
        *(f"- [{path.name}]({path.name})" for path in pictures),
    ]
    return lines


def _text_of_imagenet(output: Path) -> list[str]:
    scale = read_scale(output)
    if scale is None:
        return []
    return [
        f"ImageNet kernel distance (embedding: {imagenet.NAME}; it sees blur and noise, which the referee does not): "
        f"copying {scale.copy['ab']:.4f} / {scale.copy['ba']:.4f}, other real images {scale.floor['ab']:.4f} / "
        f"{scale.floor['ba']:.4f}."
    ]


def _text_of_levels(
    output: Path, runs: dict[str, dict[int, Records]], wanted: dict[str, Reached], epoch: int | None
) -> list[str]:
    epochs = _epochs(output, runs, epoch)
    told = f" In brackets epochs: the {epoch} training images of the smaller domain once." if epochs else ""
    if len(set(epochs.values())) > 1:
        told += " Batches differ, so ratios of epochs are not those of steps."
    lines = [
        "## Steps to fixed levels, both directions at once",
        "",
        "The first examination from which on a level is held to the end of the run, seed by seed; `> N`: not within "
        f"the N steps that the run has had.{told}",
        "",
        *_table_of_levels(runs, wanted, epochs, held=True),
        "",
        "The first examination that finds a level, whether or not it is held:",
        "",
        *_table_of_levels(runs, wanted, epochs, held=False),
    ]
    if len(runs) < 2:
        return lines
    return [*lines, "", "## Who needs more steps", "", VERDICTS, "", *_table_of_verdicts(runs, wanted)]


def distinct(images: Tensor) -> int:
    """Count the images ``(n, c, h, w)`` that are no repeats."""
    return len({image.numpy().tobytes() for image in images})


def _table_of_ends(runs: dict[str, dict[int, Records]]) -> list[str]:
    lines = ["| | " + " | ".join(f"{name} ({len(of_seed)} seeds)" for name, of_seed in runs.items()) + " |"]
    lines.append("|---" * (len(runs) + 1) + "|")
    for measure, told in MEASURES.items():
        cells = []
        for of_seed in runs.values():
            ends = [records[-1].get(measure, math.nan) for records in of_seed.values() if records]
            cells.append(shown(interval(ends)))
        if (measure == "draws" or measure.startswith("imagenet")) and set(cells) == {"-"}:
            continue  # not measured here
        lines.append(f"| {told.label} | " + " | ".join(cells) + " |")
    lasts = [
        ", ".join(f"{records[-1]['step']:g}" for records in of_seed.values() if records) for of_seed in runs.values()
    ]
    return [*lines, "| steps reached | " + " | ".join(lasts) + " |"]


def _table_of_levels(
    runs: dict[str, dict[int, Records]], wanted: dict[str, Reached], epochs: Mapping[str, float], held: bool
) -> list[str]:
    lines = ["| level | " + " | ".join(runs) + " |", "|---" * (len(runs) + 1) + "|"]
    for level, reached in wanted.items():
        cells = [
            ", ".join(reach(records, reached, held=held).text(epochs.get(name)) for records in of_seed.values())
            for name, of_seed in runs.items()
        ]
        lines.append(f"| {level} | " + " | ".join(cells) + " |")
    return lines


def _table_of_verdicts(runs: dict[str, dict[int, Records]], wanted: dict[str, Reached]) -> list[str]:
    lines = ["| level | recipes | steps | tenfold |", "|---|---|---|---|"]
    for name, reached in wanted.items():
        for a, b in combinations(runs, 2):
            found = ratio(a, runs[a], b, runs[b], reached)
            lines.append(f"| {name} | {a}, {b} | {found} | {found.tenfold} |")
    return lines


def _epochs(output: Path, runs: dict[str, dict[int, Records]], images: int | None) -> dict[str, float]:
    """Return the steps of an epoch by recipe; nothing for folders of older versions, which do not know."""
    folders = {name: output / "runs" / f"{name}-{min(of_seed)}" for name, of_seed in runs.items()}
    return {
        name: images / load_recipe(folder / "recipe.yaml").train.batch_size
        for name, folder in folders.items()
        if images
    }
