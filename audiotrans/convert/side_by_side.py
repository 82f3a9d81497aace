"""Many files converted side by side, by processes of this machine or the workers of a cluster."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from audiotrans.convert.graph_runtime import GraphConverter
from audiotrans.convert.jobs import Failure, Job, Written, check_output
from audiotrans.convert.sound_converter import convert_or_say, outcomes
from audiotrans.errors import UsageError
from audiotrans.options import ConvertOptions
from audiotrans.processes import in_processes, keep_freed_memory, threads_each, use_threads

if TYPE_CHECKING:
    from audiotrans.convert.photos import PhotoConverter
    from audiotrans.convert.sound_converter import SoundConverter


@dataclass(frozen=True)
class Setup:
    """What a worker needs to begin.

    Attributes:
        model: a name, a weights file or an exported graph.
        device: where to run.
        threads: of this worker.
        options: what to do, complete.
    """

    model: str
    device: str
    threads: int
    options: ConvertOptions


def convert_jobs(
    jobs: Sequence[Job],
    options: ConvertOptions,
    *,
    model: str,
    device: str = "auto",
    threads: int | None = None,
    workers: int | None = None,
    ray: str | None = None,
    force: bool = False,
    shared: Path | None = None,
) -> Iterator[Written | Failure]:
    """Convert inputs in several processes, to the bytes that `run_jobs` writes with as many threads as each has.

    Args:
        jobs: from `plan_jobs`.
        options: what to do, from the converter's `options`.
        model: a name, a weights file or an exported graph, which every worker loads.
        device: where to run.
        threads: CPU threads in all, divided among the processes (with ``ray``: of each worker; 1 if None).
        workers: processes, or on a cluster tasks at a time.
        ray: ``local`` or the address of a Ray cluster; see `audiotrans.cluster.on_cluster`.
        force: whether to overwrite outputs that exist.
        shared: the output folder, if there is one.

    Yields:
        What was written, and what failed, as it comes.

    Raises:
        UsageError: for fewer than one worker.
        AudiotransError: if the only input fails, or a worker dies again and again.
    """
    count = min(workers or 1, len(jobs))
    share = threads_each(threads, count, ray)
    failures: list[Failure] = []

    def allowed() -> Iterator[Job]:
        # Here and now, not in the worker: a task that is repeated may find what it wrote itself.
        for job in jobs:
            try:
                for path in job.outputs:
                    check_output(path, job.source, force=force)
            except UsageError as error:
                failures.append(Failure(job.source, error))
            else:
                yield job

    def results() -> Generator[list[Written] | Failure, None, None]:
        setup = Setup(model, device, share, options)
        yield from in_processes(
            work, allowed(), workers if ray else count, start=start_worker, arguments=(setup,), ray=ray, shared=shared
        )
        yield from failures

    return outcomes(results(), len(jobs))


_worker: tuple[SoundConverter | PhotoConverter, ConvertOptions] | None = None


def start_worker(setup: Setup) -> None:
    """Begin a worker process: it holds one model for all its inputs."""
    global _worker
    keep_freed_memory()
    if setup.model.endswith(".onnx"):
        _worker = GraphConverter(Path(setup.model), setup.threads), setup.options
        return
    from audiotrans.convert.converter import load_any  # which loads torch

    use_threads(setup.threads)
    _worker = load_any(setup.model, device=setup.device), setup.options


def work(job: Job) -> list[Written] | Failure:
    """Convert one input, in a worker process; what was allowed to be written is overwritten."""
    if _worker is None:
        raise RuntimeError("the worker was not started")
    converter, options = _worker
    return convert_or_say(converter, job, options, force=True)
