"""What a sound file says of itself: title, artist, cover, time code; read by FFmpeg's libraries, written by mutagen."""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av

from audiotrans.audio.ffmpeg import is_marked, open_container

_log = logging.getLogger(__name__)

# FFmpeg's name of a field, and what it is called in Vorbis comments (FLAC, Ogg), ID3 (MP3, WAV, AIFF) and MP4.
_FIELDS = {
    "title": ("TITLE", "TIT2", "©nam"),
    "artist": ("ARTIST", "TPE1", "©ART"),
    "album": ("ALBUM", "TALB", "©alb"),
    "album_artist": ("ALBUMARTIST", "TPE2", "aART"),
    "composer": ("COMPOSER", "TCOM", "©wrt"),
    "genre": ("GENRE", "TCON", "©gen"),
    "date": ("DATE", "TDRC", "©day"),
    "track": ("TRACKNUMBER", "TRCK", "trkn"),
    "disc": ("DISCNUMBER", "TPOS", "disk"),
    "comment": ("COMMENT", "COMM", "©cmt"),
    "copyright": ("COPYRIGHT", "TCOP", "cprt"),
}

_COVERS = {"mjpeg": "image/jpeg", "png": "image/png"}

# Parts of a WAV file that field recorders write: the time code, and notes on takes and tracks.
_RECORDER_CHUNKS = (b"bext", b"iXML")
_LARGEST_CHUNK = 1 << 20  # bytes


@dataclass(frozen=True)
class Tags:
    """What a sound file says of itself.

    Attributes:
        texts: by field, in FFmpeg's names: title, artist, album, date, track and others.
        cover: kind (``image/jpeg`` or ``image/png``) and bytes of the picture, or None.
        chunks: name and content of a WAV file's parts from a field recorder.
    """

    texts: dict[str, str] = field(default_factory=dict)
    cover: tuple[str, bytes] | None = None
    chunks: tuple[tuple[bytes, bytes], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.texts or self.cover or self.chunks)

    def __str__(self) -> str:
        """List what there is, for a message."""
        names = [*self.texts, *(["cover"] if self.cover else []), *(name.decode() for name, _ in self.chunks)]
        return ", ".join(names)


def read_tags(path: Path) -> Tags:
    """Read what a sound file says of itself; nothing where it cannot be read."""
    found = Tags()
    with contextlib.suppress(av.FFmpegError, OSError, ValueError):
        chunks = tuple(_recorder_chunks(path))
        with path.open("rb") as file, open_container(file) as container:
            said = [*container.metadata.items()]
            for stream in container.streams.audio[:1]:  # Ogg's belong to the stream
                said += stream.metadata.items()
            texts = {key.lower(): value for key, value in said if key.lower() in _FIELDS and value.strip()}
            found = Tags(texts, _cover(container), chunks)
    return found


def _cover(container: Any) -> tuple[str, bytes] | None:
    for stream in container.streams.video:
        kind = _COVERS.get(getattr(stream.codec_context, "name", ""))  # None for an unknown codec
        if kind and is_marked(stream, "attached_pic", otherwise=True):
            packet = next(container.demux(stream), None)
            return (kind, bytes(packet)) if packet is not None and packet.size else None
    return None


def _recorder_chunks(path: Path) -> Iterator[tuple[bytes, bytes]]:
    with path.open("rb") as file:
        head, place = file.read(12), 12
        if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
            return
        while len(start := _read_at(file, place, 8)) == 8:
            name, size = struct.unpack("<4sI", start)
            if name in _RECORDER_CHUNKS and size <= _LARGEST_CHUNK:
                yield name, file.read(size)
            place += 8 + size + size % 2


def _read_at(file: Any, place: int, count: int) -> bytes:
    file.seek(place)
    return bytes(file.read(count))


