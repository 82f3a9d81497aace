"""A training step against the same layers written plainly in float32, as published code trains.

    python -m benchmarks.training_speed recipes/violin_piano.yaml recipes/violin_piano_pairs.yaml

The plain step has the same weights, losses and images. It enlarges before it convolves, encodes, decodes and judges one
batch after the other, lets a spectral norm of torch's own iterate at each of them, keeps torch's memory layout and
runs torch's plain Adam, as UNIT, CycleGAN and AVB do. It takes what it shares with ours at no cost: D is not
differentiated in the generators' step, no translation is made twice, T is left out where it has no weight, and crops
are random numbers for both. Steps of both take turns in one process; CPU seconds count, so that what else a machine
does tells little.
"""

from __future__ import annotations

import copy
import statistics
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

import audiotrans
from audiotrans.model.avb_gtn import AVBGTN, DiscriminatorOutputs, Discriminators, Translation, normal, whitened
from audiotrans.model.nets import EnlargedConv, UnfoldedConv, unfold, with_coordinate
from audiotrans.recipe import Recipe, load_recipe
from audiotrans.training.data import Crops
from audiotrans.training.engine import Trainer, quick_precision
from audiotrans.training.warm_start import Teach, taught_by, teacher

WARM_UP = 3
"""Steps that are not counted: the history of translations fills, libraries choose their ways."""


class PlainEnlarged(nn.Module):
    """Nearest neighbours or sub-pixels first, then the convolution at full size."""

    def __init__(self, layer: EnlargedConv | UnfoldedConv) -> None:
        super().__init__()
        self.factors, self.nearest = layer.factors, isinstance(layer, EnlargedConv)
        inputs = layer.in_channels
        self.conv = nn.Conv2d(inputs, layer.out_channels, layer.kernel_size, padding=layer.padding)
        self.conv.load_state_dict({"weight": layer.weight, "bias": layer.bias})

    def forward(self, x: Tensor) -> Tensor:
        large = nn.functional.interpolate(x, scale_factor=self.factors) if self.nearest else unfold(x, self.factors)
        return self.conv(large)


def plain_normed(layer: nn.Conv2d) -> nn.Module:
    """Return a convolution with a spectral norm of torch's own, of the same names and numbers."""
    size = layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding
    made = spectral_norm(nn.Conv2d(*size))
    made.load_state_dict(layer.state_dict())
    return made


def plain(module: nn.Module) -> nn.Module:
    """Return a copy with plain layers, in torch's own memory layout."""
    made = copy.deepcopy(module).to(memory_format=torch.contiguous_format)
    for parent in list(made.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, EnlargedConv | UnfoldedConv):
                setattr(parent, name, PlainEnlarged(child))
            elif isinstance(child, nn.Conv2d) and parametrize.is_parametrized(child):
                setattr(parent, name, plain_normed(child))
    return made


class PlainModel(AVBGTN):
    """Encodes and decodes one batch after the other."""

    def forward(self, a, b, generator=None, seen=None, *, cycle=True):  # type: ignore[no-untyped-def]
        of = {"a": a, "b": b, **(seen or {})}
        mean = {d: self.encode(of[d], d, self.noise(of[d], generator)) for d in "ab"}
        z = {d: self.sample(mean[d], generator) for d in "ab"}
        aa, bb, ab, ba = (self.decode(z[s], t) for s, t in ("aa", "bb", "ab", "ba"))
        ab, ba = self._with_residual(ab, a, aa), self._with_residual(ba, b, bb)
        if not cycle:
            return Translation(a, b, z["a"], z["b"], mean["a"], mean["b"], aa, bb, ab, ba)
        mean_ab = self.encode(ab, "b", self.noise(ab, generator))
        mean_ba = self.encode(ba, "a", self.noise(ba, generator))
        z_ab, z_ba = self.sample(mean_ab, generator), self.sample(mean_ba, generator)
        aba, bab = self.decode(z_ab, "a"), self.decode(z_ba, "b")
        if self.settings.residual:
            aba = self._with_residual(aba, ab, self.decode(z_ab, "b"))
            bab = self._with_residual(bab, ba, self.decode(z_ba, "a"))
        moments = None
        if self.settings.kl == "adaptive":
            encoded = ((of["a"], "a"), (of["b"], "b"), (ab, "b"), (ba, "a"))
            moments = torch.stack([self.moments(x, d, generator) for x, d in encoded])
        found = aa, bb, ab, ba, z_ab, z_ba, mean_ab, mean_ba, aba, bab, moments
        return Translation(a, b, z["a"], z["b"], mean["a"], mean["b"], *found)


