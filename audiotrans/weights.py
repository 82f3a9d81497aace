"""Model files: written, read, found by name or path, and listed."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from audiotrans import hub
from audiotrans.errors import AudiotransError, UsageError, nearest
from audiotrans.files import from_json, replacing
from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.model.nets import NetSettings, layers
from audiotrans.recipe import Recipe, read_head, recipe_from_dict, recipe_to_dict, warn_of_gone, with_new_keys

_log = logging.getLogger(__name__)

WEIGHTS = "audiotrans-model"
VERSION = "1"
SUFFIX = ".safetensors"

STATISTICS = "profile"
"""Key of the training-data statistics in a file's metadata: the word of version 0.1."""


def shipped_models() -> Iterator[Path]:
    """Yield the weights files shipped with the package, by name."""
    folder = Path(str(resources.files("audiotrans"))) / "weights"
    yield from sorted(folder.glob(f"*{SUFFIX}"))


def shipped_by_name() -> dict[str, Path]:
    """Return the shipped weights files by the names that ``--model`` takes."""
    return {path.stem: path for path in shipped_models()}


def find(name_or_path: str | Path) -> Path:
    """Return the weights file of a name (shipped, or ``hf:owner/name`` of the hub) or path.

    Raises:
        UsageError: listing the names that exist.
        AudiotransError: for a model of the hub that is not to be had.
    """
    if str(name_or_path).startswith(hub.PREFIX):
        return hub.fetch(str(name_or_path))
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give a {SUFFIX} file (audiotrans export-weights makes one of a run)")
    shipped = shipped_by_name()
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    names = ", ".join(shipped) or "none"
    hint = nearest(str(name_or_path), shipped)
    others = f"or give the path of a {SUFFIX} file, or hf:owner/name"
    raise UsageError(f"no model {str(name_or_path)!r}: shipped are {names}; {others}.{hint}")


@dataclass(frozen=True)
class ModelEntry:
    """A shipped model, known from its file's header and from its card beside it.

    Attributes:
        name: what ``--model`` takes.
        path: of its weights.
        domains: names of its two domains.
        summary: one line from its file.
        licence: as its card has it, such as ``apache-2.0``; empty where it has none.
        figures: of each direction by its name, figures by their names.
    """

    name: str
    path: Path
    domains: tuple[str, str]
    summary: str
    licence: str = ""
    figures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """Return plain values, JSON-ready."""
        facts: dict[str, Any] = {"name": self.name, "file": str(self.path), "domains": list(self.domains)}
        facts |= {"size_mb": round(self.path.stat().st_size / 1e6, 2), "licence": self.licence}
        return facts | {"summary": self.summary, "figures": self.figures}

    def __str__(self) -> str:
        """Return the lines that a user sees."""
        parts = [f"{self.domains[0]} <-> {self.domains[1]}", f"{self.path.stat().st_size / 1e6:.1f} MB"]
        parts += [self.licence] if self.licence else []
        lines = [f"{self.name}: {', '.join(parts)}. {self.summary}".rstrip()]
        for direction, figures in self.figures.items():
            lines.append(f"  {direction}: " + ", ".join(f"{name} {value:g}" for name, value in figures.items()))
        return "\n".join(lines)


def list_models() -> list[ModelEntry]:
    """List the shipped models, by name."""
    entries = []
    for stored in map(open_weights, shipped_models()):
        domains = stored.recipe.domains.a, stored.recipe.domains.b
        card = stored.path.with_suffix(".md")
        head = read_head(card.read_text(encoding="utf-8")) if card.is_file() else {}
        said = stored.card.get("summary", ""), str(head.get("license", ""))
        entries.append(ModelEntry(stored.path.stem, stored.path, domains, *said, _figures(head)))
    return entries


