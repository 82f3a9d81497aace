"""A training run from its first step, or its last checkpoint, to its end: what it is begun with, logs and saves."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from audiotrans.errors import AudiotransError, UsageError
from audiotrans.files import write_whole
from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.processes import alone_in
from audiotrans.recipe import Recipe, check_trains, dump_recipe
from audiotrans.training.checkpoints import (
    BEST_NAME,
    CHECKPOINT_NAME,
    METRICS_NAME,
    Journal,
    forget_after,
    keep_as,
    kept_name,
    layers_of,
    load_checkpoint,
    save_checkpoint,
)
from audiotrans.training.data import Feed, ImageCache, PairedCache, open_images
from audiotrans.training.distributed import Team, team
from audiotrans.training.engine import Trainer
from audiotrans.training.resume import changes, check_changes, fingerprints
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
    changed: bool = False,
    on_sample: OnSample | None = None,
    progress: bool = True,
    limit: TimeLimit | None = None,
    teach: Teach | None = None,
) -> Path:
    """Train a model by a recipe; with the other processes that torchrun started, if it started this one.

    Args:
        recipe: see `Recipe`; with ``resume`` the run's own, see `audiotrans.training.resume.run_recipe`.
        cache: folder that `audiotrans prep` wrote.
        run_dir: gets recipe.yaml, metrics.jsonl, TensorBoard events, samples/ and checkpoints: last.pt, best.pt (by
            validation) and, with ``train.keep_every``, some that stay.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        resume: continue from run_dir's last.pt, exactly as if it had never stopped.
        changed: let ``resume`` go on with settings or data other than the run's; its log says which.
        on_sample: called with the averaged model, the step and a folder every ``sample_every`` steps.
        progress: show a bar on standard error.
        limit: stop after the step in which its time is over, at least after one, and save. It is told of SIGTERM, too.
        teach: of the recipe's teacher, see `audiotrans.training.warm_start.teacher`.

    Returns:
        Path of the last checkpoint.

    Raises:
        AudiotransError: if the cache does not fit the recipe, too many steps in a row had to be skipped, or another
            process trains in this folder.
        UsageError: if run_dir holds another run and resume is not set, if what is resumed was trained with other
            settings or data, if the recipe imitates a teacher and ``teach`` is None, or as `check_trains`.
        KeyboardInterrupt: after Ctrl-C, when all is saved; after SIGTERM, too, without a ``limit`` to be told.
    """
    if teach is None and recipe.losses.generator.get("imitation"):
        raise UsageError(f"the recipe's teacher {recipe.teacher} is not at hand: give teach, see `warm_start.teacher`")
    check_trains(recipe)
    recipe = recipe.model_copy(update={"cache": str(cache)})
    data, folder = open_images(cache), Path(run_dir)
    pairs = PairedCache(recipe.pairs) if recipe.pairs else None
    for each in (data, pairs) if pairs else (data,):
        _check_fits(recipe, each)
    _check_size(recipe, data.image_size()[1])
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    if (folder / CHECKPOINT_NAME).exists() and not resume:
        raise UsageError(f"{folder} holds a run already: continue it with --resume, or choose another --run folder")
    if resume and not (folder / CHECKPOINT_NAME).exists():
        raise AudiotransError(f"{folder / CHECKPOINT_NAME} does not exist: nothing to resume")
    with team(torch.device(device)) as processes, Interruption() as interruption:
        read = fingerprints(recipe, data, pairs, processes.share.size)
        begin = partial(_Run, folder, recipe, data, processes, teach, read)
        run = None if resume else begin()  # a model that cannot be begun with leaves no folder
        folder.mkdir(parents=True, exist_ok=True)
        with alone_in(folder) if processes.first else nullcontext():
            run = run or begin(load_checkpoint(folder / CHECKPOINT_NAME), changed)
            processes.wait()  # until all have read what the first one may write from here on
            feed = Feed(run.recipe, data, processes.device, pairs=pairs, share=processes.share)
            run.go(feed, on_sample, interruption, limit, progress)
    return folder / CHECKPOINT_NAME


class _Run:
    """A run at work: what it trains, where it writes, and what it has saved."""

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        data: ImageCache,
        processes: Team,
        teach: Teach | None,
        read: dict[str, str],
        saved: tuple[dict[str, Any], Recipe] | None = None,
        changed: bool = False,
    ) -> None:
        self.folder, self.data, self.read, self.team = folder, data, read, processes
        self.checkpoint = folder / CHECKPOINT_NAME
        self.saved_at: int | None = None
        self.waited = self.since = 0.0  # seconds for crops since the last line of the log, and when that was
        self.best: dict[str, float] = {}
        self.changes: dict[str, str] = {}
        if saved:
            state, before = saved
            recipe = recipe if recipe.init else recipe.model_copy(update={"init": before.init})
            self.changes = changes(before, recipe, state.get("data", {}), read)
            check_changes(folder, self.changes, changed)
        self.recipe = recipe
        self.trainer = Trainer(recipe, data.image_size()[0], processes.device, teach, processes)
        if saved:
            if layers_of(state, before, self.checkpoint) != self.trainer.model.settings:
                raise UsageError(
                    f"{self.checkpoint} has other layers than preset {before.model.preset} now: take a new run folder"
                )
            self.trainer.load(state)
            self.best, self.saved_at = state.get("best", {}), self.trainer.step
        elif recipe.init:
            warm_start(self.trainer, recipe.init)

    def go(
        self,
        feed: Feed,
        on_sample: OnSample | None,
        interruption: Interruption,
        limit: TimeLimit | None,
        progress: bool,
    ) -> None:
        """Train to the last step, or until a signal or the clock ends it; leave everything saved."""
        trainer, steps, clock = self.trainer, self.recipe.train.steps, limit or TimeLimit()
        first = self.team.first
        if first:
            self._open()
        journal = Journal(self.folder if first else None, trainer.step)
        self.waited, self.since = 0.0, time.monotonic()
        with journal, _bar(trainer, progress and first) as bar, feed:
            if self.changes:
                journal.note(trainer.step, changed=self.changes)
                self._save()  # from here on these are the run's own
            while trainer.step < steps and not self.team.any_true(interruption.asked or clock.stopped_at is not None):
                began = time.monotonic()
                crops = feed.take(trainer.step)
                self.waited += time.monotonic() - began
                terms = trainer.train_step(*crops)
                bar.update()
                self._record(terms, journal, bar)
                if on_sample and first and self._due(self.recipe.train.sample_every):
                    on_sample(trainer.ema, trainer.step, self.folder / SAMPLES)
                clock.check(trainer.step, steps)
        if self.saved_at != trainer.step:
            self._save()
        if trainer.step < steps:
            if interruption.asked and (interruption.number == signal.SIGINT or limit is None):
                raise KeyboardInterrupt
            clock.stopped_at = trainer.step  # in every process

    def _open(self) -> None:
        """Bring the folder to the state of the step at hand: what a killed run left unfinished is finished, or goes."""
        for path in self.folder.rglob(".*.partial"):
            path.unlink(missing_ok=True)
        write_whole(self.folder / "recipe.yaml", dump_recipe(self.recipe))
        forget_after(self.folder / METRICS_NAME, self.trainer.step)
        if self.saved_at is not None:
            self._keep()

    def _due(self, every: int) -> bool:
        return is_due(self.trainer.step, every, self.recipe.train.steps)

    def _record(self, terms: dict[str, Tensor], journal: Journal, bar: tqdm[Any]) -> None:
        """Log, validate and save where it is time to; refuse to go on where nothing is finite any more."""
        trainer, settings, step = self.trainer, self.recipe.train, self.trainer.step
        if trainer.guard.found:
            self._skipped(journal, bar)
        elif self._due(settings.log_every):
            # Stacked, for each value that is fetched by itself makes a GPU wait.
            found = self.team.mean(torch.stack([value.float() for value in terms.values()])).tolist()
            values = dict(zip(terms, found, strict=True))
            now = time.monotonic()
            journal.write(step, values, self.waited / max(now - self.since, 1e-9))
            self.waited, self.since = 0.0, now
            shown = {"gan": values.get("generator/gan"), "L1": values["generator/vae_reconstruction"]}
            bar.set_postfix({name: f"{value:.3f}" for name, value in shown.items() if value is not None})
        # What is saved must not be the weights that nothing finite came of, but older ones; the last ones are all there
        # is.
        if (self._due(settings.save_every) or self._stays()) and (not trainer.guard.found or step == settings.steps):
            if self.data.has("valid"):
                values = validate(trainer.ema, self.data, self.recipe, trainer.device)
                self._check_finite(values)
                journal.write(step, values)
                if values["valid/score"] < self.best.get("score", math.inf):
                    self.best = {"score": values["valid/score"], "step": step}
            self._save()

    def _skipped(self, journal: Journal, bar: tqdm[Any]) -> None:
        """Say what was not finite in the step at hand, and end the run where that does not end."""
        guard, step = self.trainer.guard, self.trainer.step
        because = ", ".join(guard.found)
        journal.note(step, skipped=guard.skipped, because=because)
        if not bar.disable:
            bar.write(f"step {step} is skipped, {guard.skipped} so far: not finite: {because}", sys.stderr)
        if guard.in_a_row >= self.recipe.train.skip_limit:
            raise self._broken(f"{because} not finite in {guard.in_a_row} steps in a row, up to step {step}")

    def _check_finite(self, values: dict[str, float]) -> None:
        broken = [name for name, value in values.items() if not math.isfinite(value)]
        if broken:
            raise self._broken(f"{broken[0]} is no longer finite at step {self.trainer.step}")

    def _broken(self, what: str) -> AudiotransError:
        way_out = "a lower train.learning_rate, --set train.clip_norm=1 or --set train.precision=float32"
        if self.saved_at is None:
            return AudiotransError(f"{what}; nothing was saved yet: begin again with {way_out}")
        return AudiotransError(
            f"{what}; {self.checkpoint} of step {self.saved_at} is whole: go on from it with --resume --changed and"
            f" {way_out}"
        )

    def _save(self) -> None:
        trainer = self.trainer
        self._check_finite({"a weight": _largest(trainer)})  # before it costs the last save
        if self.team.first:
            save_checkpoint(self.checkpoint, trainer.state() | {"data": self.read, "best": self.best}, self.recipe)
            self._keep()
        self.saved_at = trainer.step

    def _keep(self) -> None:
        """Keep what was just saved beside the last checkpoint, if it is the best or one that shall stay."""
        if self.best.get("step") == self.trainer.step:
            keep_as(self.checkpoint, BEST_NAME)
        if self._stays():
            keep_as(self.checkpoint, kept_name(self.trainer.step))

    def _stays(self) -> bool:
        every = self.recipe.train.keep_every
        return every > 0 and self.trainer.step % every == 0


def _bar(trainer: Trainer, progress: bool) -> tqdm[Any]:
    if progress and trainer.precision != trainer.recipe.train.precision:
        kind = trainer.device.type.upper().replace("CUDA", "GPU")
        print(f"this {kind} has no bf16 arithmetic: training in float32", file=sys.stderr)
    return tqdm(total=trainer.recipe.train.steps, initial=trainer.step, unit="step", disable=not progress)


def is_due(step: int, every: int, steps: int) -> bool:
    """Tell whether what is done every so many steps, and at the last of ``steps``, is done after this one."""
    return step % every == 0 or step == steps


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


def _largest(trainer: Trainer) -> float:
    weights = [*trainer.model.parameters(), *trainer.discriminators.parameters()]
    with torch.no_grad():
        return float(torch.stack(torch._foreach_norm(weights, math.inf)).max())
