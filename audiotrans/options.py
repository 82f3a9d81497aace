"""Options of a conversion, each said once: its default, range, unit, help and who else may set it.

The command line, `Converter.convert`, chains, streams, photos, recipes and model files take them from here. A new
option is one field of `ConvertOptions`, and its effect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from numbers import Integral, Real
from typing import Any, Literal

from audiotrans.errors import UsageError, lookup, nearest

Side = Literal["a", "b"]


@dataclass(frozen=True)
class Option:
    """What is known of one option.

    Attributes:
        help: for the command line, one sentence without its point; a short range is added.
        kind: ``str``, ``int`` or ``float``.
        least: lowest value; None for texts.
        most: highest value.
        unit: of the value, where it has one.
        ends: what the ends of the range mean, for messages.
        flag: its name on the command line, where that is another one.
        neutral: the value that changes nothing.
        by_model: whether a model has a value of its own for translations to each of its domains, from its recipe, that
            counts where none is asked for. Reconstructions, which are to be like their input, are left alone.
        streaming: of streams where none is asked for: what flows must not wait for better sound.
        sound: whether photos have it not.
        logarithmic: whether it is defined on images of decibels only.
    """

    help: str
    kind: type = float
    least: float | None = None
    most: float | None = None
    unit: str = ""
    ends: str = ""
    flag: str = ""
    neutral: float | None = None
    by_model: bool = False
    streaming: float | None = None
    sound: bool = False
    logarithmic: bool = False

    @property
    def metavar(self) -> str:
        """What stands for the value on the command line."""
        return self.unit.split()[0].upper() if self.unit else "VALUE"

    def described(self) -> str:
        """Return the help with the range and the defaults that are not the field's own."""
        short = self.least is not None and self.most is not None and self.most <= 1000
        text = f"{self.help}, {self.least:g} to {self.most:g}." if short else f"{self.help}."
        default = "the model's" if self.by_model else ""
        default += f", {self.streaming:g} with --stream" if self.streaming is not None else ""
        return f"{text}  [default: {default}]" if default else text

    def check(self, name: str, value: Any) -> None:
        """Refuse a value of another kind, or outside the range.

        Raises:
            UsageError: naming the option, the value and what is allowed.
        """
        kinds = {float: (Real, "a number"), int: (Integral, "a whole number"), str: (str, "a name")}
        kind, noun = kinds[self.kind]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise UsageError(f"{name} {value!r}: give {noun}")
        if self.least is None or self.most is None:
            return
        if not self.least <= value <= self.most:
            shown = (f"{x:g}" if self.kind is float else f"{x}" for x in (value, self.least, self.most))
            given, least, most = shown
            notes = " ".join(note for note in (self.unit, self.ends and f"({self.ends})") if note)
            raise UsageError(f"{name} {given} is outside {least}..{most} {notes}".rstrip())


def option(default: Any, help: str, **facts: Any) -> Any:
    """Declare a field of `ConvertOptions`; ``facts`` are those of `Option`."""
    return field(default=default, metadata={"option": Option(help, **facts)})


