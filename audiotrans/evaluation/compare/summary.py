"""What a comparison found: curves with intervals, steps to fixed levels, and the summary with its figures.

How many steps do runs need to levels that were fixed beforehand, and how many times as many as other runs? A run is
evaluated every so many steps only, and ends one day. So what is known of the step at which it reaches a level is a
range, `Reach`: after the evaluation before, at the latest at the one that found it; and of a run that never got there,
that it takes more steps than it had. Nothing is dropped: ratios are taken of both ends of these ranges.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from audiotrans.evaluation.compare import imagenet
from audiotrans.evaluation.compare.evaluation_set import METRICS, EvaluationSet
from audiotrans.evaluation.intervals import student_interval
from audiotrans.evaluation.plots import comparison_curves, ends_sheet, progress_sheet
from audiotrans.evaluation.tables import markdown_table, with_interval
from audiotrans.files import from_json, write_whole
from audiotrans.recipe import load_recipe

RECORDS = "evaluations.jsonl"
SCALE = "imagenet.json"

Records = list[dict[str, float]]
"""The evaluations of one run, in the order of their steps."""

Reached = Callable[[dict[str, float]], bool]

ACCURACY_LEVELS = (0.5, 0.85)
"""Shares of the classifier's own accuracy on real images."""

DISTANCE_LEVELS = (0.8, 0.6, 0.3)
"""Shares of the distance that copying the input has."""

LIKENESS_LEVELS = (0.4, 0.3, 0.2)
"""Reconstruction and cycle: shares of the L1 between two images of a domain that have nothing to do with each other."""

CONTENT_LEVELS = (0.3, 0.5)
"""Cosines of the gradients. Two networks may agree on turning light backgrounds dark and back: neither classifier
nor cycle sees that; this does (about 0)."""

AT_ONCE = "accuracy 85%, distance 60%, cycle 40% and content 0.3 at once"
"""The one level that stands for a usable translation: a network's first blur may please the classifier by itself."""

MANY = 10.0
"""Times the steps: what "an order of magnitude" means here."""

ABOUT_RATIOS = (
    "Levels held to the end, runs paired by seed and cut to the shorter of the two. In brackets the 95 % interval of "
    "the ratio (of the mean of its logarithm over the seeds, Student's t), widened by what lies between two "
    f"evaluations and after the last. Tenfold: whether either needs {MANY:g} times the steps of the other."
)


@dataclass(frozen=True)
class Scale:
    """What distances in ImageNet's features are to be read against, by direction (``ab``, ``ba``).

    Attributes:
        bandwidth: of the kernel: the median distance between real images of the target.
        copy: distance of the unchanged input.
        floor: of other real images of the target.
    """

    bandwidth: dict[str, float]
    copy: dict[str, float]
    floor: dict[str, float]


def read_scale(output: Path) -> Scale | None:
    """Read the scale of a comparison's folder; None where distances in ImageNet's features were not measured."""
    path = output / SCALE
    return Scale(**from_json(path.read_text(encoding="utf-8"))) if path.exists() else None


def write_scale(output: Path, scale: Scale) -> None:
    """Write the scale of a comparison's folder."""
    write_whole(output / SCALE, json.dumps(asdict(scale)))


def read_records(folder: Path) -> Records:
    """Read the evaluations of a run by step; empty before the first."""
    path = folder / RECORDS
    if not path.exists():
        return []
    return [from_json(line) for line in path.read_text(encoding="utf-8").splitlines()]


def levels(held_out: EvaluationSet) -> dict[str, Reached]:
    """Return the fixed levels, both directions at once, by what they are called."""
    ceiling = held_out.accuracy
    strangers = sum(unrelated(images) for images in held_out.images.values()) / len(held_out.images)

    def accurate(share: float) -> Reached:
        return lambda r: r["accuracy_ab"] >= share * ceiling["b"] and r["accuracy_ba"] >= share * ceiling["a"]

    def near(share: float) -> Reached:
        return lambda r: all(r[f"distance_{way}"] <= share * held_out.copy[way] for way in ("ab", "ba"))

    def like(metric: str, share: float) -> Reached:
        return lambda r: r[metric] <= share * strangers

    def same(cosine: float) -> Reached:
        return lambda r: r["content"] >= cosine

    found = {f"accuracy {share:.0%} of real images'": accurate(share) for share in ACCURACY_LEVELS}
    found |= {f"distance {share:.0%} of copying": near(share) for share in DISTANCE_LEVELS}
    for metric in ("reconstruction", "cycle"):
        found |= {f"{metric} L1 {share:.0%} of unrelated images'": like(metric, share) for share in LIKENESS_LEVELS}
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
        """Return the step of the evaluation that found it, or that there was none; epochs in brackets.

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
    """How many times the steps of ``other`` a recipe needs.

    Attributes:
        name: the recipe.
        other: the one that it is compared with.
        value: geometric mean over the seeds, from the evaluations that found the level; nan where a run never did.
        low: lower end: of the 95 % interval of the mean logarithm over seeds, of the smallest ratios that the runs'
            `Reach` allow; 0 where they allow any.
        high: upper end, of the largest; inf where there is none.
        got_there: how many runs of each reached the level.
        runs: seeds that both have.
        first: whether every run had it at its first evaluation.
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
            return "both at the first evaluation: evaluate more often to tell"
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
    """Compare the steps that two recipes need to a level, seed by seed, as far as both runs of a seed have come.

    Args:
        name: of the first.
        runs: its evaluations by seed.
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
    low, _ = _ends([_log(a.low) - _log(b.high) for a, b in pairs])
    _, high = _ends([_log(a.high) - _log(b.low) for a, b in pairs])
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


def _ends(logs: Sequence[float]) -> tuple[float, float]:
    """Return the interval over seeds; infinite where a seed's own range is, or there is but one seed."""
    found = student_interval(logs)
    known = all(map(math.isfinite, (*logs, found.low)))
    return (found.low, found.high) if known else (-math.inf, math.inf)


