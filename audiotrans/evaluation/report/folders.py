"""Read what a user names into `content`: folders of evaluate, cycle and train, and any folder of sounds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from audiotrans.audio import find_audio
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.evaluation import plots
from audiotrans.evaluation.report.content import (
    ABOUT_SAMPLES,
    MARKER,
    Clip,
    Direction,
    Figure,
    Kind,
    Material,
    Score,
    Summary,
    System,
    Take,
    about_chain,
    about_system,
)
from audiotrans.evaluation.scoring import METRICS, Metric
from audiotrans.files import from_json, real

R = TypeVar("R", bound="Record")

VERSION = 1
"""Of the JSON files that are read."""

ALLOWED = "a folder that evaluate, cycle or train wrote, or any folder of sounds"


def read_source(path: Path | str) -> Material:
    """Read a folder of whatever kind.

    Args:
        path: folder of an evaluation, of cycles, of a training run, or of sounds; or the JSON file in it.

    Returns:
        What is in it; every sound that it names exists.

    Raises:
        AudiotransError: the folder is missing, damaged, holds nothing to hear, or names sounds that do not exist.
    """
    root = Path(path)
    root = root.parent if root.name in READERS and root.is_file() else root
    if not root.exists():
        raise AudiotransError(f"{root}: there is no such folder; name {ALLOWED}.")
    if not root.is_dir():
        raise AudiotransError(f"{root}: is a file; name {ALLOWED}.")
    reader = next((read for mark, read in READERS.items() if (root / mark).exists()), read_folder)
    material = reader(root)
    _refuse_missing(root, material)
    return material


def _refuse_missing(root: Path, material: Material) -> None:
    takes = [take for direction in material.directions for clip in direction.clips for take in clip.takes]
    sounds = [take.sound for take in takes if take.sound is not None]
    missing = [sound for sound in sounds if not sound.is_file()]
    if missing:
        others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise AudiotransError(
            f"{root}: names the sound {missing[0]}{others}, which is not there: copy the whole folder or make it again."
        )
    if not sounds and not material.figures:
        raise AudiotransError(f"{root}: there is nothing to hear or to see in it; name {ALLOWED}.")


class Record(BaseModel):
    """A JSON object; unknown keys are ignored, for a later minor version may add some."""

    model_config = ConfigDict(extra="ignore", frozen=True)


Scores = dict[str, Score]


class _SystemClip(Record):
    clip: str
    recording: str = ""
    sound: str | None = None
    scores: Scores = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)


class _System(Record):
    name: str
    kind: Kind = "system"
    about: str = ""
    summary: dict[str, Summary] = Field(default_factory=dict)
    clips: list[_SystemClip] = Field(default_factory=list)


class _Direction(Record):
    source: str
    target: str
    systems: list[_System]


class _Evaluation(Record):
    model: str
    created_with: str = ""
    test_set: str = ""
    metrics: dict[str, Metric] = Field(default_factory=dict)
    directions: list[_Direction]
    conclusions: list[str] = Field(default_factory=list, validation_alias=AliasChoices("conclusions", "verdicts"))
    warnings: list[str] = Field(default_factory=list)


class _Item(Record):
    input: str
    clip: str
    domain: str
    chain: str
    sound: str | None = None
    scores: Scores = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)


class _Cycle(Record):
    model: str
    model_sha256: str = ""
    domains: list[str]
    options: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, Metric] = Field(default_factory=dict)
    chains: list[str]
    steps: dict[str, list[str]] = Field(default_factory=dict)
    means: dict[str, Scores] = Field(default_factory=dict)
    items: list[_Item]
    warnings: list[str] = Field(default_factory=list)


def load_record(path: Path, kind: type[R], name: str) -> R:
    """Read and check a JSON file.

    Args:
        path: of the file.
        kind: what it must hold.
        name: of the format, as in its ``format`` key.

    Returns:
        What it holds.

    Raises:
        AudiotransError: it cannot be read, is of another format or version, or lacks something.
    """
    try:
        data = from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AudiotransError(f"{path}: cannot be read: {error}; make it again.") from error
    if not isinstance(data, dict) or data.get("format") != name:
        found = data.get("format") if isinstance(data, dict) else type(data).__name__
        raise AudiotransError(f"{path}: is of format {found!r}; {name!r} is needed.")
    if data.get("version") != VERSION:
        raise AudiotransError(
            f"{path}: is of version {data.get('version')!r}, only {VERSION} can be read; install the newest audiotrans."
        )
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise AudiotransError(f"{path}: {where}: {first['msg'].lower()}; make the folder again.") from None


def _explained(metrics: dict[str, Metric]) -> dict[str, Metric]:
    own = {key: METRICS[key].about if key in METRICS else "" for key in metrics}
    return {key: replace(each, about=each.about or own[key]) for key, each in metrics.items()}


def _facts(**facts: str) -> tuple[tuple[str, str], ...]:
    return tuple((name.replace("_", " "), value) for name, value in facts.items() if value)


def _inside(root: Path, sound: str | None) -> Path | None:
    """Return the path of a sound of the folder, None where there is none.

    Raises:
        AudiotransError: it points out of the folder: a page may be published, and must not take other files along.
    """
    if not sound:
        return None
    path = root / sound
    if not real(path).is_relative_to(real(root)):
        raise AudiotransError(f"{root}: the sound {sound} lies outside of the folder; only sounds within it are shown.")
    return path


def read_evaluation(root: Path) -> Material:
    """Read the folder that ``audiotrans evaluate`` writes: its tables, clips and conclusions.

    Raises:
        AudiotransError: ``evaluation.json`` cannot be read or lacks something.
    """
    record = load_record(root / "evaluation.json", _Evaluation, "audiotrans-evaluation")
    return Material(
        heading=f"Evaluation of {record.model}",
        what="evaluation",
        facts=_facts(model=record.model, test_set=record.test_set, made_with=record.created_with),
        metrics=_explained(record.metrics),
        directions=tuple(
            Direction(
                f"{each.source} to {each.target}",
                tuple(
                    System(row.name, row.kind, row.about or about_system(row.name, row.kind), row.summary)
                    for row in each.systems
                ),
                _clips_of_systems(root, each.systems),
                each.target,
            )
            for each in record.directions
        ),
        conclusions=tuple(record.conclusions),
        warnings=tuple(record.warnings),
    )


def _clips_of_systems(root: Path, systems: Iterable[_System]) -> tuple[Clip, ...]:
    """Turn clips by system into systems by clip."""
    takes: dict[str, list[Take]] = {}
    for system in systems:
        for each in system.clips:
            take = Take(system.name, _inside(root, each.sound), each.scores, tuple(each.warnings))
            takes.setdefault(each.clip, []).append(take)
    return tuple(Clip(name, tuple(found)) for name, found in takes.items())


def read_cycle(root: Path) -> Material:
    """Read the folder that ``audiotrans cycle`` writes.

    Returns:
        A direction for the clips of every domain, whose systems are the chains that begin there.

    Raises:
        AudiotransError: ``cycle.json`` cannot be read or lacks something.
    """
    record = load_record(root / "cycle.json", _Cycle, "audiotrans-cycle")
    options = ", ".join(f"{name} {value}" for name, value in record.options.items() if value is not None)
    directions = (_cycle_direction(root, record, domain) for domain in record.domains)
    return Material(
        heading=f"Cycles of {record.model}",
        what="cycles",
        facts=_facts(model=record.model, weights=record.model_sha256[:12], options=options),
        metrics=_explained(record.metrics),
        directions=tuple(each for each in directions if each.clips),
        warnings=tuple(record.warnings),
    )


def _cycle_direction(root: Path, record: _Cycle, domain: str) -> Direction:
    items = [item for item in record.items if item.domain == domain]
    used = {item.chain for item in items}
    chains = [chain for chain in record.chains if chain in used] + sorted(used - set(record.chains))
    heard = {item.clip for item in items if item.chain == domain}
    inputs = {item.clip: path for item in items if item.clip not in heard and (path := Path(item.input)).is_file()}
    if inputs and domain not in chains:
        chains.insert(0, domain)
    takes: dict[str, dict[str, Take]] = {}
    for item in items:
        take = Take(item.chain, _inside(root, item.sound), item.scores, tuple(item.warnings))
        takes.setdefault(item.clip, {})[item.chain] = take
    for clip, path in inputs.items():
        takes[clip].setdefault(domain, Take(domain, path))
    systems = tuple(_chain(chain, domain, record) for chain in chains)
    return Direction(f"from {domain}", systems, _clips(takes, chains), _only_other(record.domains, domain))


def _chain(chain: str, domain: str, record: _Cycle) -> System:
    kind: Kind = "input" if chain == domain else "system"
    count = sum(item.chain == chain for item in record.items)
    summary = {name: Summary(mean, n=count) for name, mean in record.means.get(chain, {}).items()}
    return System(chain, kind, about_chain(record.steps.get(chain) or chain.split("-")), summary)


def _clips(takes: dict[str, dict[str, Take]], systems: Sequence[str]) -> tuple[Clip, ...]:
    """Order the takes, given by clip and system, as the systems are ordered."""
    return tuple(Clip(name, tuple(of[each] for each in systems if each in of)) for name, of in takes.items())


def _only_other(domains: Iterable[str], domain: str) -> str:
    """Return the other domain where there is just one, else nothing."""
    others = [each for each in domains if each != domain]
    return others[0] if len(others) == 1 else ""


EARLIER = 4
"""Earlier steps whose translations can be heard beside the last one's: enough to hear progress, few enough to tell."""

