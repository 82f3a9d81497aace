"""One step of training: images in, losses out. Knows neither sound nor photos."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from audiotrans.errors import AudiotransError, UsageError
from audiotrans.model.avb_gtn import AVBGTN, DiscriminatorOutputs, Discriminators, Translation
from audiotrans.model.losses import ADVERSARIAL, DISCRIMINATOR_LOSSES, GENERATOR_LOSSES
from audiotrans.recipe import NEEDS_T, Recipe
from audiotrans.training.checkpoints import fit
from audiotrans.training.data import louder, stream
from audiotrans.training.guard import Guard, clip, gradient_norm
from audiotrans.training.history import HistoryBuffer
from audiotrans.training.warm_start import Teach

POOL_SIZE = 32
"""Past translations of each direction that the discriminators may be shown."""


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
        # A recipe whose KL terms read T trains it; a T that nothing trains is not worth its time.
        self.asks_t = bool(recipe.losses.discriminator.get("latent"))
        self.steps_before = 0  # of the runs that `Recipe.init` began with
        settings = recipe.train
        self.precision = quick_precision(settings.precision, device)
        layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        with torch.random.fork_rng(devices=[]):
            # On the CPU alone: a GPU of the caller keeps its random state, and start values are the same everywhere.
            torch.default_generator.manual_seed(settings.seed)
            self.model = AVBGTN(recipe.model, image_channels).to(device).to(memory_format=layout)  # type: ignore[call-overload]
            self.discriminators = Discriminators(recipe.model, image_channels).to(device)
        if device.type != "cpu":  # there, norms over the image cost twice as much in channels_last as they save
            self.discriminators.to(memory_format=layout)  # type: ignore[call-overload]
        self.ema = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.pool = HistoryBuffer(POOL_SIZE if settings.discriminator_batch > settings.batch_size else 0)
        self.guard = Guard()
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
            Every term, unweighted, what tells of T's health, and the norms of both players' gradients before they are
            clipped; scalars that were not synchronised yet. If a loss or a gradient is not finite, `guard` names it:
            then the generator side, and with it the whole step, or D and T alone did not move.
        """
        self.guard.found = []
        found = self._players_steps(a, b, more or {}, seen, targets or {})
        self.guard.count()
        self.step += 1
        return found

    def _players_steps(
        self,
        a: Tensor,
        b: Tensor,
        more: dict[str, Tensor],
        seen: dict[str, Tensor] | None,
        targets: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        settings = self.recipe.train
        self._set_learning_rates()
        generator = torch.Generator(self.device).manual_seed(stream(settings.seed, "noise", self.step).initial_seed())
        with self._precision():
            t = self.model(a, b, generator, seen)
        t = self._with_targets(t, targets)
        made = self._dithered(t)
        with self._precision():
            self._let_discriminators_learn(False)
            outputs = DiscriminatorOutputs([], [])
            if self.adversarial:
                outputs = self.discriminators(t, training=False, shown=made, latent=self.asks_t)
            terms = self._terms(self._generator_losses(t), t, outputs)
        found = {f"generator/{name}": value.detach() for name, value in terms.items()}
        found |= self._descend("generator", terms, made, moves=self.step >= settings.discriminator_warmup)
        if self.guard.found:
            return found
        if self.adversarial:
            made = {name: images.detach() for name, images in made.items()}
            t = t.detached()
            found |= self._discriminators_step(t, made, more, generator)
            for turn in range(1, settings.discriminator_steps):
                self._discriminators_step(t, made, more, generator, turn)
        self._average()
        return found

    def _discriminators_step(
        self,
        t: Translation,
        made: dict[str, Tensor],
        more: dict[str, Tensor],
        generator: torch.Generator,
        turn: int = 0,
    ) -> dict[str, Tensor]:
        self._let_discriminators_learn(True)
        shown = self._shown(t, made, more, turn)
        with self._precision():
            outputs = self.discriminators(t, training=True, generator=generator, shown=shown, latent=self.asks_t)
            terms = self._terms(DISCRIMINATOR_LOSSES, t, outputs)
        found = {f"discriminator/{name}": value.detach() for name, value in terms.items()} | health(t, outputs)
        return found | self._descend("discriminator", terms)

    def _let_discriminators_learn(self, learn: bool) -> None:
        self.discriminators.image.requires_grad_(learn)
        if self.discriminators.latent is not None:
            self.discriminators.latent.requires_grad_(learn and self.asks_t)

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
        unused |= {"vae_kl", "cycle_kl"} if self.recipe.model.kl in NEEDS_T and not self.asks_t else set()
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

    def _descend(
        self, player: str, terms: dict[str, Tensor], made: dict[str, Tensor] | None = None, *, moves: bool = True
    ) -> dict[str, Tensor]:
        """Move a player down its weighted terms, unless one of them, its gradient or what it made is not finite."""
        optimiser, weights = self.model_adam, self._generator_weights()
        if player == "discriminator":
            optimiser, weights = self.discriminators_adam, self.recipe.losses.discriminator
        loss = self._weighted(terms, weights)
        if not loss.requires_grad:
            raise UsageError(
                "no loss has a weight that trains this player: see losses.generator and losses.discriminator"
            )
        checked = {f"{player}/{name}": term for name, term in terms.items() if weights.get(name)}
        checked |= {f"translation {name}": images.mean() for name, images in (made or {}).items()}
        if not moves:
            self.guard.passes(checked)
            return {}
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        parameters = [each for group in optimiser.param_groups for each in group["params"]]
        norm = gradient_norm(parameters)
        if self.guard.passes(checked | {f"{player}/gradient": norm}):
            clip(parameters, norm, self.recipe.train.clip_norm)
            optimiser.step()
        return {f"health/{player}_gradient": norm}

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
        self.step, self.steps_before = state["step"], state.get("steps_before", 0)


_STATEFUL = ("model", "discriminators", "ema", "model_adam", "discriminators_adam", "pool", "guard")


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