@dataclass(frozen=True)
class Curve:
    """A metric over the steps: all seeds' mean and its 95 % interval (Student's t; nan for one run)."""

    steps: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def read_runs(output: Path) -> dict[str, dict[int, Records]]:
    """Read the evaluations by recipe and seed, of all runs that a comparison's folder holds."""
    plan = from_json((output / "compare.json").read_text(encoding="utf-8"))
    found: dict[str, dict[int, Records]] = {}
    for name in plan["recipes"]:
        for path in sorted((output / "runs").glob(f"{name}-*/{RECORDS}")):
            seed = path.parent.name.removeprefix(f"{name}-")
            if seed.isdigit():
                found.setdefault(name, {})[int(seed)] = read_records(path.parent)
    return found


def curve(runs: Mapping[int, Records], metric: str) -> Curve:
    """Gather a metric of all seeds, at the steps that all of them have reached."""
    by_step = [{record["step"]: record.get(metric, math.nan) for record in records} for records in runs.values()]
    steps = sorted(set.intersection(*(set(each) for each in by_step))) if by_step else []
    found = [student_interval([each[step] for each in by_step]) for step in steps]
    ends = np.array([(each.mean, each.low, each.high) for each in found]).reshape(len(steps), 3)
    return Curve(np.array(steps, dtype=np.float64), *ends.T)


def write_summary(output: Path, held_out: EvaluationSet) -> Path:
    """Write summary.md, curves.png and the figures of the progress.

    Args:
        output: the comparison's folder.
        held_out: the evaluation set of all runs.

    Returns:
        The summary.
    """
    runs = read_runs(output)
    curves = {name: {metric: curve(of_seed, metric) for metric in METRICS} for name, of_seed in runs.items()}
    references = {
        "accuracy_ab": {"real images": held_out.accuracy["b"], "input": held_out.copy_accuracy["ab"]},
        "accuracy_ba": {"real images": held_out.accuracy["a"], "input": held_out.copy_accuracy["ba"]},
        "distance_ab": {"real images": held_out.floor["ab"], "input": held_out.copy["ab"]},
        "distance_ba": {"real images": held_out.floor["ba"], "input": held_out.copy["ba"]},
    }
    scale = read_scale(output)
    if scale is not None:
        references |= {
            f"imagenet_{way}": {"real images": scale.floor[way], "input": scale.copy[way]} for way in ("ab", "ba")
        }
    figures = [comparison_curves(curves, METRICS, references, output / "curves.png")] if curves else []
    sources = {way: held_out.images[way[0]] for way in ("ab", "ba")}
    for name in runs:
        folder = output / "runs" / f"{name}-{min(runs[name])}" / "samples"
        figures.append(progress_sheet(folder, sources, output / f"progress-{name}.png"))
    if runs:
        folders = {name: output / "runs" / f"{name}-{min(runs[name])}" / "samples" for name in runs}
        figures.append(ends_sheet(folders, sources, output / "ends.png"))
    text = "\n".join(_text(output, held_out, runs, figures))
    path = output / "summary.md"
    write_whole(path, f"{text}\n")
    return path


