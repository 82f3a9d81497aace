"""``audiotrans cycle``: sounds through chains of translations (V->V, V->P, V->P->V, ...), each scored on its input."""

from __future__ import annotations

import errno
import json
import math
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from audiotrans import __version__
from audiotrans.audio import Wave, probe, read_blocks
from audiotrans.convert.chains import (
    Chain,
    Tick,
    chain_kind,
    chain_name,
    check_chains,
    default_chains,
    parse_chain,
    render_chains,
    steps_of,
    write_sound,
)
from audiotrans.convert.converter import Converter, load
from audiotrans.convert.jobs import sound_bar
from audiotrans.errors import AudiotransError, check_counts
from audiotrans.evaluation.cycle_inputs import STEP_OPTIONS, CycleClip, CycleRecipe, find_clips
from audiotrans.evaluation.cycle_results import (
    SCORED_SECONDS,
    cycle_values,
    is_finished,
    means_table,
    open_folder,
    read_records,
    record_path,
    sound_path,
    write_tables,
)
from audiotrans.evaluation.scoring import AnalysedSound, Case, measure
from audiotrans.files import beside, file_digest, real, remove_unfinished, write_whole
from audiotrans.options import ConvertOptions
from audiotrans.processes import default_workers, in_processes, in_turn, threads_each, use_threads
from audiotrans.weights import find

METRICS_OF_PITCH = ("pitch_error_cents", "pitch_fraction_off")
CYCLE_METRICS = (
    *("log_spectral_distance_db", "band_distance_db", "multi_resolution_stft"),
    *METRICS_OF_PITCH,
    *("onset_f1", "loudness_correlation"),
)
"""Keys of `audiotrans.evaluation.scoring.METRICS`: the distances are to the input, which a cycle should return."""

Results = Generator["CycleClip | Failed", None, None]

Show = Callable[[float], None]
"""Takes the seconds of sound that are translated so far."""

CLIPS_PER_WORKER = 4
"""A worker takes some seconds to start: fewer clips than this are not worth another one."""


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        folder: of the results.
        values: the content of cycle.json; None where no clip is finished.
        done: clips of this run.
        kept: clips that an earlier run had finished.
        failures: clips that could not be translated.
        elapsed_seconds: of this run.
    """

    folder: Path
    values: dict[str, Any] | None
    done: int
    kept: int
    failures: tuple[Failed, ...]
    elapsed_seconds: float

    @property
    def warnings(self) -> list[str]:
        """What of the inputs is unlike the model's training data, one line each."""
        items = self.values["items"] if self.values else []
        return [f"{item['input']}: {line}" for item in items for line in item.get("warnings", ())]

    def __str__(self) -> str:
        """Return the lines that a user sees: the means, and where the rest is."""
        kept = f", {self.kept} were finished before" if self.kept else ""
        last = f"{self.done} clips in {self.elapsed_seconds:.1f} s{kept}: {self.folder / 'cycle.json'}"
        table = means_table(self.values) if self.values else ""
        return f"{table}\n{last}" if table else last


def run_cycles(
    inputs: Sequence[str | Path],
    output: Path,
    recipe: CycleRecipe,
    *,
    device: str = "auto",
    threads: int | None = None,
    workers: int | None = None,
    ray: str | None = None,
    force: bool = False,
    progress: bool = True,
) -> Summary:
    """Take sounds through chains of translations and score each against its input.

    A run that was interrupted goes on where it was when it is started again: every clip is kept as it is finished.

    Args:
        inputs: files, folders (searched in depth) and glob patterns; see `find_clips` for their domains.
        output: folder of the results; new, empty, or of an earlier run with the same model and options.
        recipe: what to do.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: CPU threads in all, divided among the workers; None takes all cores.
        workers: processes; 1 works in this one; None chooses by cores and clips. More than 1 needs a script to have
            the guard ``if __name__ == "__main__"``.
        ray: ``local`` or the address of a Ray cluster, whose workers do the work, with ``threads`` each (1 if None).
        force: whether to start over in a folder of an earlier run.
        progress: show a bar with speed and time left.

    Returns:
        What was done; single clips that could not be translated do not stop the others.

    Raises:
        UsageError: for arguments, folders or an output that are not allowed.
        AudiotransError: if an input cannot be read or the results cannot be written.
    """
    started = time.perf_counter()
    check_counts(threads=threads, workers=workers)
    converter = load(recipe.model, device=device)
    chains = _chains(recipe, converter.domains)
    check_chains(converter, chains, recipe.options)
    starting = list(dict.fromkeys(chain[0] for chain in chains))
    clips = find_clips(inputs, converter.domains, recipe.source, starting=starting)
    header = _header(recipe, converter.domains, chains)
    open_folder(output, {name: header[name] for name in _DECIDING}, force=force)
    remove_unfinished(output)
    todo = [clip for clip in clips if not is_finished(output, clip)]
    count = min(workers or _default_workers(converter, len(todo)), max(1, len(todo)))
    share = threads_each(threads, count, ray)
    by_start = {domain: tuple(chain for chain in chains if chain[0] == domain) for domain in starting}
    setup = Setup(output, recipe.model, device, share, by_start, recipe.options, chosen_scores(recipe.scores))
    failures = _run_all(setup, todo, workers if ray is not None else count, ray, converter, progress)
    items = [item for record in read_records(output) for item in record["items"]]
    values = cycle_values(header, items) if items else None
    if values:
        write_tables(output, values)
    done = len(todo) - len(failures)
    return Summary(output, values, done, len(clips) - len(todo), failures, time.perf_counter() - started)


