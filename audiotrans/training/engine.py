"""One step of training: images in, losses out. Knows neither sound nor photos."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from audiotrans.errors import AudiotransError, UsageError
from audiotrans.model.avb_gtn import AVBGTN, DiscriminatorOutputs, Discriminators, Domain, Translation, normal
from audiotrans.model.losses import ADVERSARIAL, CYCLES, DISCRIMINATOR_LOSSES, GENERATOR_LOSSES
from audiotrans.recipe import NEEDS_T, Recipe
from audiotrans.training.checkpoints import fit
from audiotrans.training.data import Crops, at, louder, stream
from audiotrans.training.distributed import Team, together, without_sum
from audiotrans.training.guard import Guard, clip, gradient_norm
from audiotrans.training.history import HistoryBuffer
from audiotrans.training.warm_start import Teach

POOL_SIZE = 32
"""Past translations of each direction that the discriminators may be shown."""

POOL_STEPS = 4
"""Steps whose translations they may be shown at least, however many images a step has."""


class Pass(NamedTuple):
    """What a player's pass over one batch says.

    Attributes:
        terms: of its loss, unweighted.
        health: further figures of it.
        checked: means of what it made, which must be finite.
    """

    terms: dict[str, Tensor]
    health: dict[str, Tensor]
    checked: dict[str, Tensor]

    def detached(self) -> Pass:
        """Return it without its history."""
        return Pass(*({name: value.detach() for name, value in values.items()} for values in self))


def mean_pass(passes: Sequence[Pass]) -> Pass:
    """Return the means of several passes."""
    return Pass(
        *({name: together([one[name] for one in each]) for name in each[0]} for each in zip(*passes, strict=True))
    )


class Trainer:
    """Both players, their optimisers and the averaged weights: all that a checkpoint holds.

    Args:
        recipe: see `Recipe`.
        image_channels: channels of the images.
        device: where to train.
        teach: gives what the loss ``imitation`` asks for.
        team: the processes that train together; this one alone if None.
    """

    def __init__(
        self,
        recipe: Recipe,
        image_channels: int,
        device: torch.device,
        teach: Teach | None = None,
        team: Team | None = None,
    ) -> None:
        self.recipe, self.device, self.step, self.teach = recipe, device, 0, teach
        self.team = team or Team(device=device)
        self.adversarial = any(recipe.losses.generator.get(name) for name in ADVERSARIAL)
        # A recipe whose KL terms read T trains it; a T that nothing trains is not worth its time.
        self.asks_t = bool(recipe.losses.discriminator.get("latent"))
        cycles = [name for name in recipe.losses.generator if name in CYCLES and recipe.losses.generator[name]]
        self.asks_cycle = self.asks_t or bool(cycles)  # T sees what was translated back, too
        self.steps_before = 0  # of the runs that `Recipe.init` began with
        settings = recipe.train
        self.precision = quick_precision(settings.precision, device)
        choose_kernels(device)
        layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        with torch.random.fork_rng(devices=[]):
            # On the CPU alone: a GPU of the caller keeps its random state, and start values are the same everywhere.
            torch.default_generator.manual_seed(settings.seed)
            self.model = AVBGTN(recipe.model, image_channels).to(device).to(memory_format=layout)  # type: ignore[call-overload]
            self.discriminators = Discriminators(recipe.model, image_channels).to(device).to(memory_format=layout)  # type: ignore[call-overload]
        if settings.only_to:
            self.model.requires_grad_(False)
            (source,) = taught_from(recipe)
            for part in (self.model.encoders[source], self.model.decoders[settings.only_to]):
                part.requires_grad_(True)
        self.ema = copy.deepcopy(self.model).requires_grad_(False).eval()
        images = settings.batch_size * settings.accumulate * self.team.share.size
        size = max(POOL_SIZE, POOL_STEPS * images)
        self.pool = HistoryBuffer(size if settings.discriminator_batch > settings.batch_size else 0)
        self.guard = Guard(self.team.all_true)
        self._let_discriminators_learn(True)  # a T that nothing trains has no gradient to wait for
        # What computes a player's step; the players themselves are what is saved.
        self.players = {"generator": self.team.wrap(self.model)}
        self.players["discriminator"] = self.team.wrap(self.discriminators) if self.adversarial else self.discriminators
        adam = partial(torch.optim.Adam, betas=settings.betas, weight_decay=settings.weight_decay, fused=True)
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
            Every term, unweighted, what tells of T's health, and the norms of both players' gradients before they are
            clipped; scalars that were not synchronised yet. If a loss or a gradient is not finite, `guard` names it:
            then the generator side, and with it the whole step, or D and T alone did not move.
        """
        self.guard.found = []
        found = self._players_steps(Crops(a, b, more or {}, seen or {}, targets or {}))
        self.guard.count()
        self.step += 1
        return found

    def _players_steps(self, crops: Crops) -> dict[str, Tensor]:
        settings, kept = self.recipe.train, []
        self._set_learning_rates()
        passes = settings.accumulate
        images = torch.arange(len(crops.a)) + self.team.share.rank * len(crops.a)
        parts = zip(crops.parts(passes), images.chunk(passes), strict=True)
        self._let_discriminators_learn(False)

        def translate(part: Crops, numbers: list[int]) -> Pass:
            done, made, t, generators = self._generator_pass(part, numbers)
            kept.append((t.detached(), {name: x.detach() for name, x in made.items()}, generators))
            return done

        steps = [partial(translate, part, numbers.tolist()) for part, numbers in parts]
        found = self._descend("generator", steps, moves=self.step >= settings.discriminator_warmup)
        if self.guard.found:
            return found
        if self.adversarial and (self.asks_t or self._judges(kept[0][0])):
            self._let_discriminators_learn(True)
            for turn in range(settings.discriminator_steps):
                past = self._past(turn)
                judge = [
                    partial(
                        self._discriminator_pass,
                        t,
                        self._shown(t, made, crops.more, past, turn, index),
                        noise,
                        not index,
                    )
                    for index, (t, made, noise) in enumerate(kept)
                ]
                of_turn = self._descend("discriminator", judge)
                found = of_turn | found if turn else found | of_turn
                if not turn and self.pool.size:
                    for name in ("ab", "ba"):
                        self.pool.keep(name, self.team.joined(torch.cat([made[name] for _, made, _ in kept])))
        self._average()
        return found

    def _generator_pass(
        self, crops: Crops, numbers: list[int]
    ) -> tuple[Pass, dict[str, Tensor], Translation, list[torch.Generator]]:
        """Translate some of the step's images, by their numbers in it, and say what the generator side loses."""
        generators = self._generators("noise", numbers)
        with self._precision():
            t: Translation = self.players["generator"](crops.a, crops.b, generators, crops.seen, cycle=self.asks_cycle)
        t = self._with_targets(t, crops.targets)
        made = self._dithered(t, numbers)
        with self._precision():
            outputs = DiscriminatorOutputs([], [])
            if self.adversarial:
                judges = self._judges(t)
                matched = judges and bool(self.recipe.losses.generator.get("feature_matching"))
                asked = {"image": judges, "latent": self.asks_t, "layers": matched}
                outputs = self.discriminators(t, training=False, shown=made, **asked)
            terms = self._terms(self._generator_losses(t, outputs), t, outputs)
        checked = {f"translation {name}": made[name].mean() for name in ("ab", "ba")}
        return Pass(terms, {}, checked), made, t, generators

    def _discriminator_pass(
        self, t: Translation, shown: dict[str, Tensor], generators: list[torch.Generator], first: bool
    ) -> Pass:
        judges = self._judges(t)
        asked = {"generator": generators, "shown": shown, "image": judges, "latent": self.asks_t, "follow": first}
        losses = {name: loss for name, loss in DISCRIMINATOR_LOSSES.items() if judges or name != "image"}
        with self._precision():
            outputs = self.players["discriminator"](t, training=True, **asked)
            terms = self._terms(losses, t, outputs)
        return Pass(terms, health(t, outputs), {})

    def _judges(self, t: Translation) -> bool:
        """Tell whether D judges a batch: a conditional one knows of pairs alone what the source should sound like."""
        return not self.recipe.model.conditional_discriminator or t.true_ab is not None

    def _generators(self, name: str, numbers: list[int]) -> list[torch.Generator]:
        """Return a source of noise for each of the step's images."""
        seeds = (stream(self.recipe.train.seed, name, at(self.step, number)).initial_seed() for number in numbers)
        return [torch.Generator(self.device).manual_seed(seed) for seed in seeds]

    def _let_discriminators_learn(self, learn: bool) -> None:
        self.discriminators.image.requires_grad_(learn)
        if self.discriminators.latent is not None:
            self.discriminators.latent.requires_grad_(learn and self.asks_t)

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def _with_targets(self, t: Translation, targets: dict[str, Tensor]) -> Translation:
        """Add the other side of pairs, and what the teacher makes of the images, in float32 as it converts.

        The teacher sees the sounds as they were played, and its answer is made as much louder as the crops were. Of
        pairs it is not asked: its answer would hold against the truth.
        """
        t = replace(t, true_ab=targets.get("true_ab"), true_ba=targets.get("true_ba"))
        if self.teach is None or not self.recipe.losses.generator.get("imitation") or t.true_ab is not None:
            return t
        wanted, images = {}, {"a": t.a, "b": t.b}
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            for source in taught_from(self.recipe):
                told = self.teach(targets.get(f"plain_{source}", images[source]), source).float()
                wanted[source] = louder(told, targets[f"gain_{source}"]) if f"gain_{source}" in targets else told
        return replace(t, wanted_ab=wanted.get("a"), wanted_ba=wanted.get("b"))

    def _dithered(self, t: Translation, numbers: list[int]) -> dict[str, Tensor]:
        """Give the translations as much noise as the real crops have, so that noise tells D nothing.

        So with the true sides of pairs, which a conditional D sees in place of the crops. What ``residual`` takes over
        from a crop brings its share of the crop's own noise. The gradient passes as if nothing were clipped.
        """
        made, full = {"ab": t.ab, "ba": t.ba}, self.recipe.train.dither
        sizes = dict.fromkeys(made, full * math.sqrt(1 - self.recipe.model.residual**2))
        if self.recipe.model.conditional_discriminator and t.true_ab is not None and t.true_ba is not None:
            made |= {"a": t.true_ba, "b": t.true_ab}
            sizes |= {"a": full, "b": full}
        if not any(sizes.values()):
            return made
        generators = self._generators("dither of translations", numbers)
        for name, images in made.items():
            noise = normal(images.shape, generators, self.device)
            made[name] = images + ((images + sizes[name] * noise).clamp(-1, 1) - images).detach()
        return made

    def _past(self, turn: int) -> dict[str, list[Tensor]]:
        """Draw the past translations that all of a step's batches are shown."""
        settings = self.recipe.train
        count = (settings.discriminator_batch - settings.batch_size) * settings.accumulate * self.team.share.size
        generator = stream(settings.seed, "pool", self.step, *([turn] if turn else []))
        return {name: self.pool.draw(name, max(count, 0), generator) for name in ("ab", "ba")}

    def _shown(
        self,
        t: Translation,
        made: dict[str, Tensor],
        more: dict[str, Tensor],
        past: dict[str, list[Tensor]],
        turn: int,
        index: int,
    ) -> dict[str, Tensor]:
        """Put further real images and past translations beside a batch's own; each turn has real images of its own.

        Args:
            t: of the batch.
            made: its translations, as D sees them.
            more: further real images of all of this process's batches, turn after turn.
            past: translations for all processes.
            turn: of D's steps.
            index: of the batch.
        """
        settings = self.recipe.train
        size = max(settings.discriminator_batch, settings.batch_size)
        fewer = size - settings.batch_size  # the first turn shows the batch's own, too
        each = size if turn else fewer
        first = (settings.accumulate * (fewer + (turn - 1) * size) if turn else 0) + index * each
        shown = {name: images[first : first + each] for name, images in more.items()}
        if not turn:
            shown = {name: torch.cat([getattr(t, name), images]) for name, images in shown.items()}
        share = self.team.share
        own = slice(share.rank * settings.accumulate + index, None, share.size * settings.accumulate)
        for name, images in made.items():
            shown[name] = torch.cat([images, *(x.to(self.device) for x in past.get(name, [])[own])])
        return shown

    def _terms(self, losses: dict[str, Any], t: Translation, v: DiscriminatorOutputs) -> dict[str, Tensor]:
        return {name: loss(t, v, self.recipe.loss_settings) for name, loss in losses.items()}

    def _generator_losses(self, t: Translation, v: DiscriminatorOutputs) -> dict[str, Any]:
        """Leave out what says nothing: outputs of discriminators that do not learn, wishes of no teacher or pair."""
        unused = (set() if self.adversarial else ADVERSARIAL) | (set() if self.teach else {"imitation"})
        unused |= {"vae_kl", "cycle_kl"} if self.recipe.model.kl in NEEDS_T and not self.asks_t else set()
        unused |= set() if self.asks_cycle else CYCLES
        unused |= {"paired"} if t.true_ab is None else {"imitation"}
        unused |= set() if self._judges(t) else {"gan"}
        unused |= set() if v.made_layers else {"feature_matching"}
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

    def _descend(self, player: str, passes: Sequence[Callable[[], Pass]], *, moves: bool = True) -> dict[str, Tensor]:
        """Move a player down its weighted terms, unless one of them, its gradient or what it made is not finite.

        Args:
            player: ``generator`` or ``discriminator``.
            passes: each computes the terms of a batch; the step's are their means.
            moves: or only look.
        """
        optimiser, weights = self.model_adam, self._generator_weights()
        if player == "discriminator":
            optimiser, weights = self.discriminators_adam, self.recipe.losses.discriminator
        optimiser.zero_grad(set_to_none=True)
        done: list[Pass] = []
        for number, compute in enumerate(passes, start=1):
            with nullcontext() if number == len(passes) else without_sum(self.players[player]):
                one = compute()
                loss = self._weighted(one.terms, weights) / len(passes)
                if not loss.requires_grad:
                    raise UsageError(
                        "no loss has a weight that trains this player: see losses.generator and losses.discriminator"
                    )
                if moves:
                    loss.backward()  # type: ignore[no-untyped-call]
            done.append(one.detached())
        whole = mean_pass(done)
        found = {f"{player}/{name}": term for name, term in whole.terms.items()}
        checked = {name: term for name, term in found.items() if weights.get(name.partition("/")[2])} | whole.checked
        if not moves:
            self.guard.passes(checked)
            return found | whole.health
        parameters = [each for group in optimiser.param_groups for each in group["params"] if each.requires_grad]
        norm = gradient_norm(parameters)
        if self.guard.passes(checked | {f"{player}/gradient": norm}):
            clip(parameters, norm, self.recipe.train.clip_norm)
            optimiser.step()
        elif self.guard.found == [f"{player}/gradient"]:
            self.guard.found = self._terms_to_blame(player, passes, weights, parameters) or self.guard.found
        return found | whole.health | {f"health/{player}_gradient": norm}

    def _terms_to_blame(
        self,
        player: str,
        passes: Sequence[Callable[[], Pass]],
        weights: dict[str, float],
        parameters: Sequence[Tensor],
    ) -> list[str]:
        """Name the finite terms whose gradients are not finite: the step's are computed again, term by term."""
        names = []
        for compute in passes:
            with without_sum(self.players[player]):
                terms = compute().terms
            for name, term in terms.items():
                if not weights.get(name) or not term.requires_grad:
                    continue
                gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
                if not all(each.isfinite().all() for each in gradients if each is not None):
                    names.append(f"gradient of {player}/{name}")
        return list(dict.fromkeys(names))

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
        state = {"guard": self.guard.state_dict(), **state}  # older checkpoints counted nothing
        missing = [name for name in _STATEFUL if name not in state]
        if missing:
            raise AudiotransError(f"the checkpoint lacks {', '.join(missing)}: it is of another version of audiotrans")
        for name in _STATEFUL:
            fit(getattr(self, name), state[name], "the checkpoint")
        for optimiser in (self.model_adam, self.discriminators_adam):
            _make_fused(optimiser)
        self.step, self.steps_before = state["step"], state.get("steps_before", 0)


