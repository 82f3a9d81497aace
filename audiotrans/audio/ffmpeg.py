"""What libsndfile does not know, by FFmpeg's libraries (PyAV).

Read: MP3, AAC, ALAC, WMA and the sound of video, among others. Written: M4A.
"""

from __future__ import annotations

import fractions
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt

from audiotrans.audio.blocks import CHUNK_FRAMES, Frames, Wave, reblock
from audiotrans.audio.formats import is_marked, open_container

_FORMATS = {"mov": "MP4", "asf": "WMA"}
_CODECS = {"mp3float": "MPEG_LAYER_III", "mp3": "MPEG_LAYER_III"}
_INTEGERS = {"u8": "PCM_U8", "s16": "PCM_16", "s32": "PCM_24"}

# iTunes' note of the encoder's padding before and behind the sound; the fourth number counts the sound's samples.
_GAPLESS = re.compile(r"\s*[0-9A-F]+\s+[0-9A-F]+\s+[0-9A-F]+\s+([0-9A-F]+)", re.IGNORECASE)

# Streams without a table of what they hold: their first and last pieces may be torn, as radio recordings are.
_BARE = {"mp3", "aac", "ac3", "eac3", "mpegts", "mpeg", "loas"}

_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1"}
_SAMPLES = {"AAC": "fltp", "ALAC_16": "s16p", "ALAC_24": "s32p"}
_AAC_BITS = 96_000  # a second and channel: a result may be edited and coded again

_COUNTED_CODECS = {"aac", "alac", "flac", "opus"}  # of others, such as a camera's PCM, an MP4 counts samples or blocks

_LONGEST_MP3_FRAME = 1441  # bytes
_PADDING_FRAMES = 4096  # an encoder's padding at the end is shorter than two of its frames


class Damage(Exception):
    """The file breaks off or cannot be decoded from here on; the text says where."""


