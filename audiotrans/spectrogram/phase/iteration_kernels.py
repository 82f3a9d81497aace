"""Compiled loops of `iterations`. Spectra are float32, real and imaginary parts in turn."""

from __future__ import annotations

import numpy as np

from audiotrans.spectrogram.phase.kernels import Floats, compiled

QUIET = 1e-36
"""Added to squared magnitudes that are divided by: a spectrum of zero stays zero."""


@compiled
def cut_frames(wave: Floats, start: int, hop: int, window: Floats, frames: Floats) -> None:
    """Write the windowed frames from number ``start`` on of ``(channels, samples)`` to ``(channels, n, n_fft)``."""
    for c in range(frames.shape[0]):
        for j in range(frames.shape[1]):
            at = (start + j) * hop
            piece = wave[c, at : at + len(window)]
            for i in range(len(window)):
                frames[c, j, i] = window[i] * piece[i]


@compiled
def add_frames(frames: Floats, start: int, hop: int, window: Floats, wave: Floats) -> None:
    """Add windowed frames ``(channels, n, n_fft)`` to ``(channels, samples)``, the inverse's numerator."""
    for c in range(frames.shape[0]):
        for j in range(frames.shape[1]):
            at = (start + j) * hop
            piece = wave[c, at : at + len(window)]
            for i in range(len(window)):
                piece[i] += window[i] * frames[c, j, i]


@compiled
def extrapolate(added: Floats, weight: Floats, momentum: float, wave: Floats, ahead: Floats) -> None:
    """Finish an inverse and step on: ``new = added weight``, ``ahead = new + momentum (new - wave)``, ``wave = new``.

    Args:
        added: overlapped frames, ``(channels, samples)``; zeroed for the next round.
        weight: 1 over the overlapped squared windows, 0 outside the sound, ``(samples,)``.
        momentum: 0: plain Griffin-Lim.
        wave: the wave before, replaced by the new one.
        ahead: written.
    """
    step = np.float32(momentum)
    for c in range(len(added)):
        for i in range(len(weight)):
            new = added[c, i] * weight[i]
            ahead[c, i] = new + step * (new - wave[c, i])
            wave[c, i] = new
            added[c, i] = 0


@compiled
def impose_row(magnitude: Floats, spectrum: Floats) -> None:
    """Give one frame ``(2 bins,)`` the magnitudes ``(bins,)``, its directions kept."""
    for m in range(len(magnitude)):
        re, im = spectrum[2 * m], spectrum[2 * m + 1]
        scale = magnitude[m] / np.sqrt(re * re + im * im + np.float32(QUIET))
        spectrum[2 * m], spectrum[2 * m + 1] = scale * re, scale * im


@compiled
def impose(magnitude: Floats, start: int, spectrum: Floats) -> None:
    """Give some frames their magnitudes, directions kept.

    Args:
        magnitude: of the whole sound, ``(channels, frames, bins)``.
        start: number of the first of these frames.
        spectrum: ``(channels, n, 2 bins)``, changed.
    """
    for c in range(spectrum.shape[0]):
        for n in range(spectrum.shape[1]):
            impose_row(magnitude[c, start + n], spectrum[c, n])


@compiled
def impose_jointly(magnitude: Floats, mid_side: Floats, start: int, spectrum: Floats) -> None:
    """Move left and right half way to their own magnitudes and half way to those of mid and side.

    Args:
        magnitude: of the whole sound, ``(2, frames, bins)``.
        mid_side: the same of (left + right) / 2 and (left - right) / 2.
        start: number of the first of these frames.
        spectrum: ``(2, n, 2 bins)``, changed.
    """
    half = np.float32(0.5)
    mid, side = np.empty(spectrum.shape[2], np.float32), np.empty(spectrum.shape[2], np.float32)
    for n in range(spectrum.shape[1]):
        left, right = spectrum[0, n], spectrum[1, n]
        for i in range(len(mid)):  # simple loops over few arrays become vector code
            mid[i], side[i] = half * (left[i] + right[i]), half * (left[i] - right[i])
        impose_row(mid_side[0, start + n], mid)
        impose_row(mid_side[1, start + n], side)
        impose_row(magnitude[0, start + n], left)
        impose_row(magnitude[1, start + n], right)
        for i in range(len(mid)):
            left[i], right[i] = half * (left[i] + mid[i] + side[i]), half * (right[i] + mid[i] - side[i])