_DECIDING = ("model_sha256", "domains", "chains", "options")
"""What decides the results: a folder goes on only where these are the same."""


def _chains(recipe: CycleRecipe, domains: tuple[str, str]) -> list[Chain]:
    chosen = [parse_chain(text, domains) for text in recipe.chains] or default_chains(domains)
    return list(dict.fromkeys(chosen))


def _header(recipe: CycleRecipe, domains: tuple[str, str], chains: Sequence[Chain]) -> dict[str, Any]:
    return {
        "model": Path(recipe.model).stem,
        "model_sha256": file_digest(find(recipe.model)),
        "created_with": f"audiotrans {__version__}",
        "domains": list(domains),
        "options": _asked(recipe),
        "scores": chosen_scores(recipe.scores),
        "chains": [chain_name(chain) for chain in chains],
        "steps": {chain_name(chain): list(chain) for chain in chains},
    }  # fmt: skip


def _asked(recipe: CycleRecipe) -> dict[str, Any]:
    """Return the options that were asked for; of those that are the model's own, its digest tells enough."""
    values = {name: getattr(recipe.options, name) for name in STEP_OPTIONS}
    always = ("seed", "phase", "strength")
    asked = {name: value for name, value in values.items() if name in always or value is not None}
    return {**asked, "strength": float(recipe.options.strength), "scores": recipe.scores}


def _default_workers(converter: Converter, clips: int) -> int:
    """Choose by cores; a GPU is given one process, which keeps it busy."""
    return default_workers(clips, CLIPS_PER_WORKER) if converter.device.type == "cpu" else 1


def _run_all(
    setup: Setup, clips: Sequence[CycleClip], count: int | None, ray: str | None, converter: Converter, progress: bool
) -> tuple[Failed, ...]:
    total = sum(_seconds(setup, clip) for clip in clips)
    with sound_bar("cycle", quiet=not progress) as bar:

        def show(seconds: float) -> None:
            if bar is not None:
                bar(min(seconds, total), total)

        if ray is not None:
            results = _on_cluster(setup, clips, count, ray, show)
        elif count is not None and count > 1:
            results = _in_processes(setup, clips, count, show)
        else:
            results = _in_this(setup, clips, converter, show)
        with closing(results):
            return tuple(result for result in results if isinstance(result, Failed))


def _seconds(setup: Setup, clip: CycleClip) -> float:
    return clip.seconds * steps_of(setup.chains[clip.domain])


def _in_this(setup: Setup, clips: Iterable[CycleClip], converter: Converter, show: Show) -> Results:
    seconds = 0.0

    def tick(more: float) -> None:
        nonlocal seconds
        seconds += more
        show(seconds)

    return in_turn(Worker(setup, tick, converter).run, clips)


def _in_processes(setup: Setup, clips: Iterable[CycleClip], count: int, show: Show) -> Results:
    seconds = get_context("spawn").Value("d", 0.0)  # a number, not a queue: nobody waits for its reader

    def peek() -> None:
        show(seconds.value)

    return in_processes(work, clips, count, start=start_worker, arguments=(setup, seconds), peek=peek)


def _on_cluster(setup: Setup, clips: Iterable[CycleClip], count: int | None, ray: str, show: Show) -> Results:
    seconds = 0.0
    for result in in_processes(
        work, clips, count, start=start_worker, arguments=(setup, None), ray=ray, shared=setup.folder
    ):
        seconds += _seconds(setup, result.clip if isinstance(result, Failed) else result)
        show(seconds)
        yield result


def chosen_scores(choice: str) -> tuple[str, ...]:
    """Return the names of the metrics that a word of `CHOICES` stands for."""
    left_out = {"all": (), "fast": METRICS_OF_PITCH, "none": CYCLE_METRICS}[choice]
    return tuple(name for name in CYCLE_METRICS if name not in left_out)


def scored_part(blocks: Iterable[Wave], sample_rate: int) -> AnalysedSound:
    """Return the first minute of a sound, which is what is scored; no block behind it is read.

    Args:
        blocks: float32 ``(channels, n)`` each, one after the other.
        sample_rate: Hz.
    """
    kept: list[Wave] = []
    missing = round(SCORED_SECONDS * sample_rate)
    for block in blocks:
        kept.append(block[:, :missing])
        missing -= kept[-1].shape[1]
        if missing == 0:
            break
    return AnalysedSound(np.concatenate(kept, axis=1), sample_rate=sample_rate)


