"""Formats of sound files: which there are, what each can hold and which fits a signal best; and the tags in a file.

Tags are read by FFmpeg's libraries (PyAV) and written by mutagen.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import shlex
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import av

from audiotrans.audio.blocks import PCM_BITS
from audiotrans.errors import AudiotransError, UsageError, nearest
from audiotrans.files import find_files

MAX_CHANNELS = 8

LOWEST_RATE, HIGHEST_RATE = 1_000, 4_000_000
"""Rates in Hz of all sound that there is, from the first digital telephones to the fastest DSD. A damaged header that
says 1 Hz would make a day of a second."""

# Rates that the lossy codecs know. Everything else takes any rate.
_OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)

_AAC_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000)

# Chunk sizes of WAV, AIFF and AU are 32-bit; a little is left for the header.
_FOUR_GIB = 2**32 - 2**16

_FLOATS = ("FLOAT", "DOUBLE")

# The nearest kind of sample where a format lacks the very one.
_NEXT_BEST = {
    "PCM_U8": "PCM_S8",
    "PCM_S8": "PCM_U8",
    "ALAC_16": "PCM_16",
    "ALAC_20": "PCM_24",
    "ALAC_24": "PCM_24",
    "ALAC_32": "PCM_32",
}


@dataclass(frozen=True)
class Container:
    """One file format that can be written.

    Attributes:
        format: libsndfile's name of the format; M4A is FFmpeg's.
        subtype: The kind of sample that is written where nothing else is wanted.
        subtypes: Every kind of sample that may be written.
        rates: Sample rates in Hz that the format allows; empty where it takes any.
        max_channels: Channels that fit.
        max_bytes: Size in bytes at which the format's own counters end, or None.
        options: Further settings for soundfile, such as the quality of a lossy codec.
    """

    format: str
    subtype: str
    subtypes: tuple[str, ...]
    rates: tuple[int, ...] = ()
    max_channels: int = MAX_CHANNELS
    max_bytes: int | None = None
    options: tuple[tuple[str, float | str], ...] = ()


_LINEAR = ("PCM_16", "PCM_24", "PCM_32", *_FLOATS)
_WAV = Container("WAV", "PCM_24", ("PCM_U8", *_LINEAR), max_bytes=_FOUR_GIB)
_AIFF = Container("AIFF", "PCM_24", ("PCM_S8", *_LINEAR), max_bytes=_FOUR_GIB)
# Qualities: a result may be edited and coded again, so they sit well above libsndfile's defaults.
# About 190 (Vorbis), 150 (Opus) and 200 (MP3) kbit/s for stereo at full rates. MP3 at a varying bit rate, because LAME
# lowers the level by up to 5 % at constant ones.
_VORBIS = Container("OGG", "VORBIS", ("VORBIS",), options=(("compression_level", 0.3),))
_OPUS = Container("OGG", "OPUS", ("OPUS",), rates=_OPUS_RATES, options=(("compression_level", 0.7),))
_MP3 = Container(
    "MP3",
    "MPEG_LAYER_III",
    ("MPEG_LAYER_III",),
    rates=_MP3_RATES,
    max_channels=2,
    options=(("compression_level", 0.1), ("bitrate_mode", "VARIABLE")),
)

CONTAINERS: dict[str, Container] = {
    ".wav": _WAV,
    ".flac": Container("FLAC", "PCM_24", ("PCM_S8", "PCM_16", "PCM_24")),
    ".ogg": _VORBIS,
    ".oga": _VORBIS,
    ".opus": _OPUS,
    ".mp3": _MP3,
    ".m4a": Container("M4A", "AAC", ("AAC", "ALAC_16", "ALAC_24"), rates=_AAC_RATES, max_channels=6),
    ".aiff": _AIFF,
    ".aif": _AIFF,
    ".w64": Container("W64", "PCM_24", ("PCM_U8", *_LINEAR)),
    ".rf64": Container("RF64", "PCM_24", ("PCM_U8", *_LINEAR)),
    ".caf": Container("CAF", "PCM_24", ("PCM_S8", *_LINEAR)),
    ".au": Container("AU", "PCM_24", ("PCM_S8", *_LINEAR), max_bytes=_FOUR_GIB),
}

# What else FFmpeg reads: sound in MP4's and other video files' containers, and codecs of phones and players.
_MP4_KIND = (".mp4", ".mov", ".m4b", ".m4r", ".m4v", ".aac", ".3gp", ".3g2")
_READ_ONLY = (
    *_MP4_KIND, ".mkv", ".webm", ".wma", ".wmv", ".asf", ".mka", ".avi", ".flv", ".mpg", ".mpeg", ".mts", ".m2ts",
    ".vob", ".ogv", ".mp2", ".ac3", ".eac3", ".dts", ".amr", ".ape", ".wv", ".tta", ".tak", ".mpc", ".dsf", ".dff",
    ".spx", ".ra", ".rm", ".aifc", ".snd", ".wave", ".bwf", ".voc",
)  # fmt: skip

AUDIO_SUFFIXES: tuple[str, ...] = (*CONTAINERS, *_READ_ONLY)
"""Every suffix by which a folder is searched for sound; those that can be written come first."""


def find_audio(paths: Sequence[Path | str]) -> list[Path]:
    """Find the sound files that a list of files, folders and patterns means; see `find_files`."""
    return find_files(paths, AUDIO_SUFFIXES, "sound")


def output_suffix(path: Path) -> str:
    """Return the suffix for what is made of a sound file: its own where it can be written, else .m4a or .wav."""
    suffix = path.suffix.lower()
    if suffix in CONTAINERS:
        return path.suffix
    return ".m4a" if suffix in _MP4_KIND else ".wav"


def suffix_list() -> str:
    """List the suffixes that can be written for a message, the common ones first: ``.wav, .flac, ...``."""
    return ", ".join(CONTAINERS)


def ffmpeg(source: Path, target: Path) -> str:
    """Spell the command that converts one file to another, for a message; it never reads and writes the same file."""
    if target == source:
        target = source.with_name(f"{source.stem}-converted{target.suffix}")
    return f"ffmpeg -i {shlex.quote(str(source))} {shlex.quote(str(target))}"


def container_for(path: Path) -> Container:
    """Find the format that a file's name asks for.

    Args:
        path: The file to be written; upper and lower case of its suffix are one.

    Returns:
        The format.

    Raises:
        UsageError: The suffix is missing or names a format that cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix in CONTAINERS:
        return CONTAINERS[suffix]
    if suffix in _READ_ONLY:
        way = f"Write a .wav and convert it: {ffmpeg(path.with_suffix('.wav'), path)}"
    else:
        way = nearest(suffix, CONTAINERS).strip()
    said = f"{suffix} cannot be written" if suffix else "the name has no suffix that tells the format"
    raise UsageError(f"{path}: {said}; choose one of {suffix_list()}. {way}".rstrip())


