"""The judge's net: a small convolutional classifier of log-mel pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

WIDTHS = (24, 48, 64, 96)
EMBEDDING = 64


class ClassifierNet(nn.Module):
    """Four convolutions of stride 2, the mean and the maximum over the picture, an embedding, a verdict.

    GroupNorm, so that the verdict on a window does not depend on which others are judged with it.

    Args:
        classes: number of domains.
        widths: channels of the convolutions, multiples of 8.
        embedding: size of the penultimate layer.
    """

    def __init__(self, classes: int, widths: Sequence[int] = WIDTHS, embedding: int = EMBEDDING) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 2
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.GroupNorm(8, width), nn.SiLU()]
            channels = width
        self.body = nn.Sequential(*layers)
        self.embedding = nn.Sequential(nn.Dropout(0.1), nn.Linear(2 * channels, embedding), nn.SiLU())
        self.head = nn.Linear(embedding, classes)

    def embed(self, pictures: Tensor) -> Tensor:
        """Return the penultimate layer of pictures (batch, bands, frames), shape (batch, embedding)."""
        height = torch.linspace(-1.0, 1.0, pictures.shape[1]).view(1, -1, 1).expand_as(pictures)
        maps = self.body(torch.stack([pictures, height], dim=1))  # the second channel tells where in pitch a filter is
        pooled = torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)
        embedded: Tensor = self.embedding(pooled)
        return embedded

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits of pictures (batch, bands, frames), shape (batch, classes)."""
        logits: Tensor = self.head(self.embed(pictures))
        return logits
