"""Transcription: the decoding on posteriors made by hand, and the network on chords made of partials."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from audiotrans.errors import AudiotransError
from audiotrans.evaluation import transcription
from audiotrans.evaluation.metrics.notes import note_f1
from audiotrans.evaluation.metrics.pitch import Note
from audiotrans.evaluation.transcription import TranscribedNote, decode, transcribe, transcription_available

RATE = 22_050
SCORE = [Note(0.3, 0.5, 60), Note(0.9, 0.5, 64), Note(1.5, 0.8, 67), Note(1.5, 0.8, 72), Note(2.5, 0.6, 55)]

needs_network = pytest.mark.skipif(not transcription_available(), reason="needs onnxruntime")


def plucked(score: list[Note], sample_rate: int = RATE, seconds: float = 3.5) -> np.ndarray:
    """Play notes of eight partials that fade by 12 dB/s, in stereo of which the right is quieter."""
    wave = np.zeros(round(seconds * sample_rate))
    for note in score:
        time = np.arange(round(note.duration_seconds * sample_rate)) / sample_rate
        hertz = 440 * 2 ** ((note.midi - 69) / 12)
        tone = sum(np.sin(2 * np.pi * hertz * k * time) / k**2 for k in range(1, 9))
        start = round(note.onset_seconds * sample_rate)
        wave[start : start + len(time)] += 0.1 * tone * np.minimum(time / 0.005, 1) * 10 ** (-12 * time / 20)
    return np.stack([wave, 0.5 * wave]).astype(np.float32)


def posteriors(frames: int = 60) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((frames, 88), np.float32), np.zeros((frames, 88), np.float32)


class TestDecode:
    def test_a_note_lasts_from_its_onset_to_its_end(self) -> None:
        onsets, frames = posteriors()
        onsets[10, 39], frames[10:30, 39] = 0.9, 0.8
        assert decode(onsets, frames) == [(10, 30, 39, pytest.approx(0.8))]

    def test_nothing_gives_no_note(self) -> None:
        assert decode(*posteriors()) == []
        assert decode(*posteriors(0)) == []

    def test_short_gaps_are_bridged_and_long_ones_end_a_note(self) -> None:
        onsets, frames = posteriors()
        onsets[5, 3], frames[5:50, 3] = 0.9, 0.8
        frames[20:24, 3] = 0.1
        assert [note[:2] for note in decode(onsets, frames)] == [(5, 50)]
        frames[20:32, 3] = 0.1
        onsets[32, 3] = 0.9
        assert [note[:2] for note in decode(onsets, frames)] == [(5, 20), (32, 50)]

    @pytest.mark.parametrize(("again", "notes"), [(0.6, 1), (0.9, 2)])
    def test_a_key_is_struck_again_only_by_a_clear_onset(self, again: float, notes: int) -> None:
        onsets, frames = posteriors()
        onsets[5, 3], onsets[25, 3], frames[5:50, 3] = 0.9, again, 0.8
        assert len(decode(onsets, frames)) == notes

    def test_a_sure_note_needs_no_onset_and_a_doubtful_one_does(self) -> None:
        onsets, frames = posteriors()
        frames[10:40, 3], frames[10:40, 20] = 0.6, 0.4
        assert [note[:3] for note in decode(onsets, frames)] == [(10, 40, 3)]

    def test_an_onset_without_a_sounding_note_is_none(self) -> None:
        onsets, frames = posteriors()
        onsets[10, 3] = 0.9
        assert decode(onsets, frames) == []

    def test_an_onset_may_come_just_before_the_note(self) -> None:
        onsets, frames = posteriors()
        onsets[8, 3], frames[10:30, 3] = 0.9, 0.8
        assert [note[:2] for note in decode(onsets, frames)] == [(8, 30)]


class FakeSession:
    """A network whose note posterior in a frame is the sample in the frame's middle, on key 0."""

    class _Input:
        name = "x"

    def get_inputs(self) -> list[FakeSession._Input]:
        return [self._Input()]

    def run(self, _names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        heard = inputs["x"][:, :: transcription.HOP, 0]
        frames = np.zeros((len(heard), transcription.FRAMES, transcription.KEYS), np.float32)
        frames[:, : heard.shape[1], 0] = heard
        return [np.zeros_like(frames), frames]


@pytest.mark.parametrize("length", [1, 255, 256, 257, 20_000, 43_844, 36_352, 100_000, 300_000])
def test_windows_cover_every_frame_once(length: int) -> None:
    wave = np.random.default_rng(length).random(length).astype(np.float32)
    blocks = np.split(wave, [length // 3, length // 2])
    found = list(transcription._posteriors(FakeSession(), blocks))
    frames = np.concatenate([notes for _, notes in found])
    np.testing.assert_array_equal(frames[:, 0], wave[:: transcription.HOP])


def test_long_sounds_are_decoded_in_stretches_cut_where_it_is_quiet() -> None:
    frames = np.full((10_000, 88), 0.5, np.float32)
    frames[[3500, 7000]] = 0.0
    pieces = [(piece * 0, piece) for piece in np.array_split(frames, 23)]
    stretches = list(transcription._stretches(pieces))
    assert [start for start, _, _ in stretches] == [0, 3500, 7000]
    assert sum(len(piece) for _, _, piece in stretches) == 10_000


@needs_network
def test_the_notes_of_chords_are_heard() -> None:
    heard = transcribe(plucked(SCORE), RATE)
    assert note_f1(SCORE, heard) == 1.0
    assert all(isinstance(note, TranscribedNote) and 0 < note.level <= 1 for note in heard)
    assert [note.onset_seconds for note in heard] == sorted(note.onset_seconds for note in heard)


@needs_network
def test_rate_and_gain_do_not_matter() -> None:
    assert note_f1(SCORE, transcribe(0.2 * plucked(SCORE, 44_100), 44_100)) == 1.0


@needs_network
def test_onsets_stay_in_place_in_the_second_window() -> None:
    # A window keeps 1.65 s: a grid that drifted between windows would move the onsets by 11.6 ms each.
    late = [Note(4.0 + note.onset_seconds, note.duration_seconds, note.midi) for note in SCORE]
    heard = transcribe(plucked(late, seconds=7.5), RATE)
    assert note_f1(late, heard) == 1.0
    errors = [min(abs(note.onset_seconds - true.onset_seconds) for true in late) for note in heard]
    assert max(errors) < 0.025  # two frames


@needs_network
@pytest.mark.parametrize("seconds", [0.001, 0.5, 2.0])
def test_silence_has_no_notes(seconds: float) -> None:
    assert transcribe(np.zeros((2, max(round(seconds * RATE), 1)), np.float32), RATE) == []


@needs_network
def test_without_onnxruntime_the_command_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    transcription._session.cache_clear()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(AudiotransError, match=r"onnxruntime: pip install \"audiotrans\[eval\]\""):
        transcribe(np.zeros((1, 1000), np.float32), RATE)


def test_what_is_no_sound_is_refused() -> None:
    with pytest.raises(AudiotransError, match="NaN"):
        transcribe(np.full((1, 100), np.nan, np.float32), RATE)
    with pytest.raises(AudiotransError, match="sample rate is 0 Hz"):
        transcribe(np.zeros((1, 100), np.float32), 0)