def _make_fused(optimiser: torch.optim.Optimizer) -> None:
    """Let an optimiser take the fused way with the state of any checkpoint, which may be of another way or layout."""
    for group in optimiser.param_groups:
        group |= {"fused": True, "foreach": None}
    for parameter, found in optimiser.state.items():
        for name, value in found.items():
            if value.shape == parameter.shape:  # the fused way reads memory in the order of the parameter's
                found[name] = torch.empty_like(parameter, requires_grad=False).copy_(value)


_STATEFUL = ("model", "discriminators", "ema", "model_adam", "discriminators_adam", "pool", "guard")


def taught_from(recipe: Recipe) -> tuple[Domain, ...]:
    """Return the sources of the translations that learn."""
    sources: dict[str | None, tuple[Domain, ...]] = {"a": ("b",), "b": ("a",)}
    return sources.get(recipe.train.only_to, ("a", "b"))


def health(t: Translation, v: DiscriminatorOutputs) -> dict[str, Tensor]:
    """Measure T and D: accuracies, T's mean on either class in nats per latent dimension, and z's spread."""
    found = {"health/z_std": t.z_a.std()}
    if v.posterior:
        posterior, prior = torch.cat([x.flatten() for x in v.posterior]), torch.cat([x.flatten() for x in v.prior])
        found["health/t_accuracy"] = ((posterior > 0).float().mean() + (prior < 0).float().mean()) / 2
        found["health/t_posterior"] = posterior.mean() / v.dimensions
        found["health/t_prior"] = prior.mean() / v.dimensions
    for name, logits in {"real_a": v.real_a, "real_b": v.real_b, "fake_ab": v.fake_ab, "fake_ba": v.fake_ba}.items():
        if logits:
            found[f"health/d_{name}"] = torch.stack([x.float().mean() for x in logits]).mean()
    return {name: value.detach() for name, value in found.items()}


