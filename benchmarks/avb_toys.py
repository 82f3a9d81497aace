"""Problems so small that the right answer is known: does the adversarial KL of AVB-GTN find it?

Networks are small perceptrons, but the objective is the package's own: T is trained by `discriminator_latent` (eq. 9
of the
paper) and the encoder by the terms of `KL_TERMS`. Run as a program, it draws all of them into one figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import click
import numpy as np
import torch
from torch import Tensor, nn

from audiotrans.model.avb_gtn import LossSettings
from audiotrans.model.losses import KL_TERMS, discriminator_latent

ADVERSARIAL = ("linear", "softplus", "paper")


class Perceptron(nn.Sequential):
    """Two hidden layers; the last one starts at zero, as T's does in the package."""

    def __init__(self, inputs: int, outputs: int, width: int = 64, *, zero: bool = False) -> None:
        last = nn.Linear(width, outputs)
        if zero:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        super().__init__(nn.Linear(inputs, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2), last)


class Contrast(nn.Module):
    """T(x, z) on vectors; sees z's square besides, in which the log-ratio of two Gaussians is linear."""

    def __init__(self, x_size: int, z_size: int) -> None:
        super().__init__()
        self.net = Perceptron(x_size + 2 * z_size, 1, zero=True)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Return logits ``(n, 1)`` of ``x`` ``(n, x_size)`` and ``z`` ``(n, z_size)``."""
        logits: Tensor = self.net(torch.cat([x, z, z.square()], 1))
        return logits


def contrast_loss(posterior: Tensor, prior: Tensor) -> Tensor:
    """Return the package's own loss of T, eq. (9); 2 log 2 where it cannot tell the two apart."""
    verdict = SimpleNamespace(posterior=(posterior,), prior=(prior,))
    return discriminator_latent(cast("Any", None), cast("Any", verdict), LossSettings())


def kl_term(mode: str, logits: Tensor) -> Tensor:
    """Return the package's KL term of one latent dimension."""
    return KL_TERMS[mode](logits, logits, 1)


