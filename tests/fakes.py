"""A recipe that trains in milliseconds, a prepared cache without sounds, and what training states have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiotrans.recipe import Recipe, recipe_from_dict, recipe_to_dict
from audiotrans.training.cache import packed, write_images, write_manifest

TINY: dict[str, Any] = {
    "imaging": {"sample_rate": 16_000, "n_fft": 256, "hop_length": 64, "rows": 32},
    "model": {"preset": "tiny", "width": 4, "discriminator_width": 4, "z_channels": 4, "residual": 0.5},
    "train": {
        "steps": 4, "crop_frames": 16, "batch_size": 2, "precision": "float32", "log_every": 1, "save_every": 2,
        "sample_every": 1, "gain_db": 6, "dither": 0.01,
    },
}  # fmt: skip

STEP_KEYS = {
    "generator/gan", "generator/vae_kl", "generator/vae_reconstruction", "generator/cycle_kl",
    "generator/cycle_reconstruction", "generator/identity", "generator/fine_structure",
    "generator/below_notes", "discriminator/image", "discriminator/latent", "health/z_std", "health/t_accuracy",
    "health/t_posterior", "health/t_prior", "health/d_real_a", "health/d_real_b", "health/d_fake_ab",
    "health/d_fake_ba", "health/generator_gradient", "health/discriminator_gradient",
}  # fmt: skip
"""What a step of AVB-GTN reports."""


def tiny_recipe(**parts: dict[str, Any]) -> Recipe:
    """Build the tiny recipe; each keyword changes keys of one part."""
    values = {name: TINY.get(name, {}) | parts.get(name, {}) for name in TINY.keys() | parts.keys()}
    return recipe_from_dict(values)


def fake_cache(root: Path, recipe: Recipe, *, frames: int = 40, offset: float = 0.0, valid: bool = True) -> Path:
    """Write a cache of two images per domain and split at the recipe's size, seeded noise around +-``offset``."""
    values, items = recipe_to_dict(recipe), []
    shape = (recipe.imaging.image_channels, recipe.imaging.image_rows, frames)
    places = [(d, s, i) for d in "ab" for s in (("train", "valid") if valid else ("train",)) for i in range(2)]
    for seed, (domain, split, index) in enumerate(places):
        name = f"images/{split}-{domain}-{index}.safetensors"
        save_image(root / name, image(shape, seed, -offset if domain == "a" else offset))
        items.append(
            {"domain": domain, "split": split, "recording": str(seed), "file": name, "index": 0, "frames": frames}
        )
    content = {"imaging": values["imaging"], "domains": values["domains"], "items": items, "skipped": []}
    write_manifest(root, content)
    return root


def save_image(path: Path, *images: Tensor) -> None:
    """Write a cache's file of images, ``(c, rows, frames)`` each: uint8, or in [-1, 1]."""
    write_images(path, [packed(values) for values in images])


def image(shape: tuple[int, ...], seed: int, centre: float = 0.0) -> Tensor:
    """Draw an image in [-1, 1]."""
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return (centre + 0.2 * noise).clamp(-1, 1)


def flat(state: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten nested dicts and lists of a checkpoint to name: value."""
    if isinstance(state, dict):
        return {k: v for key, value in state.items() for k, v in flat(value, f"{prefix}/{key}").items()}
    if isinstance(state, list | tuple):
        return flat(dict(enumerate(state)), prefix)
    return {prefix: state}


def assert_same(one: Any, other: Any) -> None:
    """Compare two nested states bit for bit."""
    one, other = flat(one), flat(other)
    assert one.keys() == other.keys()
    for name, value in one.items():
        same = torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
        assert same, name
