"""What libsndfile gets wrong about MP3 files: their length.

An encoder notes the number of frames in a tag in the first MP3 frame ("Xing" or "Info"). Where that tag is missing
(old encoders, cut or recorded streams) libsndfile guesses the length from the first frame's bit rate, and stops
reading there: half of a file of varying bit rate may be lost. Here the tag is read, and for a file without one it is
supplied.

Source: ISO/IEC 11172-3, section 2.4.1.3 (frame header); the layout of the tag is common to all encoders.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import BinaryIO, NamedTuple

# MPEG 1, 2 or 2.5, layer III, a real bit rate and a real sample rate.
_RATE_BYTES = bytes(kbits << 4 | rate for kbits in range(1, 15) for rate in range(12))
_LAYER_III_HEADER = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb][" + re.escape(_RATE_BYTES) + rb"].", re.DOTALL)
_SYNC = re.compile(rb"\xff[\xe2-\xff]")
_KBITS_MPEG1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_MPEG2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES_MPEG1 = (44_100, 48_000, 32_000)
_SMALLEST_FRAME = 24  # bytes: 8 kbit/s at 24 kHz
_TAG_FRAME = 200  # bytes: the tag with its longest side information, and room


class Tag(NamedTuple):
    """The note of the encoder: where the sound starts in the file, and how many bytes it should have (or None)."""

    start: int
    size: int | None


def has_sync(head: bytes) -> bool:
    """Tell whether the start of a file may be MPEG audio; libmpg123 would complain on stderr about text."""
    return head.startswith(b"ID3") or _SYNC.search(head) is not None


def sound_start(file: BinaryIO) -> int:
    """Skip the ID3v2 tag, whose size is four times seven bits."""
    head = file.read(10)
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])


def find_tag(path: Path) -> Tag | None:
    """Read the encoder's note of the length.

    Args:
        path: An MP3 file.

    Returns:
        The note, or None where there is none.
    """
    with path.open("rb") as file:
        start = sound_start(file)
        file.seek(start)
        head = file.read(65_536)
    first = _LAYER_III_HEADER.search(head)
    if first is None:
        return None
    frame = head[first.start() : first.start() + 64]
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if at < 0 or len(frame) < at + 16:
        return None
    flags = frame[at + 7]
    at += 12 if flags & 1 else 8
    size = int.from_bytes(frame[at : at + 4], "big") if flags & 2 else None
    return Tag(start + first.start(), size)


class Untagged:
    """A readable view of an MP3 file without a tag, as if it had one that promises more frames than can be there.

    libsndfile then reads until the sound ends. Give it to soundfile in the place of a path.

    Args:
        path: An MP3 file for which ``find_tag`` finds nothing.

    Raises:
        ValueError: The file holds no MP3 frame.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        start = sound_start(self._file)
        self._file.seek(start)
        first = _LAYER_III_HEADER.search(self._file.read(65_536))
        if first is None:
            self._file.close()
            raise ValueError("no MP3 frame")
        self._start = start + first.start()
        length = self._sound_end(first.group()) - self._start
        self._tag = _tag_frame(first.group(), length // _SMALLEST_FRAME + 1)
        self.size = length + len(self._tag)
        self._position = 0

    def _sound_end(self, like: bytes) -> int:
        """Find the end of the last frame: libmpg123 fails on padding and tags of players behind it."""
        size = os.fstat(self._file.fileno()).st_size
        begin = max(self._start, size - 65_536)
        self._file.seek(begin)
        headers = [match for match in _LAYER_III_HEADER.finditer(self._file.read()) if match.group()[:2] == like[:2]]
        if not headers:
            return size
        return min(size, begin + headers[-1].start() + _frame_bytes(headers[-1].group()))

    def read(self, count: int) -> bytes:
        """Read up to ``count`` bytes of the tag and the sound."""
        if self._position < len(self._tag):
            data = self._tag[self._position : self._position + count]
        else:
            self._file.seek(self._start + self._position - len(self._tag))
            data = self._file.read(max(0, min(count, self.size - self._position)))
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move as in any file."""
        self._position = (0, self._position, self.size)[whence] + offset
        return self._position

    def tell(self) -> int:
        """Tell the position in bytes."""
        return self._position

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _tag_frame(header: bytes, frames: int) -> bytes:
    """Make a silent first frame, like the file's own, whose tag promises so many frames."""
    first, mpeg1, mono = header[0], header[1] & 0x08 != 0, header[3] >> 6 == 3
    # No checksum, no padding, and the lowest bit rate at which the tag fits.
    candidates = (bytes((first, header[1] | 1, kbits << 4 | header[2] & 0x0C, header[3])) for kbits in range(1, 15))
    header = next(candidate for candidate in candidates if _frame_bytes(candidate) >= _TAG_FRAME)
    side = {(True, True): 17, (True, False): 32, (False, True): 9, (False, False): 17}[(mpeg1, mono)]
    frame = header + bytes(side) + b"Info" + (1).to_bytes(4, "big") + frames.to_bytes(4, "big")
    return frame.ljust(_frame_bytes(header), b"\0")


def _frame_bytes(header: bytes) -> int:
    """Compute the size of a layer III frame from its header of four bytes."""
    mpeg1 = header[1] & 0x08 != 0
    mpeg25 = header[1] & 0x10 == 0
    rate = _RATES_MPEG1[(header[2] >> 2) & 3] >> (0 if mpeg1 else 2 if mpeg25 else 1)
    table, samples_by_8 = (_KBITS_MPEG1, 144) if mpeg1 else (_KBITS_MPEG2, 72)
    return samples_by_8 * 1000 * table[header[2] >> 4] // rate + (header[2] >> 1 & 1)
