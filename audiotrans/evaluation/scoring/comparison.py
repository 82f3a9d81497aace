"""``audiotrans evaluate``: every system and anchor on every clip, scored, summed up and written as one folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audiotrans import __version__
from audiotrans.evaluation.scoring import tables
from audiotrans.evaluation.scoring.measures import MEASURES, Case, Hearing, measure
from audiotrans.evaluation.scoring.plan import Options, Plan, make_plans
from audiotrans.evaluation.scoring.store import CSV, SOUNDS, TABLE, Record, Store
from audiotrans.evaluation.scoring.summary import Row, summarise
from audiotrans.evaluation.scoring.systems import Made, System, file_name, slug, true_wave
from audiotrans.evaluation.scoring.testset import Clip

FORMAT, VERSION = "audiotrans-evaluation", 1

Ticker = Callable[[int, int, str], None]


def evaluate(
    options: Options, output: Path, *, force: bool = False, resume: bool = False, progress: Ticker | None = None
) -> dict[str, Any]:
    """Run an evaluation and write its folder.

    Args:
        options: what.
        output: folder to write.
        force: replace an evaluation that is there.
        resume: go on with one.
        progress: called with outputs done, outputs in all and the name of the one that comes.

    Returns:
        What ``evaluation.json`` holds.

    Raises:
        UsageError: a name, folder or option that cannot be.
        AudiotransError: a file that cannot be read or written.
    """
    plans, notes = make_plans(options)
    store = Store(output, force=force, resume=resume)
    run = _Run(store, plans, progress)
    summaries = [
        summarise(plan.direction, run.rows(plan), run.reals(plan), plan.embeddings, options.seed) for plan in plans
    ]
    metrics = {name: about for summary in summaries for name, about in summary.metrics.items()}
    comparisons = [comparison for summary in summaries for comparison in summary.comparisons]
    result = {
        "format": FORMAT,
        "version": VERSION,
        "model": next((system.name for plan in plans for system in plan.systems if system.kind == "system"), ""),
        "created_with": f"audiotrans {__version__}",
        "test_set": options.test_set.resolve().name,
        "seed": options.seed,
        "metrics": {name: metrics[name] for name in MEASURES if name in metrics},
        "directions": [summary.direction for summary in summaries],
        "verdicts": [str(comparison) for comparison in comparisons],
        "comparisons": [comparison.as_dict() for comparison in comparisons],
        "warnings": notes,
    }
    store.write_text(TABLE, tables.markdown(result))
    store.write_text(CSV, tables.as_csv(result))
    store.write_json(result)
    return result


class _Run:
    """Makes and measures what the store does not have yet."""

    def __init__(self, store: Store, plans: Sequence[Plan], progress: Ticker | None) -> None:
        self._store, self._progress = store, progress
        self._total = sum(len(plan.direction.clips) * len(plan.systems) for plan in plans)
        self._done = 0

    def rows(self, plan: Plan) -> list[Row]:
        """Return every system of a plan with its records, clip by clip."""
        found: dict[str, list[tuple[Clip, Record]]] = {system.name: [] for system in plan.systems}
        domain = self._domain(plan)
        for clip in plan.direction.clips:
            for system, record in self._clip(plan, clip, domain):
                found[system.name].append((clip, record))
        return [Row(system.name, system.kind, found[system.name]) for system in plan.systems]

    def reals(self, plan: Plan) -> list[tuple[Clip, Record]]:
        """Return the real clips of the target with what is known of them: attack, decay and embedding."""
        return [(clip, self._real(plan, clip)) for clip in plan.direction.reals]

    def _real(self, plan: Plan, clip: Clip) -> Record:
        key = plan.key("real", clip)
        record = self._store.get(key)
        if record is None:
            heard = Hearing(clip.read(), plan.classifier)
            attack, decay = heard.shapes
            scores = {"attack_ms": attack, "decay_db_per_s": decay}
            record = self._store.put(Record(key, scores, embeddings=heard.embeddings(plan.tools)))
        return record

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
        heard: Hearing | None = None
        for system in plan.systems:
            self._tick(f"{system.name}, {clip.name}")
            key = plan.key(system.identity, clip)
            record = self._store.get(key)
            if record is None:
                heard = heard or Hearing(clip.read(), plan.classifier)
                record = self._store.put(self._output(plan, clip, system, heard, domain(clip.recording)))
            if record.sound:  # the system had something for this clip
                records.append((system, record))
        return records

    def _output(self, plan: Plan, clip: Clip, system: System, heard: Hearing, domain: Mapping[str, float]) -> Record:
        key = plan.key(system.identity, clip)
        made = system.make(clip, heard)
        if made is None:
            return Record(key, {})
        folder = f"{SOUNDS}/{plan.direction.name}"
        if made.wave is heard.wave:
            sound, gain_db, output = f"{folder}/input/{file_name(clip.name)}.flac", 0.0, heard
            if system.kind == "input":
                gain_db = self._store.write_sound(sound, made.wave)
        else:
            sound = f"{folder}/{slug(system.name)}/{file_name(clip.name)}.flac"
            gain_db, output = self._store.write_sound(sound, made.wave), Hearing(made.wave, plan.classifier)
        scores = {} if system.kind == "input" else self._scores(plan, clip, made, heard, output, domain)
        warnings = list(made.warnings)
        if gain_db < 0:
            warnings.append(f"the file is {-gain_db:.1f} dB lower than what was measured, so that no peak clips")
        embeddings = {} if system.kind == "input" else output.embeddings(plan.tools)
        return Record(key, scores, sound, made.heard or clip.recording, embeddings, tuple(warnings))

    def _scores(
        self, plan: Plan, clip: Clip, made: Made, heard: Hearing, output: Hearing, domain: Mapping[str, float]
    ) -> dict[str, float]:
        case = Case(heard, output, plan.direction.target, true_wave(clip, heard.wave), clip.score(), domain)
        return {**measure(case, plan.tools), **made.scores}

    def _tick(self, label: str) -> None:
        if self._progress is not None:
            self._progress(self._done, self._total, label)
        self._done += 1
