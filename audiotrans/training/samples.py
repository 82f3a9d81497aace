"""Sample sheets of a training run: what the model makes of held-out sounds or photos."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiotrans.audio import probe, read, write
from audiotrans.convert.converter import Converter
from audiotrans.convert.effects import aligned_noise, without_rumble
from audiotrans.errors import AudiotransError
from audiotrans.photo.images import Pixels
from audiotrans.photo.pillow import write_photo
from audiotrans.spectrogram.imaging import AudioImaging, AudioSettings
from audiotrans.training.data import ImageCache, PhotoCache, stream

if TYPE_CHECKING:
    from audiotrans.model.avb_gtn import AVBGTN
    from audiotrans.recipe import Recipe

DrawSheet = Callable[[dict[str, NDArray[np.float32]], Path, NDArray[np.floating], float], object]
"""Draws images by title into a PNG, given each row's frequency in Hz and the seconds per column."""

OnSample = Callable[["AVBGTN", int, Path], None]

SHEET_SECONDS = 6.0

SHEET_PHOTOS = 8
"""Photos of each domain on a sheet."""

GAP = 2
"""White pixels between photos."""

SEED = 0
"""One seed for every sheet of a run: differences between sheets are the training's, not the noise's."""

Side = Literal["a", "b"]

OTHER: dict[Side, Side] = {"a": "b", "b": "a"}


@dataclass(frozen=True)
class Item:
    """A held-out sound: its side, its label, its image ``(1, channels, rows, columns)`` and the file it was made of."""

    side: Side
    label: str
    image: Tensor
    sound: Path


def sample_writer(
    recipe: Recipe, cache: Path, device: torch.device | str, draw: DrawSheet, *, per_domain: int = 2
) -> OnSample:
    """Prepare the function that training calls to write samples.

    Args:
        recipe: of the run, with an audio imaging.
        cache: folder of the prepared data; validation items are taken from it, training items where there are none.
        device: where the model runs.
        draw: draws the sheet.
        per_domain: items of each domain.

    Returns:
        A function of the model, the step and a folder. It writes ``step_<step>.png`` there, and the same as sound into
        ``step_<step>/`` for items whose source file still exists.

    Raises:
        AudiotransError: if the cache cannot be read.
    """
    if not isinstance(recipe.imaging, AudioSettings):
        raise AudiotransError("this recipe is for photos: its samples are drawn by photo_sample_writer")
    imaging = AudioImaging(recipe.imaging)
    items = _items(ImageCache(cache), per_domain, round(SHEET_SECONDS / imaging.seconds_per_frame))

    def on_sample(model: AVBGTN, step: int, folder: Path) -> None:
        was_training = model.training
        model.eval()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            name = f"step_{step:07d}"
            _write_sheet(model, imaging, items, folder / f"{name}.png", draw, device)
            _write_sounds(Converter(model, recipe, device), items, folder / name)
        finally:
            model.train(was_training)

    return on_sample


@torch.inference_mode()
def sheet_images(model: AVBGTN, imaging: AudioImaging, image: Tensor, side: Side) -> dict[str, Tensor]:
    """Return what a sheet shows of one image; rumble is hidden from the model and kept, as in a conversion.

    Args:
        model: in evaluation.
        imaging: that made the image.
        image: ``(1, channels, rows, columns)`` on the model's device.
        side: ``a`` or ``b``, the image's own.

    Returns:
        Input, reconstruction, translation and cycle, each of the image's shape.
    """
    other = OTHER[side]

    def translate(source: Tensor, origin: Side, target: Side) -> Tensor:
        made = model.translate(without_rumble(source, imaging), origin, target, aligned_noise(model, source, 0, SEED))
        made[..., : imaging.rumble_rows, :] = source[..., : imaging.rumble_rows, :]
        return made

    translated = translate(image, side, other)
    return {
        "input": image,
        "reconstruction": translate(image, side, side),
        "translation": translated,
        "cycle": translate(translated, other, side),
    }


