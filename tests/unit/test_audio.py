"""The audio door: every format there and back, every mistake by its message."""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from audiotrans.errors import AudiotransError, UsageError, lookup, nearest
from audiotrans.sound import audio
from audiotrans.sound.audio import mp3, writing
from audiotrans.sound.audio.formats import CONTAINERS

Wave = NDArray[np.float32]


def tones(channels: int, sample_rate: int = 48_000, seconds: float = 1.0) -> Wave:
    """Make a faded tone per channel, each at its own pitch; 7 samples more, so that no length is round."""
    time = np.arange(int(sample_rate * seconds) + 7) / sample_rate
    pitches = 220 + 30 * np.arange(channels)[:, None]
    return (0.4 * np.sin(2 * np.pi * pitches * time) * np.hanning(len(time))).astype(np.float32)


def snr_db(truth: Wave, found: Wave) -> float:
    error = float(np.sum((truth.astype(np.float64) - found) ** 2))
    return 10 * np.log10(float(np.sum(truth.astype(np.float64) ** 2)) / max(error, 1e-30))


def cut(path: Path, fraction: float) -> Path:
    """Keep the first part of a file only."""
    data = path.read_bytes()
    short = path.with_name(f"cut{path.suffix}")
    short.write_bytes(data[: int(len(data) * fraction)])
    return short


# --- there and back ---

LOSSLESS = (".wav", ".flac", ".aiff", ".aif", ".w64", ".rf64", ".caf", ".au")


@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("suffix", LOSSLESS)
def test_lossless_formats_come_back_at_24_bits(tmp_path: Path, suffix: str, channels: int) -> None:
    wave = tones(channels)
    audio.write(tmp_path / f"x{suffix}", wave, 48_000)
    info = audio.probe(tmp_path / f"x{suffix}")
    back, rate = audio.read(tmp_path / f"x{suffix}")
    assert (info.sample_rate, info.channels, info.frames, info.subtype) == (48_000, channels, 48_007, "PCM_24")
    assert rate == 48_000
    assert back.dtype == np.float32
    # Half a step of 24 bits, and the rounding of float32 near it.
    assert np.abs(back - wave).max() <= 0.51 * 2.0**-23


# Measured: Vorbis 39 dB, Opus 34 dB, MP3 53 dB. 30 dB fails for any shift by a sample, swap or lost channel.
@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("suffix", [".ogg", ".oga", ".opus", ".mp3"])
def test_lossy_formats_come_back_in_step(tmp_path: Path, suffix: str, channels: int) -> None:
    wave = tones(channels)
    path = tmp_path / f"x{suffix}"
    if suffix == ".mp3" and channels > 2:
        with pytest.raises(UsageError, match=r"MP3 holds 2 channels, the sound has 8; write \.wav"):
            audio.write(path, wave, 48_000)
        return
    audio.write(path, wave, 48_000)
    back, rate = audio.read(path)
    assert rate == 48_000
    assert back.shape == wave.shape
    assert audio.probe(path).frames == wave.shape[1]
    kept = 7 if suffix == ".opus" and channels == 8 else channels  # the bass channel of 7.1 holds no tones
    assert all(snr_db(wave[c], back[c]) > 30 for c in range(kept))


@pytest.mark.parametrize("sample_rate", [8_000, 11_025, 22_050, 44_100])
def test_mp3_keeps_the_level_at_every_rate(tmp_path: Path, sample_rate: int) -> None:
    wave = tones(1, sample_rate)
    audio.write(tmp_path / "x.mp3", wave, sample_rate)
    back, _ = audio.read(tmp_path / "x.mp3")
    # A constant bit rate would lower it by up to 5 %.
    assert np.abs(back).max() == pytest.approx(np.abs(wave).max(), rel=0.02)


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


