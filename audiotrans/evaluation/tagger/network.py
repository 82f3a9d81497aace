"""The network of musicnn, for weights that TensorFlow saved: broad and long filters, three layers, pooled over time.

Written from the shapes and names of its published weights and the description in its paper; held against the original
by `tests/golden`.

Source:
    Pons and Serra, musicnn: pre-trained convolutional neural networks for music audio tagging, 2019, arXiv:1909.06654.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

BANDS = 96
FRAMES = 187
"""Frames of a picture, of 16 ms: the three seconds that it was trained with."""

DIMS = 200
_EPSILON = 1e-3
_TIMBRAL = (0, 1)
_TEMPORAL = {2: 128, 3: 64, 4: 32}
"""Filters that look along time, and their lengths in frames."""


class MusicnnNet:
    """Pictures -> the penultimate layer and the tags.

    Args:
        weights: the tensors of the checkpoint by name.

    Raises:
        KeyError: one is missing.
    """

    def __init__(self, weights: Mapping[str, npt.NDArray[np.float32]]) -> None:
        self._kernels = [
            self._tensor(weights, f"{_numbered('conv2d', i)}/kernel").permute(3, 2, 0, 1) for i in range(8)
        ]
        self._biases = [self._tensor(weights, f"{_numbered('conv2d', i)}/bias") for i in range(8)]
        self._norms = [self._scale_and_shift(weights, _numbered("batch_normalization", i)) for i in range(11)]
        self._dense = [
            (self._tensor(weights, f"{name}/kernel").T.contiguous(), self._tensor(weights, f"{name}/bias"))
            for name in ("dense", "dense_1")
        ]

    def embed(self, pictures: Tensor) -> Tensor:
        """Return the layer ahead of the tags.

        Args:
            pictures: shape (n, frames, 96), log10(1 + 10,000 x) of mel power.

        Returns:
            Shape (n, 200).
        """
        front = self._front(self._norm(pictures[:, None], 0))
        layers = [front]
        # Each of the middle's three layers looks at all channels of seven frames; the last two add to what they read.
        hidden = self._middle(front, 5)
        layers.append(hidden)
        for number in (6, 7):
            hidden = hidden + self._middle(hidden, number)
            layers.append(hidden)
        joined = torch.cat(layers, dim=1)
        pooled = torch.stack([joined.amax(dim=2), joined.mean(dim=2)], dim=2).flatten(1)
        hidden = functional.relu(functional.linear(self._norm(pooled, 9), *self._dense[0]))
        return self._norm(hidden, 10)

    def tags(self, embedding: Tensor) -> Tensor:
        """Return how likely each tag is, shape (n, 50), of what `embed` gave."""
        return torch.sigmoid(functional.linear(embedding, *self._dense[1]))

    def _front(self, x: Tensor) -> Tensor:
        """Return what the first filters find in each frame at the band where they find most, (n, 561, frames)."""
        padded = functional.pad(x, (0, 0, 3, 3))
        found = [self._convolve(padded, number) for number in _TIMBRAL]
        for number, length in _TEMPORAL.items():
            found.append(self._convolve(functional.pad(x, (0, 0, (length - 1) // 2, length // 2)), number))
        return torch.cat([maps.amax(dim=3) for maps in found], dim=1)

    def _middle(self, x: Tensor, number: int) -> Tensor:
        picture = functional.pad(x.transpose(1, 2)[:, None], (0, 0, 3, 3))
        return self._convolve(picture, number)[..., 0]

    def _convolve(self, x: Tensor, number: int) -> Tensor:
        maps = functional.relu(functional.conv2d(x, self._kernels[number], self._biases[number]))
        return self._norm(maps, number + 1)

    def _norm(self, x: Tensor, number: int) -> Tensor:
        scale, shift = (part.reshape([1, -1] + [1] * (x.ndim - 2)) for part in self._norms[number])
        return x * scale + shift

    @classmethod
    def _scale_and_shift(cls, weights: Mapping[str, npt.NDArray[np.float32]], name: str) -> tuple[Tensor, Tensor]:
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        gamma, beta, mean, variance = (cls._tensor(weights, f"{name}/{part}") for part in names)
        scale = gamma / torch.sqrt(variance + _EPSILON)
        return scale, beta - mean * scale

    @staticmethod
    def _tensor(weights: Mapping[str, npt.NDArray[np.float32]], name: str) -> Tensor:
        return torch.from_numpy(np.array(weights[name], dtype=np.float32))


def _numbered(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name
