"""Sample sheets of a run on photos: what the model makes of held-out faces, as one picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from audiotrans.model.avb_gtn import AVBGTN, Domain
from audiotrans.photo.files import write_photo
from audiotrans.photo.imaging import Pixels
from audiotrans.recipe import Recipe
from audiotrans.training.data import PhotoCache, stream

SHEET_PHOTOS = 8
"""Photos of each domain on a sheet."""

GAP = 2
"""White pixels between photos."""


def photo_sample_writer(recipe: Recipe, cache: Path, device: torch.device) -> Callable[[AVBGTN, int, Path], None]:
    """Return what a training run calls for a sample sheet.

    Args:
        recipe: of the run, with a photo imaging.
        cache: folder of the prepared data; held-out photos are taken from it, training photos where there are none.
        device: where the model runs.

    Returns:
        A function of the model, the step and a folder, which writes ``step_<step>.png`` there: the first domain's
        photos, their reconstructions, translations and cycles in four rows, then the second domain's.
    """
    data = PhotoCache(cache)
    split = "valid" if data.has("valid") else "train"
    photos = {d: data.sample(d, split, 0, SHEET_PHOTOS, recipe.train.crop_frames, 0) for d in "ab"}

    def on_sample(model: AVBGTN, step: int, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_photo(folder / f"step_{step:07d}.png", photo_sheet(model, photos, device), force=True)

    return on_sample


@torch.inference_mode()
def photo_sheet(model: AVBGTN, photos: dict[str, Tensor], device: torch.device) -> Pixels:
    """Draw photos and what a model makes of them.

    Args:
        model: on ``device``.
        photos: by domain ``a`` and ``b``, ``(n, 3, h, w)`` in [-1, 1].
        device: where the model runs.

    Returns:
        Four rows for each domain: photo, reconstruction, translation, cycle.
    """
    rows = []
    pairs: tuple[tuple[Domain, Domain], ...] = (("a", "b"), ("b", "a"))
    for source, target in pairs:
        x = photos[source].to(device)
        noise = torch.randn(model.noise_shape(x), generator=stream(0, "sheet", source)).to(device)
        y = model.translate(x, source, target, noise)
        rows += [x, model.translate(x, source, source, noise), y, model.translate(y, target, source, noise)]
    return tiled([row.cpu() for row in rows])


def tiled(rows: list[Tensor]) -> Pixels:
    """Lay rows of images ``(n, 3, h, w)`` in [-1, 1] out on white, `GAP` pixels apart; ``(height, width, 3)``."""
    padded = [torch.nn.functional.pad(row, (0, GAP, 0, GAP), value=1.0) for row in rows]
    sheet = torch.cat([torch.cat(list(row), dim=2) for row in padded], dim=1)
    pixels = ((sheet + 1) * 127.5).round().clamp(0, 255).permute(1, 2, 0)
    return np.ascontiguousarray(pixels.numpy().astype(np.uint8))