@dataclass
class Player:
    """An encoder ``(x, eps) -> z``, its T, and their optimisers; T moves twice a step and is four times as fast."""

    encoder: nn.Module
    contrast: Contrast
    eps_size: int
    rate: float = 1e-3

    def __post_init__(self) -> None:
        self.encoder_adam = torch.optim.Adam(self.encoder.parameters(), self.rate, betas=(0.5, 0.999), fused=True)
        self.contrast_adam = torch.optim.Adam(self.contrast.parameters(), 4 * self.rate, betas=(0.5, 0.999), fused=True)

    def draw(self, x: Tensor) -> Tensor:
        """Return one z for each row of ``x``."""
        z: Tensor = self.encoder(torch.cat([x, torch.randn(len(x), self.eps_size)], 1))
        return z

    def train(
        self, x_of: Callable[[], Tensor], mode: str, steps: int, nll: Callable[[Tensor, Tensor], Tensor]
    ) -> float:
        """Alternate the two players; rates fall to zero over the last half.

        The likelihood comes in over the first half: so the posterior starts as the prior, which reaches every mode.

        Args:
            x_of: draws a batch.
            mode: a name in `KL_TERMS` that reads T.
            steps: of the encoder.
            nll: mean negative log-likelihood of x given z.

        Returns:
            T's loss, averaged over the last twentieth of the steps.
        """
        losses = []
        for step in range(steps):
            factor = min(1.0, 2 * (1 - step / steps))
            for adam, rate in ((self.encoder_adam, self.rate), (self.contrast_adam, 4 * self.rate)):
                adam.param_groups[0]["lr"] = rate * factor
            for _ in range(2):
                x = x_of()
                z = self.draw(x).detach()
                loss = contrast_loss(self.contrast(x, z), self.contrast(x, torch.randn_like(z)))
                descend(self.contrast_adam, loss)
            losses.append(float(loss.detach()))
            x = x_of()
            z = self.draw(x)
            share = min(1.0, 2 * step / steps)
            descend(self.encoder_adam, kl_term(mode, self.contrast(x, z)) + share * nll(x, z))
        return float(np.mean(losses[-max(steps // 20, 1) :]))


def descend(adam: torch.optim.Optimizer, loss: Tensor) -> None:
    """Take one step."""
    adam.zero_grad(set_to_none=True)
    loss.backward()
    adam.step()


class Affine(nn.Module):
    """z = m + s eps: the posterior whose KL to N(0, 1) has a closed form."""

    def __init__(self, mean: float, spread: float) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(mean))
        self.log_spread = nn.Parameter(torch.tensor(math.log(spread)))

    def forward(self, x_eps: Tensor) -> Tensor:
        """Return z of ``(x, eps)`` in two columns; x is not looked at."""
        return self.mean + self.log_spread.exp() * x_eps[:, 1:]


def gaussian_kl(mean: float, spread: float) -> float:
    """Return KL(N(mean, spread^2) || N(0, 1)) in nats."""
    return 0.5 * (mean**2 + spread**2 - 1) - math.log(spread)


def gaussian_posterior(mode: str, steps: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """Start at N(2, 0.25) with nothing but the KL term: mean, spread and T's loss at the end (0, 1 and 2 log 2)."""
    torch.manual_seed(seed)
    encoder = Affine(2.0, 0.5)
    player = Player(encoder, Contrast(1, 1), eps_size=1, rate=5e-3)
    loss = player.train(lambda: torch.zeros(256, 1), mode, steps, lambda x, z: z.new_zeros(()))
    return float(encoder.mean.detach()), float(encoder.log_spread.exp().detach()), loss


def recovered_kl(mean: float, spread: float, steps: int = 1500, seed: int = 0) -> float:
    """Train T alone between N(mean, spread^2) and N(0, 1); return its mean on the former, an estimate of the KL."""
    torch.manual_seed(seed)
    contrast = Contrast(1, 1)
    adam = torch.optim.Adam(contrast.parameters(), 3e-3, fused=True)
    for step in range(steps):
        adam.param_groups[0]["lr"] = 3e-3 * min(1.0, 2 * (1 - step / steps))
        q, p = mean + spread * torch.randn(512, 1), torch.randn(512, 1)
        descend(adam, contrast_loss(contrast(q * 0, q), contrast(p * 0, p)))
    with torch.no_grad():
        q = mean + spread * torch.randn(20_000, 1)
        return float(contrast(q * 0, q).mean())


def step_with_optimal_contrast(mode: str, mean: float = 2.0, spread: float = 0.5, rate: float = 0.01) -> float:
    """Take one gradient step with T frozen at log q(z) / p(z); return the change of the true KL, below 0 if right."""
    torch.manual_seed(0)
    encoder = Affine(mean, spread)
    z = encoder(torch.randn(50_000, 2))
    optimum = -0.5 * ((z - mean) / spread) ** 2 - math.log(spread) + 0.5 * z**2
    kl_term(mode, optimum).backward()
    grads = [float(p.grad) for p in (encoder.mean, encoder.log_spread) if p.grad is not None]
    moved = gaussian_kl(mean - rate * grads[0], spread * math.exp(-rate * grads[1]))
    return moved - gaussian_kl(mean, spread)


# --- x = |z| + noise: two values of z explain every x --------------------------------------------------------------

FOLD_NOISE = 0.5


def folded_nll(x: Tensor, z: Tensor) -> Tensor:
    """Negative log-likelihood of x ~ N(|z|, 0.5^2), a decoder that is given."""
    return (0.5 * ((x - z.abs()) / FOLD_NOISE) ** 2).mean() + math.log(FOLD_NOISE * math.sqrt(2 * math.pi))


def folded_evidence(x: float) -> float:
    """Return log p(x) by quadrature: what no ELBO can exceed."""
    z = torch.linspace(-8, 8, 20_001, dtype=torch.float64)
    log_joint = -0.5 * z**2 - 0.5 * ((x - z.abs()) / FOLD_NOISE) ** 2
    constant = -math.log(2 * math.pi) - math.log(FOLD_NOISE)
    return float(torch.logsumexp(log_joint, 0) + math.log(float(z[1] - z[0]))) + constant


def histogram_kl(z: Tensor, bins: int = 60, reach: float = 4.0) -> float:
    """Estimate KL(q || N(0, 1)) from many samples ``(n,)`` without T."""
    counts = torch.histc(z, bins, -reach, reach)
    q = counts / counts.sum()
    edges = torch.linspace(-reach, reach, bins + 1)
    p = (torch.erf(edges / math.sqrt(2)).diff() / 2).clamp(min=1e-12)
    kept = q > 0
    return float((q[kept] * (q[kept] / p[kept]).log()).sum())


@dataclass(frozen=True)
class Folded:
    """What was found for one x of the folded problem.

    Attributes:
        samples: of the posterior, ``(n,)``.
        elbo: log-likelihood minus KL (by histogram), nats.
        evidence: the bound, nats.
        left: share of the samples below 0; a half in the true posterior.
    """

    samples: Tensor
    elbo: float
    evidence: float
    left: float


def folded_posterior(mode: str = "linear", x: float = 2.0, steps: int = 3000, seed: int = 0) -> Folded:
    """Let AVB's encoder find the two modes of p(z | x) for a given decoder."""
    torch.manual_seed(seed)
    player = Player(Perceptron(1 + 2, 1), Contrast(1, 1), eps_size=2)
    where = torch.full((256, 1), x)
    player.train(lambda: where, mode, steps, folded_nll)
    return _judge_folded(lambda many: player.draw(many), x)


def folded_gaussian(x: float = 2.0, steps: int = 800, seed: int = 0) -> Folded:
    """The best that a Gaussian posterior can do on the same problem, by its closed-form KL."""
    torch.manual_seed(seed)
    best: Folded | None = None
    for start in (-x, 0.1, x):
        encoder = Affine(start, 0.3)
        adam = torch.optim.Adam(encoder.parameters(), 1e-2, fused=True)
        for _ in range(steps):
            mean, log_spread = encoder.mean, encoder.log_spread
            z = encoder(torch.randn(256, 2))
            kl = 0.5 * (mean**2 + (2 * log_spread).exp() - 1) - log_spread
            descend(adam, kl + folded_nll(torch.full_like(z, x), z))
        found = _judge_folded(lambda many, e=encoder: e(torch.randn(len(many), 2)), x)
        best = found if best is None or found.elbo > best.elbo else best
    assert best is not None
    return best


@torch.no_grad()
def _judge_folded(draw: Callable[[Tensor], Tensor], x: float) -> Folded:
    many = torch.full((100_000, 1), x)
    z = draw(many)
    elbo = -float(folded_nll(many, z)) - histogram_kl(z[:, 0])
    return Folded(z[:, 0], elbo, folded_evidence(x), float((z < 0).float().mean()))


# --- AVB's example of four points ------------------------------------------------------------------------------------

LOG_4 = math.log(4)

INFORMED = 5.0
"""Weight of the likelihood: at 1, a posterior that ignores its point reaches the same ELBO, and nothing is learned."""


@dataclass(frozen=True)
class FourPoints:
    """What was learned of four equally likely points with a latent of two dimensions.

    Attributes:
        samples: ``(4, n, 2)``: z for each point.
        nll: mean negative log-likelihood of the right point, nats.
        kl: mean KL of the four posteriors to N(0, I), by histogram, nats; log 4 where they share the prior out.
        mixture: KL of the mixture of the four to N(0, I), by histogram; 0 where they fill it without gaps.
    """

    samples: Tensor
    nll: float
    kl: float
    mixture: float

    @property
    def elbo(self) -> float:
        """Evidence lower bound, nats; at most -log 4."""
        return -self.nll - self.kl


def four_points(mode: str | None = "linear", steps: int = 4000, seed: int = 0) -> FourPoints:
    """Learn encoder and decoder of four points; ``mode`` None is the Gaussian VAE with its closed-form KL."""
    torch.manual_seed(seed)
    points, decoder = torch.eye(4), Perceptron(2, 4)
    decoder_adam = torch.optim.Adam(decoder.parameters(), 1e-3, fused=True)
    encoder = Perceptron(4 + 8, 2) if mode else Perceptron(4, 4)
    player = Player(encoder, Contrast(4, 2), eps_size=8)

    def draw(x: Tensor) -> tuple[Tensor, Tensor]:
        if mode:
            return player.draw(x), x.new_zeros(())
        mean, log_spread = encoder(x).chunk(2, 1)
        kl = (0.5 * (mean**2 + (2 * log_spread).exp() - 1) - log_spread).sum(1).mean()
        return mean + log_spread.exp() * torch.randn_like(mean), kl

    for step in range(steps):
        for adam, rate in ((player.encoder_adam, 1e-3), (player.contrast_adam, 4e-3), (decoder_adam, 1e-3)):
            adam.param_groups[0]["lr"] = rate * min(1.0, 2 * (1 - step / steps))
        x = points[torch.randint(4, (256,))]
        if mode:
            for _ in range(2):
                z = draw(x)[0].detach()
                descend(
                    player.contrast_adam,
                    contrast_loss(player.contrast(x, z), player.contrast(x, torch.randn_like(z))),
                )
        z, kl = draw(x)
        if mode:
            kl = kl_term(mode, player.contrast(x, z))
        nll = nn.functional.cross_entropy(decoder(z), x.argmax(1))
        player.encoder_adam.zero_grad(set_to_none=True)
        decoder_adam.zero_grad(set_to_none=True)
        (kl + INFORMED * nll).backward()
        player.encoder_adam.step()
        decoder_adam.step()
    with torch.no_grad():
        n = 400_000
        samples = torch.stack([draw(point.expand(n, 4))[0] for point in points])
        truth = torch.arange(4).repeat_interleave(n)
        nll = nn.functional.cross_entropy(decoder(samples.reshape(-1, 2)), truth)
    kl = float(np.mean([_histogram_kl_2d(z) for z in samples]))
    return FourPoints(samples, float(nll), kl, _histogram_kl_2d(samples.reshape(-1, 2)))


def _histogram_kl_2d(z: Tensor, bins: int = 160, reach: float = 4.0) -> float:
    counts, _, _ = np.histogram2d(*z.numpy().T, bins=bins, range=[[-reach, reach]] * 2)
    edges = torch.linspace(-reach, reach, bins + 1)
    p = (torch.erf(edges / math.sqrt(2)).diff() / 2).numpy()
    q, prior = counts / counts.sum(), np.outer(p, p)
    kept = q > 0
    return float((q[kept] * np.log(q[kept] / np.maximum(prior[kept], 1e-12))).sum())


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("avb_toys.png"), show_default=True)
def main(output: Path) -> None:
    """Print every answer beside the right one and draw the posteriors."""
    torch.set_num_threads(1)
    click.echo("| problem | found | right |\n|---|---|---|")
    for mode in ADVERSARIAL:
        mean, spread, loss = gaussian_posterior(mode)
        click.echo(f"| N(2, .5^2) drawn to the prior, {mode}: mean, spread, T's loss | {mean:.3f}, {spread:.3f}, "
                   f"{loss:.3f} | 0, 1, {2 * math.log(2):.3f} |")  # fmt: skip
    for mean, spread in ((1.0, 1.0), (0.0, 0.5), (1.5, 0.7)):
        click.echo(f"| KL of N({mean:g}, {spread:g}^2) by T, nats | {recovered_kl(mean, spread):.3f} | "
                   f"{gaussian_kl(mean, spread):.3f} |")  # fmt: skip
    for mode in ADVERSARIAL:
        click.echo(
            f"| one step with the best T, {mode}: change of the KL | {step_with_optimal_contrast(mode):.5f} | < 0 |"
        )
    folded = {"Gaussian": folded_gaussian(), **{mode: folded_posterior(mode) for mode in ("linear", "softplus")}}
    for name, found in folded.items():
        click.echo(f"| x = \\|z\\| + noise, {name}: ELBO, share of z < 0 | {found.elbo:.3f}, {found.left:.2f} | "
                   f"{found.evidence:.3f}, 0.50 |")  # fmt: skip
    four = {"Gaussian VAE": four_points(None), "AVB, linear": four_points("linear")}
    for name, points in four.items():
        click.echo(f"| four points, {name}: ELBO, KL of the mixture | {points.elbo:.3f}, {points.mixture:.3f} | "
                   f"{-LOG_4:.3f}, 0 |")  # fmt: skip
    draw_figure(folded, four, output)
    click.echo(f"\n{output}")


def draw_figure(folded: dict[str, Folded], four: dict[str, FourPoints], output: Path) -> None:
    """Draw the posteriors of the folded problem and of the four points side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.2), layout="constrained")
    axes = figure.subplots(1, 1 + len(four))
    for name, found in folded.items():
        label = f"{name}: {found.elbo:.2f}"
        axes[0].hist(found.samples.numpy(), 120, range=(-3, 3), density=True, histtype="step", label=label)
    bound = folded["linear"].evidence
    axes[0].set(xlabel="z", ylabel="density", title=f"q(z | x = 2), x = |z| + noise; ELBO at most {bound:.2f}")
    axes[0].legend(title="ELBO, nats")
    for axis, (name, points) in zip(axes[1:], four.items(), strict=True):
        for index, z in enumerate(points.samples[:, :1500]):
            axis.scatter(*z.numpy().T, s=2, label=f"point {index + 1}")
        title = f"{name}: ELBO {points.elbo:.2f} (at most {-LOG_4:.2f})"
        axis.set(xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), aspect="equal", title=title, xlabel="z_1", ylabel="z_2")
    axes[-1].legend(markerscale=5)
    figure.savefig(output, dpi=110)


if __name__ == "__main__":
    main()
