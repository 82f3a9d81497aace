"""Bare spectrograms for the listening page: every pixel is sound, the page itself draws the axes.

So the axes' text stays readable on a phone and follows the page's colours, and a place in the picture is a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from PIL import Image

from audiotrans.errors import AudiotransError
from audiotrans.evaluation.plots.canvas import COLOUR_MAP, RANGE_DB, Array

STRIP_HZ = (50.0, 20_000.0)
"""Lowest and highest edge of every strip, whatever the sound's rate: strips under each other compare."""

STRIP_ROWS = 192
STRIP_COLUMNS = 1200

_COLOURS = 96  # steps of less than 1 dB, which no eye parts; few enough for small files
_CHUNK_SECONDS = 30.0
_FLOOR_POWER = 1e-12


def strip_levels(wave: Array, sample_rate: int) -> Array:
    """Measure a sound's spectrum over time on a logarithmic frequency axis.

    Args:
        wave: shape (channels, samples), not empty.
        sample_rate: in Hz.

    Returns:
        dB of shape (`STRIP_ROWS`, columns), the lowest frequency first; at most `STRIP_COLUMNS` columns, of equal
        width, which cover the sound from its first sample to its last. 0 dB is a bin of power 1.

    Raises:
        AudiotransError: for an empty wave.
    """
    if wave.ndim != 2 or 0 in wave.shape:
        raise AudiotransError(f"sound has shape {wave.shape}; wanted is (channels, samples), not empty")
    # About 93 ms: long enough to part the harmonics of the lowest violin notes, short enough for attacks.
    n_fft = 2 ** max(6, round(math.log2(sample_rate * 0.093)))
    samples = wave.shape[1]
    long = samples / (n_fft // 8) > 4 * STRIP_COLUMNS
    hop = n_fft // 2 if long else n_fft // 8
    columns = min(STRIP_COLUMNS, max(1, samples // hop))
    levels = np.full((STRIP_ROWS, columns), 10.0 * math.log10(_FLOOR_POWER))
    for frame, power in _powers(wave, n_fft, hop, round(_CHUNK_SECONDS * sample_rate)):
        rows = 10.0 * np.log10(np.maximum(_pool_rows(power, sample_rate, n_fft), _FLOOR_POWER))
        at = np.minimum((frame + np.arange(rows.shape[1])) * hop * columns // samples, columns - 1)
        for column in np.unique(at):
            # The loudest of the frames that share a column, so that short attacks stay visible.
            levels[:, column] = np.maximum(levels[:, column], rows[:, at == column].max(axis=1))
    return levels


def save_strip(levels: Array, path: Path, loudest_db: float) -> Path:
    """Write a strip as a PNG.

    Args:
        levels: from `strip_levels`.
        path: of the PNG; its folder must exist.
        loudest_db: level of the lightest colour; the darkest is `RANGE_DB` below it.

    Returns:
        The path.

    Raises:
        AudiotransError: the file cannot be written.
    """
    share = np.clip((levels - loudest_db) / RANGE_DB + 1.0, 0.0, 1.0)
    picture = Image.fromarray(np.rint(share[::-1] * (_COLOURS - 1)).astype(np.uint8))
    picture.putpalette(_palette(_COLOURS).tobytes())
    try:
        picture.save(path, format="png", optimize=True)
    except OSError as error:
        raise AudiotransError(f"cannot write the picture {path}: {error.strerror or error}") from error
    return path


def colour_stops(count: int = 9) -> list[str]:
    """Return the colours of a strip from the darkest to the lightest, as ``#rrggbb``, for a bar beside it."""
    return ["#" + bytes(colour).hex() for colour in _palette(count)]


def _palette(count: int) -> npt.NDArray[np.uint8]:
    colours = np.asarray(colormaps[COLOUR_MAP](np.linspace(0.0, 1.0, count)))
    palette: npt.NDArray[np.uint8] = np.rint(colours[:, :3] * 255).astype(np.uint8)
    return palette


def _powers(wave: Array, n_fft: int, hop: int, chunk: int) -> Iterator[tuple[int, Array]]:
    """Yield the number of the first frame and the power (bins, frames), piece by piece: an hour must fit in memory."""
    import torch

    from audiotrans.spectrogram.stft import STFT

    stft = STFT(n_fft, hop)
    step = max(1, chunk // hop) * hop
    for start in range(0, wave.shape[1], step):
        begin = max(0, start - n_fft)  # a multiple of the hop; the margin keeps the piece's ends out of its frames
        piece = wave[:, begin : start + step + n_fft].mean(axis=0, dtype=np.float32)
        power = stft.forward(torch.from_numpy(piece)).abs().square().numpy()
        first = (start - begin) // hop
        yield start // hop, power[:, first : first + step // hop]


def _pool_rows(power: Array, sample_rate: int, n_fft: int) -> Array:
    """Take each row's loudest bin; between bins, where rows are finer than they are, draw a line."""
    edges = np.geomspace(*STRIP_HZ, STRIP_ROWS + 1) * n_fft / sample_rate  # in bins
    rows = np.full((STRIP_ROWS, power.shape[1]), _FLOOR_POWER)
    for row, (low, high) in enumerate(pairwise(edges)):
        first, last = math.ceil(low), math.ceil(high)
        if last >= len(power):
            break
        if last > first:
            rows[row] = power[first:last].max(axis=0)
        else:
            part = (low + high) / 2 - (first - 1)
            rows[row] = (1 - part) * power[first - 1] + part * power[first]
    return rows
