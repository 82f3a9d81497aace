"""What a run goes on with: the recipe, the data and the start that it began with, unless a change is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audiotrans.errors import UsageError
from audiotrans.files import file_digest
from audiotrans.recipe import Recipe, recipe_to_dict, with_overrides
from audiotrans.training.cache import fingerprint
from audiotrans.training.checkpoints import CHECKPOINT_NAME, load_checkpoint
from audiotrans.training.data import ImageCache
from audiotrans.weights import find

PLACES = ("cache", "pairs", "teacher")
"""Keys of a recipe that name a place: what lies there is compared, not where it lies."""

OF_NO_WEIGHT = tuple(
    f"train.{name}"
    for name in (
        "threads",
        "loaders",
        "prefetch",
        "skip_limit",
        "log_every",
        "sample_every",
        "save_every",
        "keep_every",
    )
)
"""Settings that decide what is written of a run, or how fast it goes, and none of its weights: free to change."""

NEVER = ("model.", "imaging.")
"""Beginnings of keys that a checkpoint's weights do not survive a change of."""


def run_recipe(run: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe that a run goes on with, and changes to it.

    Args:
        run: its folder.
        overrides: ``dotted.key=value`` texts.

    Raises:
        AudiotransError: if it has no readable checkpoint.
        UsageError: for changes that a recipe may not have.
    """
    return with_overrides(load_checkpoint(run / CHECKPOINT_NAME)[1], overrides, str(run))


def fingerprints(recipe: Recipe, data: ImageCache, pairs: ImageCache | None, processes: int = 1) -> dict[str, str]:
    """Return what decides a run beside its recipe: digests of what it reads, by the keys of `PLACES`, and processes."""
    found = {"cache": fingerprint(data.manifest), "processes": str(processes)}
    if pairs:
        found["pairs"] = fingerprint(pairs.manifest)
    if recipe.teacher:
        found["teacher"] = file_digest(find(recipe.teacher))[:16]
    return found


def changes(before: Recipe, now: Recipe, read_before: Mapping[str, str], read_now: Mapping[str, str]) -> dict[str, str]:
    """Compare what a run was trained with and what it shall go on with.

    Args:
        before: the run's recipe.
        now: the recipe that it shall go on with.
        read_before: `fingerprints` of the run; empty for one that was begun before they were kept.
        read_now: of what is read now.

    Returns:
        The values of each key that differs, as text; of data the digests. The number of processes is one of them, for a
        step has as many times the recipe's images.
    """
    one, other = flat(recipe_to_dict(before)), flat(recipe_to_dict(now))
    found = {
        key: f"{_text(one.get(key))} -> {_text(other.get(key))}"
        for key in {**one, **other}
        if key not in (*PLACES, *OF_NO_WEIGHT) and one.get(key) != other.get(key)
    }
    for key in PLACES if read_before else ():
        if read_before.get(key) != read_now.get(key):
            found[f"content of {key}"] = f"{read_before.get(key, 'none')} -> {read_now.get(key, 'none')}"
    one_team, other_team = (read.get("processes", "1") for read in (read_before, read_now))
    return found | ({"processes": f"{one_team} -> {other_team}"} if one_team != other_team else {})


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def _text(value: Any) -> str:
    return "none" if value is None else json.dumps(value)


def check_changes(run: Path, found: Mapping[str, str], allowed: bool) -> None:
    """Refuse to go on with other settings or data, unless that was asked for.

    Args:
        run: folder of the run.
        found: `changes`.
        allowed: whether they were asked for.

    Raises:
        UsageError: naming every difference.
    """
    never = {key: text for key, text in found.items() if key.startswith(NEVER) and key != "imaging.phase"}
    if never:
        raise UsageError(f"{run} is of another model or other images ({_listed(never)}): take a new run folder")
    if found and not allowed:
        raise UsageError(
            f"{run} was trained with other settings ({_listed(found)}): leave the recipe and --set out to go on with"
            " its own, add --changed to go on with these, or take a new run folder"
        )


def _listed(found: Mapping[str, str]) -> str:
    return "; ".join(f"{key}: {text}" for key, text in found.items())
