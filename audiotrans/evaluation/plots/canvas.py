"""Lay out and save figures: the figure, its grid of panels, the spectrogram in a panel, the file.

Figures are built as objects and drawn by matplotlib's own canvases: no global state, no window, safe in a training
process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from audiotrans.errors import AudiotransError, UsageError, lookup
from audiotrans.files import refuse_existing, replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

Array = npt.NDArray[np.floating[Any]]

COLOUR_MAP = "magma"
"""Rises evenly in lightness: readable in grey and with any colour vision."""

RANGE_DB = 80.0
LOWEST_HZ = 40.0
SUFFIXES = (".png", ".svg")
_DRAWN_ROWS = 400


@dataclass(frozen=True)
class Scale:
    """A frequency axis.

    Attributes:
        place: where on the axis a frequency lies, from Hz.
        hertz: the frequency at a place.
        ticks: frequencies in Hz that are written at the axis.
    """

    place: Callable[[Any], Any]
    hertz: Callable[[Any], Any]
    ticks: tuple[int, ...]


SCALES: Mapping[str, Scale] = {
    "log": Scale(np.log10, lambda place: 10.0**place, (50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)),
    # The mel scale 2595 log10(1 + f / 700): O'Shaughnessy, Speech Communication, 1987.
    "mel": Scale(
        lambda hertz: 2595.0 * np.log10(1.0 + hertz / 700.0),
        lambda place: 700.0 * (10.0 ** (place / 2595.0) - 1.0),
        (100, 500, 1000, 2000, 3000, 5000, 10_000, 20_000),
    ),
    "linear": Scale(lambda hertz: hertz, lambda place: place, (0, 5000, 10_000, 15_000, 20_000)),
}


def grid(panels: int, columns: int, panel_height: float = 3.0) -> tuple[Figure, list[Axes]]:
    """Make a figure of panels in rows of ``columns``.

    Args:
        panels: how many in all, at least 1.
        columns: side by side.
        panel_height: inches.

    Returns:
        The figure, and its panels row by row.
    """
    across = min(columns, panels)
    down = math.ceil(panels / across)
    figure = blank_figure(10.0 if across == 1 else 3.6 * across + 1.0, panel_height * down)
    return figure, [figure.add_subplot(down, across, index + 1) for index in range(panels)]


def blank_figure(width: float, height: float) -> Figure:
    """Make a figure of so many inches, to be divided by the caller."""
    return Figure(figsize=(width, height), layout="constrained")


def even_grid(down: int, across: int) -> tuple[Figure, list[list[Axes]]]:
    """Make a figure of many small panels that share their axes: numbers stand only at the left and at the bottom.

    Args:
        down: rows.
        across: columns.

    Returns:
        The figure, and its panels by row and column.
    """
    figure = blank_figure(2.0 * across + 2.2, 1.75 * down + 0.8)
    axes = figure.subplots(down, across, squeeze=False, sharex="col", sharey="row")
    return figure, [list(row) for row in axes]


def label_grid(axes: Sequence[Sequence[Axes]], titles: Sequence[str]) -> None:
    """Name the rows of `even_grid` at the left, and the time at the bottom; nothing inside."""
    for index, (line, title) in enumerate(zip(axes, titles, strict=True)):
        for number, axis in enumerate(line):
            axis.set_ylabel("" if number else title)
            axis.set_xlabel("time (s)" if index == len(axes) - 1 else "")


def label_outer(axes: Sequence[Axes], columns: int) -> None:
    """Leave out what the panels to the left or below say already: names of axes inside a `grid`."""
    across = min(columns, len(axes))
    for index, axis in enumerate(axes):
        if index % across:
            axis.set_ylabel("")
        if index + across < len(axes):
            axis.set_xlabel("")


def draw_spectrogram(
    axis: Axes,
    panel: Array,
    row_frequencies: Array,
    seconds: float,
    limits: tuple[float, float],
    *,
    scale: str = "log",
    colours: str = COLOUR_MAP,
) -> AxesImage:
    """Draw one spectrogram over seconds and frequency.

    Args:
        axis: where to draw.
        panel: values of shape (rows, frames).
        row_frequencies: Hz of each row, ascending, shape (rows,).
        seconds: that the frames cover.
        limits: values of the darkest and the lightest colour.
        scale: of the frequency axis, a key of `SCALES`.
        colours: name of a colour map.

    Raises:
        UsageError: for an unknown scale.
    """
    chosen = lookup(SCALES, scale, "frequency axis")
    lowest = 0.0 if scale == "linear" else LOWEST_HZ
    low = max(lowest, float(row_frequencies[row_frequencies >= lowest].min()))
    high = max(float(row_frequencies.max()), low * 1.01)
    places = np.linspace(chosen.place(low), chosen.place(high), _DRAWN_ROWS)
    drawn = axis.imshow(
        # Drawn as one image of even rows: a mesh of a million cells would be slow.
        panel if scale == "linear" else _even_rows(panel, row_frequencies, chosen.hertz(places)),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap=colours,
        vmin=limits[0],
        vmax=limits[1],
        extent=(0.0, seconds, float(places[0]), float(places[-1])),
    )
    ticks = [hertz for hertz in chosen.ticks if low <= hertz <= high]
    axis.set_yticks([chosen.place(hertz) for hertz in ticks], [f"{hertz}" for hertz in ticks])
    axis.set_xlabel("time (s)")
    axis.set_ylabel("frequency (Hz)")
    return drawn


def _even_rows(panel: Array, row_frequencies: Array, hertz: Array) -> Array:
    """Look up rows at given frequencies: the nearest, or the loudest of those that share one, so that none is lost."""
    at = np.interp(hertz, row_frequencies, np.arange(len(row_frequencies)))
    borders = np.concatenate([at[:1], (at[1:] + at[:-1]) / 2, at[-1:]])
    slack = 1e-6  # rows: what rounding does to a frequency on its way to the axis and back
    first, last = np.ceil(borders[:-1] - slack).astype(int), np.floor(borders[1:] + slack).astype(int)
    nearest = np.rint(at).astype(int)
    rows = [panel[a : b + 1].max(axis=0) if b > a else panel[n] for a, b, n in zip(first, last, nearest, strict=True)]
    return np.stack(rows)


def check_output(path: str | Path, *, force: bool = False) -> Path:
    """Refuse, before any work, a figure whose format is not known or that exists.

    Args:
        path: of the figure to write.
        force: whether it may exist.

    Raises:
        UsageError: with the way out.
    """
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{target}: the name of a figure ends in .png or .svg")
    refuse_existing(target, force)
    return target


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure as a PNG, or as an SVG where the name says so; nothing is left behind by an error.

    Raises:
        AudiotransError: if it cannot be written.
    """
    target = _in_a_folder(path)
    kind = "svg" if target.suffix.lower() == ".svg" else "png"
    FigureCanvasAgg(figure)  # makes itself the figure's canvas
    # Without its date and with fixed names inside, the same figure gives the same bytes.
    steady: dict[str, Any] = {"metadata": {"Date": None}} if kind == "svg" else {}
    with replacing(target) as partial, rc_context({"svg.hashsalt": "audiotrans"}):
        figure.savefig(partial, format=kind, **steady)
    return target


def save_image(image: Image.Image, path: str | Path) -> Path:
    """Write an image without axes as a PNG; nothing is left behind by an error.

    Raises:
        UsageError: if the name asks for something else than a PNG.
        AudiotransError: if it cannot be written.
    """
    target = _in_a_folder(path)
    if target.suffix.lower() != ".png":
        raise UsageError(f"{target}: bare pixels are written as .png")
    with replacing(target) as partial:
        image.save(partial, "png", optimize=True)
    return target


def _in_a_folder(path: str | Path) -> Path:
    """Refuse a figure in a folder that does not exist: a misspelt one shall not be made."""
    target = Path(path)
    if not target.parent.is_dir():
        raise AudiotransError(f"cannot write {target}: there is no folder {target.parent}; make it, or write elsewhere")
    return target
