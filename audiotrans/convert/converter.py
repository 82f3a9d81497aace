"""Sounds translated by a model in torch; and models by name.

`Converter` is a `SoundConverter` whose tiles become images for the model. `load` finds a model by name or path, shipped
or trained by users.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiotrans.audio import Wave
from audiotrans.convert.effects import aligned_noise, reach, translated
from audiotrans.convert.photos import PhotoConverter
from audiotrans.convert.sound_converter import SILENT, Measured, SoundConverter, check_wave
from audiotrans.convert.tiles import SlidingWindow, Tile, TileJoiner, TilePlan, cut_tiles, plan_tiles
from audiotrans.convert.warnings import DomainCheck, TrainingStatistics
from audiotrans.errors import AudiotransError, UsageError, lookup
from audiotrans.options import OPTIONS, ConvertOptions, Side, completed
from audiotrans.processes import choose_device, in_threads, tile_threads
from audiotrans.spectrogram.imaging import AudioImaging, AudioSettings, Context
from audiotrans.spectrogram.level import Level, LevelMeter, level_of_frames
from audiotrans.spectrogram.phase import PHASES
from audiotrans.weights import StoredModel, find, open_weights

if TYPE_CHECKING:
    from audiotrans.model.avb_gtn import AVBGTN
    from audiotrans.recipe import Recipe


class Converter(SoundConverter):
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
        # The layout that convolutions and norms over channels like best, on every processor.
        self.model = model.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.recipe, self.statistics = recipe, statistics
        self.settings = recipe.imaging
        self.sample_rate, self.n_fft = recipe.imaging.sample_rate, recipe.imaging.n_fft
        self.imaging = AudioImaging(recipe.imaging)
        self.plan = plan_tiles(recipe.imaging, self.imaging.representation.rows, model)

    @property
    def domains(self) -> tuple[str, str]:
        """The names of the model's two domains, a and b."""
        return self.recipe.domains.a, self.recipe.domains.b

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

    def level_meter(self) -> LevelMeter:
        """Return a fresh meter."""
        return self.imaging.level_meter()

    def level(self, meter: LevelMeter) -> Level:
        """Return what the images of a metered sound are relative to, see `AudioImaging.level`."""
        return self.imaging.level(meter)

    def translate(
        self, blocks: Iterable[Wave], found: Measured, options: ConvertOptions, check: DomainCheck | None
    ) -> Iterator[Wave]:
        """Translate a sound at the model's rate, tile by tile."""
        plan = self.plan_for(options)
        if check is not None:
            check.expect(plan.tiles(found.length))
        joiner = TileJoiner(found.length, plan)

        def convert(cut: tuple[Tile, Wave]) -> tuple[Tile, Wave]:
            return cut[0], self._convert_piece(cut[1], cut[0].start, options, found, check)

        # Tiles side by side use cores better than the parts of one operation do; a device works by itself.
        threads = min(tile_threads(), len(plan.tiles(found.length))) if self.device.type == "cpu" else 1
        for tile, piece in in_threads(convert, cut_tiles(blocks, found.length, plan), threads):
            yield joiner.join(tile, piece)

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
            # The flags are the whole process's: not for threads.
            with _repeatable_kernels() if self.device.type == "cuda" else nullcontext():
                return translated(self.model, self.imaging, image, options, sides, noise)
        except torch.OutOfMemoryError as error:
            raise AudiotransError(f"not enough memory on {self.device}: use --device cpu") from error


def _repeatable_kernels() -> AbstractContextManager[None]:
    """Keep CUDA to kernels that give the same bytes every time, in full float32."""
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