class PlainDiscriminators(Discriminators):
    """Judges one batch after the other."""

    def forward(  # type: ignore[no-untyped-def]
        self, t, *, training, generator=None, shown=None, image=True, latent=True, follow=True, layers=False
    ):
        del follow
        self.train(training)  # torch's spectral norms iterate in each forward pass of training
        images = {"a": t.a, "b": t.b, "ab": t.ab, "ba": t.ba} | (shown or {})
        if image and self.image.settings.conditional_discriminator:
            images = {name: torch.cat([x, t.a if name in ("b", "ab") else t.b], 1) for name, x in images.items()}
        found = DiscriminatorOutputs([], [])
        if image:
            (fake_ab, made_b), (fake_ba, made_a) = self._image(images["ab"], "b"), self._image(images["ba"], "a")
            found = DiscriminatorOutputs(fake_ab, fake_ba)
        if layers:
            true = [x.detach() for d in "ba" for x in self._image(images[d], d)[1]]
            found = replace(found, made_layers=(*made_b, *made_a), true_layers=tuple(true))
        if image and training:
            found = replace(found, real_a=self._image(images["a"], "a")[0], real_b=self._image(images["b"], "b")[0])
        if self.latent is None or not latent:
            return found
        pairs = list(zip((t.a, t.b, t.ab, t.ba), whitened(t), "abba", strict=True))
        posterior = tuple(self._pair(x, z, domain) for x, z, domain in pairs)
        samples = [normal(z.shape, generator, z.device) for _, z, _ in pairs] if training else []
        prior = tuple(self._pair(x, z, domain) for (x, _, domain), z in zip(pairs, samples, strict=False))
        dimensions = self.latent.dimensions(t.z_a)
        return replace(found, posterior=posterior, prior=prior, dimensions=dimensions)

    def _image(self, image: Tensor, domain: str) -> tuple[list[Tensor], list[Tensor]]:
        nets, s, logits, layers = self.image, self.image.settings, [], []
        x = with_coordinate((image[:, :, s.ignored_rows :] - s.image_mean) / s.image_std, s)
        for scale, back in enumerate(nets.shared):
            seen = x
            for layer in (*nets.private[f"{domain}{scale}"], *back):
                seen = layer(seen)
                layers += [seen] if isinstance(layer, nn.LeakyReLU) else []
            logits.append(seen)
            x = nets.shrink(x)
        return logits, layers

    def _pair(self, image: Tensor, z: Tensor, domain: str) -> Tensor:
        logits = self.latent.joint(torch.cat([self.latent.image[domain](image), self.latent.latent(z)], dim=1))
        return logits.mean((2, 3), keepdim=True) if self.latent.settings.latent_discriminator == "global" else logits


class PlainTrainer(Trainer):
    """Begins as another trainer is now."""

    def __init__(self, other: Trainer, teach: Teach | None) -> None:
        changed = {"precision": "float32", "channels_last": False}
        recipe = other.recipe.model_copy(update={"train": other.recipe.train.model_copy(update=changed)})
        super().__init__(recipe, other.model.image_channels, other.device, teach)
        self.step = other.step
        self.model, self.discriminators = plain(other.model), plain(other.discriminators)
        self.model.__class__, self.discriminators.__class__ = PlainModel, PlainDiscriminators
        self.players = {"generator": self.model, "discriminator": self.discriminators}
        self.ema = copy.deepcopy(self.model).requires_grad_(False).eval()
        settings = recipe.train
        self.model_adam = torch.optim.Adam(self.model.parameters(), settings.learning_rate, settings.betas)
        self.discriminators_adam = torch.optim.Adam(
            self.discriminators.parameters(), settings.discriminator_learning_rate, settings.betas
        )


