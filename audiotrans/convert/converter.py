"""Sound -> translated sound of any length, rate and number of channels, in bounded memory; and models by name.

A sound is read once: `Converter.measure` brings it to the model's rate, keeps it and finds its level; then
`Converter.stream` translates what was kept, tile by tile. `load` finds a model by name or path, shipped or trained by
users; `run_jobs` converts many files by it.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiotrans.audio import AudioInfo, Wave, Writer, probe, read_blocks, resample_blocks
from audiotrans.audio.blocks import Resampler, resampled_length
from audiotrans.audio.formats import MAX_CHANNELS
from audiotrans.convert.effects import aligned_noise, reach, translated
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
from audiotrans.convert.photos import PhotoConverter
from audiotrans.convert.tiles import SlidingWindow, TileJoiner, TilePlan, cut_tiles, plan_tiles
from audiotrans.convert.warnings import DomainCheck, TrainingStatistics
from audiotrans.errors import AudiotransError, UsageError, lookup
from audiotrans.options import OPTIONS, ConvertOptions, Side, completed, options_of
from audiotrans.processes import choose_device
from audiotrans.spectrogram.imaging import AudioImaging, AudioSettings, Context
from audiotrans.spectrogram.level import LIMIT_DB, Level, level_of_frames
from audiotrans.spectrogram.phase import PHASES
from audiotrans.spectrogram.vibrato import Vibrato, VibratoRemover
from audiotrans.weights import StoredModel, find, open_weights

if TYPE_CHECKING:
    from audiotrans.model.avb_gtn import AVBGTN
    from audiotrans.recipe import Recipe

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
        level: what the model's images are relative to, dB re full scale, see `AudioImaging.level`.
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


class Converter:
    """A model of sounds with the imaging that it was trained with.

    Args:
        model: moved to ``device`` and set to evaluation.
        recipe: as it was trained.
        device: where to run.
        statistics: of its training data; without them, there are no warnings.

    Raises:
        AudiotransError: if the model translates photos.
    """

    def __init__(
        self,
        model: AVBGTN,
        recipe: Recipe,
        device: torch.device | str = "cpu",
        statistics: TrainingStatistics | None = None,
    ) -> None:
        if not isinstance(recipe.imaging, AudioSettings):
            raise AudiotransError("this model translates photos, not sound: choose another with --model")
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        self.recipe, self.statistics = recipe, statistics
        self.settings = recipe.imaging
        self.imaging = AudioImaging(recipe.imaging)
        self.plan = plan_tiles(recipe.imaging, self.imaging.representation.rows, model)

    @property
    def domains(self) -> tuple[str, str]:
        """The names of the model's two domains, a and b."""
        return self.recipe.domains.a, self.recipe.domains.b

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

    def complete(self, options: ConvertOptions) -> ConvertOptions:
        """The same for options that are put together already."""
        if options.phase is not None:
            lookup(PHASES, options.phase, "phase method")
            if options.phase == "network" and self.settings.representation != "magnitude_phase":
                raise UsageError("phase network needs a model of magnitude_phase images: choose another, such as auto")
        found = completed(options, self.domains, self.recipe.own)
        if self.settings.representation == "magnitude_phase":  # phases cannot be averaged
            for name, info in OPTIONS.items():
                if info.logarithmic and getattr(found, name) != info.neutral:
                    raise UsageError(f"{name} needs a model of logarithmic images: leave it out with magnitude_phase")
        return found

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
        inner = resampled_length(info.frames, info.sample_rate, self.settings.sample_rate)
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

    def check(self, wave: NDArray[np.floating], sample_rate: int, *, source: str) -> list[str]:
        """Say what of a wave, as `convert` takes it, is unlike the training data of the domain ``source``.

        Returns:
            One line for each finding, as ``audiotrans convert`` warns; none for a model without statistics.

        Raises:
            AudiotransError: as `convert` does.
        """
        check = self.domain_check(self.options(source, source).source)
        if check is None:
            return []
        checked = check_wave(wave, sample_rate)
        kept: list[Wave] = []
        found = self.measure([checked], int(sample_rate), len(checked), kept.append, check)
        if found.silent:
            return [SILENT]
        window = SlidingWindow(kept)
        for tile in check.expect(self.plan.tiles(found.length)):
            check.add(self._image(window.take(tile.start, tile.stop), tile.start, found)[0], tile.start)
        return check.warnings(found.level_db)

    def domain_check(self, source: str | None) -> DomainCheck | None:
        """Return the out-of-domain check of one input of the domain ``source``; None without statistics."""
        return None if self.statistics is None else DomainCheck(self.statistics, self.imaging, self.side(source))

    def side(self, domain: str | None) -> Side:
        """Return the side of a domain's name."""
        return "a" if domain == self.domains[0] else "b"

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
        meter, rate = self.imaging.level_meter(), self.settings.sample_rate
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
        length = max(own, 2 * self.settings.n_fft)
        rest = resampler.finish(length)
        meter.update(rest[:, : own - given])
        if keep is not None and not untouched:
            keep(rest)
        whole = meter.level_db()
        level = self.imaging.level(meter) if whole >= -LIMIT_DB else whole
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
        rate, channels = self.settings.sample_rate, found.channels
        plan = self.plan_for(options)
        if check is not None:
            check.expect(plan.tiles(found.length))
        if options.remove_vibrato:
            blocks = VibratoRemover(rate, channels, options.faded("remove_vibrato") / 100).through(blocks)
        outer = self._tiles(blocks, found, plan, options, check)
        if options.vibrato:
            outer = Vibrato(rate, channels, options.faded("vibrato"), options.seed).through(outer)
        return resample_blocks(outer, rate, found.sample_rate, channels, length=found.frames)

    def _tiles(
        self,
        blocks: Iterable[Wave],
        found: Measured,
        plan: TilePlan,
        options: ConvertOptions,
        check: DomainCheck | None,
    ) -> Iterator[Wave]:
        joiner = TileJoiner(found.length, plan)
        for tile, piece in cut_tiles(blocks, found.length, plan):
            yield joiner.join(tile, self._convert_piece(piece, tile.start, options, found, check))

    def plan_for(self, options: ConvertOptions) -> TilePlan:
        """Return how sounds are cut for some options."""
        further = self.further_columns(options)
        rows = self.imaging.representation.rows
        return plan_tiles(self.settings, rows, self.model, further) if further else self.plan

    def further_columns(self, options: ConvertOptions) -> int:
        """Return how many columns on each side a translation depends on beyond those that the model sees."""
        return reach(self.model, self.imaging, options)

    @torch.inference_mode()
    def _convert_piece(
        self, piece: Wave, start: int, options: ConvertOptions, found: Measured, check: DomainCheck | None = None
    ) -> Wave:
        image, context = self._image(piece, start, found)
        if check is not None:
            check.add(image, start)
        column = start // (self.settings.hop_length * self.settings.time_stride)
        blended = self.translate_image(image, column, options)
        out = self.imaging.from_image(blended, context, phase=options.phase, seed=options.seed)
        return cast(Wave, out.cpu().numpy())

    def _image(self, piece: Wave, start: int, found: Measured) -> tuple[Tensor, Context]:
        """Return the image of a piece of a measured sound, and its context."""
        frames = self.imaging.stft.frames(piece.shape[1])
        level = level_of_frames(found.level, start // self.settings.hop_length, frames)
        return self.imaging.to_image(torch.from_numpy(np.ascontiguousarray(piece)).to(self.device), level)

    def translate_image(self, image: Tensor, column: int, options: ConvertOptions) -> Tensor:
        """Translate a piece of a sound's image.

        Args:
            image: ``(groups, channels, rows, columns)`` in [-1, 1].
            column: position of its first column in the whole image; a multiple of the model's stride.
            options: what to do, from `options`.

        Returns:
            The same shape, blended with ``image`` by the strength.

        Raises:
            AudiotransError: if the device's memory does not suffice.
        """
        sides = self.side(options.source), self.side(options.to)

        def noise(moved: Tensor) -> Tensor | None:
            return aligned_noise(self.model, moved, column, options.seed)

        try:
            with _repeatable_kernels():
                return translated(self.model, self.imaging, image, options, sides, noise)
        except torch.OutOfMemoryError as error:
            raise AudiotransError(f"not enough memory on {self.device}: use --device cpu") from error


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


def _repeatable_kernels() -> AbstractContextManager[None]:
    """Keep CUDA to kernels that give the same bytes every time, in full float32; without effect on a CPU."""
    flags = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    return cast("AbstractContextManager[None]", flags)


DEFAULT_MODEL = "violin-piano"


def load_any(name_or_path: str | Path, *, device: str = "auto") -> Converter | PhotoConverter:
    """Load a model of sounds or of photos; arguments and errors as in `load`."""
    return converter_of(open_weights(find(name_or_path)), choose_device(device))


def converter_of(stored: StoredModel, device: torch.device) -> Converter | PhotoConverter:
    """Return a weights file's model with all that converting needs.

    Raises:
        AudiotransError: if the file is broken.
    """
    if not isinstance(stored.recipe.imaging, AudioSettings):
        return PhotoConverter(stored.model, stored.recipe, device)
    return Converter(stored.model, stored.recipe, device, statistics_of(stored))


def statistics_of(stored: StoredModel) -> TrainingStatistics | None:
    """Return the training-data statistics of a weights file; None where it has none that can be used.

    Raises:
        AudiotransError: naming the file, if they are broken.
    """
    try:
        return None if stored.statistics is None else TrainingStatistics.from_dict(stored.statistics)
    except AudiotransError as error:
        raise AudiotransError(f"{stored.path}: {error}") from None


def load(name_or_path: str | Path = DEFAULT_MODEL, *, device: str = "auto") -> Converter:
    """Load a model of sounds with everything that converting needs.

    Args:
        name_or_path: a shipped model's name, or a weights file.
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        UsageError: for a name that no model has, or a device that is not there.
        AudiotransError: for a file that is not a model of ours, or one of photos.
    """
    converter = load_any(name_or_path, device=device)
    if isinstance(converter, PhotoConverter):
        raise AudiotransError("this model translates photos, not sound: choose another with --model")
    return converter


def load_photo(name_or_path: str | Path, *, device: str = "auto") -> PhotoConverter:
    """Load a model of photos; arguments and errors as in `load`."""
    converter = load_any(name_or_path, device=device)
    if isinstance(converter, Converter):
        raise AudiotransError("this model translates sound, not photos: choose another with --model")
    return converter


def run_jobs(
    converter: Converter | PhotoConverter,
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
    for job in jobs:
        try:
            with bar(job.source.name) if bar is not None else nullcontext() as progress:
                done = converter.convert_job(job, options, force=force, progress=progress)
        except AudiotransError as error:
            if len(jobs) == 1:
                raise
            yield Failure(job.source, error)
        else:
            yield from done
