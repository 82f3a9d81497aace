"""Pictures: sample sheets, spectrograms and training curves. The only user of matplotlib.

Figures are built as objects and drawn by the Agg canvas: no global state, no window, safe in a training process.
Every picture is written beside its place and then renamed, so a reader never meets half a file.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from audiotrans.errors import AudiotransError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

Array = npt.NDArray[np.floating[Any]]

RANGE_DB = 80.0
COLOUR_MAP = "magma"
LOWEST_HZ = 40.0
PICTURE_SECONDS = 60.0
_PICTURE_ROWS = 400
_PICTURE_COLUMNS = 1600
_TICKS_HZ = (50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)


def sample_sheet(
    images: Mapping[str, Array],
    path: str | Path,
    row_frequencies: Array,
    seconds_per_frame: float,
    *,
    columns: int = 4,
) -> Path:
    """Draw several spectrogram images as one PNG, on common axes and one scale of colours.

    Images within [-1, 1] are taken for what the model sees, and the colour bar says so; anything else is taken for dB
    and shown from the loudest value of all down to 80 dB below it.

    Args:
        images: title and image of shape (c, rows, frames); c > 1 gives a panel for every channel.
        path: of the PNG; its folder must exist.
        row_frequencies: Hz of each row, ascending, shape (rows,).
        seconds_per_frame: width of one frame.
        columns: panels side by side.

    Returns:
        The path.

    Raises:
        AudiotransError: where there is no image, a shape does not fit, or the file cannot be written.
    """
    panels = _panels(images, row_frequencies)
    label, low, high = _colour_scale([panel for _, panel in panels])
    figure = _figure(len(panels), columns)
    axes = _grid(figure, len(panels), columns)
    for axis, (title, panel) in zip(axes, panels, strict=True):
        drawn = _draw(axis, panel, row_frequencies, panel.shape[1] * seconds_per_frame, (low, high))
        axis.set_title(title)
    figure.colorbar(drawn, ax=axes, label=label)
    return _save(figure, path)


def spectrogram_picture(waves: Mapping[str, tuple[Array, int]], path: str | Path) -> Path:
    """Draw sounds under each other as spectrograms with a logarithmic frequency axis, to compare input and output.

    Levels are relative to the loudest bin of all sounds; only the first minute of a longer sound is drawn.

    Args:
        waves: title, and wave of shape (channels, samples) with its sample rate in Hz.
        path: of the PNG; its folder must exist.

    Returns:
        The path.

    Raises:
        AudiotransError: where there is no sound, one is empty, or the file cannot be written.
    """
    spectra = {name: _log_spectrogram(name, wave, rate) for name, (wave, rate) in waves.items()}
    if not spectra:
        raise AudiotransError("there is no sound to draw; give at least one")
    loudest = max(float(decibels.max()) for decibels, _, _ in spectra.values())
    figure = _figure(len(spectra), 1)
    axes = _grid(figure, len(spectra), 1)
    for axis, (name, (decibels, hertz, seconds)) in zip(axes, spectra.items(), strict=True):
        drawn = _draw(axis, decibels - loudest, hertz, seconds, (-RANGE_DB, 0.0))
        axis.set_title(name)
    figure.colorbar(drawn, ax=axes, label="level (dB re loudest)")
    return _save(figure, path)


def training_curves(metrics_jsonl: str | Path, path: str | Path) -> Path:
    """Draw every number of a training log over the steps, one small panel each.

    Args:
        metrics_jsonl: one JSON object a line with a `step` and numbers, nested objects as well. A last line that was
            cut off by a killed run is passed over.
        path: of the PNG; its folder must exist.

    Returns:
        The path.

    Raises:
        AudiotransError: where the log cannot be read, holds no numbers, or the picture cannot be written.
    """
    curves = _read_curves(Path(metrics_jsonl))
    columns = min(3, len(curves))
    figure = _figure(len(curves), columns, panel_height=2.2)
    for axis, (name, points) in zip(_grid(figure, len(curves), columns), sorted(curves.items()), strict=True):
        steps, values = zip(*points, strict=True)
        axis.plot(steps, values, linewidth=0.8)
        axis.set_title(name, fontsize="small")
        axis.set_xlabel("step")
        axis.grid(visible=True, alpha=0.3)
    return _save(figure, path)


def _panels(images: Mapping[str, Array], row_frequencies: Array) -> list[tuple[str, Array]]:
    """Split images into titled pictures (rows, frames), one for each channel."""
    panels: list[tuple[str, Array]] = []
    for name, image in images.items():
        if image.ndim != 3 or image.shape[1] != len(row_frequencies) or 0 in image.shape:
            raise AudiotransError(
                f"image {name!r} has shape {image.shape}; wanted is (channels, {len(row_frequencies)} rows, frames)"
            )
        titles = [name] if len(image) == 1 else [f"{name}, channel {index + 1}" for index in range(len(image))]
        panels.extend(zip(titles, image, strict=True))
    if not panels:
        raise AudiotransError("there is no image to draw; give at least one")
    return panels


def _colour_scale(panels: Sequence[Array]) -> tuple[str, float, float]:
    low = min(float(panel.min()) for panel in panels)
    high = max(float(panel.max()) for panel in panels)
    if -1.0 <= low and high <= 1.0:
        return "image value (-1 floor, 1 loudest)", -1.0, 1.0
    return "level (dB)", max(low, high - RANGE_DB) if high > low else high - RANGE_DB, high


def _log_spectrogram(name: str, wave: Array, sample_rate: int) -> tuple[Array, Array, float]:
    """Return dB of shape (bins, columns), Hz of the bins, and the seconds that are drawn."""
    import torch

    from audiotrans.sound.stft import STFT

    if wave.ndim != 2 or 0 in wave.shape:
        raise AudiotransError(f"sound {name!r} has shape {wave.shape}; wanted is (channels, samples), not empty")
    cut = wave[:, : math.ceil(PICTURE_SECONDS * sample_rate)]
    # About 93 ms: long enough to part the harmonics of the lowest violin notes, short enough for attacks.
    n_fft = 2 ** max(6, round(math.log2(sample_rate * 0.093)))
    spectrum = STFT(n_fft, n_fft // 8).forward(torch.from_numpy(cut.mean(axis=0, dtype=np.float32)))
    power = _pool_columns(spectrum.abs().square().numpy())
    hertz = np.arange(len(power)) * sample_rate / n_fft
    return 10.0 * np.log10(np.maximum(power, 1e-12)), hertz, cut.shape[1] / sample_rate


def _pool_columns(power: Array) -> Array:
    """Keep the loudest of neighbouring frames, so that short attacks stay visible where pixels are few."""
    factor = math.ceil(power.shape[1] / _PICTURE_COLUMNS)
    pooled: Array = np.maximum.reduceat(power, np.arange(0, power.shape[1], factor), axis=1)
    return pooled


def _draw(axis: Axes, panel: Array, row_frequencies: Array, seconds: float, limits: tuple[float, float]) -> AxesImage:
    """Draw one picture (rows, frames) over seconds and a logarithmic frequency axis."""
    low = max(LOWEST_HZ, float(row_frequencies[row_frequencies > 0].min()))
    high = float(row_frequencies.max())
    # Rows are looked up on an even logarithmic grid and drawn as one image: a mesh of a million cells would be slow.
    grid = np.geomspace(low, max(high, low * 1.01), _PICTURE_ROWS)
    rows = np.rint(np.interp(grid, row_frequencies, np.arange(len(row_frequencies)))).astype(int)
    drawn = axis.imshow(
        panel[rows],
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap=COLOUR_MAP,
        vmin=limits[0],
        vmax=limits[1],
        extent=(0.0, seconds, math.log10(grid[0]), math.log10(grid[-1])),
    )
    ticks = [hertz for hertz in _TICKS_HZ if grid[0] <= hertz <= grid[-1]]
    axis.set_yticks([math.log10(hertz) for hertz in ticks], [f"{hertz}" for hertz in ticks])
    axis.set_xlabel("time (s)")
    axis.set_ylabel("frequency (Hz)")
    return drawn


def _read_curves(log: Path) -> dict[str, list[tuple[float, float]]]:
    try:
        lines = log.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AudiotransError(f"cannot read the training log {log}: {error}") from error
    curves: dict[str, list[tuple[float, float]]] = {}
    for number, line in enumerate(lines, start=1):
        record = _parse_record(line, log, number, is_last=number == len(lines))
        step = record.pop("step", None)
        if step is not None:
            for name, value in record.items():
                curves.setdefault(name, []).append((step, value))
    if not curves:
        raise AudiotransError(f"{log} holds no numbers with a step; is it the metrics.jsonl of a run?")
    return curves


def _parse_record(line: str, log: Path, number: int, *, is_last: bool) -> dict[str, float]:
    try:
        return _flatten(json.loads(line)) if line.strip() else {}
    except (json.JSONDecodeError, TypeError, AttributeError) as error:
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


def _figure(panels: int, columns: int, panel_height: float = 3.0) -> Figure:
    across = min(columns, panels)
    width = 10.0 if across == 1 else 3.6 * across + 1.0
    return Figure(figsize=(width, panel_height * math.ceil(panels / across)), layout="constrained")


def _grid(figure: Figure, panels: int, columns: int) -> list[Axes]:
    across = min(columns, panels)
    down = math.ceil(panels / across)
    return [figure.add_subplot(down, across, index + 1) for index in range(panels)]


def _save(figure: Figure, path: str | Path) -> Path:
    """Write a PNG beside its place and rename it."""
    target = Path(path)
    partial = target.with_name(f".{target.stem}.partial.png")
    try:
        FigureCanvasAgg(figure)  # makes itself the figure's canvas
        figure.savefig(partial, format="png")
        os.replace(partial, target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise AudiotransError(f"cannot write the picture {target}: {error.strerror or error}") from error
    return target
