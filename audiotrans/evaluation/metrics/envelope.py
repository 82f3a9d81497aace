"""Attack and decay of notes: what tells a struck string from a bowed one, whatever its spectrum.

The envelope of a note is the level over time of the band in which its first partials lie, from half an octave below
its pitch to three octaves above; without a score, of the band from 80 Hz to 8 kHz. Levels are smoothed over 10 ms,
or over a period of the lowest pitch where that is longer, so no attack shows as shorter than about 5 ms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from audiotrans.evaluation.metrics.pitch import Note
from audiotrans.evaluation.metrics.timing import onset_times
from audiotrans.evaluation.wave_checks import Wave, mono, validate_wave

Array = npt.NDArray[np.floating[Any]]

SMOOTHING_SECONDS = 0.01
ATTACK_SEARCH_SECONDS = 0.25
DECAY_SECONDS = 1.0
# Shorter stretches after the peak give a slope of the ripple rather than of the note.
SHORTEST_DECAY_SECONDS = 0.1
# Scores and transcribers place an onset up to this much after the sound begins.
_LEAD_SECONDS = 0.05
# A rise of less than this is a change of bow or a beat of two notes rather than a beginning.
_LEAST_RISE = 2.0
_WIDE_BAND_HZ = (80.0, 8000.0)
_FLOOR = 1e-6


@dataclass(frozen=True)
class NoteShapes:
    """Attack and decay of every note of a sound; nan where a note does not show it.

    Attributes:
        attack_seconds: rise from 10 to 90 % of the way to the peak, shape (notes,).
        decay_db_per_second: fall after the peak, positive where the note fades, shape (notes,).
    """

    attack_seconds: Array
    decay_db_per_second: Array


def note_shapes(wave: Wave, sample_rate: int, notes: Sequence[Note] | None = None) -> NoteShapes:
    """Compute attack time and decay of each note.

    - Attack: the peak of the envelope is sought up to 250 ms after the onset (no further than the next onset). The
      attack is the time from the last crossing of 10 % to the first crossing of 90 % of the way from the lowest level
      shortly before the peak up to it. A note that rises by less than 6 dB has none.
    - Decay: the slope of a least-squares line through the envelope in dB, from the peak to the note's end, the next
      onset or one second later, whichever comes first. A note with less than 100 ms of that has none.

    Other notes that sound in the same band count into a note's envelope: compare sounds of the same music.

    Args:
        wave: shape (channels, samples).
        sample_rate: Hz.
        notes: a score or a transcription in any order; None takes detected onsets, each lasting to the next.

    Returns:
        Both figures for each note, in the order of their onsets.

    Raises:
        AudiotransError: where the wave is empty or not finite.
    """
    validate_wave(wave)
    samples = mono(wave)
    played = _detected(wave, sample_rate) if notes is None else sorted(notes, key=lambda note: note.onset_seconds)
    onsets = [note.onset_seconds for note in played]
    shapes = []
    for index, note in enumerate(played):
        later = (onset for onset in onsets[index + 1 :] if onset > note.onset_seconds + _LEAD_SECONDS)
        end = min(note.onset_seconds + note.duration_seconds, next(later, math.inf))
        shapes.append(_shape(samples, sample_rate, note, end))
    both = np.array(shapes, dtype=np.float64).reshape(-1, 2)
    return NoteShapes(both[:, 0], both[:, 1])


def _detected(wave: Wave, sample_rate: int) -> list[Note]:
    """Return the detected onsets as notes without a pitch, each lasting to the next."""
    times = [*onset_times(wave, sample_rate).tolist(), wave.shape[1] / sample_rate]
    return [Note(start, end - start, math.nan) for start, end in pairwise(times)]


def _shape(samples: Array, sample_rate: int, note: Note, end: float) -> tuple[float, float]:
    start = max(note.onset_seconds - _LEAD_SECONDS, 0.0)
    stop = min(end, note.onset_seconds + ATTACK_SEARCH_SECONDS + DECAY_SECONDS)
    first, last = round(start * sample_rate), round(stop * sample_rate)
    envelope = _envelope(samples, first, last, sample_rate, note.midi)
    if len(envelope) < 3:
        return math.nan, math.nan
    search = round((note.onset_seconds + ATTACK_SEARCH_SECONDS) * sample_rate) - first
    peak = int(np.argmax(envelope[: max(search, 2)]))
    fade = envelope[peak : peak + round(DECAY_SECONDS * sample_rate)]
    return _attack(envelope[: peak + 1], sample_rate), _decay(fade, sample_rate)


def _envelope(samples: Array, first: int, last: int, sample_rate: int, midi: float) -> Array:
    """Return the level of a band of samples[first:last], a smoothed root mean square; empty if they do not exist."""
    from scipy.signal import butter, fftconvolve, sosfiltfilt

    low, high = _band(midi, sample_rate)
    margin = round(0.1 * sample_rate)  # what the filter rings at the cut edges stays out of the result
    begin = max(first - margin, 0)
    piece = samples[begin : max(last, 0) + margin]
    if first >= min(last, len(samples)) or len(piece) < 64:
        return np.zeros(0)
    filtered = sosfiltfilt(butter(2, (low, high), "bandpass", fs=sample_rate, output="sos"), piece, padtype=None)
    length = max(round(max(SMOOTHING_SECONDS, 1.0 / low) * sample_rate), 3)
    window = np.hanning(length + 2)[1:-1]
    power = np.maximum(fftconvolve(np.square(filtered), window / window.sum(), mode="same"), 0.0)
    level: Array = np.sqrt(power[first - begin : min(last, len(samples)) - begin])
    return level


def _band(midi: float, sample_rate: int) -> tuple[float, float]:
    low, high = _WIDE_BAND_HZ
    if math.isfinite(midi):
        hertz = 440.0 * 2.0 ** ((midi - 69.0) / 12.0)
        low, high = hertz / math.sqrt(2.0), 8.0 * hertz
    high = min(high, 0.45 * sample_rate)
    return min(low, 0.5 * high), high


def _attack(rise: Array, sample_rate: int) -> float:
    """Return the seconds between 10 and 90 % of the way up; ``rise`` ends with its highest value."""
    base, top = float(rise.min()), float(rise[-1])
    if top <= _FLOOR or top < _LEAST_RISE * base:
        return math.nan
    high = int(np.argmax(rise >= base + 0.9 * (top - base)))
    below = np.flatnonzero(rise[: high + 1] <= base + 0.1 * (top - base))
    # The lowest value is below 10 % by definition, but may come after the first crossing of 90 %.
    return float(high - below[-1]) / sample_rate if len(below) else math.nan


def _decay(fade: Array, sample_rate: int) -> float:
    if len(fade) < SHORTEST_DECAY_SECONDS * sample_rate or fade[0] <= _FLOOR:
        return math.nan
    level = 20.0 * np.log10(np.maximum(fade, _FLOOR * fade[0]))
    return float(-np.polyfit(np.arange(len(fade)) / sample_rate, level, 1)[0])
