"""Sounds or photos? The recipe says; without one, the source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audiotrans.errors import UsageError
from audiotrans.photo.imaging import PhotoSettings
from audiotrans.recipe import Domains, Losses, Recipe
from audiotrans.training.prepare.photos import PhotoSummary, is_celeba, prepare_photos
from audiotrans.training.prepare.run import prepare
from audiotrans.training.prepare.summary import Summary


def default_recipe(source: Path) -> Recipe:
    """Return what a source without a recipe is prepared for: CelebA's hair colours at 128 x 128, else sounds."""
    if not is_celeba(source):
        return Recipe()
    losses = Losses(generator={"gan": 1.0})  # the defaults are for sounds, and prep reads none of them
    return Recipe(imaging=PhotoSettings(), domains=Domains(a="blond", b="brown"), losses=losses)


def prepare_any(
    source: Path, output: Path, recipe: Recipe, *, where: Sequence[str] = (), **options: Any
) -> Summary | PhotoSummary:
    """Prepare what a recipe is for.

    Args:
        source: folder of sounds or photos.
        output: folder of the cache.
        recipe: its imaging and crop size are used, and how far conversions will straighten their inputs.
        where: conditions on CelebA's images.
        **options: of `prepare` and `prepare_photos` alike.

    Raises:
        UsageError: for conditions on sounds, or CelebA with a recipe for sounds.
    """
    if isinstance(recipe.imaging, PhotoSettings):
        return prepare_photos(source, output, where=where, settings=recipe.imaging, **options)
    if where:
        raise UsageError("--where is for CelebA's photos: give a recipe of photos with --recipe")
    if is_celeba(source):
        raise UsageError(f"{source} is CelebA, but the recipe is for sounds: give one with imaging.type photo")
    remove_vibrato = {"a": recipe.remove_vibrato.b, "b": recipe.remove_vibrato.a}  # each is the input of the other
    frames = recipe.train.crop_frames
    return prepare(
        source, output, settings=recipe.imaging, crop_frames=frames, remove_vibrato=remove_vibrato, **options
    )
