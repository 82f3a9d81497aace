"""Sample sheets: what a model makes of several images, on common axes and one scale of colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from audiotrans.errors import AudiotransError
from audiotrans.evaluation.plots import canvas
from audiotrans.evaluation.plots.canvas import RANGE_DB, Array


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
    figure = canvas.new_figure(len(panels), columns)
    axes = canvas.grid(figure, len(panels), columns)
    for axis, (title, panel) in zip(axes, panels, strict=True):
        drawn = canvas.draw_spectrogram(axis, panel, row_frequencies, panel.shape[1] * seconds_per_frame, (low, high))
        axis.set_title(title)
    figure.colorbar(drawn, ax=axes, label=label)
    return canvas.save(figure, path)


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
