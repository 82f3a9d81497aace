"""How much of a known KL does T find, as the latent grows: alone, and with the adaptive contrast of `kl: adaptive`?

    python -m benchmarks.contrast_toys

z = A x + s eps with A orthogonal and x, eps normal: each dimension of z is N(0, 1 + s^2) over all images and N(., s^2)
given one, and KL(q(z|x) || N(0, I)) is s^2 / 2 - log s nats per dimension. T is the perceptron of `avb_toys`, trained
by the package's own loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import click
import torch
from torch import Tensor

from audiotrans.model.avb_gtn import OTHER_SAMPLES
from audiotrans.model.losses import contrast
from benchmarks.avb_toys import Contrast, contrast_loss, descend

BATCH = 256
RATE = 2e-3
MANY = 8192


@dataclass(frozen=True)
class Found:
    """A KL in nats per dimension and what T makes of it.

    Attributes:
        exact: the KL.
        estimate: what the term says that the encoder would minimise.
        accuracy: share of the pairs that T takes for what they are.
    """

    exact: float
    estimate: float
    accuracy: float


@dataclass(frozen=True)
class Problem:
    """The posterior of one latent size and spread."""

    mixing: Tensor
    spread: float
    adaptive: bool

    def draw(self, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return x, z, what T sees of z, and r's spread, ``(count, dimensions)`` each."""
        x = torch.randn(count, len(self.mixing))
        mean = x @ self.mixing
        z = mean + self.spread * torch.randn_like(mean)
        if not self.adaptive:
            return x, z, z, torch.ones_like(z)
        others = mean + self.spread * torch.randn(OTHER_SAMPLES, *mean.shape)
        # As `AVBGTN.moments` does: one spread for each image, over all that its draws hold.
        variance = others.var(0).mean(1, keepdim=True) * (1 + 1 / OTHER_SAMPLES)
        spread = variance.sqrt().expand_as(z)
        return x, z, (z - others.mean(0)) / spread, spread


def found_by(dimensions: int, spread: float, *, adaptive: bool, steps: int = 3000, seed: int = 0) -> Found:
    """Train T on one problem and read the KL term.

    Args:
        dimensions: of the latent.
        spread: s.
        adaptive: whether T compares with a Gaussian near q, and the known part is added.
        steps: of T.
        seed: of everything.
    """
    torch.manual_seed(seed)
    mixing, _ = torch.linalg.qr(torch.randn(dimensions, dimensions))
    problem, t = Problem(mixing, spread, adaptive), Contrast(dimensions, dimensions)
    adam = torch.optim.Adam(t.parameters(), RATE, betas=(0.5, 0.999), fused=True)
    for step in range(steps):
        adam.param_groups[0]["lr"] = RATE * min(1.0, 2 * (1 - step / steps))
        x, _, seen, _ = problem.draw(BATCH)
        descend(adam, contrast_loss(t(x, seen), t(x, torch.randn_like(seen))))
    with torch.no_grad():
        x, z, seen, width = problem.draw(MANY)
        posterior, prior = t(x, seen), t(x, torch.randn_like(seen))
        known = contrast(z, seen, width) if adaptive else z.new_zeros(())
        right = ((posterior > 0).double().mean() + (prior < 0).double().mean()) / 2
    exact = 0.5 * spread**2 - math.log(spread)
    return Found(exact, float(posterior.mean() / dimensions + known), float(right))


@click.command()
@click.option("--steps", default=3000, show_default=True)
def main(steps: int) -> None:
    """Print one Markdown table."""
    torch.set_num_threads(1)
    click.echo(
        "| dimensions, s | KL, nats per dimension | T alone: found, T's accuracy | adaptive: found, T's accuracy |"
    )
    click.echo("|---|---|---|---|")
    for dimensions in (4, 16, 64):
        for spread in (0.3, 0.05):
            plain, adaptive = (found_by(dimensions, spread, adaptive=flag, steps=steps) for flag in (False, True))
            cells = [f"{each.estimate:.2f}, {each.accuracy:.2f}" for each in (plain, adaptive)]
            click.echo(f"| {dimensions}, {spread} | {plain.exact:.2f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
