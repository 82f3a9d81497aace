"""Which sounds go through chains: the domain of each, and the name that its results carry."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from audiotrans.audio import find_audio, probe
from audiotrans.errors import UsageError, lookup


@dataclass(frozen=True)
class Clip:
    """One input.

    Attributes:
        source: the file, as it was found.
        domain: that it belongs to.
        name: that its results carry: the file's own without its suffix, with folders before it where names meet.
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
) -> list[Clip]:
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
        home = root.resolve() if root.is_dir() else path.resolve().parent
        domain = told or source or names.get(home.name.casefold())
        if domain is None:
            folders = " or ".join(names.values())
            raise UsageError(f"{path}: its domain is not known: use --from, or put it into a folder named {folders}")
        yield path, domain


def _names(domains: dict[Path, str]) -> dict[Path, str]:
    """Name each file by its stem; where stems of one domain meet, by its folder as well."""
    stems = defaultdict(list)
    for path, domain in domains.items():
        stems[domain, path.stem.casefold()].append(path)
    names: dict[Path, str] = {}
    owners: dict[tuple[str, str], Path] = {}
    for path, domain in domains.items():
        alone = len(stems[domain, path.stem.casefold()]) == 1
        names[path] = path.stem if alone else f"{path.resolve().parent.name}-{path.stem}"
        other = owners.setdefault((domain, names[path].casefold()), path)
        if other != path:
            raise UsageError(f"{other} and {path} would get the same name, {names[path]!r}: rename one of them")
    return names


def _clip(path: Path, domain: str, name: str) -> Clip:
    seconds, status = probe(path).seconds, path.stat()
    return Clip(path, domain, name, seconds, (status.st_size, status.st_mtime_ns))
