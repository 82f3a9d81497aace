"""The crops of each training step: pure functions of the recipe, the data and the step.

So they may be drawn before they are needed: for a GPU, a thread draws the next step's while it computes this one's.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from audiotrans.recipe import Recipe
from audiotrans.training.augment import augment, equalise
from audiotrans.training.data import ImageCache


class Crops(NamedTuple):
    """Images of one step, ``(n, c, rows, frames)``.

    Attributes:
        a: of domain A.
        b: of domain B.
        more: further real images of ``a`` and ``b`` for the discriminators alone; empty if they see the same.
        seen: what the encoders see of ``a`` and ``b``; empty if they see the same.
    """

    a: Tensor
    b: Tensor
    more: dict[str, Tensor]
    seen: dict[str, Tensor]

    def each(self, function: Callable[[Tensor], Tensor]) -> Crops:
        """Return what a function makes of all of them."""
        further, seen = ({d: function(images) for d, images in found.items()} for found in (self.more, self.seen))
        return Crops(function(self.a), function(self.b), further, seen)


class Feed:
    """Hands out the crops of one step after the other, on the device.

    Args:
        recipe: see `Recipe`.
        data: to draw from.
        device: where the crops are needed.
        ahead: draw the next step's crops in a thread meanwhile; if None, where the device is no CPU, whose cores have
            enough to do. The crops are the same.
    """

    def __init__(self, recipe: Recipe, data: ImageCache, device: torch.device, *, ahead: bool | None = None) -> None:
        self.recipe, self.data, self.device = recipe, data, device
        self._layout = torch.channels_last if recipe.train.channels_last else torch.contiguous_format
        ahead = device.type != "cpu" if ahead is None else ahead
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="crops") if ahead else None
        self._next: tuple[int, Future[Crops]] | None = None

    def take(self, step: int) -> Crops:
        """Return the crops of a step.

        Raises:
            AudiotransError: if an image cannot be read.
        """
        drawn = self._next[1].result() if self._next and self._next[0] == step else self._draw(step)
        if self._thread and step + 1 < self.recipe.train.steps:
            self._next = step + 1, self._thread.submit(self._draw, step + 1)
        return drawn.each(self._to_device)

    def _draw(self, step: int) -> Crops:
        """Draw on the CPU; for a GPU into pinned memory, which it reads while the program goes on."""
        on_gpu = self.device.type == "cuda"
        with torch.cuda.device(self.device) if on_gpu else nullcontext():
            a, b = (batch(self.recipe, self.data, domain, step) for domain in "ab")
            crops = Crops(a, b, more(self.recipe, self.data, step), seen(self.recipe, {"a": a, "b": b}, step))
            return crops.each(Tensor.pin_memory) if on_gpu else crops

    def _to_device(self, images: Tensor) -> Tensor:
        return images.to(self.device, non_blocking=True, memory_format=self._layout)

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *error: object) -> None:
        if self._thread:
            self._thread.shutdown(cancel_futures=True)


def seen(recipe: Recipe, crops: dict[str, Tensor], step: int) -> dict[str, Tensor]:
    """Return what the encoders see of a step's crops of both domains, if that is something else."""
    if not recipe.train.equalise_db:
        return {}
    return {domain: equalise(images, recipe, recipe.train.seed, domain, step) for domain, images in crops.items()}


def more(recipe: Recipe, data: ImageCache, step: int) -> dict[str, Tensor]:
    """Return the further real crops of both domains that the discriminators see."""
    extra = recipe.train.discriminator_batch - recipe.train.batch_size
    return {d: batch(recipe, data, d, step, extra, recipe.train.seed + 1) for d in "ab"} if extra > 0 else {}


def batch(
    recipe: Recipe, data: ImageCache, domain: str, step: int, size: int | None = None, seed: int | None = None
) -> Tensor:
    """Return a step's crops of a domain, ``(n, c, rows, frames)``, augmented, on the CPU.

    Args:
        recipe: for its settings.
        data: to draw from.
        domain: ``a`` or ``b``.
        step: position in the run.
        size: crops; the recipe's batch size if None.
        seed: of the draw; the recipe's if None.
    """
    settings = recipe.train
    size, seed = size or settings.batch_size, settings.seed if seed is None else seed
    images = data.sample(domain, "train", step, size, settings.crop_frames, seed, match_range=settings.match_range)
    return augment(images, recipe, seed, domain, step)
