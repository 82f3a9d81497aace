"""Recipes: one YAML file says how images are made, what the model is and how it is trained. The only user of YAML.

Defaults live in the settings classes; a recipe holds only its differences.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)

from audiotrans.errors import AudiotransError, RenamedWarning, UsageError, lookup, nearest
from audiotrans.model.avb_gtn import LossSettings
from audiotrans.model.losses import ADVERSARIAL, DISCRIMINATOR_LOSSES, GENERATOR_LOSSES, Loss
from audiotrans.model.nets import NetSettings, as_recipe, net_settings, with_preset
from audiotrans.options import BY_MODEL, GONE, OLD_NAMES, Side
from audiotrans.photo.images import PhotoSettings
from audiotrans.spectrogram.imaging import AudioSettings


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Domains(_Part):
    """Names of the two domains, as users of ``--to`` know them."""

    a: str = "violin"
    b: str = "piano"

    @model_validator(mode="after")
    def _differ(self) -> Domains:
        if self.a == self.b:
            raise ValueError(f"both domains are called {self.a!r}")
        return self


class Losses(_Part):
    """The form of the GAN term and the weight of every term (the paper's lambdas); a term not named has weight 0.

    Attributes:
        gan: see `LossSettings`.
        generator: weights by the names in `GENERATOR_LOSSES`.
        discriminator: weights by the names in `DISCRIMINATOR_LOSSES`.
        identity_steps: steps over which the weight of ``identity`` fades to 0; 0 keeps it. With
            `Recipe.init` it has faded already.
    """

    gan: Literal["bce", "lsgan", "hinge"] = "hinge"
    generator: dict[str, float] = Field(
        default={
            "gan": 1.0, "vae_kl": 0.1, "vae_reconstruction": 10.0, "cycle_kl": 0.1, "cycle_reconstruction": 10.0,
            "identity": 10.0, "fine_structure": 1.0,
        }
    )  # fmt: skip
    discriminator: dict[str, float] = Field(default={"image": 1.0, "latent": 1.0})
    identity_steps: int = Field(default=1000, ge=0)

    @field_validator("generator")
    @classmethod
    def _generator_terms(cls, weights: dict[str, float]) -> dict[str, float]:
        return _checked_weights(weights, GENERATOR_LOSSES, "generator loss")

    @field_validator("discriminator")
    @classmethod
    def _discriminator_terms(cls, weights: dict[str, float]) -> dict[str, float]:
        return _checked_weights(weights, DISCRIMINATOR_LOSSES, "discriminator loss")


def _checked_weights(weights: dict[str, float], known: Mapping[str, Loss], what: str) -> dict[str, float]:
    for name, weight in weights.items():
        lookup(known, name, what)
        if weight < 0:
            raise ValueError(f"the weight of {name} is {weight}: 0 or more")
    if not any(weights.values()):
        raise ValueError("at least one weight must be above 0")
    return weights


class _ByTarget(_Part):
    """A value for translations to A and one for translations to B; one number stands for both."""

    @model_validator(mode="before")
    @classmethod
    def _both(cls, value: Any) -> Any:
        return {"a": value, "b": value} if isinstance(value, int | float) else value


def _conversion_fields() -> dict[str, Any]:
    """Return a recipe's key for each option of conversion that a model has its own values of, with its range."""
    keys: dict[str, Any] = {}
    for name, info in BY_MODEL.items():
        number = Annotated[info.kind, Field(ge=info.least, le=info.most)]  # type: ignore[name-defined]
        sides: Any = {"a": (number, info.neutral), "b": (number, info.neutral)}
        pair = create_model(name, __base__=_ByTarget, __module__=__name__, **sides)
        keys[name] = (pair, pair())
    return keys


OLD_KEYS = {
    "critic_batch": "discriminator_batch",
    "critic_learning_rate": "discriminator_learning_rate",
    "critic_warmup": "discriminator_warmup",
    "critic_width": "discriminator_width",
    "critic_scales": "discriminator_scales",
    "critic_norm": "discriminator_norm",
    "latent_critic": "latent_discriminator",
    "blind_rows": "ignored_rows",
    "carry": "residual",
    **OLD_NAMES,
}
"""Keys as recipes and model files of version 0.1 spell them, and today's names; read for one release."""

MOST_DEPTH, MOST_VALUES = 20, 10_000
"""How deeply the values of a recipe may be nested, and how many there may be: an alias of YAML stands for all that it
names, so that ten lines can mean a billion values."""

NEEDS_T = ("softplus", "linear", "paper", "adaptive")
"""Values of ``model.kl`` whose term is what T says."""

_OF_LOG_IMAGES = ("gain_db", "gain_range_db", "transpose", "equalise_db", "match_range")

_Beta = Annotated[float, Field(ge=0, lt=1)]


class Train(_Part):
    """The training run.

    Attributes:
        steps: generator steps.
        batch_size: images of each domain that a process computes at once; a step has so many of each process
            and of each of ``accumulate``.
        accumulate: batches whose gradients are added up to one step's: a larger step in the memory of a small one.
        discriminator_batch: images of each kind and domain that D sees with each batch: the batch's own, more real
            crops, and past translations (`HistoryBuffer`).
        discriminator_steps: steps of D and T in each step, every one on other real crops and past translations.
        crop_frames: columns of each image of sound; crops differ in time only. Not read for photos, whose size
            ``imaging`` names.
        learning_rate: of encoders and decoders (Adam).
        discriminator_learning_rate: of D and T.
        betas: of Adam.
        weight_decay: L2, both optimisers.
        only_to: a domain, ``a`` or ``b``: only translations to it learn, by its decoder and the other domain's encoder.
            All else of the model, and so the way back, stays what `Recipe.init` gave. Null: everything learns.
        clip_norm: largest norm of each player's gradient, which is scaled down to it; 0 leaves gradients alone. The log
            has the norms, ``health/*_gradient``.
        skip_limit: steps in a row that may be skipped, because a loss or a gradient is not finite, before the run ends.
        decay_from: share of the run after which learning rates fall linearly to 0; 1 keeps them.
        ema: decay of the averaged weights that are validated, sampled and exported.
        precision: ``bf16`` autocast (``float32`` on CPUs that have no such arithmetic) or ``float32``.
        channels_last: memory layout of the nets.
        gain_db: each crop's level is changed by up to this many dB (log images), so that level is no cue.
        gain_range_db: each crop is the sound made louder by a random gain between these two (log images), most often
            near the upper one, and so is all that is asked for: loud and soft are content. Null: as it was played.
        pairs_share: share of the steps whose crops are pairs, where `Recipe.pairs` names some.
        transpose: each crop is moved by up to this many semitones (log images), so that no row stands for a key.
        dither: standard deviation of the noise in all that D sees: in real crops, and in translations of them.
        equalise_db: what the encoders see of each crop is coloured by a smooth random curve of up to this many dB (log
            images), while all that is asked for is of the crop as it is: another microphone must not matter.
        match_range: draw crops of both domains from the range of pitches that they share.
        discriminator_warmup: first steps, in which D and T alone learn: for `Recipe.init` from a file without them.
        seed: of initial weights, crops and noise.
        log_every: steps between lines of metrics.jsonl.
        sample_every: steps between sample sheets.
        save_every: steps between checkpoints and validations.
        keep_every: checkpoints of steps that this divides stay beside the last and the best one; 0 keeps none.
        threads: CPU threads; 0 leaves torch's choice.
        loaders: threads that draw the crops of coming steps while a step is computed; 0 draws them when they are due.
            Null: 1, and on a CPU, whose cores have enough to do, 0. The crops are the same.
        prefetch: steps whose crops are drawn ahead, where there are loaders.
    """

    steps: int = Field(default=50_000, ge=1)
    batch_size: int = Field(default=1, ge=1)
    accumulate: int = Field(default=1, ge=1)
    discriminator_batch: int = Field(default=1, ge=1)
    discriminator_steps: int = Field(default=1, ge=1)
    crop_frames: int = Field(default=128, ge=8)
    learning_rate: float = Field(default=1e-4, gt=0)
    discriminator_learning_rate: float = Field(default=4e-4, gt=0)
    betas: tuple[_Beta, _Beta] = (0.5, 0.999)
    weight_decay: float = Field(default=0.0, ge=0)
    only_to: Literal["a", "b"] | None = None
    clip_norm: float = Field(default=0.0, ge=0)
    skip_limit: int = Field(default=20, ge=1)
    decay_from: float = Field(default=0.5, ge=0, le=1)
    ema: float = Field(default=0.999, ge=0, lt=1)
    precision: Literal["bf16", "float32"] = "bf16"
    channels_last: bool = True
    gain_db: float = Field(default=0.0, ge=0)
    gain_range_db: tuple[float, float] | None = None
    pairs_share: float = Field(default=0.35, ge=0, le=1)
    transpose: float = Field(default=0.0, ge=0, le=12)
    dither: float = Field(default=0.0, ge=0)
    equalise_db: float = Field(default=0.0, ge=0)
    match_range: bool = False
    discriminator_warmup: int = Field(default=0, ge=0)
    seed: int = Field(default=0, ge=0, lt=2**62)
    log_every: int = Field(default=50, ge=1)
    sample_every: int = Field(default=1000, ge=1)
    save_every: int = Field(default=500, ge=1)
    keep_every: int = Field(default=0, ge=0)
    threads: int = Field(default=0, ge=0)
    loaders: int | None = Field(default=None, ge=0, le=64)
    prefetch: int = Field(default=2, ge=1, le=64)

    @field_validator("gain_range_db")
    @classmethod
    def _rises(cls, gains: tuple[float, float] | None) -> tuple[float, float] | None:
        if gains is not None and gains[0] > gains[1]:
            raise ValueError(f"gains from {gains[0]:g} to {gains[1]:g} dB: the lower one comes first")
        return gains


def _kind(imaging: object) -> str:
    """Tell sound from photos; recipes of sound need not say so."""
    found = imaging.get("type", "audio") if isinstance(imaging, Mapping) else getattr(imaging, "type", "audio")
    return str(found)


Imaging = Annotated[
    Annotated[AudioSettings, Tag("audio")] | Annotated[PhotoSettings, Tag("photo")],
    Discriminator(_kind, custom_error_type="imaging_type", custom_error_message="choose 'audio' or 'photo'"),
]


Model = Annotated[NetSettings, BeforeValidator(with_preset), PlainSerializer(as_recipe)]
"""In a recipe: a preset and changes to it; null keeps the preset's value."""


class _Recipe(_Part):
    """Everything that decides a model; beside these keys, one for each option of conversion in `BY_MODEL`.

    Attributes:
        imaging: how sounds, or with ``type: photo`` photos, become images.
        domains: names of A and B.
        cache: folder that `audiotrans prep` wrote; the command line may name another.
        pairs: folder that `audiotrans prep --paired` wrote: crops for some of the steps; empty: none.
        init: what weights start from: a shipped model's name, a weights file, a checkpoint or a run; empty: random.
        teacher: a model, by name or file, whose conversions the loss ``imitation`` asks for; empty: none.
        model: see `NetSettings`.
        losses: see `Losses`.
        train: see `Train`.
    """

    imaging: Imaging = AudioSettings()
    domains: Domains = Domains()
    cache: str = "cache"
    pairs: str = ""
    init: str = ""
    teacher: str = ""
    model: Model = net_settings()
    losses: Losses = Losses()
    train: Train = Train()

    @model_validator(mode="after")
    def _suits_its_images(self) -> _Recipe:
        """Refuse what is defined on logarithmic magnitudes where an image holds phases, or no sound at all."""
        photo = isinstance(self.imaging, PhotoSettings)
        if photo or self.imaging.representation == "magnitude_phase":  # type: ignore[union-attr]
            asked = [name for name in ("fine_structure", "below_notes", "paired") if self.losses.generator.get(name)]
            asked += [name for name in _OF_LOG_IMAGES if getattr(self.train, name)]
            asked += [name for name, info in BY_MODEL.items() if (photo or info.logarithmic) and self._sets(name)]
            asked += ["pairs"] if self.pairs else []
            if asked:
                kind = "is for sounds, not photos" if photo else "needs a logarithmic representation"
                neutral = f"{BY_MODEL[asked[0]].neutral:g}" if asked[0] in BY_MODEL else "0"
                neutral = {"gain_range_db": "null", "pairs": "''"}.get(asked[0], neutral)
                raise ValueError(f"{asked[0]} {kind}: set it to {neutral}")
        return self

    @model_validator(mode="after")
    def _has_what_is_asked_for(self) -> _Recipe:
        if self.losses.generator.get("imitation") and not self.teacher:
            raise ValueError("the loss imitation needs a teacher: name a model, or leave the loss out")
        if self.losses.generator.get("paired") and not (self.pairs and self.train.pairs_share):
            raise ValueError(
                "the loss paired needs pairs, in some of the steps: name a cache of audiotrans prep --paired with"
                " pairs, set train.pairs_share above 0, or leave the loss out"
            )
        if self.losses.generator.get("feature_matching") and not self.model.conditional_discriminator:
            raise ValueError(
                "the loss feature_matching compares pairs as a conditional discriminator sees them: set"
                " model.conditional_discriminator to true, or leave the loss out"
            )
        return self

    @model_validator(mode="after")
    def _has_what_stays(self) -> _Recipe:
        if self.train.only_to and not self.init:
            raise ValueError("train.only_to leaves half of the model as it was: name a model with init")
        if self.train.only_to and self.model.residual:
            raise ValueError(
                f"train.only_to and model.residual {self.model.residual:g}: what a residual takes over of the way back"
                " would change; set model.residual to 0"
            )
        return self

    @model_validator(mode="after")
    def _has_pairs_to_judge(self) -> _Recipe:
        """Refuse discriminators that see the source where there is no source to what is real."""
        if self.model.conditional_discriminator and any(self.losses.generator.get(name) for name in ADVERSARIAL):
            if not (self.pairs and self.train.pairs_share):
                raise ValueError(
                    "model.conditional_discriminator learns from pairs: name a cache of audiotrans prep --paired with"
                    " pairs, set train.pairs_share above 0, or leave it out"
                )
            for name in ("discriminator_batch", "discriminator_steps"):
                if getattr(self.train, name) > 1:
                    raise ValueError(
                        f"train.{name} {getattr(self.train, name)}: a conditional discriminator sees the batch's own"
                        " pairs alone; set it to 1"
                    )
        return self

    @model_validator(mode="after")
    def _trains_what_it_asks(self) -> _Recipe:
        asks = [name for name in ("vae_kl", "cycle_kl") if self.losses.generator.get(name)]
        if asks and self.model.kl in NEEDS_T and not self.losses.discriminator.get("latent"):
            raise ValueError(
                f"losses.discriminator has no latent, so that T would never learn what {asks[0]} asks of it with "
                f"kl {self.model.kl}: add latent: 1, or set model.kl to mu2 (UNIT) or none"
            )
        return self

    @property
    def loss_settings(self) -> LossSettings:
        """The forms of the adversarial terms."""
        return LossSettings(self.losses.gan, self.model.kl)

    def own(self, option: str, target: Side) -> float:
        """Return the value that the model has of an option in `BY_MODEL`, for translations to a side."""
        value: float = getattr(getattr(self, option), target)
        return value

    def _sets(self, option: str) -> bool:
        return any(self.own(option, side) != BY_MODEL[option].neutral for side in ("a", "b"))


if TYPE_CHECKING:
    Recipe = _Recipe
else:
    Recipe = create_model(
        "Recipe", __base__=_Recipe, __module__=__name__, __doc__=_Recipe.__doc__, **_conversion_fields()
    )


def with_new_keys(values: Any, depth: int = 0) -> Any:
    """Return plain values with the `OLD_KEYS` of any depth renamed, and without the options that are gone.

    Raises:
        ValueError: if they are nested more deeply than any recipe.
    """
    if depth > MOST_DEPTH:
        raise ValueError("its values are nested too deeply")
    if isinstance(values, dict):
        kept = {key: value for key, value in values.items() if depth or key not in GONE}
        return {OLD_KEYS.get(key, key): with_new_keys(value, depth + 1) for key, value in kept.items()}
    return values


def _old_keys(values: Any) -> list[str]:
    if not isinstance(values, dict):
        return []
    return [key for key, value in values.items() for key in ([key] if key in OLD_KEYS else []) + _old_keys(value)]


def warn_of_gone(values: Any, where: str) -> None:
    """Warn of what a recipe, or a model's file, sets of options that are gone; neutral values were as good as none."""
    for name, why in GONE.items() if isinstance(values, dict) else ():
        found = values.get(name)
        if any(found.values() if isinstance(found, dict) else [found]):
            warnings.warn(f"{where}: {name} is gone and does nothing: {why}", RenamedWarning, stacklevel=3)


def recipe_from_dict(values: dict[str, Any], name: str = "recipe") -> Recipe:
    """Check a plain dict.

    Raises:
        UsageError: one line with the first wrong key or value, what is allowed and the nearest known name.
    """
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        # The kind of imaging is not a key of the recipe.
        place = tuple(part for i, part in enumerate(first["loc"]) if i != 1 or first["loc"][0] != "imaging")
        place += ("type",) if first["type"] == "imaging_type" else ()
        path = ".".join(str(part) for part in place)
        if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            known = _known_keys(place[:-1], values)
            message = f"unknown key; known here: {', '.join(known)}.{nearest(str(first['loc'][-1]), known)}"
        else:
            given = "" if isinstance(first["input"], dict | list) else f" (it is {first['input']!r})"
            message = f"{first['msg'].removeprefix('Value error, ')}{given}"
        raise UsageError(f"{name}: {path}: {message}" if path else f"{name}: {message}") from None
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None
    try:
        recipe.model_dump_json()
    except ValueError:
        raise UsageError(f"{name}: a text in it holds characters that are no Unicode") from None
    return recipe


def _known_keys(path: tuple[int | str, ...], values: dict[str, Any]) -> list[str]:
    photo = _kind(values.get("imaging", {})) == "photo"
    imaging = PhotoSettings() if photo else AudioSettings()
    keys: Any = recipe_to_dict(Recipe.model_construct(imaging=imaging))
    for part in path:
        keys = keys.get(part, {}) if isinstance(keys, dict) else {}
    return list(keys)


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        path: a YAML file.
        overrides: ``dotted.key=value`` texts, values in YAML.

    Raises:
        AudiotransError: if the file cannot be read.
        UsageError: if the YAML is broken, a key is unknown or a value is not allowed.
    """
    values = read_yaml(path, "model, losses, train")
    _warn_of(_old_keys(values), str(path))
    warn_of_gone(values, str(path))
    values = with_new_keys(values)
    try:
        recipe = recipe_from_dict(values, str(path))
    except UsageError:  # what is changed may be what mends it
        if not overrides:
            raise
        for override in overrides:
            _override(values, override)
        return recipe_from_dict(values, str(path))
    return with_overrides(recipe, overrides, str(path))


def check_trains(recipe: Recipe) -> None:
    """Refuse losses that nothing would come of: models that were trained by them once are still read.

    Raises:
        UsageError: if in some of the steps no loss says anything, or a loss asks a D that nothing trains.
    """
    generator, share = recipe.losses.generator, recipe.train.pairs_share if recipe.pairs else 0.0
    asked = {name for name, weight in generator.items() if weight}
    judged = [name for name in ("gan", "feature_matching") if name in asked]
    if judged and not recipe.losses.discriminator.get("image"):
        raise UsageError(
            f"losses.discriminator has no image, so that D would never learn what {judged[0]} asks of it: add image: 1,"
            f" or leave {judged[0]} out"
        )
    if recipe.init and recipe.losses.identity_steps:
        if asked == {"identity"}:
            raise UsageError(
                "the loss identity has faded in a run that begins with init: add another, such as vae_reconstruction,"
                " or set losses.identity_steps to 0"
            )
        asked -= {"identity"}
    of_pairs = {"paired", "feature_matching"} | ({"gan"} if recipe.model.conditional_discriminator else set())
    silent = {"without pairs": of_pairs if share < 1 else set(), "of pairs": {"imitation"} if share else set()}
    for steps, losses in silent.items():
        if asked and asked <= losses:
            raise UsageError(
                f"nothing would train in steps {steps}, where {' and '.join(sorted(asked))} say nothing: set"
                f" train.pairs_share to {1 if steps == 'without pairs' else 0}, or add a loss of every step, such as"
                " vae_reconstruction"
            )


def with_overrides(recipe: Recipe, overrides: Sequence[str], name: str = "recipe") -> Recipe:
    """Return a recipe with some values changed.

    Args:
        recipe: to be changed.
        overrides: ``dotted.key=value`` texts, values in YAML.
        name: of the recipe, for messages.

    Raises:
        UsageError: if a key is unknown or a value is not allowed.
    """
    if not overrides:
        return recipe
    values = recipe_to_dict(recipe)  # defaults filled in: one loss weight that is set must not drop the others
    for override in overrides:
        _override(values, override)
    return recipe_from_dict(values, name)


def _warn_of(old_keys: Sequence[str], where: str) -> None:
    for old in old_keys:
        warnings.warn(f"{where}: {old} is called {OLD_KEYS[old]} now: rename it", RenamedWarning, stacklevel=3)


def read_yaml(path: Path | str, keys: str) -> dict[str, Any]:
    """Read a file of keys and values, as recipes of any kind are.

    Args:
        path: a YAML file.
        keys: some that it may hold, for the message where it holds none.

    Raises:
        AudiotransError: if the file cannot be read.
        UsageError: if the YAML is broken or holds no keys.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AudiotransError(f"cannot read the recipe {path}: {getattr(error, 'strerror', None) or error}") from None
    values = _from_yaml(text, str(path)) or {}
    if not isinstance(values, dict):
        raise UsageError(f"{path} is not a recipe: it must hold keys such as {keys}")
    return values


def _from_yaml(text: str, name: str) -> Any:
    """Read YAML that someone else may have written; what it holds is data, whatever it says.

    Raises:
        UsageError: if it is broken, or means more than a recipe can.
    """
    try:
        values = yaml.safe_load(text)
    # Beside its own error, PyYAML lets through what Python says of a 13th month, a number without digits and the like.
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise UsageError(f"{name} is not YAML: {' '.join(str(error).split())}") from None
    level, count = [values], 1
    for _ in range(MOST_DEPTH):
        level = list(islice(chain.from_iterable(map(_within, level)), MOST_VALUES + 1))
        count += len(level)
    if level or count > MOST_VALUES:
        raise UsageError(f"{name} holds more than a recipe can: more than {MOST_VALUES} values, or {MOST_DEPTH} levels")
    return values


def _within(value: Any) -> Sequence[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ()


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set {override!r}: write key=value, such as train.steps=1000")
    names = key.strip().split(".")
    _warn_of([name for name in names if name in OLD_KEYS], f"--set {override}")
    *parents, last = (OLD_KEYS.get(name, name) for name in names)
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise UsageError(f"--set {override!r}: {parent!r} holds no keys")
    values[last] = _from_yaml(text, f"--set {override!r}: the value")


def parse_recipe(text: str, name: str = "recipe") -> Recipe:
    """Read what `dump_recipe` wrote.

    Raises:
        UsageError: if the YAML is broken, a key is unknown or a value is not allowed.
    """
    return recipe_from_dict(_from_yaml(text, name), name)


def recipe_to_dict(recipe: Recipe) -> dict[str, Any]:
    """Return the whole recipe, defaults filled in, as plain JSON-ready values."""
    values: dict[str, Any] = json.loads(recipe.model_dump_json())
    return values


def dump_recipe(recipe: Recipe) -> str:
    """Return the whole recipe, defaults filled in, as YAML; `load_recipe` reads it back to an equal recipe."""
    return dump_yaml(recipe_to_dict(recipe))


def dump_yaml(values: Mapping[str, Any]) -> str:
    """Return plain values as YAML, in their order."""
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=110)


def read_head(text: str) -> dict[str, Any]:
    """Return the YAML between the two lines of dashes that a card begins with; empty where there is none."""
    if not text.startswith("---\n"):
        return {}
    try:
        values = yaml.safe_load(text[4:].partition("\n---")[0])
    except yaml.YAMLError:
        return {}
    return values if isinstance(values, dict) else {}
