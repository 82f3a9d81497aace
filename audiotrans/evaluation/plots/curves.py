"""Figures of a training run: every curve of its log, and its progress domain by domain with samples over the steps."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from matplotlib.image import imread

from audiotrans.audio import read
from audiotrans.errors import AudiotransError
from audiotrans.evaluation.plots import canvas
from audiotrans.evaluation.plots.canvas import RANGE_DB, Array
from audiotrans.evaluation.plots.spectrograms import log_spectrogram
from audiotrans.files import from_json
from audiotrans.photo.images import PhotoSettings
from audiotrans.recipe import load_recipe
from audiotrans.training.samples import GAP

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

T = TypeVar("T")

Curves = dict[str, list[tuple[float, float]]]
"""Points (step, value) by name."""

COLOURS = ("#0072B2", "#D55E00")
"""Blue and vermilion of Okabe and Ito's set, told apart with any colour vision; the lines also differ in dash."""

MOST_STEPS = 4
MOST_PHOTO_STEPS = 6
_SHEET_ROWS = {"a": (0, 2), "b": (4, 6)}
"""Of a sheet of photos (`audiotrans.training.samples.photo_sheet`), a domain's photos and their translations."""

_DASHES = ("-", "--")
_STEP = re.compile(r"step_(\d+)")


def training_curves(metrics_jsonl: str | Path, path: str | Path) -> Path:
    """Draw every number of a training log over the steps, one small panel each.

    Args:
        metrics_jsonl: one JSON object a line with a `step` and numbers, nested objects as well. A last line that was
            cut off by a killed run is passed over.
        path: of the PNG; its folder must exist.

    Returns:
        The path.

    Raises:
        AudiotransError: where the log cannot be read, holds no numbers, or the figure cannot be written.
    """
    curves = read_curves(Path(metrics_jsonl))
    figure, axes = canvas.grid(len(curves), 3, panel_height=2.2)
    for axis, (name, points) in zip(axes, sorted(curves.items()), strict=True):
        steps, values = zip(*points, strict=True)
        axis.plot(steps, values, linewidth=0.8)
        axis.set_title(name, fontsize="small")
        axis.set_xlabel("step")
        axis.grid(visible=True, alpha=0.3)
    return canvas.save(figure, path)


_OLD_NAME = ("valid/profile_", "valid/statistics_")
"""Of a figure in logs of version 0.1, and today's."""


def read_curves(log: Path) -> Curves:
    """Read the numbers of a training log: step and value of each, by name.

    Raises:
        AudiotransError: where the log cannot be read or holds no numbers.
    """
    try:
        lines = log.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AudiotransError(f"cannot read the training log {log}: {error}") from error
    curves: Curves = {}
    for number, line in enumerate(lines, start=1):
        record = _parse_record(line, log, number, is_last=number == len(lines))
        step = record.pop("step", None)
        if step is not None:
            for name, value in record.items():
                curves.setdefault(name.replace(*_OLD_NAME), []).append((step, value))
    if not curves:
        raise AudiotransError(f"{log} holds no numbers with a step; is it the metrics.jsonl of a run?")
    return curves


def _parse_record(line: str, log: Path, number: int, *, is_last: bool) -> dict[str, float]:
    try:
        return _flatten(from_json(line)) if line.strip() else {}
    except (ValueError, TypeError, AttributeError) as error:
        if is_last:
            return {}
        raise AudiotransError(f"line {number} of {log} is not a JSON object: {error}") from error


