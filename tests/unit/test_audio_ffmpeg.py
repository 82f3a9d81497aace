"""What FFmpeg's libraries read for us: files of phones, players and cameras, whatever their names say."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from mutagen.mp4 import MP4, MP4FreeForm

from audiotrans import audio
from audiotrans.errors import AudiotransError
from tests.sounds import Wave, snr_db, tones
from tests.unit.test_audio_reading import cut, refused

RATE = 44_100


def encode(
    path: Path, codecs: Sequence[str], container: str, *, rate: int = RATE, waves: Sequence[Wave] | None = None,
    video: bool = False, faststart: bool = False,
) -> Wave:  # fmt: skip
    """Write stereo sound streams, and a moving picture if wanted; return the first wave."""
    waves = waves or [tones(2, rate, 2.0)] * len(codecs)
    # The clock of an MP4 counts milliseconds otherwise: older releases of FFmpeg's libraries cut by it.
    options = {"movie_timescale": str(rate)} if container in ("mp4", "mov", "ipod") else {}
    options |= {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", format=container, options=options) as file:
        if video:
            picture = file.add_stream("mpeg4", rate=25)
            picture.width = picture.height = 64
            picture.pix_fmt = "yuv420p"
        streams = [file.add_stream(codec, rate=rate, layout="stereo") for codec in codecs]
        for stream, wave in zip(streams, waves, strict=True):
            if stream.codec_context.name.startswith("wma"):
                stream.bit_rate = 128_000  # has no default
            resampler = av.AudioResampler(stream.codec_context.codec.audio_formats[0].name, "stereo", rate)
            for start in range(0, wave.shape[1], 10_000):
                block = np.ascontiguousarray(wave[:, start : start + 10_000])
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
                frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
                for part in resampler.resample(frame):
                    file.mux(stream.encode(part))
            file.mux(stream.encode(None))
        for number in range(50 if video else 0):
            shade = np.full((64, 64, 3), 5 * number, np.uint8)
            still = av.VideoFrame.from_ndarray(shade, format="rgb24")
            still.pts, still.time_base = number, Fraction(1, 25)
            file.mux(picture.encode(still))
        if video:
            file.mux(picture.encode(None))
    return waves[0] if waves else np.zeros((2, 0), np.float32)


@pytest.mark.parametrize(
    ("name", "codec", "container", "kind", "longer"),
    [
        ("x.m4a", "aac", "ipod", ("MP4", "AAC"), 0),
        ("x.m4a", "alac", "ipod", ("MP4", "ALAC_24"), 0),
        ("x.mp4", "aac", "mp4", ("MP4", "AAC"), 0),
        ("x.mov", "aac", "mov", ("MP4", "AAC"), 0),
        ("x.mov", "pcm_s16le", "mov", ("MP4", "PCM_16"), 0),
        ("x.mov", "pcm_s24le", "mov", ("MP4", "PCM_24"), 0),
        ("x.mp4", "flac", "mp4", ("MP4", "PCM_16"), 0),
        ("x.mp3", "libmp3lame", "mp3", ("MP3", "MPEG_LAYER_III"), 0),
        ("x.wv", "wavpack", "wv", ("WV", "PCM_16"), 0),
        ("x.tta", "tta", "tta", ("TTA", "PCM_U8"), 0),
        ("x.3gp", "aac", "3gp", ("MP4", "AAC"), 0),
        ("x.avi", "pcm_s16le", "avi", ("AVI", "PCM_16"), 0),
        ("x.mka", "flac", "matroska", ("MATROSKA", "PCM_16"), 0),
        # What these say of the length is rounded to milliseconds, or nothing: the encoder's last frame stays whole.
        ("x.mkv", "aac", "matroska", ("MATROSKA", "AAC"), 2_048),
        # Nor do these say how much silence the encoder puts before the sound.
        ("x.ac3", "ac3", "ac3", ("AC3", "AC3"), 1_536),
        ("x.eac3", "eac3", "eac3", ("EAC3", "EAC3"), 1_536),
        ("x.mp2", "mp2", "mp2", ("MP3", "PCM_16"), 1_152),
        ("x.mpg", "mp2", "mpeg", ("MPEG", "PCM_16"), 1_152),
        ("x.rm", "ac3", "rm", ("RM", "AC3"), 1_536),
        ("x.aac", "aac", "adts", ("AAC", "AAC"), 2_048),
        ("x.flv", "aac", "flv", ("FLV", "AAC"), 2_048),
        ("x.mts", "aac", "mpegts", ("MPEGTS", "AAC"), 2_048),
        ("x.avi", "libmp3lame", "avi", ("AVI", "MPEG_LAYER_III"), 3_456),
    ],
)
def test_sound_of_phones_players_and_cameras(
    tmp_path: Path, name: str, codec: str, container: str, kind: tuple[str, str], longer: int
) -> None:
    wave = encode(tmp_path / name, [codec], container)
    info = audio.probe(tmp_path / name)
    back, rate = audio.read(tmp_path / name)
    assert (info.format, info.subtype, info.sample_rate, info.channels) == (*kind, RATE, 2)
    assert (rate, info.note) == (RATE, "")
    assert info.frames == back.shape[1]
    assert 0 <= back.shape[1] - wave.shape[1] <= longer
    if longer <= 1_024:  # otherwise the sound begins later
        assert snr_db(wave, back[:, : wave.shape[1]]) > (80 if codec in ("alac", "flac") else 25)


def test_sound_of_telephones_is_read(tmp_path: Path) -> None:
    if "libopencore_amrnb" not in av.codecs_available:
        pytest.skip("this build of PyAV writes no AMR")
    with av.open(str(tmp_path / "x.amr"), "w") as file:
        stream = file.add_stream("libopencore_amrnb", rate=8_000, layout="mono")
        for start in range(0, 8_000, 160):
            frame = av.AudioFrame.from_ndarray(np.full((1, 160), 9_000, np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 8_000, start, Fraction(1, 8_000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    wave, rate = audio.read(tmp_path / "x.amr")
    assert (len(wave), rate) == (1, 8_000)
    assert 8_000 <= wave.shape[1] <= 8_160  # and the encoder's last frame


@pytest.mark.parametrize("kind", [".dsf", ".dff"])
def test_one_bit_sound_is_read(tmp_path: Path, kind: str) -> None:
    """DSD of 64 times 44.1 kHz, whose bits are dense where the sound is high: a sine by a modulator of second order."""
    length, rate = 4_096 * 8 * 8, 64 * 44_100
    tone = 0.5 * np.sin(2 * np.pi * 1_000 * np.arange(length) / rate)
    bits, first, second = np.zeros(length, np.uint8), 0.0, 0.0
    for at, value in enumerate(tone):
        bits[at] = second >= 0
        first += value - (2.0 * bits[at] - 1)
        second += first - (2.0 * bits[at] - 1)
    path = tmp_path / f"x{kind}"
    path.write_bytes(dsf(bits, rate) if kind == ".dsf" else dff(bits, rate))
    info = audio.probe(path)
    assert (info.sample_rate, info.channels, info.frames) == (rate // 8, 1, length // 8)
    wave, _ = audio.read(path, sample_rate=44_100)
    middle = wave[0, 500:3_500]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert abs(np.argmax(spectrum) * 44_100 / len(middle) - 1_000) < 20


def dsf(bits: np.ndarray, rate: int) -> bytes:
    """Return a DSF file of one channel."""
    data = np.packbits(bits, bitorder="little").tobytes()
    form = struct.pack("<IIIIIIQII", 1, 0, 1, 1, rate, 1, len(bits), 4_096, 0)
    size = 28 + 12 + len(form) + 12 + len(data)
    return b"".join([
        b"DSD ", struct.pack("<QQQ", 28, size, 0), b"fmt ", struct.pack("<Q", 12 + len(form)), form,
        b"data", struct.pack("<Q", 12 + len(data)), data,
    ])  # fmt: skip


def dff(bits: np.ndarray, rate: int) -> bytes:
    """Return a DSDIFF file of one channel."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return name + struct.pack(">Q", len(content)) + content + bytes(len(content) % 2)

    about = chunk(b"FS  ", struct.pack(">I", rate)) + chunk(b"CHNL", struct.pack(">H", 1) + b"SLFT")
    about += chunk(b"CMPR", b"DSD \x0enot compressed\0")
    body = chunk(b"FVER", bytes((1, 5, 0, 0))) + chunk(b"PROP", b"SND " + about)
    return chunk(b"FRM8", b"DSD " + body + chunk(b"DSD ", np.packbits(bits).tobytes()))


