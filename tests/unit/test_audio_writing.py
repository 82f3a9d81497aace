"""Writing sounds: the kind of sample and the level that a file gets, and every mistake by its message."""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiotrans import audio
from audiotrans.audio import writing
from audiotrans.audio.formats import CONTAINERS
from audiotrans.errors import AudiotransError, UsageError
from tests.sounds import snr_db, tones

# --- samples and levels ---


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_a_wav_like_another_keeps_its_kind_of_sample_and_its_bits(tmp_path: Path, subtype: str) -> None:
    wave = tones(2, 44_100)
    soundfile.write(tmp_path / "in.wav", wave.T, 44_100, subtype=subtype)
    source, rate = audio.read(tmp_path / "in.wav")
    audio.write(tmp_path / "out.wav", source, rate, like=audio.probe(tmp_path / "in.wav"))
    assert audio.probe(tmp_path / "out.wav").subtype == subtype
    np.testing.assert_array_equal(audio.read(tmp_path / "out.wav")[0], source)


@pytest.mark.parametrize(
    ("wanted", "suffix", "written"),
    [
        ("PCM_16", ".flac", "PCM_16"),
        ("PCM_U8", ".flac", "PCM_S8"),
        ("FLOAT", ".flac", "PCM_24"),
        ("PCM_16", ".mp3", "MPEG_LAYER_III"),
        ("VORBIS", ".wav", "PCM_24"),
        ("ALAC_16", ".m4a", "ALAC_16"),
        ("ALAC_24", ".m4a", "ALAC_24"),
        ("PCM_16", ".m4a", "AAC"),
        ("AAC", ".wav", "PCM_24"),
    ],
)
def test_the_kind_of_sample_follows_as_far_as_the_format_goes(
    tmp_path: Path, wanted: str, suffix: str, written: str
) -> None:
    like = audio.AudioInfo(tmp_path / "in", 44_100, 1, 1, "any", wanted)
    audio.write(tmp_path / f"x{suffix}", tones(1, 44_100), 44_100, like=like)
    assert audio.probe(tmp_path / f"x{suffix}").subtype == written


def test_sixteen_bits_are_rounded_to_the_nearest_and_never_wrap(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    steps = np.array([[0.0, 0.4, 0.6, -0.6, 1.5, 2.5, 32_767.0, 32_768.0, 50_000.0, -32_768.0, -50_000.0]])
    like = audio.AudioInfo(tmp_path / "in", 44_100, 1, 1, "WAV", "PCM_16")
    with (
        caplog.at_level(logging.WARNING),
        audio.Writer(tmp_path / "x.wav", 44_100, 1, like=like) as writer,
    ):
        writer.write((steps / 32_768).astype(np.float32))
    stored, _ = soundfile.read(tmp_path / "x.wav", dtype="int16")
    assert stored.tolist() == [0, 0, 1, -1, 2, 2, 32_767, 32_767, 32_767, -32_768, -32_768]
    assert writer.clipped == 2
    assert "2 samples lie beyond full scale" in caplog.text


def test_a_whole_wave_is_lowered_only_where_it_would_clip(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    loud = tones(2, 44_100) * 5  # peak just under 2
    with caplog.at_level(logging.WARNING):
        gain = audio.write(tmp_path / "x.wav", loud, 44_100)
    back, _ = audio.read(tmp_path / "x.wav")
    assert gain == pytest.approx(1 / np.abs(loud).max(), rel=1e-6)
    assert np.abs(back).max() <= 1.0
    assert snr_db(loud * np.float32(gain), back) > 120  # 24 bits
    assert "x.wav: lowered by" in caplog.text
    like = audio.AudioInfo(tmp_path / "in", 44_100, 2, 1, "WAV", "FLOAT")
    assert audio.write(tmp_path / "float.wav", loud, 44_100, like=like) == 1.0
    np.testing.assert_array_equal(audio.read(tmp_path / "float.wav")[0], loud)


def test_peak_safe_gain() -> None:
    assert audio.peak_safe_gain(1.0, "PCM_16") == 1.0
    assert audio.peak_safe_gain(7.0, "FLOAT") == 1.0
    assert audio.peak_safe_gain(2.0, "PCM_16") == 0.5 * 32_767 / 32_768
    assert audio.peak_safe_gain(2.0, "VORBIS") < 0.5
    with pytest.raises(AudiotransError, match="peak is nan"):
        audio.peak_safe_gain(float("nan"), "PCM_16")


# --- mistakes in what is written ---


def leftovers(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_missing_folders_are_made_and_case_is_free(tmp_path: Path) -> None:
    audio.write(tmp_path / "a" / "b" / "X.WAV", tones(1), 48_000)
    assert leftovers(tmp_path / "a" / "b") == ["X.WAV"]


def test_an_existing_output_is_kept_unless_forced(tmp_path: Path) -> None:
    audio.write(tmp_path / "x.wav", tones(1), 48_000)
    before = (tmp_path / "x.wav").read_bytes()
    with pytest.raises(UsageError, match="exists already: use --force"):
        audio.write(tmp_path / "x.wav", tones(2), 48_000)
    assert (tmp_path / "x.wav").read_bytes() == before
    audio.write(tmp_path / "x.wav", tones(2), 48_000, force=True)
    assert audio.probe(tmp_path / "x.wav").channels == 2


def test_an_error_in_the_middle_leaves_the_old_file_alone(tmp_path: Path) -> None:
    audio.write(tmp_path / "x.wav", tones(1), 48_000)
    before = (tmp_path / "x.wav").read_bytes()

    def fail() -> None:
        with audio.Writer(tmp_path / "x.wav", 48_000, 1, force=True) as writer:
            writer.write(tones(1))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert leftovers(tmp_path) == ["x.wav"]
    assert (tmp_path / "x.wav").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("x.wve", r"\.wve cannot be written; choose one of \.wav, .* Did you mean '\.wav'\?"),
        ("x", "the name has no suffix that tells the format; choose one of"),
        ("x.wma", r"\.wma cannot be written; .*Write a \.wav and convert it: ffmpeg -i .*x\.wav .*x\.wma"),
    ],
)
def test_unknown_output_suffix(tmp_path: Path, name: str, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        audio.Writer(tmp_path / name, 48_000, 1)


def test_output_is_a_folder_or_lies_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "x.wav").mkdir()
    with pytest.raises(UsageError, match="is a folder; name a file in it"):
        audio.write(tmp_path / "x.wav", tones(1), 48_000)
    (tmp_path / "file").touch()
    with pytest.raises(AudiotransError, match="a part of this path is a file"):
        audio.write(tmp_path / "file" / "y.wav", tones(1), 48_000)


def test_channels_rates_and_samples_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="9 channels; 1 to 8 can be written"):
        audio.write(tmp_path / "x.wav", tones(9), 48_000)
    with pytest.raises(UsageError, match="sample rate 0"):
        audio.write(tmp_path / "x.wav", tones(1), 0)
    with pytest.raises(AudiotransError, match="2 channels at 700000 Hz as PCM_24 cannot be written"):
        audio.write(tmp_path / "x.flac", tones(2), 700_000)
    with pytest.raises(AudiotransError, match="no sound to write"):
        audio.write(tmp_path / "x.wav", np.zeros((1, 0), np.float32), 48_000)
    wave = tones(1)
    wave[0, 24_000] = np.nan
    with pytest.raises(AudiotransError, match=r"the sample at 0\.5000 s in channel 1 is NaN"):
        audio.write(tmp_path / "x.wav", wave, 48_000)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    # A real "no space left" from the system.
    monkeypatch.setattr(writing, "_open_partial", lambda _: open("/dev/full", "w+b", buffering=0))
    with pytest.raises(AudiotransError, match=r"cannot write .*: no space is left on the disk"):
        audio.write(tmp_path / f"x{suffix}", tones(2), 48_000)
    assert leftovers(tmp_path) == []
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("room", [0, 100, 50_000])
def test_a_disk_that_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    class Small:
        """A file on a disk with little room."""

        def __init__(self, path: Path) -> None:
            self.file = open(path, "w+b", buffering=0)
            self.left = room

        def write(self, data: memoryview) -> int:
            if not self.left:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            count = self.file.write(data[: self.left])
            self.left -= count
            return count

        def __getattr__(self, name: str) -> object:
            return getattr(self.file, name)

    monkeypatch.setattr(writing, "_open_partial", Small)
    with pytest.raises(AudiotransError, match="no space is left on the disk"):
        audio.write(tmp_path / "x.wav", tones(2), 48_000)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("moment", ["file", "header", "samples"])
