"""A training run from its first step, or its last checkpoint, to its end: what it is begun with, logs and saves."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from audiotrans.errors import AudiotransError, UsageError
from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.recipe import Recipe, dump_recipe
from audiotrans.training.checkpoints import (
    CHECKPOINT_NAME,
    METRICS_NAME,
    Journal,
    forget_after,
    layers_of,
    load_checkpoint,
    save_checkpoint,
)
from audiotrans.training.data import Feed, ImageCache, PairedCache, open_images
from audiotrans.training.engine import Trainer
from audiotrans.training.stopping import Interruption, TimeLimit
from audiotrans.training.validation import validate
from audiotrans.training.warm_start import Teach, warm_start

SAMPLES = "samples"
"""Folder of a run for what `OnSample` makes."""

OnSample = Callable[[AVBGTN, int, Path], None]


def train(
    recipe: Recipe,
    cache: Path | str,
    run_dir: Path | str,
    *,
    device: str = "cpu",
    resume: bool = False,
    on_sample: OnSample | None = None,
    progress: bool = True,
    limit: TimeLimit | None = None,
    teach: Teach | None = None,
) -> Path:
    """Train a model by a recipe.

    Args:
        recipe: see `Recipe`.
        cache: folder that `audiotrans prep` wrote.
        run_dir: gets recipe.yaml, metrics.jsonl, TensorBoard events, samples/ and last.pt.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        resume: continue from run_dir's last.pt, exactly as if it had never stopped.
        on_sample: called with the averaged model, the step and a folder every ``sample_every`` steps.
        progress: show a bar on standard error.
        limit: stop after the step in which its time is over, at least after one, and save.
        teach: of the recipe's teacher, see `audiotrans.training.warm_start.teacher`.

    Returns:
        Path of the last checkpoint.

    Raises:
        AudiotransError: if the cache does not fit the recipe, or a loss is no longer finite.
        UsageError: if run_dir holds another run and resume is not set, or the recipe
            imitates a teacher and ``teach`` is None.
    """
    if teach is None and recipe.losses.generator.get("imitation"):
        raise UsageError(f"the recipe's teacher {recipe.teacher} is not at hand: give teach, see `warm_start.teacher`")
    data, run = open_images(cache), Path(run_dir)
    pairs = PairedCache(recipe.pairs) if recipe.pairs else None
    for each in (data, pairs) if pairs else (data,):
        _check_fits(recipe, each)
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    channels, rows = data.image_size()
    _check_size(recipe, rows)
    trainer = Trainer(recipe, channels, torch.device(device), teach)
    _start(trainer, run, resume)
    limit, save = limit or TimeLimit(), partial(_save, trainer, run)
    feed = Feed(recipe, data, trainer.device, pairs=pairs)
    with Journal(run, trainer.step) as journal, _bar(trainer, progress) as bar, Interruption() as interruption, feed:
        while trainer.step < recipe.train.steps and not (interruption.asked or limit.stopped_at):
            terms = trainer.train_step(*feed.take(trainer.step))
            bar.update()
            _record(trainer, terms, data, journal, bar, save)
            if on_sample and _due(trainer, recipe.train.sample_every):
                on_sample(trainer.ema, trainer.step, run / SAMPLES)
            limit.check(trainer.step, recipe.train.steps)
    if interruption.asked or (limit.stopped_at and not _due(trainer, recipe.train.save_every)):
        save()
    if interruption.asked:
        raise KeyboardInterrupt
    return run / CHECKPOINT_NAME


def _bar(trainer: Trainer, progress: bool) -> tqdm[Any]:
    return tqdm(total=trainer.recipe.train.steps, initial=trainer.step, unit="step", disable=not progress)


def _due(trainer: Trainer, every: int) -> bool:
    return is_due(trainer.step, every, trainer.recipe.train.steps)


def is_due(step: int, every: int, steps: int) -> bool:
    """Tell whether what is done every so many steps, and at the last of ``steps``, is done after this one."""
    return step % every == 0 or step == steps


def _record(
    trainer: Trainer,
    terms: dict[str, Tensor],
    data: ImageCache,
    journal: Journal,
    bar: tqdm[Any],
    save: Callable[[], object],
) -> None:
    """Log, validate and save where it is time to; refuse to go on, or to save, what is no longer finite."""
    settings, step = trainer.recipe.train, trainer.step
    if _due(trainer, settings.log_every):
        # Stacked, for each value that is fetched by itself makes a GPU wait.
        values = dict(zip(terms, torch.stack([value.float() for value in terms.values()]).tolist(), strict=True))
        _check_finite(values, step)
        journal.write(step, values)
        shown = {"gan": values.get("generator/gan"), "L1": values["generator/vae_reconstruction"]}
        bar.set_postfix({name: f"{value:.3f}" for name, value in shown.items() if value is not None})
    if _due(trainer, settings.save_every):
        if data.has("valid"):
            values = validate(trainer.ema, data, trainer.recipe, trainer.device)
            _check_finite(values, step)
            journal.write(step, values)
        save()


def _check_fits(recipe: Recipe, data: ImageCache) -> None:
    data.check_suits(recipe, "the recipe", "run audiotrans prep with it")
    # Each domain is the input of conversions to the other one; older caches do not say.
    for domain, percent in {"a": recipe.own("remove_vibrato", "b"), "b": recipe.own("remove_vibrato", "a")}.items():
        taken = data.manifest.get("remove_vibrato", {}).get(domain, percent)
        if taken != percent:
            name = getattr(recipe.domains, domain)
            raise AudiotransError(
                f"the cache {data.root} has {taken:g} percent of the vibrato of {name} removed, the recipe's"
                f" conversions {percent:g}; run audiotrans prep with --recipe, or change the recipe"
            )


def _check_size(recipe: Recipe, rows: int) -> None:
    """Refuse images that the networks cannot fold, or that the coarsest discriminator folds to nothing."""
    nets = recipe.model
    least = (15 << (nets.discriminator_scales - 1)) + 1 if nets.discriminator_scales else 1
    sizes = {"imaging.rows": rows, "train.crop_frames": recipe.train.crop_frames}
    if recipe.imaging.type == "photo":
        sizes = {"imaging.height": rows, "imaging.width": recipe.imaging.width}
    for (name, size), fold, unseen in zip(sizes.items(), nets.stride, (nets.ignored_rows, 0), strict=True):
        least_here = -(-max(least + unseen, 4 * fold) // fold) * fold
        if size % fold or size < least_here:
            raise UsageError(f"{name} {size} does not suit this model: it needs a multiple of {fold} from {least_here}")


def _check_finite(values: dict[str, float], step: int) -> None:
    broken = [name for name, value in values.items() if not math.isfinite(value)]
    if broken:
        raise AudiotransError(
            f"{broken[0]} is no longer finite at step {step}; the last checkpoint is whole: resume it with a lower"
            " train.learning_rate or train.precision=float32"
        )


def _largest(trainer: Trainer) -> float:
    weights = [*trainer.model.parameters(), *trainer.discriminators.parameters()]
    with torch.no_grad():
        return float(torch.stack(torch._foreach_norm(weights, math.inf)).max())


def _start(trainer: Trainer, run: Path, resume: bool) -> None:
    checkpoint = run / CHECKPOINT_NAME
    if resume:
        state, before = load_checkpoint(checkpoint)
        if before.model != trainer.recipe.model or before.imaging != trainer.recipe.imaging:
            raise UsageError(f"{checkpoint} is of another model; take a new run folder or the recipe in {run}")
        if layers_of(state, before, checkpoint) != trainer.model.settings:
            raise UsageError(
                f"{checkpoint} has other layers than preset {before.model.preset} now: take a new run folder"
            )
        trainer.load(state)
    elif checkpoint.exists():
        raise UsageError(f"{run} holds a run already: continue it with --resume, or choose another --run folder")
    elif trainer.recipe.init:
        warm_start(trainer, trainer.recipe.init)
    run.mkdir(parents=True, exist_ok=True)
    (run / "recipe.yaml").write_text(dump_recipe(trainer.recipe), encoding="utf-8")
    forget_after(run / METRICS_NAME, trainer.step)


def _save(trainer: Trainer, run: Path) -> None:
    _check_finite({"a weight": _largest(trainer)}, trainer.step)  # before it costs the last save
    save_checkpoint(run / CHECKPOINT_NAME, trainer.state(), trainer.recipe)