def test_wma_is_read(tmp_path: Path) -> None:
    wave = encode(tmp_path / "x.wma", ["wmav2"], "asf")
    info = audio.probe(tmp_path / "x.wma")
    assert (info.format, info.subtype, info.sample_rate, info.channels) == ("WMA", "WMAV2", RATE, 2)
    assert abs(info.frames - wave.shape[1]) <= 2_048  # a frame of WMA; the file does not say more
    assert info.frames == audio.read(tmp_path / "x.wma")[0].shape[1]
    refused(cut(tmp_path / "x.wma", 0.6), "is cut off or damaged")


@pytest.mark.parametrize(("name", "container"), [("x.webm", "webm"), ("x.mkv", "matroska"), ("x.mp4", "mp4")])
def test_opus_in_video_has_its_exact_length(tmp_path: Path, name: str, container: str) -> None:
    wave = encode(tmp_path / name, ["libopus"], container, rate=48_000)
    back, rate = audio.read(tmp_path / name)
    assert (rate, back.shape) == (48_000, wave.shape)
    assert snr_db(wave, back) > 25


@pytest.mark.parametrize(("right", "wrong"), [(".mp3", ".wav"), (".m4a", ".wav"), (".m4a", ".mp3"), (".flac", ".m4a")])
def test_bytes_decide_and_not_names(tmp_path: Path, right: str, wrong: str) -> None:
    audio.write(tmp_path / f"x{right}", tones(2), 48_000)
    whole, _ = audio.read(tmp_path / f"x{right}")
    (tmp_path / f"x{right}").rename(tmp_path / f"x{wrong}")
    np.testing.assert_array_equal(audio.read(tmp_path / f"x{wrong}")[0], whole)
    assert audio.find_audio([tmp_path]) == [tmp_path / f"x{wrong}"]