def test_ctrl_c_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], moment: str
) -> None:
    class Interrupted:
        """A file at whose opening, first (header) or later write Ctrl-C arrives."""

        def __init__(self, path: Path) -> None:
            self.file = open(path, "w+b", buffering=0)
            self.writes = 0
            if moment == "file":
                self.file.close()
                raise KeyboardInterrupt

        def write(self, data: memoryview) -> int:
            self.writes += 1
            if moment == "header" or self.writes == 5:
                raise KeyboardInterrupt
            return self.file.write(data)

        def __getattr__(self, name: str) -> object:
            return getattr(self.file, name)

    monkeypatch.setattr(writing, "_open_partial", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        audio.write(tmp_path / "x.wav", tones(2), 48_000)
    assert leftovers(tmp_path) == []
    assert capfd.readouterr().err == ""  # it is not lost on its way through C


def test_ctrl_c_while_the_encoder_starts_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writing.soundfile, "SoundFile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        audio.write(tmp_path / "x.wav", tones(2), 48_000)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "match"),
    [(errno.EACCES, "you are not allowed to write there"), (errno.EROFS, "that disk is read-only")],
)
def test_a_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, match: str
) -> None:
    def refuse(path: Path) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(writing, "_open_partial", refuse)
    with pytest.raises(AudiotransError, match=match):
        audio.write(tmp_path / "x.wav", tones(1), 48_000)


def test_a_format_that_ends_at_four_gib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wav = dataclasses.replace(CONTAINERS[".wav"], max_bytes=100_000)  # in the place of hours of sound
    monkeypatch.setitem(CONTAINERS, ".wav", wav)
    with pytest.raises(AudiotransError, match=r"ends at 4 GiB; write \.flac, \.w64 or \.rf64"):
        audio.write(tmp_path / "x.wav", tones(1), 48_000)
    assert leftovers(tmp_path) == []


def test_a_writer_is_used_in_a_with_statement(tmp_path: Path) -> None:
    writer = audio.Writer(tmp_path / "x.wav", 48_000, 1)
    with pytest.raises(ValueError, match="not open"):
        writer.write(tones(1))
    with writer:
        writer.write(tones(1))
        with pytest.raises(ValueError, match=r"\(1, samples\) is needed"):
            writer.write(tones(2))