def _write_sheet(
    model: AVBGTN, imaging: AudioImaging, items: Sequence[Item], path: Path, draw: DrawSheet, device: torch.device | str
) -> None:
    panels = {}
    for item in items:
        for title, image in sheet_images(model, imaging, item.image.to(device), item.side).items():
            panels[f"{item.label}: {title}"] = imaging.display_db(image).cpu().numpy()
    if panels:
        draw(panels, path, imaging.row_frequencies(), imaging.seconds_per_frame)


def _write_sounds(converter: Converter, items: Sequence[Item], folder: Path) -> None:
    for item in items:
        if not item.sound.is_file():
            continue
        folder.mkdir(exist_ok=True)
        try:
            for title, wave, rate in _sounds(converter, item.sound, item.side):
                peak = float(np.abs(wave).max())
                write(folder / f"{item.label} {title}.wav", wave / max(peak, 1.0), rate, force=True)
        except AudiotransError:
            continue  # a source that has changed since must not end a training run; its images are on the sheet


def _sounds(converter: Converter, path: Path, side: Side) -> Iterator[tuple[str, NDArray[np.float32], int]]:
    names: dict[Side, str] = {"a": converter.domains[0], "b": converter.domains[1]}
    seconds = min(SHEET_SECONDS, probe(path).seconds)
    wave, rate = read(path, seconds=seconds)

    def convert(source: NDArray[np.float32], origin: Side, target: Side) -> NDArray[np.float32]:
        return converter.convert(source, rate, to=names[target], source=names[origin], seed=SEED)

    translated = convert(wave, side, OTHER[side])
    yield "input", wave, rate
    yield "reconstruction", convert(wave, side, side), rate
    yield "translation", translated, rate
    yield "cycle", convert(translated, OTHER[side], side), rate


def _items(cache: ImageCache, per_domain: int, columns: int) -> list[Item]:
    chosen = []
    for side in OTHER:
        held_out = cache.items.get((side, "valid")) or cache.items[side, "train"]
        for number, entry in enumerate(_spread(held_out, per_domain), start=1):
            image = cache.read(entry, 0, min(columns, entry["frames"]))[None]
            label = f"{cache.manifest['domains'][side]} {number}"
            chosen.append(
                Item(side, label, image, cache.root / entry.get("source", "none"))
            )  # an absolute source stays absolute
    return chosen


def _spread(entries: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Take ``count`` entries from all over the list: neighbours are often of one recording."""
    at = {round(i * (len(entries) - 1) / max(count - 1, 1)) for i in range(count)}
    return [entries[i] for i in sorted(at)]


# Photos --------------------------------------------------------------------------------------------------------------


def photo_sample_writer(recipe: Recipe, cache: Path, device: torch.device | str) -> OnSample:
    """Prepare the function that training on photos calls to write samples.

    Args:
        recipe: of the run, with a photo imaging.
        cache: folder of the prepared data; held-out photos are taken from it, training photos where there are none.
        device: where the model runs.

    Returns:
        A function of the model, the step and a folder, which writes ``step_<step>.png`` there: the first domain's
        photos, their reconstructions, translations and cycles in four rows, then the second domain's.
    """
    import PIL.Image  # noqa: F401  (loaded when a sheet is written: too late to find it missing)

    data = PhotoCache(cache)
    split = "valid" if data.has("valid") else "train"
    photos = {d: data.sample(d, split, 0, SHEET_PHOTOS, recipe.train.crop_frames, 0) for d in "ab"}

    def on_sample(model: AVBGTN, step: int, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_photo(folder / f"step_{step:07d}.png", photo_sheet(model, photos, device), force=True)

    return on_sample


@torch.inference_mode()
def photo_sheet(model: AVBGTN, photos: dict[str, Tensor], device: torch.device | str) -> Pixels:
    """Draw photos and what a model makes of them.

    Args:
        model: on ``device``.
        photos: by domain ``a`` and ``b``, ``(n, 3, h, w)`` in [-1, 1].
        device: where the model runs.

    Returns:
        Four rows for each domain: photo, reconstruction, translation, cycle.
    """
    rows = []
    pairs: tuple[tuple[Side, Side], ...] = (("a", "b"), ("b", "a"))
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
