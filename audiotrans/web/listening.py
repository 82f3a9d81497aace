"""What the page plays and draws of an input and its result: sounds that browsers play, on common scales."""

from __future__ import annotations

import html
import json
import secrets
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from audiotrans.audio import AudioInfo, Wave, Writer, peak_safe_gain, probe, read_blocks
from audiotrans.audio.formats import MAX_CHANNELS
from audiotrans.evaluation import plots
from audiotrans.evaluation.report.sounds import FLAC_SILENCE, loudness_lufs, matching_gains
from audiotrans.photo.pillow import read_photo, write_photo
from audiotrans.web.work import Pair

HIGHEST_RATE = 48_000  # Hz; what is above is not heard, and not every browser plays it

COLUMNS = 400
"""Of the drawn waveform."""

METERED_SECONDS, METERED_PIECES = 120.0, 10
"""Of long sounds, so much is measured for the loudness, in so many pieces: hours would not fit into memory."""

LARGEST_PICTURE = 1200  # pixels of a photo's longer side, as shown

Address = Callable[[Path], str]
"""Gives the address by which the page reaches a file."""


@dataclass(frozen=True)
class _Take:
    sound: Path
    seconds: float
    loudness: float | None
    levels: Any
    low: Any
    high: Any


def player(pairs: Sequence[Pair], folder: Path, names: tuple[str, str], address: Address) -> str:
    """Write what is needed to hear and see pairs, and return the element of the page that does it.

    Args:
        pairs: inputs and results.
        folder: takes the sounds and pictures.
        names: what the input and the result are called, such as ``violin`` and ``piano``.
        address: of a file in the folder.

    Returns:
        HTML.

    Raises:
        AudiotransError: if a file cannot be read or written.
    """
    place = folder / "listen"
    place.mkdir(exist_ok=True)
    clips = [(_photo if pair.photo else _sound)(pair, place, names, address) for pair in pairs]
    data = {"clips": clips, "hertz": [[_height(hertz), text] for hertz, text in _HERTZ], "range": plots.RANGE_DB}
    return f'<translation-player data-clips="{html.escape(json.dumps(data))}"></translation-player>'


_HERTZ = ((100, "100 Hz"), (1_000, "1 kHz"), (10_000, "10 kHz"))


def _height(hertz: float) -> float:
    """Return where a frequency stands in a strip, in per cent from its lower edge."""
    low, high = np.log(plots.STRIP_HZ)
    return round(float((np.log(hertz) - low) / (high - low)) * 100, 1)


def _photo(pair: Pair, folder: Path, names: tuple[str, str], address: Address) -> dict[str, Any]:
    takes = []
    for name, path in zip(names, (pair.before, pair.after), strict=True):
        pixels = read_photo(path)
        step = -(-max(pixels.shape[:2]) // LARGEST_PICTURE)
        shown = folder / f"{secrets.token_hex(8)}.jpg"
        write_photo(shown, np.ascontiguousarray(pixels[::step, ::step]), force=True)
        takes.append({"name": name, "picture": address(shown)})
    return {"name": pair.before.name, "takes": takes}


def _sound(pair: Pair, folder: Path, names: tuple[str, str], address: Address) -> dict[str, Any]:
    takes = [_take(path, folder) for path in (pair.before, pair.after)]
    loudest = max(float(take.levels.max()) for take in takes)
    tallest = max(float(max(take.high.max(), -take.low.min())) for take in takes) or 1.0
    gains = matching_gains([take.loudness for take in takes])
    shown = []
    for name, take, gain in zip(names, takes, gains, strict=True):
        strip = plots.save_strip(take.levels, take.sound.with_suffix(".png"), loudest)
        wave = [[round(float(v), 3) for v in side / tallest] for side in (take.low, take.high)]
        shown.append(
            {"name": name, "sound": address(take.sound), "seconds": take.seconds, "gain": gain,
             "loudness": take.loudness, "strip": address(strip), "wave": wave}
        )  # fmt: skip
    return {"name": pair.before.name, "takes": shown}


def _take(source: Path, folder: Path) -> _Take:
    """Write a sound as FLAC of 16 bits, and measure what is drawn of it; its length costs no memory."""
    info = probe(source)
    rate = min(info.sample_rate, HIGHEST_RATE)
    with tempfile.TemporaryFile(dir=folder) as file:
        frames, peak = 0, 0.0
        for block in read_blocks(source, sample_rate=rate):
            file.write(np.ascontiguousarray(block.T).data)
            frames, peak = frames + block.shape[1], max(peak, float(np.abs(block).max()))
        file.flush()
        wave: Wave = np.memmap(file, np.float32, "r", shape=(frames, info.channels)).T
        sound = folder / f"{secrets.token_hex(8)}.flac"
        gain = _write(wave, sound, rate, peak)
        levels = plots.strip_levels(wave, rate) + 20 * np.log10(gain)
        loudness = loudness_lufs(_metered(wave, rate), rate)
        low, high = _outline(wave)
    louder = None if loudness is None else loudness + 20 * float(np.log10(gain))
    return _Take(sound, frames / rate, louder, levels, low * gain, high * gain)


def _write(wave: Wave, path: Path, rate: int, peak: float) -> float:
    """Write a wave, and the silence that browsers need to seek; return the gain that kept it from clipping."""
    gain = peak_safe_gain(peak, "PCM_16")
    like = AudioInfo(path, rate, len(wave), wave.shape[1], "FLAC", "PCM_16")
    with Writer(path, rate, min(len(wave), MAX_CHANNELS), like=like) as writer:
        for start in range(0, wave.shape[1], 65536):
            writer.write(np.asarray(wave[:, start : start + 65536]) * np.float32(gain))
        writer.write(np.zeros((len(wave), FLAC_SILENCE), np.float32))
    return gain


def _metered(wave: Wave, rate: int) -> Wave:
    """Return the whole of a short sound, and pieces from all over a long one."""
    most = round(METERED_SECONDS * rate)
    if wave.shape[1] <= most:
        return np.asarray(wave)
    piece = most // METERED_PIECES
    starts = np.linspace(0, wave.shape[1] - piece, METERED_PIECES).astype(int)
    return np.concatenate([wave[:, start : start + piece] for start in starts], axis=1)


def _outline(wave: Wave) -> tuple[Any, Any]:
    """Return the lowest and the highest sample of each column of the drawn waveform."""
    edges = np.linspace(0, wave.shape[1], min(COLUMNS, wave.shape[1]) + 1).astype(int)
    columns = [wave[:, start:stop] for start, stop in pairwise(edges)]
    return np.array([piece.min() for piece in columns]), np.array([piece.max() for piece in columns])
