"""A memory of past translations for the discriminators (after Shrivastava et al. 2017, as CycleGAN uses it)."""

from __future__ import annotations

import torch
from torch import Tensor


class HistoryBuffer:
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
        """Draw up to ``count`` kept images of a direction, float32 ``(1, c, h, w)``; fewer while few are kept.

        After `load_state_dict` they are on the CPU until the next `keep`.
        """
        kept = self.images.get(name)
        if kept is None or not count:
            return []
        chosen = torch.randperm(len(kept), generator=generator)[:count]
        return [kept[index][None].float() for index in chosen.tolist()]

    def keep(self, name: str, images: Tensor) -> None:
        """Take images ``(n, c, h, w)`` in; the oldest leave. Kept as float16: a checkpoint holds them.

        They stay on the device they come from: to fetch them in every step would make a GPU wait for it twice.
        """
        kept, new = self.images.get(name), images.detach().half()
        whole = new if kept is None else torch.cat([kept.to(new.device), new])
        self.images[name] = whole[-self.size :] if self.size else new[:0]

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of the images by direction, on the CPU."""
        # A copy, for a slice would be saved with all of the memory that it was cut from.
        return {name: images.to("cpu", copy=True) for name, images in self.images.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take what `state_dict` gave."""
        self.images = dict(state)
