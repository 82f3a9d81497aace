"""A trained model as one file: averaged weights, recipe, layers, training-data statistics, values of conversion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audiotrans.errors import UsageError, lookup
from audiotrans.files import refuse_existing, write_whole
from audiotrans.hub import PREFIX
from audiotrans.options import BY_MODEL
from audiotrans.recipe import Recipe, recipe_from_dict, recipe_to_dict
from audiotrans.training.card import card_of
from audiotrans.training.checkpoints import CHECKPOINT_NAME, layers_of, load_checkpoint, steps_of
from audiotrans.training.statistics import statistics_for
from audiotrans.weights import SUFFIX, describe_weights, export_weights, open_weights, shipped_by_name

Conversion = Mapping[str, float | Mapping[str, float]]
"""A model's own values of options in `BY_MODEL`: by a target's name, or one number for both."""


def export_run(
    run: Path,
    output: Path,
    conversion: Conversion | None = None,
    *,
    summary: str = "",
    half: bool = False,
    force: bool = False,
    cache: Path | None = None,
    licence: str = "",
    card: bool = False,
    progress: bool = False,
) -> Path:
    """Write the averaged weights of a training run as a model, with statistics of its training data.

    Args:
        run: folder of the run, or a checkpoint; or a weights file or a shipped model's name, whose tensors, precision
            and card are taken over.
        output: a ``.safetensors`` file.
        conversion: values in place of the recipe's.
        summary: one line for the model's card.
        half: whether to store float16.
        force: whether to overwrite an output that exists.
        cache: prepared data that the run was trained on; the recipe's own if None. Where that is not here, or not of
            this recipe, the model gets no statistics, and `convert` gives no warnings.
        licence: of the model, for its card, as SPDX names it: ``cc-by-4.0``.
        card: whether to write a card beside it, see `audiotrans.training.card`.
        progress: show a bar.

    Returns:
        ``output``.

    Raises:
        UsageError: for an output of another kind, or one that exists, or a value outside its range.
        AudiotransError: for a run without a readable checkpoint, or a cache that does not suit it.
    """
    if output.suffix != SUFFIX:
        raise UsageError(f"-o {output}: the name of a weights file ends in {SUFFIX}")
    for path in (output, *([output.with_suffix(".md")] if card else [])):
        refuse_existing(path, force)
    run = run if run.exists() else shipped_by_name().get(str(run), run)
    if run.suffix == SUFFIX:
        if summary or half or licence:
            raise UsageError(f"{run} is a weights file: its card and its precision stay as they are")
        recipe = _converting(open_weights(run).recipe, conversion or {})
        describe_weights(run, output, _statistics(recipe, cache, progress), recipe)
        _write_card(output, None, cache, wanted=card)
        return output
    checkpoint = run / CHECKPOINT_NAME if run.is_dir() else run
    state, recipe = load_checkpoint(checkpoint)
    recipe = _converting(recipe, conversion or {})
    # Of what it was made from, the name: a folder of this computer means nothing on another.
    data = Path(recipe.cache) if cache is None else cache
    names = {key: _without_folders(getattr(recipe, key)) for key in ("init", "teacher", "cache", "pairs")}
    statistics = _statistics(recipe, cache, progress)
    recipe = recipe.model_copy(update={**names, "model": layers_of(state, recipe, checkpoint)})
    said = {"summary": summary, "steps": steps_of(state)} | ({"licence": licence} if licence else {})
    export_weights(state["ema"], recipe, output, card=said, half=half, statistics=statistics)
    _write_card(output, checkpoint.parent, data, wanted=card)
    return output


def _without_folders(name: str) -> str:
    return name if name.startswith(PREFIX) else Path(name).name


def _write_card(output: Path, run: Path | None, cache: Path | None, *, wanted: bool) -> None:
    if not wanted:
        return
    sheets = sorted(run.glob("samples/step_*.png"), key=lambda path: int(path.stem.rpartition("_")[2])) if run else []
    beside = output.with_suffix(".png")
    if sheets:
        write_whole(beside, sheets[-1].read_bytes())
    write_whole(output.with_suffix(".md"), card_of(open_weights(output), run, cache, beside.name if sheets else ""))


def _statistics(recipe: Recipe, cache: Path | None, progress: bool) -> dict[str, Any] | None:
    found = statistics_for(recipe, cache, progress=progress)
    return found.to_dict() if found else None


def _converting(recipe: Recipe, conversion: Conversion) -> Recipe:
    """Return a recipe with other values of conversion, checked as any recipe is."""
    sides = {recipe.domains.a: "a", recipe.domains.b: "b"}
    for name, chosen in conversion.items():
        lookup(BY_MODEL, name, "option that a model has its own value of")
        values, value = recipe_to_dict(recipe), chosen
        if isinstance(chosen, Mapping):
            by_side = {lookup(sides, target, "domain of this model"): each for target, each in chosen.items()}
            value = values[name] | by_side
        recipe = recipe_from_dict(values | {name: value}, f"--{name.replace('_', '-')}")
    return recipe