def _text(
    output: Path, held_out: EvaluationSet, runs: dict[str, dict[int, Records]], figures: Sequence[Path]
) -> list[str]:
    plan = from_json((output / "compare.json").read_text(encoding="utf-8"))
    a, b = plan["domains"]["a"], plan["domains"]["b"]
    counts = {domain: distinct(images) for domain, images in held_out.images.items()}
    right, copied = held_out.accuracy, held_out.copy_accuracy
    lines = [
        f"# {a} <-> {b}: {', '.join(runs)}",
        "",
        f"{plan['steps']} steps, evaluated every {plan['every']} on {counts['a']} and {counts['b']} "
        f"different held-out images of the domains (A {a}, B {b}).",
        f"The attribute classifier is right on {right['a']:.1%} of real {a} and {right['b']:.1%} of real {b} images; "
        f"of unchanged inputs it classifies {copied['ab']:.1%} as {b} and {copied['ba']:.1%} as {a}.",
        f"Kernel distance (embedding: the classifier's 64 features; Gaussian kernel): {_told(held_out)} "
        f"(to {b} / to {a}).",
        *_text_of_imagenet(output),
        "Values are means over seeds with 95 % intervals of the mean.",
        "",
        "## At the end",
        "",
        _table_of_ends(runs),
        "",
        *_text_of_levels(output, runs, levels(held_out), plan["epoch"]),
        "",
        "## Figures",
        "",
        *(f"- [{path.name}]({path.name})" for path in figures),
    ]
    return lines


def _text_of_imagenet(output: Path) -> list[str]:
    scale = read_scale(output)
    if scale is None:
        return []
    about = f"embedding: {imagenet.NAME}; it sees blur and noise, which the classifier does not"
    return [f"ImageNet kernel distance ({about}): {_told(scale)}."]


def _told(scale: EvaluationSet | Scale) -> str:
    """Say what kernel distances are to be read against, by direction."""
    copy, floor = scale.copy, scale.floor
    return f"copying {copy['ab']:.4f} / {copy['ba']:.4f}, other real images {floor['ab']:.4f} / {floor['ba']:.4f}"


def _text_of_levels(
    output: Path, runs: dict[str, dict[int, Records]], wanted: dict[str, Reached], epoch: int
) -> list[str]:
    epochs = _epochs(output, runs, epoch)
    told = f" In brackets epochs: the {epoch} training images of the smaller domain once."
    if len(set(epochs.values())) > 1:
        told += " Batches differ, so ratios of epochs are not those of steps."
    lines = [
        "## Steps to fixed levels, both directions at once",
        "",
        "The first evaluation from which on a level is held to the end of the run, seed by seed; `> N`: not within "
        f"the N steps that the run has had.{told}",
        "",
        _table_of_levels(runs, wanted, epochs, held=True),
        "",
        "The first evaluation that finds a level, whether or not it is held:",
        "",
        _table_of_levels(runs, wanted, epochs, held=False),
    ]
    if len(runs) < 2:
        return lines
    return [*lines, "", "## Which recipe needs more steps", "", ABOUT_RATIOS, "", _table_of_ratios(runs, wanted)]


def distinct(images: Tensor) -> int:
    """Count the images ``(n, c, h, w)`` that are different."""
    return len({image.numpy().tobytes() for image in images})


def _table_of_ends(runs: dict[str, dict[int, Records]]) -> str:
    rows = []
    lasts = [[records[-1] for records in of_seed.values() if records] for of_seed in runs.values()]
    for metric, label in METRICS.items():
        cells = [with_interval(student_interval([last.get(metric, math.nan) for last in each])) for each in lasts]
        if not metric.startswith("imagenet") or set(cells) != {"-"}:  # else it was not measured here
            rows.append([label, *cells])
    rows.append(["steps reached", *(", ".join(f"{last['step']:g}" for last in each) for each in lasts)])
    return markdown_table(["", *(f"{name} ({len(of_seed)} seeds)" for name, of_seed in runs.items())], rows)


def _table_of_levels(
    runs: dict[str, dict[int, Records]], wanted: dict[str, Reached], epochs: Mapping[str, float], held: bool
) -> str:
    rows = []
    for level, reached in wanted.items():
        cells = [
            ", ".join(reach(records, reached, held=held).text(epochs[name]) for records in of_seed.values())
            for name, of_seed in runs.items()
        ]
        rows.append([level, *cells])
    return markdown_table(["level", *runs], rows)


def _table_of_ratios(runs: dict[str, dict[int, Records]], wanted: dict[str, Reached]) -> str:
    pairs = [(name, a, b) for name in wanted for a, b in combinations(runs, 2)]
    found = [(name, a, b, ratio(a, runs[a], b, runs[b], wanted[name])) for name, a, b in pairs]
    rows = [[name, f"{a}, {b}", str(each), each.tenfold] for name, a, b, each in found]
    return markdown_table(["level", "recipes", "steps", "tenfold"], rows)


def _epochs(output: Path, runs: dict[str, dict[int, Records]], images: int) -> dict[str, float]:
    """Return the steps of an epoch by recipe."""
    folders = {name: output / "runs" / f"{name}-{min(of_seed)}" for name, of_seed in runs.items()}
    return {name: images / load_recipe(folder / "recipe.yaml").train.batch_size for name, folder in folders.items()}
