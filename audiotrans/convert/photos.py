"""Photo -> translated photo of the same size."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from audiotrans.convert.files import check_output, naming
from audiotrans.convert.options import Request, make_request
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.photo.files import read_photo, without_warnings, write_photo
from audiotrans.photo.imaging import PhotoImaging, PhotoSettings, Pixels

if TYPE_CHECKING:
    from audiotrans.model.avb_gtn import AVBGTN
    from audiotrans.recipe import Recipe


KEPT = 1.0
"""Share of what the auto-encoder loses of a photo that its translation keeps, where the model was trained without.

A model that was trained for minutes blurs what it paints anew, background and face included. What it loses of a photo
on the way from one domain to the *same* domain is no part of the translation.
"""


@dataclass(frozen=True)
class WrittenPhoto:
    """A finished picture.

    Attributes:
        path: where it is.
        size: width and height in pixels: the input's.
        elapsed_seconds: what it took.
    """

    path: Path
    size: tuple[int, int]
    elapsed_seconds: float
    failed: ClassVar[bool] = False
    warnings: ClassVar[tuple[str, ...]] = ()

    def __str__(self) -> str:
        """Return the line that a user sees."""
        return f"{self.path} ({self.size[0]} x {self.size[1]} pixels in {self.elapsed_seconds:.1f} s)"


class PhotoConverter:
    """A model of photos with the imaging that it was trained with.

    Args:
        model: moved to ``device`` and set to evaluation.
        recipe: as it was trained.
        device: where to run.
        keep: share of what the auto-encoder loses of a photo that stays, 0 .. 1 (`NetSettings.residual` at
            conversion); 0 adds all that the network's picture differs by, as the paper would. None: what the model was
            trained with, or where that is 0, `KEPT`.

    Raises:
        AudiotransError: if the model translates sound.
        UsageError: for a share that is none.
    """

    def __init__(
        self, model: AVBGTN, recipe: Recipe, device: torch.device | str = "cpu", *, keep: float | None = None
    ) -> None:
        if not isinstance(recipe.imaging, PhotoSettings):
            raise AudiotransError("this model translates sound, not pictures: choose another with --model")
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        self.recipe = recipe
        self.imaging = PhotoImaging(recipe.imaging)
        self.keep = (recipe.model.residual or KEPT) if keep is None else keep
        if not 0 <= self.keep <= 1:
            raise UsageError(f"keep {keep}: 0 (the network's picture) to 1 (all that the auto-encoder loses stays)")

    @property
    def domains(self) -> tuple[str, str]:
        """The names of the model's two domains, a and b."""
        return self.recipe.domains.a, self.recipe.domains.b

    def request(
        self,
        to: str,
        source: str | None = None,
        strength: float = 100.0,
        phase: str | None = None,
        seed: int = 0,
        articulation: float | None = None,
        shifts: int | None = None,
        vibrato: float | None = None,
        remove_vibrato: float | None = None,
        tilt: float | None = None,
    ) -> Request:
        """Check what a user asks for, see `make_request`.

        Raises:
            UsageError: naming the argument, and what it may be.
        """
        if phase is not None:
            raise UsageError(f"phase {phase!r} is for sound: leave --phase out with pictures")
        sound = {"articulation": articulation, "shifts": shifts, "vibrato": vibrato}
        sound |= {"remove_vibrato": remove_vibrato, "tilt": tilt}
        for name, value in sound.items():
            if value is not None:
                raise UsageError(f"{name} {value:g} is for sound: leave --{name} out with pictures")
        return make_request(self.domains, to, source, strength, None, seed)

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
        return self.translate(pixels, self.request(to, source, strength, None, seed))

    @torch.inference_mode()
    def translate(self, pixels: Pixels, request: Request) -> Pixels:
        """Translate a photo as a checked request says; shapes as in `convert`."""
        if request.strength == 0:
            return pixels.copy()
        image, context = self.imaging.to_image(pixels)
        generator = torch.Generator().manual_seed(request.seed)
        noise = torch.randn(self.model.noise_shape(image), generator=generator)
        translated = self._translated(image.to(self.device), noise.to(self.device), request).cpu()
        return self.imaging.from_image(image + request.strength / 100 * (translated - image), context)

    def _translated(self, image: Tensor, noise: Tensor, request: Request) -> Tensor:
        """Translate, and give back what the auto-encoder loses, as far as the model does not do so itself."""
        found = self.model.translate(image, request.source, request.target, noise)
        missing = self.keep - self.recipe.model.residual
        if missing:
            lost = image - self.model.translate(image, request.source, request.source, noise)
            found = (found + missing * lost).clamp(-1, 1)
        return found


def convert_photo_file(
    converter: PhotoConverter, source: Path, outputs: Sequence[Path], request: Request, *, force: bool = False
) -> list[WrittenPhoto]:
    """Translate one picture file into one or more draws.

    Args:
        converter: the model.
        source: file to read.
        outputs: files to write; the n-th is drawn with ``request.seed + n``.
        request: what to do.
        force: whether to overwrite outputs that exist.

    Raises:
        AudiotransError: naming the file.
    """
    for path in outputs:
        check_output(path, source, force=force)
    with without_warnings():
        pixels = read_photo(source)
    written = []
    for index, path in enumerate(outputs):
        started = time.perf_counter()
        with naming(source):
            made = converter.translate(pixels, replace(request, seed=request.seed + index))
        write_photo(path, made, force=force)
        size = pixels.shape[1], pixels.shape[0]
        written.append(WrittenPhoto(path, size, time.perf_counter() - started))
    return written
