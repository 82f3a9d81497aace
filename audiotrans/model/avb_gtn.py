"""AVB-GTN (Griffin, Kanawati and Zhang) and, with ``kl="mu2"``, its baseline UNIT (Liu, Breuel and Kautz 2017).

Two domains, A and B, share one latent space. Each has an encoder and a decoder whose innermost blocks are shared:

    z_a ~ q_A(z | x_a) = S_E(E_A(x_a, eps))        x_aa = G_A(S_D(z_a))      reconstruction
                                                   x_ab = G_B(S_D(z_a))      translation
    z_ab ~ q_B(z | x_ab)                           x_aba = G_A(S_D(z_ab))    cycle

AVB-GTN injects the noise eps into the encoder's *input*, so that q may take any shape, and a discriminator T(x, z)
stands in for the KL terms. UNIT adds the noise to the latent instead and has no T. Nothing else differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor, nn

from audiotrans.model.nets import (
    KL,
    ImageDiscriminators,
    LatentDiscriminator,
    NetSettings,
    decoder,
    encoder,
    iterate_spectral_norms,
    shared_decoder,
    shared_encoder,
    with_coordinate,
)

Domain = Literal["a", "b"]

OTHER_SAMPLES = 3
"""Samples of the encoder besides the one that is decoded, from which ``adaptive`` learns the posterior's moments."""

LEAST_SPREAD = 1e-2
"""Posteriors narrower than this are pushed apart no harder than at this spread."""


Generators = torch.Generator | Sequence[torch.Generator]
"""Source of noise: one of all images, or one of each."""


def normal(shape: Sequence[int], generator: Generators | None, device: torch.device) -> Tensor:
    """Sample N(0, I); with a generator of each image, an image's noise does not depend on the batch that it is in.

    Args:
        shape: images first; of several samples of each image, those of all images follow one another.
        generator: source.
        device: of the generator.
    """
    if generator is None or isinstance(generator, torch.Generator):
        return torch.randn(tuple(shape), generator=generator, device=device)
    samples = shape[0] // len(generator)
    parts = [torch.randn((samples, *shape[1:]), generator=each, device=device) for each in generator]
    return parts[0] if len(parts) == 1 else torch.stack(parts, 1).flatten(0, 1)


@dataclass(frozen=True)
class Translation:
    """All that one step makes of a batch of each domain; images ``(b, c, h, w)``, latents ``(b, z_channels, h', w')``.

    ``ab`` reads "from A to B". With a ``residual`` translations may leave [-1, 1] by a little: `AVBGTN.translate`
    clamps them, training does not, so that no gradient is lost there. `mean_*` are latents before UNIT's noise; in
    AVB-GTN they are the latents themselves. `moments` are those of `AVBGTN.moments`, of the posteriors of a, b, ab and
    ba: ``(4, 2, b, z_channels, h', w')``; only ``kl: adaptive`` has them. What is of the cycle, from `z_ab` on, is None
    where no loss asks for it. `wanted_ab` and `wanted_ba` are what a
    teacher makes of a and b, where there is one; `true_ab` and `true_ba` the same notes in the other domain, relative
    to the source's level, where the crops are pairs.
    """

    a: Tensor
    b: Tensor
    z_a: Tensor
    z_b: Tensor
    mean_a: Tensor
    mean_b: Tensor
    aa: Tensor
    bb: Tensor
    ab: Tensor
    ba: Tensor
    z_ab: Tensor | None = None
    z_ba: Tensor | None = None
    mean_ab: Tensor | None = None
    mean_ba: Tensor | None = None
    aba: Tensor | None = None
    bab: Tensor | None = None
    moments: Tensor | None = None
    wanted_ab: Tensor | None = None
    wanted_ba: Tensor | None = None
    true_ab: Tensor | None = None
    true_ba: Tensor | None = None

    def detached(self) -> Translation:
        """Return the same values without their history, for the discriminators' step."""
        tensors: dict[str, Tensor | None] = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: x.detach() for name, x in tensors.items() if x is not None})