@dataclass(frozen=True)
class ConvertOptions:
    """What a conversion is to do; None stands for the model's own choice until `completed` fills it in.

    ``to`` and ``source`` are names of domains: equal for the model's reconstruction. ``articulation`` is the factor of
    the fast part of gains (`audiotrans.convert.effects.articulate`), ``shifts`` counts translations that are averaged
    (`shift_average`), ``vibrato`` and ``remove_vibrato`` fade with ``strength``.

    Raises:
        UsageError: for a value outside its range.
    """

    to: str = option("", "Domain to translate to, such as piano", kind=str)
    source: str | None = option(
        None, "Domain of the input; the model's other domain if not given", kind=str, flag="from"
    )
    strength: float = option(
        100.0, "From the input to the translation, in decibels", least=0, most=100,
        ends="0 is the input, 100 the whole translation",
    )  # fmt: skip
    phase: str | None = option(
        None,
        "auto, source, pghi_refined, pghi, rtpghi, fast_griffin_lim, griffin_lim or network",
        kind=str,
        sound=True,
    )
    seed: int = option(0, "The same seed gives the same bytes", kind=int, least=0, most=2**62 - 1)
    articulation: float | None = option(
        None, "How clearly notes begin", least=0, most=4, ends="1 is what the network gives", neutral=1.0,
        by_model=True, sound=True, logarithmic=True,
    )  # fmt: skip
    shifts: int | None = option(
        None, "Translations that are averaged", kind=int, least=1, most=8, ends="1 is the fastest", neutral=1,
        by_model=True, streaming=1, sound=True, logarithmic=True,
    )  # fmt: skip
    vibrato: float | None = option(
        None, "Vibrato of lasting notes, to each side", least=0, most=100, unit="cents",
        ends="0 adds none", neutral=0.0, by_model=True, sound=True,
    )  # fmt: skip
    remove_vibrato: float | None = option(
        None, "How much of the input's vibrato is removed", least=0, most=100, unit="percent",
        ends="0 leaves the input's vibrato", neutral=0.0, by_model=True, streaming=0.0, sound=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None or item.default is not None:
                item.metadata["option"].check(item.name, value)

    @property
    def share(self) -> float:
        """The strength as a share, 0..1."""
        return self.strength / 100

    def faded(self, name: str) -> float:
        """Return the value of an option that fades with the strength."""
        return float((getattr(self, name) or 0.0) * self.share)


OPTIONS: dict[str, Option] = {item.name: item.metadata["option"] for item in fields(ConvertOptions)}
"""What is known of each field of `ConvertOptions`, in its order."""

BY_MODEL = {name: info for name, info in OPTIONS.items() if info.by_model}
"""Those that a model has its own values of."""


def flag(name: str) -> str:
    """Return an option's name on the command line, such as ``--remove-vibrato``."""
    return f"--{(OPTIONS[name].flag or name).replace('_', '-')}"


OLD_NAMES = {"passes": "shifts", "straighten": "remove_vibrato"}
"""Names of version 0.1, and today's."""

GONE = {"tilt": "a model of today learns bright and dark recordings by train.equalise_db"}
"""Options that are no more, and what does without them."""


def options_of(asked: dict[str, Any]) -> ConvertOptions:
    """Return the options of keyword arguments.

    Raises:
        UsageError: for a name that no option has, with the nearest or today's, or a value outside its range.
    """
    for name in asked:
        if name in OLD_NAMES:
            raise UsageError(f"the option {name} is called {OLD_NAMES[name]} now")
        if name in GONE:
            raise UsageError(f"the option {name} is gone: {GONE[name]}; leave it out")
        if name not in OPTIONS:
            raise UsageError(f"unknown option {name!r}: known are {', '.join(OPTIONS)}.{nearest(name, OPTIONS)}")
    return ConvertOptions(**asked)


def for_stream(options: ConvertOptions) -> ConvertOptions:
    """Fill in what streams choose where nothing is asked for."""
    quickest: dict[str, Any] = {name: info.streaming for name, info in OPTIONS.items() if info.streaming is not None}
    return replace(options, **{name: value for name, value in quickest.items() if getattr(options, name) is None})


def completed(
    options: ConvertOptions, domains: tuple[str, str], own: Callable[[str, Side], float] | None = None
) -> ConvertOptions:
    """Check the names of the domains, and fill in what was not asked for.

    Args:
        options: as asked for.
        domains: names of the model's domains, a and b.
        own: gives the model's own value of an option for translations to a side; None for photos.

    Raises:
        UsageError: for an unknown domain.
    """
    sides: dict[str, Side] = {domains[0]: "a", domains[1]: "b"}
    target = lookup(sides, options.to, "domain of this model")
    source = domains[1 if target == "a" else 0] if options.source is None else options.source
    lookup(sides, source, "domain of this model")
    values: dict[str, Any] = {"source": source}
    if own is not None:
        for name, info in BY_MODEL.items():
            if getattr(options, name) is None:
                values[name] = info.neutral if source == options.to else own(name, target)
    return replace(options, **values)
