"""The blocks of AVB-GTN: encoder, decoder, image discriminators and the latent discriminator T(x, z).

All of them map images or feature maps ``(batch, channel, height, width)``. Sizes are given by `NetSettings`; presets
are rows of one table. Architecture of UNIT after Liu, Breuel and Kautz (2017), of T after Mescheder, Nowozin and Geiger
(2017), made convolutional. At the end stand the enlarging convolutions that decoders use, computed before the image is
enlarged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d, pixel_shuffle
from torch.nn.utils.parametrize import register_parametrization

from audiotrans.errors import lookup

Pair = tuple[int, int]

KL = Literal["softplus", "linear", "paper", "adaptive", "mu2", "none"]

_LEAST = {
    "width": 1, "discriminator_width": 1, "blocks": 0, "z_channels": 0, "noise_channels": 0, "discriminator_scales": 0,
    "ignored_rows": 0, "downs": 0,
}  # fmt: skip

_MOST = {
    "width": 4096, "discriminator_width": 4096, "blocks": 100, "downs": 8, "z_channels": 65_536,
    "noise_channels": 65_536, "discriminator_scales": 8,
}  # fmt: skip
"""Far more than any machine trains: what a damaged file says must not be built."""


@dataclass(frozen=True)
class NetSettings:
    """One architecture. A recipe names a preset and its changes to it (`with_preset`).

    Attributes:
        preset: name in `PRESETS` of the architecture that this one began as.
        kl: the term that draws q(z|x) to the prior, see `audiotrans.model.losses.KL_TERMS`; ``mu2`` makes it UNIT,
            whose encoders take no noise.
        residual: share of what the auto-encoder loses of an image that its translation takes over from it, 0 .. 1:
            ``x_ab = G_B(z_a) + residual * (x_a - G_A(z_a))``. 0 is the paper's form.
        width: channels after the stem; each further stage doubles them.
        stem_kernel: kernel of the first convolution (rows, frames).
        stem_stride: its stride: how early rows and frames are folded.
        downs: stride-2 stages after the stem.
        down_kernel: their kernel.
        blocks: private residual blocks per encoder and per decoder.
        z_channels: channels of the latent; 0 keeps the width of the residual blocks, without 1 x 1 convolutions.
        noise_channels: noise channels beside the encoder's input; z_channels / 16 at least, or q(z|x) is singular.
        norm: ``instance`` (statistics over the image) or ``channel`` (per position: independent of the image's size).
        norm_eps: added to variances.
        up: ``resize`` (nearest + 5 x 5), ``transpose`` (3 x 3, UNIT's own).
        padding: padding mode of every convolution of the generator; a folded stem needs ``zeros``.
        slope: of the leaky rectifiers outside residual blocks.
        down_norm: whether stride-2 stages are normalised and rectified (UNIT's own are leaky, without norm).
        coordinate: append a channel of row coordinates, -1 .. 1, to what encoders and discriminators see.
        discriminator_width: channels after the first layer of discriminators and T.
        discriminator_scales: image discriminators, each on an image of half the size; 0 selects UNIT's own deep one.
        conditional_discriminator: image discriminators see the source beside each image, and so learn from pairs alone
            (Isola et al. 2017): that it sounds like a piano is not enough, these notes must sound like one.
        discriminator_norm: ``spectral`` (also in T), ``instance`` (between a discriminator's layers), ``both`` or
            ``none``.
        image_mean: mean of typical images; discriminators see images standardised by it and by `image_std`.
        image_std: standard deviation of typical images.
        ignored_rows: first rows of an image that discriminators do not see. In sounds, 3 rows are 0 to 60 Hz: rumble of
            rooms and microphones, which tells recordings apart and not instruments, and a piano's lowest octave.
        latent_discriminator: ``local`` (one logit per latent position), ``patch`` or ``global`` (one per image).
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # misspelt keys of a recipe are refused

    preset: str = "base"
    kl: KL = "softplus"
    residual: float = 0.0
    width: int = 64
    stem_kernel: Pair = (7, 7)
    stem_stride: Pair = (1, 1)
    downs: int = 2
    down_kernel: int = 4
    blocks: int = 3
    z_channels: int = 64
    noise_channels: int = 4
    norm: Literal["instance", "channel"] = "instance"
    norm_eps: float = 1e-5
    up: Literal["resize", "transpose"] = "resize"
    padding: Literal["reflect", "zeros"] = "reflect"
    slope: float = 0.2
    down_norm: bool = True
    coordinate: bool = False
    discriminator_width: int = 64
    discriminator_scales: int = 2
    conditional_discriminator: bool = False
    discriminator_norm: Literal["spectral", "instance", "both", "none"] = "spectral"
    image_mean: float = 0.0
    image_std: float = 1.0
    ignored_rows: int = 0
    latent_discriminator: Literal["local", "patch", "global"] = "local"

    def __post_init__(self) -> None:
        if self.kl == "mu2":
            object.__setattr__(self, "noise_channels", 0)
        self._check_ranges()
        if self.stem_stride != (1, 1) and self.padding != "zeros":
            raise ValueError(f"stem_stride {self.stem_stride} needs the padding zeros, not {self.padding}")
        if self.kl not in ("mu2", "none") and not self.noise_channels:
            raise ValueError(f"kl {self.kl} needs noise in the encoder's input: set noise_channels, or kl mu2 (UNIT)")

    def _check_ranges(self) -> None:
        if not 0 <= self.residual <= 1:
            raise ValueError(f"residual {self.residual} must lie in 0..1")
        for limits, sign, word in ((_LEAST, 1, "more"), (_MOST, -1, "less")):
            for name, limit in limits.items():
                if sign * getattr(self, name) < sign * limit:
                    raise ValueError(f"{name} {getattr(self, name)} must be {limit} or {word}")
        if min(self.down_kernel, *self.stem_kernel, *self.stem_stride) < 1:
            raise ValueError("stem_kernel, stem_stride and down_kernel must be 1 or more")
        if not 0 < self.norm_eps < 1:
            raise ValueError(f"norm_eps {self.norm_eps} must lie between 0 and 1")
        if self.image_std <= 0:
            raise ValueError(f"image_std {self.image_std} must be above 0")

    @property
    def deep(self) -> int:
        """Channels of the residual blocks."""
        return self.width << self.downs

    @property
    def latent(self) -> int:
        """Channels of z."""
        return self.z_channels or self.deep

    @property
    def stride(self) -> Pair:
        """Rows and frames per latent position."""
        return self.stem_stride[0] << self.downs, self.stem_stride[1] << self.downs


PRESETS: dict[str, NetSettings] = {
    "base": NetSettings(),
    "light": NetSettings("light", width=32, z_channels=32, noise_channels=2, discriminator_width=32),
    "unit-exact": NetSettings(
        "unit-exact", kl="mu2", down_kernel=3, z_channels=0, up="transpose", padding="zeros", slope=0.01,
        down_norm=False, discriminator_scales=0, discriminator_norm="none",
    ),
    "spectrogram": NetSettings(
        "spectrogram", width=48, stem_kernel=(8, 6), stem_stride=(4, 2), downs=1, z_channels=32, noise_channels=2,
        norm="channel", padding="zeros", coordinate=True, discriminator_width=32, discriminator_scales=3,
        discriminator_norm="both", image_mean=-0.5, image_std=0.35, ignored_rows=3,
    ),
    "tiny": NetSettings(
        "tiny", width=8, stem_kernel=(8, 6), stem_stride=(4, 2), downs=1, blocks=1, z_channels=8, noise_channels=1,
        norm="channel", padding="zeros", coordinate=True, discriminator_width=8, discriminator_scales=1,
        discriminator_norm="both", image_mean=-0.5, image_std=0.35,
    ),
}  # fmt: skip
"""Architectures by name. `base`, `light` and `unit-exact` are for photos; `spectrogram` folds four rows and two frames
in its first layer and normalises per position, so that a sound of any length is translated exactly in tiles."""

DEFAULT_PRESET = "spectrogram"

_OBJECTIVE = ("preset", "kl", "residual")
_OF_PRESETS = frozenset(
    {"stem_kernel", "stem_stride", "downs", "down_kernel", "norm", "up", "padding", "slope", "down_norm"}
)
"""What a preset alone decides."""


def net_settings(preset: str = DEFAULT_PRESET, **changes: Any) -> NetSettings:
    """Return a preset's architecture with changes; None keeps the preset's value.

    Raises:
        UsageError: for an unknown preset.
        ValueError: for values that make no sense.
    """
    changed = {name: value for name, value in changes.items() if value is not None}
    return NetSettings(**layers(lookup(PRESETS, preset, "model preset")) | {"preset": preset} | changed)


def layers(settings: NetSettings) -> dict[str, Any]:
    """Return what decides the layers alone, as plain values: without ``preset``, ``kl`` and ``residual``."""
    return {name: value for name, value in asdict(settings).items() if name not in _OBJECTIVE}


def with_preset(model: Any) -> Any:
    """Fill in what a recipe's ``model`` leaves to its preset: a key that it lacks, or that is null.

    Args:
        model: plain values of the recipe; anything else is returned as it is.

    Raises:
        UsageError: for an unknown preset.
        ValueError: for a key that is the preset's to decide.
    """
    if not isinstance(model, Mapping):
        return model
    fixed = sorted(_OF_PRESETS & set(model))
    if fixed:
        raise ValueError(f"{fixed[0]} is decided by the preset: choose among {', '.join(PRESETS)}")
    known_names = {field.name for field in fields(NetSettings)}
    values = {name: value for name, value in model.items() if value is not None or name not in known_names}
    preset = values.setdefault("preset", DEFAULT_PRESET)
    known = layers(lookup(PRESETS, preset, "model preset")) if isinstance(preset, str) else {}
    return known | values


def as_recipe(settings: NetSettings) -> dict[str, Any]:
    """Return the ``model`` of a recipe that `with_preset` fills in to these settings; null: as the preset has it."""
    known = layers(PRESETS[settings.preset]) | ({"noise_channels": 0} if settings.kl == "mu2" else {})
    values = {name: value for name, value in asdict(settings).items() if name not in _OF_PRESETS}
    return {name: None if value == known.get(name) else value for name, value in values.items()}


class _Affine(nn.Module):
    """One scale and one shift per channel, for a norm."""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps


class ChannelNorm(_Affine):
    """Layer norm over the channels of each position: no statistic reaches across the image."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(b, c, h, w)``."""
        last = x.permute(0, 2, 3, 1)  # a view without copying in channels_last memory
        out = nn.functional.layer_norm(last, last.shape[-1:], self.weight, self.bias, self.eps)
        return out.permute(0, 3, 1, 2)


class ImageLayerNorm(_Affine):
    """Layer norm over a whole sample with one scale and shift per channel: keeps relative channel levels."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(b, c, h, w)``."""
        return nn.functional.group_norm(x, 1, self.weight, self.bias, self.eps)


class DiscriminatorNorm(nn.Module):
    """Instance norm that leaves maps of one position, of very short images, as they are."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(b, c, h, w)``."""
        if x.shape[2] * x.shape[3] == 1:
            return x
        if x.device.type == "cpu" and x.is_contiguous(memory_format=torch.channels_last):
            by_position = x.permute(0, 2, 3, 1)
            normalised: Tensor = _PositionNorm.apply(by_position.flatten(1, 2))  # type: ignore[no-untyped-call]
            return normalised.view(by_position.shape).permute(0, 3, 1, 2)
        return nn.functional.instance_norm(x)


class _PositionNorm(torch.autograd.Function):
    """Instance norm of ``(b, positions, c)``: what channels_last memory is, whose convolutions take half the time.

    torch's own norms over an image rearrange that memory, or walk through it, and lose on a CPU what those save.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        wide = x.float()
        mean = wide.mean(1, keepdim=True)
        centred = wide - mean if wide is x else wide.sub_(mean)
        scale = centred.square().mean(1, keepdim=True).add_(1e-5).rsqrt_()
        y = centred.mul_(scale).to(x.dtype)
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        y, scale = ctx.saved_tensors
        wide, out = gradient.float(), y.float()
        along = (wide * out).mean(1, keepdim=True)
        mean = wide.mean(1, keepdim=True)
        rest = (wide - mean if wide is gradient else wide.sub_(mean)).addcmul_(out, along, value=-1)
        return rest.mul_(scale).to(gradient.dtype)


class SpectralNorm(nn.Module):
    """A weight divided by its largest singular value, which a power iteration follows from step to step.

    Its buffers are named as those of torch's own parametrisation. Unlike there, asking for the weight changes nothing:
    `iterate` is called once for each step of the weight's optimiser, not once for each batch that a layer sees; one
    iteration for each step is enough (Miyato et al. 2018, section 2.1). In float32 whatever autocast says.

    Args:
        weight: as the layer starts, ``(out, ...)``.
    """

    _u: Tensor
    _v: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rows = weight.detach().flatten(1)
        self.register_buffer("_u", nn.functional.normalize(torch.randn(rows.shape[0]), dim=0))
        self.register_buffer("_v", nn.functional.normalize(torch.randn(rows.shape[1]), dim=0))
        self.iterate(weight, 15)

    @torch.no_grad()
    def iterate(self, weight: Tensor, times: int = 1) -> None:
        """Bring the singular vectors nearer to those of a weight."""
        u, v = self._u, self._v.view(weight.shape[1:]).permute(1, 2, 0).flatten()
        with torch.autocast(weight.device.type, enabled=False):
            rows = _by_position(weight).flatten(1)
            for _ in range(times):
                u = nn.functional.normalize(rows @ v, dim=0)
                v = nn.functional.normalize(u @ rows, dim=0)
        self._u.copy_(u)
        self._v.copy_(v.view(_by_position(weight).shape[1:]).permute(2, 0, 1).flatten())

    def forward(self, weight: Tensor) -> Tensor:
        """Return the normalised weight."""
        # Copies: the buffers change before the gradient of an earlier pass may be asked for.
        v = self._v.view(weight.shape[1:]).permute(1, 2, 0).flatten().clone()
        normalised: Tensor = _Normalised.apply(weight, self._u.clone(), v)  # type: ignore[no-untyped-call]
        return normalised


def _by_position(weight: Tensor) -> Tensor:
    """Return a kernel as ``(out, rows, frames, in)``: as channels_last memory has it."""
    return weight.permute(0, 2, 3, 1)


class _Normalised(torch.autograd.Function):
    """``W / (u W v)``; its gradient, ``(g - <g, W / s> u v') / s``, in three passes over W, not autograd's nine."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, u: Tensor, v: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            scale = 1 / (u @ (_by_position(weight).flatten(1) @ v))
            out = weight * scale
        ctx.save_for_backward(out, u, v, scale)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        out, u, v, scale = ctx.saved_tensors
        along = (gradient * out).sum()
        rows = _by_position(gradient)
        found = torch.addr(rows.flatten(1), u * -along, v).mul_(scale).view(rows.shape)
        return found.permute(0, 3, 1, 2), None, None


def _norm(s: NetSettings, channels: int) -> nn.Module:
    if s.norm == "channel":
        return ChannelNorm(channels, s.norm_eps)
    return nn.InstanceNorm2d(channels, s.norm_eps)


def _up_norm(s: NetSettings, channels: int) -> nn.Module:
    return ChannelNorm(channels, s.norm_eps) if s.norm == "channel" else ImageLayerNorm(channels, s.norm_eps)


def _conv(s: NetSettings, inputs: int, outputs: int, kernel: int | Pair, stride: int | Pair = 1) -> nn.Module:
    """Convolution whose output is exactly input / stride rows and frames."""
    kernels = (kernel, kernel) if isinstance(kernel, int) else kernel
    strides = (stride, stride) if isinstance(stride, int) else stride
    padding = ((kernels[0] - strides[0] + 1) // 2, (kernels[1] - strides[1] + 1) // 2)
    return nn.Conv2d(inputs, outputs, kernels, strides, padding, padding_mode=s.padding)


class ResidualBlock(nn.Module):
    """conv 3 x 3, norm, ReLU, conv 3 x 3, norm, plus the input; nothing after the sum."""

    def __init__(self, s: NetSettings, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(s, channels, channels, 3), _norm(s, channels), nn.ReLU(inplace=True),
            _conv(s, channels, channels, 3), _norm(s, channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Add the body's output to ``x`` ``(b, c, h, w)``."""
        out: Tensor = x + self.body(x)
        return out


def encoder(s: NetSettings, image_channels: int) -> nn.Sequential:
    """Build a private encoder (E1-E6): image, noise and coordinate channels -> deep features on the latent's grid."""
    inputs = image_channels + s.noise_channels + s.coordinate
    layers: list[nn.Module] = [
        _conv(s, inputs, s.width, s.stem_kernel, s.stem_stride),
        nn.LeakyReLU(s.slope, inplace=True),
    ]
    channels = s.width
    for _ in range(s.downs):
        layers.append(_conv(s, channels, 2 * channels, s.down_kernel, 2))
        channels *= 2
        layers += [_norm(s, channels), nn.ReLU(inplace=True)] if s.down_norm else [nn.LeakyReLU(s.slope, inplace=True)]
    return nn.Sequential(*layers, *[ResidualBlock(s, channels) for _ in range(s.blocks)])


def shared_encoder(s: NetSettings) -> nn.Sequential:
    """Build S_E, the shared block before the latent: deep features -> z (unbounded)."""
    ends = [nn.Conv2d(s.deep, s.latent, 1)] if s.z_channels else []
    return nn.Sequential(ResidualBlock(s, s.deep), *ends)


def shared_decoder(s: NetSettings) -> nn.Sequential:
    """Build S_D, the shared block after the latent: z -> deep features."""
    starts = [nn.Conv2d(s.latent, s.deep, 1)] if s.z_channels else []
    return nn.Sequential(*starts, ResidualBlock(s, s.deep))


def decoder(s: NetSettings, image_channels: int) -> nn.Sequential:
    """Build a private decoder (G1-G6): deep features -> image in (-1, 1)."""
    layers: list[nn.Module] = [ResidualBlock(s, s.deep) for _ in range(s.blocks)]
    channels = s.deep
    for _ in range(s.downs):
        layers += _up_stage(s, channels, channels // 2)
        channels //= 2
    return nn.Sequential(*layers, *_output(s, channels, image_channels), nn.Tanh())


def _up_stage(s: NetSettings, inputs: int, outputs: int) -> list[nn.Module]:
    if s.up == "transpose":
        return [nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, output_padding=1), nn.LeakyReLU(s.slope, inplace=True)]
    if s.padding == "zeros":  # a stand-in, so that layers keep their numbers in weights files
        return [nn.Identity(), EnlargedConv(inputs, outputs, 5, (2, 2)), _up_norm(s, outputs), nn.ReLU(inplace=True)]
    return [nn.Upsample(scale_factor=2), _conv(s, inputs, outputs, 5), _up_norm(s, outputs), nn.ReLU(inplace=True)]


def _output(s: NetSettings, channels: int, image_channels: int) -> list[nn.Module]:
    if s.stem_stride == (1, 1):
        return [_conv(s, channels, image_channels, 1 if s.up == "transpose" else 7)]
    # A folded stem is unfolded by sub-pixel convolution; the last convolution, at full size, smooths its raster.
    fine = max(channels // 3, 4)
    unfolded = fine * s.stem_stride[0] * s.stem_stride[1]
    return [
        _conv(s, channels, unfolded, 3),
        nn.Identity(),  # a stand-in, so that layers keep their numbers in weights files
        nn.LeakyReLU(s.slope, inplace=True),
        UnfoldedConv(fine, image_channels, 5, s.stem_stride),
    ]


def with_coordinate(x: Tensor, s: NetSettings) -> Tensor:
    """Append a channel that holds each row's coordinate, -1 (first row) .. 1 (last), if the settings ask for it."""
    if not s.coordinate:
        return x
    rows = torch.linspace(-1, 1, x.shape[2], dtype=x.dtype, device=x.device)
    return torch.cat([x, rows[None, None, :, None].expand(x.shape[0], 1, -1, x.shape[3])], dim=1)


class ImageDiscriminators(nn.Module):
    """D_A and D_B: private first layers, shared output part, on several scales of the image."""

    def __init__(self, s: NetSettings, image_channels: int) -> None:
        super().__init__()
        self.settings = s
        inputs = image_channels * (1 + s.conditional_discriminator) + s.coordinate
        scales = max(s.discriminator_scales, 1)
        self.private = nn.ModuleDict(
            {f"{domain}{scale}": _discriminator_front(s, inputs) for domain in "ab" for scale in range(scales)}
        )
        self.shared = nn.ModuleList([_discriminator_back(s) for _ in range(scales)])
        self.shrink = nn.AvgPool2d(3, 2, 1, count_include_pad=False)

    def forward(self, images: Mapping[str, Tensor]) -> tuple[dict[str, list[Tensor]], dict[str, list[Tensor]]]:
        """Return the logits of images by domain, and every layer's activations on the way to them.

        Args:
            images: by domain, ``(n, c, h, w)``; the shared part has all of them at once. Conditional ones have the
                source's channels after the image's own, ``(n, 2 c, h, w)``.

        Returns:
            By domain, one map of logits ``(n, 1, h', w')`` per scale, finest first, float32; positive: real. And by
            domain what each layer but the last gives, ``(n, channels, h', w')``, layer after layer, scale after scale.
        """
        s, sizes = self.settings, [len(x) for x in images.values()]
        x = torch.cat(list(images.values()))[:, :, s.ignored_rows :]
        x = with_coordinate((x - s.image_mean) / s.image_std, s)
        logits: dict[str, list[Tensor]] = {domain: [] for domain in images}
        layers: dict[str, list[Tensor]] = {domain: [] for domain in images}
        for scale, back in enumerate(self.shared):
            parts = zip(images, torch.split(x, sizes), strict=True)
            fronts = [_through(self.private[f"{domain}{scale}"], part) for domain, part in parts]
            *between, last = _through(back, torch.cat([front[-1] for front in fronts]))
            shared = zip(*(torch.split(each, sizes) for each in (*between, last)), strict=True)
            for domain, front, (*deep, found) in zip(images, fronts, shared, strict=True):
                layers[domain] += [*front, *deep]
                logits[domain].append(found)
            x = self.shrink(x)
        return logits, layers


def _through(part: nn.Module, x: Tensor) -> list[Tensor]:
    """Return what a part of a discriminator gives after each of its activations, and at its end if that is none."""
    found = []
    for layer in part.children():
        x = layer(x)
        if isinstance(layer, nn.LeakyReLU | Logits):
            found.append(x)
    return found


def _discriminator_layers(s: NetSettings, widths: list[int], kernels: list[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs, kernel in zip(widths[:-1], widths[1:], kernels, strict=True):
        conv = nn.Conv2d(inputs, outputs, kernel, 2, (kernel - 1) // 2)
        # The first layer keeps the image's own levels.
        norm = (
            [DiscriminatorNorm()]
            if s.discriminator_norm in ("instance", "both") and inputs >= s.discriminator_width
            else []
        )
        layers += [_normed(s, conv), *norm, nn.LeakyReLU(s.slope)]
    return layers


def _normed(s: NetSettings, conv: nn.Conv2d) -> nn.Module:
    if s.discriminator_norm in ("spectral", "both"):
        register_parametrization(conv, "weight", SpectralNorm(conv.weight))
    return conv


def iterate_spectral_norms(module: nn.Module) -> None:
    """Let every spectral norm in a module follow what its weight has become."""
    for layer in module.modules():
        for norms in getattr(layer, "parametrizations", {}).values():
            norms[0].iterate(norms.original)


def _discriminator_front(s: NetSettings, inputs: int) -> nn.Sequential:
    kernels = [4, 4] if s.discriminator_scales else [7, 3]
    return nn.Sequential(*_discriminator_layers(s, [inputs, s.discriminator_width, 2 * s.discriminator_width], kernels))


def _discriminator_back(s: NetSettings) -> nn.Sequential:
    factors, kernels = ([2, 4, 8], [4, 4]) if s.discriminator_scales else ([2, 4, 8, 16, 32], [3] * 4)
    layers = _discriminator_layers(s, [s.discriminator_width * f for f in factors], kernels)
    return nn.Sequential(*layers, _normed(s, Logits(s.discriminator_width * factors[-1])))


class Logits(nn.Conv2d):
    """The last layer of a discriminator, 1 x 1 to one channel: in float32 whatever autocast says."""

    def __init__(self, inputs: int) -> None:
        super().__init__(inputs, 1, 1)

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(b, c, h, w)`` to logits ``(b, 1, h, w)``."""
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


class LatentDiscriminator(nn.Module):
    """T(x, z): positive logits for pairs with z from the posterior, negative for z from the prior (eq. 9).

    `local` gives one logit per latent position, each seeing 3 x 3 positions of z: even at batch 1 every step then holds
    hundreds of comparisons, and T keeps a gradient where one logit for all of z would saturate.
    """

    def __init__(self, s: NetSettings, image_channels: int) -> None:
        super().__init__()
        self.settings = s
        w = s.discriminator_width
        self.image = nn.ModuleDict({domain: _image_path(s, image_channels) for domain in "ab"})
        self.latent = nn.Sequential(_normed(s, nn.Conv2d(s.latent, 2 * w, 1)), nn.LeakyReLU(s.slope))
        self.joint = nn.Sequential(*_joint_path(s))
        last = self.joint[-1]
        if isinstance(last, nn.Conv2d):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias if last.bias is not None else last.weight)

    def dimensions(self, z: Tensor) -> int:
        """Return how many latent dimensions one logit compares: the positions that it sees, times z's channels."""
        side = {"local": 3, "patch": 12, "global": max(z.shape[2:])}[self.settings.latent_discriminator]
        return min(side, z.shape[2]) * min(side, z.shape[3]) * z.shape[1]

    def forward(self, images: Mapping[str, Tensor], *latents: Tensor) -> list[Tensor]:
        """Compare images with latents, one or several for each image, which is looked at once.

        Args:
            images: by domain, ``(n, c, h, w)`` each.
            latents: for the images of the first domain, then for those of the second, ``(n + m, z_channels, h', w')``.

        Returns:
            Logits for each of the latents, float32.
        """
        seen = torch.cat([self.image[domain](x) for domain, x in images.items()])
        z = self.latent(torch.cat(latents))
        logits = self.joint(torch.cat([seen.repeat(len(latents), 1, 1, 1), z], dim=1))
        if self.settings.latent_discriminator == "global":
            logits = logits.mean((2, 3), keepdim=True)
        return list(logits.chunk(len(latents)))


def _image_path(s: NetSettings, image_channels: int) -> nn.Sequential:
    """Bring the image down to the latent's grid in two steps."""
    w = s.discriminator_width
    first = (s.stem_stride[0] * 2 ** (s.downs - 1), s.stem_stride[1] * 2 ** (s.downs - 1))
    kernel = (first[0] + 2, first[1] + 2) if first == (2, 2) else (2 * first[0], 2 * first[1])
    padding = ((kernel[0] - first[0]) // 2, (kernel[1] - first[1]) // 2)
    return nn.Sequential(
        _normed(s, nn.Conv2d(image_channels, w, kernel, first, padding)), nn.LeakyReLU(s.slope),
        _normed(s, nn.Conv2d(w, 2 * w, 4, 2, 1)), nn.LeakyReLU(s.slope),
    )  # fmt: skip


def _joint_path(s: NetSettings) -> list[nn.Module]:
    w, act = s.discriminator_width, nn.LeakyReLU(s.slope)
    start = [_normed(s, nn.Conv2d(4 * w, 4 * w, 3, 1, 1)), act]
    if s.latent_discriminator == "local":
        return [*start, _normed(s, nn.Conv2d(4 * w, 4 * w, 1)), act, Logits(4 * w)]
    deeper = [_normed(s, nn.Conv2d(4 * w, 4 * w, 4, 2, 1)), act, _normed(s, nn.Conv2d(4 * w, 8 * w, 4, 2, 1)), act]
    return [*start, *deeper, Logits(8 * w)]


def places(kernel: int, factor: int) -> Tensor:
    """Say where the taps of a kernel on the fine grid fall on the coarse one, along one axis.

    Args:
        kernel: its taps, odd; it is centred.
        factor: fine places in a coarse one.

    Returns:
        ``(factor, reach, factor, kernel)`` of 0 and 1: fine output place, coarse tap (odd many, centred), fine input
        place within that tap, tap of the kernel.
    """
    half = kernel // 2
    reach = -(-half // factor)
    out, coarse, inner, tap = torch.meshgrid(
        torch.arange(factor), torch.arange(-reach, reach + 1), torch.arange(factor), torch.arange(kernel), indexing="ij"
    )
    return (coarse * factor + inner == out + tap - half).float()


class _Folded(nn.Conv2d):
    """A convolution of odd kernel and zeros around, of an image that is ``factors`` times as large as its input.

    A layer that enlarges its input by whole factors and then convolves it multiplies copies of one number again and
    again (nearest neighbours), or convolves few channels at full size, which processors do badly (sub-pixels). Either
    is exactly one convolution on the small grid whose output channels are the places within a pixel, for a fraction of
    the work: rounding apart, and with zeros around, nothing else changes, and the parameters stay those of the plain
    layer. Source: sub-pixel convolution, Shi et al. 2016.
    """

    rows: Tensor
    frames: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, factors: Pair) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        self.factors = factors
        for axis, factor in zip(("rows", "frames"), factors, strict=True):
            self.register_buffer(axis, places(kernel, factor), persistent=False)

    def _small(self, x: Tensor, weight: Tensor) -> Tensor:
        """Convolve on the small grid and go to the large one; ``weight`` is ``(out, r, f, in, height, width)``."""
        rows, frames = weight.shape[1:3]
        bias = None if self.bias is None else self.bias.repeat_interleave(rows * frames, dim=0)
        padding = (weight.shape[-2] // 2, weight.shape[-1] // 2)
        return unfold(conv2d(x, weight.flatten(0, 2), bias, padding=padding), self.factors)


class EnlargedConv(_Folded):
    """Nearest-neighbour enlargement by ``factors``, then a convolution."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, in, h, w)`` to ``(b, out, h * rows, w * frames)``."""
        rows, frames = self.rows.sum(2), self.frames.sum(2)  # all places of a pixel hold the same
        return self._small(x, torch.einsum("pua,qvb,oiab->opqiuv", rows, frames, self.weight))


class UnfoldedConv(_Folded):
    """Sub-pixel enlargement by ``factors`` (`unfold`), then a convolution."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, in * rows * frames, h, w)`` to ``(b, out, h * rows, w * frames)``."""
        weight = torch.einsum("purx,qvsy,oixy->opqirsuv", self.rows, self.frames, self.weight)
        return self._small(x, weight.flatten(3, 5))


def unfold(x: Tensor, factors: Pair) -> Tensor:
    """Rearrange ``(b, c * r * f, h, w)`` to ``(b, c, h * r, w * f)``: sub-pixel enlargement with two factors."""
    rows, frames = factors
    if rows == frames:
        return pixel_shuffle(x, rows)  # keeps channels_last memory, which what follows wants
    b, c, h, w = x.shape
    split = x.reshape(b, c // (rows * frames), rows, frames, h, w)
    return split.permute(0, 1, 4, 2, 5, 3).reshape(b, c // (rows * frames), h * rows, w * frames)
