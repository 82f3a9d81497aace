"""The paper's Figure 9: the phase of a sound as an 8-bit picture."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from audiotrans.audio import read
from audiotrans.errors import UsageError
from audiotrans.evaluation.plots import canvas
from audiotrans.spectrogram.stft import STFT

Pixels = npt.NDArray[np.uint8]


def figure9(
    sound: str | Path,
    path: str | Path,
    *,
    start_seconds: float = 0.0,
    seconds: float = 3.0,
    channel: int = 1,
    bare: bool = False,
) -> Path:
    """Draw the phase of a sound, -pi as 0 (black) and pi as 255 (white).

    Args:
        sound: a sound file.
        path: of the picture; its folder must exist.
        start_seconds: where the drawn piece begins.
        seconds: how long it is.
        channel: which channel, from 1.
        bare: write the 8-bit pixels alone, one for each bin and frame, without axes; PNG only.

    Returns:
        The path.

    Raises:
        UsageError: for a channel that the sound has not, or a bare SVG.
        AudiotransError: if the sound cannot be read or the picture cannot be written.
    """
    wave, rate = read(sound, start_seconds=start_seconds, seconds=seconds)
    if not 1 <= channel <= len(wave):
        raise UsageError(f"channel {channel}: {sound} has {len(wave)}, counted from 1")
    stft = STFT()
    pixels = phase_pixels(wave[channel - 1], stft)
    if bare:
        return canvas.save_pixels(pixels[::-1], path)
    figure = canvas.new_figure(1, 1, panel_height=6.0)
    (axis,) = canvas.grid(figure, 1, 1)
    hertz = np.arange(stft.bins) * rate / stft.n_fft
    shown = pixels.astype(np.float64)
    drawn = canvas.draw_spectrogram(
        axis, shown, hertz, len(wave[0]) / rate, (0.0, 255.0), scale="linear", colours="gray"
    )
    side = "" if len(wave) == 1 else f", {('left', 'right')[channel - 1] if len(wave) == 2 else f'channel {channel}'}"
    axis.set_title(f"Phase of {Path(sound).name}{side}")
    bar = figure.colorbar(drawn, ax=axis, label="8-bit value (phase in rad)")
    bar.set_ticks([0.0, 127.5, 255.0], labels=["0 (-π)", "127.5 (0)", "255 (π)"])
    return canvas.save(figure, path)


def phase_pixels(wave: npt.NDArray[np.float32], stft: STFT) -> Pixels:
    """Turn the phases of a wave into 8-bit numbers.

    Args:
        wave: shape (samples,).
        stft: the transform.

    Returns:
        Shape (bins, frames), the lowest frequency first: 0 for -pi, 255 for pi, to the nearest.
    """
    phase = torch.angle(stft.forward(torch.from_numpy(wave[None])))[0].double().numpy()
    pixels: Pixels = np.rint((phase + math.pi) * (255.0 / (2.0 * math.pi))).clip(0, 255).astype(np.uint8)
    return pixels
