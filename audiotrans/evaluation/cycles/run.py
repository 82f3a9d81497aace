"""The whole of a run: find the clips, take them through their chains on several cores, write the tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from audiotrans import __version__
from audiotrans.convert import models
from audiotrans.convert.chains import (
    Chain,
    ChainOptions,
    chain_name,
    check_chains,
    default_chains,
    parse_chain,
    steps_of,
)
from audiotrans.convert.converter import Converter
from audiotrans.convert.progress import sound_bar
from audiotrans.errors import UsageError
from audiotrans.evaluation.cycles.clips import Clip, find_clips
from audiotrans.evaluation.cycles.folder import file_sha256, is_finished, open_folder, read_records
from audiotrans.evaluation.cycles.recipe import CycleRecipe
from audiotrans.evaluation.cycles.scores import chosen_scores
from audiotrans.evaluation.cycles.tables import cycle_values, means_table, write_tables
from audiotrans.evaluation.cycles.work import Failed, Setup, Worker, start_worker, work
from audiotrans.processes import default_workers, in_processes, usable_cores
from audiotrans.weights import find

Results = Generator["Clip | Failed", None, None]

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
        force: whether to start over in a folder of an earlier run.
        progress: show a bar with speed and time left.

    Returns:
        What was done; single clips that could not be translated do not stop the others.

    Raises:
        UsageError: for arguments, folders or an output that are not allowed.
        AudiotransError: if an input cannot be read or the results cannot be written.
    """
    started = time.perf_counter()
    for name, value in (("threads", threads), ("workers", workers)):
        if value is not None and value < 1:
            raise UsageError(f"{name} {value}: give 1 or more")
    converter = models.load(recipe.model, device=device)
    chains = _chains(recipe, converter.domains)
    options = ChainOptions(recipe.strength, recipe.phase, recipe.seed)
    check_chains(converter, chains, options)
    starting = list(dict.fromkeys(chain[0] for chain in chains))
    clips = find_clips(inputs, converter.domains, recipe.source, starting=starting)
    header = _header(recipe, converter.domains, chains)
    open_folder(output, {name: header[name] for name in _DECIDING}, force=force)
    todo = [clip for clip in clips if not is_finished(output, clip)]
    count = min(workers or _default_workers(converter, len(todo)), max(1, len(todo)))
    share = max(1, (threads or usable_cores()) // count)
    by_start = {domain: tuple(chain for chain in chains if chain[0] == domain) for domain in starting}
    setup = Setup(output, recipe.model, device, share, by_start, options, chosen_scores(recipe.scores))
    failures = _run_all(setup, todo, count, converter, progress)
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
        "model_sha256": file_sha256(find(recipe.model)),
        "created_with": f"audiotrans {__version__}",
        "domains": list(domains),
        "options": {
            "seed": recipe.seed, "phase": recipe.phase, "strength": float(recipe.strength), "scores": recipe.scores,
        },
        "scores": chosen_scores(recipe.scores),
        "chains": [chain_name(chain) for chain in chains],
        "steps": {chain_name(chain): list(chain) for chain in chains},
    }  # fmt: skip


def _default_workers(converter: Converter, clips: int) -> int:
    """Choose by cores; a GPU is given one process, which keeps it busy."""
    return default_workers(clips, CLIPS_PER_WORKER) if converter.device.type == "cpu" else 1


def _run_all(
    setup: Setup, clips: Sequence[Clip], count: int, converter: Converter, progress: bool
) -> tuple[Failed, ...]:
    total = sum(clip.seconds * steps_of(setup.chains[clip.domain]) for clip in clips)
    with sound_bar("cycle", quiet=not progress) as bar:

        def show(seconds: float) -> None:
            if bar is not None:
                bar(min(seconds, total), total)

        run = _in_processes if count > 1 else _in_this
        with closing(run(setup, clips, count, converter, show)) as results:
            return tuple(result for result in results if isinstance(result, Failed))


def _in_this(setup: Setup, clips: Iterable[Clip], _count: int, converter: Converter, show: Show) -> Results:
    seconds = 0.0

    def tick(more: float) -> None:
        nonlocal seconds
        seconds += more
        show(seconds)

    worker = Worker(setup, tick, converter)
    for clip in clips:
        yield worker.run(clip)


def _in_processes(setup: Setup, clips: Iterable[Clip], count: int, _converter: Converter, show: Show) -> Results:
    seconds = get_context("spawn").Value("d", 0.0)  # a number, not a queue: nobody waits for its reader
    yield from in_processes(
        work, clips, count, start=start_worker, arguments=(setup, seconds), peek=lambda: show(seconds.value)
    )