SHEETS = 6
"""Sample sheets that are shown of a training run."""

_LABEL = re.compile(r"(?P<domain>.+) (?P<number>\d+) (?P<title>\w+)$")


def read_run(root: Path) -> Material:
    """Read the folder of a training run, with ``metrics.jsonl`` or ``samples/``.

    Returns:
        For each domain the held-out sounds: input, what the last step makes of it, translations of earlier steps;
        the curves and sample sheets as figures.
    """
    steps = plots.sample_steps(root)
    figures = [Figure("training curves over the steps", log) for log in [root / "metrics.jsonl"] if log.is_file()]
    sheets = [path for path in sorted((root / "samples").glob("step_*.png")) if path.stem[len("step_") :].isdigit()]
    figures += [
        Figure(f"samples at step {int(path.stem[len('step_') :])}", path) for path in plots.thinned(sheets, SHEETS)
    ]
    return Material(
        heading=f"Training run {root.resolve().name}",
        what="training run",
        facts=_facts(last_step_with_sounds=f"{max(steps):,}") if steps else (),
        directions=_run_directions(steps) if steps else (),
        warnings=() if steps else ("the run has written no sounds: its samples folder holds none",),
        figures=tuple(figures),
    )


def _run_directions(steps: dict[int, Path]) -> tuple[Direction, ...]:
    last = max(steps)
    rows = [(title if title == "input" else f"{title}, step {last:,}", title, last) for title in ABOUT_SAMPLES]
    earlier = plots.thinned([step for step in steps if step != last], EARLIER)
    rows += [(f"translation, step {step:,}", "translation", step) for step in earlier]
    clips: dict[str, dict[str, list[Take]]] = {}
    for name, title, step in rows:
        for path in sorted(steps[step].glob("*.wav")):
            parts = _LABEL.match(path.stem)
            if parts and parts["title"] == title:
                label = f"{parts['domain']} {parts['number']}"
                clips.setdefault(parts["domain"], {}).setdefault(label, []).append(Take(name, path))
    found = []
    for domain, of_label in clips.items():
        heard = {take.system for takes in of_label.values() for take in takes}
        systems = tuple(
            System(name, "input" if title == "input" else "system", ABOUT_SAMPLES[title])
            for name, title, _ in rows
            if name in heard
        )
        shown = tuple(Clip(label, tuple(takes)) for label, takes in of_label.items())
        found.append(Direction(f"from {domain}", systems, shown, _only_other(clips, domain)))
    return tuple(found)


