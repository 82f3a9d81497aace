"""Photo -> translated photo of the same size."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from audiotrans.convert.jobs import Job, Progress, Written, check_output, naming
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.options import OPTIONS, ConvertOptions, Side, completed, flag, options_of
from audiotrans.photo.images import PhotoImaging, PhotoSettings, Pixels
from audiotrans.photo.pillow import read_photo, without_warnings, write_photo

if TYPE_CHECKING:
    from audiotrans.model.avb_gtn import AVBGTN
    from audiotrans.recipe import Recipe


KEPT = 1.0
"""Share of what the auto-encoder loses of a photo that its translation keeps, where the model was trained without.

A model that was trained for minutes blurs what it makes anew, background and face included. What it loses of a photo
on the way from one domain to the *same* domain is not part of the translation.
"""


class PhotoConverter:
    """A model of photos with the imaging that it was trained with.

    Args:
        model: moved to ``device`` and set to evaluation.
        recipe: as it was trained.
        device: where to run.
        keep: share of what the auto-encoder loses of a photo that stays, 0 .. 1 (`NetSettings.residual` at
            conversion); 0 adds all that the network's image differs by, as the paper would. None: what the model was
            trained with, or where that is 0, `KEPT`.

    Raises:
        AudiotransError: if the model translates sound.
        UsageError: for a share outside 0 .. 1.
    """

    def __init__(
        self, model: AVBGTN, recipe: Recipe, device: torch.device | str = "cpu", *, keep: float | None = None
    ) -> None:
        if not isinstance(recipe.imaging, PhotoSettings):
            raise AudiotransError("this model translates sound, not photos: choose another with --model")
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        self.recipe = recipe
        self.imaging = PhotoImaging(recipe.imaging)
        self.keep = (recipe.model.residual or KEPT) if keep is None else keep
        if not 0 <= self.keep <= 1:
            raise UsageError(f"keep {keep}: 0 (the network's image) to 1 (all that the auto-encoder loses stays)")

    @property
    def domains(self) -> tuple[str, str]:
        """The names of the model's two domains, a and b."""
        return self.recipe.domains.a, self.recipe.domains.b

    def options(self, to: str, source: str | None = None, **asked: Any) -> ConvertOptions:
        """Check what a user asks for, see `Converter.options`; photos have neither phases nor notes.

        Raises:
            UsageError: naming the option, and what it may be.
        """
        return self.complete(options_of({"to": to, "source": source, **asked}))

    def complete(self, options: ConvertOptions) -> ConvertOptions:
        """The same for options that are put together already."""
        for name, info in OPTIONS.items():
            value = getattr(options, name)
            if info.sound and value is not None:
                shown = repr(value) if isinstance(value, str) else f"{value:g}"
                raise UsageError(f"{name} {shown} is for sound: leave {flag(name)} out with photos")
        return completed(options, self.domains)

    def convert(
        self, pixels: Pixels, *, to: str, source: str | None = None, strength: float = 100.0, seed: int = 0
    ) -> Pixels:
        """Translate a photo.

        Args:
            pixels: ``(height, width, 3)``, 0 .. 255, of any size; not changed.
            to: name of the domain to translate to, such as ``"blond"``.
            source: name of the photo's domain; the other one if None.
            strength: 0 (the photo) to 100 (the translation).
            seed: the same seed gives the same pixels.

        Returns:
            Pixels of the same shape.
        """
        return self.translate(pixels, self.options(to, source, strength=strength, seed=seed))

    @torch.inference_mode()
    def translate(self, pixels: Pixels, options: ConvertOptions) -> Pixels:
        """Translate a photo as complete options say; shapes as in `convert`."""
        if options.strength == 0:
            return pixels.copy()
        image, context = self.imaging.to_image(pixels)
        generator = torch.Generator().manual_seed(options.seed)
        noise = torch.randn(self.model.noise_shape(image), generator=generator)
        translated = self._translated(image.to(self.device), noise.to(self.device), options).cpu()
        return self.imaging.from_image(image + options.share * (translated - image), context)

    def _translated(self, image: Tensor, noise: Tensor, options: ConvertOptions) -> Tensor:
        """Translate, and give back what the auto-encoder loses, as far as the model does not do so itself."""
        source: Side = "a" if options.source == self.domains[0] else "b"
        target: Side = "a" if options.to == self.domains[0] else "b"
        found = self.model.translate(image, source, target, noise)
        missing = self.keep - self.recipe.model.residual
        if missing:
            lost = image - self.model.translate(image, source, source, noise)
            found = (found + missing * lost).clamp(-1, 1)
        return found

    def convert_job(
        self, job: Job, options: ConvertOptions, *, force: bool = False, progress: Progress | None = None
    ) -> list[Written]:
        """Translate one photo file into one or more samples.

        Args:
            job: the file to read and those to write.
            options: what to do, from `options`.
            force: whether to overwrite outputs that exist.
            progress: never called: a photo is done before a bar could be seen.

        Raises:
            UsageError: for an output that may not be written.
            AudiotransError: naming the file.
        """
        for path in job.outputs:
            check_output(path, job.source, force=force)
        with without_warnings():
            pixels = read_photo(job.source)
        written = []
        for index, path in enumerate(job.outputs):
            started = time.perf_counter()
            with naming(job.source):
                made = self.translate(pixels, replace(options, seed=options.seed + index))
            write_photo(path, made, force=True)
            size = f"{pixels.shape[1]} x {pixels.shape[0]} pixels"
            written.append(Written(path, size, time.perf_counter() - started))
        return written
