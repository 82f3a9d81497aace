"""Figures, the only user of matplotlib: of sounds, of a training run, of a comparison; what they share in `canvas`."""

from __future__ import annotations

from audiotrans.evaluation.plots.canvas import RANGE_DB, check_output
from audiotrans.evaluation.plots.comparison import comparison_curves, ends_sheet, progress_sheet, to_pixels
from audiotrans.evaluation.plots.curves import sample_steps, thinned, training_curves, training_progress
from audiotrans.evaluation.plots.spectrograms import (
    STRIP_HZ,
    STRIP_ROWS,
    colour_stops,
    figure8,
    figure9,
    sample_sheet,
    save_strip,
    sound_files_figure,
    spectrogram_figure,
    strip_levels,
)

__all__ = [
    "RANGE_DB",
    "STRIP_HZ",
    "STRIP_ROWS",
    "check_output",
    "colour_stops",
    "comparison_curves",
    "ends_sheet",
    "figure8",
    "figure9",
    "progress_sheet",
    "sample_sheet",
    "sample_steps",
    "save_strip",
    "sound_files_figure",
    "spectrogram_figure",
    "strip_levels",
    "thinned",
    "to_pixels",
    "training_curves",
    "training_progress",
]
