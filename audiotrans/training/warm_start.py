"""Fine-tuning: weights that start as those of a model trained before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from torch import nn

from audiotrans.errors import AudiotransError, UsageError
from audiotrans.model.nets import layers
from audiotrans.recipe import Recipe, recipe_to_dict
from audiotrans.training.checkpoints import CHECKPOINT_NAME, layers_of, load_checkpoint, steps_of
from audiotrans.weights import SUFFIX, find, read_weights

if TYPE_CHECKING:
    from audiotrans.training.engine import Trainer

_CRITICS = {
    "discriminator_width", "discriminator_scales", "discriminator_norm", "latent_discriminator", "image_mean",
    "image_std", "ignored_rows",
}  # fmt: skip
"""Settings of the layers that are not in a weights file."""


def warm_start(trainer: Trainer, source: str) -> None:
    """Give a new run the weights of a model; optimisers, past translations and the step count start anew.

    How many steps the weights had taken before is remembered (`steps_of`). Of a run the
    averaged weights are taken, which are those that it would export, and its discriminators and T. A weights file has
    no discriminators: they start at random, and ``train.discriminator_warmup`` lets them learn first.

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
        model, before, card = read_weights(find(source))
        weights, discriminators, nets = model.state_dict(), None, before.model
        steps = card.get("steps", 0)
    wanted = _described(trainer.recipe, layers(trainer.model.settings))
    check_alike(f"init {source}", _described(before, layers(nets)), wanted, "change the recipe, or start without init")
    fit(trainer.model, weights, f"init {source}")
    fit(trainer.ema, weights, f"init {source}")
    trainer.steps_before = steps
    if discriminators is not None:
        _take(trainer.discriminators, discriminators)


class Stateful(Protocol):
    """What takes a state: a network, an optimiser, a pool."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> object:
        """Take it."""


def fit(part: Stateful, state: dict[str, Any], what: str) -> None:
    """Load a state, or say in one line that it does not fit.

    Args:
        part: what takes it.
        state: to be taken.
        what: where it comes from, for the message.

    Raises:
        AudiotransError: if it has other layers.
    """
    try:
        part.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise AudiotransError(f"{what} has other layers than this version of audiotrans: {reason}") from None


def _described(recipe: Recipe, nets: dict[str, Any]) -> dict[str, Any]:
    """Return what must agree for weights to mean the same."""
    own = {f"model.{key}": value for key, value in nets.items() if key not in _CRITICS}
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
