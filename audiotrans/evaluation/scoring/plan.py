"""Options -> plans: which clips, which systems and anchors, and which tools measure them, before any work is done."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from audiotrans import __version__
from audiotrans.errors import UsageError
from audiotrans.evaluation.scoring.baselines import BaselineOptions, build_baselines
from audiotrans.evaluation.scoring.measures import KERNEL_OF
from audiotrans.evaluation.scoring.systems import (
    System,
    folder_system,
    input_itself,
    model_system,
    refuse_ambiguous,
    refuse_same_names,
    truth,
)
from audiotrans.evaluation.scoring.testset import Clip, Direction, Selection, digest_of, find_directions
from audiotrans.evaluation.tagger import EMBEDDING_NAME, INSTRUMENTS, tagger_available
from audiotrans.evaluation.transcription import transcription_available

if TYPE_CHECKING:
    from audiotrans.convert.converter import Converter
    from audiotrans.evaluation.classifier import InstrumentClassifier

DEFAULT_MODEL = "violin-piano"

MEASURING_CODE = (
    "audio",
    "spectrogram",
    "model",
    "convert",
    "evaluation/metrics",
    "evaluation/scoring/baselines",
    "evaluation/classifier",
    "evaluation/tagger",
    "evaluation/scoring/measures.py",
    "evaluation/scoring/systems.py",
    "evaluation/scoring/testset.py",
    "evaluation/listening.py",
    "evaluation/transcription.py",
    "recipe.py",
)
"""Parts of the package that decide figures: after a change there, a resumed run measures anew."""


@dataclass(frozen=True)
class Options:
    """What is to be evaluated on what.

    Attributes:
        test_set: a folder with a sub-folder of sounds for each domain.
        models: names or weights files; with none, and no systems either, the shipped model.
        systems: names and folders of converted files.
        judge: name or file; None takes the shipped one where it knows both domains.
        selection: which clips.
        train: real sounds of each domain, for the equaliser and for targets that the test set lacks.
        soundfont: for the synthesised anchor.
        seed: of the models' noise, the anchors and the bootstrap.
        device: where models run.
    """

    test_set: Path
    models: tuple[str, ...] = ()
    systems: tuple[tuple[str, Path], ...] = ()
    classifier: str | None = None
    selection: Selection = field(default_factory=Selection)
    train: Path | None = None
    soundfont: Path | None = None
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True)
class Plan:
    """One direction.

    Attributes:
        direction: what into what.
        systems: the rows: input, truth, systems, anchors.
        judge: who tells the timbre, or None.
        tools: of transcriber, mir_eval, judge and tagger, what there is.
        basis: a text that changes whenever figures of the same output would.
    """

    direction: Direction
    systems: tuple[System, ...]
    classifier: InstrumentClassifier | None
    tools: frozenset[str]
    basis: str

    @property
    def embeddings(self) -> dict[str, str]:
        """The names of the embeddings by the kernel distance made of them."""
        names = {"tagger": EMBEDDING_NAME, **({} if self.classifier is None else {"classifier": self.classifier.name})}
        return {KERNEL_OF[tool]: name for tool, name in names.items() if tool in self.tools}

    def key(self, what: str, clip: Clip) -> str:
        """Name what is measured of a system or real clip: another input, system or measure has another name."""
        others = [digest_of(path) if path else "" for path in (clip.truth, clip.notes)]
        text = json.dumps([self.basis, self.direction.name, what, clip.name, clip.identity, *others])
        return hashlib.sha256(text.encode()).hexdigest()[:24]


@dataclass(frozen=True)
class _Model:
    name: str
    path: Path
    converter: Converter


def make_plans(options: Options) -> tuple[list[Plan], list[str]]:
    """Load what is needed and settle what will be done.

    Returns:
        A plan for each direction, and one-line notes about what is left out and why.

    Raises:
        UsageError: a name, folder or option that cannot be.
        AudiotransError: a file that cannot be read.
    """
    models = _load_models(options)
    known = [] if options.systems else [model.converter.domains for model in models]
    directions, notes = find_directions(options.test_set, options.selection, train=options.train, known=known)
    classifier, judge_notes = _load_judge(options, directions)
    notes += judge_notes + _missing_tools(directions)
    others, found = _folders(options, directions)
    notes += found
    plans = []
    for direction in directions:
        systems, found = _systems(options, models, direction, others.get(direction.name, []))
        notes += found
        plans.append(_plan(direction, systems, classifier))
    notes += _heard_before(classifier, directions)
    return plans, list(dict.fromkeys(notes))


def _load_models(options: Options) -> list[_Model]:
    from audiotrans.convert import models
    from audiotrans.weights import find

    names = options.models or (() if options.systems else (DEFAULT_MODEL,))
    loaded = []
    for name in names:
        path = find(name)
        loaded.append(_Model(path.stem, path, models.load(name, device=options.device)))
    return loaded


def _load_judge(options: Options, directions: list[Direction]) -> tuple[InstrumentClassifier | None, list[str]]:
    from audiotrans.evaluation.classifier import DEFAULT_JUDGE, InstrumentClassifier

    targets = list(dict.fromkeys(direction.target for direction in directions))
    if options.classifier is not None:
        classifier = InstrumentClassifier.load(options.classifier)
        for target in targets:
            classifier.index(target)  # says what it knows
        return classifier, []
    try:
        classifier = InstrumentClassifier.load(DEFAULT_JUDGE)
    except UsageError as error:
        return None, [f"no judge of timbre: {error}"]
    strange = [target for target in targets if target not in classifier.classes]
    if strange:
        known = " and ".join(classifier.classes)
        return None, [
            f"the judge's probability and KAD are left out: the shipped judge knows {known}, not {strange[0]}; "
            "audiotrans train-classifier makes another for --classifier"
        ]
    return classifier, []


def _missing_tools(directions: list[Direction]) -> list[str]:
    notes = []
    if not transcription_available():
        notes.append("note measures are left out: pip install --no-deps basic-pitch, and 'audiotrans[eval]'")
    if importlib.util.find_spec("mir_eval") is None:
        notes.append("note F1 is left out: pip install 'audiotrans[eval]'")
    unknown = [direction.target for direction in directions if direction.target not in INSTRUMENTS]
    if not tagger_available():
        notes.append("the tagger's measures are left out: pip install --no-deps musicnn")
    elif unknown:
        known = ", ".join(INSTRUMENTS)
        notes.append(f"the tagger's measures are left out for {unknown[0]}: it knows {known} by these names")
    return notes


def _folders(options: Options, directions: list[Direction]) -> tuple[dict[str, list[System]], list[str]]:
    """Return the folders' systems by direction; one that has files for some directions only is left out of the rest."""
    found: dict[str, list[System]] = {direction.name: [] for direction in directions}
    notes: list[str] = []
    for name, folder in options.systems:
        refuse_ambiguous(name, folder, directions)
        errors: list[UsageError] = []
        for direction in directions:
            try:
                system, missing = folder_system(name, folder, direction)
            except UsageError as error:
                errors.append(error)
            else:
                found[direction.name].append(system)
                notes += missing
        if len(errors) == len(directions):
            raise errors[0]
        notes += [f"left out: {error}" for error in errors]
    return found, notes


