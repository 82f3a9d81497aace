"""Pitch tracks and pitch errors of two sounds, frame by frame and note by note; vibrato; scores in CSV files."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audiotrans.errors import AudiotransError
from audiotrans.evaluation.wave_checks import Wave, mono, validate, validate_wave

Array = npt.NDArray[np.floating[Any]]

FMIN_HZ = 60.0
FMAX_HZ = 3200.0
WINDOW_SECONDS = 0.09
OFF_CENTS = 50.0
# Frames further below the loudest than this are room and hiss, whatever the tracker makes of them.
_QUIET_DB = 50.0
_HARMONICS = 5
_MEDIAN_SECONDS = 0.33
_SAME_NOTE_CENTS = 60.0
_NOTE_SECONDS = 0.3
_COLUMNS = {
    "onset": ("start_s", "onset_s", "start", "onset"),
    "duration": ("duration_s", "duration"),
    "midi": ("midi", "pitch"),
}


@dataclass(frozen=True)
class PitchTrack:
    """Fundamental frequency over time.

    Attributes:
        seconds: centre of each frame, shape (frames,).
        hertz: fundamental in Hz, nan where the frame has no pitch; the same shape.
    """

    seconds: Array
    hertz: Array


@dataclass(frozen=True)
class PitchError:
    """Pitch error of one sound against another.

    Attributes:
        median_cents: median absolute difference over the frames voiced in both, nan without any.
        fraction_off: share of those frames, 0 to 1, that differ by more than 50 cents.
        frames: how many frames are voiced in both.
    """

    median_cents: float
    fraction_off: float
    frames: int


@dataclass(frozen=True)
class Note:
    """One note of a score: seconds from the start, seconds it lasts, MIDI number (69 is 440 Hz)."""

    onset_seconds: float
    duration_seconds: float
    midi: float


def pitch_track(wave: Wave, sample_rate: int, *, fmin: float = FMIN_HZ, fmax: float = FMAX_HZ) -> PitchTrack:
    """Track the pitch of the mono mix.

    pYIN finds the note to a tenth of a semitone; the mean of its first partials, each over its number and weighted by
    its magnitude, then gives the cents that count here. On stiff strings, whose partials lie a little high, a change
    of their balance alone therefore moves the result by a few cents.

    Args:
        wave: shape (channels, samples); one note at a time, several sounding together follow the strongest.
        sample_rate: Hz.
        fmin: lowest pitch looked for, Hz.
        fmax: highest pitch looked for, Hz.

    Returns:
        A frame about every 23 ms.

    Raises:
        AudiotransError: where the wave is empty or not finite.

    Source:
        Mauch and Dixon, pYIN, ICASSP 2014, as librosa implements it.
    """
    import librosa

    validate_wave(wave)
    samples = mono(wave)
    window = 2 ** max(6, round(math.log2(sample_rate * WINDOW_SECONDS)))
    hop = window // 4
    low = max(fmin, 2.5 * sample_rate / window)
    high = min(fmax, 0.45 * sample_rate)
    hertz, voiced, _ = librosa.pyin(samples, fmin=low, fmax=high, sr=sample_rate, frame_length=window, hop_length=hop)
    spectra = _frame_spectra(samples, window, hop, len(hertz))
    energy = np.square(spectra).sum(axis=1)
    pitched = voiced & (energy > energy.max() * 10.0 ** (-_QUIET_DB / 10.0))
    fine = np.full(len(hertz), np.nan)
    for frame in np.flatnonzero(pitched):
        fine[frame] = _refine(spectra[frame], float(hertz[frame]), sample_rate)
    return PitchTrack(np.arange(len(hertz)) * hop / sample_rate, fine)


def _frame_spectra(samples: Array, window: int, hop: int, frames: int) -> Array:
    """Return magnitudes of Hann-windowed frames centred where pYIN centres its own; shape (frames, 2 window + 1)."""
    # Four times the window: the parabola through three bins then misses a peak by less than a tenth of a cent.
    padded = np.pad(samples, (window // 2, window // 2 + hop))
    cut = np.lib.stride_tricks.sliding_window_view(padded, window)[: frames * hop : hop]
    magnitude: Array = np.abs(np.fft.rfft(cut * np.hanning(window), 4 * window, axis=1))
    return magnitude


def _refine(magnitude: Array, hertz: float, sample_rate: int) -> float:
    """Average the partials near the multiples of a rough pitch, weighted by their magnitude."""
    bin_hz = sample_rate / (2 * (len(magnitude) - 1))
    found, weights = [], []
    for harmonic in range(1, _HARMONICS + 1):
        # A third of a semitone on each side: more than pYIN's step, less than the way to a neighbouring note.
        low = math.floor(harmonic * hertz * 0.98 / bin_hz)
        high = math.ceil(harmonic * hertz * 1.02 / bin_hz) + 1
        if high >= len(magnitude):
            break
        peak = low + int(np.argmax(magnitude[low:high]))
        found.append((peak + _parabola(magnitude[peak - 1 : peak + 2])) * bin_hz / harmonic)
        weights.append(float(magnitude[peak]))
    return float(np.average(found, weights=weights)) if found and sum(weights) > 0 else hertz


def _parabola(three: Array) -> float:
    """Return where, in bins from the middle one, the parabola through three log magnitudes has its top."""
    left, middle, right = np.log(np.maximum(three, 1e-12))
    curve = left - 2.0 * middle + right
    # No peak here: the highest bin was at the edge of the search, a slope of something else.
    if curve >= 0.0:
        return 0.0
    return float(np.clip(0.5 * (left - right) / curve, -0.5, 0.5))


def cents(first: Array, second: Array) -> Array:
    """Return the signed distance from the first frequencies (Hz) to the second, in cents."""
    distance: Array = 1200.0 * np.log2(second / first)
    return distance


def pitch_error(reference: Wave, estimate: Wave, sample_rate: int) -> PitchError:
    """Compare the pitch of two sounds over the frames in which both have one.

    Args:
        reference: shape (channels, samples); one note at a time.
        estimate: the same shape.
        sample_rate: Hz.

    Raises:
        AudiotransError: where the waves cannot be compared.
    """
    validate(reference, estimate, sample_rate)
    return compare_tracks(pitch_track(reference, sample_rate), pitch_track(estimate, sample_rate))


def compare_tracks(reference: PitchTrack, estimate: PitchTrack) -> PitchError:
    """Compare two tracks of the same frames, for callers that meet one sound several times."""
    distance = np.abs(cents(reference.hertz, estimate.hertz))
    distance = distance[np.isfinite(distance)]
    if not len(distance):
        return PitchError(math.nan, math.nan, 0)
    return PitchError(float(np.median(distance)), float(np.mean(distance > OFF_CENTS)), len(distance))


def vibrato_extent_cents(track: PitchTrack) -> float:
    """Compute the vibrato extent of lasting notes in cents: how far their pitch swings.

    A note is a stretch of at least `_NOTE_SECONDS` in which the pitch stays within `_SAME_NOTE_CENTS` of its median
    over a third of a second. Its first and last frames, where the window spans two notes, and a straight glide
    are left out. Where several notes sound, the tracker's jumps between them count as well.

    Args:
        track: from `pitch_track`.

    Returns:
        Root mean square in cents, times the square root of two: the extent to each side where it is a sine. The mean
        over notes, weighted by their lengths; nan without a lasting note.
    """
    semitones = 12.0 * np.log2(track.hertz / 440.0)
    swings, lengths = [], []
    for first, last in _lasting_notes(track.seconds, semitones):
        frames = np.arange(first + 1, last - 1)
        line = np.polyval(np.polyfit(frames, semitones[frames], 1), frames)
        swings.append(100.0 * math.sqrt(2.0 * float(np.mean(np.square(semitones[frames] - line)))))
        lengths.append(len(frames))
    return float(np.average(swings, weights=lengths)) if swings else math.nan


def _lasting_notes(seconds: Array, semitones: Array) -> list[tuple[int, int]]:
    """Return the first frame of every lasting note, and one past its last."""
    from scipy.ndimage import median_filter

    step = float(seconds[1] - seconds[0]) if len(seconds) > 1 else 1.0
    pitched = np.isfinite(semitones)
    filled = np.where(pitched, semitones, 1000.0)  # far from every note: silence is none
    middle = median_filter(filled, 2 * round(_MEDIAN_SECONDS / step / 2) + 1, mode="nearest")
    same = pitched & (np.abs(filled - middle) <= _SAME_NOTE_CENTS / 100.0)
    breaks = np.flatnonzero(~same[1:] | ~same[:-1] | (np.abs(np.diff(middle)) > _SAME_NOTE_CENTS / 100.0)) + 1
    borders = [0, *breaks.tolist(), len(semitones)]
    return [(a, b) for a, b in pairwise(borders) if (b - a) * step >= _NOTE_SECONDS and b - a >= 5]


def read_notes(path: str | Path) -> list[Note]:
    """Read a score from a CSV file with a header.

    Columns: the onset (`start_s` or `onset_s`), the duration (`duration_s`), both in seconds, and `midi`. Others are
    passed over.

    Raises:
        AudiotransError: where the file cannot be read, lacks a column or holds something that is not a number.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AudiotransError(f"cannot read the notes in {path}: {error}") from error
    return [_parse_note(row, path, number) for number, row in enumerate(rows, start=2)]


def _parse_note(row: dict[str, str], path: str | Path, number: int) -> Note:
    try:
        onset, duration, midi = (float(_cell(row, names)) for names in _COLUMNS.values())
    except (KeyError, TypeError, ValueError) as error:
        raise AudiotransError(
            f"line {number} of {path} is not a note ({error}); needed are the columns start_s, duration_s and midi"
        ) from error
    return Note(onset, duration, midi)


def _cell(row: dict[str, str], names: Iterable[str]) -> str:
    for name in names:
        if name in row:
            return row[name]
    raise KeyError("/".join(names))
