"""Which formats there are, what each can hold, and which fits a given signal best."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audiotrans.audio.blocks import PCM_BITS
from audiotrans.errors import AudiotransError, UsageError, nearest
from audiotrans.files import find_files

MAX_CHANNELS = 8

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
_MP4_KIND = (".mp4", ".mov", ".m4b", ".m4v", ".aac", ".3gp", ".3g2")
_READ_ONLY = (
    *_MP4_KIND, ".mkv", ".webm", ".wma", ".wmv", ".asf", ".mka", ".avi", ".flv", ".mpg", ".mpeg", ".mts", ".m2ts",
    ".ogv", ".mp2", ".ac3", ".eac3", ".dts", ".amr", ".ape", ".wv", ".tta", ".mpc", ".dsf", ".aifc", ".snd", ".wave",
    ".bwf", ".voc",
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
