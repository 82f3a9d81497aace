"""The evaluation set of a comparison, and what is measured of a model on it while it trains.

Held-out images of two domains; an attribute classifier that tells the domains apart and takes no part in training; and
what the metrics are to be read against.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiotrans.errors import AudiotransError
from audiotrans.evaluation.metrics.kernel import kernel_distance, median_bandwidth
from audiotrans.files import replacing
from audiotrans.model.avb_gtn import AVBGTN, Domain
from audiotrans.training.data import ImageCache, stream

METRICS = {
    "accuracy_ab": "classified as B, A to B",
    "accuracy_ba": "classified as A, B to A",
    "distance_ab": "kernel distance to B, A to B",
    "distance_ba": "kernel distance to A, B to A",
    "imagenet_ab": "ImageNet kernel distance to B, A to B",
    "imagenet_ba": "ImageNet kernel distance to A, B to A",
    "reconstruction": "reconstruction L1",
    "cycle": "cycle L1",
    "content": "content kept (gradient cosine)",
    "samples": "L1 between two samples of a translation",
    "t_accuracy": "T's accuracy",
    "t_loss": "T's loss (2 log 2: q is p)",
    "t_nats": "mean T on q, nats per dimension",
    "moment_nats": "KL of moments, nats per dimension",
    "noise_share": "variance of z by noise / by images",
}
"""Titles of what is measured, in the order of the tables."""

DIRECTIONS: tuple[tuple[Domain, Domain], ...] = (("a", "b"), ("b", "a"))

EMBEDDING = 64
"""Dimensions of the attribute classifier's embedding."""

TRAINING_BATCH = 16
"""The classifier's training images of each domain per step."""

NOISE_SAMPLES = 8
"""Samples of the encoder's noise per image, for the moments of its posterior."""

TRIES = 20
"""Times that as many images are sampled as are asked for, to find that many different ones."""

# Names of random streams: under others, the same comparison would give other numbers.
_NOISE, _CLASSIFIER, _SAMPLES, _MOMENTS = "exam", "referee", "draws", "moments"


class AttributeClassifier(nn.Module):
    """Classify images by domain: four strided convolutions with group norm, the mean over all positions, one logit.

    It is trained on real images alone, has another architecture than any discriminator here, and is never a loss. The
    features before its last layer are the embedding of the kernel distance.

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


def train_classifier(
    data: ImageCache, crop_frames: int, *, steps: int = 600, seed: int = 0, device: torch.device | str = "cpu"
) -> AttributeClassifier:
    """Train an attribute classifier on the training split.

    Args:
        data: the cache.
        crop_frames: columns of the crops (sounds).
        steps: of AdamW at 1e-3, falling to 0.
        seed: of weights, crops and augmentation.
        device: where to train.

    Returns:
        The classifier in evaluation mode.
    """
    photo = data.manifest["imaging"].get("type") == "photo"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = AttributeClassifier(data.image_size()[0], coordinate=not photo).to(device)
    adam = torch.optim.AdamW(classifier.parameters(), 1e-3, weight_decay=0.01)
    targets = torch.tensor([0.0, 1.0], device=device).repeat_interleave(TRAINING_BATCH)
    for step in range(steps):
        adam.param_groups[0]["lr"] = 1e-3 * (1 - step / steps)
        batch = torch.cat([data.sample(d, "train", step, TRAINING_BATCH, crop_frames, seed + 2**31) for d in "ab"])
        batch = augmented(batch, photo, stream(seed, _CLASSIFIER, step)).to(device)
        loss = F.binary_cross_entropy_with_logits(classifier(batch), targets)
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
    return classifier.eval().requires_grad_(False)


def augmented(images: Tensor, photo: bool, generator: torch.Generator) -> Tensor:
    """Change each image's brightness and contrast a little: neither exposure nor level shall be the cue.

    Hair colour is a matter of brightness too, so photos are changed by little.
    """
    amount = 0.1 if photo else 0.2
    changes = torch.rand(2, len(images), 1, 1, 1, generator=generator) * 2 - 1
    return images * (1 + amount * changes[0]) + amount * changes[1]


@torch.inference_mode()
def share_classified_as(classifier: AttributeClassifier, images: Tensor, domain: str) -> float:
    """Return the share of images that are classified as a domain."""
    logits = torch.cat([classifier(part) for part in torch.split(images, 64)])
    return float(((logits > 0) == (domain == "b")).float().mean())


def embedded(classifier: AttributeClassifier, images: Tensor) -> Tensor:
    """Return the classifier's embedding of many images, in parts: memory does not grow with their number."""
    return torch.cat([classifier.embed(part) for part in torch.split(images, 64)])


