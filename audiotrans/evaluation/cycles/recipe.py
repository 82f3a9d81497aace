"""What a run of chains is asked to do: from a recipe, from the command line, or from both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from audiotrans.convert.models import DEFAULT_MODEL
from audiotrans.errors import UsageError, lookup, nearest
from audiotrans.evaluation.cycles.scores import CHOICES
from audiotrans.recipe import read_yaml


@dataclass(frozen=True)
class CycleRecipe:
    """Settings of `run_cycles`.

    Attributes:
        model: a shipped model's name, or a weights file.
        chains: as `parse_chain` reads them; empty stands for the six translations of the paper.
        source: domain of the inputs whose folders name none.
        strength: 0 (each step returns its input) to 100 (the translation).
        phase: a phase method, or None for the model's own.
        seed: decides the noise that the encoder is given.
        scores: ``all``, ``fast`` (without the pitch tracker) or ``none``.
    """

    model: str = DEFAULT_MODEL
    chains: tuple[str, ...] = ()
    source: str | None = None
    strength: float = 100.0
    phase: str | None = None
    seed: int = 0
    scores: str = "all"

    def __post_init__(self) -> None:
        lookup(dict.fromkeys(CHOICES), self.scores, "choice of scores")


_KINDS: Mapping[str, tuple[type, ...]] = {
    "model": (str,), "chains": (list, tuple), "source": (str,), "strength": (int, float), "phase": (str,),
    "seed": (int,), "scores": (str,),
}  # fmt: skip


def load_cycle_recipe(path: Path | None, given: Mapping[str, Any]) -> CycleRecipe:
    """Read a recipe of chains, and put what the user gave over it.

    Args:
        path: a YAML file with keys of `CycleRecipe` (``from`` for ``source``); None for the defaults.
        given: values by those keys; None and empty ones count as not given.

    Raises:
        AudiotransError: if the file cannot be read.
        UsageError: if a key is unknown or a value is not allowed.
    """
    values = {} if path is None else _checked(read_yaml(path, "model, chains, seed"), path)
    values |= {name: value for name, value in given.items() if value is not None and value != ()}
    values["chains"] = tuple(values.get("chains", ()))
    return CycleRecipe(**values)


def _checked(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    names = {"from" if field.name == "source" else field.name: field.name for field in fields(CycleRecipe)}
    checked = {}
    for key, value in values.items():
        if key not in names:
            raise UsageError(f"{path}: {key}: unknown key; known here: {', '.join(names)}.{nearest(str(key), names)}")
        name = names[key]
        right = isinstance(value, _KINDS[name]) and not isinstance(value, bool)
        if name == "chains" and right:
            right = all(isinstance(chain, str) for chain in value)
        if not right:
            wanted = "a list of texts such as 'violin,piano'" if name == "chains" else _KINDS[name][-1].__name__
            raise UsageError(f"{path}: {key}: {value!r} is not allowed; wanted is {wanted}")
        checked[name] = value
    return checked
