"""Compiled loops for what sets channels apart. Spectra are float32, real and imaginary parts in turn."""

from __future__ import annotations

import math

import numpy as np

from audiotrans.spectrogram.phase.kernels import TINY, Floats, compiled, sine_cosine


@compiled
def angle_of(re: np.float32, im: np.float32) -> np.float32:
    """Return the angle of a float32 number to 2e-6 radians, 0 for zero; in plain arithmetic, which vectorises."""
    a, b = abs(re), abs(im)
    small, large = (a, b) if a < b else (b, a)
    x = small / (large + np.float32(TINY))
    y = x * x
    r = np.float32(-0.01172120) * y + np.float32(0.05265332)
    r = ((r * y - np.float32(0.11643287)) * y + np.float32(0.19354346)) * y - np.float32(0.33262347)
    r = (r * y + np.float32(0.99997726)) * x
    r = np.float32(math.pi / 2) - r if b > a else r
    r = np.float32(math.pi) - r if re < 0 else r
    return -r if im < 0 else r


@compiled
def angles(spectrum: Floats, angle: Floats) -> None:
    """Write the angles of ``(channels, frames, 2 bins)`` in the centred convention, ``(channels, frames, bins)``."""
    for c in range(angle.shape[0]):
        for n in range(angle.shape[1]):
            row, found = spectrum[c, n], angle[c, n]
            for m in range(len(found)):
                sign = np.float32(1 - 2 * (m & 1))
                found[m] = angle_of(sign * row[2 * m], sign * row[2 * m + 1])


@compiled
def turn(phase: Floats, angle: Floats, spectrum: Floats) -> None:
    """Write ``exp(j (phase + angle)) (-1)^bin``.

    Args:
        phase: common to the channels, ``(frames, bins)``.
        angle: of each channel, ``(channels, frames, bins)``; both within -pi..pi.
        spectrum: written, ``(channels, frames, 2 bins)``.
    """
    for c in range(angle.shape[0]):
        for n in range(angle.shape[1]):
            row, common, own = spectrum[c, n], phase[n], angle[c, n]
            for m in range(len(own)):
                a, b = sine_cosine(common[m])
                d, e = sine_cosine(own[m])
                sign = np.float32(1 - 2 * (m & 1))
                row[2 * m], row[2 * m + 1] = sign * (b * e - a * d), sign * (a * e + b * d)


@compiled
def mid_side_magnitude(magnitude: Floats, angle: Floats, mid_side: Floats) -> None:
    """Write the magnitudes of (left + right) / 2 and (left - right) / 2 of ``(2, frames, bins)`` and angles alike.

    From the half angle h between the two, ``|M|^2 = ((L + R)^2 cos^2 h + (L - R)^2 sin^2 h) / 4``, and with cos and sin
    exchanged ``|S|^2``: no small differences of large numbers.
    """
    half = np.float32(0.5)
    for n in range(magnitude.shape[1]):
        for m in range(magnitude.shape[2]):
            sine, cosine = sine_cosine(half * (angle[0, n, m] - angle[1, n, m]))
            total, rest = magnitude[0, n, m] + magnitude[1, n, m], magnitude[0, n, m] - magnitude[1, n, m]
            a, b, c, d = total * cosine, rest * sine, total * sine, rest * cosine
            mid_side[0, n, m] = half * np.sqrt(a * a + b * b)
            mid_side[1, n, m] = half * np.sqrt(c * c + d * d)


@compiled
def dress(magnitude: Floats, spectrum: Floats) -> None:
    """Give the bins of ``(channels, frames, 2 bins)`` their magnitudes; what is zero gets phase 0."""
    tiny = np.float32(TINY)
    for c in range(spectrum.shape[0]):
        for n in range(spectrum.shape[1]):
            row, wanted = spectrum[c, n], magnitude[c, n]
            for m in range(len(wanted)):
                power = row[2 * m] * row[2 * m] + row[2 * m + 1] * row[2 * m + 1]
                scale = wanted[m] / np.sqrt(max(power, tiny))
                row[2 * m] = row[2 * m] * scale if power > tiny else wanted[m]
                row[2 * m + 1] = row[2 * m + 1] * scale if power > tiny else np.float32(0)