def _flatten(record: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Keep the finite numbers of a JSON object; the name of a nested one is joined by a slash."""
    numbers: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            numbers.update(_flatten(value, f"{prefix}{name}/"))
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            numbers[f"{prefix}{name}"] = float(value)
    return numbers


@dataclass(frozen=True)
class Panel:
    """One panel of curves.

    Attributes:
        title: above it.
        label: of its values.
        curves: label and name in the log of each.
    """

    title: str
    label: str
    curves: Mapping[str, str]


def training_progress(run: str | Path, path: str | Path, *, scale: str = "log") -> Path:
    """Draw the progress of a training run: its log by domain, and the same held-out sounds or photos over the steps.

    Photos are laid out as in the paper's Figure 4: a direction's photos side by side, and under them what became of
    them as training went on.

    Args:
        run: folder of the run, with recipe.yaml and metrics.jsonl; of samples/ the sounds or photos are drawn, or the
            last sheet where there are no sounds.
        path: of the figure; its folder must exist.
        scale: of the frequency axes: ``log``, ``mel`` or ``linear``.

    Returns:
        The path.

    Raises:
        UsageError: for an unknown scale, or a broken recipe.
        AudiotransError: if the run cannot be read or the figure cannot be written.
    """
    root = Path(run)
    recipe = load_recipe(root / "recipe.yaml")
    curves = read_curves(root / "metrics.jsonl")
    first, second = recipe.domains.a, recipe.domains.b
    panels = [panel for panel in _panels(first, second) if any(name in curves for name in panel.curves.values())]
    if not panels:
        raise AudiotransError(f"{root / 'metrics.jsonl'} holds nothing of what a run logs of its domains")
    sounds = {domain: found for domain in (first, second) if (found := _sounds(root, domain))}
    sheets = [] if sounds else sorted((root / "samples").glob("step_*.png"))
    heights = [3.4, *[2.9] * len(sounds), *[9.0] * bool(sheets)]
    figure = canvas.blank_figure(14.0, sum(heights))
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    _draw_curves(parts[0], panels, curves)
    for part, (domain, found) in zip(parts[1:], sounds.items(), strict=False):
        _draw_sounds(part, found, f"{domain} to {second if domain == first else first}", scale)
    if sheets and isinstance(recipe.imaging, PhotoSettings):
        titles = {"a": f"{first} to {second}", "b": f"{second} to {first}"}
        _draw_photos(parts[-1], sheets, recipe.imaging, titles)
    elif sheets:
        _draw_sheet(parts[-1], sheets[-1])
    figure.suptitle(f"Run {root.resolve().name}")
    return canvas.save(figure, path)


def _panels(first: str, second: str) -> Sequence[Panel]:
    return (
        Panel(
            "held out: distance left to the target's sound",
            "share of the input's distance",
            {f"{first} to {second}": "valid/statistics_ab", f"{second} to {first}": "valid/statistics_ba"},
        ),
        Panel(
            "held out: error against the input",
            "mean difference of images",
            {"reconstruction": "valid/reconstruction", "cycle": "valid/cycle"},
        ),
        _discriminator(first, second, "a", "ba"),
        _discriminator(second, first, "b", "ab"),
    )


def _discriminator(domain: str, other: str, side: str, way: str) -> Panel:
    curves = {f"real {domain}": f"health/d_real_{side}", f"{other} to {domain}": f"health/d_fake_{way}"}
    return Panel(f"discriminator output for {domain}", "mean logit", curves)


def _draw_curves(part: SubFigure, panels: Sequence[Panel], curves: Curves) -> None:
    for axis, panel in zip(part.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for (label, name), colour, dashes in zip(panel.curves.items(), COLOURS, _DASHES, strict=True):
            if name in curves:
                steps, values = np.array(curves[name], dtype=np.float64).T
                axis.plot(steps, values, color=colour, linewidth=0.6, alpha=0.3)
                axis.plot(steps, _smooth(values), dashes, color=colour, linewidth=1.6, label=label)
        axis.set_title(panel.title, fontsize="medium")
        axis.set_ylabel(panel.label)
        axis.set_xlabel("step")
        axis.locator_params(axis="x", nbins=4)
        axis.grid(visible=True, alpha=0.3)
        axis.legend(fontsize="small")


def _smooth(values: Array) -> Array:
    """Return the running median over a twentieth of the values: what noise leaves of a curve."""
    half = len(values) // 40
    padded = np.pad(values, half, mode="edge")
    smoothed: Array = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=1)
    return smoothed


def sample_steps(run: Path) -> dict[int, Path]:
    """Find the folders of sounds that a training run wrote on its way, by step, in order."""
    folders = {path: _STEP.fullmatch(path.name) for path in (run / "samples").glob("step_*") if path.is_dir()}
    return dict(sorted((int(found[1]), path) for path, found in folders.items() if found))


def thinned(items: Sequence[T], count: int) -> list[T]:
    """Take up to ``count`` items from all over a sequence, the first and the last among them."""
    count = min(count, len(items))
    at = {round(i * (len(items) - 1) / max(count - 1, 1)) for i in range(count)}
    return [items[i] for i in sorted(at)]


def _sounds(run: Path, domain: str) -> dict[str, Path]:
    """Return the input and the translations of a domain's first item over the steps, evenly chosen, by title."""
    steps = sample_steps(run).items()
    found = [(step, path) for step, folder in steps if (path := folder / f"{domain} 1 translation.wav").is_file()]
    shown = {f"step {step:,}": path for step, path in thinned(found, MOST_STEPS)}
    own = found[-1][1].with_name(f"{domain} 1 input.wav") if found else None
    return ({"input": own} if own is not None and own.is_file() else {}) | shown


def _draw_sounds(part: SubFigure, sounds: Mapping[str, Path], title: str, scale: str) -> None:
    spectra = [log_spectrogram(name, *read(path)) for name, path in sounds.items()]
    loudest = max(float(decibels.max()) for decibels, _, _ in spectra)
    axes: list[Axes] = list(part.subplots(1, len(spectra), squeeze=False, sharey=True)[0])
    for axis, name, (decibels, hertz, seconds) in zip(axes, sounds, spectra, strict=True):
        drawn = canvas.draw_spectrogram(axis, decibels - loudest, hertz, seconds, (-RANGE_DB, 0.0), scale=scale)
        axis.set_title(name, fontsize="medium")
    canvas.label_outer(axes, len(axes))
    part.colorbar(drawn, ax=axes, label="dB re loudest", pad=0.01)
    part.suptitle(f"{title}: the first held-out sound", fontsize="large")


def _draw_photos(part: SubFigure, sheets: Sequence[Path], imaging: PhotoSettings, titles: Mapping[str, str]) -> None:
    """Draw both directions as the paper's Figure 4: the photos, and below them their translations step by step."""
    found = [(_step_of(sheet), _read_sheet(sheet)) for sheet in thinned(sheets, MOST_PHOTO_STEPS)]
    height, width = imaging.height + GAP, imaging.width + GAP
    for axis, (side, title) in zip(part.subplots(1, len(titles), squeeze=False)[0], titles.items(), strict=True):
        photo, made = (slice(row * height, (row + 1) * height) for row in _SHEET_ROWS[side])
        rows = [found[0][1][photo], *(sheet[made] for _, sheet in found)]
        across = min(row.shape[1] for row in rows)
        axis.imshow(np.concatenate([row[:, :across] for row in rows]))
        labels = ["photo", *(f"step {step:,}" for step, _ in found)]
        axis.set_yticks([(i + 0.5) * height for i in range(len(rows))], labels=labels)
        axis.set_xticks([(i + 0.5) * width for i in range(across // width)], labels=[])
        axis.tick_params(length=0)
        axis.set_title(title)


def _draw_sheet(part: SubFigure, sheet: Path) -> None:
    """Show the last sample sheet of a run of sounds as it is, where the sounds themselves are elsewhere."""
    axis = part.subplots()
    axis.imshow(_read_sheet(sheet))
    axis.set_axis_off()
    axis.set_title(f"samples at step {_step_of(sheet):,}")


def _read_sheet(sheet: Path) -> Array:
    try:
        pixels: Array = imread(sheet)
    except (OSError, ValueError, SyntaxError) as error:  # the last is what Pillow raises for a broken PNG
        raise AudiotransError(f"cannot read the sample sheet {sheet}: {error}") from error
    return pixels


def _step_of(sheet: Path) -> int:
    return int(sheet.stem.removeprefix("step_"))