class AVBGTN(nn.Module):
    """Encoders, decoders and their shared blocks: everything that the generator's optimiser moves.

    Args:
        settings: see `NetSettings`.
        image_channels: channels of the images of both domains.
    """

    def __init__(self, settings: NetSettings, image_channels: int) -> None:
        super().__init__()
        self.settings, self.image_channels = settings, image_channels
        self.encoders = nn.ModuleDict({domain: encoder(settings, image_channels) for domain in "ab"})
        self.decoders = nn.ModuleDict({domain: decoder(settings, image_channels) for domain in "ab"})
        self.shared_encoder = shared_encoder(settings)
        self.shared_decoder = shared_decoder(settings)

    @property
    def stride(self) -> tuple[int, int]:
        """Rows and frames of the image per latent position."""
        return self.settings.stride

    @property
    def local(self) -> bool:
        """Whether no statistic reaches across the image: tiles then agree exactly with the whole."""
        return self.settings.norm == "channel"

    @property
    def context_frames(self) -> int:
        """Frames on each side that an output frame may depend on (instance norm reaches further, and weakly)."""
        return self.stride[1] * (4 * (self.settings.blocks + 1) + 6)

    def noise_shape(self, image: Tensor) -> tuple[int, int, int, int]:
        """Return the shape of the noise that goes with ``image`` ``(b, c, h, w)``; 0 channels for UNIT."""
        return image.shape[0], self.settings.noise_channels, image.shape[2], image.shape[3]

    def noise(self, image: Tensor, generator: Generators | None = None) -> Tensor:
        """Sample eps ~ N(0, I) for ``image``."""
        return normal(self.noise_shape(image), generator, image.device)

    def encode(self, image: Tensor, domain: Domain, noise: Tensor) -> Tensor:
        """Return z (for UNIT: its mean) of images ``(b, c, h, w)`` whose sides are multiples of `stride`."""
        seen = torch.cat([with_coordinate(image, self.settings), noise], dim=1)
        z: Tensor = self.shared_encoder(self.encoders[domain](seen)).float()
        return z

    def decode(self, z: Tensor, domain: Domain) -> Tensor:
        """Return G(z), images ``(b, c, h, w)`` in (-1, 1)."""
        image: Tensor = self.decoders[domain](self.shared_decoder(z)).float()
        return image

    def sample(self, mean: Tensor, generator: Generators | None) -> Tensor:
        """Return z given the encoder's output: UNIT adds N(0, I) here, AVB-GTN has had its noise already."""
        if self.settings.kl != "mu2":
            return mean
        return mean + normal(mean.shape, generator, mean.device)

    @torch.no_grad()
    def moments(self, image: Tensor, domain: Domain, generator: Generators | None) -> Tensor:
        """Estimate mean and spread of q(z|x) from samples of its own: a Gaussian r(z|x) near it.

        The difference that is left between q and r is all that T has to learn: the adaptive contrast of Mescheder,
        Nowozin and Geiger (2017), section 3.3. The spread is one number per image and channel, so that few samples do;
        it counts in that the mean, too, is known from few.

        Args:
            image: ``(b, c, h, w)`` of the domain; sides multiples of `stride`.
            domain: ``a`` or ``b``.
            generator: source of the noise.

        Returns:
            ``(2, b, z_channels, h', w')``: mean and spread, without history.
        """
        many = image.detach().repeat(OTHER_SAMPLES, 1, 1, 1)
        z = self.encode(many, domain, self.noise(many, generator))
        z = z.reshape(OTHER_SAMPLES, len(image), *z.shape[1:])
        variance = z.var(0).mean((2, 3), keepdim=True) * (1 + 1 / OTHER_SAMPLES)
        spread = variance.sqrt().clamp(min=LEAST_SPREAD)
        return torch.stack([z.mean(0), spread.expand_as(z[0])])

    def translate(self, image: Tensor, source: Domain, target: Domain, noise: Tensor | None = None) -> Tensor:
        """Translate images of any size.

        Args:
            image: ``(b, c, h, w)`` in [-1, 1] of domain ``source``.
            source: ``a`` or ``b``.
            target: ``a`` or ``b``; the source itself gives its reconstruction.
            noise: ``noise_shape(image)``; zeros if None. UNIT's latent is its mean here, without noise.

        Returns:
            ``(b, c, h, w)`` in [-1, 1].
        """
        eps = image.new_zeros(self.noise_shape(image)) if noise is None else noise
        padded, eps = self._padded(image), self._padded(eps)
        z = self.encode(padded, source, eps)
        out = self.decode(z, target)
        if self.settings.residual and source != target:
            out = out + self.settings.residual * (padded - self.decode(z, source))
        return out[..., : image.shape[2], : image.shape[3]].clamp(-1, 1)

    def forward(
        self,
        a: Tensor,
        b: Tensor,
        generator: Generators | None = None,
        seen: Mapping[str, Tensor] | None = None,
        *,
        cycle: bool = True,
    ) -> Translation:
        """Reconstruct and translate one batch of each domain, and translate it back.

        Args:
            a: images of domain A, ``(n, c, h, w)``, sides multiples of `stride`.
            b: images of domain B, same shape.
            generator: source of all noise.
            seen: what the encoders see in place of ``a`` and ``b``, such as the same through another microphone; what
                the auto-encoder loses is still that of ``a`` and ``b``.
            cycle: translate back, which is half of the work.
        """
        of = {"a": a, "b": b, **(seen or {})}
        mean_a, mean_b = self._encode_both(of["a"], of["b"], self.noise(a, generator), self.noise(b, generator))
        z_a, z_b = self.sample(mean_a, generator), self.sample(mean_b, generator)
        deep = self.shared_decoder(torch.cat([z_a, z_b]))
        aa, G_A_of_b = self.decoders["a"](deep).float().chunk(2)
        G_B_of_a, bb = self.decoders["b"](deep).float().chunk(2)
        ab, ba = self._with_residual(G_B_of_a, a, aa), self._with_residual(G_A_of_b, b, bb)
        if not cycle:
            return Translation(a, b, z_a, z_b, mean_a, mean_b, aa, bb, ab, ba)

        noise_ab, noise_ba = self.noise(ab, generator), self.noise(ba, generator)
        mean_ba, mean_ab = self._encode_both(ba, ab, noise_ba, noise_ab)
        z_ab, z_ba = self.sample(mean_ab, generator), self.sample(mean_ba, generator)
        aba, bab = self._back(z_ab, z_ba, ab, ba)
        moments = None
        if self.settings.kl == "adaptive":
            encoded: tuple[tuple[Tensor, Domain], ...] = ((of["a"], "a"), (of["b"], "b"), (ab, "b"), (ba, "a"))
            moments = torch.stack([self.moments(x, domain, generator) for x, domain in encoded])
        return Translation(
            a, b, z_a, z_b, mean_a, mean_b, aa, bb, ab, ba, z_ab, z_ba, mean_ab, mean_ba, aba, bab, moments
        )

    def _with_residual(self, translated: Tensor, source: Tensor, reconstructed: Tensor) -> Tensor:
        """Take over what the auto-encoder lost of the source."""
        residual = self.settings.residual
        return translated + residual * (source - reconstructed) if residual else translated

    def _encode_both(self, a: Tensor, b: Tensor, noise_a: Tensor, noise_b: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `encode` does of images of A and of as many of B; the shared block has both at once."""
        seen = {"a": torch.cat([with_coordinate(a, self.settings), noise_a], dim=1)}
        seen["b"] = torch.cat([with_coordinate(b, self.settings), noise_b], dim=1)
        z_a, z_b = self.shared_encoder(torch.cat([self.encoders[d](seen[d]) for d in "ab"])).float().chunk(2)
        return z_a, z_b

    def _back(self, z_ab: Tensor, z_ba: Tensor, ab: Tensor, ba: Tensor) -> tuple[Tensor, Tensor]:
        """Translate the translations back."""
        deep = self.shared_decoder(torch.cat([z_ab, z_ba]))
        if not self.settings.residual:
            of_ab, of_ba = deep.chunk(2)
            return self.decoders["a"](of_ab).float(), self.decoders["b"](of_ba).float()
        aba, A_of_ba = self.decoders["a"](deep).float().chunk(2)
        B_of_ab, bab = self.decoders["b"](deep).float().chunk(2)
        return self._with_residual(aba, ab, B_of_ab), self._with_residual(bab, ba, A_of_ba)

    def _padded(self, x: Tensor) -> Tensor:
        """Repeat the last row and frame until both sides are multiples of the stride (and wide enough to reflect)."""
        rows, frames = self.stride
        # No negative numbers: where graphs divide them, they round towards zero.
        height = max((x.shape[2] + rows - 1) // rows, 2) * rows
        width = max((x.shape[3] + frames - 1) // frames, 4) * frames
        if (height, width) == tuple(x.shape[2:]) or not x.shape[1]:
            return x.new_zeros(*x.shape[:2], height, width) if not x.shape[1] else x
        return nn.functional.pad(x, (0, width - x.shape[3], 0, height - x.shape[2]), mode="replicate")


@dataclass(frozen=True)
class DiscriminatorOutputs:
    """Logits of the discriminators for a `Translation`; fields that were not asked for are None.

    Attributes:
        fake_ab: logits of D_B on translations, one map per scale.
        fake_ba: logits of D_A on translations.
        real_a: logits of D_A on real images.
        real_b: logits of D_B on real images.
        posterior: T's logits on (x, z ~ q), for the pairs a, b, ab, ba in this order; empty without T.
        prior: T's logits on (x, z ~ N(0, I)), same order.
        dimensions: latent dimensions that one logit of T compares.
        made_layers: what each layer of D_B gives for ab, then of D_A for ba, ``(n, channels, h', w')``; empty if not
            asked for.
        true_layers: the same for the true other sides of the pair, without history.
    """

    fake_ab: list[Tensor]
    fake_ba: list[Tensor]
    real_a: list[Tensor] | None = None
    real_b: list[Tensor] | None = None
    posterior: tuple[Tensor, ...] = ()
    prior: tuple[Tensor, ...] = ()
    dimensions: int = 1
    made_layers: tuple[Tensor, ...] = ()
    true_layers: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class LossSettings:
    """Which form the adversarial and the KL terms take.

    Attributes:
        gan: ``bce`` (eqs. 4 and 5; the generator's part non-saturating), ``lsgan`` or ``hinge``.
        kl: a name in `audiotrans.model.losses.KL_TERMS`.
    """

    gan: Literal["bce", "lsgan", "hinge"] = "hinge"
    kl: KL = "softplus"


def whitened(t: Translation) -> tuple[Tensor, ...]:
    """Return the latents of a, b, ab and ba as T sees them, whitened by their posteriors' moments, if there are any.

    Those of a and b alone, where nothing was translated back.
    """
    z = tuple(each for each in (t.z_a, t.z_b, t.z_ab, t.z_ba) if each is not None)
    if t.moments is None:
        return z
    return tuple((one - mean) / spread for one, (mean, spread) in zip(z, t.moments, strict=True))


class Discriminators(nn.Module):
    """D_A, D_B and, where the KL term needs it, T(x, z).

    T sees translated pairs (x_ab, z_ab), too: the cycle terms of eqs. (12) and (13) read it there.
    """

    def __init__(self, settings: NetSettings, image_channels: int) -> None:
        super().__init__()
        self.image = ImageDiscriminators(settings, image_channels)
        has_latent = settings.kl not in ("mu2", "none")
        self.latent = LatentDiscriminator(settings, image_channels) if has_latent else None

    def forward(
        self,
        t: Translation,
        *,
        training: bool,
        generator: Generators | None = None,
        shown: dict[str, Tensor] | None = None,
        image: bool = True,
        latent: bool = True,
        follow: bool = True,
        layers: bool = False,
    ) -> DiscriminatorOutputs:
        """Return the logits for a translation.

        Args:
            t: see `Translation`.
            training: the discriminators' own step: spectral norms follow the weights; real images and latents of the
                prior have logits, too.
            generator: source of the prior's samples.
            shown: images that D sees in place of the translation's own, by the names of `Translation`'s fields. Of a
                conditional D's, ``a`` and ``b`` are the true sides of pairs, made of what ``ba`` and ``ab`` were.
            image: ask D.
            latent: ask T, too, if there is one.
            follow: of several batches of one step the first alone lets spectral norms follow.
            layers: ask a conditional D for its layers, of translations and of the true sides; not in its own step.
        """
        if training and follow:
            iterate_spectral_norms(self)
        images = {"a": t.a, "b": t.b, "ab": t.ab, "ba": t.ba} | (shown or {})
        if image and self.image.settings.conditional_discriminator:
            sources = {"a": t.b, "b": t.a, "ab": t.a, "ba": t.b}
            images = {name: torch.cat([seen, sources[name]], 1) for name, seen in images.items()}
        if not image:
            found = DiscriminatorOutputs([], [])
        elif training:
            of, _ = self.image({d: torch.cat([images[d], images[made]]) for d, made in (("a", "ba"), ("b", "ab"))})
            (real_a, fake_ba), (real_b, fake_ab) = (_parted(of[d], len(images[d])) for d in "ab")
            found = DiscriminatorOutputs(fake_ab, fake_ba, real_a, real_b)
        else:
            of, made = self.image({"a": images["ba"], "b": images["ab"]})
            found = DiscriminatorOutputs(of["b"], of["a"])
            if layers:
                with torch.no_grad():
                    _, true = self.image({"a": images["a"], "b": images["b"]})
                made_layers, true_layers = (tuple(x["b"] + x["a"]) for x in (made, true))
                found = replace(found, made_layers=made_layers, true_layers=true_layers)
        if self.latent is None or not latent:
            return found
        z_a, z_b, z_ab, z_ba = whitened(t)
        latents = [torch.cat([z_a, z_ba, z_b, z_ab])]  # those of one domain's images beside each other
        if training:
            a, b, ab, ba = (normal(z_a.shape, generator, z_a.device) for _ in range(4))
            latents.append(torch.cat([a, ba, b, ab]))
        seen = {"a": torch.cat([t.a, t.ba]), "b": torch.cat([t.b, t.ab])}
        logits = [_by_pair(x) for x in self.latent(seen, *latents)]
        dimensions = self.latent.dimensions(t.z_a)
        return replace(found, posterior=logits[0], prior=logits[1] if training else (), dimensions=dimensions)


def _by_pair(logits: Tensor) -> tuple[Tensor, ...]:
    """Return T's logits of a, b, ab and ba from those of a, ba, b, ab."""
    a, ba, b, ab = logits.chunk(4)
    return a, b, ab, ba


def _parted(logits: list[Tensor], first: int) -> tuple[list[Tensor], list[Tensor]]:
    """Part a batch at every scale after so many images."""
    return [x[:first] for x in logits], [x[first:] for x in logits]
