"""The training loop: images in, losses out. Knows neither sound nor photos."""

from __future__ import annotations

import copy
import math
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from audiotrans.errors import AudiotransError, UsageError
from audiotrans.model.avb_gtn import AVBGTN, DiscriminatorOutputs, Discriminators, Translation
from audiotrans.model.losses import ADVERSARIAL, DISCRIMINATOR_LOSSES, GENERATOR_LOSSES
from audiotrans.recipe import Recipe, dump_recipe
from audiotrans.training.checkpoints import (
    CHECKPOINT_NAME,
    METRICS_NAME,
    Journal,
    fit,
    forget_after,
    layers_of,
    load_checkpoint,
    save_checkpoint,
)
from audiotrans.training.data import Feed, ImageCache, PairedCache, louder, open_images, stream
from audiotrans.training.history import HistoryBuffer
from audiotrans.training.validation import validate
from audiotrans.training.warm_start import Teach, warm_start

SAMPLES = "samples"
"""Folder of a run for what `OnSample` makes."""

POOL_SIZE = 32
"""Past translations of each direction that the discriminators may be shown."""

OnSample = Callable[[AVBGTN, int, Path], None]


class Trainer:
    """Both players, their optimisers and the averaged weights: all that a checkpoint holds.

    Args:
        recipe: see `Recipe`.
        image_channels: channels of the images.
        device: where to train.
        teach: gives what the loss ``imitation`` asks for.
    """

    def __init__(self, recipe: Recipe, image_channels: int, device: torch.device, teach: Teach | None = None) -> None:
        self.recipe, self.device, self.step, self.teach = recipe, device, 0, teach
        self.adversarial = any(recipe.losses.generator.get(name) for name in ADVERSARIAL)
        self.steps_before = 0  # of the runs that `Recipe.init` began with
        settings = recipe.train
        self.precision = quick_precision(settings.precision, device)
        layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        with torch.random.fork_rng(devices=[]):
            # On the CPU alone: a GPU of the caller keeps its random state, and start values are the same everywhere.
            torch.default_generator.manual_seed(settings.seed)
            self.model = AVBGTN(recipe.model, image_channels).to(device).to(memory_format=layout)  # type: ignore[call-overload]
            self.discriminators = Discriminators(recipe.model, image_channels).to(device).to(memory_format=layout)  # type: ignore[call-overload]
        self.ema = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.pool = HistoryBuffer(POOL_SIZE if settings.discriminator_batch > settings.batch_size else 0)
        adam = partial(torch.optim.Adam, betas=settings.betas, weight_decay=settings.weight_decay, foreach=True)
        self.model_adam = adam(self.model.parameters(), settings.learning_rate)
        self.discriminators_adam = adam(self.discriminators.parameters(), settings.discriminator_learning_rate)

    def train_step(
        self,
        a: Tensor,
        b: Tensor,
        more: dict[str, Tensor] | None = None,
        seen: dict[str, Tensor] | None = None,
        targets: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Move the generator side once (not during ``discriminator_warmup``), then the discriminators.

        Args:
            a: images of domain A, ``(n, c, h, w)``.
            b: images of domain B.
            more: further real images of ``a`` and ``b`` for the discriminators alone.
            seen: what the encoders see in place of ``a`` and ``b``; all that is made is compared with ``a`` and ``b``.
            targets: see `Crops`.

        Returns:
            Every term, unweighted, and what tells of T's health; scalars that were not synchronised yet.
        """
        settings = self.recipe.train
        self._set_learning_rates()
        generator = torch.Generator(self.device).manual_seed(stream(settings.seed, "noise", self.step).initial_seed())
        with self._precision():
            t = self.model(a, b, generator, seen)
        t = self._with_targets(t, targets or {})
        made = self._dithered(t)
        with self._precision():
            self.discriminators.requires_grad_(False)
            outputs = DiscriminatorOutputs([], [])
            if self.adversarial:
                outputs = self.discriminators(t, training=False, shown=made)
            terms = self._terms(self._generator_losses(t), t, outputs)
        if self.step >= settings.discriminator_warmup:
            self._descend(self.model_adam, self._weighted(terms, self._generator_weights()))
        found = {f"generator/{name}": value.detach() for name, value in terms.items()}
        if self.adversarial:
            made = {name: images.detach() for name, images in made.items()}
            t = t.detached()
            found |= self._discriminators_step(t, made, more or {}, generator)
            for turn in range(1, settings.discriminator_steps):
                self._discriminators_step(t, made, more or {}, generator, turn)
        self._average()
        self.step += 1
        return found

    def _discriminators_step(
        self,
        t: Translation,
        made: dict[str, Tensor],
        more: dict[str, Tensor],
        generator: torch.Generator,
        turn: int = 0,
    ) -> dict[str, Tensor]:
        self.discriminators.requires_grad_(True)
        shown = self._shown(t, made, more, turn)
        with self._precision():
            outputs = self.discriminators(t, training=True, generator=generator, shown=shown)
            terms = self._terms(DISCRIMINATOR_LOSSES, t, outputs)
        self._descend(self.discriminators_adam, self._weighted(terms, self.recipe.losses.discriminator))
        return {f"discriminator/{name}": value.detach() for name, value in terms.items()} | health(t, outputs)

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def _with_targets(self, t: Translation, targets: dict[str, Tensor]) -> Translation:
        """Add the other side of pairs, and what the teacher makes of the images, in float32 as it converts.

        The teacher sees the sounds as they were played, and its answer is made as much louder as the crops were.
        """
        t = replace(t, true_ab=targets.get("true_ab"), true_ba=targets.get("true_ba"))
        if self.teach is None or not self.recipe.losses.generator.get("imitation"):
            return t
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            ab = self.teach(targets.get("plain_a", t.a), "a").float()
            ba = self.teach(targets.get("plain_b", t.b), "b").float()
            if "gain_a" in targets:
                ab, ba = louder(ab, targets["gain_a"]), louder(ba, targets["gain_b"])
        return replace(t, wanted_ab=ab, wanted_ba=ba)

    def _dithered(self, t: Translation) -> dict[str, Tensor]:
        """Give the translations as much noise as the real crops have, so that noise tells D nothing.

        What ``residual`` takes over from a crop brings its share of the crop's own noise. The gradient passes as if
        nothing were clipped.
        """
        made = {"ab": t.ab, "ba": t.ba}
        size = self.recipe.train.dither * math.sqrt(1 - self.recipe.model.residual**2)
        if not size:
            return made
        place = stream(self.recipe.train.seed, "dither of translations", self.step).initial_seed()
        generator = torch.Generator(self.device).manual_seed(place)
        for name, images in made.items():
            noise = torch.randn(images.shape, generator=generator, device=self.device)
            made[name] = images + ((images + size * noise).clamp(-1, 1) - images).detach()
        return made

    def _shown(self, t: Translation, made: dict[str, Tensor], more: dict[str, Tensor], turn: int) -> dict[str, Tensor]:
        """Put further real images and past translations beside the step's own; each turn has real images of its own."""
        settings = self.recipe.train
        size = max(settings.discriminator_batch, settings.batch_size)
        own = slice(turn * size, (turn + 1) * size)
        shown = {name: torch.cat([getattr(t, name), images])[own] for name, images in more.items()}
        generator = stream(settings.seed, "pool", self.step, *([turn] if turn else []))
        for name, images in made.items():
            past = [
                x.to(self.device) for x in self.pool.draw(name, settings.discriminator_batch - len(images), generator)
            ]
            shown[name] = torch.cat([images, *past])
            if not turn:
                self.pool.keep(name, images)
        return shown

    def _terms(self, losses: dict[str, Any], t: Translation, v: DiscriminatorOutputs) -> dict[str, Tensor]:
        return {name: loss(t, v, self.recipe.loss_settings) for name, loss in losses.items()}

    def _generator_losses(self, t: Translation) -> dict[str, Any]:
        """Leave out what says nothing: outputs of discriminators that do not learn, wishes of no teacher or pair."""
        unused = (set() if self.adversarial else ADVERSARIAL) | (set() if self.teach else {"imitation"})
        unused |= {"paired"} if t.true_ab is None else set()
        return {name: loss for name, loss in GENERATOR_LOSSES.items() if name not in unused}

    @staticmethod
    def _weighted(terms: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
        return sum((weights[name] * term for name, term in terms.items() if weights.get(name)), torch.zeros(()))

    def _generator_weights(self) -> dict[str, float]:
        losses = self.recipe.losses
        weights = dict(losses.generator)
        if losses.identity_steps and "identity" in weights:
            # A model that was trained before is not drawn back to where it began.
            left = 0.0 if self.recipe.init else max(0.0, 1 - self.step / losses.identity_steps)
            weights["identity"] *= left
        return weights

    @staticmethod
    def _descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
        if not loss.requires_grad:
            raise UsageError(
                "no loss has a weight that trains this player: see losses.generator and losses.discriminator"
            )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    def _set_learning_rates(self) -> None:
        settings = self.recipe.train
        left = 1 - self.step / settings.steps
        factor = min(1.0, left / (1 - settings.decay_from)) if settings.decay_from < 1 else 1.0
        for group in self.model_adam.param_groups:
            group["lr"] = settings.learning_rate * factor
        for group in self.discriminators_adam.param_groups:
            group["lr"] = settings.discriminator_learning_rate * factor

    def _average(self) -> None:
        # Early on, a shorter memory: the average must not keep the random start.
        decay = min(self.recipe.train.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.ema.parameters()), list(self.model.parameters()), 1 - decay)

    def state(self) -> dict[str, Any]:
        """Return everything that the next step depends on."""
        parts = {name: getattr(self, name).state_dict() for name in _STATEFUL}
        return {"step": self.step, "steps_before": self.steps_before, **parts}

    def load(self, state: dict[str, Any]) -> None:
        """Take what `state` gave."""
        missing = [name for name in _STATEFUL if name not in state]
        if missing:
            raise AudiotransError(f"the checkpoint lacks {', '.join(missing)}: it is of another version of audiotrans")
        for name in _STATEFUL:
            fit(getattr(self, name), state[name], "the checkpoint")
        self.step, self.steps_before = state["step"], state.get("steps_before", 0)


_STATEFUL = ("model", "discriminators", "ema", "model_adam", "discriminators_adam", "pool")


def health(t: Translation, v: DiscriminatorOutputs) -> dict[str, Tensor]:
    """Measure T and D: accuracies, T's mean on either class in nats per latent dimension, and z's spread."""
    found = {"health/z_std": t.z_a.std()}
    if v.posterior:
        posterior, prior = torch.cat([x.flatten() for x in v.posterior]), torch.cat([x.flatten() for x in v.prior])
        found["health/t_accuracy"] = ((posterior > 0).float().mean() + (prior < 0).float().mean()) / 2
        found["health/t_posterior"] = posterior.mean() / v.dimensions
        found["health/t_prior"] = prior.mean() / v.dimensions
    for name, logits in {"real_a": v.real_a, "real_b": v.real_b, "fake_ab": v.fake_ab, "fake_ba": v.fake_ba}.items():
        found[f"health/d_{name}"] = torch.stack([x.float().mean() for x in logits or []]).mean()
    return {name: value.detach() for name, value in found.items()}


def quick_precision(asked: str, device: torch.device) -> str:
    """Return ``float32`` in place of ``bf16`` where a CPU would only imitate it, which is many times as slow.

    Args:
        asked: ``bf16`` or ``float32``, the recipe's.
        device: where to train.
    """
    return "float32" if asked == "bf16" and device.type == "cpu" and not cpu_has_bf16() else asked


def cpu_has_bf16() -> bool:
    """Tell whether torch's CPU library, oneDNN, computes in bf16 here."""
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # built without oneDNN
        return False


class Interruption:
    """Context in which the first SIGINT or SIGTERM only sets `asked`; a second one takes effect at once.

    Outside the main thread, where Python allows no signal handlers, it does nothing.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.getsignal(number)
                if before not in (signal.SIG_IGN, None):  # a run in the background stays deaf to Ctrl-C
                    self._before[number] = before
                    signal.signal(number, self._ask)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


class TimeLimit:
    """A run's share of the clock, for machines that end a command after so many minutes.

    Args:
        minutes: to run, > 0; None for no limit.
        began: `time.monotonic` when the clock started; now if None.

    Attributes:
        stopped_at: the step after which a run stopped because its time was spent; None if it did not.

    Raises:
        UsageError: for minutes that are not above 0.
    """

    def __init__(self, minutes: float | None = None, began: float | None = None) -> None:
        if minutes is not None and not minutes > 0:
            raise UsageError(f"minutes {minutes:g}: more than 0 are needed")
        self.minutes, self.began = minutes, time.monotonic() if began is None else began
        self.stopped_at: int | None = None

    def check(self, step: int, steps: int) -> None:
        """Note that the run stops after this step if the time is over and it is not the last of ``steps``."""
        if self.minutes is not None and step < steps and time.monotonic() - self.began >= 60 * self.minutes:
            self.stopped_at = step


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
