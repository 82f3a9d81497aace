"""Figures of a comparison of recipes: curves with intervals, and translations by training progress."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from audiotrans.evaluation.plots import canvas
from audiotrans.evaluation.plots.canvas import COLOUR_MAP
from audiotrans.evaluation.plots.curves import thinned

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GAP = 2
MOST_ROWS = 10


def comparison_curves(
    curves: Mapping[str, Mapping[str, Any]],
    names: Mapping[str, str],
    references: Mapping[str, Mapping[str, float]],
    path: Path,
) -> Path:
    """Draw every metric of a comparison over the steps, one panel each.

    Args:
        curves: by recipe and metric: objects with ``steps``, ``mean``, ``low`` and ``high``.
        names: title of each metric.
        references: by metric, values that are drawn as dashed lines: what real images and the input have.
        path: a PNG or SVG file.
    """
    shown = [m for m in names if any(np.isfinite(of[m].mean).any() for of in curves.values())]
    figure, axes = canvas.grid(len(shown), 3, panel_height=2.6)
    for axis, metric in zip(axes, shown, strict=True):
        for name, of_metric in curves.items():
            found = of_metric[metric]
            (line,) = axis.plot(found.steps, found.mean, label=name, linewidth=1.6)
            kept = np.isfinite(found.low)
            axis.fill_between(found.steps[kept], found.low[kept], found.high[kept], color=line.get_color(), alpha=0.15)
        for label, value in references.get(metric, {}).items():
            axis.axhline(value, linestyle="--", linewidth=0.8, color="0.4")
            axis.annotate(label, (1, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=7)
        _keep_in_sight(axis, [of[metric].mean for of in curves.values()], list(references.get(metric, {}).values()))
        axis.set_title(names[metric], fontsize=9)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=8)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 6), fontsize=8)
    return canvas.save(figure, path)


def _keep_in_sight(axis: Axes, means: Sequence[Any], references: Sequence[float]) -> None:
    """Let intervals run out of a panel where they would press its curves flat, as those of two or three seeds may."""
    values = np.concatenate([*means, references])
    values = values[np.isfinite(values)]
    room = 0.5 * float(np.ptp(values))
    if room > 0:
        low, high = axis.get_ylim()
        axis.set_ylim(max(low, float(values.min()) - room), min(high, float(values.max()) + room))


def progress_sheet(samples: Path, sources: Mapping[str, Tensor], path: Path) -> Path:
    """Draw translations by training progress, both directions side by side, as Figure 4 of the paper does.

    Args:
        samples: folder of ``step_<n>.safetensors`` with uint8 images ``(n, c, h, w)`` by direction, ``ab`` and ``ba``.
        sources: the inputs by direction, ``(n, c, h, w)`` in [-1, 1].
        path: a PNG or SVG file.
    """
    files = sorted(samples.glob("step_*.safetensors"))
    rows: list[tuple[str, dict[str, Tensor]]] = [("input", {way: to_pixels(x) for way, x in sources.items()})]
    rows += [(f"{int(file.stem.removeprefix('step_')):,}", load_file(file)) for file in thinned(files, MOST_ROWS)]
    return _both_ways(rows, path)


def ends_sheet(folders: Mapping[str, Path], sources: Mapping[str, Tensor], path: Path) -> Path:
    """Draw the last translations of every recipe below the same inputs, as Figure 6 of the paper has UNIT's.

    Args:
        folders: by recipe, as `progress_sheet`'s ``samples``.
        sources: see `progress_sheet`.
        path: a PNG or SVG file.
    """
    rows: list[tuple[str, dict[str, Tensor]]] = [("input", {way: to_pixels(x) for way, x in sources.items()})]
    for name, folder in folders.items():
        last = max(folder.glob("step_*.safetensors"), default=None)
        if last is not None:
            rows.append((f"{name}\n{int(last.stem.removeprefix('step_')):,}", load_file(last)))
    return _both_ways(rows, path)


def _both_ways(rows: list[tuple[str, dict[str, Tensor]]], path: Path) -> Path:
    """Draw labelled rows of images, those from A to B beside those from B to A."""
    count = min(len(images) for _, row in rows for images in row.values())
    figure, axes = canvas.grid(2, 2, panel_height=0.55 * len(rows) + 0.6)
    for axis, way in zip(axes, ("ab", "ba"), strict=True):
        sheet, height = _sheet([row[way][:count] for _, row in rows])
        axis.imshow(sheet, cmap=COLOUR_MAP if sheet.ndim == 2 else None, interpolation="nearest", aspect="equal")
        axis.set_yticks([height * (i + 0.5) for i in range(len(rows))], [label for label, _ in rows], fontsize=7)
        axis.set_xticks([])
        axis.set_title("A to B" if way == "ab" else "B to A", fontsize=9)
    return canvas.save(figure, path)


def to_pixels(images: Tensor) -> Tensor:
    """Convert images in [-1, 1] to 8 bits a channel."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _sheet(rows: list[Tensor]) -> tuple[np.ndarray[Any, Any], int]:
    """Lay out rows of images; returns ``(h, w, 3)``, or ``(h, w)`` for sounds, and the height of a row."""
    colour = rows[0].shape[1] == 3
    lines = []
    for images in rows:
        # Sounds: the first channel, low frequencies below, thinned out to the size of a thumbnail.
        kept = images if colour else images[:, :1].flip(2)
        step = max(1, math.ceil(max(kept.shape[2:]) / 128))
        kept = torch.nn.functional.pad(kept[..., ::step, ::step], (0, GAP, 0, GAP), value=255 if colour else 0)
        lines.append(torch.cat(list(kept), dim=2))
    sheet = torch.cat(lines, dim=1).numpy()
    height = sheet.shape[1] // len(rows)
    return (sheet.transpose(1, 2, 0) if colour else sheet[0]), height
