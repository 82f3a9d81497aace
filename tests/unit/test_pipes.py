"""WAV headers from pipes, as other programs write them, and samples to and from bytes."""

from __future__ import annotations

import io
import os
import struct
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiotrans.audio.pipes import (
    KINDS,
    PipeFormat,
    PipeReader,
    PipeWriter,
    decode,
    encode,
    read_wav_header,
    wav_header,
)
from audiotrans.errors import AudiotransError, UsageError
from tests.sounds import tones

SUBTYPES = {kind.subtype: name for name, kind in KINDS.items()}


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(body) if size is None else size) + body + bytes(len(body) % 2)


def described(code: int = 1, channels: int = 2, rate: int = 44_100, bits: int = 16, extra: bytes = b"") -> bytes:
    block = channels * bits // 8
    return struct.pack("<HHIIHH", code, channels, rate, rate * block, block, bits) + extra


def wav(*chunks: bytes, size: int = 0, name: bytes = b"RIFF") -> bytes:
    return name + struct.pack("<I", size) + b"WAVE" + b"".join(chunks)


def read(data: bytes) -> tuple[PipeFormat, np.ndarray, PipeReader]:
    stream = io.BytesIO(data)
    form = read_wav_header(stream)
    reader = PipeReader(stream, form)
    blocks = list(reader.blocks())
    return form, np.concatenate([np.zeros((form.channels, 0)), *blocks], axis=1), reader


@pytest.mark.parametrize("subtype", SUBTYPES)
@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_what_libsndfile_writes_is_read_alike(subtype: str, container: str, channels: int) -> None:
    wave, file = tones(channels, 8_000, 0.1), io.BytesIO()
    soundfile.write(file, wave.T, 8_000, format=container, subtype=subtype)
    expected, _ = soundfile.read(io.BytesIO(file.getvalue()), dtype="float32", always_2d=True)
    form, got, reader = read(file.getvalue())
    assert (form.sample_rate, form.channels, form.kind) == (8_000, channels, SUBTYPES[subtype])
    assert form.frames == wave.shape[1]
    assert reader.complete
    np.testing.assert_array_equal(got, expected.T)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frames", [11, 4000, None])
def test_what_is_written_can_be_read_by_libsndfile(tmp_path: Path, kind: str, frames: int | None) -> None:
    wave = tones(1, 8_000, 0.5)[:, :frames]
    bits, code = KINDS[kind].bits, KINDS[kind].code
    form = PipeFormat(8_000, 1, kind, wav=True, frames=frames, description=described(code, 1, 8_000, bits))
    path = tmp_path / "a.wav"
    with path.open("wb") as file:
        writer = PipeWriter(file, form)
        writer.write(wave[:, :7])
        writer.write(wave[:, 7:])
        writer.finish()
    got, rate = soundfile.read(path, dtype="float32")
    assert (rate, soundfile.info(path).subtype) == (8_000, KINDS[kind].subtype)
    step = 2.0 ** (1 - bits) if code == 1 else 2.0**-25
    np.testing.assert_allclose(got, wave[0], atol=0.51 * step + 2**-26)
    assert path.stat().st_size % 2 == 0 or frames is None


@pytest.mark.parametrize(
    "size",
    [
        0,  # GStreamer, and many that never come back to fill it in
        0xFFFFFFFF,  # ffmpeg
        0xFFFFFFFF - 36,  # the same less the header
        0x7FFFF000,  # SoX
        0x7FFFFFFF,
        0x80000000,  # arecord
    ],
)
def test_stand_ins_for_the_length_mean_to_the_end(size: int) -> None:
    sound = bytes(range(200))
    form, got, reader = read(wav(chunk(b"fmt ", described()), b"data" + struct.pack("<I", size) + sound))
    assert form.frames is None
    assert got.shape == (2, 50)
    assert reader.complete


def test_chunks_before_the_sound_are_skipped_and_those_after_it_are_no_sound() -> None:
    extra = chunk(b"LIST", b"odd", 3) + chunk(b"fmt ", described()) + chunk(b"bext", bytes(70_000))
    form, got, reader = read(wav(extra, chunk(b"data", bytes(400)), chunk(b"LIST", b"\xff" * 40)))
    assert form.frames == 100
    assert got.shape == (2, 100)
    assert not got.any()
    assert reader.complete


def test_a_long_form_header_may_leave_its_length_open() -> None:
    sizes = struct.pack("<QQQI", 0, 0, 0, 0)
    form, got, _ = read(wav(chunk(b"ds64", sizes), chunk(b"fmt ", described()), b"data", b"\xff" * 4, bytes(40),
                            name=b"RF64"))  # fmt: skip
    assert form.frames is None
    assert got.shape == (2, 10)


