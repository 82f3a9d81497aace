"""Blocks in, translated blocks out: conversion of a sound that is still being played, in fixed memory.

The sound is cut at fixed places of the stream into chunks of image columns. A chunk is translated as soon as its own
columns and those within the model's reach after them are complete, in a window that also holds the reach before them.
Its magnitudes get their phases, and the samples that no later column touches are given out. Nothing depends on how the
stream is cut into blocks.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiotrans.audio import Wave
from audiotrans.audio.blocks import Resampler, resampled_length, resampling_delay_seconds
from audiotrans.audio.formats import MAX_CHANNELS
from audiotrans.audio.pipes import KINDS, PipeFormat, PipeReader, PipeWriter, read_wav_header
from audiotrans.convert.converter import Converter
from audiotrans.convert.jobs import Progress
from audiotrans.convert.sound_converter import check_wave
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.options import ConvertOptions
from audiotrans.spectrogram.imaging import AudioImaging, AudioSettings, Context, Decoded
from audiotrans.spectrogram.level import LIMIT_DB, Level, level_of_frames
from audiotrans.spectrogram.phase import PHASES, CausalPhase, PhaseTask
from audiotrans.spectrogram.stft import STFT
from audiotrans.spectrogram.vibrato import Vibrato, VibratoRemover

CHUNK_SECONDS = 0.2
"""Sound translated at a time: shorter waits less and computes more, because every chunk brings its surroundings."""

LOOK_AHEAD_SECONDS = 0.3
"""How far past a chunk the model sees where nothing else is asked for: with the shipped one, the output then lies half
a second behind and differs by -50 dB from what it is with all of the model's reach (docs/stream.md)."""

MOST_CHUNK_SECONDS = 30.0

LEVEL_SECONDS = 60.0
"""How far back a stream's own level looks: long enough for a slow movement, short enough to get over a knock."""

COLUMNWISE = ("source", "network")
"""Phase methods that treat every column apart."""

CAUSAL = "rtpghi"
"""The phase method that needs nothing but the past and one column."""

AHEAD_BLOCKS = 256
"""Blocks of input that wait in memory at most, 4 MiB: a recorder must not lose sound while a chunk is computed."""

MOST_GAIN_DB = 120.0


