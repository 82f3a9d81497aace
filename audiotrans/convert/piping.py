"""A pipe translated into a pipe while it flows."""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from audiotrans.audio import Wave
from audiotrans.audio.pipes import KINDS, PipeFormat, PipeReader, PipeWriter, read_wav_header
from audiotrans.convert.stream import CHUNK_SECONDS, StreamConverter
from audiotrans.errors import AudiotransError, UsageError

if TYPE_CHECKING:
    from audiotrans.convert.converter import Converter
    from audiotrans.convert.options import Request

Progress = Callable[[float, float], None]

AHEAD_BLOCKS = 256
"""Blocks of input that wait in memory at most, 4 MiB: a recorder must not lose sound while a chunk is computed."""

MOST_GAIN_DB = 120.0


@dataclass(frozen=True)
class StreamOptions:
    """How a pipe is converted.

    Attributes:
        raw: the pipe's format where no header tells; None for WAV.
        gain_db: applied to the output.
        level_db: see `StreamConverter`.
        chunk_seconds: see `StreamConverter`.

    Raises:
        UsageError: for a gain that is none.
    """

    raw: PipeFormat | None = None
    gain_db: float = 0.0
    level_db: float | None = None
    chunk_seconds: float = CHUNK_SECONDS

    def __post_init__(self) -> None:
        if not abs(self.gain_db) <= MOST_GAIN_DB:
            raise UsageError(f"gain {self.gain_db:g} dB: give -{MOST_GAIN_DB:g} to {MOST_GAIN_DB:g}")


@dataclass(frozen=True)
class Piped:
    """A finished stream.

    Attributes:
        seconds: of sound.
        elapsed_seconds: from the first sample to the last.
        warnings: one line each.
    """

    seconds: float
    elapsed_seconds: float
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the line that a user sees."""
        return f"{self.seconds:.1f} s of sound in {self.elapsed_seconds:.1f} s"


def convert_pipe(
    converter: Converter,
    request: Request,
    source: BinaryIO,
    sink: BinaryIO,
    options: StreamOptions,
    *,
    begun: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Piped:
    """Translate what flows in and let it flow out, in the same format, until the input ends.

    Args:
        converter: the model.
        request: what to do.
        source: binary stream, unbuffered.
        sink: binary stream.
        options: format, gain and timing.
        begun: called once, with a line that says what was found and how long the delay is.
        progress: called with seconds of sound written, and seconds in all or 0 where they are not known.

    Raises:
        AudiotransError: for an empty input, or one that cannot be decoded.
    """
    form = options.raw or read_wav_header(source)
    stream = StreamConverter(
        converter, form.sample_rate, form.channels, request,
        level_db=options.level_db, chunk_seconds=options.chunk_seconds,
    )  # fmt: skip
    if begun is not None:
        begun(f"{form.sample_rate} Hz, {form.channels} channels, {form.kind}: {stream.delay_seconds:.2f} s behind")
    reader = PipeReader(source, form)
    writer = PipeWriter(sink, form, 10 ** (options.gain_db / 20))
    started = time.perf_counter()
    for block in _translated(stream, read_ahead(reader.blocks())):
        writer.write(block)
        if progress is not None:
            progress(writer.frames / form.sample_rate, (form.frames or 0) / form.sample_rate)
    writer.finish()
    if not reader.frames:
        raise AudiotransError("the input is empty: it has no samples")
    warnings = tuple(_warnings(reader, writer, options.gain_db))
    return Piped(reader.frames / form.sample_rate, time.perf_counter() - started, warnings)


def _translated(stream: StreamConverter, blocks: Iterable[Wave]) -> Iterator[Wave]:
    for block in blocks:
        ready = stream.push(block)
        if ready.shape[1]:
            yield ready
    yield stream.finish()


def read_ahead(blocks: Iterator[Wave], most: int = AHEAD_BLOCKS) -> Iterator[Wave]:
    """Read from another thread, so that whoever writes into the pipe need not wait for the computing.

    Args:
        blocks: what to read; an error it raises is raised here, after the blocks before it.
        most: blocks that may wait.
    """
    waiting: queue.Queue[Wave | BaseException | None] = queue.Queue(most)
    abandoned = threading.Event()
    # A daemon: it may be waiting for a pipe that never says another word when the program ends.
    threading.Thread(target=_fill, args=(blocks, waiting, abandoned), name="read-ahead", daemon=True).start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        abandoned.set()


def _fill(
    blocks: Iterator[Wave], waiting: queue.Queue[Wave | BaseException | None], abandoned: threading.Event
) -> None:
    """Put blocks, then their error or None, into a queue until nobody takes them any more."""

    def items() -> Iterator[Wave | BaseException | None]:
        try:
            yield from blocks
        except BaseException as error:  # whatever it is, whoever takes the blocks must hear of it
            yield error
        yield None

    for item in items():
        while not abandoned.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(item, timeout=0.2)
                break


def _warnings(reader: PipeReader, writer: PipeWriter, gain_db: float) -> Iterator[str]:
    form = reader.form
    if not reader.complete:
        there = f"the input was cut off after {reader.frames / form.sample_rate:.2f} s"
        promised = "" if form.frames is None else f" of the {form.frames / form.sample_rate:.2f} s its header promises"
        yield f"{there}{promised}: what came was translated"
    if writer.clipped:
        # Rounded towards silence, so that following the advice is enough.
        enough = math.floor((gain_db - 20 * math.log10(writer.peak)) * 10) / 10
        kind = f"{KINDS[form.kind].bits} bit"
        yield f"{writer.clipped} samples lay beyond full scale and were cut to {kind}: --gain {enough:.1f} avoids that"