def score_sound(
    reference: AnalysedSound, estimate: AnalysedSound, kind: str, names: Sequence[str]
) -> dict[str, float | None]:
    """Score the sound of a chain.

    Args:
        reference: the input.
        estimate: the chain's sound, of the same length, rate and channels.
        kind: ``reconstruction``, ``cycle`` or ``translation``; a translation is meant to sound otherwise, so its
            distance to the input says nothing and is left out.
        names: of `CYCLE_METRICS`.

    Returns:
        Numbers by name; None where there is nothing to count, such as the pitch of a sound without any.
    """
    truth = None if kind == "translation" else reference.wave
    figures = measure(Case(reference, estimate, "", truth=truth), {"pitch"}, names)
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


@dataclass(frozen=True)
class Setup:
    """What a worker needs to begin.

    Attributes:
        folder: of the results.
        model: a shipped model's name, or a weights file.
        device: where to run.
        threads: of this worker.
        chains: by the domain that they begin with.
        options: of every step.
        scores: keys of `METRICS`.
    """

    folder: Path
    model: str
    device: str
    threads: int
    chains: Mapping[str, tuple[Chain, ...]]
    options: ConvertOptions
    scores: tuple[str, ...]


@dataclass(frozen=True)
class Failed:
    """A clip that could not be translated, and why."""

    clip: CycleClip
    error: AudiotransError


class Worker:
    """Takes clips through chains, one after the other.

    Args:
        setup: see `Setup`.
        tick: called with the seconds of each translated block.
        converter: the model, where it is loaded already.
    """

    def __init__(self, setup: Setup, tick: Tick, converter: Converter | None = None) -> None:
        use_threads(setup.threads)
        self.setup, self.tick = setup, tick
        self.converter = converter or load(setup.model, device=setup.device)

    def run(self, clip: CycleClip) -> CycleClip | Failed:
        """Translate and score one clip.

        Returns:
            The clip, or what was wrong with it.

        Raises:
            AudiotransError: if the results cannot be written: that ends the whole run.
        """
        try:
            items = self._items(clip)
        except OSError as error:
            raise _cannot_write(self.setup.folder, error) from error
        except AudiotransError as error:
            return Failed(clip, error)
        record = {"clip": clip.name, "source": str(real(clip.source)), "stamp": clip.stamp, "items": items}
        write_whole(record_path(self.setup.folder, clip), json.dumps(record))
        return clip

    def _items(self, clip: CycleClip) -> list[dict[str, Any]]:
        chains = self.setup.chains[clip.domain]
        copy = sound_path(self.setup.folder, clip, (clip.domain,))
        _copy(clip.source, copy)
        warnings: list[str] = []
        items = [self._item(clip, (clip.domain,), copy, {}) | {"warnings": warnings}]
        like = probe(clip.source)
        reference: AnalysedSound | None = None
        sounds = render_chains(
            self.converter, clip.source, chains, self.setup.options, self.setup.folder,
            tick=self.tick, warn=warnings.append,
        )  # fmt: skip
        for chain, spool in sounds:
            path = sound_path(self.setup.folder, clip, chain)
            write_sound(spool, path, like)
            scores: dict[str, float | None] = {}
            if self.setup.scores:
                reference = reference or scored_part(read_blocks(clip.source), like.sample_rate)
                estimate = scored_part(spool.blocks(), like.sample_rate)
                scores = score_sound(reference, estimate, chain_kind(chain), self.setup.scores)
            items.append(self._item(clip, chain, path, scores))
        return items

    def _item(self, clip: CycleClip, chain: Chain, path: Path, scores: Mapping[str, float | None]) -> dict[str, Any]:
        sound = path.relative_to(self.setup.folder).as_posix()
        about = {"input": str(clip.source), "clip": clip.name, "domain": clip.domain}
        return {**about, "chain": chain_name(chain), "sound": sound, "scores": dict(scores)}


def _copy(source: Path, target: Path) -> None:
    """Put the input beside its results, so that the folder can be heard and moved as a whole."""
    with beside(target) as partial:
        shutil.copyfile(source, partial)


def _cannot_write(folder: Path, error: OSError) -> AudiotransError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return AudiotransError(f"no space left in {folder}: make room and run again; finished files are kept")
    return AudiotransError(f"cannot write to {folder}: {error.strerror or error}")


_worker: Worker | None = None


def start_worker(setup: Setup, progress: Any) -> None:
    """Begin a worker process; ``progress`` is a shared number of seconds, or None."""

    def tick(seconds: float) -> None:
        if progress is None:
            return
        with progress.get_lock():
            progress.value += seconds

    global _worker  # a worker process holds one model for all its clips
    _worker = Worker(setup, tick)


def work(clip: CycleClip) -> CycleClip | Failed:
    """Take one clip through its chains, in a worker process."""
    if _worker is None:
        raise RuntimeError("the worker was not started")
    return _worker.run(clip)
