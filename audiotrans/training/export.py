"""A trained model as one file: averaged weights, recipe, layers, profile of its data, and how conversion uses it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from audiotrans.errors import UsageError, lookup
from audiotrans.recipe import Recipe, recipe_from_dict, recipe_to_dict
from audiotrans.training.checkpoints import CHECKPOINT_NAME, layers_of, load_checkpoint, steps_of
from audiotrans.training.statistics import profile_for
from audiotrans.weights import SUFFIX, describe_weights, export_weights, open_weights, shipped_by_name


def export_run(
    run: Path,
    output: Path,
    *,
    summary: str = "",
    half: bool = False,
    force: bool = False,
    cache: Path | None = None,
    articulation: Mapping[str, float] | None = None,
    shifts: int | None = None,
    vibrato: Mapping[str, float] | None = None,
    remove_vibrato: Mapping[str, float] | None = None,
    tilt: Mapping[str, float] | None = None,
    progress: bool = False,
) -> Path:
    """Write the averaged weights of a training run as a model, with a profile of its training data.

    Args:
        run: folder of the run, or a checkpoint; or a weights file or a shipped model's name, whose tensors, precision
            and card are taken over.
        output: a ``.safetensors`` file.
        summary: one line for the model's card.
        half: whether to store float16.
        force: whether to overwrite an output that exists.
        cache: prepared data that the run was trained on; the recipe's own if None. Where that is not here, or not of
            this recipe, the model gets no profile, and `convert` no warnings.
        articulation: of translations by their target's name, in place of the recipe's, see `articulate`.
        shifts: of translations, in place of the recipe's, see `shift_average`.
        vibrato: of translations by their target's name, in cents, in place of the recipe's, see `Vibrato`.
        remove_vibrato: before translations, by their target's name, in percent, in place of the recipe's, see
            `VibratoRemover`.
        tilt: of what the network hears, by its target's name, in dB per octave, in place of the recipe's, see `tilt`.
        progress: show a bar.

    Returns:
        ``output``.

    Raises:
        UsageError: for an output of another kind, or one that exists.
        AudiotransError: for a run without a readable checkpoint, or a cache that does not suit it.
    """
    by_target = {"articulation": articulation, "vibrato": vibrato, "remove_vibrato": remove_vibrato, "tilt": tilt}
    if output.suffix != SUFFIX:
        raise UsageError(f"-o {output}: the name of a weights file ends in {SUFFIX}")
    if output.exists() and not force:
        raise UsageError(f"{output} exists already: use --force to overwrite it")
    run = run if run.exists() else shipped_by_name().get(str(run), run)
    if run.suffix == SUFFIX:
        if summary or half:
            raise UsageError(f"{run} is a weights file: its card and its precision stay as they are")
        recipe = _converting(open_weights(run).recipe, by_target, shifts)
        profile = profile_for(recipe, cache, progress=progress)
        describe_weights(run, output, profile.to_dict() if profile else None, recipe)
        return output
    checkpoint = run / CHECKPOINT_NAME if run.is_dir() else run
    state, recipe = load_checkpoint(checkpoint)
    recipe = _converting(recipe, by_target, shifts)
    # Of what it was made from, the name: a folder of this computer means nothing on another.
    names = {"init": Path(recipe.init).name, "teacher": Path(recipe.teacher).name}
    recipe = recipe.model_copy(update={**names, "model": layers_of(state, recipe, checkpoint)})
    card = {"summary": summary, "steps": steps_of(state)}
    profile = profile_for(recipe, cache, progress=progress)
    values = profile.to_dict() if profile else None
    export_weights(state["ema"], recipe, output, card=card, half=half, statistics=values)
    return output


def _converting(recipe: Recipe, by_target: Mapping[str, Mapping[str, float] | None], shifts: int | None) -> Recipe:
    """Return a recipe with other settings of conversion, checked as any recipe is."""
    sides = {recipe.domains.a: "a", recipe.domains.b: "b"}
    for setting, chosen in by_target.items():
        if chosen:
            wanted = {lookup(sides, name, "domain of this model"): value for name, value in chosen.items()}
            values = recipe_to_dict(recipe)
            recipe = recipe_from_dict(values | {setting: values[setting] | wanted}, f"--{setting}")
    if shifts is not None:
        recipe = recipe_from_dict(recipe_to_dict(recipe) | {"shifts": shifts}, "--shifts")
    return recipe