@pytest.mark.parametrize(
    ("suffix", "given", "stored"),
    [(".opus", 44_100, 48_000), (".opus", 11_025, 12_000), (".opus", 96_000, 48_000), (".mp3", 96_000, 48_000)],
)
def test_codecs_with_few_rates_get_the_next_higher_one(tmp_path: Path, suffix: str, given: int, stored: int) -> None:
    wave = tones(2, given)
    assert audio.file_sample_rate(f"x{suffix}", given) == stored
    audio.write(tmp_path / f"x{suffix}", wave, given)
    back, rate = audio.read(tmp_path / f"x{suffix}")
    assert rate == stored
    assert back.shape == (2, audio.resampled_length(wave.shape[1], given, stored))
    assert snr_db(wave, audio.resample(back, stored, given, length=wave.shape[1])) > 25  # measured: 28 and more


def test_a_long_ogg_vorbis_file_does_not_crash_the_interpreter(tmp_path: Path) -> None:
    wave = np.tile(tones(2, 44_100, 1.0)[:, :44_100], (1, 90))
    audio.write(tmp_path / "x.ogg", wave, 44_100)
    assert audio.probe(tmp_path / "x.ogg").frames == 90 * 44_100


def test_content_decides_over_a_wrong_suffix(tmp_path: Path) -> None:
    audio.write(tmp_path / "x.wav", tones(1), 48_000)
    (tmp_path / "x.wav").rename(tmp_path / "x.mp3")
    assert audio.probe(tmp_path / "x.mp3").format == "WAV"


# --- pieces and blocks ---


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus", ".mp3"])
def test_blocks_and_pieces_equal_the_whole(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    audio.write(path, tones(2, 48_000, 3.0), 48_000)
    whole, _ = audio.read(path)
    blocks = list(audio.read_blocks(path, 1_000))
    assert {block.shape for block in blocks[:-1]} == {(2, 1_000)}
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), whole)
    piece, _ = audio.read(path, start_seconds=1.2345, seconds=0.5)
    np.testing.assert_array_equal(piece, whole[:, 59_256 : 59_256 + 24_000])
    resampled = np.concatenate(list(audio.read_blocks(path, sample_rate=16_000)), axis=1)
    np.testing.assert_array_equal(resampled, audio.resample(whole, 48_000, 16_000))


