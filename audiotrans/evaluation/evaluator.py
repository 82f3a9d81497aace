"""``audiotrans evaluate``: systems and baselines on the clips of a test set, measured and written as one folder."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from audiotrans import __version__
from audiotrans.errors import UsageError, check_counts
from audiotrans.evaluation import summaries
from audiotrans.evaluation.baselines import BaselineOptions, build_baselines
from audiotrans.evaluation.scoring import KERNEL_OF, METRICS, AnalysedSound, Case, measure
from audiotrans.evaluation.store import CSV, SOUNDS, TABLE, Record, Store, write_sound
from audiotrans.evaluation.systems import (
    Made,
    System,
    file_name,
    folder_system,
    input_itself,
    model_system,
    refuse_ambiguous,
    refuse_same_names,
    slug,
    true_wave,
    truth,
)
from audiotrans.evaluation.tagger import EMBEDDING_NAME, INSTRUMENTS
from audiotrans.evaluation.testset import Clip, Direction, Selection, digest_of, find_directions
from audiotrans.evaluation.transcription import transcription_available
from audiotrans.processes import in_processes, in_turn, threads_each, use_threads

if TYPE_CHECKING:
    from audiotrans.convert.converter import Converter
    from audiotrans.evaluation.classifier import InstrumentClassifier

FORMAT, VERSION = "audiotrans-evaluation", 1
DEFAULT_MODEL = "violin-piano"

Ticker = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Options:
    """What is to be evaluated on what.

    Attributes:
        test_set: a folder with a sub-folder of sounds for each domain.
        models: names or weights files; with none, and no systems either, the shipped model.
        systems: names and folders of converted files.
        classifier: name or file; None takes the shipped one where it knows both domains.
        selection: which clips.
        train: real sounds of each domain, for the equaliser and for targets that the test set lacks.
        soundfont: for the synthesised baselines.
        seed: of the models' noise, the baselines and the bootstrap.
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


def evaluate(
    options: Options,
    output: Path,
    *,
    force: bool = False,
    resume: bool = False,
    threads: int | None = None,
    workers: int | None = None,
    ray: str | None = None,
    progress: Ticker | None = None,
) -> dict[str, Any]:
    """Run an evaluation and write its folder.

    Args:
        options: what.
        output: folder to write.
        force: replace an evaluation that is there.
        resume: go on with one.
        threads: CPU threads of all workers, or of each one of a cluster (1 if None); unused where this process works.
        workers: processes that make and measure the outputs, clip by clip; 1 and None work in this one.
        ray: ``local`` or the address of a Ray cluster, whose workers do it; see `audiotrans.cluster.on_cluster`.
        progress: called with outputs done, outputs in all and the name of the one that comes.

    Returns:
        What ``evaluation.json`` holds.

    Raises:
        UsageError: a name, folder or option that is not allowed.
        AudiotransError: a file that cannot be read or written.
    """
    check_counts(threads=threads, workers=workers)
    plans, notes = make_plans(options)
    store = Store(output, force=force, resume=resume)
    run = _Run(store, plans, progress)
    if ray is not None or (workers or 1) > 1:
        share = threads_each(threads, workers or 1, ray)
        run.make_aside(Setup(options, output, share), workers, ray)
    found = [
        summaries.summarise(plan.direction, run.rows(plan), run.reals(plan), plan.embeddings, options.seed)
        for plan in plans
    ]
    metrics = {name: about for summary in found for name, about in summary.metrics.items()}
    comparisons = [comparison for summary in found for comparison in summary.comparisons]
    result = {
        "format": FORMAT,
        "version": VERSION,
        "model": next((system.name for plan in plans for system in plan.systems if system.kind == "system"), ""),
        "created_with": f"audiotrans {__version__}",
        "test_set": options.test_set.resolve().name,
        "seed": options.seed,
        "metrics": {name: metrics[name] for name in METRICS if name in metrics},
        "directions": [summary.direction for summary in found],
        "conclusions": [str(comparison) for comparison in comparisons],
        "comparisons": [comparison.as_dict() for comparison in comparisons],
        "warnings": notes,
    }
    store.write_text(TABLE, summaries.markdown(result))
    store.write_text(CSV, summaries.as_csv(result))
    store.write_json(result)
    return result


