"""What is measured of a model on held-out images while it trains."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from audiotrans.evaluation.compare.referee import Referee, Trained, parts, share_of, train_referee
from audiotrans.evaluation.metrics.kernel import kernel_distance, median_bandwidth
from audiotrans.model.avb_gtn import AVBGTN, Domain
from audiotrans.training.datasets import ImageCache, stream

DRAWS = 8
"""Draws of the encoder's noise per image, for the moments of its posterior."""

TRIES = 20
"""Times that as many images are drawn as are asked for, to find that many different ones."""

DIRECTIONS: tuple[tuple[Domain, Domain], ...] = (("a", "b"), ("b", "a"))


class Measure(NamedTuple):
    """How a figure is called in tables, and which way is better (``higher``, ``lower`` or nothing)."""

    label: str
    better: str


MEASURES = {
    "accuracy_ab": Measure("taken for B, A to B", "higher"),
    "accuracy_ba": Measure("taken for A, B to A", "higher"),
    "distance_ab": Measure("kernel distance to B, A to B", "lower"),
    "distance_ba": Measure("kernel distance to A, B to A", "lower"),
    "imagenet_ab": Measure("ImageNet kernel distance to B, A to B", "lower"),
    "imagenet_ba": Measure("ImageNet kernel distance to A, B to A", "lower"),
    "reconstruction": Measure("reconstruction L1", "lower"),
    "cycle": Measure("cycle L1", "lower"),
    "content": Measure("content kept (gradient cosine)", "higher"),
    "draws": Measure("L1 between two draws of a translation", ""),
    "t_accuracy": Measure("T's accuracy", ""),
    "t_loss": Measure("T's loss (2 log 2: q is p)", ""),
    "t_nats": Measure("mean T on q, nats per dimension", ""),
    "moment_nats": Measure("KL of moments, nats per dimension", ""),
    "noise_share": Measure("variance of z by noise / by images", ""),
}
"""Figures of one examination, in the order of the tables."""


@dataclass(frozen=True)
class Exam:
    """Held-out images, the referee, and what the figures are to be read against.

    Attributes:
        images: by domain, ``(n, c, h, w)``.
        trained: the referee and its ceiling.
        bandwidth: of the kernel, by target domain.
        target: the referee's embedding of the real images, by domain.
        copy: kernel distance of the unchanged input, by ``ab`` and ``ba``.
        floor: kernel distance of other real images of the target, by ``ab`` and ``ba``.
        copy_accuracy: share of unchanged inputs that the referee takes for the target, by direction.
    """

    images: dict[str, Tensor]
    trained: Trained
    bandwidth: dict[str, float]
    target: dict[str, Tensor]
    copy: dict[str, float]
    floor: dict[str, float]
    copy_accuracy: dict[str, float]

    @property
    def referee(self) -> Referee:
        """The classifier."""
        return self.trained.referee


def set_exam(data: ImageCache, crop_frames: int, *, images: int = 128, steps: int = 600, seed: int = 0) -> Exam:
    """Choose the held-out images and train the referee.

    Args:
        data: the cache; its ``test`` split is used where there is one, else ``valid``.
        crop_frames: columns of the crops (sounds).
        images: of each domain.
        steps: of the referee's training.
        seed: of both.
    """
    split = "test" if data.has("test") else "valid"
    trained = train_referee(data, split, crop_frames, steps=steps, images=images, seed=seed)
    held_out = {d: different(data, d, split, images, crop_frames, seed) for d in "ab"}
    # The floor wants real images that are not the ones compared with: of the training split.
    others = {d: different(data, d, "train", images, crop_frames, seed + 1) for d in "ab"}
    return exam_of(trained.referee, held_out, others)


def different(data: ImageCache, domain: str, split: str, count: int, crop_frames: int, seed: int) -> Tensor:
    """Draw images none of which is another one: fewer than asked for where a cache has no more.

    Repeats would bring no knowledge, and a kernel distance takes them for a set that is denser than it is.
    """
    found: dict[bytes, Tensor] = {}
    for step in range(TRIES):
        for image in data.sample(domain, split, step, count, crop_frames, seed):
            found.setdefault(image.numpy().tobytes(), image)
        if len(found) >= count:
            break
    return torch.stack(list(found.values())[:count])


@torch.inference_mode()
def exam_of(referee: Referee, images: dict[str, Tensor], others: dict[str, Tensor]) -> Exam:
    """Set an examination by a referee that is trained already.

    Args:
        referee: in evaluation mode.
        images: held-out images by domain, ``(n, c, h, w)``.
        others: other real images by domain, for the floor.
    """
    target = {d: embedded(referee, x) for d, x in images.items()}
    other = {d: embedded(referee, x) for d, x in others.items()}
    width = {d: median_bandwidth(x.double().numpy()) for d, x in target.items()}
    return Exam(
        images=images,
        trained=Trained(referee, {d: share_of(referee, x, d) for d, x in images.items()}),
        bandwidth=width,
        target=target,
        copy={s + t: distance(target[t], target[s], width[t]) for s, t in DIRECTIONS},
        floor={s + t: distance(target[t], other[t], width[t]) for s, t in DIRECTIONS},
        copy_accuracy={s + t: share_of(referee, images[s], t) for s, t in DIRECTIONS},
    )


