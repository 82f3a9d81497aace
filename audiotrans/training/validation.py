"""Figures on held-out crops that tell whether a model gets better: none of them needs pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.model.extra_losses import fine_distance
from audiotrans.recipe import Recipe
from audiotrans.training.data import ImageCache, rumble_rows, stream, without_rumble

CROPS = 12


def validate(model: AVBGTN, data: ImageCache, recipe: Recipe, device: torch.device) -> dict[str, float]:
    """Measure a model on the same held-out crops every time, as it converts: rumble is hidden from it, and kept.

    Args:
        model: in evaluation mode, on ``device``.
        data: a cache with a ``valid`` split.
        recipe: for the crops' size and range.
        device: where to compute.

    Returns:
        ``valid/`` figures, lower is better: ``reconstruction`` and ``cycle`` (L1 in image units), ``fine`` (how far
        partials moved, see `extra_losses.fine_structure`), and ``statistics_ab`` / ``statistics_ba``: distance
        of the per-row mean, spread and change of translations to those of real images of the target, as a share of the
        input's own distance (1: no nearer than the input; 0: the same statistics). ``score``, which the best
        checkpoint is chosen by, is the mean of these two and ``fine`` added: the target's sound on the input's notes.
    """
    settings = recipe.train
    crops = {
        d: data.sample(d, "valid", 0, CROPS, settings.crop_frames, 0, match_range=settings.match_range).to(device)
        for d in "ab"
    }
    generator, rumble = stream(0, "validate"), rumble_rows(recipe)
    sums = {"reconstruction": 0.0, "cycle": 0.0, "fine": 0.0}
    made: dict[str, list[Tensor]] = {"a": [], "b": []}
    with torch.inference_mode():
        for index in range(CROPS):
            a, b = crops["a"][index : index + 1], crops["b"][index : index + 1]
            for x, source, target in ((a, "a", "b"), (b, "b", "a")):
                noise = torch.randn(model.noise_shape(x), generator=generator).to(device)
                seen = without_rumble(x, recipe)
                y = model.translate(seen, source, target, noise)  # type: ignore[arg-type]
                y[..., :rumble, :] = x[..., :rumble, :]
                again = without_rumble(y, recipe)
                made[target].append(y)
                sums["reconstruction"] += _l1(model.translate(seen, source, source, noise), x, rumble)  # type: ignore[arg-type]
                sums["cycle"] += _l1(model.translate(again, target, source, noise), x, rumble)  # type: ignore[arg-type]
                sums["fine"] += float(fine_distance(y, x))
    values = {f"valid/{name}": value / (2 * CROPS) for name, value in sums.items()}
    for source, target in ("ab", "ba"):
        now = _statistics_distance(torch.cat(made[target]), crops[target])
        before = _statistics_distance(crops[source], crops[target])
        values[f"valid/statistics_{source}{target}"] = now / max(before, 1e-6)  # both domains may be the same sounds
    statistics = values["valid/statistics_ab"] + values["valid/statistics_ba"]
    return values | {"valid/score": statistics / 2 + values["valid/fine"]}


def _l1(x: Tensor, y: Tensor, first_row: int = 0) -> float:
    return float((x - y)[..., first_row:, :].abs().mean())


def _statistics_distance(x: Tensor, y: Tensor) -> float:
    """Mean absolute difference of per-row means, spreads and frame-to-frame changes (decays, attacks, vibrato)."""
    return sum(_l1(p, q) for p, q in zip(_row_statistics(x), _row_statistics(y), strict=True))


def _row_statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    rows = x.permute(1, 2, 0, 3).flatten(2)
    change = (x[..., 4:] - x[..., :-4]).permute(1, 2, 0, 3).flatten(2)
    return rows.mean(-1), rows.std(-1), change.std(-1)
