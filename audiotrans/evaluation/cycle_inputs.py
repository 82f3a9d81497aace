"""What `audiotrans cycle` is asked to do: a recipe of chains and options, and the sounds that go through them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audiotrans.audio import find_audio, probe
from audiotrans.convert.converter import DEFAULT_MODEL
from audiotrans.errors import UsageError, lookup, nearest
from audiotrans.files import real
from audiotrans.options import OPTIONS, ConvertOptions, options_of
from audiotrans.recipe import read_yaml

CHOICES = ("all", "fast", "none")
"""Of scores; ``fast`` leaves the pitch tracker out."""


@dataclass(frozen=True)
class CycleRecipe:
    """Settings of `run_cycles`.

    Attributes:
        model: a shipped model's name, or a weights file.
        chains: as `parse_chain` reads them; empty stands for the six translations of the paper.
        source: domain of the inputs whose folders name none.
        scores: ``all``, ``fast`` (without the pitch tracker) or ``none``.
        options: of every step; chains say where it goes.
    """

    model: str = DEFAULT_MODEL
    chains: tuple[str, ...] = ()
    source: str | None = None
    scores: str = "all"
    options: ConvertOptions = field(default_factory=ConvertOptions)

    def __post_init__(self) -> None:
        lookup(dict.fromkeys(CHOICES), self.scores, "choice of scores")


_KEYS = {"model": "model", "chains": "chains", "from": "source", "scores": "scores"}
"""Keys of a recipe of chains, and the fields that they fill; options of every step stand beside them."""

STEP_OPTIONS = tuple(name for name in OPTIONS if name not in ("to", "source"))
"""Options of the conversion that every step of a chain takes."""


def load_cycle_recipe(path: Path | None, given: Mapping[str, Any]) -> CycleRecipe:
    """Read a recipe of chains, and put what the user gave over it.

    Args:
        path: a YAML file with `STEP_OPTIONS` and fields of `CycleRecipe` (``from`` for ``source``); None: the defaults.
        given: values by the names of fields and options; None and empty ones count as not given.

    Raises:
        AudiotransError: if the file cannot be read.
        UsageError: if a key is unknown or a value is not allowed.
    """
    values = {} if path is None else _checked(read_yaml(path, "model, chains, seed"), path)
    values |= {name: value for name, value in given.items() if value is not None and value != ()}
    values["chains"] = tuple(values.get("chains", ()))
    options = {name: values.pop(name) for name in STEP_OPTIONS if name in values}
    return CycleRecipe(**values, options=options_of(options))


def _checked(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    names = _KEYS | {name: name for name in STEP_OPTIONS}
    checked = {}
    for key, value in values.items():
        if key not in names:
            raise UsageError(f"{path}: {key}: unknown key; known here: {', '.join(names)}.{nearest(str(key), names)}")
        if key in STEP_OPTIONS:
            try:
                OPTIONS[key].check(key, value)
            except UsageError as error:
                raise UsageError(f"{path}: {error}") from None
        elif key == "chains" and not (isinstance(value, list) and all(isinstance(chain, str) for chain in value)):
            raise UsageError(f"{path}: chains: {value!r}: give a list of texts such as 'violin,piano'")
        elif key != "chains" and not isinstance(value, str):
            raise UsageError(f"{path}: {key} {value!r}: give a name")
        checked[names[key]] = value
    return checked


@dataclass(frozen=True)
class CycleClip:
    """One input.

    Attributes:
        source: the file, as it was found.
        domain: of the sound.
        name: of its results: the file's own without its suffix, with folders before it where names meet.
        seconds: its length.
        stamp: size in bytes and time of the last change in ns: what tells a changed file without reading it.
    """

    source: Path
    domain: str
    name: str
    seconds: float
    stamp: tuple[int, int]


def find_clips(
    inputs: Sequence[str | Path], domains: Sequence[str], source: str | None, *, starting: Sequence[str]
) -> list[CycleClip]:
    """Find the inputs, the domain of each and a name for each.

    A file takes its domain from the nearest folder that is named as one, at or below a given folder; a file that is
    named itself, from the folder that it lies in. Upper and lower case are one.

    Args:
        inputs: files, folders (searched in depth) and glob patterns.
        domains: names of the model's domains.
        source: domain of the files whose folders name none; None where every file must say.
        starting: domains that a chain begins with; files of others are left out.

    Raises:
        UsageError: if nothing is found, a file's domain is not told or told twice, or two files would get one name.
        AudiotransError: if a file cannot be read.
    """
    if source is not None:
        lookup(dict.fromkeys(domains), source, "domain of this model")
    found = {path: found for item in inputs for path, found in _found(item, domains, source)}
    chosen = {path: domain for path, domain in found.items() if domain in starting}
    if not chosen:
        has = ", ".join(sorted(set(found.values())))
        raise UsageError(f"no chain begins with the inputs' domain ({has}): add one with --chain")
    names = _names(chosen)
    return [_clip(path, domain, names[path]) for path, domain in chosen.items()]


def _found(item: str | Path, domains: Sequence[str], source: str | None) -> Iterator[tuple[Path, str]]:
    names = {name.casefold(): name for name in domains}
    root = Path(item)
    for path in find_audio([item]):
        below = path.parent.relative_to(root).parts if root.is_dir() else ()
        told = next((names[part.casefold()] for part in reversed(below) if part.casefold() in names), None)
        if told and source and told != source:
            raise UsageError(f"{path}: its folder says {told}, --from says {source}: leave one of them out")
        home = real(root) if root.is_dir() else real(path).parent
        domain = told or source or names.get(home.name.casefold())
        if domain is None:
            folders = " or ".join(names.values())
            raise UsageError(f"{path}: its domain is not known: use --from, or put it into a folder named {folders}")
        yield path, domain


def _names(domains: dict[Path, str]) -> dict[Path, str]:
    """Return the name of each file: its stem; where stems of one domain meet, by its folder as well."""
    stems = defaultdict(list)
    for path, domain in domains.items():
        stems[domain, path.stem.casefold()].append(path)
    names: dict[Path, str] = {}
    owners: dict[tuple[str, str], Path] = {}
    for path, domain in domains.items():
        alone = len(stems[domain, path.stem.casefold()]) == 1
        names[path] = path.stem if alone else f"{real(path).parent.name}-{path.stem}"
        other = owners.setdefault((domain, names[path].casefold()), path)
        if other != path:
            raise UsageError(f"{other} and {path} would get the same name, {names[path]!r}: rename one of them")
    return names


def _clip(path: Path, domain: str, name: str) -> CycleClip:
    seconds, status = probe(path).seconds, path.stat()
    return CycleClip(path, domain, name, seconds, (status.st_size, status.st_mtime_ns))
