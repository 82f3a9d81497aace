"""Sound through pipes: WAV or raw samples that arrive and leave in one direction, without seeking.

libsndfile wants to seek, and FFmpeg's libraries run 80 ms behind a live pipe where this runs 15 ms behind; here a WAV
header is read from the front as it comes. Programs that write WAV into a pipe do
not know its length and put a stand-in into the header: such sound lasts until the pipe ends.
"""

from __future__ import annotations

import select
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from audiotrans.audio.blocks import Wave, quantised, refuse_nonfinite
from audiotrans.audio.formats import HIGHEST_RATE, LOWEST_RATE, MAX_CHANNELS
from audiotrans.errors import AudiotransError, UsageError, lookup

READ_BYTES = 16_384

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
# The end of the identifiers that an extensible header names its codec with; the codec's number comes before it.
_GUID_END = bytes.fromhex("000000001000800000aa00389b71")
_MOST_FORMAT_BYTES = 4096

OPEN_SIZE = 0xFFFFFFFF
"""What stands in a header for a length that is not known."""

_PLACE = "the input"


@dataclass(frozen=True)
class SampleKind:
    """How one sample is stored; always with the low byte first.

    Attributes:
        code: WAV's number of the codec.
        bits: of a sample.
        subtype: libsndfile's name.
    """

    code: int
    bits: int
    subtype: str


KINDS: dict[str, SampleKind] = {
    "u8": SampleKind(_PCM, 8, "PCM_U8"),
    "s16le": SampleKind(_PCM, 16, "PCM_16"),
    "s24le": SampleKind(_PCM, 24, "PCM_24"),
    "s32le": SampleKind(_PCM, 32, "PCM_32"),
    "f32le": SampleKind(_FLOAT, 32, "FLOAT"),
    "f64le": SampleKind(_FLOAT, 64, "DOUBLE"),
}
"""Kinds of samples by the names that ffmpeg gives them."""


@dataclass(frozen=True)
class PipeFormat:
    """What flows through a pipe.

    Attributes:
        sample_rate: Hz.
        channels: 1 to 8.
        kind: a name in `KINDS`.
        wav: whether a WAV header comes first.
        frames: samples per channel that the header promises; None where it does not know, or there is none.
        description: the body of the WAV header's ``fmt`` chunk, repeated in the output; empty for raw sound.
    """

    sample_rate: int
    channels: int
    kind: str
    wav: bool = False
    frames: int | None = None
    description: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        lookup(KINDS, self.kind, "kind of raw sample")
        if not LOWEST_RATE <= self.sample_rate <= HIGHEST_RATE:
            raise UsageError(f"sample rate {self.sample_rate} Hz: {LOWEST_RATE} to {HIGHEST_RATE} are possible")
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise UsageError(f"{self.channels} channels: 1 to {MAX_CHANNELS} are possible")

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * KINDS[self.kind].bits // 8


def read_wav_header(stream: BinaryIO) -> PipeFormat:
    """Read a WAV or RF64 header from the front of a stream, up to the first byte of sound.

    Args:
        stream: binary; only ``read`` is used.

    Raises:
        AudiotransError: if it is not WAV, ends too early, or holds what cannot be decoded here.
    """
    if not (head := _some(stream, 1)):
        raise AudiotransError(f"{_PLACE} is empty: nothing was piped in")
    head += _exactly(stream, 11)
    if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
        raise AudiotransError(
            f"{_PLACE} does not begin with a WAV header: pipe WAV in, such as ffmpeg -i FILE -f wav - gives, "
            "or say what the raw samples are: --raw s16le --rate 44100 --channels 2"
        )
    description, long_size = b"", 0
    while True:
        name, size = struct.unpack("<4sI", _exactly(stream, 8))
        if name == b"data":
            return _format(description, long_size if head[:4] == b"RF64" else size)
        if name in (b"fmt ", b"ds64") and size > _MOST_FORMAT_BYTES:
            raise AudiotransError(f"{_PLACE} has a damaged WAV header: its {name.decode()!r} part has {size} bytes")
        keep = name in (b"fmt ", b"ds64")
        body = _skip(stream, size + size % 2, keep=keep)[:size]  # parts begin at even places
        if name == b"fmt ":
            description = body
        elif name == b"ds64" and size >= 16:
            (long_size,) = struct.unpack_from("<Q", body, 8)


