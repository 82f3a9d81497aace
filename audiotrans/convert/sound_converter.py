"""What converting sounds is, whatever translates them: a model in torch, or a graph without it.

A sound is read once: `SoundConverter.measure` brings it to the model's rate, keeps it and finds its level; then
`SoundConverter.stream` translates what was kept, tile by tile, in bounded memory. Nothing here loads torch.
"""

from __future__ import annotations

import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from audiotrans.audio import AudioInfo, Wave, Writer, probe, read_blocks, resample_blocks
from audiotrans.audio.blocks import Resampler, resampled_length
from audiotrans.audio.formats import MAX_CHANNELS
from audiotrans.convert.jobs import (
    SPOOL_FRAMES,
    Failure,
    Job,
    Progress,
    Spool,
    Written,
    check_space,
    existing,
    naming,
    numbered,
    writers_of,
)
from audiotrans.errors import AudiotransError
from audiotrans.options import ConvertOptions, options_of
from audiotrans.processes import in_turn
from audiotrans.spectrogram.level import LIMIT_DB, Level, LevelMeter
from audiotrans.spectrogram.vibrato import Vibrato, VibratoRemover

if TYPE_CHECKING:
    from audiotrans.convert.photos import PhotoConverter
    from audiotrans.convert.warnings import DomainCheck

_log = logging.getLogger(__name__)

SILENT = "it is silent: so is its translation"


@dataclass(frozen=True)
class Measured:
    """What one reading of a sound found.

    Attributes:
        frames: samples per channel, at its own rate.
        sample_rate: its own, Hz.
        channels: of the sound.
        length: samples at the model's rate, with the silence that follows very short sounds.
        level: what the converter's `level` gave.
        level_db: of the whole, gated; -inf for silence.
    """

    frames: int
    sample_rate: int
    channels: int
    length: int
    level: Level
    level_db: float

    @property
    def silent(self) -> bool:
        """Whether nothing sounds in it."""
        return self.level_db < -LIMIT_DB