class Decoder:
    """A sound file, or the sound of a video, as FFmpeg's libraries read it.

    The first sound stream is read, or the one that the file calls its default. What encoders put before and behind
    the sound is left out where the file says how much it is: MP3 with a LAME tag, Opus, MP4 and its kind.

    Args:
        path: The file; its bytes decide what it is, not its name.

    Attributes:
        path: The file.
        sample_rate: In Hz.
        channels: Of the sound stream.
        format: Name of the file format, such as "MP3", "MP4", "MATROSKA".
        subtype: Kind of sample, in libsndfile's names where it has one, such as "MPEG_LAYER_III", "AAC", "ALAC_16".
        frames: 0: the length is known when all is decoded.
        note: What a user should know about what is read; often empty.

    Raises:
        av.FFmpegError: It is not a file of a known format, or its codec is unknown.
        ValueError: Nothing can be decoded.
        LookupError: It is a file of pictures without sound.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.frames, self.note = path, 0, ""
        self._packets = self._start = self._last_duration = 0
        self._seconds, self._torn = 0.0, False
        self._file = path.open("rb")
        try:
            self._container: Any = open_container(self._file)
            if not self._container.streams.audio:
                raise LookupError
            streams = [stream for stream in self._container.streams.audio if stream.codec_context is not None]
            if not streams:
                raise ValueError("its codec is unknown")
            defaults = [stream for stream in streams if is_marked(stream, "default", otherwise=False)]
            self._stream: Any = (defaults or streams)[0]
            if len(streams) > 1:
                self.note = f"holds {len(streams)} sound streams; number {streams.index(self._stream) + 1} is read"
            self._name = self._container.format.name.partition(",")[0]
            self._decoded = self._frames()
            self._first: Any = next(self._decoded, None)
            if self._first is None:
                raise ValueError("nothing can be decoded")
        except BaseException:
            self.close()
            raise
        frame = self._first
        self.sample_rate = int(frame.sample_rate)
        self.channels = len(frame.layout.channels)
        self.format = _FORMATS.get(self._name, self._name.upper())
        self.subtype = self._subtype(frame.format.name.removesuffix("p"))

    def _subtype(self, samples: str) -> str:
        codec = self._stream.codec_context.name
        if codec == "alac":
            return "ALAC_16" if samples == "s16" else "ALAC_24"
        return _CODECS.get(codec) or _INTEGERS.get(samples) or codec.upper()

    def skip(self, frames: int) -> int:
        """Go to a frame; FFmpeg does so too roughly, hence the beginning is decoded and dropped."""
        return 0

    def close(self) -> None:
        """Close the file."""
        if hasattr(self, "_container"):
            self._container.close()
        self._file.close()

    def blocks(self) -> Iterator[Frames]:
        """Decode the sound once, in contiguous blocks of shape (frames, channels), at most 65,536 frames each.

        Raises:
            Damage: Something of the sound is missing.
        """
        for block in reblock(self._trimmed(), CHUNK_FRAMES):
            yield block.T

    def _trimmed(self) -> Iterator[Wave]:
        """Leave the encoder's padding at the end away, where the file tells the sound's length."""
        promised, slack = self._promise()
        position, behind = 0, []
        for wave in self._waves():
            if promised is None or position + wave.shape[1] <= promised:
                yield wave
            else:
                here = max(promised - position, 0)
                if here:
                    yield wave[:, :here]
                behind.append(wave[:, here:])
                if sum(part.shape[1] for part in behind) >= _PADDING_FRAMES:  # sound, whatever the header says
                    yield from behind
                    promised, behind = None, []
            position += wave.shape[1]
        if promised is not None and position - promised <= slack:
            yield from behind

    def _promise(self) -> tuple[int | None, int]:
        """Return the sound's length in samples as the file tells it, and by how much that may be rounded."""
        if self._name != "mov":
            return None, 0
        gapless = _GAPLESS.match(str(self._container.metadata.get("iTunSMPB", "")))
        if gapless:
            return int(gapless.group(1), 16), 0
        stream = self._stream
        if not stream.duration or not stream.time_base:
            return None, 0
        # An MP4's own clock often counts milliseconds only.
        return round(stream.duration * stream.time_base * self.sample_rate), self.sample_rate // 1000 + 1

    def _waves(self) -> Iterator[Wave]:
        """Decode to float, the last frame as short as its packet says."""
        held: Any = self._first
        count = 0
        for frame in self._decoded:
            yield self._as_float(held)
            count += held.samples
            held = frame
            if (frame.sample_rate, len(frame.layout.channels)) != (self.sample_rate, self.channels):
                raise Damage(
                    f"after {count / self.sample_rate:.1f} s it goes on with {len(frame.layout.channels)} channels at "
                    f"{frame.sample_rate} Hz, not {self.channels} at {self.sample_rate} Hz"
                )
        wave = self._as_float(held)
        exact = self._name == "mov" and self._stream.time_base.denominator == self.sample_rate
        length = self._last_duration if exact and self._last_duration else wave.shape[1]
        yield wave[:, :length]

    def _as_float(self, frame: Any) -> Wave:
        """Turn a frame into float32 of shape (channels, samples), integers over their full scale."""
        values = frame.to_ndarray()
        if not frame.format.is_planar:
            values = values.reshape(-1, len(frame.layout.channels)).T
        if values.dtype == np.uint8:
            values = (values.astype(np.float32) - np.float32(128)) / np.float32(128)
        elif np.issubdtype(values.dtype, np.integer):
            values = values / 2.0 ** (8 * values.dtype.itemsize - 1)
        wave: Wave = np.asarray(values, np.float32)
        return wave

    def _frames(self) -> Iterator[Any]:
        """Decode frame by frame; find out at the end whether something is missing."""
        try:
            for packet in self._container.demux(self._stream):
                yield from self._packet_frames(packet)
        except av.FFmpegError:
            self._torn = True
        if self._torn and self._name not in _BARE:
            raise self._failure()
        there, promised = self._packets, self._promised_packets()
        if there < promised - 1:
            raise Damage(f"{there} of the {promised} packets that its header promises are there")
        length = self._promised_seconds()
        if self._seconds < length - max(0.1, 0.01 * length):
            raise Damage(f"{self._seconds:.1f} s of {length:.1f} s can be decoded")

    def _packet_frames(self, packet: Any) -> list[Any]:
        if packet.size:
            if not self._packets:
                self._start = packet.pos or 0
            self._packets += 1
        try:
            frames: list[Any] = packet.decode()
        except av.FFmpegError:
            self._torn = self._seconds > 0
            return []
        if frames and self._torn:
            raise self._failure()
        if frames and packet.size:
            self._last_duration = packet.duration or 0
        self._seconds += sum(frame.samples / frame.sample_rate for frame in frames)
        return frames

    def _failure(self) -> Damage:
        return Damage(f"decoding fails after {self._seconds:.1f} s")

    def _promised_packets(self) -> int:
        """Return how many packets an MP4's table counts, or the tag that an MP3's encoder wrote before the first."""
        if self._name == "mov" and self._stream.codec_context.name in _COUNTED_CODECS:
            return int(self._stream.frames)
        if self._name != "mp3":
            return 0
        with self.path.open("rb") as file:
            file.seek(max(self._start - _LONGEST_MP3_FRAME, 0))
            before = file.read(min(self._start, _LONGEST_MP3_FRAME))
        tag = max(before.rfind(b"Xing"), before.rfind(b"Info"))
        counted = tag >= 0 and len(before) >= tag + 12 and before[tag + 7] & 1
        return int.from_bytes(before[tag + 8 : tag + 12], "big") if counted else 0

    def _promised_seconds(self) -> float:
        """Return the length that the file's header tells, or 0; where FFmpeg itself only guesses, 0 too."""
        stream, container = self._stream, self._container
        if self._name == "matroska" and len(container.streams) == 1:
            return float((container.duration or 0) / av.time_base)
        uncounted = self._name == "mov" and stream.codec_context.name not in _COUNTED_CODECS
        return float((stream.duration or 0) * stream.time_base) if uncounted or self._name == "asf" else 0.0