def distance(reference: Tensor, estimate: Tensor, bandwidth: float) -> float:
    """Return the kernel distance of two sets of embeddings."""
    return kernel_distance(reference.double().numpy(), estimate.double().numpy(), bandwidth=bandwidth)


@dataclass(frozen=True)
class EvaluationSet:
    """Held-out images, the attribute classifier, and what the metrics are to be read against.

    Attributes:
        images: by domain, ``(n, c, h, w)``.
        classifier: in evaluation mode.
        accuracy: of the classifier on these images, by domain: the ceiling of all accuracies.
        bandwidth: of the kernel, by target domain.
        target: the classifier's embedding of the real images, by domain.
        copy: kernel distance of the unchanged input, by ``ab`` and ``ba``.
        floor: kernel distance of other real images of the target, by ``ab`` and ``ba``.
        copy_accuracy: share of unchanged inputs that are classified as the target, by direction.
    """

    images: dict[str, Tensor]
    classifier: AttributeClassifier
    accuracy: dict[str, float]
    bandwidth: dict[str, float]
    target: dict[str, Tensor]
    copy: dict[str, float]
    floor: dict[str, float]
    copy_accuracy: dict[str, float]

    @classmethod
    def make(
        cls, data: ImageCache, crop_frames: int, *, images: int = 128, steps: int = 600, seed: int = 0
    ) -> EvaluationSet:
        """Choose the held-out images and train the classifier.

        Args:
            data: the cache; its ``test`` split is used where there is one, else ``valid``.
            crop_frames: columns of the crops (sounds).
            images: of each domain.
            steps: of the classifier's training.
            seed: of both.
        """
        split = "test" if data.has("test") else "valid"
        held_out = {d: different(data, d, split, images, crop_frames, seed) for d in "ab"}
        # The floor wants real images that are not the ones compared with: of the training split.
        others = {d: different(data, d, "train", images, crop_frames, seed + 1) for d in "ab"}
        return cls.of(train_classifier(data, crop_frames, steps=steps, seed=seed), held_out, others)

    @classmethod
    @torch.inference_mode()
    def of(cls, classifier: AttributeClassifier, images: dict[str, Tensor], others: dict[str, Tensor]) -> EvaluationSet:
        """Build an evaluation set around a classifier that is trained already.

        Args:
            classifier: in evaluation mode.
            images: held-out images by domain, ``(n, c, h, w)``.
            others: other real images by domain, for the floor.
        """
        target = {d: embedded(classifier, x) for d, x in images.items()}
        other = {d: embedded(classifier, x) for d, x in others.items()}
        width = {d: median_bandwidth(x.double().numpy()) for d, x in target.items()}
        return cls(
            images=images,
            classifier=classifier,
            accuracy={d: share_classified_as(classifier, x, d) for d, x in images.items()},
            bandwidth=width,
            target=target,
            copy={s + t: distance(target[t], target[s], width[t]) for s, t in DIRECTIONS},
            floor={s + t: distance(target[t], other[t], width[t]) for s, t in DIRECTIONS},
            copy_accuracy={s + t: share_classified_as(classifier, images[s], t) for s, t in DIRECTIONS},
        )

    @classmethod
    def load(cls, path: Path) -> EvaluationSet:
        """Read what `save` wrote.

        Raises:
            AudiotransError: if the file is broken.
        """
        try:
            values: dict[str, Any] = torch.load(path, weights_only=True)
            classifier = AttributeClassifier(values.pop("channels"), coordinate=values.pop("coordinate"))
            classifier.load_state_dict(values.pop("weights"))
            return cls(classifier=classifier.eval().requires_grad_(False), **values)
        except Exception as error:  # torch raises pickle, zip and runtime errors for broken files
            raise AudiotransError(
                f"{path} cannot be read ({type(error).__name__}): remove it to make another"
            ) from None

    def save(self, path: Path) -> None:
        """Write the set, so that every run and every later session is evaluated by the same classifier.

        Raises:
            AudiotransError: if it cannot be written.
        """
        values = {name: value for name, value in vars(self).items() if name != "classifier"} | {
            "channels": next(iter(self.images.values())).shape[1],
            "coordinate": self.classifier.coordinate,
            "weights": self.classifier.state_dict(),
        }
        with replacing(path) as partial:
            torch.save(values, partial)


def different(data: ImageCache, domain: str, split: str, count: int, crop_frames: int, seed: int) -> Tensor:
    """Sample images without repeats: fewer than asked for where a cache has no more.

    Repeats would bring no knowledge, and to a kernel distance they look like a set that is denser than it is.
    """
    found: dict[bytes, Tensor] = {}
    for step in range(TRIES):
        for image in data.sample(domain, split, step, count, crop_frames, seed):
            found.setdefault(image.numpy().tobytes(), image)
        if len(found) >= count:
            break
    return torch.stack(list(found.values())[:count])


