"""The terms of AVB-GTN's objective, one function each, named after the paper's equations.

A generator term maps ``(Translation, Verdict, LossSettings)`` to a scalar that is minimised; the engine adds them up,
each with its weight from the recipe (the paper's lambdas). Logs of p_G are Laplace log-likelihoods: L1 distances.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from audiotrans.model.avb_gtn import KL, Translation, Verdict, whitened

FINE_ROWS = 21
"""Width of the moving mean that the fine-structure term takes for the spectral envelope, in rows."""


@dataclass(frozen=True)
class LossSettings:
    """Which form the adversarial and the KL terms take.

    Attributes:
        gan: ``bce`` (eqs. 4 and 5; the generator's part non-saturating), ``lsgan`` or ``hinge``.
        kl: a name in `KL_TERMS`.
    """

    gan: Literal["bce", "lsgan", "hinge"] = "hinge"
    kl: KL = "softplus"


SOUNDING = 0.5
"""Image units below a frame's loudest row at which a row still counts as sounding: 25 dB."""

FIRST_NOTE_ROW = 3
"""Rows below hold no notes: 65 Hz at the default STFT."""

RUMBLE_MARGIN = 0.1
"""Image units by which rows under the lowest note may rise: 5 dB."""


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


def gan(t: Translation, v: Verdict, s: LossSettings) -> Tensor:
    """L_GAN1 + L_GAN2 as the generators see them, eqs. (4) and (5): translations that D takes for real."""
    del t
    return _fooling(v.fake_ba, s.gan) + _fooling(v.fake_ab, s.gan)


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
        z: drawn from q, any shape.
        white: the same less r's mean, over r's spread.
        spread: of r; constant to the gradient, which so is the path's alone: it drives draws apart that lie too close.
    """
    return (0.5 * (z.square() - white.square()) - spread.log()).mean()


def _kl(t: Translation, v: Verdict, s: LossSettings) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """KL terms of the pairs a, b, ab, ba."""
    means = (t.mean_a, t.mean_b, t.mean_ab, t.mean_ba)
    logits = v.posterior or means  # terms without T do not read them
    term = KL_TERMS[s.kl]
    parts = [term(x, m.float(), v.dimensions) for x, m in zip(logits, means, strict=True)]
    if t.moments is not None:
        known = zip(means, whitened(t), t.moments, strict=True)
        parts = [part + contrast(z, white, r[1]) for part, (z, white, r) in zip(parts, known, strict=True)]
    a, b, ab, ba = parts
    return a, b, ab, ba


def vae_kl(t: Translation, v: Verdict, s: LossSettings) -> Tensor:
    """KL part of L_VAE1 + L_VAE2, eqs. (10) and (11): T on (x_a, z_a) and (x_b, z_b)."""
    a, b, _, _ = _kl(t, v, s)
    return a + b


def vae_reconstruction(t: Translation, v: Verdict, s: LossSettings) -> Tensor:
    """Likelihood part of L_VAE1 + L_VAE2, eqs. (10) and (11): L1 of the reconstructions."""
    del v, s
    return F.l1_loss(t.aa, t.a) + F.l1_loss(t.bb, t.b)


def cycle_kl(t: Translation, v: Verdict, s: LossSettings) -> Tensor:
    """KL part of L_CC1 + L_CC2, eqs. (12) and (13): T on the direct and on the translated pairs."""
    a, b, ab, ba = _kl(t, v, s)
    return a + ab + b + ba


def cycle_reconstruction(t: Translation, v: Verdict, s: LossSettings) -> Tensor:
    """Likelihood part of L_CC1 + L_CC2, eqs. (12) and (13): L1 of what came back."""
    del v, s
    return F.l1_loss(t.aba, t.a) + F.l1_loss(t.bab, t.b)


def identity(t: Translation, v: Verdict, s: LossSettings) -> Tensor:
    """L1 between translation and source: not in the paper; a warm-up that starts the translation at the identity."""
    del v, s
    return F.l1_loss(t.ab, t.a) + F.l1_loss(t.ba, t.b)


def imitation(t: Translation, v: Verdict, s: LossSettings) -> Tensor:
    """L1 between translation and what a teacher makes of the same source: not in the paper; 0 without a teacher."""
    del v, s
    if t.wanted_ab is None or t.wanted_ba is None:
        return t.ab.new_zeros(())
    return F.l1_loss(t.ab, t.wanted_ab) + F.l1_loss(t.ba, t.wanted_ba)


def fine_structure(t: Translation, v: Verdict, s: LossSettings) -> Tensor:
    """1 - cosine between the fine structures of translation and source, per frame: not in the paper.

    A transposition that the way back undoes is invisible to the cycle and the GAN terms. Partials that must stay on
    their rows are not free to move; the envelope (a moving mean over `FINE_ROWS` rows) and the level are.
    """
    del v, s
    return fine_distance(t.ab, t.a) + fine_distance(t.ba, t.b)


def below_notes(t: Translation, v: Verdict, s: LossSettings) -> Tensor:
    """New energy under the source's lowest sounding row, per frame: not in the paper; for log images of sounds.

    Where the target domain plays lower notes than the source, D asks for them. No note can be made there, and what the
    gain lifts instead is noise: rumble. Energy up to `RUMBLE_MARGIN` above the source's own is free (knocks, breath).
    """
    del v, s
    return _raised_below(t.ab, t.a) + _raised_below(t.ba, t.b)


def _raised_below(made: Tensor, source: Tensor) -> Tensor:
    level = source.detach().mean(1, keepdim=True)
    sounding = level >= level.amax(2, keepdim=True) - SOUNDING
    sounding[:, :, :FIRST_NOTE_ROW] = False  # always rumble
    # A partial is spread over its neighbours by the window: two rows under the first sounding one still belong to it.
    first = sounding.float().argmax(2, keepdim=True) - 2
    rows = torch.arange(source.shape[2], device=source.device)[None, None, :, None]
    below = ((rows < first) | (rows < FIRST_NOTE_ROW)).float()
    raised: Tensor = (F.relu(made - source - RUMBLE_MARGIN) * below).sum() / (below.sum() * source.shape[1] + 1)
    return raised


def fine_distance(made: Tensor, source: Tensor) -> Tensor:
    """Return 1 - cosine of two images' fine structures, 0 .. 2; frames count as far as ``source`` has structure."""
    u, w = _fine(made), _fine(source)
    norm = w.norm(dim=(1, 2))  # (batch, frames): flat frames hold no pitch and must not count
    cosine = (u * w).sum((1, 2)) / (u.norm(dim=(1, 2)) * norm + 1e-3)
    distance: Tensor = ((1 - cosine) * norm).sum() / (norm.sum() + 1e-6)
    return distance


def _fine(image: Tensor) -> Tensor:
    half = FINE_ROWS // 2
    padded = F.pad(image, (0, 0, half, half), mode="replicate")
    envelope: Tensor = F.avg_pool2d(padded, (FINE_ROWS, 1), 1)
    return image - envelope


def discriminator_image(t: Translation, v: Verdict, s: LossSettings) -> Tensor:
    """L_GAN1 + L_GAN2 as D_A and D_B see them, eqs. (4) and (5), negated: real is real, translated is made."""
    del t
    real = real_loss(v.real_a or [], s.gan) + real_loss(v.real_b or [], s.gan)
    return real + fake_loss(v.fake_ba, s.gan) + fake_loss(v.fake_ab, s.gan)


def discriminator_latent(t: Translation, v: Verdict, s: LossSettings) -> Tensor:
    """Eq. (9), negated: T tells (x, z ~ q) from (x, z ~ p), on real and on translated pairs."""
    del s
    if not v.posterior:
        return t.z_a.new_zeros(())
    return _mean([F.softplus(-x) for x in v.posterior]) + _mean([F.softplus(x) for x in v.prior])


Loss = Callable[[Translation, Verdict, LossSettings], Tensor]

GENERATOR_LOSSES: dict[str, Loss] = {
    "gan": gan,
    "vae_kl": vae_kl,
    "vae_reconstruction": vae_reconstruction,
    "cycle_kl": cycle_kl,
    "cycle_reconstruction": cycle_reconstruction,
    "identity": identity,
    "imitation": imitation,
    "fine_structure": fine_structure,
    "below_notes": below_notes,
}

JUDGED = frozenset({"gan", "vae_kl", "cycle_kl"})
"""Generator losses that read what the discriminators say: without them these need not learn."""

DISCRIMINATOR_LOSSES: dict[str, Loss] = {
    "image": discriminator_image,
    "latent": discriminator_latent,
}