class Encoder:
    """An M4A file that is written block by block, AAC or ALAC; its length is exact.

    Args:
        sink: Binary file, to be written from its beginning; it must be able to seek.
        sample_rate: In Hz.
        channels: 1 to 6; ALAC 1 or 2.
        subtype: "AAC", "ALAC_16" or "ALAC_24".

    Raises:
        av.FFmpegError: The encoder does not take this rate.
    """

    def __init__(self, sink: Any, sample_rate: int, channels: int, subtype: str) -> None:
        self._rate, self._layout, self._at = sample_rate, _LAYOUTS[channels], 0
        self._samples = _SAMPLES[subtype]
        # The clock that the length is noted by; FFmpeg's own choice counts milliseconds.
        clock = {"movie_timescale": str(sample_rate)}
        self._container: Any = av.open(sink, "w", format="ipod", options=clock)
        codec = "aac" if subtype == "AAC" else "alac"
        self._stream = cast(Any, self._container.add_stream(codec, rate=sample_rate, layout=self._layout))
        self._stream.codec_context.format = self._samples
        if codec == "aac":
            self._stream.bit_rate = _AAC_BITS * channels

    def write(self, frames: Frames | npt.NDArray[np.int32]) -> None:
        """Encode the next samples, shape (frames, channels); integers have their bits on top, as `quantised` gives."""
        values: Any = frames.T
        if self._samples == "s16p":
            values = (values >> 16).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(values), format=self._samples, layout=self._layout)
        frame.sample_rate, frame.pts = self._rate, self._at
        frame.time_base = fractions.Fraction(1, self._rate)
        self._at += len(frames)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Encode what is left and finish the file."""
        if self._container is None:
            return
        container, self._container = self._container, None
        try:
            if self._at:
                container.mux(self._stream.encode(None))
        finally:
            container.close()