def test_the_sound_of_a_video_is_read(tmp_path: Path) -> None:
    wave = encode(tmp_path / "x.mp4", ["aac"], "mp4", video=True)
    back, _ = audio.read(tmp_path / "x.mp4")
    assert back.shape == wave.shape
    assert snr_db(wave, back) > 30
    assert audio.output_suffix(tmp_path / "x.mp4") == ".m4a"
    assert audio.output_suffix(tmp_path / "x.MKV") == ".wav"
    assert audio.output_suffix(tmp_path / "x.FLAC") == ".FLAC"


def test_a_video_without_sound_is_one_line(tmp_path: Path) -> None:
    encode(tmp_path / "x.mp4", [], "mp4", video=True)
    refused(tmp_path / "x.mp4", "holds no sound, only pictures")


def test_the_first_of_several_sound_streams_is_read_and_it_is_said(tmp_path: Path) -> None:
    first, second = tones(2, RATE, 2.0), tones(2, RATE, 1.0)
    encode(tmp_path / "x.mkv", ["aac", "aac"], "matroska", waves=[first, second])
    info = audio.probe(tmp_path / "x.mkv")
    assert info.note == "holds 2 sound streams; number 1 is read"
    assert 0 <= info.frames - first.shape[1] <= 2_048


@pytest.mark.parametrize(
    ("name", "container", "codec"),
    [("x.mp4", "mp4", "aac"), ("x.mov", "mov", "pcm_s16le"), ("x.m4a", "ipod", "alac"), ("x.mkv", "matroska", "aac")],
)
def test_cut_off_files_are_refused(tmp_path: Path, name: str, container: str, codec: str) -> None:
    encode(tmp_path / name, [codec], container, faststart=container != "matroska")
    refused(cut(tmp_path / name, 0.6), "is cut off or damaged: .*Copy it again, or keep what is left: ffmpeg")


