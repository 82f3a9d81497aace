"""Metrics that only benchmarks use: seams of tiles, bodies of sound without pairs, pitch note by note."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audiotrans.errors import AudiotransError
from audiotrans.evaluation.metrics.pitch import OFF_CENTS, Note, PitchTrack, pitch_track, read_notes
from audiotrans.evaluation.metrics.spectral import band_matrix, floored_db, power_spectrum
from audiotrans.evaluation.wave_checks import Wave, mono, validate, validate_wave

Array = npt.NDArray[np.floating[Any]]


def seam_level_db(reference: Wave, estimate: Wave, seams: Iterable[int], *, radius: int = 2048) -> float:
    """Compute the level of what is left at the seams of a conversion done in tiles, in dB.

    The difference of the two waves is taken within `radius` samples of every seam; the result is its largest absolute
    value over the root mean square of the whole reference. A peak, since a click of one sample is audible.

    Args:
        reference: the same conversion without tiles, or the input where the model changes nothing;
            shape (channels, samples).
        estimate: the conversion in tiles, the same shape.
        seams: positions of the joints, in samples.
        radius: samples looked at on each side of a joint.

    Returns:
        The worst seam; minus infinity where both waves agree exactly at every seam.

    Raises:
        AudiotransError: where the waves cannot be compared, the reference is silent, or no seam lies inside them.
    """
    validate(reference, estimate)
    samples = reference.shape[1]
    inside = [seam for seam in seams if 0 <= seam < samples]
    level = float(np.sqrt(np.mean(np.square(reference, dtype=np.float64))))
    if not inside or level == 0.0:
        wrong = "the reference is silent" if inside else f"no seam lies within the {samples} samples"
        raise AudiotransError(f"{wrong}, so there is no seam level to measure")
    difference = np.abs(reference.astype(np.float64) - estimate)
    worst = max(float(difference[:, max(seam - radius, 0) : seam + radius].max()) for seam in inside)
    return -math.inf if worst == 0.0 else 20.0 * math.log10(worst / level)


@dataclass(frozen=True)
class BandStatistics:
    """Mean and spread over time of the level in each band, in dB; both of shape (bands,)."""

    mean_db: Array
    std_db: Array


def band_statistics(waves: Iterable[Wave], sample_rate: int) -> BandStatistics:
    """Compute mean and standard deviation over all frames of the level in each band, for a body of sound.

    Every wave is first brought to the same root mean square, so that loudness does not count, and every band is
    raised to a floor 80 dB below the loudest of its own wave.

    Args:
        waves: each of shape (channels, samples).
        sample_rate: Hz, the same for all.

    Raises:
        AudiotransError: where a wave is empty, not finite or silent, or there is none.
    """
    matrix = band_matrix(sample_rate)
    columns = []
    for wave in waves:
        validate_wave(wave)
        power = matrix @ power_spectrum(wave)
        level = float(np.mean(np.square(mono(wave))))
        columns.append(floored_db(power, power)[0] - 10.0 * math.log10(max(level, 1e-20)))
    if not columns:
        raise AudiotransError("there is no wave to take statistics of; give at least one")
    frames = np.concatenate(columns, axis=1)
    return BandStatistics(frames.mean(axis=1), frames.std(axis=1))


def distribution_distance(first: BandStatistics, second: BandStatistics) -> float:
    """Compute the distance of two bodies of sound without pairs, in dB.

    Each band is modelled as a normal distribution of levels; the result is the root mean square over the bands of their
    2-Wasserstein distances, sqrt((difference of means)^2 + (difference of deviations)^2).
    """
    means = first.mean_db - second.mean_db
    deviations = first.std_db - second.std_db
    return float(np.sqrt(np.mean(means**2 + deviations**2)))


def note_pitch_errors(
    reference: Wave, estimate: Wave, sample_rate: int, notes: Sequence[Note] | str | Path
) -> npt.NDArray[np.float64]:
    """Compare the pitch of two sounds note by note: median pitch of the estimate against that of the reference.

    The pitch of a note is the median over the frames of its middle part, without the attack and the release. The score
    only says where the notes are, and which of them the tracker finds in the reference: a note that it places
    more than 50 cents from the score there (a chord, a bass note under a melody) says nothing about the estimate.

    Args:
        reference: shape (channels, samples).
        estimate: the same shape.
        sample_rate: Hz.
        notes: the score, or a CSV file that `read_notes` can read.

    Returns:
        Signed cents of every note, shape (notes,); nan for a note that is not found in the reference, infinity for one
        that is found there and has no pitch in the estimate.

    Raises:
        AudiotransError: where the waves cannot be compared or the score cannot be read.
    """
    validate(reference, estimate, sample_rate)
    score = read_notes(notes) if isinstance(notes, (str, Path)) else notes
    tracks = [pitch_track(wave, sample_rate) for wave in (reference, estimate)]
    return np.array([_note_error(note, tracks[0], tracks[1]) for note in score], dtype=np.float64)


def _note_error(note: Note, reference: PitchTrack, estimate: PitchTrack) -> float:
    before, after = note_pitch(note, reference), note_pitch(note, estimate)
    written = 440.0 * 2.0 ** ((note.midi - 69.0) / 12.0)
    if math.isnan(before) or abs(1200.0 * math.log2(before / written)) > OFF_CENTS:
        return math.nan
    return math.inf if math.isnan(after) else 1200.0 * math.log2(after / before)


def note_pitch(note: Note, track: PitchTrack) -> float:
    """Return the median pitch of one note in Hz, over the middle of its duration; nan where it has none."""
    begin = note.onset_seconds + max(0.03, 0.2 * note.duration_seconds)
    end = note.onset_seconds + 0.9 * note.duration_seconds
    inside = track.hertz[(track.seconds >= begin) & (track.seconds <= end) & np.isfinite(track.hertz)]
    return float(np.median(inside)) if len(inside) else math.nan
