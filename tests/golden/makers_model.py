"""Golden data of the model. Rank 4: what released weights depend on, as it is today."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.model.nets import net_settings

WAYS = ("aa", "ab", "ba")


def closed_form_model() -> AVBGTN:
    """Build a tiny model whose weights are cosines: the same on every machine and for every random generator."""
    net = AVBGTN(net_settings(preset="tiny", residual=0.5), 1).eval().requires_grad_(False)
    for number, (_, weight) in enumerate(sorted(net.state_dict().items())):
        inputs = max(weight[0].numel(), 1)
        wave = torch.cos(1.3 * torch.arange(weight.numel(), dtype=torch.float64) ** 1.5 + number)
        weight.copy_((wave * (2 / inputs) ** 0.5).reshape(weight.shape))
    return net


def closed_form_image() -> Tensor:
    """Return 32 rows and 61 frames of sines; 61 is not a multiple of the stride."""
    row, frame = torch.meshgrid(torch.arange(32.0), torch.arange(61.0), indexing="ij")
    return (0.8 * torch.sin(0.9 * row) * torch.cos(0.13 * frame))[None, None]


def model() -> dict[str, object]:
    """Take names and shapes of a released architecture, and what known weights make of a known image."""
    net, image = closed_form_model(), closed_form_image()
    made = {way: net.translate(image, way[0], way[1], image.flip(3))[0, 0, ::5, ::7].numpy() for way in WAYS}  # type: ignore[arg-type]
    released = AVBGTN(net_settings(preset="spectrogram"), 1).state_dict()
    return {
        "rank": 4,
        "source": "audiotrans itself, before the first release",
        "weights": [f"{name} {'x'.join(map(str, value.shape))}" for name, value in sorted(released.items())],
        **made,
    }


MAKERS: dict[str, Callable[[], dict[str, object]]] = {"model": model}