@dataclass(frozen=True)
class StreamPlan:
    """Where a stream is cut; columns are those of the image, samples those at the model's rate.

    Attributes:
        core: columns translated at a time; a multiple of the model's stride.
        context: columns before them that the model sees with them; a multiple of the stride as well.
        ahead: the same after them, at most as many: what the delay is made of.
        settle: columns that the phase method runs behind.
        stft: of the imaging.
    """

    core: int
    context: int
    ahead: int
    settle: int
    stft: STFT

    @property
    def edge(self) -> int:
        """Columns at the beginning of a piece that its cut spoils."""
        return -(-self.stft.n_fft // (2 * self.stft.hop_length))

    @property
    def delay(self) -> int:
        """Most samples that the output may lie behind the input: one before the next chunk is complete."""
        return (self.core + self.ahead - 1 + self.settle) * self.stft.hop_length + self.stft.n_fft - 1

    @property
    def capacity(self) -> int:
        """Most samples that have to be held."""
        columns = self.core + self.context + self.ahead + self.edge
        return max(columns * self.stft.hop_length + self.stft.n_fft, 2 * self.stft.n_fft)

    def start(self, chunk: int) -> int:
        """First sample that a chunk needs."""
        return max(0, chunk * self.core - self.context - self.edge) * self.stft.hop_length

    def needed(self, chunk: int) -> int:
        """Samples of the stream after which a chunk can be translated."""
        last = (chunk + 1) * self.core + self.ahead - 1
        return last * self.stft.hop_length + self.stft.n_fft // 2


def plan_stream(
    settings: AudioSettings,
    model: AVBGTN,
    stft: STFT,
    chunk_seconds: float,
    settle: int,
    further: int = 0,
    look_ahead_seconds: float | None = None,
) -> StreamPlan:
    """Choose the chunks of a stream: the multiple of the model's stride that is nearest to ``chunk_seconds``.

    Args:
        settings: of the imaging.
        model: asked for its stride and context.
        stft: of the imaging.
        chunk_seconds: wanted.
        settle: columns that the phase method runs behind.
        further: columns on each side that an output column depends on beyond those of the model.
        look_ahead_seconds: how far the model may see past a chunk, to the nearest multiple of its stride; None for as
            far as it can. Where its window ends earlier, the sound ends for it, as it does in each crop that it was
            trained on.

    Raises:
        UsageError: for chunks that are too short or too long, a look-ahead below 0, or a model of down-sampled images.
    """
    if not 0 < chunk_seconds <= MOST_CHUNK_SECONDS:
        raise UsageError(f"chunk {chunk_seconds:g} s: give more than 0 and at most {MOST_CHUNK_SECONDS:g} seconds")
    if settings.time_stride > 1:
        raise UsageError("a model of down-sampled images (time_stride above 1) cannot stream: convert files instead")
    grid = model.stride[1]
    strides = settings.sample_rate / (settings.hop_length * grid)  # per second
    core, context = max(1, round(chunk_seconds * strides)), -(-(model.context_frames + further) // grid)
    ahead = context
    if look_ahead_seconds is not None:
        if not look_ahead_seconds >= 0:
            raise UsageError(f"look-ahead {look_ahead_seconds:g} s: give 0 or more")
        ahead = min(context, round(min(look_ahead_seconds, MOST_CHUNK_SECONDS) * strides))
    return StreamPlan(core * grid, context * grid, ahead * grid, settle, stft)


class StreamConverter:
    """Translates a stream block by block.

    The level that images are relative to follows the music, as in `Converter.convert`, but knows the last
    `LEVEL_SECONDS` and what the chunk's window holds of the future only. Until something sounds, the output is silence.

    With ``level_db`` there is one level instead. Then the output is that of `Converter.stream` for the whole sound at
    the same level, within float error, for models whose tiles agree with the whole (`AVBGTN.local`).

    Args:
        converter: the model.
        sample_rate: of the stream in Hz; any.
        channels: of the stream.
        options: what to do, from `Converter.options`. ``auto`` is the source's phase for models whose output is a gain
            on it, and ``rtpghi`` for the others.
        level_db: one level for all of the stream, dB re full scale; None to follow the music.
        chunk_seconds: how much is translated at a time.
        look_ahead_seconds: how far the model sees past that; None for as far as it can, see `plan_stream`.

    Attributes:
        delay_samples: after n samples were pushed, at least ``n - delay_samples`` have been given. Without resampling
            this is the exact greatest lag; with it, the greatest that was measured, and a millisecond.
        level_db: gated level of what was heard so far, or the one that was given; -inf before anything sounded.

    Raises:
        UsageError: for a phase method that needs the whole sound, or a setting out of range.
    """

    def __init__(
        self,
        converter: Converter,
        sample_rate: int,
        channels: int,
        options: ConvertOptions,
        *,
        level_db: float | None = None,
        chunk_seconds: float = CHUNK_SECONDS,
        look_ahead_seconds: float | None = None,
    ) -> None:
        _check(sample_rate, channels, level_db)
        settings, options = converter.settings, converter.complete(options)
        self.converter, self.options = converter, options
        self.sample_rate, self.channels = sample_rate, channels
        self.level_db = -math.inf if level_db is None else level_db
        self._given_level, self._ending = level_db, False
        self._imaging = converter.imaging
        self._phase = stream_phase(converter.imaging, options.phase or settings.phase, channels, options.seed)
        stft = converter.imaging.stft
        further, settle = converter.further_columns(options), self._phase.delay_frames
        self._plan = plan_stream(settings, converter.model, stft, chunk_seconds, settle, further, look_ahead_seconds)
        self._meter = converter.imaging.level_meter(round(LEVEL_SECONDS / converter.imaging.seconds_per_frame))
        self._metered = 0
        self._held = np.zeros((channels, self._plan.capacity), np.float32)
        self._first = self._end = self._chunk = 0  # the samples held, and the chunk that is due
        self._joiner = _Joiner(stft, channels)
        rate = settings.sample_rate
        self._vibrato_remover = (
            VibratoRemover(rate, channels, options.faded("remove_vibrato") / 100) if options.remove_vibrato else None
        )
        self._vibrato = Vibrato(rate, channels, options.faded("vibrato"), options.seed) if options.vibrato else None
        self._inner, self._outer = Resampler(sample_rate, rate, channels), Resampler(rate, sample_rate, channels)
        self._taken = self._given = 0
        self._open = True

    @property
    def chunk_seconds(self) -> float:
        """Seconds translated at a time: what was asked for, rounded to the model's grid."""
        return self._plan.core * self._imaging.seconds_per_frame

    @property
    def delay_samples(self) -> int:
        """Most samples that the output lies behind the input."""
        if self.options.strength == 0:
            return 0
        rate, inner = self.sample_rate, self.converter.settings.sample_rate
        delay = self._plan.delay + (self._vibrato.delay_samples if self._vibrato else 0)
        delay += self._vibrato_remover.delay_samples if self._vibrato_remover else 0
        if rate == inner:
            return delay
        resampling = resampling_delay_seconds(rate, inner) + resampling_delay_seconds(inner, rate)
        return math.ceil((delay / inner + resampling) * rate)

    @property
    def delay_seconds(self) -> float:
        """The same in seconds; computing comes on top."""
        return self.delay_samples / self.sample_rate

    def push(self, block: NDArray[np.floating]) -> Wave:
        """Take the next samples and give what is ready.

        Args:
            block: float, ``(channels, n)``, nominally in [-1, 1]; any n, also 0.

        Returns:
            float32 ``(channels, m)``; m is often 0, and never so large that the output overtakes the input.

        Raises:
            AudiotransError: for a block of another shape or type, or one that is not finite.
            ValueError: after `finish`.
        """
        if not self._open:
            raise ValueError("the stream was finished: make another StreamConverter")
        wave = check_wave(block, self.sample_rate)
        if wave.shape[0] != self.channels:
            raise AudiotransError(f"the block has {wave.shape[0]} channels: the stream has {self.channels}")
        self._taken += wave.shape[1]
        if self.options.strength == 0:
            return self._give(wave)  # exactly the input: not even resampled
        inner = self._inner.feed(wave)
        inner = self._vibrato_remover.push(inner) if self._vibrato_remover else inner
        return self._give(*map(self._outer.feed, self._take(inner)))

    def finish(self) -> Wave:
        """End the stream and give the rest: in all, the output is exactly as long as the input.

        Raises:
            ValueError: if it was finished already.
        """
        if not self._open:
            raise ValueError("the stream was finished already")
        self._open = False
        if self.options.strength == 0 or not self._taken:
            return self._give()
        inner = self._rest()
        return self._give(*map(self._outer.feed, inner), self._outer.finish(self._taken))

    def _give(self, *parts: Wave) -> Wave:
        out = np.concatenate([np.zeros((self.channels, 0), np.float32), *parts], axis=1)
        out = out[:, : self._taken - self._given]  # a very short sound was followed by silence, cut off here
        self._given += out.shape[1]
        return cast(Wave, out)

    def _take(self, wave: Wave) -> list[Wave]:
        """Hold samples at the model's rate; return what the chunks that they complete give."""
        out: list[Wave] = []
        while wave.shape[1]:
            wanted = self._plan.needed(self._chunk) - self._end
            self._hold(wave[:, :wanted])
            if wave.shape[1] >= wanted:
                out.append(self._convert_chunk())
            wave = wave[:, wanted:]
        return out

    def _rest(self) -> list[Wave]:
        """Translate what no whole chunk was left for, as the end of the sound."""
        length = resampled_length(self._taken, self.sample_rate, self.converter.settings.sample_rate)
        tail = self._inner.finish(max(length, 2 * self._plan.stft.n_fft))  # as long as `Converter.stream` makes it
        if self._vibrato_remover:
            tail = np.concatenate([self._vibrato_remover.push(tail), self._vibrato_remover.finish()], axis=1)
        own = length - self._end
        out = self._take(tail[:, :own])
        self._measure()
        self._ending = True  # the silence after the end is none of the sound
        out += self._take(tail[:, own:])
        columns = self._plan.stft.frames(self._end)
        while self._chunk * self._plan.core < columns:
            out.append(self._convert_chunk(columns))
        out.append(self._with_vibrato(self._joiner.push(self._phase.finish(), self._end)))
        return [*out, self._vibrato.finish()] if self._vibrato else out

    def _hold(self, part: Wave) -> None:
        at = self._end - self._first
        self._held[:, at : at + part.shape[1]] = part
        self._end += part.shape[1]

    def _measure(self) -> None:
        """Measure what came since the last chunk."""
        if self._given_level is None and not self._ending:
            self._meter.update(self._held[:, self._metered - self._first : self._end - self._first])
            self._metered, self.level_db = self._end, self._meter.level_db()

    def _level(self, first: int, frames: int) -> Level:
        """Return the level of some columns, dB."""
        if self._given_level is not None or not self._imaging.representation.follows_level:
            return self.level_db
        return self._meter.levels_db(first, frames)

    @torch.inference_mode()
    def _convert_chunk(self, columns: int | None = None) -> Wave:
        """Translate the chunk that is due; ``columns`` is the length of the whole image once it is known."""
        self._measure()
        first, last = self._chunk * self._plan.core, (self._chunk + 1) * self._plan.core
        stop = last + self._plan.ahead
        if columns is not None:
            last, stop = min(last, columns), min(stop, columns)
        decoded, spectrum = self._translate(first, last, stop)
        self._chunk += 1
        self._forget(self._plan.start(self._chunk))
        return self._with_vibrato(self._joiner.push(self._phase.push(decoded, spectrum)))

    def _with_vibrato(self, wave: Wave) -> Wave:
        return self._vibrato.push(wave) if self._vibrato else wave

    def _translate(self, first: int, last: int, stop: int) -> tuple[Decoded, Tensor]:
        """Return the translated magnitudes and the source's spectrum of columns ``first`` to ``last``."""
        wave = torch.from_numpy(self._held[:, : self._end - self._first].copy()).to(self.converter.device)
        offset = self._first // self._plan.stft.hop_length
        if self.level_db < -LIMIT_DB:  # nothing has sounded yet
            spectrum = self._plan.stft.forward(wave)[..., first - offset : last - offset]
            return Decoded(torch.zeros_like(spectrum.abs()), torch.zeros_like(spectrum.abs())), spectrum
        left = max(0, first - self._plan.context)
        level = self._level(offset, self._plan.stft.frames(wave.shape[1]))
        image, context = self._imaging.to_image(wave, level)
        image = image[..., left - offset : stop - offset]
        translated = self.converter.translate_image(image, left, self.options)
        core = slice(first - left, last - left)
        spectrum = context.spectrum[..., first - offset : last - offset]
        part = Context(spectrum, image[..., core], 0, level_of_frames(level, first - offset, last - first))
        return self._imaging.representation.decode(translated[..., core], part), spectrum

    def _forget(self, start: int) -> None:
        """Drop the samples before ``start``."""
        kept = self._held[:, start - self._first : self._end - self._first].copy()
        self._held[:, : kept.shape[1]] = kept
        self._first = start


class _Joiner:
    """Spectrum columns in, samples out: the inverse STFT of a spectrum that arrives in parts.

    The last columns are kept, because samples after them are theirs too: each part is inverted together with them, and
    only the samples that have all their columns are given.
    """

    def __init__(self, stft: STFT, channels: int) -> None:
        self._stft = stft
        self._kept = torch.zeros(channels, stft.bins, 0, dtype=torch.complex64)
        self._columns = self._samples = 0  # so far

    def push(self, spectrum: Tensor, length: int | None = None) -> Wave:
        """Take ``(channels, bins, columns)``; give the samples that are settled, or all up to ``length`` at the end."""
        held = torch.cat([self._kept.to(spectrum.device), spectrum], dim=-1)
        self._columns += spectrum.shape[-1]
        stop = self._columns * self._stft.hop_length - self._stft.n_fft // 2 if length is None else length
        start = (self._columns - held.shape[-1]) * self._stft.hop_length
        self._kept = held[..., -(self._stft.n_fft // self._stft.hop_length) :].clone()
        if stop <= self._samples:
            return np.zeros((held.shape[0], 0), np.float32)
        wave = self._stft.inverse(held, stop - start)[:, self._samples - start :]
        self._samples = stop
        return cast(Wave, wave.cpu().numpy())


def _check(sample_rate: int, channels: int, level_db: float | None) -> None:
    if not 1 <= channels <= MAX_CHANNELS:
        raise UsageError(f"{channels} channels: 1 to {MAX_CHANNELS} are possible")
    if sample_rate <= 0 or sample_rate != int(sample_rate):
        raise UsageError(f"sample rate {sample_rate} Hz: give the stream's rate, a whole number above 0")
    if level_db is not None and not -LIMIT_DB <= level_db <= LIMIT_DB:
        raise UsageError(f"level {level_db:g} dB: give one that a sound can have, such as -23")


class StreamPhase(Protocol):
    """A phase method that takes a spectrum in parts."""

    delay_frames: int

    def push(self, decoded: Decoded, source: Tensor) -> Tensor:
        """Take the next columns; return the spectrum of those whose phases are settled."""

    def finish(self) -> Tensor:
        """Return the spectrum of the columns that are left."""


class _Columnwise:
    """A method that treats every column apart."""

    delay_frames = 0

    def __init__(self, name: str, stft: STFT, channels: int, seed: int) -> None:
        self._method, self._stft, self._seed = PHASES[name], stft, seed
        self._none = torch.zeros(channels, stft.bins, 0, dtype=torch.complex64)

    def push(self, decoded: Decoded, source: Tensor) -> Tensor:
        return self._method(PhaseTask(decoded.magnitude, source, decoded.phase, self._stft, decoded.gain, self._seed))

    def finish(self) -> Tensor:
        return self._none


class _Integrated:
    """The causal phase integration, which keeps its own state."""

    def __init__(self, stft: STFT, channels: int, seed: int) -> None:
        self._phase = CausalPhase(stft, channels, seed=seed)
        self.delay_frames = self._phase.delay_frames

    def push(self, decoded: Decoded, source: Tensor) -> Tensor:
        return self._phase.push(decoded.magnitude, source)

    def finish(self) -> Tensor:
        return self._phase.finish()


def stream_phase(imaging: AudioImaging, name: str, channels: int, seed: int) -> StreamPhase:
    """Build a phase method for a stream.

    Raises:
        UsageError: for one that needs the whole sound.
    """
    if name == "auto":
        name = COLUMNWISE[0] if imaging.representation.is_gain else CAUSAL
    if name in COLUMNWISE:
        return _Columnwise(name, imaging.stft, channels, seed)
    if name == CAUSAL:
        return _Integrated(imaging.stft, channels, seed)
    raise UsageError(f"phase {name} needs the whole sound: choose source, {CAUSAL} or auto for a stream")


@dataclass(frozen=True)
class StreamOptions:
    """How a pipe is converted.

    Attributes:
        raw: the pipe's format where no header tells; None for WAV.
        gain_db: applied to the output.
        level_db: see `StreamConverter`.
        chunk_seconds: see `StreamConverter`.
        look_ahead_seconds: see `StreamConverter`.

    Raises:
        UsageError: for a gain out of range.
    """

    raw: PipeFormat | None = None
    gain_db: float = 0.0
    level_db: float | None = None
    chunk_seconds: float = CHUNK_SECONDS
    look_ahead_seconds: float = LOOK_AHEAD_SECONDS

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
    options: ConvertOptions,
    source: BinaryIO,
    sink: BinaryIO,
    how: StreamOptions,
    *,
    begun: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Piped:
    """Translate what flows in and let it flow out, in the same format, until the input ends.

    Args:
        converter: the model.
        options: what to do, from `Converter.options`.
        source: binary stream, unbuffered.
        sink: binary stream.
        how: format, gain and timing.
        begun: called once, with a line that says what was found and how long the delay is.
        progress: called with seconds of sound written, and seconds in all or 0 where they are not known.

    Raises:
        AudiotransError: for an empty input, or one that cannot be decoded.
    """
    form = how.raw or read_wav_header(source)
    stream = StreamConverter(
        converter, form.sample_rate, form.channels, options,
        level_db=how.level_db, chunk_seconds=how.chunk_seconds, look_ahead_seconds=how.look_ahead_seconds,
    )  # fmt: skip
    if begun is not None:
        begun(f"{form.sample_rate} Hz, {form.channels} channels, {form.kind}: {stream.delay_seconds:.2f} s behind")
    reader = PipeReader(source, form)
    writer = PipeWriter(sink, form, 10 ** (how.gain_db / 20))
    started = time.perf_counter()
    for block in _translated(stream, read_ahead(reader.blocks())):
        writer.write(block)
        if progress is not None:
            progress(writer.frames / form.sample_rate, (form.frames or 0) / form.sample_rate)
    writer.finish()
    if not reader.frames:
        raise AudiotransError("the input is empty: it has no samples")
    warnings = tuple(_warnings(reader, writer, how.gain_db))
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
        except BaseException as error:  # whatever it is, whoever takes the blocks must be told
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
