"""Agreement of two lists of notes: written in a score, or transcribed from a sound.

All of these lie between 0 and 1 and are at their best bound for equal lists. They take `Note`s of any kind: of
`read_notes` or of `audiotrans.evaluation.transcription.transcribe`. A transcriber makes mistakes on true recordings
too, so a score is to be read beside the one that the true sound gets from the same transcriber.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from audiotrans.errors import AudiotransError, names_extras
from audiotrans.evaluation.metrics.pitch import Note

Array = npt.NDArray[np.floating[Any]]

ONSET_SECONDS = 0.05
PITCH_CENTS = 50.0
FRAME_SECONDS = 0.01
_PITCHES = 128
# mir_eval refuses notes without length; the length itself does not count here.
_SHORTEST_SECONDS = 1e-3


@names_extras()
def note_f1(
    reference_notes: Sequence[Note],
    estimate_notes: Sequence[Note],
    *,
    onset_seconds: float = ONSET_SECONDS,
    pitch_cents: float = PITCH_CENTS,
) -> float:
    """Compute the note F1 of two lists: pairs that agree in onset and pitch; where notes end does not count.

    A note of one side is paired with one note of the other at most, so as to make the most pairs.

    Args:
        reference_notes: the truth, or the notes of the source.
        estimate_notes: the notes to be measured.
        onset_seconds: the largest distance of the onsets of a pair.
        pitch_cents: the largest distance of their pitches.

    Returns:
        Between 0 and 1; 1.0 where both lists are empty, 0.0 where only one is.

    Raises:
        AudiotransError: where mir_eval is not installed or a note has no finite time or pitch.

    Source:
        MIREX note tracking, onset only, as mir_eval implements it (Raffel et al., ISMIR 2014).
    """
    if not reference_notes or not estimate_notes:
        return float(len(reference_notes) == len(estimate_notes))
    from mir_eval import transcription

    reference, estimate = _intervals(reference_notes), _intervals(estimate_notes)
    scores = transcription.precision_recall_f1_overlap(
        reference,
        _hertz(reference_notes),
        estimate,
        _hertz(estimate_notes),
        onset_tolerance=onset_seconds,
        pitch_tolerance=pitch_cents,
        offset_ratio=None,
    )
    return float(scores[2])


def note_jaccard_distance(reference_notes: Sequence[Note], estimate_notes: Sequence[Note]) -> float:
    """Compute the Jaccard distance of sounding pitches: mean over frames of 1 - |A and B| / |A or B|.

    A and B are the sets of pitches, rounded to semitones, that sound in the middle of a frame of 10 ms; frames in which
    neither side sounds are left out. Unlike `note_f1` this counts how long notes last, and not how often they begin.

    Args:
        reference_notes: the truth, or the notes of the source.
        estimate_notes: the notes to be measured.

    Returns:
        Between 0 (equal in every frame) and 1 (nothing in common); 0.0 where neither side has a note that sounds.

    Raises:
        AudiotransError: where a note has no finite time or pitch.

    Source:
        The per-frame set distance of Cifka et al., Self-Supervised VQ-VAE for One-Shot Music Style Transfer,
        ICASSP 2021.
    """
    ends = [note.onset_seconds + note.duration_seconds for note in (*reference_notes, *estimate_notes)]
    _refuse_nonfinite([*reference_notes, *estimate_notes])
    frames = int(np.ceil(max(ends, default=0.0) / FRAME_SECONDS))
    first, second = _roll(reference_notes, frames), _roll(estimate_notes, frames)
    both, either = (first & second).sum(axis=1), (first | second).sum(axis=1)
    sounding = either > 0
    if not sounding.any():
        return 0.0
    return float(1.0 - np.mean(both[sounding] / either[sounding]))


def _roll(notes: Sequence[Note], frames: int) -> npt.NDArray[np.bool_]:
    """Return which pitch sounds in which frame, shape (frames, 128)."""
    roll = np.zeros((frames, _PITCHES), dtype=np.bool_)
    for note in notes:
        # A frame counts where its middle lies in the note.
        edges = np.array([note.onset_seconds, note.onset_seconds + note.duration_seconds])
        start, stop = np.maximum(np.ceil(edges / FRAME_SECONDS - 0.5), 0).astype(int)
        roll[start:stop, int(np.clip(round(note.midi), 0, _PITCHES - 1))] = True
    return roll


def _intervals(notes: Sequence[Note]) -> Array:
    _refuse_nonfinite(notes)
    onsets = np.array([max(note.onset_seconds, 0.0) for note in notes])
    lengths = np.array([max(note.duration_seconds, _SHORTEST_SECONDS) for note in notes])
    return np.stack([onsets, onsets + lengths], axis=1)


def _hertz(notes: Sequence[Note]) -> Array:
    hertz: Array = 440.0 * 2.0 ** ((np.array([note.midi for note in notes], dtype=np.float64) - 69.0) / 12.0)
    return hertz


def _refuse_nonfinite(notes: Sequence[Note]) -> None:
    for note in notes:
        if not np.isfinite([note.onset_seconds, note.duration_seconds, note.midi]).all():
            raise AudiotransError(f"{note} is not a note: onset, duration and pitch must be finite numbers")
