"""Sounds as spectrograms, under each other, to compare input and output."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from audiotrans.audio import find_audio, read
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.evaluation.plots import canvas
from audiotrans.evaluation.plots.canvas import RANGE_DB, Array

PICTURE_SECONDS = 60.0
MOST_PANELS = 64
_ACROSS = 4
_PICTURE_COLUMNS = 1600


def spectrogram_picture(
    waves: Mapping[str, tuple[Array, int]], path: str | Path, *, columns: int = 1, scale: str = "log"
) -> Path:
    """Draw sounds as spectrograms on one scale of colours, to compare input and output.

    Levels are relative to the loudest bin of all sounds; only the first minute of a longer sound is drawn.

    Args:
        waves: title, and wave of shape (channels, samples) with its sample rate in Hz.
        path: of the picture; its folder must exist.
        columns: panels side by side.
        scale: of the frequency axis: ``log``, ``mel`` or ``linear``.

    Returns:
        The path.

    Raises:
        UsageError: for an unknown scale.
        AudiotransError: where there is no sound, one is empty, or the file cannot be written.
    """
    spectra = {name: log_spectrogram(name, wave, rate) for name, (wave, rate) in waves.items()}
    if not spectra:
        raise AudiotransError("there is no sound to draw; give at least one")
    loudest = max(float(decibels.max()) for decibels, _, _ in spectra.values())
    figure = canvas.new_figure(len(spectra), columns)
    axes = canvas.grid(figure, len(spectra), columns)
    for axis, (name, (decibels, hertz, seconds)) in zip(axes, spectra.items(), strict=True):
        drawn = canvas.draw_spectrogram(axis, decibels - loudest, hertz, seconds, (-RANGE_DB, 0.0), scale=scale)
        axis.set_title(name)
    canvas.label_outer(axes, columns)
    figure.colorbar(drawn, ax=axes, label="level (dB re loudest)")
    return canvas.save(figure, path)


def sound_files_picture(
    sounds: Sequence[str | Path],
    path: str | Path,
    *,
    columns: int | None = None,
    start_seconds: float = 0.0,
    seconds: float = PICTURE_SECONDS,
    scale: str = "log",
) -> Path:
    """Draw sound files by `spectrogram_picture`, each under its file's name.

    Args:
        sounds: files, folders and patterns.
        path: of the picture; its folder must exist.
        columns: panels side by side; None makes even rows of 4 at most.
        start_seconds: where the drawn piece begins.
        seconds: how long it is, a minute at most.
        scale: of the frequency axis: ``log``, ``mel`` or ``linear``.

    Returns:
        The path.

    Raises:
        UsageError: if no sound is found, or there are more than a picture can hold.
        AudiotransError: if a sound cannot be read or the picture cannot be written.
    """
    files = find_audio(sounds)
    if len(files) > MOST_PANELS:
        raise UsageError(f"{len(files)} sounds: a picture holds {MOST_PANELS} at most")
    same = len({file.name for file in files}) < len(files)
    titles = [f"{file.parent.name}/{file.name}" if same else file.name for file in files]
    piece = min(seconds, PICTURE_SECONDS)
    waves = {}
    for title, file in zip(titles, files, strict=True):
        name = title if title not in waves else str(file)
        waves[name] = read(file, start_seconds=start_seconds, seconds=piece)
    even = math.ceil(len(files) / math.ceil(len(files) / _ACROSS))
    return spectrogram_picture(waves, path, columns=columns or even, scale=scale)


def log_spectrogram(name: str, wave: Array, sample_rate: int) -> tuple[Array, Array, float]:
    """Measure the first minute of a sound for a picture.

    Args:
        name: of the sound, for messages.
        wave: shape (channels, samples); the mean over the channels is taken.
        sample_rate: Hz.

    Returns:
        dB of shape (bins, columns), Hz of the bins, and the seconds that are drawn.

    Raises:
        AudiotransError: where the sound is empty.
    """
    import torch

    from audiotrans.spectrogram.stft import STFT

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