def test_a_cut_off_sound_is_read_and_told() -> None:
    data = wav(chunk(b"fmt ", described()), chunk(b"data", bytes(403), 4000))
    form, got, reader = read(data[: data.index(b"data") + 8 + 403])
    assert form.frames == 1000
    assert got.shape == (2, 100)  # three bytes of the next are not a sample
    assert not reader.complete


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty: nothing was piped in"),
        (b"RIFF", "ends within its WAV header"),
        (b"OggS" + bytes(40), "does not begin with a WAV header.*--raw s16le"),
        (b"RIFX" + bytes(4) + b"WAVE" + bytes(40), "does not begin with a WAV header"),
        (wav(chunk(b"fmt ", described())), "ends within its WAV header"),
        (wav(chunk(b"data", bytes(8))), "the format is missing before the sound"),
        (wav(chunk(b"fmt ", described()[:14]), chunk(b"data", bytes(8))), "the format is missing"),
        (wav(chunk(b"fmt ", b"", 2**31)), "'fmt ' part has 2147483648 bytes"),
        (wav(chunk(b"fmt ", described(85)), chunk(b"data", bytes(8))), "codec 85 at 16 bits.*ffmpeg"),
        (wav(chunk(b"fmt ", described(1, bits=12)), chunk(b"data", bytes(8))), "codec 1 at 12 bits"),
        (wav(chunk(b"fmt ", described(channels=9)), chunk(b"data", bytes(8))), "9 channels"),
        (wav(chunk(b"fmt ", described(channels=0)), chunk(b"data", bytes(8))), "0 channels"),
        (wav(chunk(b"fmt ", described(rate=0)), chunk(b"data", bytes(8))), "at 0 Hz"),
    ],
)
def test_damaged_headers_are_one_line(data: bytes, message: str) -> None:
    with pytest.raises(AudiotransError, match=message) as caught:
        read(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rate", "channels", "kind", "message"),
    [
        (0, 1, "u8", "sample rate 0 Hz"),
        (999, 1, "u8", "1000 to 4000000 are possible"),
        (8000, 0, "u8", "0 channels"),
        (8000, 9, "u8", "9 channels"),
        (8000, 1, "s16", "s16le"),
    ],
)
def test_raw_formats_are_checked(rate: int, channels: int, kind: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PipeFormat(rate, channels, kind)


@pytest.mark.parametrize("kind", [name for name in KINDS if name[0] in "su" and name != "s32le"])
def test_integers_survive_a_copy(kind: str) -> None:
    form = PipeFormat(8_000, 2, kind)
    data = np.random.default_rng(3).integers(0, 256, 60 * form.frame_bytes, np.uint8).tobytes()
    assert encode(decode(data, form), form) == data


def test_integers_stop_at_full_scale_and_are_counted() -> None:
    sink, form = io.BytesIO(), PipeFormat(8_000, 1, "s16le")
    writer = PipeWriter(sink, form, gain=2.0)
    writer.write(np.array([[0.25, 0.5, 0.75, -0.5, -3.0]], np.float32))
    assert np.frombuffer(sink.getvalue(), "<i2").tolist() == [16384, 32767, 32767, -32768, -32768]
    assert (writer.clipped, writer.peak, writer.frames) == (2, 6.0, 5)
    loud = io.BytesIO()
    writer = PipeWriter(loud, PipeFormat(8_000, 1, "f32le"))
    writer.write(np.array([[3.0]], np.float32))
    assert np.frombuffer(loud.getvalue(), "<f4").tolist() == [3.0]
    assert writer.clipped == 0


def test_samples_that_are_no_numbers_are_refused() -> None:
    data = np.array([0, 0, np.nan], "<f4").tobytes()
    with pytest.raises(AudiotransError, match=r"the input: the sample at 0\.000\d s .* NaN"):
        list(PipeReader(io.BytesIO(data), PipeFormat(8_000, 1, "f32le")).blocks())


class Dribble(io.RawIOBase):
    """Gives one to three bytes at a time, and takes as few."""

    def __init__(self, data: bytes = b"") -> None:
        super().__init__()
        self.left, self.taken = data, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = min(len(buffer), 1 + len(self.left) % 3, len(self.left))
        buffer[:count], self.left = self.left[:count], self.left[count:]
        return count

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        self.taken += bytes(data[:3])
        return min(len(data), 3)


def test_pipes_may_give_and_take_a_few_bytes_at_a_time() -> None:
    file = io.BytesIO()
    soundfile.write(file, tones(2, 8_000, 0.01).T, 8_000, format="WAV", subtype="PCM_24")
    source, sink = Dribble(file.getvalue()), Dribble()
    form = read_wav_header(source)  # type: ignore[arg-type]
    writer = PipeWriter(sink, form)  # type: ignore[arg-type]
    for block in PipeReader(source, form).blocks():  # type: ignore[arg-type]
        writer.write(block)
    writer.finish()
    copied, _ = soundfile.read(io.BytesIO(sink.taken))
    original, _ = soundfile.read(io.BytesIO(file.getvalue()))
    np.testing.assert_array_equal(copied, original)


@pytest.mark.skipif(os.name != "posix", reason="pipes that do not block are made otherwise elsewhere")
def test_a_pipe_that_does_not_block_is_waited_for() -> None:
    data, parts = bytes(range(256)) * 400, []
    source, sink = os.pipe()
    for end in (source, sink):
        os.set_blocking(end, False)

    def feed() -> None:
        with os.fdopen(sink, "wb", buffering=0) as stream:
            writer = PipeWriter(stream, PipeFormat(8_000, 1, "s16le", wav=False))
            for start in range(0, len(data), 1024):
                writer.write(decode(data[start : start + 1024], PipeFormat(8_000, 1, "s16le", wav=False)))
                time.sleep(0.001)

    feeder = threading.Thread(target=feed)
    feeder.start()
    with os.fdopen(source, "rb", buffering=0) as stream:
        reader = PipeReader(stream, PipeFormat(8_000, 1, "s16le", wav=False))
        parts = list(reader.blocks())
    feeder.join()
    assert encode(np.concatenate(parts, axis=1), PipeFormat(8_000, 1, "s16le", wav=False)) == data


def test_a_length_that_does_not_fit_the_header_is_left_open() -> None:
    form = PipeFormat(8_000, 2, "f64le", wav=True, frames=2**30, description=described(3, bits=64))
    assert wav_header(form)[-4:] == b"\xff" * 4