def write_tags(path: Path, container: str, tags: Tags, shown: Path) -> None:
    """Write tags into a finished sound file.

    Args:
        path: The file; its name may have no suffix.
        container: Its format: "WAV", "FLAC", "OGG", "MP3", "M4A", "AIFF"; others hold no tags, which the log says.
        tags: What to write.
        shown: The name for messages.

    Raises:
        OSError: The file cannot be written.
    """
    import mutagen

    if container == "WAV":
        _append_chunks(path, tags.chunks)
    writer = _WRITERS.get(container)
    if writer is None:
        _log.warning("%s: this format does not hold %s: left out.", shown, tags)
    elif tags.texts or tags.cover:
        try:
            writer(path, tags)
        except mutagen.MutagenError as error:
            raise OSError(0, f"its tags cannot be written ({error})") from error


def _append_chunks(path: Path, chunks: tuple[tuple[bytes, bytes], ...]) -> None:
    with path.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(bytes(file.tell() % 2))
        for name, content in chunks:
            file.write(name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2))
        size = file.tell() - 8
        file.seek(4)
        file.write(struct.pack("<I", size))


def _write_id3(path: Path, tags: Tags, kind: str) -> None:
    import mutagen.aiff
    import mutagen.id3
    import mutagen.mp3
    import mutagen.wave

    kinds: dict[str, Any] = {"WAV": mutagen.wave.WAVE, "AIFF": mutagen.aiff.AIFF, "MP3": mutagen.mp3.MP3}
    file = kinds[kind](path)
    if file.tags is None:
        file.add_tags()
    for key, text in tags.texts.items():
        frame = _FIELDS[key][1]
        extra = {"lang": "XXX", "desc": ""} if frame == "COMM" else {}
        file.tags.add(getattr(mutagen.id3, frame)(encoding=3, text=[text], **extra))
    if tags.cover:
        kind, data = tags.cover
        file.tags.add(mutagen.id3.APIC(encoding=3, mime=kind, type=3, desc="", data=data))
    file.save()


def _write_vorbis(path: Path, tags: Tags) -> None:
    import mutagen
    import mutagen.flac
    import mutagen.oggopus
    import mutagen.oggvorbis

    kinds = [mutagen.flac.FLAC, mutagen.oggopus.OggOpus, mutagen.oggvorbis.OggVorbis]
    file = mutagen.File(path, options=kinds)
    for key, text in tags.texts.items():
        file[_FIELDS[key][0]] = [text]
    if tags.cover:
        picture = mutagen.flac.Picture()
        picture.type, picture.mime, picture.data = 3, *tags.cover
        if isinstance(file, mutagen.flac.FLAC):
            file.add_picture(picture)
        else:
            file["METADATA_BLOCK_PICTURE"] = [base64.b64encode(picture.write()).decode("ascii")]
    file.save()


def _write_mp4(path: Path, tags: Tags) -> None:
    from mutagen.mp4 import MP4, MP4Cover

    file = MP4(path)
    for key, text in tags.texts.items():
        file[_FIELDS[key][2]] = [_counted(text)] if key in ("track", "disc") else [text]
    if tags.cover:
        kind = MP4Cover.FORMAT_PNG if tags.cover[0] == "image/png" else MP4Cover.FORMAT_JPEG
        file["covr"] = [MP4Cover(tags.cover[1], kind)]
    file.save()


def _counted(text: str) -> tuple[int, int]:
    """Read a track's number and that of all tracks: ``3/12``."""
    number, _, total = text.partition("/")
    return tuple(int(part) if part.strip().isdigit() else 0 for part in (number, total))  # type: ignore[return-value]


_WRITERS = {
    "WAV": lambda path, tags: _write_id3(path, tags, "WAV"),
    "AIFF": lambda path, tags: _write_id3(path, tags, "AIFF"),
    "MP3": lambda path, tags: _write_id3(path, tags, "MP3"),
    "FLAC": _write_vorbis,
    "OGG": _write_vorbis,
    "M4A": _write_mp4,
}