class SoundConverter(ABC):
    """Translates sounds; what computes it is left open.

    Attributes:
        sample_rate: that it works at, Hz.
        n_fft: of its STFT.
    """

    sample_rate: int
    n_fft: int

    @property
    @abstractmethod
    def domains(self) -> tuple[str, str]:
        """The names of the model's two domains, a and b."""

    @abstractmethod
    def complete(self, options: ConvertOptions) -> ConvertOptions:
        """Check options, and fill in the model's own choices where nothing is asked.

        Raises:
            UsageError: naming the option, and what it may be.
        """

    @abstractmethod
    def level_meter(self) -> LevelMeter:
        """Return a fresh meter."""

    @abstractmethod
    def level(self, meter: LevelMeter) -> Level:
        """Return what `translate` needs of a metered sound that is not silent."""

    @abstractmethod
    def translate(
        self, blocks: Iterable[Wave], found: Measured, options: ConvertOptions, check: DomainCheck | None
    ) -> Iterator[Wave]:
        """Translate a sound at the model's rate, and nothing else; arguments as in `stream`."""

    @abstractmethod
    def domain_check(self, source: str | None) -> DomainCheck | None:
        """Return the out-of-domain check of one input of the domain ``source``; None without statistics."""

    def options(self, to: str, source: str | None = None, **asked: Any) -> ConvertOptions:
        """Check what a user asks for, and fill in the model's own choices where nothing is asked.

        Args:
            to: name of the domain to translate to, such as ``"piano"``.
            source: name of the input's domain; the other one if None. Equal to ``to``: the model's reconstruction.
            asked: the other fields of `ConvertOptions`.

        Raises:
            UsageError: naming the option, and what it may be.
        """
        return self.complete(options_of({"to": to, "source": source, **asked}))

    def convert(
        self, wave: NDArray[np.floating], sample_rate: int, *, to: str, source: str | None = None, **asked: Any
    ) -> Wave:
        """Translate a wave.

        Args:
            wave: float, ``(channels, samples)`` or ``(samples,)``, nominally in [-1, 1]; not changed.
            sample_rate: its rate in Hz; any.
            to: see `options`.
            source: see `options`.
            asked: the other fields of `ConvertOptions`, such as ``strength``, ``phase`` or ``seed``.

        Returns:
            float32 wave of the same shape; it may exceed 1 where the translation is louder than the input. Silence
            stays silence.

        Raises:
            UsageError: for an option that is unknown or out of range.
            AudiotransError: if the wave is empty, not finite or of another shape or type.
        """
        options = self.options(to, source, **asked)
        checked = check_wave(wave, sample_rate)
        kept: list[Wave] = []
        found = self.measure([checked], int(sample_rate), len(checked), kept.append, untouched=not options.strength)
        return np.concatenate(list(self.stream(kept, found, options)), axis=1).reshape(wave.shape)

    def convert_file(
        self,
        input: Path | str,
        output: Path | str,
        *,
        to: str,
        source: str | None = None,
        samples: int = 1,
        force: bool = False,
        progress: Progress | None = None,
        **asked: Any,
    ) -> list[Path]:
        """Translate a sound file of any length, in bounded memory.

        Args:
            input: file to read.
            output: file to write; rate, channels and length are the input's, the format follows the extension.
            to: see `options`.
            source: see `options`.
            samples: how many to make, with seeds ``seed``, ``seed + 1``, ...; with more than one, the files are called
                ``name.1.wav``, ``name.2.wav``, ...
            force: whether to overwrite an output that exists.
            progress: called with seconds of sound done and seconds of sound in all.
            asked: the other fields of `ConvertOptions`.

        Returns:
            The files written.

        Raises:
            UsageError: for an option that is unknown or out of range, or an output that cannot or may not be written.
            AudiotransError: naming the file, when it cannot be read, translated or written.
        """
        options = self.options(to, source, **asked)
        job = Job(Path(input), numbered(Path(output), samples))
        return [item.path for item in self.convert_job(job, options, force=force, progress=progress)]

    def convert_job(
        self, job: Job, options: ConvertOptions, *, force: bool = False, progress: Progress | None = None
    ) -> list[Written]:
        """Translate one file into one or more samples.

        Args:
            job: the file to read and those to write.
            options: what to do, from `options`.
            force: whether to overwrite outputs that exist.
            progress: called with seconds of sound done and seconds in all.

        Raises:
            UsageError: for an output that cannot or may not be written.
            AudiotransError: naming the file.
        """
        info = probe(job.source, count=False)
        length = f"{info.seconds:.1f} s" if info.frames else "of unknown length"
        facts = (job.source, info.format, info.subtype, info.sample_rate, info.channels, length)
        _log.info("reading %s: %s %s, %d Hz, %d channels, %s", *facts)
        writers = writers_of(job, info, force=force)
        folder = existing(job.outputs[0].parent)
        inner = resampled_length(info.frames, info.sample_rate, self.sample_rate)
        check_space(folder, (info.frames + inner) * info.channels * 4)
        check = self.domain_check(options.source)
        written: list[Written] = []
        said = [info.note] if info.note else []
        with naming(job.source), Spool(folder, info.channels) as spool:
            untouched = not options.strength
            blocks = read_blocks(job.source)
            found = self.measure(blocks, info.sample_rate, info.channels, spool.append, check, untouched=untouched)
            if found.silent:
                said, check = [*said, SILENT], None
            for index, writer in enumerate(writers):
                tick = _share_of(progress, index, len(writers), found.frames / info.sample_rate)
                sample = replace(options, seed=options.seed + index)
                out = self.stream(spool.blocks(), found, sample, check)
                written.append(_write(out, writer, info, found, tick))
                said += check.warnings(found.level_db) if check is not None else []
                written[-1] = replace(written[-1], warnings=tuple(f"{job.source}: {line}" for line in said))
                check, said = None, []  # further samples are made of the same sound
        return written

    def measure(
        self,
        blocks: Iterable[Wave],
        sample_rate: int,
        channels: int,
        keep: Callable[[Wave], object] | None = None,
        check: DomainCheck | None = None,
        *,
        untouched: bool = False,
    ) -> Measured:
        """Read a sound to its end: count its samples, measure its level, and keep it for `stream`.

        Args:
            blocks: waves ``(channels, n)`` at ``sample_rate``.
            sample_rate: Hz.
            channels: of the sound.
            keep: takes the blocks that `stream` wants.
            check: takes the sound's own samples.
            untouched: keep the sound as it is, not at the model's rate, as a strength of 0 asks for.

        Raises:
            AudiotransError: for an empty sound, or one of a level that no sound has.
        """
        meter, rate = self.level_meter(), self.sample_rate
        resampler = Resampler(sample_rate, rate, channels)
        frames = given = 0
        for block in blocks:
            frames += block.shape[1]
            if check is not None:
                check.meter.update(block)
            inner = resampler.feed(block)
            given += inner.shape[1]
            meter.update(inner)
            if keep is not None and (untouched or inner.shape[1]):
                keep(block if untouched else inner)
        if not frames:
            raise AudiotransError("the sound is empty: it has no samples")
        own = resampled_length(frames, sample_rate, rate)
        # Phase estimation needs some windows to work with: shorter sounds are followed by silence, cut off in the end.
        length = max(own, 2 * self.n_fft)
        rest = resampler.finish(length)
        meter.update(rest[:, : own - given])
        if keep is not None and not untouched:
            keep(rest)
        whole = meter.level_db()
        level = self.level(meter) if whole >= -LIMIT_DB else whole
        return Measured(frames, sample_rate, channels, length, level, whole)

    def stream(
        self, blocks: Iterable[Wave], found: Measured, options: ConvertOptions, check: DomainCheck | None = None
    ) -> Iterator[Wave]:
        """Translate what `measure` kept, in bounded memory.

        Args:
            blocks: as kept.
            found: what was measured.
            options: what to do, from `options`.
            check: sees the images as they are made.

        Returns:
            The translated sound at its own rate, as long as it was.
        """
        if options.strength == 0:
            return iter(blocks)  # exactly the input: not even resampled
        if found.silent:
            return _silence(found)
        rate, channels = self.sample_rate, found.channels
        if options.remove_vibrato:
            blocks = VibratoRemover(rate, channels, options.faded("remove_vibrato") / 100).through(blocks)
        outer = self.translate(blocks, found, options, check)
        if options.vibrato:
            outer = Vibrato(rate, channels, options.faded("vibrato"), options.seed).through(outer)
        return resample_blocks(outer, rate, found.sample_rate, channels, length=found.frames)