def _format(description: bytes, size: int) -> PipeFormat:
    """Understand the ``fmt`` chunk of a WAV header."""
    if len(description) < 16:
        raise AudiotransError(f"{_PLACE} has a damaged WAV header: the format is missing before the sound")
    code, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", description)
    if code == _EXTENSIBLE and len(description) >= 40 and description[26:40] == _GUID_END:
        (code,) = struct.unpack_from("<H", description, 24)
    kinds = [name for name, kind in KINDS.items() if (kind.code, kind.bits) == (code, bits)]
    if not kinds:
        raise AudiotransError(
            f"{_PLACE} is WAV with codec {code} at {bits} bits: 8 to 32 bit PCM and 32 or 64 bit float are possible; "
            "let ffmpeg -i FILE -c:a pcm_s24le -f wav - decode it"
        )
    if block != channels * bits // 8 or not LOWEST_RATE <= rate <= HIGHEST_RATE or not 1 <= channels <= MAX_CHANNELS:
        raise AudiotransError(
            f"{_PLACE} has a damaged or unusual WAV header: {channels} channels (1 to {MAX_CHANNELS} are possible) of "
            f"{bits} bits in {block} bytes at {rate} Hz"
        )
    frames = None if _is_open(size) else size // block
    return PipeFormat(rate, channels, kinds[0], wav=True, frames=frames, description=description)


def _is_open(size: int) -> bool:
    """Tell the stand-ins for an unknown length: 0, and those near 2 GiB, 4 GiB (and 2^63) that are in use."""
    return size == 0 or 0x7FFF0000 <= size <= 0x80000000 or 0xFFFFF000 <= size <= OPEN_SIZE or size >= 1 << 62


def wav_header(form: PipeFormat) -> bytes:
    """Build the header of a WAV stream, with sizes that say "to the end" unless the length is known and fits."""
    data = OPEN_SIZE if form.frames is None else form.frames * form.frame_bytes
    whole = 4 + 8 + len(form.description) + len(form.description) % 2 + 8 + data + data % 2
    if whole > OPEN_SIZE:
        data = whole = OPEN_SIZE
    description = form.description + bytes(len(form.description) % 2)
    return b"".join([
        b"RIFF", struct.pack("<I", whole), b"WAVE",
        b"fmt ", struct.pack("<I", len(form.description)), description,
        b"data", struct.pack("<I", data),
    ])  # fmt: skip


class PipeReader:
    """Samples from a stream that only moves forward.

    Args:
        stream: binary; unbuffered, what has come is passed on at once.
        form: what it holds.

    Attributes:
        frames: samples per channel read so far.
        complete: False where the stream ended before the header's length, or within a sample.
    """

    def __init__(self, stream: BinaryIO, form: PipeFormat) -> None:
        self._stream, self.form = stream, form
        self.frames, self.complete = 0, True

    def blocks(self) -> Iterator[Wave]:
        """Yield the sound as it comes, float32 ``(channels, n)``, n > 0.

        Raises:
            AudiotransError: if a sample is not finite.
        """
        size, pending = self.form.frame_bytes, b""
        left = None if self.form.frames is None else self.form.frames * size
        while left is None or left > 0:
            data = _some(self._stream, READ_BYTES if left is None else min(READ_BYTES, left))
            if not data:
                break
            left = None if left is None else left - len(data)
            pending += data
            whole = len(pending) - len(pending) % size
            if whole:
                yield self._decoded(pending[:whole])
                pending = pending[whole:]
        self.complete = not pending and not left

    def _decoded(self, data: bytes) -> Wave:
        block = decode(data, self.form)
        refuse_nonfinite(block.T, self.frames, self.form.sample_rate, Path(_PLACE))
        self.frames += block.shape[1]
        return block