def test_long_files_pass_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five minutes through reader, resampler and writer: nothing that soundfile is handed is ever longer."""
    sizes: list[int] = []
    read, written = soundfile.SoundFile.read, soundfile.SoundFile.write

    def noted_read(self: soundfile.SoundFile, frames: int = -1, **options: object) -> NDArray[np.float32]:
        sizes.append(frames)
        block: NDArray[np.float32] = read(self, frames, **options)
        return block

    def noted_write(self: soundfile.SoundFile, data: NDArray[np.float32]) -> None:
        sizes.append(len(data))
        written(self, data)

    monkeypatch.setattr(soundfile.SoundFile, "read", noted_read)
    monkeypatch.setattr(soundfile.SoundFile, "write", noted_write)
    minute = tones(1, 16_000, 60.0)[:, : 60 * 16_000]
    with audio.Writer(tmp_path / "in.wav", 16_000, 1) as writer:
        for _ in range(5):
            writer.write(minute)
    frames = 0
    with audio.Writer(tmp_path / "out.flac", 44_100, 1) as writer:
        for block in audio.read_blocks(tmp_path / "in.wav", 4_096, sample_rate=44_100):
            assert block.shape[1] <= 4_096
            frames += block.shape[1]
            writer.write(block)
    assert frames == 5 * 60 * 44_100 == audio.probe(tmp_path / "out.flac").frames
    assert min(sizes) > 0
    assert max(sizes) <= 65_536


def test_flac_of_unknown_length_is_counted(tmp_path: Path) -> None:
    audio.write(tmp_path / "x.flac", tones(1), 48_000)
    data = bytearray((tmp_path / "x.flac").read_bytes())
    data[21:26] = bytes((data[21] & 0xF0, 0, 0, 0, 0))  # the 36 bits of the number of samples
    (tmp_path / "x.flac").write_bytes(data)
    assert audio.probe(tmp_path / "x.flac").frames == 48_007
    assert audio.read(tmp_path / "x.flac")[0].shape == (1, 48_007)


@pytest.mark.parametrize("trailer", [b"", bytes(5_000), b"TAG" + bytes(125)])
@pytest.mark.parametrize("sample_rate", [11_025, 22_050, 44_100])
def test_mp3_without_a_length_is_read_to_its_end(tmp_path: Path, sample_rate: int, trailer: bytes) -> None:
    # Loud at first: libsndfile alone guesses the length from the high bit rate of the first frame, and loses the rest.
    noise = np.random.default_rng(3).normal(0, 0.2, (2, sample_rate))
    wave = np.concatenate([noise, np.zeros((2, 4 * sample_rate))], axis=1)
    audio.write(tmp_path / "x.mp3", wave.astype(np.float32), sample_rate)
    data = (tmp_path / "x.mp3").read_bytes()
    (tmp_path / "x.mp3").write_bytes(data[data.find(data[:2], 100) :] + trailer)
    assert mp3.find_tag(tmp_path / "x.mp3") is None
    assert soundfile.info(tmp_path / "x.mp3").frames < 0.9 * wave.shape[1]  # the guess that is to be mended
    back, _ = audio.read(tmp_path / "x.mp3")
    # The encoder's delay is not marked any more: up to two frames of 1,152 samples longer, never shorter.
    assert 0 <= back.shape[1] - wave.shape[1] <= 2 * 1_152
    assert audio.probe(tmp_path / "x.mp3").frames == back.shape[1]


# --- resampling ---


def test_resampled_length_rounds_halves_up_and_keeps_one_sample() -> None:
    assert [audio.resampled_length(n, 44_100, 22_050) for n in (0, 1, 2, 3, 441)] == [0, 1, 1, 2, 221]
    assert audio.resampled_length(1, 192_000, 8_000) == 1
    assert audio.resampled_length(3600 * 44_100, 44_100, 48_000) == 3600 * 48_000


def test_resample_agrees_with_soxr_and_leaves_no_alias() -> None:
    time = np.arange(44_100) / 44_100
    wave = np.stack([np.sin(2 * np.pi * 1_000 * time), np.sin(2 * np.pi * 15_000 * time)]).astype(np.float32)
    found = audio.resample(wave, 44_100, 22_050)
    np.testing.assert_array_equal(found, soxr.resample(wave.T.copy(), 44_100, 22_050, quality="VHQ").T)
    assert np.abs(found[1, 2_000:-2_000]).max() < 1e-6  # 15 kHz lies above the new Nyquist frequency


def test_resample_comes_back_to_the_very_length_and_sound() -> None:
    wave = tones(2, 96_000)
    back = audio.resample(audio.resample(wave, 96_000, 44_100), 44_100, 96_000, length=wave.shape[1])
    assert back.shape == wave.shape
    assert snr_db(wave, back) > 120  # float32 and a filter of 28 bits; measured 148


def test_resample_refuses_odd_input() -> None:
    with pytest.raises(UsageError, match="sample rate 0"):
        audio.resample(tones(1), 44_100, 0)
    with pytest.raises(ValueError, match="channels, samples"):
        audio.resample(tones(1)[0], 44_100, 48_000)


# --- mistakes in what is read ---


def refused(path: Path, match: str, error: type[AudiotransError] = AudiotransError) -> None:
    """Every way in gives the same single line."""
    for attempt in (audio.probe, audio.read, lambda p: list(audio.read_blocks(p))):
        with pytest.raises(error, match=match) as caught:
            attempt(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


def test_missing_file_with_a_near_name(tmp_path: Path) -> None:
    (tmp_path / "violin.wav").touch()
    refused(tmp_path / "voilin.wav", r"no such file\. Did you mean 'violin\.wav'\?")
    refused(tmp_path / "nowhere" / "x.wav", "no such file")


def test_a_folder(tmp_path: Path) -> None:
    refused(tmp_path, "is a folder; a sound file is needed")


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "x.wav").touch()
    refused(tmp_path / "x.wav", "the file is empty")


@pytest.mark.parametrize("name", ["x.wav", "x.mp3", "x.flac", "x.raw", "x"])
def test_text(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_text("not a sound at all\n" * 5_000)
    refused(tmp_path / name, r"is not a sound file that can be read; \.wav, \.flac")
    assert capfd.readouterr().err == ""  # the C libraries stay silent too


def test_m4a_names_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "my song.m4a").write_bytes(b"\x00\x00\x00\x20ftypM4A \x00\x00\x00\x00" + bytes(200))
    refused(tmp_path / "my song.m4a", r"\(m4a\) cannot be read; \.wav.*Convert it first: ffmpeg -i '.*my song\.m4a'")


@pytest.mark.parametrize("suffix", [".wav", ".ogg", ".aiff"])
def test_zero_length(tmp_path: Path, suffix: str) -> None:
    soundfile.SoundFile(tmp_path / f"x{suffix}", "w", 44_100, 2).close()
    refused(tmp_path / f"x{suffix}", r"holds no sound \(zero length\)")


def test_more_than_eight_channels(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.zeros((10, 9)), 44_100)
    refused(tmp_path / "x.wav", "9 channels; 1 to 8 can be read")


def test_unreadable_by_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audio.write(tmp_path / "x.wav", tones(1), 48_000)

    def denied(self: Path, *args: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "open", denied)  # the tests may run as root, whom no permission stops
    refused(tmp_path / "x.wav", "you are not allowed to read it")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.wav")
    refused(tmp_path / "x.wav", "is a device or a pipe")


@pytest.mark.parametrize("suffix", [".wav", ".aiff", ".w64", ".rf64", ".au", ".ogg", ".opus", ".mp3"])
def test_cut_off_files_show_in_the_header(tmp_path: Path, suffix: str) -> None:
    audio.write(tmp_path / f"x{suffix}", tones(2, 48_000, 3.0), 48_000)
    refused(cut(tmp_path / f"x{suffix}", 0.6), "is cut off or damaged: .*Copy it again, or keep what is left: ffmpeg")


def test_cut_off_flac_shows_while_it_is_decoded(tmp_path: Path) -> None:
    audio.write(tmp_path / "x.flac", tones(2, 48_000, 5.0), 48_000)
    short = cut(tmp_path / "x.flac", 0.6)
    for attempt in (audio.read, lambda p: list(audio.read_blocks(p))):
        with pytest.raises(AudiotransError, match=r"cut off or damaged: decoding fails after \d\.\d s"):
            attempt(short)


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".opus", ".mp3", ".caf"])
def test_a_torn_header(tmp_path: Path, suffix: str) -> None:
    audio.write(tmp_path / f"x{suffix}", tones(2), 48_000)
    (tmp_path / f"x{suffix}").write_bytes((tmp_path / f"x{suffix}").read_bytes()[:40])
    refused(tmp_path / f"x{suffix}", r"holds no sound that can be decoded|is not a sound file|is cut off")


@pytest.mark.parametrize("promise", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_a_wav_written_to_a_pipe_is_whole(tmp_path: Path, promise: int) -> None:
    audio.write(tmp_path / "x.wav", tones(1), 48_000)
    data = bytearray((tmp_path / "x.wav").read_bytes())
    at = data.find(b"data") + 4
    data[at : at + 4] = promise.to_bytes(4, "little")
    (tmp_path / "x.wav").write_bytes(data)
    assert audio.read(tmp_path / "x.wav")[0].shape == (1, 48_007)


@pytest.mark.parametrize(("value", "said"), [(np.nan, r"NaN \(not a number\)"), (-np.inf, "infinite")])
def test_nan_and_infinity_are_placed_in_time(tmp_path: Path, value: float, said: str) -> None:
    wave = np.zeros((100_000, 2), np.float32)
    wave[88_200, 1] = value  # in the second block
    soundfile.write(tmp_path / "x.wav", wave, 44_100, subtype="FLOAT")
    with pytest.raises(AudiotransError, match=rf"the sample at 2\.0000 s in channel 2 is {said}"):
        audio.read(tmp_path / "x.wav")
    with pytest.raises(AudiotransError, match=rf"the sample at 2\.0000 s in channel 2 is {said}"):
        list(audio.read_blocks(tmp_path / "x.wav", 100))


def test_pieces_out_of_range(tmp_path: Path) -> None:
    audio.write(tmp_path / "x.wav", tones(1), 48_000)
    for options in ({"start_seconds": -1.0}, {"seconds": 0.0}, {"start_seconds": float("nan")}):
        with pytest.raises(UsageError, match="a start >= 0 and a length > 0"):
            audio.read(tmp_path / "x.wav", **options)
    with pytest.raises(AudiotransError, match="begins at 5 s, but the sound ends before"):
        audio.read(tmp_path / "x.wav", start_seconds=5)
    with pytest.raises(UsageError, match="blocks of 0 frames"):
        next(audio.read_blocks(tmp_path / "x.wav", 0))


# --- mistakes in what is written ---


def leftovers(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_missing_folders_are_made_and_case_is_free(tmp_path: Path) -> None:
    audio.write(tmp_path / "a" / "b" / "X.WAV", tones(1), 48_000)
    assert leftovers(tmp_path / "a" / "b") == ["X.WAV"]


def test_an_existing_output_is_kept_unless_forced(tmp_path: Path) -> None:
    audio.write(tmp_path / "x.wav", tones(1), 48_000)
    before = (tmp_path / "x.wav").read_bytes()
    with pytest.raises(UsageError, match="exists already; --force replaces it"):
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
        ("x.wave", r"\.wave cannot be written; choose one of \.wav, .* Did you mean '\.wav'\?"),
        ("x", "the name has no suffix that tells the format; choose one of"),
        ("x.m4a", r"\.m4a cannot be written; .*Write a \.wav and convert it: ffmpeg -i .*x\.wav .*x\.m4a"),
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


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus", ".mp3"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk(tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / f".x.partial{suffix}").symlink_to("/dev/full")  # a real "no space left" from the system
    with pytest.raises(AudiotransError, match="cannot be written: no space is left on the disk"):
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


# --- finding files ---


def test_files_folders_and_patterns(tmp_path: Path) -> None:
    names = ["b.wav", "a.FLAC", "sub/c.mp3", "sub/[vio][cla]1__1.wav", ".hidden/d.wav", "sub/.c.partial.wav", "n.txt"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    everything = [tmp_path / name for name in ("a.FLAC", "b.wav", "sub/[vio][cla]1__1.wav", "sub/c.mp3")]
    assert audio.find_audio([tmp_path]) == everything
    assert audio.find_audio([tmp_path / "n.txt", str(tmp_path / "b.wav"), tmp_path]) == [
        tmp_path / "n.txt",
        tmp_path / "b.wav",
        *(path for path in everything if path.name != "b.wav"),
    ]
    assert audio.find_audio([tmp_path / "sub" / "[vio][cla]1__1.wav"]) == [everything[2]]
    assert audio.find_audio([str(tmp_path / "*")]) == everything
    assert audio.find_audio([str(tmp_path / "**" / "*.mp3")]) == [everything[3]]


def test_nothing_found(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the folder holds no sound file"):
        audio.find_audio([tmp_path])
    with pytest.raises(UsageError, match="the pattern matches no sound file"):
        audio.find_audio([str(tmp_path / "*.wav")])
    with pytest.raises(AudiotransError, match="there is no such file"):
        audio.find_audio([tmp_path / "x.wav"])
    with pytest.raises(UsageError, match="no sound file was named"):
        audio.find_audio([])


# --- errors ---


def test_errors_suggest_and_list() -> None:
    assert nearest("Pinao", ["violin", "piano"]) == " Did you mean 'piano'?"
    assert nearest("xyz", ["violin", "piano"]) == ""
    assert lookup({"a": 1}, "a", "thing") == 1
    with pytest.raises(UsageError, match=r"unknown phase method 'sorce': choose one of auto, source\. Did you mean"):
        lookup({"source": 1, "auto": 2}, "sorce", "phase method")
    assert (AudiotransError.exit_code, UsageError.exit_code) == (1, 2)