def test_the_length_that_itunes_notes_is_kept(tmp_path: Path) -> None:
    encode(tmp_path / "x.m4a", ["aac"], "ipod")
    whole, _ = audio.read(tmp_path / "x.m4a")
    for noted, believed in (("158", 88_207), ("zz", 88_207), (f"{88_150:X}", 88_150), (f"{80_000:X}", 88_207)):
        tags = MP4(tmp_path / "x.m4a")
        note = f" 00000000 00000400 00000037 {noted} " + "00000000 " * 8
        tags["----:com.apple.iTunes:iTunSMPB"] = [MP4FreeForm(note.encode())]
        tags.save()
        np.testing.assert_array_equal(audio.read(tmp_path / "x.m4a")[0], whole[:, :believed])


@pytest.mark.parametrize("text", ["ffconcat version 1.0\nfile x.wav\n", "#EXTM3U\n#EXTINF:1,\nx.wav\n#EXT-X-ENDLIST\n"])
@pytest.mark.parametrize("name", ["list.m4a", "list.m3u8", "list"])
def test_a_file_cannot_make_us_open_another(tmp_path: Path, text: str, name: str) -> None:
    audio.write(tmp_path / "x.wav", tones(1), 48_000)
    (tmp_path / name).write_text(text)
    refused(tmp_path / name, "is not a sound file that can be read")


def test_a_large_cover_before_the_sound_is_passed_over(tmp_path: Path) -> None:
    audio.write(tmp_path / "x.mp3", tones(2), 48_000)
    whole, _ = audio.read(tmp_path / "x.mp3")
    cover = b"APIC" + (300_000).to_bytes(4, "big") + bytes(2) + b"\0image/png\0\3\0" + bytes(299_987)
    size = len(cover)
    header = b"ID3\3\0\0" + bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))
    sound = (tmp_path / "x.mp3").read_bytes()
    (tmp_path / "x.mp3").write_bytes(header + cover + sound)
    np.testing.assert_array_equal(audio.read(tmp_path / "x.mp3")[0], whole)
    refused(cut(tmp_path / "x.mp3", 1 - len(sound) / 2 / (size + len(sound))), "is cut off or damaged")


def test_a_sound_that_changes_on_the_way_is_refused(tmp_path: Path) -> None:
    audio.write(tmp_path / "a.aac.mp3", tones(2, 44_100), 44_100)
    audio.write(tmp_path / "b.mp3", tones(1, 22_050), 22_050)
    joined = (tmp_path / "a.aac.mp3").read_bytes() + (tmp_path / "b.mp3").read_bytes()
    (tmp_path / "x.mp3").write_bytes(joined)
    with pytest.raises(AudiotransError, match=r"x\.mp3: is cut off or damaged: .*it goes on with"):
        audio.read(tmp_path / "x.mp3")


def test_joined_mp3_files_are_read_to_the_end(tmp_path: Path) -> None:
    audio.write(tmp_path / "x.mp3", tones(2), 48_000)
    once = (tmp_path / "x.mp3").read_bytes()
    (tmp_path / "x.mp3").write_bytes(once + once)  # the tag counts the frames of the first only
    assert 2 * 48_007 <= audio.probe(tmp_path / "x.mp3").frames <= 2 * 48_007 + 4 * 1_152


def test_mp3_inside_wav_is_read(tmp_path: Path) -> None:
    wave = encode(tmp_path / "x.wav", ["libmp3lame"], "wav")
    assert 0 <= audio.probe(tmp_path / "x.wav").frames - wave.shape[1] <= 2 * 1_152


def test_nothing_is_said_on_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    encode(tmp_path / "x.mp4", ["aac"], "mp4", faststart=True)
    audio.write(tmp_path / "x.mp3", tones(2), 48_000)
    for path in (cut(tmp_path / "x.mp4", 0.6), cut(tmp_path / "x.mp3", 0.6)):
        with pytest.raises(AudiotransError):
            audio.read(path)
    assert capfd.readouterr().err == ""
