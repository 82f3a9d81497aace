"""File -> wave: what a file holds, the whole of it, or its blocks."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from audiotrans.audio import mp3
from audiotrans.audio.formats import FOREIGN_SUFFIXES, MAX_CHANNELS, ffmpeg, suffix_list
from audiotrans.audio.resampling import CHUNK_FRAMES, Wave, reblock, resample_blocks
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.files import missing

Frames = npt.NDArray[np.float32]  # libsndfile's order: (frames, channels)

# libsndfile says "as many as can be" where the header does not tell.
_UNKNOWN_FRAMES = 2**60

# A chunk of sound whose header promises more than the file holds, in libsndfile's log of what it parsed.
_PROMISE = re.compile(r"^\s*(?:data|SSND|Data Size|Riff size|riff)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
_PADDING = 64  # bytes by which a header may be wrong without any harm

# Files of other formats that carry the wrong name; libsndfile knows them by these bytes.
_OTHER_MAGIC = (b"RIFF", b"RF64", b"FORM", b"fLaC", b"OggS", b"caff", b".snd", b"riff")

# After a damaged or foreign end (tags of players) of an MP3 file without a length, decoding fails there.
_TRAILER = 65_536


@dataclass(frozen=True)
class AudioInfo:
    """What a sound file holds.

    Attributes:
        path: The file.
        sample_rate: In Hz.
        channels: 1 to 8.
        frames: Samples per channel that can be decoded.
        format: libsndfile's name of the file format, such as "WAV", "OGG".
        subtype: libsndfile's name of the kind of sample, such as "PCM_16", "FLOAT", "VORBIS", "OPUS".
    """

    path: Path
    sample_rate: int
    channels: int
    frames: int
    format: str
    subtype: str

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.frames / self.sample_rate


def probe(path: Path | str) -> AudioInfo:
    """Tell what a sound file holds, from its header.

    Only a file that does not tell its length (MP3 without a tag, an unfinished FLAC stream) is decoded to count: an
    hour in some five seconds. A file whose damage does not show in its header is refused by ``read`` only.

    Args:
        path: The file.

    Returns:
        What it holds.

    Raises:
        AudiotransError: The file is missing, a folder, not readable, empty, not audio, of zero length, cut off, or
            has more than 8 channels.
    """
    path = Path(path)
    with _opened(path) as file:
        frames = file.frames if file.exact else sum(len(block) for block in _decoded(file))
        if frames == 0:
            raise _no_sound(path)
        sound = file.sound
        return AudioInfo(path, sound.samplerate, sound.channels, frames, sound.format, sound.subtype)


def read(
    path: Path | str, *, sample_rate: int | None = None, start_seconds: float = 0.0, seconds: float | None = None
) -> tuple[Wave, int]:
    """Read a sound file, or a piece of it, into memory.

    Args:
        path: The file.
        sample_rate: Rate in Hz to resample to; None keeps the file's own.
        start_seconds: Where the piece begins, >= 0, to the nearest sample.
        seconds: How long the piece is; it ends with the file if that is earlier. None reads to the end.

    Returns:
        The wave, float32 of shape (channels, samples), and its rate in Hz.

    Raises:
        AudiotransError: As ``probe``; also for a sample that is NaN or infinite, for damage, and for a piece that
            begins after the end.
        UsageError: ``start_seconds``, ``seconds`` or ``sample_rate`` is out of range.
    """
    path = Path(path)
    if not 0 <= start_seconds < math.inf or (seconds is not None and not 0 < seconds < math.inf):
        raise UsageError(f"start {start_seconds} s, length {seconds} s: a start >= 0 and a length > 0 are needed.")
    with _opened(path) as file:
        own_rate = file.sound.samplerate
        start = round(start_seconds * own_rate)
        stop = None if seconds is None else start + max(1, round(seconds * own_rate))
        pieces: Iterator[Wave] = (block.T for block in _piece(file, start, stop))
        rate = own_rate if sample_rate is None else sample_rate
        if rate != own_rate:
            pieces = resample_blocks(pieces, own_rate, rate, file.sound.channels)
        parts = list(pieces)
        if parts:
            return np.ascontiguousarray(np.concatenate(parts, axis=1)), rate
    if start == 0:
        raise _no_sound(path)
    raise AudiotransError(f"{path}: the piece begins at {start_seconds:g} s, but the sound ends before that.")


def read_blocks(
    path: Path | str, block_frames: int = CHUNK_FRAMES, *, sample_rate: int | None = None
) -> Iterator[Wave]:
    """Read a sound file in blocks, so that its length costs no memory.

    Args:
        path: The file.
        block_frames: Samples per block, >= 1.
        sample_rate: Rate in Hz to resample to, as one stream; None keeps the file's own.

    Yields:
        Contiguous float32 arrays of shape (channels, block_frames); the last one may be shorter, none is empty. Joined
        they equal what ``read`` gives, bit for bit.

    Raises:
        AudiotransError: As ``read``, at the block where the fault shows.
        UsageError: ``block_frames`` or ``sample_rate`` is out of range.
    """
    path = Path(path)
    if block_frames < 1:
        raise UsageError(f"blocks of {block_frames} frames: at least 1 is needed.")
    with _opened(path) as file:
        blocks: Iterator[Wave] = (block.T for block in _decoded(file))
        own_rate = file.sound.samplerate
        if sample_rate is not None and sample_rate != own_rate:
            blocks = resample_blocks(blocks, own_rate, sample_rate, file.sound.channels)
        empty = True
        for block in reblock(blocks, block_frames):
            empty = False
            yield block
        if empty:
            raise _no_sound(path)


@dataclass(frozen=True)
class _Opened:
    path: Path
    sound: Any  # soundfile.SoundFile, which has no types
    view: mp3.Untagged | None  # what libsndfile reads in the place of an MP3 file without a length

    @property
    def frames(self) -> int:
        """Frames that the header promises."""
        return int(self.sound.frames)

    @property
    def exact(self) -> bool:
        """Whether the header tells the length; MP3 encoders and cut streams leave it open."""
        return self.view is None and 0 < self.frames < _UNKNOWN_FRAMES


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[_Opened]:
    head = _head(path)
    if path.suffix.lower() == ".mp3":
        _refuse_odd_mp3(path, head)  # before libmpg123 complains on stderr
    with contextlib.ExitStack() as stack:
        try:
            # As bytes: a name need not be valid UTF-8, and a locale need not know its letters.
            name = str(path) if os.name == "nt" else os.fsencode(path)
            sound = stack.enter_context(soundfile.SoundFile(name))
            view = None
            if sound.format == "MP3" and mp3.find_tag(path) is None:
                view = stack.enter_context(contextlib.closing(mp3.Untagged(path)))
                sound = stack.enter_context(soundfile.SoundFile(view))
        except (soundfile.SoundFileError, TypeError, ValueError, OSError) as error:
            raise _not_audio(path, head, str(error)) from None
        # soundfile seeks after every read, which spoils Opus and stops MP3 at the length that the header guesses.
        sound.seekable = lambda: False
        _refuse_misfits(path, sound)
        yield _Opened(path, sound, view)


def _refuse_odd_mp3(path: Path, head: bytes) -> None:
    """Refuse what is no MP3 file, or only the first part of one."""
    if not mp3.has_sync(head):
        if head[:4] not in _OTHER_MAGIC:
            raise _not_audio(path, head, "Format not recognised")
        return
    tag = mp3.find_tag(path)
    if tag is not None and tag.size is not None:
        there = path.stat().st_size - tag.start
        if there < tag.size - _PADDING:
            raise _cut_off(path, f"{there / tag.size:.0%} of the bytes that its header promises are there")


def _refuse_misfits(path: Path, sound: Any) -> None:
    if not 1 <= sound.channels <= MAX_CHANNELS:
        raise AudiotransError(
            f"{path}: {sound.channels} channels; 1 to {MAX_CHANNELS} can be read. Mix it down or split it first."
        )
    log = str(sound.extra_info)
    for promised, there in ((int(a), int(b)) for a, b in _PROMISE.findall(log)):
        # Programs that write to a pipe promise the largest size that the header can hold.
        streamed = 0x7FFF0000 <= promised <= 0x7FFFFFFF or promised >= 0xFFFFFF00
        if promised - there > _PADDING and not (streamed and sound.format not in ("W64", "RF64")):
            raise _cut_off(path, f"{there / promised:.0%} of the bytes that its header promises are there")
    if "Last page lacks an end-of-stream bit" in log and "Junk after the last page" in log:
        raise _cut_off(path, f"the last page of the stream breaks off, after {sound.frames / sound.samplerate:.1f} s")


def _head(path: Path) -> bytes:
    """Read the first bytes of a file, or say why that cannot be."""
    try:
        if path.is_dir():
            raise AudiotransError(f"{path}: is a folder; a sound file is needed ({suffix_list()}).")
        if path.exists() and not path.is_file():
            raise AudiotransError(f"{path}: is a device or a pipe; a file on a disk is needed.")
        with path.open("rb") as file:
            head = file.read(_TRAILER)
    except FileNotFoundError:
        raise missing(path) from None
    except PermissionError:
        raise AudiotransError(f"{path}: you are not allowed to read it; change its permissions.") from None
    except OSError as error:
        raise AudiotransError(f"{path}: cannot be read: {error.strerror or error}.") from None
    if not head:
        raise AudiotransError(f"{path}: the file is empty (0 bytes).")
    return head


def _not_audio(path: Path, head: bytes, said: str) -> AudiotransError:
    if head[4:8] == b"ftyp" or path.suffix.lower() in FOREIGN_SUFFIXES:
        return AudiotransError(
            f"{path}: this format ({path.suffix.lstrip('.') or 'MP4'}) cannot be read; {suffix_list()} can. "
            f"Convert it first: {ffmpeg(path, path.with_suffix('.wav'))}"
        )
    if "not recognised" in said or not said.startswith("Error opening"):
        return AudiotransError(f"{path}: is not a sound file that can be read; {suffix_list()} can.")
    return AudiotransError(f"{path}: holds no sound that can be decoded: it is cut off, damaged or of zero length.")


def _no_sound(path: Path) -> AudiotransError:
    return AudiotransError(f"{path}: holds no sound (zero length).")


def _cut_off(path: Path, what: str) -> AudiotransError:
    return AudiotransError(
        f"{path}: is cut off or damaged: {what}. Copy it again, or keep what is left: "
        f"{ffmpeg(path, path.with_name(f'{path.stem}-repaired.wav'))}"
    )


def _piece(file: _Opened, start: int, stop: int | None) -> Iterator[Frames]:
    """Decode from one frame up to another; the end of the file may come first."""
    position = 0
    # libsndfile seeks exactly in every format but these two: there the beginning is decoded and dropped.
    if start and file.exact and not (file.sound.format == "MP3" or file.sound.subtype == "OPUS"):
        position = int(file.sound.seek(min(start, file.frames)))
    for block in _decoded(file, position):
        begin, end = max(start - position, 0), len(block) if stop is None else min(stop - position, len(block))
        position += len(block)
        if begin < end:
            yield block[begin:end]
        if stop is not None and position >= stop:
            return


def _decoded(file: _Opened, position: int = 0) -> Iterator[Frames]:
    """Decode to the end in checked blocks of (frames, channels)."""
    rate = file.sound.samplerate
    while True:
        try:
            block: Frames = file.sound.read(CHUNK_FRAMES, dtype="float32", always_2d=True)
        except soundfile.SoundFileError:
            if file.view is not None and position and file.view.size - file.view.tell() <= _TRAILER:
                return
            raise _cut_off(file.path, f"decoding fails after {position / rate:.1f} s") from None
        if not len(block):
            break
        refuse_nonfinite(block, position, rate, file.path)
        position += len(block)
        yield block
    if file.exact and file.sound.format != "MP3" and position < file.frames:
        raise _cut_off(file.path, f"{position / rate:.1f} s of {file.frames / rate:.1f} s can be decoded")


def refuse_nonfinite(block: Frames, offset: int, sample_rate: int, path: Path) -> None:
    """Refuse NaN and infinite samples, and say where the first one is.

    Args:
        block: Shape (frames, channels).
        offset: Frames of the file before this block.
        sample_rate: In Hz.
        path: The file, for the message.

    Raises:
        AudiotransError: A sample is not a finite number.
    """
    finite = np.isfinite(block)
    if finite.all():
        return
    frame, channel = np.argwhere(~finite)[0]
    value = "NaN (not a number)" if np.isnan(block[frame, channel]) else "infinite"
    raise AudiotransError(
        f"{path}: the sample at {(offset + frame) / sample_rate:.4f} s in channel {channel + 1} is {value}; every "
        "sample must be a finite number. Export the file again, or cut that place out."
    )