def file_sample_rate(path: Path | str, sample_rate: int) -> int:
    """Tell at which rate a signal will be stored in a file of this name.

    The codecs MP3, Opus and AAC know only some rates. A signal at another one is resampled to the next higher rate that
    they know, or to their highest: 44.1 kHz becomes 48 kHz in an ``.opus`` file. The duration stays; the
    number of frames becomes ``resampled_length(frames, sample_rate, file_sample_rate(path, sample_rate))``.

    Args:
        path: The file to be written.
        sample_rate: The signal's rate in Hz.

    Returns:
        The file's rate in Hz; ``sample_rate`` itself for every other format.

    Raises:
        UsageError: The suffix names no format that can be written.
    """
    rates = container_for(Path(path)).rates
    return min((rate for rate in rates if rate >= sample_rate), default=max(rates, default=sample_rate))


def fitting_subtype(container: Container, wanted: str | None, channels: int) -> str:
    """Choose the kind of sample to write: the wanted one where the format has it, else its default.

    Args:
        container: The format to be written.
        wanted: The kind of sample in the file that the output should be like, or None.
        channels: Of the output; FFmpeg writes ALAC of at most 2.

    Returns:
        One of ``container.subtypes``.
    """
    for subtype in (wanted, _NEXT_BEST.get(wanted or "")):
        if subtype in container.subtypes and not (channels > 2 and str(subtype).startswith("ALAC")):
            return str(subtype)
    return container.subtype


def peak_safe_gain(peak: float, subtype: str) -> float:
    """Find the gain that keeps a signal from clipping.

    Args:
        peak: Largest absolute sample of the whole signal, finite.
        subtype: Kind of sample that will be written, in libsndfile's names.

    Returns:
        1.0 where nothing clips: at most full scale, or a float kind, which has no ceiling. Otherwise the gain that
        brings the peak to the largest value that the kind of sample holds, just under full scale.

    Raises:
        AudiotransError: The peak is not a finite number.
    """
    if not 0 <= peak < float("inf"):
        raise AudiotransError(f"the signal's peak is {peak}: every sample must be a finite number.")
    if peak <= 1.0 or subtype in _FLOATS:
        return 1.0
    return (1.0 - 2.0 ** (1 - PCM_BITS.get(subtype, 16))) / peak


_log = logging.getLogger(__name__)

# The demuxers that may open a file: none of these opens a second file or an address that the first one names, as
# playlists do.
_DEMUXERS = (
    "mov,mp3,matroska,asf,aac,flac,ogg,wav,w64,aiff,au,caf,avi,flv,mpegts,mpeg,ac3,eac3,dts,amr,amrnb,amrwb,ape,wv,tta,"
    "mpc,mpc8,dsf,iff,tak,truehd,mlp,rm,voc,loas,spdif"
)

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


class _Input:
    """A file as FFmpeg wants it: nameless, and to an impossible place it does not go, which is no exception."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.tell, self._seek = file.read, file.tell, file.seek

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move as in any file; -1 where that cannot be."""
        try:
            return self._seek(offset, whence)
        except (OSError, ValueError):
            return -1


def open_container(file: BinaryIO) -> Any:
    """Open a file by its bytes, with none of the demuxers that open further files.

    Raises:
        av.FFmpegError: It is not a file of a known format.
    """
    # The list is for the container alone: handed to its streams too, older releases crash where these come late, as
    # in FLV.
    return av.open(_Input(file), container_options={"format_whitelist": _DEMUXERS})


def is_marked(stream: Any, mark: str, *, otherwise: bool) -> bool:
    """Tell whether a file marks a stream as ``default`` or ``attached_pic``, where this release of PyAV knows it."""
    marks = getattr(stream, "disposition", None)
    wanted = getattr(type(marks), mark, None)
    return otherwise if marks is None or wanted is None else bool(marks & wanted)


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
