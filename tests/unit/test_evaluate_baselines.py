"""The baselines do what they say: the same notes, the target's spectrum, another recording, the truth's magnitudes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiotrans.errors import AudiotransError, UsageError
from audiotrans.evaluation import baselines as baselines_module
from audiotrans.evaluation import soundfont
from audiotrans.evaluation.baselines import (
    COPY,
    EQUALISED,
    GRIFFIN_LIM,
    RANDOM,
    SCORED,
    BaselineOptions,
    at_level_of,
    build_baselines,
    griffin_lim,
    smooth,
)
from audiotrans.evaluation.metrics.pitch import Note
from audiotrans.evaluation.metrics.spectral import log_spectral_distance, power_spectrum
from audiotrans.evaluation.scoring import AnalysedSound
from audiotrans.evaluation.soundfont import find_soundfont, midi_file, program_of
from audiotrans.evaluation.testset import RATE, Selection, find_directions
from tests.standins import tone


def write(path: Path, wave: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave.T, RATE, subtype="FLOAT")


@pytest.fixture
def pairs(tmp_path):
    """Three pieces played by a dull and a bright instrument."""
    for index in range(3):
        wave = tone(1.5, 2, RATE, 0.2) * np.float32(1 + 0.1 * index)
        write(tmp_path / "set" / "violin" / f"{'abc'[index]}.wav", wave)
        write(tmp_path / "set" / "piano" / f"{'abc'[index]}.wav", np.diff(wave, prepend=0).astype(np.float32) * 8)
    return tmp_path / "set"


def direction_of(folder: Path):
    directions, _ = find_directions(folder, Selection("violin", "piano"))
    return directions[0]


def made(folder: Path, name: str, options: BaselineOptions = BaselineOptions()):  # noqa: B008  # frozen
    direction = direction_of(folder)
    baselines, _ = build_baselines(direction, options)
    (baseline,) = [baseline for baseline in baselines if baseline.name == name]
    clip = direction.clips[0]
    heard = AnalysedSound(clip.read())
    return clip, heard, baseline.make(clip, heard)


def test_copy_is_the_input_itself(pairs):
    _, heard, result = made(pairs, COPY)
    assert result.wave is heard.wave


def noise(seed: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal((2, RATE))).astype(np.float32)


def tilt_db(before: np.ndarray, after: np.ndarray) -> float:
    """Return by how many dB a sound was raised at 4 kHz (bin 186) more than at 500 Hz (bin 23)."""
    levels = [10 * np.log10(smooth(power_spectrum(wave).mean(axis=1))) for wave in (before, after)]
    return float(np.subtract(*(level[186] - level[23] for level in reversed(levels))))


def test_equaliser_reaches_the_other_recordings_spectrum_and_never_sees_its_own_truth(pairs):
    for seed, name in enumerate("abc"):
        write(pairs / "violin" / f"{name}.wav", noise(seed))
        # The truth of the first clip has another spectrum than all others, and would give itself away.
        bright = noise(seed + 9) if name == "a" else np.diff(noise(seed + 9), prepend=0).astype(np.float32)
        write(pairs / "piano" / f"{name}.wav", bright)
    _, heard, result = made(pairs, EQUALISED)
    assert result.wave.shape == heard.wave.shape
    # Differentiating raises by 6 dB an octave, 18 dB over three; noise of a second is known to half a dB.
    assert tilt_db(heard.wave, result.wave) == pytest.approx(18, abs=1)


def test_equaliser_takes_training_sounds_where_there_are_any(pairs, tmp_path):
    for seed, name in enumerate("abc"):
        write(pairs / "violin" / f"{name}.wav", noise(seed))
    write(tmp_path / "train" / "piano" / "x.wav", np.cumsum(noise(7), axis=1).astype(np.float32) / 20)
    _, heard, result = made(pairs, EQUALISED, BaselineOptions(train=tmp_path / "train"))
    assert tilt_db(heard.wave, result.wave) == pytest.approx(-18, abs=1)


def test_random_clip_is_of_another_recording_at_the_inputs_level(pairs):
    clip, heard, result = made(pairs, RANDOM)
    assert result.content != clip.recording
    assert result.wave.shape == heard.wave.shape
    assert np.sqrt(np.mean(result.wave**2)) == pytest.approx(np.sqrt(np.mean(heard.wave**2)), rel=1e-4)
    again = made(pairs, RANDOM)[2]
    assert np.array_equal(again.wave, result.wave)
    others = {made(pairs, RANDOM, BaselineOptions(seed=seed))[2].content for seed in range(12)}
    assert others == {"b", "c"}


def test_short_random_clips_are_repeated(pairs):
    for name in "bc":
        write(pairs / "piano" / f"{name}.wav", tone(1.46, 2, RATE, 0.2))
    _, heard, result = made(pairs, RANDOM)
    assert result.wave.shape == heard.wave.shape
    assert np.abs(result.wave[:, -100:]).max() > 0


def test_griffin_lim_keeps_the_magnitudes_and_forgets_the_phases(pairs):
    _, heard, result = made(pairs, GRIFFIN_LIM)
    truth, _ = soundfile.read(pairs / "piano" / "a.wav", dtype="float32", always_2d=True)
    # The copy is about 3 dB away from the truth's spectrum, which is mostly floor; the iterations leave about half.
    left = log_spectral_distance(truth.T, result.wave, RATE)
    assert left < 0.7 * log_spectral_distance(truth.T, heard.wave, RATE)
    assert np.linalg.norm(result.wave - truth.T) > 0.1 * np.linalg.norm(truth)
    assert result.scores["inconsistency_db"] < -5
    assert np.array_equal(griffin_lim(truth.T, heard.wave, 1), griffin_lim(truth.T, heard.wave, 1))


@pytest.fixture
def played(monkeypatch, tmp_path):
    """A bank and a player that note what they are asked to play."""
    asked: list[tuple[list[tuple[float, float, float]], int]] = []

    def synthesise(notes, program, _bank, samples):
        asked.append(([(n.onset_seconds, n.duration_seconds, n.midi) for n in notes], program))
        return np.ones((2, samples), np.float32)

    (tmp_path / "gm.sf2").write_bytes(b"RIFF\x00\x00\x00\x00sfbk")
    monkeypatch.setattr(soundfont, "SOUNDFONT_FOLDERS", (tmp_path,))
    monkeypatch.setattr(baselines_module, "find_player", lambda: "a player")
    monkeypatch.setattr(baselines_module, "synthesise", synthesise)
    return asked


def test_the_score_is_played_by_the_target_at_the_inputs_level(pairs, played):
    (pairs / "notes").mkdir()
    (pairs / "notes" / "a.csv").write_text("start_s,duration_s,midi\n0.5,0.25,69\n", encoding="utf-8")
    _, heard, result = made(pairs, SCORED)
    assert played == [([(0.5, 0.25, 69.0)], 0)]
    assert result.wave.shape == heard.wave.shape
    assert np.sqrt(np.mean(result.wave**2)) == pytest.approx(np.sqrt(np.mean(heard.wave**2)), rel=1e-4)
    direction = direction_of(pairs)
    (baseline,) = [a for a in build_baselines(direction, BaselineOptions())[0] if a.name == SCORED]
    other = next(clip for clip in direction.clips if clip.notes is None)
    assert baseline.make(other, heard) is None  # this piece has no score


def test_without_scores_none_is_played_and_none_is_missed(pairs, played):
    baselines, notes = build_baselines(direction_of(pairs), BaselineOptions())
    assert SCORED not in [baseline.name for baseline in baselines]
    assert not any(SCORED in note for note in notes)
    assert played == []


def test_a_lone_recording_leaves_two_baselines_out_and_says_so(pairs):
    for name in "bc":
        (pairs / "piano" / f"{name}.wav").unlink()
    baselines, notes = build_baselines(direction_of(pairs), BaselineOptions())
    assert {EQUALISED, RANDOM}.isdisjoint(baseline.name for baseline in baselines)
    assert sum("two recordings of piano" in note for note in notes) == 2


def test_a_missing_soundfont_leaves_a_baseline_out_a_misspelt_one_is_refused(pairs, monkeypatch, tmp_path):
    monkeypatch.setattr(soundfont, "SOUNDFONT_FOLDERS", (tmp_path,))
    _, notes = build_baselines(direction_of(pairs), BaselineOptions())
    assert any("no SoundFont was found" in note and "--soundfont" in note for note in notes)
    with pytest.raises(UsageError, match=r"no\.sf2: there is no such file"):
        build_baselines(direction_of(pairs), BaselineOptions(soundfont=tmp_path / "no.sf2"))


def test_soundfonts_are_found_the_default_first(monkeypatch, tmp_path):
    for name in ("aaa.sf2", "default-GM.sf2"):
        (tmp_path / name).touch()
    monkeypatch.setattr(soundfont, "SOUNDFONT_FOLDERS", (tmp_path / "none", tmp_path))
    assert find_soundfont(None).name == "default-GM.sf2"


def test_no_player_is_said_in_one_line(monkeypatch):
    monkeypatch.setattr(soundfont.shutil, "which", lambda _name: None)
    monkeypatch.setattr(soundfont.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(AudiotransError, match=r"apt install fluidsynth.*--no-deps tinysoundfont"):
        soundfont.find_player()


@pytest.mark.parametrize(
    ("name", "program"), [("violin", 40), ("piano", 0), ("Electric Guitar", 27), ("tenor-sax", 66), ("pia", 0)]
)
def test_programs_of_general_midi(name, program):
    assert program_of(name) == program


def test_an_unknown_instrument_has_no_program():
    with pytest.raises(AudiotransError, match="'theremin'"):
        program_of("theremin")


@dataclass(frozen=True)
class Heard(Note):
    level: float = 1.0


def test_midi_by_hand():
    data = midi_file([Note(0.5, 0.25, 69.0), Heard(0.75, 0.1, 69.4, 0.5)], 40)
    track = data[22:]
    assert track[:3] == b"\x00\xc0\x28"
    assert track[3:8] == b"\x83\x74\x90\x45\x5a"  # after 500 ticks key 69 at velocity 90
    # The first ends before the second begins, both at 750; the second's level of one half is velocity 64.
    assert track[8:13] == b"\x81\x7a\x80\x45\x00"
    assert track[13:17] == b"\x00\x90\x45\x40"
    assert data.endswith(b"\x83\x74\xff\x2f\x00")


def test_silence_has_no_level_to_be_brought_to():
    silence = np.zeros((1, 8), np.float32)
    assert np.array_equal(at_level_of(np.ones((1, 8), np.float32), silence), silence)
    assert math.isclose(float(at_level_of(silence, np.ones((1, 8), np.float32)).max()), 0.0)


def test_what_is_no_soundfont_is_refused_since_players_would_take_another(tmp_path):
    (tmp_path / "broken.sf2").write_bytes(b"RIFF\x00\x00\x00\x00WAVE")
    with pytest.raises(UsageError, match=r"broken\.sf2.*not a SoundFont"):
        find_soundfont(tmp_path / "broken.sf2")
