"""Reading sounds: pieces and blocks of them, and every mistake in a file by its message."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from audiotrans import audio
from audiotrans.errors import AudiotransError, UsageError
from tests.sounds import tones


def cut(path: Path, fraction: float) -> Path:
    """Keep the first part of a file only."""
    data = path.read_bytes()
    short = path.with_name(f"cut{path.suffix}")
    short.write_bytes(data[: int(len(data) * fraction)])
    return short


@pytest.mark.skipif(os.name != "posix", reason="names are Unicode elsewhere")
def test_names_need_not_be_valid_utf_8(tmp_path):
    wave = tones(1, 8_000, 0.1)
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))  # Latin-1, as old archives have it
    audio.write(tmp_path / "cafe.wav", wave, 8_000)
    try:
        (tmp_path / "cafe.wav").rename(path)
    except OSError:
        pytest.skip("this file system takes no such names")
    np.testing.assert_allclose(audio.read(path)[0], wave, atol=1e-4)
    assert audio.probe(path).sample_rate == 8_000


# --- pieces and blocks ---


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a"])
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


@pytest.mark.parametrize("suffix", [".ogg", ".opus"])
def test_several_sounds_in_one_ogg_file_are_read_as_one(tmp_path: Path, suffix: str) -> None:
    paths = [tmp_path / f"{name}{suffix}" for name in "abc"]
    for path, seconds in zip(paths, (1.0, 0.25, 2.0), strict=True):
        audio.write(path, tones(2, 48_000, seconds), 48_000)
    whole = np.concatenate([audio.read(path)[0] for path in paths], axis=1)
    joined = tmp_path / f"x{suffix}"
    joined.write_bytes(b"".join(path.read_bytes() for path in paths))
    assert audio.probe(joined).frames == whole.shape[1]
    assert audio.probe(joined).note == "holds 3 sounds one behind the other: they are read as one"
    np.testing.assert_array_equal(audio.read(joined)[0], whole)
    np.testing.assert_array_equal(audio.read(joined, start_seconds=1.2)[0], whole[:, 57_600:])
    refused(cut(joined, 0.9), "is cut off or damaged")
    joined.write_bytes(3 * paths[1].read_bytes())  # one number of a stream in all
    assert audio.probe(joined).frames == 3 * audio.probe(paths[1]).frames
    audio.write(paths[1], tones(1), 48_000, force=True)
    joined.write_bytes(paths[0].read_bytes() + paths[1].read_bytes())
    with pytest.raises(AudiotransError, match="sound 2 of it has 1 channels at 48000 Hz"):
        audio.read(joined)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aiff", ".mp3"])
def test_tags_before_the_sound_are_passed_over(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    audio.write(path, tones(2), 48_000)
    whole, _ = audio.read(path)
    path.write_bytes(b"ID3\3\0\0\0\0\0\x10" + bytes(16) + path.read_bytes())
    np.testing.assert_array_equal(audio.read(path)[0], whole)


@pytest.mark.parametrize("trailer", [b"", bytes(5_000), b"TAG" + bytes(125)])
@pytest.mark.parametrize("sample_rate", [11_025, 22_050, 44_100])
def test_mp3_without_a_length_is_read_to_its_end(tmp_path: Path, sample_rate: int, trailer: bytes) -> None:
    # Loud at first: libsndfile alone guesses the length from the high bit rate of the first frame, and loses the rest.
    noise = np.random.default_rng(3).normal(0, 0.2, (2, sample_rate))
    wave = np.concatenate([noise, np.zeros((2, 4 * sample_rate))], axis=1)
    audio.write(tmp_path / "x.mp3", wave.astype(np.float32), sample_rate)
    data = (tmp_path / "x.mp3").read_bytes()
    (tmp_path / "x.mp3").write_bytes(data[data.find(data[:2], 100) :] + trailer)
    assert soundfile.info(tmp_path / "x.mp3").frames < 0.9 * wave.shape[1]  # the guess that is to be mended
    back, _ = audio.read(tmp_path / "x.mp3")
    # The encoder's delay is not marked any more: up to two frames of 1,152 samples longer, never shorter.
    assert 0 <= back.shape[1] - wave.shape[1] <= 2 * 1_152
    assert audio.probe(tmp_path / "x.mp3").frames == back.shape[1]


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


def test_an_mp4_that_was_never_finished_says_so(tmp_path: Path) -> None:
    (tmp_path / "my song.m4a").write_bytes(b"\x00\x00\x00\x20ftypM4A \x00\x00\x00\x00" + bytes(200))
    refused(tmp_path / "my song.m4a", "cannot be decoded: it is damaged, .*or a recording that was never finished")


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


def unfinished(path: Path, change: dict[int, bytes], frames: int) -> None:
    """Check that a sound whose header is changed so is read to its end, bit for bit, and that it is said."""
    whole, _ = audio.read(path)
    data = bytearray(path.read_bytes())
    for at, new in change.items():
        data[at : at + len(new)] = new
    path.write_bytes(data)
    info = audio.probe(path)
    assert info.frames == frames
    assert info.note == "its header was never finished: it is read to its end"
    np.testing.assert_array_equal(audio.read(path)[0], whole)
    np.testing.assert_array_equal(audio.read(path, start_seconds=0.5)[0], whole[:, 24_000:])


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("promise", [0, 6_000])  # a recorder that crashed, and one that noted the length now and then
def test_a_wav_whose_header_was_never_finished_is_read_to_its_end(tmp_path: Path, subtype: str, promise: int) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, tones(2).T, 48_000, subtype=subtype)
    assert audio.probe(path).note == ""
    at = path.read_bytes().find(b"data") + 4
    unfinished(path, {4: promise.to_bytes(4, "little"), at: promise.to_bytes(4, "little")}, 48_007)


def test_a_long_form_wav_without_its_sizes_is_read_to_its_end(tmp_path: Path) -> None:
    audio.write(tmp_path / "x.rf64", tones(2), 48_000)
    assert (tmp_path / "x.rf64").read_bytes()[12:16] == b"ds64"
    assert audio.probe(tmp_path / "x.rf64").note == ""
    unfinished(tmp_path / "x.rf64", {20: bytes(24)}, 48_007)


@pytest.mark.parametrize("tag", [b"TAG" + b"My tune".ljust(125), b"ID3\4\0\0\0\0\0\x78" + bytes(120)])
def test_tags_behind_a_wav_are_no_sound(tmp_path: Path, tag: bytes) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, tones(2).T, 48_000)
    path.write_bytes(path.read_bytes() + tag)
    info = audio.probe(path)
    assert (info.frames, info.note) == (48_007, "")
    assert audio.read(path)[0].shape == (2, 48_007)


@pytest.mark.parametrize("suffix", [".wav", ".rf64"])
@pytest.mark.parametrize("count", [200, 300_000])
def test_bytes_behind_a_finished_wav_are_no_sound(tmp_path: Path, suffix: str, count: int) -> None:
    path = tmp_path / f"x{suffix}"
    audio.write(path, tones(2), 48_000)
    whole, _ = audio.read(path)
    rubbish = np.random.default_rng(0).integers(128, 256, count, np.uint8).tobytes()
    path.write_bytes(path.read_bytes() + rubbish)
    info = audio.probe(path)
    assert info.frames == 48_007
    assert info.note == f"{count} bytes that lie behind the end of its sound are passed over"
    np.testing.assert_array_equal(audio.read(path)[0], whole)


def test_an_unfinished_wav_ends_where_the_size_of_the_whole_says(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, tones(2).T, 48_000)
    whole = path.read_bytes()
    path.write_bytes(whole[:40] + bytes(4) + whole[44:] + b"\xff" * 4_000)
    info = audio.probe(path)
    assert (info.frames, info.note) == (48_007, "its header was never finished: it is read to its end")


@pytest.mark.parametrize("rate", [1, 999, 4_000_001, 2**31 - 1])
@pytest.mark.parametrize("suffix", [".wav", ".au", ".aiff"])
def test_rates_that_no_sound_has_are_refused(tmp_path: Path, rate: int, suffix: str) -> None:
    soundfile.write(tmp_path / f"x{suffix}", np.zeros(9_000), rate)
    refused(tmp_path / f"x{suffix}", r"samples a second; 1000 to 4000000 are possible\. Its header is damaged")


def test_what_is_read_anyway_need_not_be_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audio.write(tmp_path / "x.mp3", tones(2), 48_000)
    counted = audio.probe(tmp_path / "x.mp3")
    monkeypatch.setattr("audiotrans.audio.reading._checked", None)  # never decoded
    assert audio.probe(tmp_path / "x.mp3", count=False) == dataclasses.replace(counted, frames=0)


@pytest.mark.parametrize("head", [b"", b"ID3\3\0\0\0\0\0\x10" + bytes(16)])
@pytest.mark.parametrize("damage", [40, 400])
def test_damaged_mp3_is_refused_without_a_word_of_the_decoder(
    tmp_path: Path, head: bytes, damage: int, capfd: pytest.CaptureFixture[str]
) -> None:
    audio.write(tmp_path / "x.mp3", tones(2), 48_000)
    data = (tmp_path / "x.mp3").read_bytes()
    (tmp_path / "x.mp3").write_bytes(head + data[:damage] + bytes(20_000))
    with pytest.raises(AudiotransError):
        audio.read(tmp_path / "x.mp3")
    assert capfd.readouterr() == ("", "")


def test_mp3_in_a_wav_behind_a_tag_is_decoded_without_a_word(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with av.open(str(tmp_path / "x.wav"), "w") as file:
        stream = file.add_stream("libmp3lame", rate=48_000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(tones(2), format="fltp", layout="stereo")
        frame.sample_rate = 48_000
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    data = (tmp_path / "x.wav").read_bytes()
    size = 70_000  # a picture
    tag = b"ID3\3\0\0" + bytes(size >> shift & 127 for shift in (21, 14, 7, 0)) + bytes(size)
    (tmp_path / "x.wav").write_bytes(tag + data[:4_000] + b"\x0d\x21\xc6\x8b" * 200 + data[4_000:])
    with contextlib.suppress(AudiotransError):
        audio.read(tmp_path / "x.wav")
    assert capfd.readouterr() == ("", "")


def test_what_libsndfile_cannot_seek_in_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, tones(1, 8_000).T, 8_000, subtype="GSM610")
    whole, _ = audio.read(path)
    assert whole.shape[1] >= audio.probe(path).frames > 0
    np.testing.assert_array_equal(audio.read(path, start_seconds=0.25, seconds=0.5)[0], whole[:, 2_000:6_000])


def test_chunks_behind_the_sound_are_no_sound(tmp_path: Path) -> None:
    audio.write(tmp_path / "x.wav", tones(1), 48_000)
    soundfile.SoundFile(tmp_path / "nothing.wav", "w", 48_000, 1).close()
    chunk = b"LIST" + (200).to_bytes(4, "little") + bytes(200)
    for name in ("x.wav", "nothing.wav"):
        with (tmp_path / name).open("ab") as file:
            file.write(bytes(file.tell() % 2) + chunk)
    assert (audio.probe(tmp_path / "x.wav").frames, audio.probe(tmp_path / "x.wav").note) == (48_007, "")
    refused(tmp_path / "nothing.wav", r"holds no sound \(zero length\)")


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