def _figures(head: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return the figures in a card's head, in the hub's form, by direction and name."""
    results = [result for model in head.get("model-index", ()) for result in model["results"]]
    return {
        result["task"]["name"]: {metric["name"]: float(metric["value"]) for metric in result["metrics"]}
        for result in results
    }


@dataclass(frozen=True)
class StoredModel:
    """An open weights file: its header, and its tensors where `model` is asked for.

    Attributes:
        path: of the file.
        recipe: it was trained by, with the layers that are stored.
        card: what is said of it: data, licence, steps, figures.
        statistics: of its training data, in plain values; None without them.
        metadata: the header, as it is.
        file: gives the tensors.
    """

    path: Path
    recipe: Recipe
    card: dict[str, Any]
    statistics: Any
    metadata: dict[str, str]
    file: Any

    def tensors(self) -> dict[str, Tensor]:
        """Read every tensor as it is stored."""
        return {name: self.file.get_tensor(name) for name in self.file.keys()}

    @cached_property
    def model(self) -> AVBGTN:
        """The model in evaluation mode on the CPU.

        Raises:
            AudiotransError: if the tensors do not fit the recipe.
        """
        # The start values are overwritten: a caller's random state is not ours.
        with torch.random.fork_rng(devices=[]):
            model = AVBGTN(self.recipe.model, self.recipe.imaging.image_channels)
        tensors = self.tensors()
        wild = next((name for name, value in tensors.items() if not value.float().isfinite().all()), None)
        if wild is not None:
            raise AudiotransError(f"{self.path} is damaged: its {wild} holds numbers that are not finite")
        try:
            model.load_state_dict({name: value.float() for name, value in tensors.items()})
        except RuntimeError as error:
            said = " ".join(str(error).split())[:200]
            raise AudiotransError(f"{self.path} does not fit its own recipe: {said}") from None
        return model.eval().requires_grad_(False)


def open_weights(path: Path | str) -> StoredModel:
    """Open what `export_weights` wrote; only the header is read.

    Raises:
        AudiotransError: if the file is missing or is not one of ours.
    """
    path = Path(path)
    if not path.is_file():
        raise AudiotransError(f"no model file {path}; see: audiotrans models")
    try:
        file: Any = safe_open(path, framework="pt")
        metadata = file.metadata() or {}
    except Exception:  # safetensors raises its own error class for anything that is not its format
        raise AudiotransError(f"{path} is not an audiotrans model: not a readable safetensors file") from None
    if metadata.get("format") != WEIGHTS:
        raise AudiotransError(f"{path} is not an audiotrans model: its metadata names no {WEIGHTS}")
    if metadata.get("version") != VERSION:
        raise AudiotransError(f"{path} is of version {metadata.get('version')}, this program reads {VERSION}")
    try:
        stored = from_json(metadata["recipe"])
        values, card = with_new_keys(stored), from_json(metadata.get("card", "{}"))
    except (KeyError, ValueError):
        raise AudiotransError(f"{path} is not an audiotrans model: its metadata holds no readable recipe") from None
    try:
        statistics = from_json(metadata.get(STATISTICS, "null"))
    except ValueError:
        raise AudiotransError(f"{path}: its training-data statistics are broken: export it again") from None
    warn_of_gone(stored, str(path))
    recipe = recipe_from_dict(values, str(path))
    recipe = recipe.model_copy(update={"model": stored_nets(metadata, path, recipe.model)})
    _log.info("model: %s, %s and %s", path, recipe.domains.a, recipe.domains.b)
    return StoredModel(path, recipe, card, statistics, metadata, file)


def read_weights(path: Path | str) -> StoredModel:
    """Open what `export_weights` wrote, and build its model.

    Raises:
        AudiotransError: if the file is missing, is not one of ours, or does not fit its own recipe.
    """
    stored = open_weights(path)
    stored.model  # noqa: B018  # built now, so that what does not fit is said now
    return stored


def export_weights(
    weights: dict[str, Tensor],
    recipe: Recipe,
    path: Path,
    *,
    card: dict[str, Any] | None = None,
    half: bool = False,
    statistics: dict[str, Any] | None = None,
) -> None:
    """Write a model that `read_weights` and ``--model`` load.

    The recipe names a preset; its layers are written beside it, so that a preset may change and old files stay right.

    Args:
        weights: state dict of an `AVBGTN`.
        recipe: the recipe it was trained by.
        path: a ``.safetensors`` file.
        card: what to say of the model: data, licence, steps, figures.
        half: store float16: half the size, far below what is audible.
        statistics: of its training data, in plain values.
    """
    kept = {name: (value.half() if half else value.float()).contiguous().cpu() for name, value in weights.items()}
    metadata = {
        "format": WEIGHTS,
        "version": VERSION,
        "recipe": json.dumps(recipe_to_dict(recipe)),
        "card": json.dumps(card or {}),
        **header(recipe.model, statistics),
    }
    with replacing(Path(path)) as partial:
        save_file(kept, partial, metadata=metadata)


def describe_weights(
    path: Path, output: Path, statistics: dict[str, Any] | None, changed: Recipe | None = None
) -> None:
    """Copy a weights file, adding the layers of its preset (where they are missing) and training-data statistics.

    Args:
        path: what `export_weights` wrote; its tensors and the rest of its metadata are taken over as they are.
        output: may be the same file.
        statistics: of its training data; None keeps those that it has.
        changed: its recipe with other settings of conversion; None keeps the one that it has.

    Raises:
        AudiotransError: as `read_weights` does.
    """
    stored = read_weights(path)  # whole, and built as this program's presets say: they may be written down
    metadata, nets = stored.metadata, stored.recipe.model
    tensors = {name: value.clone() for name, value in stored.tensors().items()}
    del stored  # Windows replaces no file that is mapped into memory
    extras = header(nets, statistics)
    extras |= {"recipe": json.dumps(recipe_to_dict(changed))} if changed else {}
    with replacing(output) as partial:
        save_file(tensors, partial, metadata={**metadata, **extras})


def header(model: NetSettings, statistics: dict[str, Any] | None = None) -> dict[str, str]:
    """Return the layers, and the statistics of the training data, as a file's header holds them."""
    extras = {"nets": layers(model)} | ({STATISTICS: statistics} if statistics else {})
    return {key: json.dumps(value, separators=(",", ":")) for key, value in extras.items()}


def stored_nets(metadata: dict[str, Any], path: Path, model: NetSettings) -> NetSettings:
    """Return the architecture of a weights file or checkpoint: its preset may have changed since it was written.

    Args:
        metadata: of the file; ``nets`` holds its layers, if they were written down.
        path: of the file, for messages.
        model: what the file's recipe names.

    Raises:
        AudiotransError: if the layers are not readable, or of a newer version.
    """
    if "nets" not in metadata:
        return model
    try:
        values = dict(with_new_keys(from_json(metadata["nets"])))
        unknown = sorted(set(values) - set(layers(model)))
        own = {"preset": model.preset, "kl": model.kl, "residual": model.residual}
        known = {name: value for name, value in values.items() if name not in unknown}
        nets = TypeAdapter(NetSettings).validate_python(own | known)
    except (TypeError, ValueError):
        raise AudiotransError(f"{path} cannot be used: its metadata holds no readable layers") from None
    if unknown:
        raise AudiotransError(f"{path} has layers of a newer audiotrans ({unknown[0]}): update the program to use it")
    return nets
