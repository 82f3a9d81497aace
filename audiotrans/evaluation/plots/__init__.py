"""Pictures: one module for each kind, what they share in `canvas`. The only user of matplotlib."""

from __future__ import annotations

from audiotrans.evaluation.plots.canvas import COLOUR_MAP, LOWEST_HZ, RANGE_DB, check_picture
from audiotrans.evaluation.plots.curves import training_curves
from audiotrans.evaluation.plots.figure8 import figure8
from audiotrans.evaluation.plots.figure9 import figure9
from audiotrans.evaluation.plots.progress import training_progress
from audiotrans.evaluation.plots.sheets import sample_sheet
from audiotrans.evaluation.plots.spectrograms import PICTURE_SECONDS, sound_files_picture, spectrogram_picture
from audiotrans.evaluation.plots.strips import STRIP_HZ, STRIP_ROWS, colour_stops, save_strip, strip_levels

__all__ = [
    "COLOUR_MAP",
    "LOWEST_HZ",
    "PICTURE_SECONDS",
    "RANGE_DB",
    "STRIP_HZ",
    "STRIP_ROWS",
    "check_picture",
    "colour_stops",
    "figure8",
    "figure9",
    "sample_sheet",
    "save_strip",
    "sound_files_picture",
    "spectrogram_picture",
    "strip_levels",
    "training_curves",
    "training_progress",
]
