"""The guard of training: a step whose losses or gradients are not finite is not taken, but named and counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm


class Guard:
    """Keeps what is not finite out of weights, averages and the history of translations.

    Args:
        agree: takes flags and returns those that are true in every process that trains along.

    Attributes:
        found: names of what was not finite in the step at hand, or the last one.
        skipped: steps that were not taken, or not by every player.
        in_a_row: how many of them are the latest steps.
    """

    def __init__(self, agree: Callable[[Tensor], Tensor] = lambda flags: flags) -> None:
        self._agree = agree
        self.found: list[str] = []
        self.skipped = self.in_a_row = 0

    def passes(self, values: Mapping[str, Tensor]) -> bool:
        """Tell whether all of some values are finite, and note the names of those that are not.

        They are fetched together, for each one that is fetched by itself makes a GPU wait.
        """
        finite = self._agree(torch.stack([value.detach().float() for value in values.values()]).isfinite()).tolist()
        broken = [name for name, is_finite in zip(values, finite, strict=True) if not is_finite]
        self.found += [name for name in broken if name not in self.found]
        return not broken

    def count(self) -> None:
        """Count the step at hand."""
        self.in_a_row = self.in_a_row + 1 if self.found else 0
        self.skipped += bool(self.found)

    def state_dict(self) -> dict[str, int]:
        """Return both counts."""
        return {"skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Take what `state_dict` gave."""
        self.skipped, self.in_a_row = state["skipped"], state["in_a_row"]


def gradient_norm(parameters: Iterable[Tensor]) -> Tensor:
    """Return the norm of all gradients together, a scalar; not finite where any number of them is not."""
    return get_total_norm([each.grad for each in parameters if each.grad is not None])


def clip(parameters: Iterable[Tensor], norm: Tensor, largest: float) -> None:
    """Scale gradients down to a norm; ``largest`` 0 leaves them alone.

    Args:
        parameters: whose gradients.
        norm: that they have.
        largest: that they may have.
    """
    if largest:
        clip_grads_with_norm_(parameters, largest, norm)
