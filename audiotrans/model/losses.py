"""The terms of AVB-GTN's objective, one function each, named after the paper's equations.

A term maps ``(Translation, DiscriminatorOutputs, LossSettings)`` to a scalar that is minimised; the training engine
adds them up, each with its weight from the recipe (the paper's lambdas). Logs of p_G are Laplace log-likelihoods: L1
distances. Terms that are not in the paper stand in `audiotrans.model.extra_losses`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from audiotrans.model.avb_gtn import DiscriminatorOutputs, LossSettings, Translation, whitened
from audiotrans.model.extra_losses import below_notes, feature_matching, fine_structure, identity, imitation, paired


def _mean(parts: list[Tensor]) -> Tensor:
    return torch.stack([part.float().mean() for part in parts]).mean()


def real_loss(logits: list[Tensor], gan: str) -> Tensor:
    """Return the loss of "this is real" over all scales: log D(x) of eqs. (4) and (5), negated."""
    forms: dict[str, Callable[[Tensor], Tensor]] = {
        "bce": lambda x: F.softplus(-x), "lsgan": lambda x: (x - 1).square(), "hinge": lambda x: F.relu(1 - x),
    }  # fmt: skip
    return _mean([forms[gan](x) for x in logits])


def fake_loss(logits: list[Tensor], gan: str) -> Tensor:
    """Return the loss of "this is made" over all scales: log(1 - D(G(z))) of eqs. (4) and (5), negated."""
    forms: dict[str, Callable[[Tensor], Tensor]] = {
        "bce": F.softplus, "lsgan": torch.square, "hinge": lambda x: F.relu(1 + x),
    }  # fmt: skip
    return _mean([forms[gan](x) for x in logits])


def _fooling(logits: list[Tensor], gan: str) -> Tensor:
    return _mean([-x for x in logits]) if gan == "hinge" else real_loss(logits, gan)


def gan(t: Translation, d: DiscriminatorOutputs, s: LossSettings) -> Tensor:
    """L_GAN1 + L_GAN2 as the generators see them, eqs. (4) and (5): translations that D classifies as real."""
    del t
    return _fooling(d.fake_ba, s.gan) + _fooling(d.fake_ab, s.gan)


def _kl_softplus(logits: Tensor, mean: Tensor, dimensions: int) -> Tensor:
    """-log(1 - sigma(T)): bounded below, does not saturate, within log 2 nats of the KL at the optimal T."""
    del mean
    return F.softplus(logits).mean() / dimensions


def _kl_linear(logits: Tensor, mean: Tensor, dimensions: int) -> Tensor:
    """+T, the term of AVB, eq. (8): the KL itself at the optimal T, unbounded before."""
    del mean
    return logits.mean() / dimensions


def _kl_paper(logits: Tensor, mean: Tensor, dimensions: int) -> Tensor:
    """Term log sigma(T) as printed in eqs. (10) - (13): at most log 2 of pull, vanishing where T is sure."""
    del mean, dimensions
    return F.logsigmoid(logits).mean()


def _kl_mu2(logits: Tensor, mean: Tensor, dimensions: int) -> Tensor:
    """mean(mu^2), UNIT's KL of a unit-variance Gaussian posterior, eqs. (2) and (3)."""
    del logits, dimensions
    return mean.square().mean()


def _kl_none(logits: Tensor, mean: Tensor, dimensions: int) -> Tensor:
    """No term: for comparison."""
    del logits, dimensions
    return mean.new_zeros(())


KL_TERMS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "softplus": _kl_softplus, "linear": _kl_linear, "paper": _kl_paper, "adaptive": _kl_linear, "mu2": _kl_mu2,
    "none": _kl_none,
}  # fmt: skip
"""KL(q || p) from T's logits (posterior pairs are the positive class), from the posterior's mean, in nats per latent
dimension (``paper``: per logit). ``adaptive``: KL(q || r) alone, to which `contrast` adds the rest."""


def contrast(z: Tensor, white: Tensor, spread: Tensor) -> Tensor:
    """E log r(z|x) - log p(z) for a Gaussian r near q, nats per dimension: what T need not learn (AVB, section 3.3).

    Args:
        z: samples of q, any shape.
        white: the same less r's mean, over r's spread.
        spread: of r; constant to the gradient, which so is the path's alone: it drives samples apart that are too
            close.
    """
    return (0.5 * (z.square() - white.square()) - spread.log()).mean()


