"""An independent classifier of images: which of the two domains does a picture belong to?

It is trained on real images alone, has another architecture than any discriminator here, and is never a loss. The
features before its last layer are the embedding of the kernel distance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiotrans.training.datasets import ImageCache, stream

EMBEDDING = 64
"""Dimensions of the embedding."""

BATCH = 16
"""Training images of each domain per step."""


class Referee(nn.Module):
    """Four strided convolutions with group norm, the mean over all positions, one logit; positive: domain B.

    Args:
        image_channels: of the images.
        coordinate: whether rows have a meaning of their own (sounds): adds a channel that counts them.
    """

    def __init__(self, image_channels: int, *, coordinate: bool) -> None:
        super().__init__()
        self.coordinate = coordinate
        widths = [image_channels + coordinate, 24, 48, 96, 128]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 5, 2, 2), nn.GroupNorm(8, outputs), nn.SiLU()]
        self.features = nn.Sequential(*layers)
        self.embedding = nn.Linear(widths[-1], EMBEDDING)
        self.last = nn.Linear(EMBEDDING, 1)

    def embed(self, images: Tensor) -> Tensor:
        """Return the embedding ``(n, 64)`` of images ``(n, c, h, w)`` in [-1, 1]."""
        x = images
        if self.coordinate:
            rows = torch.linspace(-1, 1, x.shape[2], device=x.device)[None, None, :, None]
            x = torch.cat([x, rows.expand(len(x), 1, -1, x.shape[3])], 1)
        found: Tensor = F.silu(self.embedding(self.features(x).mean((2, 3))))
        return found

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(n,)``; positive: domain B."""
        logits: Tensor = self.last(self.embed(images))[:, 0]
        return logits


@dataclass(frozen=True)
class Trained:
    """A referee, and its accuracy on held-out real images of either domain: the ceiling of all accuracies."""

    referee: Referee
    accuracy: dict[str, float]


def train_referee(
    data: ImageCache,
    split: str,
    crop_frames: int,
    *,
    steps: int = 600,
    images: int = 128,
    seed: int = 0,
    device: torch.device | str = "cpu",
    tick: Callable[[], object] = lambda: None,
) -> Trained:
    """Train a referee on the training split.

    Args:
        data: the cache.
        split: held-out split that its accuracy is measured on.
        crop_frames: columns of the crops (sounds).
        steps: of Adam at 1e-3, falling to 0.
        images: held-out images of each domain.
        seed: of weights, crops and augmentation.
        device: where to train.
        tick: called after every step.

    Returns:
        The referee in evaluation mode.
    """
    photo = data.manifest["imaging"].get("type") == "photo"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        referee = Referee(data.image_size()[0], coordinate=not photo).to(device)
    adam = torch.optim.AdamW(referee.parameters(), 1e-3, weight_decay=0.01)
    targets = torch.tensor([0.0, 1.0], device=device).repeat_interleave(BATCH)
    for step in range(steps):
        adam.param_groups[0]["lr"] = 1e-3 * (1 - step / steps)
        batch = torch.cat([data.sample(d, "train", step, BATCH, crop_frames, seed + 2**31) for d in "ab"])
        batch = augmented(batch, photo, stream(seed, "referee", step)).to(device)
        loss = F.binary_cross_entropy_with_logits(referee(batch), targets)
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        tick()
    referee.eval().requires_grad_(False)
    held_out = {d: data.sample(d, split, 0, images, crop_frames, seed).to(device) for d in "ab"}
    return Trained(referee, {d: share_of(referee, x, d) for d, x in held_out.items()})


def augmented(images: Tensor, photo: bool, generator: torch.Generator) -> Tensor:
    """Change each image's brightness and contrast a little: neither exposure nor level shall be the cue.

    Hair colour is a matter of brightness too, so photos are changed by little.
    """
    amount = 0.1 if photo else 0.2
    draws = torch.rand(2, len(images), 1, 1, 1, generator=generator) * 2 - 1
    return images * (1 + amount * draws[0]) + amount * draws[1]


@torch.inference_mode()
def share_of(referee: Referee, images: Tensor, domain: str) -> float:
    """Return the share of images that the referee takes for a domain."""
    logits = torch.cat([referee(part) for part in parts(images)])
    return float(((logits > 0) == (domain == "b")).float().mean())


def parts(images: Tensor, size: int = 64) -> Iterator[Tensor]:
    """Yield images ``size`` at a time: memory does not grow with their number."""
    for start in range(0, len(images), size):
        yield images[start : start + size]