class PipeWriter:
    """Samples into a stream that only moves forward, each block flushed.

    Integer samples stop at full scale and are counted: the peak of a stream is not known beforehand.

    Args:
        stream: binary.
        form: what it shall hold; a WAV header is written at once.
        gain: factor for every sample.

    Attributes:
        frames: samples per channel written so far.
        clipped: samples so far that lay beyond full scale in a kind that has one.
        peak: largest absolute sample so far, after the gain.
    """

    def __init__(self, stream: BinaryIO, form: PipeFormat, gain: float = 1.0) -> None:
        self._stream, self.form, self._gain = stream, form, gain
        self.frames = self.clipped = 0
        self.peak = 0.0
        if form.wav:
            self._put(wav_header(form))

    def write(self, block: Wave) -> None:
        """Write the next samples, ``(channels, n)``."""
        scaled = block if self._gain == 1 else block * np.float32(self._gain)
        self.frames += scaled.shape[1]
        self.peak = max(self.peak, float(np.abs(scaled).max(initial=0.0)))
        if KINDS[self.form.kind].code == _PCM:
            self.clipped += int(np.count_nonzero(np.abs(scaled) > 1))
        self._put(encode(scaled, self.form))

    def finish(self) -> None:
        """Write what must follow the sound: parts of a WAV have even sizes."""
        if self.form.wav and self.form.frames is not None and self.frames * self.form.frame_bytes % 2:
            self._put(b"\0")

    def _put(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            taken = self._stream.write(rest)  # an unbuffered stream may take a part only
            if taken is None:  # a pipe that does not block, and is full
                select.select([], [self._stream], [])
            rest = rest[taken or 0 :]
        self._stream.flush()


def decode(data: bytes, form: PipeFormat) -> Wave:
    """Turn whole frames of bytes into float32 ``(channels, n)``, full scale at [-1, 1]."""
    kind = KINDS[form.kind]
    values: npt.NDArray[np.float32]
    if kind.code == _FLOAT:
        values = np.frombuffer(data, f"<f{kind.bits // 8}").astype(np.float32)
    elif kind.bits == 8:
        values = (np.frombuffer(data, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)
    else:
        wide = np.zeros((len(data) * 8 // kind.bits, 4), np.uint8)  # the sample's bytes on top of 32 bits
        wide[:, 4 - kind.bits // 8 :] = np.frombuffer(data, np.uint8).reshape(-1, kind.bits // 8)
        values = (wide.view("<i4")[:, 0] / 2.0**31).astype(np.float32)
    return np.ascontiguousarray(values.reshape(-1, form.channels).T)


def encode(wave: Wave, form: PipeFormat) -> bytes:
    """Turn ``(channels, n)`` into bytes; integers are rounded to the nearest and stop at full scale."""
    kind = KINDS[form.kind]
    if kind.code == _FLOAT:
        return wave.T.astype(f"<f{kind.bits // 8}").tobytes()
    top = quantised(wave.T, kind.subtype).astype("<i4")  # the wanted bits on top of 32
    octets = np.ascontiguousarray(top).view(np.uint8).reshape(-1, 4)[:, 4 - kind.bits // 8 :]
    return (octets ^ 0x80 if kind.bits == 8 else octets).tobytes()  # 8 bits count from 128


def _some(stream: BinaryIO, most: int) -> bytes:
    """Read what has come, at least one byte unless the stream has ended."""
    read = getattr(stream, "read1", stream.read)  # a buffered stream's own read would wait for all of it
    while (data := read(most)) is None:  # a pipe that does not block, and has nothing yet
        select.select([stream], [], [])
    return cast(bytes, data)


def _exactly(stream: BinaryIO, count: int) -> bytes:
    parts = b""
    while len(parts) < count:
        data = _some(stream, count - len(parts))
        if not data:
            raise AudiotransError(f"{_PLACE} ends within its WAV header")
        parts += data
    return parts


def _skip(stream: BinaryIO, count: int, *, keep: bool) -> bytes:
    kept = b""
    while count:
        data = _exactly(stream, min(count, READ_BYTES))
        kept, count = (kept + data if keep else b""), count - len(data)
    return kept