@torch.inference_mode()
def evaluate_model(model: AVBGTN, held_out: EvaluationSet) -> dict[str, float]:
    """Measure a model.

    Args:
        model: in evaluation mode, on the CPU.
        held_out: the evaluation set.

    Returns:
        The values of `METRICS` that need neither a discriminator nor ImageNet's features.
    """
    found: dict[str, float] = {"reconstruction": 0.0, "cycle": 0.0, "content": 0.0}
    for source, target in DIRECTIONS:
        images, made = held_out.images[source], []
        for x, y, noise in translations(model, images, source, target):
            made.append(y)
            share = len(x) / len(images) / 2
            found["reconstruction"] += share * float((model.translate(x, source, source, noise) - x).abs().mean())
            found["cycle"] += share * float((model.translate(y, target, source, noise) - x).abs().mean())
            found["content"] += share * content_kept(x, y)
        translated = torch.cat(made)
        found[f"accuracy_{source}{target}"] = share_classified_as(held_out.classifier, translated, target)
        embedding = embedded(held_out.classifier, translated)
        found[f"distance_{source}{target}"] = distance(held_out.target[target], embedding, held_out.bandwidth[target])
    found |= posterior_moments(model, held_out.images["a"][:16])
    return found | {"samples": between_samples(model, held_out)}


def translations(
    model: AVBGTN, images: Tensor, source: Domain, target: Domain
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield images in parts, each with its translation and the noise that made it: always the same."""
    for index, x in enumerate(torch.split(images, 16)):
        noise = torch.randn(model.noise_shape(x), generator=stream(0, _NOISE, source, index))
        yield x, model.translate(x, source, target, noise), noise


def content_kept(x: Tensor, y: Tensor) -> float:
    """Return the mean cosine between the gradients of inputs and outputs, -1 .. 1; 1 where all edges are kept.

    Gradients are taken of the mean over the channels, so that a change of colour alone changes them by little.
    """
    return float(F.cosine_similarity(_gradients(x), _gradients(y), dim=1).mean())


def _gradients(images: Tensor) -> Tensor:
    grey = images.mean(1)
    return torch.cat([grey.diff(dim=1).flatten(1), grey.diff(dim=2).flatten(1)], 1)


@torch.inference_mode()
def between_samples(model: AVBGTN, held_out: EvaluationSet, images: int = 16) -> float:
    """Return the mean L1 between two translations of one image with other noise, both directions.

    UNIT's noise is sampled as in training, though `AVBGTN.translate` leaves it out: the question is what the posterior
    can say.

    Args:
        model: in evaluation mode, on the CPU.
        held_out: its first images of either domain are translated.
        images: how many.
    """
    found = 0.0
    for source, target in DIRECTIONS:
        x, generator = held_out.images[source][:images], stream(0, _SAMPLES, source)
        one, other = (
            model.decode(model.sample(model.encode(x, source, model.noise(x, generator)), generator), target)
            for _ in range(2)
        )
        found += float((one - other).abs().mean()) / 2
    return found


def posterior_moments(model: AVBGTN, images: Tensor) -> dict[str, float]:
    """Measure q(z|x) by its moments.

    Args:
        model: see `evaluate_model`.
        images: of domain A.

    Returns:
        ``moment_nats``: KL of a Gaussian with each dimension's mean and variance to N(0, 1), averaged over dimensions:
        a lower bound of the true KL per dimension (the Gaussian has the largest entropy, the prior factorises), less
        an upward bias of about 1 / `NOISE_SAMPLES` that few samples bring. ``noise_share``: variance of z by the
        encoder's noise over its variance by images; 0: the noise is ignored.
    """
    generator = stream(0, _MOMENTS)
    samples = []
    for _ in range(NOISE_SAMPLES):
        noise = torch.randn(model.noise_shape(images), generator=generator)
        samples.append(model.sample(model.encode(images, "a", noise), generator))
    z = torch.stack(samples)  # samples, images, channels, rows, columns
    mean, variance = z.mean(0), z.var(0).clamp(min=1e-8)
    nats = 0.5 * (mean.square() + variance - 1 - variance.log())
    by_images = mean.var(0).mean()
    return {"moment_nats": float(nats.mean()), "noise_share": float(variance.mean() / by_images.clamp(min=1e-8))}


def latent_health(record: dict[str, float]) -> dict[str, float]:
    """Take T's values out of a line of metrics.jsonl; nan where the model has no T."""
    names = {"t_accuracy": "health/t_accuracy", "t_loss": "discriminator/latent", "t_nats": "health/t_posterior"}
    has_latent = "health/t_accuracy" in record
    return {name: record.get(key, math.nan) if has_latent else math.nan for name, key in names.items()}
