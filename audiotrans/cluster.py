"""Workers on a Ray cluster, of this machine or of many.

Plain tasks, not Ray Data: both survive a killed worker, but for 400 tasks of 20 ms Ray Data's driver took 6.1 s of CPU
where this one takes 1.4, gave its first result after 6.5 s and not 1.1, and repeats without end a task that kills every
worker it is given to. It would need pandas and pyarrow as well.

A worker that dies takes its task with it, and Ray gives that to another one, `RETRIES` times. So a task may run twice:
what it writes must not depend on that, and must take its name when it is whole.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from audiotrans.errors import AudiotransError, UsageError

_log = logging.getLogger(__name__)

J = TypeVar("J")
R = TypeVar("R")

LOCAL = "local"

RETRIES = 3
"""How often a task whose worker died is given to another one."""

AHEAD = 2
"""Tasks for each core that are handed out before their turn: a core that waited for the next would be idle."""

STORE_BYTES = 100_000_000
"""Ray's memory for objects, on a cluster of this machine: ours are small; Ray would take a third of all memory."""

CONNECT_SECONDS = 5.0

STOP_SECONDS = 30.0
"""After Ctrl-C, how long the tasks at hand may take to end."""


@dataclass(frozen=True)
class _Setup:
    """What a worker needs before its first job.

    Attributes:
        run: names the run: workers serve one after the other.
        folder: that relative names start from.
        mark: a file that is there where folders are shared.
        work: see `on_cluster`, as the next two.
        start: see above.
        arguments: see above.
    """

    run: str
    folder: str
    mark: Path | None
    work: Callable[[Any], Any]
    start: Callable[..., object]
    arguments: tuple[Any, ...]


def on_cluster(
    work: Callable[[J], R],
    jobs: Iterable[J],
    count: int | None,
    *,
    address: str,
    start: Callable[..., object],
    arguments: tuple[Any, ...] = (),
    shared: Path | None = None,
) -> Generator[R, None, None]:
    """Yield the results of all jobs as they come; each once, also where workers or machines die.

    All machines must have this version of audiotrans and see the same folders by the same names.

    Args:
        work: function of a module, called in a worker; it may be called twice for one job.
        jobs: its arguments, taken as they are needed; they are pickled.
        count: tasks at a time; None for as many as the cluster has cores.
        address: ``local`` begins a cluster of ``count`` cores here, which ends with the run; ``auto`` or ``HOST:PORT``
            joins one. Where this process is connected to one already, that is used.
        start: called once in each worker with ``arguments``, before any job.
        arguments: see ``start``.
        shared: folder that results are written to: each worker makes sure that it sees it. It is made.

    Raises:
        UsageError: if there is no cluster at the address.
        AudiotransError: if a job's workers died again and again, or a machine does not see the folder.
        MissingLibraryError: without Ray.
    """
    with _connected(address, count) as ray, _marked(shared) as mark:
        task = ray.remote(num_cpus=1, max_retries=RETRIES)(_run)
        setup = _Setup(secrets.token_hex(8), str(Path.cwd()), mark, work, start, arguments)
        limit = None if address == LOCAL else count
        todo, waiting = iter(jobs), list[Any]()
        try:
            while True:
                most = limit or AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
                waiting += [task.remote(setup, job) for job in islice(todo, max(0, most - len(waiting)))]
                if not waiting:
                    return
                done, waiting = ray.wait(waiting)
                yield _result(ray, done[0])
        finally:
            _cancel(ray, waiting)


def _result(ray: Any, done: Any) -> Any:
    try:
        result, error = ray.get(done)
    except ray.exceptions.RayTaskError:  # a fault of ours: with its traceback
        raise
    except ray.exceptions.RayError as lost:
        kind = type(lost).__name__
        raise AudiotransError(
            f"Ray gave a task up after {RETRIES + 1} attempts, perhaps for want of memory ({kind}): run again with"
            " fewer --workers; finished files are kept"
        ) from None
    if error is not None:
        raise error
    return result


def _cancel(ray: Any, waiting: list[Any]) -> None:
    """End what was begun, and wait until it has cleaned up."""
    if not waiting:
        return
    for task in waiting:
        with suppress(Exception):  # whatever became of it
            ray.cancel(task)
    with suppress(Exception):
        ray.wait(waiting, num_returns=len(waiting), timeout=STOP_SECONDS)


_begun = ""
"""The run that this worker is ready for."""


def _run(setup: _Setup, job: Any) -> tuple[Any, Exception | None]:
    """Do one job, in a worker; errors that a user may see are returned, for Ray would wrap them in its own."""
    global _begun  # a worker holds one model for all its jobs
    try:
        if _begun != setup.run:
            _enter(setup)
            setup.start(*setup.arguments)
            _begun = setup.run
        return setup.work(job), None
    except (AudiotransError, OSError, MemoryError) as error:
        return None, error


def _enter(setup: _Setup) -> None:
    missing = None if Path(setup.folder).is_dir() else setup.folder
    if missing is None and setup.mark is not None and not setup.mark.exists():
        missing = str(setup.mark.parent)
    if missing is not None:
        raise AudiotransError(
            f"{socket.gethostname()}, a machine of the cluster, does not see {missing} as it is here: run in, and write"
            " to, folders that all of them share"
        )
    os.chdir(setup.folder)


@contextmanager
def _marked(shared: Path | None) -> Iterator[Path | None]:
    """Lay a hidden file into a folder while the context lasts, named like the unfinished files of a killed run."""
    if shared is None:
        yield None
        return
    mark = shared.absolute() / f".{secrets.token_hex(4)}.partial"
    try:
        shared.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError as error:
        raise AudiotransError(f"cannot write to {shared}: {error.strerror}") from None
    try:
        yield mark
    finally:
        with suppress(OSError):
            mark.unlink(missing_ok=True)


@contextmanager
def _connected(address: str, count: int | None) -> Iterator[Any]:
    """Give Ray, connected to a cluster."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report to its makers
    handler = signal.getsignal(signal.SIGTERM)
    import ray
    from ray._private import worker

    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = _told  # no option keeps it from printing that a worker died

    if ray.is_initialized():
        yield ray
        return
    own: dict[str, Any] = {}
    if address == LOCAL:
        own = {"num_cpus": count, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    try:
        _try_address(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, **own)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        said = " ".join(str(error).split())[:200]
        ways = "give local, auto on a machine of a cluster, or the HOST:PORT that ray start printed"
        raise UsageError(f"--ray {address}: no cluster there ({said}): {ways}") from None
    finally:
        if threading.current_thread() is threading.main_thread() and handler is not None:
            signal.signal(signal.SIGTERM, handler)  # Ray's leaves without a word
    try:
        yield ray
    finally:
        ray.shutdown()


def _try_address(address: str) -> None:
    """Knock at a cluster's door: Ray itself tries for two minutes, and talks meanwhile."""
    if address in (LOCAL, "auto"):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise ValueError("not an address")
    socket.create_connection((host, int(port)), CONNECT_SECONDS).close()


def _told(data: dict[str, Any], *_: object, **__: object) -> None:
    for line in data.get("lines", ()):
        _log.info("ray: %s", line)
