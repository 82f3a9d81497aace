"""Compiled loops of `audiotrans.spectrogram.phase.causal`: one frame at a time, each from the one before.

A bin's *code* is 0 where its phase is settled or where it is too quiet to be integrated, otherwise 8 times its level,
1 .. `LEVELS`, plus the number of its loudest channel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audiotrans.spectrogram.phase.kernels import (
    FLOOR_LOG,
    LEVELS,
    LEVELS_PER_NEPER,
    SILENT_LOG,
    TOLERANCE_LOG,
    Floats,
    compiled,
    random_phase,
    wrapped,
)

Numbers = NDArray[np.int32]


@compiled
def frame_slopes(
    logs: Floats, floor: np.float32, steps: Floats, advance: Floats, at_edge: bool, slopes: Floats
) -> None:
    """Write half the phase steps per hop and per bin of the middle one of three frames.

    Args:
        logs: ``(3, channels, bins)``: the frame before, this one, the one after; this one again for one
            that does not exist.
        floor: natural logarithm below which nothing counts.
        steps: factors of the two gradients, ``(2,)``, see `gaussian.gradient_steps`.
        advance: half of a bin's phase advance per hop, ``(bins,)``.
        at_edge: whether a frame does not exist, so that the gradient along bins is that over one hop.
        slopes: written: along time, along bins, ``(2, channels, bins)``.
    """
    last = logs.shape[2] - 1
    per_bin = np.float32(2 if at_edge else 1) * steps[1]
    for c in range(logs.shape[1]):
        before, here, after = logs[0, c], logs[1, c], logs[2, c]
        along_time, along_bins = slopes[0, c], slopes[1, c]
        for m in range(last + 1):
            along_bins[m] = -per_bin * (max(after[m], floor) - max(before[m], floor))
        for m in range(1, last):
            along_time[m] = advance[m] + steps[0] * (max(here[m + 1], floor) - max(here[m - 1], floor))
        along_time[0], along_time[last] = advance[0], advance[last]  # mirrored there: no slope


@compiled
def fill_queue(logs: Floats, tolerance: np.float32, codes: Numbers, head: Numbers, following: Numbers) -> int:
    """Queue the bins of the frame before by their loudness, and write the codes of this one's.

    Args:
        logs: of both, ``(2, channels, bins)``.
        tolerance: natural logarithm below which nothing is integrated.
        codes: written, ``(bins,)``.
        head: written: first entry of each level's list, -1: none.
        following: written: the entry behind each.

    Returns:
        How many bins want a phase.
    """
    wanted = 0
    head[:] = -1
    for m in range(len(codes)):
        codes[m] = 0
        loudest, earlier = 0, logs[0, 0, m]
        for c in range(1, logs.shape[1]):
            earlier = max(earlier, logs[0, c, m])
            if logs[1, c, m] > logs[1, loudest, m]:
                loudest = c
        if logs[1, loudest, m] >= tolerance:
            codes[m] = (1 + int((logs[1, loudest, m] - tolerance) * LEVELS_PER_NEPER)) * 8 + loudest
            wanted += 1
            if earlier >= tolerance:
                level = 1 + int((earlier - tolerance) * LEVELS_PER_NEPER)
                following[m], head[level] = head[level], m
    return wanted


@compiled
def give(m: int, value: np.float32, phase: Floats, codes: Numbers, head: Numbers, following: Numbers) -> int:
    """Give bin ``m`` its phase and queue it to spread; return its level."""
    level: int = codes[m] // 8
    entry = len(codes) + m
    phase[m] = wrapped(value)
    following[entry], head[level] = head[level], entry
    codes[m] = 0
    return level


@compiled
def spread(
    angles: Floats, slopes: Floats, wanted: int, phases: Floats, codes: Numbers, head: Numbers, following: Numbers
) -> None:
    """Integrate one frame's phases along falling magnitude, from the frame before and from bin to bin.

    Args:
        angles: what the channels keep apart, in the frame before and in this one, ``(2, channels, bins)``.
        slopes: half the step per hop of the frame before, of this one, half the step per bin, ``(3, channels, bins)``.
        wanted: bins that want a phase; what no other bin reaches starts at phase 0, the loudest first.
        phases: of the frame before; of this one, written, ``(2, bins)``.
        codes: see `fill_queue`; 0 once a bin has its phase.
        head: see `fill_queue`; the lists hold ``m`` in the frame before and ``bins + m`` in this one.
        following: the entry behind each, ``(2 bins,)``.
    """
    bins, cursor, phase = len(codes), LEVELS, phases[1]
    while wanted > 0:
        while cursor > 0 and head[cursor] < 0:
            cursor -= 1
        if cursor == 0:
            m = int(codes.argmax())
            cursor = give(m, -angles[1, codes[m] & 7, m], phase, codes, head, following)
            wanted -= 1
            continue
        entry = head[cursor]
        head[cursor] = following[entry]
        m = entry - bins
        if m < 0:
            m, c = entry, codes[entry] & 7
            if codes[m] > 0:
                value = phases[0, m] + angles[0, c, m] - angles[1, c, m] + slopes[0, c, m] + slopes[1, c, m]
                cursor = max(cursor, give(m, value, phase, codes, head, following))
                wanted -= 1
            continue
        for sign in (-1, 1):
            q = m + sign
            if 0 <= q < bins and codes[q] > 0:
                c = codes[q] & 7
                step = angles[1, c, m] - angles[1, c, q] + np.float32(sign) * (slopes[2, c, m] + slopes[2, c, q])
                cursor = max(cursor, give(q, phase[m] + step, phase, codes, head, following))
                wanted -= 1


@compiled
def settle_frames(
    logs: Floats,
    angles: Floats,
    peaks: Floats,
    steps: Floats,
    advance: Floats,
    place: NDArray[np.int64],
    slope: Floats,
    phases: Floats,
) -> None:
    """Settle the phases of frames 1 .. k of k + 2.

    Args:
        logs: natural logarithms of the magnitudes, ``(k + 2, channels, bins)``; for what does not exist before the
            first frame and after the last one, that frame again.
        angles: what the channels keep apart, same shape.
        peaks: the largest logarithm of each frame, ``(k + 2,)``.
        steps: factors of the two gradients, ``(2,)``.
        advance: half of a bin's phase advance per hop, ``(bins,)``.
        place: number of frame 1 in the whole sound; whether frame k is the last one; the seed of the phases of what is
            too quiet to be integrated.
        slope: half the step per hop of frame 0, ``(channels, bins)``; afterwards that of frame k.
        phases: ``(k + 1, bins)``: row 0 is frame 0's, the others are written.
    """
    _, channels, bins = logs.shape
    start, closing, seed = place
    slopes = np.empty((3, channels, bins), np.float32)
    slopes[1] = slope
    codes, head = np.empty(bins, np.int32), np.empty(LEVELS + 1, np.int32)
    following = np.empty(2 * bins, np.int32)
    for n in range(1, len(phases)):
        loudest = max(peaks[n - 1], peaks[n])
        slopes[0] = slopes[1]
        first = start + n == 1
        floor = np.float32(FLOOR_LOG) + max(loudest, peaks[n + 1])
        frame_slopes(logs[n - 1 : n + 2], floor, steps, advance, first or closing > 0, slopes[1:])
        tolerance = np.float32(loudest + TOLERANCE_LOG if loudest > SILENT_LOG else np.inf)
        wanted = fill_queue(logs[n - 1 : n + 1], tolerance, codes, head, following)
        if first:
            head[:] = -1  # nothing lies before it
        for m in range(bins):
            if codes[m] == 0:
                phases[n, m] = random_phase(seed, (start + n - 1) * bins + m)
        spread(angles[n - 1 : n + 1], slopes, wanted, phases[n - 1 : n + 1], codes, head, following)
    slope[:] = slopes[1]