def _kl(t: Translation, d: DiscriminatorOutputs, s: LossSettings) -> list[Tensor]:
    """KL terms of the pairs a, b, and, where something was translated back, ab, ba."""
    means = tuple(each for each in (t.mean_a, t.mean_b, t.mean_ab, t.mean_ba) if each is not None)
    logits = d.posterior or means  # terms without T do not read them
    term = KL_TERMS[s.kl]
    parts = [term(x, m.float(), d.dimensions) for x, m in zip(logits, means, strict=True)]
    if t.moments is not None:
        known = zip(means, whitened(t), t.moments, strict=True)
        parts = [part + contrast(z, white, r[1]) for part, (z, white, r) in zip(parts, known, strict=True)]
    return parts


def vae_kl(t: Translation, d: DiscriminatorOutputs, s: LossSettings) -> Tensor:
    """KL part of L_VAE1 + L_VAE2, eqs. (10) and (11): T on (x_a, z_a) and (x_b, z_b)."""
    a, b, *_ = _kl(t, d, s)
    return a + b


def vae_reconstruction(t: Translation, d: DiscriminatorOutputs, s: LossSettings) -> Tensor:
    """Likelihood part of L_VAE1 + L_VAE2, eqs. (10) and (11): L1 of the reconstructions."""
    del d, s
    return F.l1_loss(t.aa, t.a) + F.l1_loss(t.bb, t.b)


def cycle_kl(t: Translation, d: DiscriminatorOutputs, s: LossSettings) -> Tensor:
    """KL part of L_CC1 + L_CC2, eqs. (12) and (13): T on the direct and on the translated pairs."""
    a, b, ab, ba = _kl(t, d, s)
    return a + ab + b + ba


def cycle_reconstruction(t: Translation, d: DiscriminatorOutputs, s: LossSettings) -> Tensor:
    """Likelihood part of L_CC1 + L_CC2, eqs. (12) and (13): L1 of what came back, if anything did."""
    del d, s
    if t.aba is None or t.bab is None:
        return t.ab.new_zeros(())
    return F.l1_loss(t.aba, t.a) + F.l1_loss(t.bab, t.b)


def discriminator_image(t: Translation, d: DiscriminatorOutputs, s: LossSettings) -> Tensor:
    """L_GAN1 + L_GAN2 as D_A and D_B see them, eqs. (4) and (5), negated: real is real, translated is made."""
    del t
    real = real_loss(d.real_a or [], s.gan) + real_loss(d.real_b or [], s.gan)
    return real + fake_loss(d.fake_ba, s.gan) + fake_loss(d.fake_ab, s.gan)


def discriminator_latent(t: Translation, d: DiscriminatorOutputs, s: LossSettings) -> Tensor:
    """Eq. (9), negated: T tells (x, z ~ q) from (x, z ~ p), on real and on translated pairs."""
    del s
    if not d.posterior:
        return t.z_a.new_zeros(())
    return _mean([F.softplus(-x) for x in d.posterior]) + _mean([F.softplus(x) for x in d.prior])


Loss = Callable[[Translation, DiscriminatorOutputs, LossSettings], Tensor]

GENERATOR_LOSSES: dict[str, Loss] = {
    "gan": gan,
    "vae_kl": vae_kl,
    "vae_reconstruction": vae_reconstruction,
    "cycle_kl": cycle_kl,
    "cycle_reconstruction": cycle_reconstruction,
    "identity": identity,
    "imitation": imitation,
    "paired": paired,
    "feature_matching": feature_matching,
    "fine_structure": fine_structure,
    "below_notes": below_notes,
}

ADVERSARIAL = frozenset({"gan", "feature_matching", "vae_kl", "cycle_kl"})
"""Generator losses that read the discriminators: without them none need learn."""

CYCLES = frozenset({"cycle_kl", "cycle_reconstruction"})
"""Generator losses of what is translated back: without them, and without T, nothing is."""

DISCRIMINATOR_LOSSES: dict[str, Loss] = {
    "image": discriminator_image,
    "latent": discriminator_latent,
}