def plain_teacher(recipe: Recipe, device: torch.device) -> Teach | None:
    """Return the recipe's teacher with plain layers."""
    if not recipe.teacher:
        return None
    converter = audiotrans.load(recipe.teacher, device=str(device))
    converter.model = plain(converter.model)
    return taught_by(converter)


def random_crops(recipe: Recipe, channels: int, step: int) -> Crops:
    """Return noise in the shape of a step's crops, pairs among them as often as the recipe has them."""
    settings, generator = recipe.train, torch.Generator().manual_seed(step)
    size = (channels, recipe.imaging.image_rows, settings.crop_frames)

    def images(count: int) -> Tensor:
        return (torch.randn(count, *size, generator=generator) * 0.3 - 0.4).clamp(-1, 1)

    n = settings.batch_size
    extra = max(settings.discriminator_batch, n) * settings.discriminator_steps - n
    paired = recipe.pairs and float(torch.rand((), generator=generator)) < settings.pairs_share
    return Crops(
        images(n), images(n),
        {d: images(extra) for d in "ab"} if extra > 0 else {},
        {d: images(n) for d in "ab"} if settings.equalise_db else {},
        {f"true_{way}": images(n) for way in ("ab", "ba")} if paired else {},
    )  # fmt: skip


def seconds(trainer: Trainer, crops: Crops) -> float:
    """Take a step, in CPU seconds (on a GPU: of the clock)."""
    if trainer.device.type != "cpu":
        torch.cuda.synchronize(trainer.device)
        began = time.perf_counter()
        trainer.train_step(*crops)
        torch.cuda.synchronize(trainer.device)
        return time.perf_counter() - began
    began = time.process_time()
    trainer.train_step(*crops)
    return time.process_time() - began


def measure(recipe: Recipe, steps: int, device: torch.device, channels: int = 1) -> dict[str, float]:
    """Return seconds per step of both, and how many times as fast ours is: medians over steps taken in turn."""
    ours = Trainer(recipe, channels, device, teacher(recipe, str(device)))
    rivals = {"ours": ours, "plain": PlainTrainer(ours, plain_teacher(recipe, device))}
    taken: dict[str, list[float]] = {name: [] for name in rivals}
    for step in range(-WARM_UP, steps):
        crops = random_crops(recipe, channels, step + WARM_UP)
        for name, trainer in rivals.items():
            found = seconds(trainer, crops.each(partial(to_layout, trainer=trainer)))
            if step >= 0:
                taken[name].append(found)
    ratios = [theirs / own for own, theirs in zip(taken["ours"], taken["plain"], strict=True)]
    return {name: statistics.median(found) for name, found in taken.items()} | {"times": statistics.median(ratios)}


def to_layout(images: Tensor, trainer: Trainer) -> Tensor:
    layout = torch.channels_last if trainer.recipe.train.channels_last else torch.contiguous_format
    return images.to(trainer.device, memory_format=layout)


@click.command()
@click.argument("recipes", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--steps", default=12, show_default=True, help="Steps of each, after three that are not counted.")
@click.option("--threads", default=1, show_default=True, help="CPU threads.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--set", "changes", multiple=True, help="Change a key of the recipes, as train's own --set.")
def main(recipes: tuple[Path, ...], steps: int, threads: int, device: str, changes: tuple[str, ...]) -> None:
    """Measure the training step of RECIPES."""
    torch.set_num_threads(threads)
    print("| recipe | arithmetic of ours | ours, s | plain, s | times as fast |\n|---|---|---|---|---|")
    for path in recipes:
        recipe = load_recipe(path, ("train.discriminator_warmup=0", "train.threads=0", *changes))
        found = measure(recipe, steps, torch.device(device))
        precision = quick_precision(recipe.train.precision, torch.device(device))
        times = f"{found['ours']:.3f} | {found['plain']:.3f} | {found['times']:.2f}"
        print(f"| {path.stem} | {precision} | {times} |", flush=True)


if __name__ == "__main__":
    main()
