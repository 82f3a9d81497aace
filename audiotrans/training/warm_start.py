"""What a run takes from other models: the weights that it starts with, and a teacher's conversions to learn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor, nn

from audiotrans.errors import UsageError
from audiotrans.model.avb_gtn import AVBGTN, Domain
from audiotrans.model.nets import ResidualBlock, layers
from audiotrans.recipe import Recipe, recipe_to_dict
from audiotrans.training.checkpoints import CHECKPOINT_NAME, fit, layers_of, load_checkpoint, steps_of
from audiotrans.weights import SUFFIX, find, read_weights

if TYPE_CHECKING:
    from audiotrans.convert.converter import Converter

_OF_DISCRIMINATORS = {
    "discriminator_width", "discriminator_scales", "conditional_discriminator", "discriminator_norm",
    "latent_discriminator", "image_mean", "image_std", "ignored_rows",
}  # fmt: skip
"""Settings of the layers that are not in a weights file."""


Teach = Callable[[Tensor, Domain], Tensor]
"""Takes images ``(n, c, h, w)`` and their domain, and gives what a teacher makes of them for the other one."""


class Beginner(Protocol):
    """A training run that has not begun: what `warm_start` gives weights to."""

    recipe: Recipe
    model: AVBGTN
    ema: AVBGTN
    steps_before: int

    @property
    def discriminators(self) -> nn.Module:
        """D and T."""


def warm_start(trainer: Beginner, source: str) -> None:
    """Give a new run the weights of a model; optimisers, past translations and the step count start anew.

    How many steps the weights had taken before is remembered (`steps_of`). Of a run the averaged weights are taken,
    which are those that it would export, and its discriminators and T. A weights file has no discriminators: they
    start at random, and ``train.discriminator_warmup`` lets them learn first. A recipe with more ``model.blocks`` than
    the model has makes a deeper one of it (`deepened`).

    Args:
        trainer: at step 0.
        source: a shipped model's name, a weights file, a checkpoint or the folder of a run.

    Raises:
        UsageError: if there is no such model, or it has other layers or images than the recipe.
        AudiotransError: if its file is broken.
    """
    path = Path(source)
    checkpoint = path / CHECKPOINT_NAME if path.is_dir() else path
    if path.suffix != SUFFIX and checkpoint.exists():
        state, before = load_checkpoint(checkpoint)
        weights, discriminators, nets = state["ema"], state["discriminators"], layers_of(state, before, checkpoint)
        steps = steps_of(state)
    else:
        stored = read_weights(find(source))
        model, before, card = stored.model, stored.recipe, stored.card
        weights, discriminators, nets = model.state_dict(), None, before.model
        steps = card.get("steps", 0)
    wanted = _described(trainer.recipe, layers(trainer.model.settings))
    own, asked = nets.blocks, trainer.model.settings.blocks
    if nets.norm == "channel" and own < asked:
        nets = replace(nets, blocks=asked)
    check_alike(f"init {source}", _described(before, layers(nets)), wanted, "change the recipe, or start without init")
    if own < asked:
        weights = deepened(weights, own, trainer.model)
    fit(trainer.model, weights, f"init {source}")
    fit(trainer.ema, weights, f"init {source}")
    trainer.steps_before = steps
    if discriminators is not None:
        _take(trainer.discriminators, discriminators)


def deepened(weights: Mapping[str, Tensor], blocks: int, model: AVBGTN) -> dict[str, Tensor]:
    """Return weights with which a deeper model does exactly what the one that they are of does.

    Encoders have their new private blocks last, decoders first. What a residual block adds is normalised at its end:
    with a scale and a shift of 0 it adds nothing, until it learns.

    Args:
        weights: state dict of a model with fewer private blocks, all else alike.
        blocks: how many it has.
        model: with more of them, at random; its norms have a scale and a shift (``norm: channel``).

    Source: Goyal et al. 2017, "Accurate, large minibatch SGD", section 5.1, which starts all blocks so.
    """
    more = model.settings.blocks - blocks
    found = {name: value.clone() for name, value in model.state_dict().items()}
    for part in ("encoders", "decoders"):
        for domain, net in getattr(model, part).items():
            places = [place for place, layer in enumerate(net) if isinstance(layer, ResidualBlock)]
            for place in places[-more:] if part == "encoders" else places[:more]:
                for name in ("weight", "bias"):
                    found[f"{part}.{domain}.{place}.body.4.{name}"].zero_()
    for name, value in weights.items():
        part, *rest = name.split(".")
        if part == "decoders":
            rest[1] = str(int(rest[1]) + more)
        found[".".join([part, *rest])] = value
    return found


def _described(recipe: Recipe, nets: dict[str, Any]) -> dict[str, Any]:
    """Return what must agree for weights to mean the same."""
    own = {f"model.{key}": value for key, value in nets.items() if key not in _OF_DISCRIMINATORS}
    return described_imaging(recipe) | own


def described_imaging(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe's imaging by dotted keys; how phases are found is not the network's business."""
    return {f"imaging.{key}": value for key, value in recipe_to_dict(recipe)["imaging"].items() if key != "phase"}