def _systems(
    options: Options, models: list[_Model], direction: Direction, others: list[System]
) -> tuple[list[System], list[str]]:
    found, notes = [input_itself()], []
    if direction.paired:
        found.append(truth())
    for model in models:
        if {direction.source, direction.target} <= set(model.converter.domains):
            found.append(model_system(model.name, model.path, model.converter, direction, options.seed))
        else:
            notes.append(f"{direction.name}: the model {model.name} translates {' and '.join(model.converter.domains)}")
    found += others
    baselines, left_out = build_baselines(direction, BaselineOptions(options.train, options.soundfont, options.seed))
    found += baselines
    refuse_same_names(found)
    return found, notes + left_out


def _plan(direction: Direction, systems: list[System], classifier: InstrumentClassifier | None) -> Plan:
    there = {
        "transcriber": transcription_available(),
        "mir_eval": importlib.util.find_spec("mir_eval") is not None,
        "classifier": classifier is not None,
        "tagger": tagger_available() and direction.target in INSTRUMENTS,
    }
    tools = frozenset(name for name, installed in there.items() if installed)
    weights = "" if classifier is None else _digest_of_judge(classifier)
    reals = [f"{clip.recording}:{clip.identity}" for clip in direction.reals]
    text = json.dumps([_digest_of_code(), sorted(tools), weights, reals])
    return Plan(direction, tuple(systems), classifier, tools, hashlib.sha256(text.encode()).hexdigest())


@lru_cache(maxsize=1)
def _digest_of_code() -> str:
    package = Path(str(resources.files("audiotrans")))
    digest = hashlib.sha256(__version__.encode())
    for part in MEASURING_CODE:
        place = package / part
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _digest_of_judge(classifier: InstrumentClassifier) -> str:
    digest = hashlib.sha256(repr((classifier.name, classifier.classes)).encode())
    for name, value in sorted(classifier.net.state_dict().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()[:16]


def _heard_before(classifier: InstrumentClassifier | None, directions: list[Direction]) -> list[str]:
    """Warn of test sounds that the judge was trained on: it knows them by heart."""
    if classifier is None:
        return []
    names = {clip.path.name for direction in directions for clip in (*direction.clips, *direction.reals)}
    heard = sorted(names & {PurePosixPath(name).name for name in classifier.recordings})
    if not heard:
        return []
    return [f"the judge was trained on {len(heard)} of these files ({heard[0]}): its figures praise what it remembers"]