@dataclass(frozen=True)
class Plan:
    """One direction.

    Attributes:
        direction: what into what.
        systems: the rows: input, truth, systems, baselines.
        classifier: of instruments, or None.
        tools: of pitch, transcriber, mir_eval, classifier and tagger, what there is.
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
        """Name what is measured of a system or real clip: another input, system or program has another name."""
        others = [digest_of(path) if path else "" for path in (clip.truth, clip.notes)]
        text = json.dumps([self.basis, self.direction.name, what, clip.name, clip.identity, *others])
        return hashlib.sha256(text.encode()).hexdigest()[:24]


@dataclass(frozen=True)
class _Model:
    name: str
    path: Path
    converter: Converter


def make_plans(options: Options) -> tuple[list[Plan], list[str]]:
    """Load what is needed and settle which clips, systems, baselines and tools, before any work is done.

    Returns:
        A plan for each direction, and one-line notes about what is left out and why.

    Raises:
        UsageError: a name, folder or option that is not allowed.
        AudiotransError: a file that cannot be read.
    """
    models = _load_models(options)
    known = [] if options.systems else [model.converter.domains for model in models]
    directions, notes = find_directions(options.test_set, options.selection, train=options.train, known=known)
    classifier, left_out = _load_classifier(options, directions)
    notes += left_out + _missing_tools(directions)
    others, found = _folders(options, directions)
    notes += found
    plans = []
    for direction in directions:
        systems, found = _systems(options, models, direction, others.get(direction.name, []))
        notes += found
        plans.append(_plan(direction, systems, classifier))
    notes += _trained_on(classifier, directions)
    return plans, list(dict.fromkeys(notes))


def _load_models(options: Options) -> list[_Model]:
    from audiotrans.convert.converter import load
    from audiotrans.weights import find

    names = options.models or (() if options.systems else (DEFAULT_MODEL,))
    loaded = []
    for name in names:
        path = find(name)
        loaded.append(_Model(path.stem, path, load(name, device=options.device)))
    return loaded


def _load_classifier(options: Options, directions: list[Direction]) -> tuple[InstrumentClassifier | None, list[str]]:
    from audiotrans.evaluation.classifier import DEFAULT_CLASSIFIER, InstrumentClassifier

    targets = list(dict.fromkeys(direction.target for direction in directions))
    if options.classifier is not None:
        classifier = InstrumentClassifier.load(options.classifier)
        for target in targets:
            classifier.index(target)  # refuses a domain that it does not know
        return classifier, []
    try:
        classifier = InstrumentClassifier.load(DEFAULT_CLASSIFIER)
    except UsageError as error:
        return None, [f"no instrument classifier: {error}"]
    strange = [target for target in targets if target not in classifier.classes]
    if strange:
        known = " and ".join(classifier.classes)
        return None, [
            "the classifier's probability and KAD are left out: the shipped instrument classifier knows "
            f"{known}, not {strange[0]}; audiotrans train-classifier makes another for --classifier"
        ]
    return classifier, []


def _missing_tools(directions: list[Direction]) -> list[str]:
    notes = []
    for there, what in ((transcription_available(), "note metrics are"), (_has_mir_eval(), "note F1 is")):
        if not there:
            notes.append(f'{what} left out: pip install "audiotrans[eval]"')
    unknown = [direction.target for direction in directions if direction.target not in INSTRUMENTS]
    if unknown:
        known = ", ".join(INSTRUMENTS)
        notes.append(f"the tagger's metrics are left out for {unknown[0]}: it knows {known} by these names")
    return notes


def _has_mir_eval() -> bool:
    return importlib.util.find_spec("mir_eval") is not None


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
        "pitch": True,
        "transcriber": transcription_available(),
        "mir_eval": _has_mir_eval(),
        "classifier": classifier is not None,
        "tagger": direction.target in INSTRUMENTS,
    }
    tools = frozenset(name for name, usable in there.items() if usable)
    weights = "" if classifier is None else _digest_of_weights(classifier)
    reals = [f"{clip.recording}:{clip.identity}" for clip in direction.reals]
    text = json.dumps([_digest_of_code(), sorted(tools), weights, reals])
    return Plan(direction, tuple(systems), classifier, tools, hashlib.sha256(text.encode()).hexdigest())


@lru_cache(maxsize=1)
def _digest_of_code() -> str:
    """Return a digest of this package's code: after any change of it, a resumed run measures anew."""
    package = Path(str(resources.files("audiotrans")))
    digest = hashlib.sha256(__version__.encode())
    for path in sorted(package.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _digest_of_weights(classifier: InstrumentClassifier) -> str:
    digest = hashlib.sha256(repr((classifier.name, classifier.classes)).encode())
    for name, value in sorted(classifier.net.state_dict().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()[:16]


def _trained_on(classifier: InstrumentClassifier | None, directions: list[Direction]) -> list[str]:
    """Warn of test sounds that the classifier was trained on: it knows them by heart."""
    if classifier is None:
        return []
    names = {clip.path.name for direction in directions for clip in (*direction.clips, *direction.reals)}
    known = sorted(names & {PurePosixPath(name).name for name in classifier.recordings})
    if not known:
        return []
    return [
        f"the instrument classifier was trained on {len(known)} of these files ({known[0]}): its figures are too good"
    ]


class _Run:
    """Makes and measures what the store does not have yet."""

    def __init__(self, store: Store, plans: Sequence[Plan], progress: Ticker | None) -> None:
        self._store, self._plans, self._progress = store, plans, progress
        self._total = sum(len(plan.direction.clips) * len(plan.systems) for plan in plans)
        self._done = 0

    def make_aside(self, setup: Setup, workers: int | None, ray: str | None) -> None:
        """Let other processes make what the store does not have: real clips first, whose medians are needed."""

        def make(jobs: list[ClipJob], outputs: int) -> None:
            results = in_processes(
                work, jobs, workers, start=start_worker, arguments=(setup,), ray=ray, shared=setup.folder
            )
            with closing(results):
                for records in results:
                    for record in records:
                        self._tick(record.sound, outputs)
                        self._store.put(record)

        if reals := self._missing_reals():
            make(reals, 0)
        if clips := self._missing_outputs():
            make(clips, 1)
        self._done = 0

    def _missing_reals(self) -> list[ClipJob]:
        return [
            ClipJob(number, index, None, {})
            for number, plan in enumerate(self._plans)
            for index, clip in enumerate(plan.direction.reals)
            if self._store.get(plan.key("real", clip)) is None
        ]

    def _missing_outputs(self) -> list[ClipJob]:
        jobs = []
        for number, plan in enumerate(self._plans):
            domain = self._domain(plan)
            for index, clip in enumerate(plan.direction.clips):
                keys = (plan.key(system.identity, clip) for system in plan.systems)
                missing = tuple(place for place, key in enumerate(keys) if self._store.get(key) is None)
                if missing:
                    jobs.append(ClipJob(number, index, missing, domain(clip.recording)))
        return jobs

    def rows(self, plan: Plan) -> list[summaries.Row]:
        """Return every system of a plan with its records, clip by clip."""
        found: dict[str, list[tuple[Clip, Record]]] = {system.name: [] for system in plan.systems}
        domain = self._domain(plan)

        def records(clip: Clip) -> list[tuple[System, Record]]:
            return self._clip(plan, clip, domain)

        for clip, of_clip in zip(plan.direction.clips, in_turn(records, plan.direction.clips), strict=True):
            for system, record in of_clip:
                found[system.name].append((clip, record))
        return [summaries.Row(system.name, system.kind, found[system.name]) for system in plan.systems]

    def reals(self, plan: Plan) -> list[tuple[Clip, Record]]:
        """Return the real clips of the target with their attack, decay and embeddings."""

        def record(clip: Clip) -> Record:
            return self._store.get(plan.key("real", clip)) or self._store.put(measure_real(plan, clip))

        return list(zip(plan.direction.reals, in_turn(record, plan.direction.reals), strict=True))

    def _domain(self, plan: Plan) -> Callable[[str], Mapping[str, float]]:
        """Return a function of a recording's name: medians of the real clips of all others."""
        reals = self.reals(plan)

        def medians(recording: str) -> Mapping[str, float]:
            found = {}
            for name in ("attack_ms", "decay_db_per_s"):
                values = [record.scores[name] for clip, record in reals if clip.recording != recording]
                finite = [value for value in values if math.isfinite(value)]
                if finite:
                    found[name] = float(np.median(finite))
            return found if len(found) == 2 else {}

        return medians

    def _clip(
        self, plan: Plan, clip: Clip, domain: Callable[[str], Mapping[str, float]]
    ) -> list[tuple[System, Record]]:
        records = []
        source: AnalysedSound | None = None
        for system in plan.systems:
            self._tick(f"{system.name}, {clip.name}")
            record = self._store.get(plan.key(system.identity, clip))
            if record is None:
                source = source or AnalysedSound(clip.read(), plan.classifier)
                made = make_output(plan, clip, system, source, domain(clip.recording), self._store.folder)
                record = self._store.put(made)
            if record.sound:  # the system had something for this clip
                records.append((system, record))
        return records

    def _tick(self, label: str, outputs: int = 1) -> None:
        if self._progress is not None:
            self._progress(self._done, self._total, label)
        self._done += outputs


def measure_real(plan: Plan, clip: Clip) -> Record:
    """Return a real clip's attack, decay and embeddings."""
    source = AnalysedSound(clip.read(), plan.classifier)
    attack, decay = source.shapes
    scores = {"attack_ms": attack, "decay_db_per_s": decay}
    return Record(plan.key("real", clip), scores, embeddings=source.embeddings(plan.tools))


def make_output(
    plan: Plan, clip: Clip, system: System, source: AnalysedSound, domain: Mapping[str, float], folder: Path
) -> Record:
    """Make a system's output of a clip, write its sound and measure it.

    Args:
        plan: of the clip's direction.
        clip: the input.
        system: that makes something of it.
        source: the clip's sound.
        domain: medians of the real clips of other recordings.
        folder: of the evaluation.

    Raises:
        AudiotransError: a file that cannot be read or written.
    """
    key = plan.key(system.identity, clip)
    made = system.make(clip, source)
    if made is None:
        return Record(key, {})
    place = f"{SOUNDS}/{plan.direction.name}"
    if made.wave is source.wave:
        sound, gain_db, output = f"{place}/input/{file_name(clip.name)}.flac", 0.0, source
        if system.kind == "input":
            gain_db = write_sound(folder / sound, made.wave)
    else:
        sound = f"{place}/{slug(system.name)}/{file_name(clip.name)}.flac"
        gain_db, output = write_sound(folder / sound, made.wave), AnalysedSound(made.wave, plan.classifier)
    scores = {} if system.kind == "input" else _scores(plan, clip, made, source, output, domain)
    warnings = list(made.warnings)
    if gain_db < 0:
        warnings.append(f"the file is {-gain_db:.1f} dB lower than what was measured, so that no peak clips")
    embeddings = {} if system.kind == "input" else output.embeddings(plan.tools)
    return Record(key, scores, sound, made.content or clip.recording, embeddings, tuple(warnings))


def _scores(
    plan: Plan,
    clip: Clip,
    made: Made,
    source: AnalysedSound,
    output: AnalysedSound,
    domain: Mapping[str, float],
) -> dict[str, float]:
    case = Case(source, output, plan.direction.target, true_wave(clip, source.wave), clip.score(), domain)
    return {**measure(case, plan.tools), **made.scores}


# Other processes -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setup:
    """What a worker needs to begin: what is evaluated, the evaluation's folder, and the threads of this worker."""

    options: Options
    folder: Path
    threads: int


@dataclass(frozen=True)
class ClipJob:
    """One clip.

    Attributes:
        plan: number of its plan.
        clip: its number in the plan's direction.
        systems: numbers of the systems whose outputs are missing; None for a real clip of the target.
        domain: medians of the real clips of other recordings.
    """

    plan: int
    clip: int
    systems: tuple[int, ...] | None
    domain: Mapping[str, float]


_worker: tuple[list[Plan], Path] | None = None


def start_worker(setup: Setup) -> None:
    """Begin a worker process: it makes its own plans, and holds its models for all its clips."""
    global _worker
    use_threads(setup.threads)
    _worker = make_plans(setup.options)[0], setup.folder


def work(job: ClipJob) -> list[Record]:
    """Return the records of a clip, in a worker process; what was written of it before is overwritten."""
    if _worker is None:
        raise RuntimeError("the worker was not started")
    plans, folder = _worker
    plan = plans[job.plan]
    if job.systems is None:
        return [measure_real(plan, plan.direction.reals[job.clip])]
    clip = plan.direction.clips[job.clip]
    source = AnalysedSound(clip.read(), plan.classifier)
    return [make_output(plan, clip, plan.systems[number], source, job.domain, folder) for number in job.systems]
