"""Compiled inner loops of the phase methods. Imported only where one of them runs: numba takes its time to load.

Arrays are frames-major, ``(frames, bins)``, contiguous float32; spectra hold real and imaginary parts in turn,
``(frames, 2 bins)``. Phases are those of the *centred* convention, in which
time 0 is the window's centre; `audiotrans.spectrogram.stft` starts its transforms at the window's first sample, which
multiplies bin m by (-1)^m.

In both integrations a bin's *code* is 0 where its phase is settled or where it is too quiet to be integrated, otherwise
8 times its level, 1 .. `LEVELS`, plus the number of its loudest channel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Codes = NDArray[np.int16]
Numbers = NDArray[np.int32]
Function = TypeVar("Function", bound=Callable[..., object])

LEVELS = 128
"""Buckets of the queues: steps of 0.9 dB over the 120 dB that are integrated. Finer ones cost time and win nothing."""

TOLERANCE_LOG = math.log(1e-6)
"""Bins this far below the loudest get random phases: nothing that can be heard depends on them."""

LEVELS_PER_NEPER = (LEVELS - 1) / -TOLERANCE_LOG

FLOOR_LOG = math.log(1e-10)
"""Logarithms are cut off this far below the loudest bin around: the gradients of nothing are nothing."""

TINY = 1e-37
"""Smaller magnitudes count as this, which float32 can still hold in full precision."""

SILENT_LOG = math.log(1.01 * TINY)
"""What has no louder bin is silence."""

QUIET = 1e-36
"""Added to squared magnitudes that are divided by: a spectrum of zero stays zero."""

TURN = 2 * math.pi


_njit: Any = numba.njit  # typed in some versions of numba, not in others


def compiled(function: Function) -> Function:
    """Compile on first use, and keep the machine code on disk where there is a place for it."""
    try:
        made: Function = _njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # neither the package's folder nor the user's own cache can be written
        made = _njit(nogil=True, error_model="numpy")(function)
    return made


@compiled
def wrapped(phase: np.float32) -> np.float32:
    """Bring a phase to -pi..pi: float32 phases keep their accuracy however long the sound."""
    return np.float32(phase - TURN * np.rint(phase / TURN))


@compiled
def random_phase(seed: int, index: int) -> np.float32:
    """Return a phase that depends on its two arguments alone (SplitMix64's mixing function on a counter)."""
    z = np.uint64(seed) * np.uint64(0xD1342543DE82EF95) + np.uint64(index) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.float32((np.float64(z >> np.uint64(11)) / 9007199254740992.0 - 0.5) * TURN)


@compiled
def sine_cosine(phase: np.float32) -> tuple[np.float32, np.float32]:
    """Return sine and cosine of a float32 phase within -pi..pi, to 1e-7; in plain arithmetic, which vectorises."""
    turned = phase * np.float32(2 / math.pi) + np.float32(12582912.0)  # 1.5 * 2^23: rounds to whole quarter turns
    quarter = turned - np.float32(12582912.0)
    r = phase - quarter * np.float32(1.5707964) + quarter * np.float32(4.371139e-08)
    x = r * r
    sine = r + r * x * (np.float32(-0.16666655) + x * (np.float32(0.0083321608) - x * np.float32(0.00019515296)))
    cosine = np.float32(1) - x * np.float32(0.5)
    cosine += x * x * (np.float32(0.041666646) + x * (np.float32(-0.0013887316) + x * np.float32(2.443315e-05)))
    odd = abs(quarter) == np.float32(1)
    sign = np.float32(-1) if abs(quarter) == np.float32(2) else np.float32(1)
    return (quarter * cosine if odd else sign * sine), (-quarter * sine if odd else sign * cosine)


@compiled
def polar(magnitude: Floats, phase: Floats, spectrum: Floats) -> None:
    """Write ``magnitude exp(j phase) (-1)^bin``: a spectrum of frames that start half a window before their centre.

    Args:
        magnitude: ``(frames, bins)``.
        phase: centred convention, -pi..pi, ``(frames, bins)``.
        spectrum: ``(frames, 2 bins)``, real and imaginary parts in turn.
    """
    for n in range(magnitude.shape[0]):
        for m in range(magnitude.shape[1]):
            sine, cosine = sine_cosine(phase[n, m])
            size = magnitude[n, m] * np.float32(1 - 2 * (m & 1))
            spectrum[n, 2 * m] = size * cosine
            spectrum[n, 2 * m + 1] = size * sine


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
    """Write what the integration over a whole sound needs of one channel.

    The plane of bins is laid out flat with a border of one bin around it, so that no neighbour needs a bounds check:
    bin m of frame n is entry ``(n + 1) (bins + 2) + m + 1``.

    Args:
        logs: natural logarithms of the magnitudes, ``(frames, bins)``.
        top: the largest of all channels.
        angle: phases that this channel keeps apart from the others, ``(frames, bins)``.
        steps: factors of the two gradients, ``(2,)``, see `pghi.gradient_steps`.
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
    seed: int, width: int, slopes: Floats, codes: Codes, phase: Floats, head: Numbers, following: Numbers
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
def loudest_first(codes: Codes) -> NDArray[np.int64]:
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
    first: int, width: int, seed: int, slopes: Floats, codes: Codes, phase: Floats, following: Numbers
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


@compiled
def frame_slopes(
    logs: Floats, floor: np.float32, steps: Floats, advance: Floats, at_edge: bool, slopes: Floats
) -> None:
    """Write half the phase steps per hop and per bin of the middle one of three frames.

    Args:
        logs: ``(3, channels, bins)``: the frame before, this one, the one after; this one again for one
            that does not exist.
        floor: natural logarithm below which nothing counts.
        steps: factors of the two gradients, ``(2,)``, see `pghi.gradient_steps`.
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
        codes: as `fill_queue` wrote them; 0 once a bin has its phase.
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
