"""File -> translated file in bounded memory: two passes of reading, a spool on disk, one pass of writing."""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from audiotrans.audio import AudioInfo, Wave, Writer, file_sample_rate, peak_safe_gain, probe, read_blocks
from audiotrans.errors import AudiotransError, UsageError

if TYPE_CHECKING:
    from audiotrans.convert.converter import Converter
    from audiotrans.convert.options import Request

Progress = Callable[[float, float], None]

SPOOL_FRAMES = 65536


@dataclass(frozen=True)
class Written:
    """A finished file.

    Attributes:
        path: where it is.
        seconds: its length.
        elapsed_seconds: what it took.
        gain: factor that kept its peaks from clipping; 1 if none was needed.
        sample_rate: of the file in Hz, where the format could not take the input's; else 0.
        warnings: what of the input is unlike the model's training data, one line each that names the input; the first
            of several draws has them.
    """

    path: Path
    seconds: float
    elapsed_seconds: float
    gain: float = 1.0
    sample_rate: int = 0
    warnings: tuple[str, ...] = ()
    failed: ClassVar[bool] = False

    def __str__(self) -> str:
        """Return the line that a user sees."""
        note = f"; turned down by {-20 * math.log10(self.gain):.1f} dB so that no peak clips" if self.gain < 1 else ""
        note += f"; written at {self.sample_rate} Hz, which this format needs" if self.sample_rate else ""
        return f"{self.path} ({self.seconds:.1f} s of sound in {self.elapsed_seconds:.1f} s{note})"


class Spool:
    """Float32 samples on disk, beside the output: an hour of stereo does not belong in memory.

    Args:
        folder: where the unnamed file lies; it disappears on closing, whatever happens.
        channels: of the sound.

    Raises:
        AudiotransError: if the folder cannot be written to or is full.
    """

    def __init__(self, folder: Path, channels: int) -> None:
        self.folder, self.channels, self.peak = folder, channels, 0.0
        try:
            self._file = tempfile.TemporaryFile(dir=folder)  # closed by __exit__
        except OSError as error:
            raise AudiotransError(f"cannot write to {folder}: {error.strerror}") from error

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, block: Wave) -> None:
        """Add ``(channels, n)`` samples."""
        self.peak = max(self.peak, float(np.abs(block).max(initial=0.0)))
        try:
            self._file.write(np.ascontiguousarray(block.T, dtype=np.float32).data)
            self._file.flush()
        except OSError as error:
            raise AudiotransError(f"cannot write to {self.folder}: {error.strerror}") from error

    def blocks(self) -> Iterator[Wave]:
        """Yield all samples from the beginning, ``(channels, n)`` with n of at most `SPOOL_FRAMES`."""
        self._file.seek(0)
        while data := self._file.read(SPOOL_FRAMES * self.channels * 4):
            yield np.frombuffer(data, np.float32).reshape(-1, self.channels).T


def convert_file(
    converter: Converter,
    source: Path,
    outputs: Sequence[Path],
    request: Request,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> list[Written]:
    """Translate one file into one or more draws.

    Args:
        converter: the model.
        source: file to read.
        outputs: files to write; the n-th is drawn with ``request.seed + n``.
        request: what to do.
        force: whether to overwrite outputs that exist.
        progress: called with seconds of sound done and seconds in all.

    Raises:
        AudiotransError: naming the file.
    """
    info = probe(source)
    for path in outputs:
        check_output(path, source, force=force)
        Writer(path, info.sample_rate, info.channels, like=info, force=force)  # refuses what cannot be written
    listener = converter.listener(request.source)
    with naming(source):
        blocks = read_blocks(source)
        blocks = blocks if listener is None else listener.hearing(blocks)
        frames, level_db = converter.measure(blocks, info.sample_rate, info.channels)
    check_space(outputs[0].parent, frames * info.channels * 4)
    seconds = frames / info.sample_rate
    written: list[Written] = []
    for index, path in enumerate(outputs):
        started = time.perf_counter()
        draw = replace(request, seed=request.seed + index)
        heard = listener if index == 0 else None  # further draws are made of the same sound
        tick = _shifted(progress, index * seconds, len(outputs) * seconds)
        with naming(source):
            out = converter.stream(read_blocks(source), frames, info.sample_rate, info.channels, draw, level_db, heard)
            gain = _write(out, path, info, force=force, tick=tick)
        rate = file_sample_rate(path, info.sample_rate)
        other = 0 if rate == info.sample_rate else rate
        lines = tuple(f"{source}: {line}" for line in heard.warnings(level_db)) if heard else ()
        written.append(Written(path, seconds, time.perf_counter() - started, gain, other, lines))
    return written


@contextlib.contextmanager
def naming(source: Path) -> Iterator[None]:
    """Put the input before messages that do not name it.

    Raises:
        AudiotransError: the same kind of error.
    """
    try:
        yield
    except AudiotransError as error:
        raise type(error)(str(error) if str(source) in str(error) else f"{source}: {error}") from error


def _write(blocks: Iterable[Wave], path: Path, info: AudioInfo, *, force: bool, tick: Callable[[float], None]) -> float:
    """Write a stream whose peak is known only at its end; return the gain that it needed."""
    with (
        Writer(path, info.sample_rate, info.channels, like=info, force=force) as writer,
        Spool(path.parent, info.channels) as spool,
    ):
        done = 0
        for block in blocks:
            spool.append(block)
            done += block.shape[1]
            tick(done / info.sample_rate)
        gain = peak_safe_gain(spool.peak, writer.subtype)
        for block in spool.blocks():
            writer.write(block if gain == 1 else block * np.float32(gain))
    return gain


def _shifted(progress: Progress | None, offset: float, total: float) -> Callable[[float], None]:
    def tick(seconds: float) -> None:
        if progress is not None:
            progress(offset + seconds, total)

    return tick


def check_output(path: Path, source: Path, *, force: bool) -> None:
    """Refuse, before any work, an output that exists or that is the input itself.

    Raises:
        UsageError: with the way out.
    """
    if path.exists() and path.resolve() == source.resolve():
        raise UsageError(f"{path} is the input itself: choose another output with -o")
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name a file in it, or end the name with /")
    if path.exists() and not force:
        raise UsageError(f"{path} exists already: use --force to overwrite it, or -o to write elsewhere")


def check_space(folder: Path, needed: int) -> None:
    """Refuse, before any work, a folder whose disk cannot hold ``needed`` bytes.

    Raises:
        AudiotransError: naming both figures.
    """
    there = next(place for place in (folder, *folder.parents) if place.exists())  # the folder may be yet to be made
    try:
        disk = shutil.disk_usage(there)
    except OSError:
        return  # a folder that cannot be asked is judged by the first write
    free = disk.free
    if free < needed and disk.total:  # what has no room at all, such as /proc, is no full disk
        figures = f"{needed / 1e6:.0f} MB are needed while converting, {free / 1e6:.0f} MB are free"
        raise AudiotransError(f"no space left in {folder}: {figures}")


def numbered(path: Path, samples: int) -> list[Path]:
    """Name the files of several draws: ``name.wav``, or ``name.1.wav``, ``name.2.wav``, ... for more than one.

    Raises:
        UsageError: for fewer than one sample.
    """
    if samples < 1:
        raise UsageError(f"samples {samples}: ask for 1 or more")
    if samples == 1:
        return [path]
    return [path.with_name(f"{path.stem}.{index}{path.suffix}") for index in range(1, samples + 1)]
