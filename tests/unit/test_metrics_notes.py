"""Agreement of two lists of notes: bounds, identity, and values by hand."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from audiotrans.errors import AudiotransError
from audiotrans.evaluation.metrics.notes import note_f1, note_jaccard_distance
from audiotrans.evaluation.metrics.pitch import Note

SCORE = [Note(0.0, 0.5, 60), Note(0.5, 0.5, 64), Note(1.0, 1.0, 67), Note(1.0, 1.0, 72)]
METRICS = {note_f1: 1.0, note_jaccard_distance: 0.0}
Measure = Callable[[Sequence[Note], Sequence[Note]], float]


def moved(notes: Sequence[Note], *, seconds: float = 0.0, semitones: float = 0.0) -> list[Note]:
    return [replace(n, onset_seconds=n.onset_seconds + seconds, midi=n.midi + semitones) for n in notes]


@pytest.mark.parametrize(("measure", "best"), METRICS.items())
def test_equal_lists_are_at_the_best_bound_and_nothing_in_common_at_the_worst(measure: Measure, best: float) -> None:
    assert measure(SCORE, SCORE) == best
    assert measure(SCORE, list(reversed(SCORE))) == best
    assert measure([], []) == best
    assert measure(SCORE, []) == measure([], SCORE) == 1.0 - best
    assert measure(SCORE, moved(SCORE, seconds=10.0)) == 1.0 - best


@pytest.mark.parametrize("measure", METRICS)
def test_both_sides_count_alike(measure: Measure) -> None:
    estimate = [*moved(SCORE[:2], seconds=0.01), Note(0.7, 0.2, 62)]
    assert measure(SCORE, estimate) == pytest.approx(measure(estimate, SCORE), abs=1e-12)
    assert 0.0 < measure(SCORE, estimate) < 1.0


@pytest.mark.parametrize("measure", METRICS)
@pytest.mark.parametrize("note", [Note(math.nan, 1, 60), Note(0, math.inf, 60), Note(0, 1, math.nan)])
def test_a_note_without_a_time_or_pitch_is_refused(measure: Measure, note: Note) -> None:
    with pytest.raises(AudiotransError, match="is not a note"):
        measure([note], SCORE)


class TestF1:
    def test_by_hand(self) -> None:
        # Two of four notes found, one of three wrong: precision 2/3, recall 1/2, F1 4/7.
        estimate = [SCORE[0], SCORE[2], Note(0.5, 0.5, 65)]
        assert note_f1(SCORE, estimate) == pytest.approx(4 / 7)

    @pytest.mark.parametrize(
        ("seconds", "semitones", "found"), [(0.045, 0.0, 1.0), (0.055, 0.0, 0.0), (0.0, 0.45, 1.0), (0.0, 0.55, 0.0)]
    )
    def test_the_tolerances(self, seconds: float, semitones: float, found: float) -> None:
        alone = [SCORE[0]]
        assert note_f1(alone, moved(alone, seconds=seconds, semitones=semitones)) == found

    def test_where_notes_end_does_not_count(self) -> None:
        assert note_f1(SCORE, [replace(note, duration_seconds=0.0) for note in SCORE]) == 1.0

    def test_an_octave_is_another_note(self) -> None:
        assert note_f1(SCORE, moved(SCORE, semitones=12)) == 0.0

    def test_without_mir_eval_the_way_out_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "mir_eval", None)
        with pytest.raises(AudiotransError, match=r"pip install \"audiotrans\[eval\]\""):
            note_f1(SCORE, SCORE)


class TestJaccard:
    def test_half_as_long(self) -> None:
        assert note_jaccard_distance([Note(0, 1, 60)], [Note(0, 0.5, 60)]) == pytest.approx(0.5)

    def test_one_note_of_a_chord(self) -> None:
        chord = [Note(0, 1, 60), Note(0, 1, 64), Note(0, 1, 67)]
        assert note_jaccard_distance(chord, chord[:1]) == pytest.approx(2 / 3)

    def test_frames_without_a_note_do_not_count(self) -> None:
        first, second = [Note(0, 1, 60), Note(9, 1, 60)], [Note(0, 1, 60), Note(9, 1, 61)]
        assert note_jaccard_distance(first, second) == pytest.approx(0.5)

    def test_repeated_notes_are_one_long_one(self) -> None:
        assert note_jaccard_distance([Note(0, 1, 60)], [Note(0, 0.5, 60), Note(0.5, 0.5, 60)]) == 0.0

    def test_notes_before_the_beginning_and_pitches_beyond_the_keys_do_no_harm(self) -> None:
        odd = [Note(-0.5, 1.0, 60), Note(0, 1, 400), Note(0, -1, 50)]
        assert note_jaccard_distance(odd, odd) == 0.0