_KINDS: dict[str, Kind] = {
    "input": "input",
    "inputs": "input",
    "source": "input",
    "truth": "truth",
    "target": "truth",
    "reference": "truth",
    "copy": "baseline",
    "baseline": "baseline",
}
"""What the names of folders say; every other folder is a system."""

_ORDER: tuple[Kind, ...] = ("input", "system", "baseline", "truth")


def read_folder(root: Path) -> Material:
    """Read any folder of sounds: sub-folders are systems, equal file names are takes of one clip.

    ``input/a.wav`` and ``model/a.flac`` are two takes of the clip ``a``; so is ``model/a.piano.flac``, the name that
    convert gives, where some other folder holds an ``a``.

    Args:
        root: the folder; its pages of earlier reports are passed over.

    Returns:
        One direction with all systems and clips; no scores.

    Raises:
        UsageError: the folder holds no sound.
    """
    files = [path for path in find_audio([root]) if not _in_page(path, root)]
    if not files:
        raise UsageError(f"{root}: the folder holds no sound but those of listening pages.")
    stems = {path.stem for path in files}
    takes: dict[str, dict[str, Take]] = {}
    warnings: list[str] = []
    for path in files:
        outer = path.stem.rpartition(".")[0]
        of_clip = takes.setdefault(outer if outer in stems else path.stem, {})
        system = "/".join(path.relative_to(root).parts[:-1]) or root.resolve().name
        if system in of_clip:
            warnings.append(f"{path.relative_to(root)} is left out: its system has another sound of that name")
        of_clip.setdefault(system, Take(system, path))
    names = sorted({system for of_clip in takes.values() for system in of_clip}, key=_rank)
    systems = tuple(System(name, _kind(name), about_system(name, _kind(name))) for name in names)
    heading = root.resolve().name
    return Material(
        heading=f"Sounds of {heading}",
        what="folder of sounds",
        directions=(Direction(heading, systems, _clips(dict(sorted(takes.items())), names)),),
        warnings=tuple(warnings),
    )


def _kind(name: str) -> Kind:
    return _KINDS.get(name.rpartition("/")[2].casefold(), "system")


def _rank(name: str) -> tuple[int, str]:
    return _ORDER.index(_kind(name)), name


def _in_page(path: Path, root: Path) -> bool:
    return any((folder / MARKER).is_file() for folder in path.parents if folder.is_relative_to(root))


READERS: dict[str, Callable[[Path], Material]] = {
    "evaluation.json": read_evaluation,
    "cycle.json": read_cycle,
    "metrics.jsonl": read_run,
    "samples": read_run,
}
"""The reader of each kind of folder, by a name that such a folder holds."""
