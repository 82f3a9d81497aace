"""A memory of past translations for the discriminators (after Shrivastava et al. 2017, as CycleGAN uses it)."""

from __future__ import annotations

import torch
from torch import Tensor


class ImagePool:
    """The last translations of each direction.

    At batch size 1 a discriminator compares one real and one made image of different music; shown a few past ones
    beside it, it learns what the two kinds have in common instead of what the two pieces have not.

    Args:
        size: images kept of each direction.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.images: dict[str, Tensor] = {}

    def draw(self, name: str, count: int, generator: torch.Generator) -> list[Tensor]:
        """Draw up to ``count`` kept images of a direction, float32 ``(1, c, h, w)``; fewer while few are kept."""
        kept = self.images.get(name)
        if kept is None or not count:
            return []
        chosen = torch.randperm(len(kept), generator=generator)[:count]
        return [kept[index][None].float() for index in chosen.tolist()]

    def keep(self, name: str, images: Tensor) -> None:
        """Take images ``(n, c, h, w)`` in; the oldest leave. Kept as float16 on the CPU: a checkpoint holds them."""
        kept, new = self.images.get(name), images.detach().half().cpu()
        self.images[name] = (new if kept is None else torch.cat([kept, new]))[-self.size :] if self.size else new[:0]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the images by direction."""
        return dict(self.images)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take what `state_dict` gave."""
        self.images = dict(state)