def check_wave(wave: NDArray[np.floating], sample_rate: int) -> Wave:
    """Return a wave as float32 ``(channels, samples)``.

    Raises:
        AudiotransError: naming what is wrong with the wave or the rate.
    """
    if not isinstance(wave, np.ndarray) or not np.issubdtype(wave.dtype, np.floating):
        kind = getattr(wave, "dtype", type(wave).__name__)
        raise AudiotransError(f"the wave is of type {kind}: give a numpy array of floats in [-1, 1]")
    if wave.ndim not in (1, 2) or (wave.ndim == 2 and not 1 <= wave.shape[0] <= MAX_CHANNELS):
        shapes = f"(samples,) or (channels, samples) with 1 to {MAX_CHANNELS} channels"
        raise AudiotransError(f"the wave has shape {wave.shape}: give {shapes}")
    known = isinstance(sample_rate, Real) and math.isfinite(sample_rate)
    if not known or sample_rate <= 0 or sample_rate != int(sample_rate):
        raise AudiotransError(f"sample rate {sample_rate!r} Hz: give the wave's rate, a whole number above 0")
    with np.errstate(over="ignore"):
        found = np.atleast_2d(wave).astype(np.float32)
    if not np.isfinite(found).all():
        raise AudiotransError("the wave holds NaN or infinite samples: repair it first, for instance numpy.nan_to_num")
    return found


def _silence(found: Measured) -> Iterator[Wave]:
    """Yield silence as long as a measured sound."""
    for start in range(0, found.frames, SPOOL_FRAMES):
        yield np.zeros((found.channels, min(SPOOL_FRAMES, found.frames - start)), np.float32)


def _write(
    blocks: Iterable[Wave], writer: Writer, info: AudioInfo, found: Measured, tick: Callable[[float], None]
) -> Written:
    """Write a stream whose peak, and with it the gain that keeps it from clipping, is known only at its end."""
    started, done = time.perf_counter(), 0
    with writer, Spool(writer.path.parent, info.channels) as spool:
        for block in blocks:
            spool.append(block)
            done += block.shape[1]
            tick(done / info.sample_rate)
        gain = spool.write(writer)
    rate = writer.file_sample_rate
    size = f"{found.frames / info.sample_rate:.1f} s of sound"
    elapsed = time.perf_counter() - started
    return Written(writer.path, size, elapsed, gain, 0 if rate == info.sample_rate else rate)


def _share_of(progress: Progress | None, index: int, samples: int, seconds: float) -> Callable[[float], None]:
    """Return what turns the seconds done of one sample of several into those done of all."""

    def tick(done: float) -> None:
        if progress is not None:
            progress(index * seconds + done, samples * seconds)

    return tick


def run_jobs(
    converter: SoundConverter | PhotoConverter,
    jobs: Sequence[Job],
    options: ConvertOptions,
    *,
    force: bool = False,
    bar: Callable[[str], AbstractContextManager[Progress | None]] | None = None,
) -> Iterator[Written | Failure]:
    """Convert one input after the other.

    With several inputs, one that fails does not stop the others.

    Args:
        converter: the model.
        jobs: from `plan_jobs`.
        options: what to do, from the converter's `options`.
        force: whether to overwrite outputs that exist.
        bar: opens a progress bar of that label for a file: a context whose value takes seconds done and seconds in all.

    Yields:
        What was written, and what failed.

    Raises:
        AudiotransError: if the only input fails.
    """

    def convert(job: Job) -> list[Written] | Failure:
        with bar(job.source.name) if bar is not None else nullcontext() as progress:
            return convert_or_say(converter, job, options, force=force, progress=progress)

    yield from outcomes(in_turn(convert, jobs), len(jobs))


def convert_or_say(
    converter: SoundConverter | PhotoConverter,
    job: Job,
    options: ConvertOptions,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> list[Written] | Failure:
    """Convert one input; arguments as those of `SoundConverter.convert_job`. What is wrong with it is returned."""
    try:
        return converter.convert_job(job, options, force=force, progress=progress)
    except AudiotransError as error:
        return Failure(job.source, error)


def outcomes(results: Generator[list[Written] | Failure, None, None], inputs: int) -> Iterator[Written | Failure]:
    """Yield what was written, and what failed, of each input's result.

    Raises:
        AudiotransError: if the only input fails.
    """
    with closing(results):
        for result in results:
            if isinstance(result, Failure):
                if inputs == 1:
                    raise result.error
                yield result
            else:
                yield from result