def quick_precision(asked: str, device: torch.device) -> str:
    """Return ``float32`` in place of ``bf16`` where a device would only imitate it, which is many times as slow.

    Args:
        asked: ``bf16`` or ``float32``, the recipe's.
        device: where to train.
    """
    has_bf16: dict[str, Callable[[], bool]] = {"cpu": cpu_has_bf16, "cuda": lambda: gpu_has_bf16(device)}
    imitated = asked == "bf16" and device.type in has_bf16 and not has_bf16[device.type]()
    return "float32" if imitated else asked


def gpu_has_bf16(device: torch.device) -> bool:
    """Tell whether a CUDA device computes in bf16 itself; by default torch also says so of those that imitate it."""
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def choose_kernels(device: torch.device) -> None:
    """Choose what CUDA computes with in training; nothing on other devices.

    - cuDNN tries its ways of each convolution once (``benchmark``): shapes stay the same from step to step.
    - What autocast leaves in float32, and all of ``precision: float32``, may use TF32: 10 bits of mantissa, more than
      bf16 has, on tensor cores.
    """
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cuda.matmul.allow_tf32 = True


def cpu_has_bf16() -> bool:
    """Tell whether torch's CPU library, oneDNN, computes in bf16 here."""
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # built without oneDNN
        return False
