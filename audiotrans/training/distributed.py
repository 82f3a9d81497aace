"""The processes that train one model together, on one machine or several: who is who, what they add up and agree on.

They are started by ``torchrun``, which tells each its number. Every one has the whole model, draws its own share of a
step's images, and moves by the mean of all gradients, so that all hold the same weights after each step. The first one
alone writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from audiotrans.errors import AudiotransError
from audiotrans.training.data import Share

PATIENCE = timedelta(hours=1)
"""How long processes wait for one another: the first one validates, draws samples and saves meanwhile."""


class Team:
    """The processes of a run, as one of them sees them; alone by default.

    Args:
        share: which of them this one is.
        device: where it computes.
    """

    def __init__(self, share: Share | None = None, device: torch.device | None = None) -> None:
        self.share, self.device = share or Share(), device or torch.device("cpu")

    @property
    def alone(self) -> bool:
        """Whether there is no other one."""
        return self.share.size == 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.share.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return a module whose backward pass leaves the mean of all processes' gradients."""
        # Buffers are power iterations of weights that are the same everywhere: there is nothing to send.
        return module if self.alone else DistributedDataParallel(module, broadcast_buffers=False)

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of all processes' values."""
        if self.alone:
            return values
        total = values.detach().clone()
        dist.all_reduce(total)
        return total / self.share.size

    def all_true(self, flags: Tensor) -> Tensor:
        """Return which flags are true in every process."""
        if self.alone:
            return flags
        counts = flags.int()
        dist.all_reduce(counts, dist.ReduceOp.MIN)
        return counts.bool()

    def any_true(self, flag: bool) -> bool:
        """Tell whether a flag is true in some process."""
        return flag if self.alone else not self.all_true(torch.tensor([not flag], device=self.device)).item()

    def joined(self, images: Tensor) -> Tensor:
        """Return the images of all processes, in their order in the step."""
        if self.alone:
            return images
        found = [torch.empty_like(images, memory_format=torch.contiguous_format) for _ in range(self.share.size)]
        dist.all_gather(found, images.contiguous())
        return torch.cat(found)

    def wait(self) -> None:
        """Wait until every process is here."""
        if not self.alone:
            self.any_true(False)


def without_sum(module: nn.Module) -> AbstractContextManager[None]:
    """Return a context in which a module from `Team.wrap` keeps its gradients to itself, to be added up further."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()


def local_device(name: str) -> str:
    """Give each process of a machine a GPU of its own, where torchrun started several: ``cuda:0``, ``cuda:1``, ...

    Args:
        name: of a device, as the user named it.
    """
    number = os.environ.get("LOCAL_RANK")
    shared = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    return f"cuda:{number}" if number is not None and shared else name


def writes() -> bool:
    """Tell whether this process writes what a run writes: the first of several, or the only one."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def team(device: torch.device) -> Iterator[Team]:
    """Join the processes that torchrun started, for as long as the context lasts.

    Raises:
        AudiotransError: if another process has left.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team(device=device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        found = Team(Share(dist.get_rank(), size), device)
        yield found
        found.wait()  # one that leaves early can end the last call of another
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            raise AudiotransError("another process of this run has ended: see what it says") from None
        raise
    finally:
        dist.destroy_process_group()


def together(parts: Sequence[Tensor]) -> Tensor:
    """Return the mean of what several passes computed."""
    return parts[0] if len(parts) == 1 else torch.stack(list(parts)).mean(0)
