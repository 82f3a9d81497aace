"""Wave -> file: in blocks, in the format that the name asks for, complete or not at all."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
import soundfile

from audiotrans.audio.blocks import CHUNK_FRAMES, Resampler, Wave, quantised, refuse_nonfinite
from audiotrans.audio.ffmpeg import Encoder
from audiotrans.audio.formats import (
    MAX_CHANNELS,
    Container,
    Tags,
    container_for,
    file_sample_rate,
    fitting_subtype,
    peak_safe_gain,
    write_tags,
)
from audiotrans.audio.reading import AudioInfo
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.files import beside, refuse_existing, write_error

_log = logging.getLogger(__name__)

_LIBRARY_ERRORS = (soundfile.SoundFileError, av.FFmpegError)


class Writer:
    """A sound file that is written block by block.

    Use it in a ``with`` statement. The sound goes to a hidden file beside the output, which takes the output's name
    when the block ends without an error, and is deleted otherwise. Missing folders are made.

    Samples beyond full scale stop there (and are counted) in integer formats, and may be clipped by whatever plays
    a lossy file; they never wrap around. ``peak_safe_gain`` tells how to avoid both. Float formats keep them.

    Args:
        path: The output; its suffix decides the format.
        sample_rate: Rate in Hz of what is written. MP3 and Opus know only some rates: see ``file_sample_rate``.
        channels: 1 to 8; MP3 holds 2 at most. In layouts of 6 or 8 channels Vorbis (6) and Opus (6, 8) keep only the
            low frequencies of the bass channel, as their standards say.
        like: The file whose kind of sample (16-bit, float, ...) and tags shall be kept where the format has them.
        force: Replace an existing file.

    Attributes:
        path: The output.
        file_sample_rate: Rate in Hz of the file.
        subtype: Kind of sample in the file, in libsndfile's names.
        frames: Samples per channel written so far, at the rate that was given.
        clipped: Samples so far that lay beyond full scale in a format that has one.

    Raises:
        UsageError: Unknown suffix, a folder, an existing file without ``force``, or more channels than fit.
        AudiotransError: The disk is full, the folder not writable, a sample not finite, or nothing was written.
    """

    def __init__(
        self, path: Path | str, sample_rate: int, channels: int, *, like: AudioInfo | None = None, force: bool = False
    ) -> None:
        self.path = Path(path)
        self._container = container_for(self.path)
        _refuse_misfit(self.path, self._container, sample_rate, channels)
        _refuse_existing(self.path, force)
        self._sample_rate, self._channels = sample_rate, channels
        self.file_sample_rate = file_sample_rate(self.path, sample_rate)
        self.subtype = fitting_subtype(self._container, like.subtype if like else None, channels)
        self._tags = like.tags if like else Tags()
        self.frames = 0
        self.clipped = 0
        self._resampler = Resampler(sample_rate, self.file_sample_rate, channels)
        self._sound: Any = None  # soundfile.SoundFile, which has no types

    def __enter__(self) -> Writer:
        try:
            with contextlib.ExitStack() as stack:
                self._partial = stack.enter_context(beside(self.path))
                self._sink = _Sink(self._partial)
                stack.callback(self._close)
                self._sound = self._encoder()
                self._open = stack.pop_all()
        except OSError as error:
            raise write_error(self.path, error) from None
        return self

    def _encoder(self) -> Any:
        try:
            if self._container.format == "M4A":
                return Encoder(self._sink, self.file_sample_rate, self._channels, self.subtype)
            sound = soundfile.SoundFile(
                self._sink,
                "w",
                self.file_sample_rate,
                self._channels,
                subtype=self.subtype,
                format=self._container.format,
                **dict(self._container.options),
            )
        except (*_LIBRARY_ERRORS, TypeError, ValueError) as error:
            raise self._failure(error) from None
        # soundfile would seek after every block, which the encoders of lossy formats do not like.
        sound.seekable = lambda: False
        return sound

    def write(self, block: Wave) -> None:
        """Write the next samples.

        Args:
            block: Shape (channels, samples), float; full scale is [-1, 1]; any number of samples.

        Raises:
            AudiotransError: A sample is not finite, the disk is full, or the format's largest size is reached.
            ValueError: The block has another number of channels, or the writer is not open.
        """
        if self._sound is None:
            raise ValueError("the writer is not open: use it in a with statement")
        if block.ndim != 2 or block.shape[0] != self._channels:
            raise ValueError(f"block has shape {block.shape}: ({self._channels}, samples) is needed")
        for start in range(0, block.shape[1], CHUNK_FRAMES):
            chunk = block[:, start : start + CHUNK_FRAMES]
            refuse_nonfinite(chunk.T, self.frames, self._sample_rate, self.path)
            self.frames += chunk.shape[1]
            if self.subtype not in ("FLOAT", "DOUBLE"):
                self.clipped += int(np.count_nonzero(np.abs(chunk) > 1.0))
            self._put(self._resampler.feed(chunk))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._open.__exit__(kind, error, trace)
            return
        try:
            with self._open:
                self._finish()
        except OSError as failure:
            raise write_error(self.path, failure) from None
        if self.clipped:
            _log.warning("%s: %d samples lie beyond full scale and are clipped.", self.path, self.clipped)

    def _finish(self) -> None:
        if self.frames == 0:
            raise AudiotransError(f"{self.path}: there is no sound to write (zero length).")
        self._put(self._resampler.finish())
        try:
            self._sound.close()  # encoders write their last samples here
        except _LIBRARY_ERRORS as error:
            raise self._failure(error) from None
        self._sink.raise_error()
        self._sink.close()
        if self._tags:
            write_tags(self._partial, self._container.format, self._tags, self.path)

    def _put(self, block: Wave) -> None:
        """Hand one signal on in chunks: libvorbis crashes on a long one."""
        limit = self._container.max_bytes
        for start in range(0, block.shape[1], CHUNK_FRAMES):
            frames = np.ascontiguousarray(block[:, start : start + CHUNK_FRAMES].T, dtype=np.float32)
            try:
                self._sound.write(quantised(frames, self.subtype))
                self._sink.raise_error()
            except (*_LIBRARY_ERRORS, AssertionError, OSError) as error:
                raise self._failure(error) from None
            if limit is not None and self._sink.written > limit:
                raise AudiotransError(f"{self.path}: this format ends at 4 GiB; write .flac, .w64 or .rf64 instead.")

    def _failure(self, error: BaseException) -> BaseException:
        """Name the disk's error or Ctrl-C, of which soundfile does not know, before soundfile's."""
        error = self._sink.error or error
        if isinstance(error, KeyboardInterrupt):
            return error
        if isinstance(error, OSError):
            return write_error(self.path, error)
        return AudiotransError(
            f"{self.path}: {self._channels} channels at {self.file_sample_rate} Hz as {self.subtype} cannot be "
            f"written: {str(error).rstrip('.')}. Choose another format, such as .wav."
        )

    def _close(self) -> None:
        try:
            if self._sound is not None:
                with contextlib.suppress(*_LIBRARY_ERRORS):
                    self._sound.close()
        finally:
            with contextlib.suppress(OSError):
                self._sink.close()
            self._sound = None


def write(
    path: Path | str,
    wave: Wave,
    sample_rate: int,
    *,
    like: AudioInfo | None = None,
    force: bool = False,
    named: Path | None = None,
) -> float:
    """Write a whole wave, lowered just so far that nothing clips.

    Args:
        path: The output; its suffix decides the format.
        wave: Shape (channels, samples), float.
        sample_rate: In Hz.
        like: The file whose kind of sample shall be kept where the format has it.
        force: Replace an existing file.
        named: What the log calls it, where its own name would tell nothing.

    Returns:
        The gain that was applied: 1.0 unless the wave goes beyond full scale and the format has one; any other is
        also said in the log.

    Raises:
        UsageError: As ``Writer``.
        AudiotransError: As ``Writer``.
    """
    if wave.ndim != 2:
        raise ValueError(f"wave has shape {wave.shape}: (channels, samples) is needed")
    with Writer(path, sample_rate, wave.shape[0], like=like, force=force) as writer:
        refuse_nonfinite(wave.T, 0, sample_rate, writer.path)
        gain = peak_safe_gain(float(np.abs(wave).max(initial=0.0)), writer.subtype)
        for start in range(0, wave.shape[1], CHUNK_FRAMES):
            chunk = wave[:, start : start + CHUNK_FRAMES]
            writer.write(chunk if gain == 1.0 else chunk * np.float32(gain))
    if gain != 1.0:
        _log.warning("%s: lowered by %.2f dB, so that nothing clips.", named or path, -20 * np.log10(gain))
    return gain


def _open_partial(path: Path) -> io.FileIO:
    """Open unbuffered, so that an error of the disk belongs to the write that met it."""
    return path.open("w+b", buffering=0)


class _Sink:
    """The partial file as libsndfile sees it; it keeps the error or Ctrl-C that is lost on the way through C."""

    def __init__(self, path: Path) -> None:
        self._file = _open_partial(path)
        self.error: OSError | KeyboardInterrupt | None = None
        self.written = 0

    def write(self, data: bytes) -> int:
        """Write all of the data, or note why not and report nothing written."""
        if self.error is not None:
            return 0
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except (OSError, KeyboardInterrupt) as error:
            self.error = error
            return 0
        self.written += len(data)
        return len(data)

    def read(self, count: int) -> bytes:
        """Read back; libsndfile does so for some headers."""
        return self._file.read(count)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move as in any file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Tell the position in bytes."""
        return self._file.tell()

    def raise_error(self) -> None:
        """Raise what the disk said, or Ctrl-C, if anything."""
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _refuse_misfit(path: Path, container: Container, sample_rate: int, channels: int) -> None:
    if not 1 <= channels <= MAX_CHANNELS:
        raise UsageError(f"{path}: {channels} channels; 1 to {MAX_CHANNELS} can be written.")
    if channels > container.max_channels:
        raise UsageError(
            f"{path}: {container.format} holds {container.max_channels} channels, the sound has {channels}; "
            "write .wav, .flac, .ogg or .opus instead."
        )
    if sample_rate <= 0:
        raise UsageError(f"sample rate {sample_rate}: it must be a positive number of Hz, such as 44100.")


def _refuse_existing(path: Path, force: bool) -> None:
    try:
        if path.is_dir():
            raise UsageError(f"{path}: is a folder; name a file in it, such as {path / 'out.wav'}")
        refuse_existing(path, force)
    except OSError as error:
        raise write_error(path, error) from None
