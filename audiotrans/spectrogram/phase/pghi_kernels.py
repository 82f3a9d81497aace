"""Compiled loops of `audiotrans.spectrogram.phase.gradients`: phase gradient integration over a whole sound.

The plane of bins is laid out flat with a border of one bin around it, so that no neighbour needs a bounds check:
bin m of frame n is entry ``(n + 1) (bins + 2) + m + 1``. A bin's *code* is 0 where its phase is settled or where it is
too quiet to be integrated, otherwise 8 times its level, 1 .. `LEVELS`, plus the number of its loudest channel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audiotrans.spectrogram.phase.kernels import (
    LEVELS,
    LEVELS_PER_NEPER,
    TOLERANCE_LOG,
    Floats,
    compiled,
    random_phase,
    wrapped,
)

Codes = NDArray[np.int16]
Indices = NDArray[np.int64]
Links = NDArray[np.int32]


@compiled
def fill_slopes(
    logs: Floats,
    top: np.float32,
    angle: Floats,
    steps: Floats,
    advance: Floats,
    number: int,
    slopes: Floats,
    codes: Codes,
) -> None:
    """Write what the integration needs of one channel.

    Args:
        logs: natural logarithms of the magnitudes, ``(frames, bins)``.
        top: the largest of all channels.
        angle: phases that this channel keeps apart from the others, ``(frames, bins)``.
        steps: factors of the two gradients, ``(2,)``, see `gaussian.gradient_steps`.
        advance: half of a bin's phase advance per hop, ``(bins,)``.
        number: of the channel; the first one is 0 and comes first.
        slopes: written, ``(entries, channels, 3)``: half the step per hop, half the step per bin, the angle.
        codes: written, ``(entries,)``, where this channel is the loudest so far.
    """
    frames, bins = logs.shape
    low, per_neper = top + np.float32(TOLERANCE_LOG), np.float32(LEVELS_PER_NEPER)
    for n in range(frames):
        before, here, after = logs[max(n - 1, 0)], logs[n], logs[min(n + 1, frames - 1)]
        edge = np.float32(2 if n in (0, frames - 1) else 1)  # one neighbour missing: a difference over one hop only
        start = (n + 1) * (bins + 2) + 1
        slope, code = slopes[start : start + bins, number], codes[start : start + bins]
        for m in range(bins):
            slope[m, 1] = -edge * steps[1] * (after[m] - before[m])
            level = np.int16(max(np.float32(0), (here[m] - low) * per_neper + np.float32(1)))
            code[m] = level * 8 + number if level > code[m] // 8 else code[m]
        for m in range(1, bins - 1):
            slope[m, 0] = advance[m] + steps[0] * (here[m + 1] - here[m - 1])
        slope[0, 0], slope[bins - 1, 0] = advance[0], advance[bins - 1]  # mirrored there: no slope
        for m in range(bins):
            slope[m, 2] = angle[n, m]


@compiled
def integrate(
    seed: int, width: int, slopes: Floats, codes: Codes, phase: Floats, head: Links, following: Links
) -> None:
    """Spread phases from one bin along falling magnitude to all that hangs together with it.

    A step follows the slopes of the channel that is the loudest where it leads to. The other channels keep their
    angles to it.

    Args:
        seed: entry to start from: there that channel's phase is 0.
        width: entries per frame.
        slopes: as `fill_slopes` wrote them.
        codes: set to 0 where a phase has been given.
        phase: written, ``(entries,)``: what to add to every channel's angle.
        head: first entry of each level's list, -1: none; all -1 before and after.
        following: the entry behind each.
    """
    cursor = codes[seed] // 8
    phase[seed] = -slopes[seed, codes[seed] % 8, 2]
    codes[seed] = 0
    head[cursor], following[seed] = seed, -1
    while cursor > 0:
        p = head[cursor]
        if p < 0:
            cursor -= 1
            continue
        head[cursor] = following[p]
        for side in range(4):
            along = side & 1  # 0: in time, 1: in frequency
            sign = 1 - (side & 2)
            q = p + sign * (1 if along else width)
            code = codes[q]
            if code > 0:
                here, there = slopes[p, code & 7], slopes[q, code & 7]
                step = here[2] - there[2] + np.float32(sign) * (here[along] + there[along])
                phase[q] = wrapped(phase[p] + step)
                codes[q] = 0
                level = code >> 3
                following[q], head[level] = head[level], q
                cursor = max(cursor, level)


@compiled
def loudest_first(codes: Codes) -> Indices:
    """Return the entries that still want a phase, by falling level (a counting sort)."""
    count = np.zeros(LEVELS + 2, np.int64)
    for p in range(len(codes)):
        count[LEVELS - codes[p] // 8] += 1  # what wants none lands in the last place
    total = 0
    for rank in range(LEVELS + 1):
        count[rank], total = total, total + count[rank]
    order = np.empty(count[LEVELS], np.int64)
    for p in range(len(codes)):
        if codes[p] > 0:
            rank = LEVELS - codes[p] // 8
            order[count[rank]] = p
            count[rank] += 1
    return order


@compiled
def integrate_all(
    first: int, width: int, seed: int, slopes: Floats, codes: Codes, phase: Floats, following: Links
) -> None:
    """Integrate every connected part, the loudest first; what is too quiet gets random phases.

    Args:
        first: entry of the loudest bin.
        width: entries per frame.
        seed: of the random phases.
        slopes: as `fill_slopes` wrote them.
        codes: as `fill_slopes` wrote them; all 0 afterwards.
        phase: written, ``(entries,)``, -pi..pi.
        following: room for the lists, ``(entries,)``.
    """
    for p in range(len(codes)):
        if codes[p] == 0:
            phase[p] = random_phase(seed, p)
    head = np.full(LEVELS + 1, -1, np.int32)
    integrate(first, width, slopes, codes, phase, head, following)
    for p in loudest_first(codes):
        if codes[p] > 0:
            integrate(p, width, slopes, codes, phase, head, following)