def check_alike(what: str, found: dict[str, Any], wanted: dict[str, Any], way_out: str) -> None:
    """Refuse a model that does not suit a recipe.

    Args:
        what: the model, as the message names it.
        found: the model's settings by dotted keys.
        wanted: the recipe's.
        way_out: end of the message.

    Raises:
        UsageError: naming the first key that differs, and both values.
    """
    for key, value in wanted.items():
        if found.get(key) != value:
            raise UsageError(f"{what}: its {key} is {found.get(key)!r}, the recipe's {value!r}; {way_out}")


def _take(discriminators: nn.Module, weights: dict[str, Any]) -> None:
    """Load discriminators, and T where both have one, unless they have other layers: then they start at random."""
    own = discriminators.state_dict()
    for part in ("image", "latent"):
        found = {name: value for name, value in weights.items() if name.startswith(f"{part}.")}
        mine = {name: value.shape for name, value in own.items() if name.startswith(f"{part}.")}
        if {name: value.shape for name, value in found.items()} == mine:
            discriminators.load_state_dict(found, strict=False)


def teacher(recipe: Recipe, device: str = "cpu") -> Teach | None:
    """Load a recipe's teacher: a finished model whose conversions a smaller or quicker one learns to make.

    The student is shown the images that it is trained on and what the teacher makes of them with all that it does at
    conversion: its shift averaging and its articulation. So it learns to do in one translation what the
    teacher does in several.

    Args:
        recipe: of the student.
        device: where to run.

    Returns:
        What gives the teacher's translations; None for a recipe without a teacher.

    Raises:
        UsageError: if there is no such model, or its images or domains are others.
        AudiotransError: if its file is broken, or it translates photos.

    Source: Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network", for classifiers.
    """
    if not recipe.teacher:
        return None
    from audiotrans.convert.converter import load  # a whole converter, whose libraries other training does without

    converter = load(recipe.teacher, device=device)
    check_alike(f"teacher {recipe.teacher}", _taught(converter.recipe), _taught(recipe), "choose another")
    return taught_by(converter)


def taught_by(converter: Converter) -> Teach:
    """Return what gives a converter's translations of images, by its own options of conversion."""
    names = dict(zip("ab", converter.domains, strict=True))
    options = {side: converter.options(names["b" if side == "a" else "a"], names[side]) for side in "ab"}

    def teach(images: Tensor, source: Domain) -> Tensor:
        return converter.translate_image(images, 0, options[source])

    return teach


def _taught(recipe: Recipe) -> dict[str, Any]:
    """Return what must agree for a teacher's images to mean the same."""
    domains = {"domains.a": recipe.domains.a, "domains.b": recipe.domains.b}
    return described_imaging(recipe) | domains
