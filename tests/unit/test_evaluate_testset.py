"""What is found in a folder: clips, recordings, truths, scores, and other people's files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiotrans.errors import AudiotransError, UsageError
from audiotrans.evaluation.scoring import AnalysedSound
from audiotrans.evaluation.systems import folder_system, refuse_ambiguous, true_wave
from audiotrans.evaluation.testset import (
    RATE,
    Selection,
    cuts,
    digest_of,
    find_directions,
    fit_channels,
    spread,
)

LOW = 8_000


def write(path: Path, seconds: float, rate: int = LOW, channels: int = 1, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    soundfile.write(path, 0.1 * rng.standard_normal((round(seconds * rate), channels)), rate)
    return path


@pytest.fixture
def pairs(tmp_path):
    for name in ("tune_00", "tune_01", "song"):
        write(tmp_path / "pairs" / "violin" / f"{name}.wav", 2.0)
        write(tmp_path / "pairs" / "piano" / f"{name}.flac", 2.05)
    return tmp_path / "pairs"


def only(folder, **selection):
    directions, notes = find_directions(folder, Selection(**selection))
    assert len(directions) == 1
    return directions[0], notes


def test_pairs_are_found_by_name_whatever_the_format(pairs):
    directions, notes = find_directions(pairs, Selection())
    assert [direction.name for direction in directions] == ["piano-to-violin", "violin-to-piano"]
    assert notes == []
    violin = directions[1]
    assert violin.paired
    assert [clip.name for clip in violin.clips] == ["song", "tune_00", "tune_01"]
    assert [clip.recording for clip in violin.clips] == ["song", "tune", "tune"]
    assert violin.clips[0].truth == pairs / "piano" / "song.flac"
    wave = violin.clips[0].read()
    assert wave.shape == (1, 2 * RATE)
    # The truth is 50 ms longer and is cut.
    assert true_wave(violin.clips[0], wave).shape == wave.shape


def test_equal_names_of_other_lengths_are_chance(pairs):
    write(pairs / "piano" / "song.flac", 2.2)
    direction, notes = only(pairs, source="violin")
    assert not direction.paired
    assert len(notes) == 1
    assert "differ by 0.2 s" in notes[0]
    assert not only(pairs, source="violin", unpaired=True)[0].paired


def test_long_files_are_cut_and_the_score_moves_along(tmp_path):
    write(tmp_path / "violin" / "suite.wav", 7.3)
    write(tmp_path / "piano" / "other_1.wav", 2.0)
    (tmp_path / "notes").mkdir()
    lines = ["start_s,duration_s,midi", "1.0,0.5,60", "3.5,0.5,62", "6.2,0.5,64", ""]
    (tmp_path / "notes" / "suite.csv").write_text("\n".join(lines))
    direction, _ = only(tmp_path, source="violin", seconds=3)
    assert [clip.name for clip in direction.clips] == ["suite_at_0s", "suite_at_3s"]  # the rest is below half a clip
    assert {clip.recording for clip in direction.clips} == {"suite"}
    assert [note.onset_seconds for note in direction.clips[1].score()] == [0.5]
    whole = soundfile.read(tmp_path / "violin" / "suite.wav", dtype="float32")[0]
    assert direction.clips[1].read().shape == (1, 3 * RATE)
    assert len(whole) == round(7.3 * LOW)


@pytest.mark.parametrize(
    ("length", "pieces"),
    [(2.0, [(0, 2.0)]), (10.0, [(0, 10.0)]), (14.9, [(0, 10)]), (15.0, [(0, 10), (10, 5)]), (20, [(0, 10), (10, 10)])],
)
def test_cuts_by_hand(length, pieces):
    assert cuts(length, 10.0) == pieces


def test_a_limit_is_spread_over_the_recordings(pairs):
    clips = only(pairs, source="violin")[0].clips
    assert [clip.name for clip in spread(clips, 2)] == ["song", "tune_00"]
    assert [clip.name for clip in spread(clips, None)] == ["song", "tune_00", "tune_01"]
    assert len(only(pairs, source="violin", limit=2)[0].clips) == 2


def test_models_decide_which_directions_there_are(pairs):
    write(pairs / "flute" / "song.wav", 2.0)
    directions, _ = find_directions(pairs, Selection(), known=[("violin", "flute")])
    assert [direction.name for direction in directions] == ["violin-to-flute", "flute-to-violin"]
    with pytest.raises(UsageError, match=r"sounds of flute, piano, violin, the models translate harp and organ"):
        find_directions(pairs, Selection(), known=[("harp", "organ")])


def test_a_target_may_come_from_the_training_sounds(tmp_path):
    write(tmp_path / "mine" / "violin" / "a.wav", 2.0)
    write(tmp_path / "train" / "piano" / "b.wav", 2.0)
    with pytest.raises(UsageError, match="a second domain, here or in --train"):
        find_directions(tmp_path / "mine", Selection())
    directions, _ = find_directions(tmp_path / "mine", Selection(), train=tmp_path / "train")
    assert [(direction.name, len(direction.reals)) for direction in directions] == [("violin-to-piano", 1)]


def test_training_sounds_that_are_not_there_are_said(pairs, tmp_path):
    with pytest.raises(UsageError, match="nowhere is not a folder"):
        find_directions(pairs, Selection(), train=tmp_path / "nowhere")
    write(tmp_path / "train" / "piano" / "b.wav", 2.0)
    _, notes = find_directions(pairs, Selection(), train=tmp_path / "train")
    assert len(notes) == 1
    assert "no sounds of 'violin'" in notes[0]


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        ({"source": "violn"}, r"no domain 'violn': it has piano, violin\. Did you mean 'violin'"),
        ({"target": "organ"}, "organ"),
    ],
)
def test_unknown_domains_are_named(pairs, selection, said):
    with pytest.raises(UsageError, match=said):
        find_directions(pairs, Selection(**selection))


def test_folders_without_sounds_are_refused(tmp_path):
    with pytest.raises(UsageError, match="is not a folder"):
        find_directions(tmp_path / "none", Selection())
    with pytest.raises(UsageError, match="no sub-folder with sounds"):
        find_directions(tmp_path, Selection())
    write(tmp_path / "a" / "x.wav", 2.0)
    write(tmp_path / "a" / "x.flac", 2.0)
    write(tmp_path / "b" / "x.flac", 2.0)
    with pytest.raises(UsageError, match="have the same name"):
        find_directions(tmp_path, Selection())


@pytest.mark.parametrize("wrong", [{"seconds": 0.5}, {"seconds": float("nan")}, {"limit": 0}])
def test_selections_that_cannot_be(wrong):
    with pytest.raises(UsageError, match="--"):
        Selection(**wrong)


def test_channels_are_mixed_or_repeated():
    stereo = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    assert np.array_equal(fit_channels(stereo, 1), [[0.5, 0.5]])
    assert np.array_equal(fit_channels(stereo[:1], 2), [[1.0, 0.0], [1.0, 0.0]])
    assert fit_channels(stereo, 2) is stereo


def test_digests_tell_files_apart(tmp_path):
    first, second = write(tmp_path / "a.wav", 1.0), write(tmp_path / "b.wav", 1.0, seed=1)
    assert digest_of(first) == digest_of(first)
    assert digest_of(first) != digest_of(second)


class TestFoldersOfOthers:
    def output(self, pairs, folder, name="song"):
        direction = only(pairs, source="violin")[0]
        system, notes = folder_system("theirs", folder, direction)
        clip = next(clip for clip in direction.clips if clip.name == name)
        heard = AnalysedSound(clip.read())
        return system.make(clip, heard), heard, notes

    @pytest.mark.parametrize("place", ["song.wav", "song.piano.ogg", "piano/song.flac", "violin-to-piano/song.wav"])
    def test_files_are_matched_by_name(self, pairs, tmp_path, place):
        write(tmp_path / "theirs" / place, 1.95, rate=16_000, channels=2)
        made, heard, notes = self.output(pairs, tmp_path / "theirs")
        assert made.wave.shape == heard.wave.shape == (1, 2 * RATE)
        assert np.abs(made.wave[:, : RATE // 10]).max() > 0.01
        assert not made.wave[:, -1000:].any()  # 50 ms too short: silence
        assert notes == [f"theirs: no file for violin-to-piano {name}" for name in ("tune_00", "tune_01")]
        assert self.output(pairs, tmp_path / "theirs", "tune_00")[0] is None

    def test_a_name_that_fits_both_directions_of_a_pair_is_refused(self, pairs, tmp_path):
        theirs = tmp_path / "theirs"
        write(theirs / "song.wav", 2.0)
        directions = [only(pairs, source=source)[0] for source in ("violin", "piano")]
        with pytest.raises(UsageError, match=r"song\.wav fits violin-to-piano and piano-to-violin: put it into"):
            refuse_ambiguous("theirs", theirs, directions)
        refuse_ambiguous("theirs", theirs, directions[:1])
        (theirs / "song.wav").rename(theirs / "song.piano.wav")
        refuse_ambiguous("theirs", theirs, directions)

    def test_another_length_is_refused(self, pairs, tmp_path):
        write(tmp_path / "theirs" / "song.wav", 1.8)
        with pytest.raises(AudiotransError, match=r"song\.wav lasts 1\.80 s, its input .*song\.wav 2\.00 s"):
            self.output(pairs, tmp_path / "theirs")

    def test_no_file_and_no_folder_are_refused(self, pairs, tmp_path):
        write(tmp_path / "theirs" / "else.wav", 2.0)
        with pytest.raises(UsageError, match=r"no file for violin to piano; .* such as violin-to-piano/song\.wav"):
            self.output(pairs, tmp_path / "theirs")
        with pytest.raises(UsageError, match="there is no such folder"):
            self.output(pairs, tmp_path / "nowhere")

    def test_long_files_are_cut_as_their_inputs_are(self, tmp_path):
        write(tmp_path / "set" / "violin" / "suite.wav", 6.0)
        write(tmp_path / "set" / "piano" / "other.wav", 2.0)
        theirs = write(tmp_path / "theirs" / "suite.wav", 6.05, seed=3)
        direction = only(tmp_path / "set", source="violin", seconds=3)[0]
        system, _ = folder_system("theirs", tmp_path / "theirs", direction)
        clip = direction.clips[1]
        made = system.make(clip, AnalysedSound(clip.read()))
        whole = soundfile.read(theirs, dtype="float32")[0]
        assert made.wave.shape == (1, 3 * RATE)
        # Sample by sample at the file's own rate, but for the resampler's filter (8 kHz holds all of it).
        assert np.corrcoef(made.wave[0, :: RATE // 100], whole[3 * LOW : 6 * LOW : LOW // 100])[0, 1] > 0.9

    def test_another_content_is_another_system(self, pairs, tmp_path):
        direction = only(pairs, source="violin")[0]
        write(tmp_path / "theirs" / "song.wav", 2.0)
        first = folder_system("theirs", tmp_path / "theirs", direction)[0].identity
        write(tmp_path / "theirs" / "song.wav", 2.0, seed=1)
        assert folder_system("theirs", tmp_path / "theirs", direction)[0].identity != first
