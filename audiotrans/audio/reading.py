"""File -> wave: what a file holds, the whole of it, or its blocks."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import av
import numpy as np
import soundfile

from audiotrans.audio.blocks import CHUNK_FRAMES, Frames, Wave, reblock, refuse_nonfinite, resample_blocks
from audiotrans.audio.ffmpeg import Damage, Decoder
from audiotrans.audio.formats import HIGHEST_RATE, LOWEST_RATE, MAX_CHANNELS, Tags, ffmpeg, read_tags, suffix_list
from audiotrans.audio.pipes import KINDS, OPEN_SIZE, read_wav_header
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.files import missing

# libsndfile says "as many as can be" where the header does not tell.
_UNKNOWN_FRAMES = 2**60

# A chunk of sound whose header promises more than the file holds, in libsndfile's log of what it parsed.
_PROMISE = re.compile(r"^\s*(?:data|SSND|Data Size|Riff size|riff)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
_PADDING = 64  # bytes by which a header may be wrong without any harm
_TAGS = (b"ID3", b"TAG", b"APETAGEX")  # what taggers of MP3 put behind any file

_MPEG_CODES = (0x50, 0x55)  # WAV's numbers of MP2 and MP3
_LONGEST_START = 65_536  # bytes, before the description of the sound

_WAV_KIND = ("WAV", "WAVEX", "RF64")
_SHORTEST_HEADER = 44  # bytes, of WAV
_SAMPLE_BYTES = {kind.subtype: kind.bits // 8 for kind in KINDS.values()}

# What libsndfile reads exactly, by the first bytes. All else is FFmpeg's.
_RIFF = (b"RIFF", b"RIFX", b"RF64")
_SNDFILE_MAGIC = (*_RIFF, b"FORM", b"fLaC", b"OggS", b"caff", b".snd", b"riff")


@dataclass(frozen=True)
class AudioInfo:
    """What a sound file holds.

    Attributes:
        path: The file.
        sample_rate: In Hz.
        channels: 1 to 8.
        frames: Samples per channel that can be decoded; 0 where they were not to be counted.
        format: name of the file format, such as "WAV", "OGG", "MP4".
        subtype: libsndfile's name of the kind of sample, such as "PCM_16", "FLOAT", "VORBIS", "OPUS"; or the codec's.
        note: what a user should know about how it was read, such as a header that was never finished; often empty.
    """

    path: Path
    sample_rate: int
    channels: int
    frames: int
    format: str
    subtype: str
    note: str = ""

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.frames / self.sample_rate

    @functools.cached_property
    def tags(self) -> Tags:
        """Title, artist, cover and the like, read when they are asked for."""
        return read_tags(self.path)


def probe(path: Path | str, *, count: bool = True) -> AudioInfo:
    """Tell what a sound file holds, from its header.

    A file that does not tell its length beyond doubt (MP3, MP4, video, an unfinished FLAC stream) is decoded to count:
    an hour in some five seconds. A file whose damage does not show in its header is refused by ``read`` only.

    Args:
        path: The file.
        count: Whether such a file is decoded; else ``frames`` is 0, for those who read it anyway.

    Returns:
        What it holds.

    Raises:
        AudiotransError: The file is missing, a folder, not readable, empty, not audio, of zero length, cut off, or
            has more than 8 channels.
    """
    path = Path(path)
    with _opened(path) as file:
        frames = file.frames
        if count and not frames:
            frames = sum(len(block) for block in _checked(file))
        if count and not frames:
            raise _no_sound(path)
        return AudioInfo(path, file.sample_rate, file.channels, frames, file.format, file.subtype, file.note)


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
        own_rate = file.sample_rate
        start = round(start_seconds * own_rate)
        stop = None if seconds is None else start + max(1, round(seconds * own_rate))
        pieces: Iterator[Wave] = (block.T for block in _piece(file, start, stop))
        rate = own_rate if sample_rate is None else sample_rate
        if rate != own_rate:
            pieces = resample_blocks(pieces, own_rate, rate, file.channels)
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
        blocks: Iterator[Wave] = (block.T for block in _checked(file))
        own_rate = file.sample_rate
        if sample_rate is not None and sample_rate != own_rate:
            blocks = resample_blocks(blocks, own_rate, sample_rate, file.channels)
        empty = True
        for block in reblock(blocks, block_frames):
            empty = False
            yield block
        if empty:
            raise _no_sound(path)


class _Sndfile:
    """A sound file as libsndfile reads it; the attributes are those of `Decoder`.

    ``frames`` is what the header tells, where that is beyond doubt; else 0.

    Args:
        path: The file.
        view: What is read in its place, where its bytes do not say what is there.
    """

    def __init__(self, path: Path, view: _View | None = None) -> None:
        self.path, self.note, self._position = path, "", 0
        self._view = view
        self._sound = _sound_file(path, view)
        if view is None and self._sound.format in _WAV_KIND and _holds_more(path, self._sound):
            self._view, self.note = _finished(path)
        if self._view is not view:
            self._sound.close()
            self._sound = _sound_file(path, self._view)
        self.sample_rate, self.channels = int(self._sound.samplerate), int(self._sound.channels)
        self.format, self.subtype = str(self._sound.format), str(self._sound.subtype)
        self.frames = int(self._sound.frames) if 0 < self._sound.frames < _UNKNOWN_FRAMES else 0
        try:
            self._refuse_broken_promises()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._sound.close()
        if self._view:
            self._view.close()

    def _refuse_broken_promises(self) -> None:
        log = str(self._sound.extra_info)
        for promised, there in ((int(a), int(b)) for a, b in _PROMISE.findall(log)):
            # Programs that write to a pipe promise the largest size that the header can hold.
            streamed = 0x7FFF0000 <= promised <= 0x7FFFFFFF or promised >= 0xFFFFFF00
            if promised - there > _PADDING and not (streamed and self.format not in ("W64", "RF64")):
                raise Damage(f"{there} of the {promised} bytes that its header promises are there")
        if "Last page lacks an end-of-stream bit" in log and "Junk after the last page" in log:
            seconds = self._sound.frames / self.sample_rate
            raise Damage(f"the last page of the stream breaks off, after {seconds:.1f} s")

    def skip(self, frames: int) -> int:
        """Go to a frame, where libsndfile does so exactly; return the frame that is reached."""
        if not self.frames or self.subtype == "OPUS":
            return 0
        with contextlib.suppress(soundfile.SoundFileError):  # GSM and G.721 are decoded from their beginning
            self._position = int(self._sound.seek(min(frames, self.frames)))
        return self._position

    def blocks(self) -> Iterator[Frames]:
        """Decode from here to the end, in blocks of shape (frames, channels)."""
        position = self._position
        while True:
            try:
                block: Frames = self._sound.read(CHUNK_FRAMES, dtype="float32", always_2d=True)
            except soundfile.SoundFileError:
                raise Damage(f"decoding fails after {position / self.sample_rate:.1f} s") from None
            if not len(block):
                break
            position += len(block)
            yield block
        if position < self.frames:
            there, all_of_it = position / self.sample_rate, self.frames / self.sample_rate
            raise Damage(f"{there:.1f} s of {all_of_it:.1f} s can be decoded")


def _sound_file(path: Path, view: _View | None) -> Any:  # soundfile has no types
    # As bytes: a name need not be valid UTF-8, and a locale need not know its letters.
    sound = soundfile.SoundFile(view or (str(path) if os.name == "nt" else os.fsencode(path)))
    sound.seekable = lambda: False  # soundfile seeks after every read, which spoils Opus
    return sound


def _holds_more(path: Path, sound: Any) -> bool:
    """Tell whether a WAV file has more bytes than its sound and the shortest header need."""
    frame_bytes = _SAMPLE_BYTES.get(sound.subtype, 0) * sound.channels
    return bool(path.stat().st_size - sound.frames * frame_bytes > _SHORTEST_HEADER + _PADDING)


class _Chain:
    """An Ogg file of several sounds one behind the other, as recordings of radio stations are; read as one sound.

    libsndfile ends with the first of them. FFmpeg does not, but loses the first 128 samples of Vorbis.
    """

    def __init__(self, path: Path, links: list[tuple[int, int]]) -> None:
        self._links = links
        first = self._link(path, links[0])
        first.close()
        self.path, self.frames = path, 0
        self.sample_rate, self.channels = first.sample_rate, first.channels
        self.format, self.subtype = first.format, first.subtype
        self.note = f"holds {len(links)} sounds one behind the other: they are read as one"

    @staticmethod
    def _link(path: Path, link: tuple[int, int]) -> _Sndfile:
        return _Sndfile(path, _View(path, *link))

    def skip(self, frames: int) -> int:
        """Go to a frame: the beginning is decoded and dropped."""
        return 0

    def close(self) -> None:
        """Close the file: nothing stays open."""

    def blocks(self) -> Iterator[Frames]:
        """Decode all, in blocks of shape (frames, channels)."""
        for number, link in enumerate(self._links, start=1):
            try:
                part = self._link(self.path, link)
            except soundfile.SoundFileError:
                raise Damage(f"sound {number} of it cannot be decoded") from None
            with contextlib.closing(part) as file:
                if (file.sample_rate, file.channels) != (self.sample_rate, self.channels):
                    raise Damage(f"sound {number} of it has {file.channels} channels at {file.sample_rate} Hz")
                yield from file.blocks()


class _View:
    """A readable part of a file, in which some bytes may be others. Give it to soundfile in the place of a path.

    Args:
        path: The file.
        start: First byte.
        end: One behind the last byte; None for the end of the file.
        changes: What is read at some places, counted from the beginning of the part.
    """

    def __init__(
        self, path: Path, start: int = 0, end: int | None = None, changes: dict[int, bytes] | None = None
    ) -> None:
        self._file, self._changes, self._start, self._at = path.open("rb"), changes or {}, start, 0
        self._size = (os.fstat(self._file.fileno()).st_size if end is None else end) - start

    def read(self, count: int) -> bytes:
        """Read up to ``count`` bytes."""
        data = bytearray(_bytes_at(self._file, self._start + self._at, max(0, min(count, self._size - self._at))))
        for place, new in self._changes.items():
            for at, byte in enumerate(new, start=place - self._at):
                if 0 <= at < len(data):
                    data[at] = byte
        self._at += len(data)
        return bytes(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move as in any file."""
        self._at = (0, self._at, self._size)[whence] + offset
        return self._at

    def tell(self) -> int:
        """Tell the position in bytes."""
        return self._at

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _links(path: Path) -> list[tuple[int, int]]:
    """Find where in an Ogg file one sound ends and the next begins; empty for the common case of a single one.

    Source: RFC 3533, section 6: a page is a header of 27 bytes, a table of sizes and what they count.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        starts, place, before = [], 0, 0  # streams' numbers do not tell: a file may be joined to itself
        while len(page := _bytes_at(file, place, 27)) == 27 and page.startswith(b"OggS"):
            begins = page[5] & 2
            if begins and not before:  # several beginnings in a row are streams side by side, such as a video's
                starts.append(place)
            sizes = file.read(page[26])
            before, place = begins, place + 27 + len(sizes) + sum(sizes)
    return list(zip(starts, [*starts[1:], size], strict=True)) if len(starts) > 1 else []


def _finished(path: Path) -> tuple[_View | None, str]:
    """Mend a WAV header that promises less sound than there is, as that of a recorder that crashed.

    Its two sizes decide: where that of the whole file agrees with that of the sound, the header was finished, and what
    lies behind is no sound.

    Returns:
        The file with the sizes that it should have, None where they are right or it is of another kind; and what is to
        be said of it.
    """
    with path.open("rb") as file:
        try:
            form = read_wav_header(file)
        except AudiotransError:
            return None, ""
        start, size = file.tell(), os.fstat(file.fileno()).st_size
        long_form = _bytes_at(file, 0, 4) == b"RF64"
        promised = int.from_bytes(_bytes_at(file, start - 4, 4), "little")
        whole = 8 + int.from_bytes(_bytes_at(file, *((20, 8) if long_form else (4, 4))), "little")
        if long_form:
            promised = (form.frames or 0) * form.frame_bytes
        end = start + promised + promised % 2  # parts begin at even places
        behind = _bytes_at(file, end, 8)
    if size - end <= _PADDING or behind.startswith(_TAGS) or _is_chunk(behind, size - end):
        return None, ""
    if promised and end - 1 <= whole <= end + _PADDING:
        return None, f"{size - end} bytes that lie behind the end of its sound are passed over"
    size = whole if end < whole < size else size
    if long_form:
        view = _View(path, end=size, changes={20: struct.pack("<QQ", size - 8, size - start)})
    else:
        open_size = struct.pack("<I", OPEN_SIZE)
        view = _View(path, end=size, changes={4: open_size, start - 4: open_size})
    return view, "its header was never finished: it is read to its end"


def _is_chunk(head: bytes, room: int) -> bool:
    """Tell whether 8 bytes begin a further part of a WAV file: a name in ASCII, and a size that fits."""
    return head[:4].isascii() and head[:4].decode("ascii").isprintable() and int.from_bytes(head[4:], "little") <= room


def _bytes_at(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)


_Source = _Sndfile | _Chain | Decoder


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[_Source]:
    head = _head(path)
    try:
        file = _open(path, head)
    except Damage as damage:
        raise _cut_off(path, str(damage)) from None
    except LookupError:
        raise AudiotransError(f"{path}: holds no sound, only pictures.") from None
    except (av.FFmpegError, OSError, ValueError):
        raise _not_audio(path, head) from None
    with contextlib.closing(file):
        if not 1 <= file.channels <= MAX_CHANNELS:
            raise AudiotransError(
                f"{path}: {file.channels} channels; 1 to {MAX_CHANNELS} can be read. Mix it down or split it first."
            )
        if not LOWEST_RATE <= file.sample_rate <= HIGHEST_RATE:
            raise AudiotransError(
                f"{path}: {file.sample_rate} samples a second; {LOWEST_RATE} to {HIGHEST_RATE} are possible. Its "
                "header is damaged, or it holds no sound."
            )
        yield file


def _open(path: Path, head: bytes) -> _Source:
    """Open with libsndfile what it knows, and with FFmpeg what it does not."""
    place, first = _behind_tags(path, head)
    other = first.startswith(b"FORM") and not first[8:].startswith(b"AIF")  # libsndfile mixes up its channels
    if other or not first.startswith(_SNDFILE_MAGIC) or _is_mpeg_in_wav(path, place, first):
        return Decoder(path)  # libsndfile's decoder of MP3 talks on the terminal, and guesses the length
    try:
        links = _links(path) if head.startswith(b"OggS") else []
        file = _Chain(path, links) if links else _Sndfile(path)
    except (soundfile.SoundFileError, TypeError, ValueError):
        return Decoder(path)
    return file


def _behind_tags(path: Path, head: bytes) -> tuple[int, bytes]:
    """Return where ID3 tags end, which may stand before any sound, and the first bytes behind them."""
    place = 0
    with path.open("rb") as file:
        while head.startswith(b"ID3") and len(head) >= 10:
            size = functools.reduce(lambda total, byte: total << 7 | byte & 127, head[6:10], 0)
            place += 10 + size + (10 if head[5] & 16 else 0)
            head = _bytes_at(file, place, 16)
    return place, head


def _is_mpeg_in_wav(path: Path, place: int, head: bytes) -> bool:
    """Tell whether a WAV file, which begins at a place, holds MP2 or MP3."""
    if not head.startswith(_RIFF):
        return False
    with path.open("rb") as file:
        start = _bytes_at(file, place, _LONGEST_START)
    order: Literal["big", "little"] = "big" if head.startswith(b"RIFX") else "little"
    places = [match.start() for match in re.finditer(b"fmt ", start)]  # a damaged file may have several
    return any(int.from_bytes(start[at + 8 : at + 10], order) in _MPEG_CODES for at in places)


def _head(path: Path) -> bytes:
    """Read the first bytes of a file, or say why that cannot be."""
    try:
        if path.is_dir():
            raise AudiotransError(f"{path}: is a folder; a sound file is needed ({suffix_list()}).")
        if path.exists() and not path.is_file():
            raise AudiotransError(f"{path}: is a device or a pipe; a file on a disk is needed.")
        with path.open("rb") as file:
            head = file.read(16)
    except FileNotFoundError:
        raise missing(path) from None
    except PermissionError:
        raise AudiotransError(f"{path}: you are not allowed to read it; change its permissions.") from None
    except OSError as error:
        raise AudiotransError(f"{path}: cannot be read: {error.strerror or error}.") from None
    if not head:
        raise AudiotransError(f"{path}: the file is empty (0 bytes).")
    return head


def _not_audio(path: Path, head: bytes) -> AudiotransError:
    if head.startswith(_SNDFILE_MAGIC) or head.startswith(b"ID3"):
        return AudiotransError(f"{path}: holds no sound that can be decoded: it is cut off, damaged or of zero length.")
    if head[4:8] == b"ftyp":
        return AudiotransError(
            f"{path}: cannot be decoded: it is damaged, protected by its seller, or a recording that was never "
            "finished: only the program that made it can write its table of contents."
        )
    return AudiotransError(f"{path}: is not a sound file that can be read; {suffix_list()} can.")


def _no_sound(path: Path) -> AudiotransError:
    return AudiotransError(f"{path}: holds no sound (zero length).")


def _cut_off(path: Path, what: str) -> AudiotransError:
    return AudiotransError(
        f"{path}: is cut off or damaged: {what}. Copy it again, or keep what is left: "
        f"{ffmpeg(path, path.with_name(f'{path.stem}-repaired.wav'))}"
    )


def _piece(file: _Source, start: int, stop: int | None) -> Iterator[Frames]:
    """Decode from one frame up to another; the end of the file may come first."""
    position = file.skip(start) if start else 0
    for block in _checked(file, position):
        begin, end = max(start - position, 0), len(block) if stop is None else min(stop - position, len(block))
        position += len(block)
        if begin < end:
            yield block[begin:end]
        if stop is not None and position >= stop:
            return


def _checked(file: _Source, position: int = 0) -> Iterator[Frames]:
    """Decode to the end; refuse damage and samples that are not finite."""
    try:
        for block in file.blocks():
            refuse_nonfinite(block, position, file.sample_rate, file.path)
            position += len(block)
            yield block
    except Damage as damage:
        raise _cut_off(file.path, str(damage)) from None