def embedded(referee: Referee, images: Tensor) -> Tensor:
    """Return the embedding of many images, in parts."""
    return torch.cat([referee.embed(part) for part in parts(images)])


def distance(reference: Tensor, estimate: Tensor, bandwidth: float) -> float:
    """Return the kernel distance of two sets of embeddings."""
    return kernel_distance(reference.double().numpy(), estimate.double().numpy(), bandwidth=bandwidth)


@torch.inference_mode()
def examine(model: AVBGTN, exam: Exam) -> dict[str, float]:
    """Measure a model.

    Args:
        model: in evaluation mode, on the CPU.
        exam: see `Exam`.

    Returns:
        The figures of `MEASURES` that need no discriminator.
    """
    found: dict[str, float] = {"reconstruction": 0.0, "cycle": 0.0, "content": 0.0}
    for source, target in DIRECTIONS:
        images, made = exam.images[source], []
        for x, y, noise in translations(model, images, source, target):
            made.append(y)
            share = len(x) / len(images) / 2
            found["reconstruction"] += share * float((model.translate(x, source, source, noise) - x).abs().mean())
            found["cycle"] += share * float((model.translate(y, target, source, noise) - x).abs().mean())
            found["content"] += share * content_kept(x, y)
        translated = torch.cat(made)
        found[f"accuracy_{source}{target}"] = share_of(exam.referee, translated, target)
        embedding = embedded(exam.referee, translated)
        found[f"distance_{source}{target}"] = distance(exam.target[target], embedding, exam.bandwidth[target])
    return found | posterior_moments(model, exam.images["a"][:16]) | {"draws": between_draws(model, exam)}


def translations(
    model: AVBGTN, images: Tensor, source: Domain, target: Domain
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield images in parts, each with its translation and the noise that made it: always the same."""
    for index, x in enumerate(parts(images, 16)):
        noise = torch.randn(model.noise_shape(x), generator=stream(0, "exam", source, index))
        yield x, model.translate(x, source, target, noise), noise


def content_kept(x: Tensor, y: Tensor) -> float:
    """Return the mean cosine between the gradients of inputs and outputs, -1 .. 1; 1 where all edges are kept.

    Gradients are taken of the mean over the channels, so that a change of colour alone changes them by little.
    """
    cosines = torch.nn.functional.cosine_similarity(_gradients(x), _gradients(y), dim=1)
    return float(cosines.mean())


def _gradients(images: Tensor) -> Tensor:
    grey = images.mean(1)
    return torch.cat([grey.diff(dim=1).flatten(1), grey.diff(dim=2).flatten(1)], 1)


@torch.inference_mode()
def between_draws(model: AVBGTN, exam: Exam, images: int = 16) -> float:
    """Return the mean L1 between two translations of one image with other noise, both directions.

    UNIT's noise is drawn as in training, though `AVBGTN.translate` leaves it out: the question is what the posterior
    can say.

    Args:
        model: in evaluation mode, on the CPU.
        exam: its first images of either domain are translated.
        images: how many.
    """
    found = 0.0
    for source, target in DIRECTIONS:
        x, generator = exam.images[source][:images], stream(0, "draws", source)
        one, other = (
            model.decode(model.sample(model.encode(x, source, model.noise(x, generator)), generator), target)
            for _ in range(2)
        )
        found += float((one - other).abs().mean()) / 2
    return found


def posterior_moments(model: AVBGTN, images: Tensor) -> dict[str, float]:
    """Measure q(z|x) by its moments.

    Args:
        model: see `examine`.
        images: of domain A.

    Returns:
        ``moment_nats``: KL of a Gaussian with each dimension's mean and variance to N(0, 1), averaged over dimensions:
        a lower bound of the true KL per dimension (the Gaussian has the largest entropy, the prior factorises), less
        an upward bias of about 1 / `DRAWS` that few draws bring. ``noise_share``: variance of z by the encoder's noise
        over its variance by images; 0: the noise is ignored.
    """
    generator = stream(0, "moments")
    draws = []
    for _ in range(DRAWS):
        noise = torch.randn(model.noise_shape(images), generator=generator)
        draws.append(model.sample(model.encode(images, "a", noise), generator))
    z = torch.stack(draws)  # draws, images, channels, rows, columns
    mean, variance = z.mean(0), z.var(0).clamp(min=1e-8)
    nats = 0.5 * (mean.square() + variance - 1 - variance.log())
    by_images = mean.var(0).mean()
    return {"moment_nats": float(nats.mean()), "noise_share": float(variance.mean() / by_images.clamp(min=1e-8))}


def latent_health(record: dict[str, float]) -> dict[str, float]:
    """Take T's figures out of a line of metrics.jsonl; nan where the model has no T."""
    names = {"t_accuracy": "health/t_accuracy", "t_loss": "discriminator/latent", "t_nats": "health/t_posterior"}
    has_latent = "health/t_accuracy" in record
    return {name: record.get(key, math.nan) if has_latent else math.nan for name, key in names.items()}
