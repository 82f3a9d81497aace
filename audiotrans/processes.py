"""What a run has to work with: the device, threads, memory, and worker processes for many files.

Workers are spawned, deaf to Ctrl-C, gone when their parent is, and each has a cache of its own.
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import multiprocessing.util
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from audiotrans.cluster import LOCAL, on_cluster
from audiotrans.errors import ENDING, AudiotransError, UsageError, check_counts

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

J = TypeVar("J")
R = TypeVar("R")

MOST_WORKERS = 8
"""Default limit: each worker loads torch (about 300 MB), and more rarely pay off before the disk is the limit."""

MOST_THREADS = 4
"""Tiles converted at a time: each takes some 200 MB."""

PEEK_SECONDS = 0.25

AHEAD = 4
"""Jobs for each worker that are handed out before their turn: enough that none waits, few enough to cost nothing."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt

_locks: list[Any] = []
"""Open files that keep this process's cache to itself until it ends."""


def own_numba_cache() -> Path:
    """Give this process a folder of its own for what numba compiles, and return it.

    Processes that fill one cache at the same time can leave an entry that crashes every later one: numba's index names
    the machine code of another signature. The folders stay for later runs; a lock keeps each to one process at a time.
    Without effect on functions that were declared before: call it before librosa or a phase method is imported.
    """
    number = 0
    try:
        root = Path(os.environ.get("NUMBA_CACHE_DIR") or _cache_home() / "audiotrans" / "numba")
        root.mkdir(parents=True, exist_ok=True)
        while not _locked(root / f"worker-{number}.lock"):
            number += 1
        folder = root / f"worker-{number}"
    except (OSError, RuntimeError):  # a home that cannot be written, or none at all
        folder = Path(tempfile.mkdtemp(prefix="audiotrans-numba-"))
        multiprocessing.util.Finalize(None, shutil.rmtree, (folder, True), exitpriority=0)
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    return folder


def _cache_home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _locked(path: Path) -> bool:
    """Take a lock that ends with this process; False where another process has it."""
    file = path.open("w")
    try:
        try:
            import fcntl
        except ImportError:  # Windows
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.close()
        return False
    _locks.append(file)
    return True


@contextmanager
def alone_in(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Keep other processes that ask for the same out of a folder; however this one ends, the folder is free again.

    Args:
        folder: that is there.
        shared: let those in that ask for it shared, too.

    Raises:
        AudiotransError: if another process is in it.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no locks of folders
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AudiotransError(
                f"another process is at work in {folder}: wait for its end, or stop it first"
            ) from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(handle)


def usable_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_device(name: str) -> torch.device:
    """Turn a user's word into a device.

    Raises:
        UsageError: for an unknown word, or a device that is not here.
    """
    import torch

    if name == "auto":  # never mps: it has not been tried
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or not (index.isdigit() or (not index and ":" not in name)):
        raise UsageError(f"unknown device {name!r}: choose auto, cpu, cuda, cuda:0, cuda:1, ... or mps")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise UsageError(f"no device {name!r} here ({count} CUDA devices are usable): use --device cpu or auto")
    if kind == "mps" and not torch.backends.mps.is_available():
        why = "macOS is too old" if torch.backends.mps.is_built() else "PyTorch was built without it"
        raise UsageError(f"no device 'mps' here ({why}): use --device cpu or auto")
    _log.info("device: %s", name)
    return torch.device(name)


def use_threads(threads: int | None) -> None:
    """Set how many CPU threads torch uses in this process, at most one for each core; None leaves it alone.

    Raises:
        UsageError: for fewer than one.
    """
    if threads is None:
        return
    check_counts(threads=threads)
    import torch

    torch.set_num_threads(min(threads, usable_cores()))
    _log.info("threads: %d", torch.get_num_threads())


def threads_each(threads: int | None, count: int, ray: str | None) -> int:
    """Return how many threads each of several workers gets.

    Args:
        threads: of all workers, all cores if None; on a cluster of each one, 1 if None.
        count: workers of this machine.
        ray: the cluster, if there is one.
    """
    return max(1, (threads or usable_cores()) // count) if ray is None else threads or 1


def keep_freed_memory() -> None:
    """Keep what is freed for what comes next, where the C library can be told so (glibc).

    By default it gives large blocks back to the system at once. A conversion asks for the same blocks again with every
    tile, and the system clears them page by page before it hands them out. The peak is up to a seventh higher for it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # musl has none
        mallopt(_MMAP_THRESHOLD, 2**30)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def tile_threads() -> int:
    """Return how many threads a conversion may use: torch's, but no more than memory is there for."""
    import torch

    return min(torch.get_num_threads(), MOST_THREADS)


def in_threads(work: Callable[[J], R], jobs: Iterable[J], count: int) -> Generator[R, None, None]:
    """Yield the results of all jobs in their order, several worked on at a time; torch's threads are shared out.

    The calling thread, which makes the jobs, has its share as well until the end: threads of one operation that wait
    for each other while others want their cores burn more time than they save.

    Args:
        work: mostly operations that run without Python's lock.
        jobs: its arguments, taken one after the other in the calling thread, at most one more than threads ahead.
        count: threads; 1 works in the calling one.
    """
    if count < 2:
        yield from map(work, jobs)
        return
    import torch

    threads = torch.get_num_threads()
    share = max(1, threads // count)
    executor = ThreadPoolExecutor(count, "tile", torch.set_num_threads, (share,))
    waiting: deque[Future[R]] = deque()
    torch.set_num_threads(share)
    try:
        for job in jobs:
            waiting.append(executor.submit(work, job))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def default_workers(files: int, files_per_worker: int) -> int:
    """Choose how many processes to use.

    Args:
        files: to be worked on.
        files_per_worker: fewer than so many are not worth the start of another process.
    """
    return max(1, min(usable_cores(), MOST_WORKERS, files // files_per_worker))


def in_turn(work: Callable[[J], R], jobs: Iterable[J]) -> Generator[R, None, None]:
    """Yield the results of all jobs in their order, worked on here, one after the other.

    Raises:
        KeyboardInterrupt: after Ctrl-C or SIGTERM, between two jobs at the latest.
    """
    with _interrupts_kept() as raise_lost:
        for job in jobs:
            raise_lost()
            yield work(job)
        raise_lost()


def in_processes(
    work: Callable[[J], R],
    jobs: Iterable[J],
    count: int | None,
    *,
    start: Callable[..., object],
    arguments: tuple[Any, ...] = (),
    peek: Callable[[], object] | None = None,
    long: bool = False,
    ray: str | None = None,
    shared: Path | None = None,
) -> Generator[R, None, None]:
    """Yield the results of all jobs as they come.

    Spawned, for forking a process that runs torch's threads may hang. When the generator is closed early, as by Ctrl-C
    or a full disk, the workers are told to end: the jobs at hand are given up, their unfinished files removed.

    Args:
        work: function of a module, called in a worker.
        jobs: its arguments, taken as they are needed; they are pickled.
        count: processes; None, for a Ray cluster alone, takes all of its cores.
        start: called once in each worker with ``arguments``, before any job.
        arguments: see ``start``.
        peek: called here, several times a second, while results are waited for; not with ``ray``.
        long: whether a job answers SIGTERM, which a worker gets when it is told to end, itself, as a training run does
            by saving and leaving. Not with ``ray``.
        ray: see `audiotrans.cluster.on_cluster`, whose workers then take the place of processes of this machine.
        shared: folder that results are written to; for ``ray``.

    Raises:
        AudiotransError: if a worker dies; whatever ``work`` raises.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, with the next result at the latest.
    """
    if ray is None:
        results = _in_pool(work, jobs, count or 1, start, arguments, peek, long)
    else:
        results = on_cluster(
            work, jobs, count or (usable_cores() if ray == LOCAL else None), address=ray, start=_start_cluster_worker,
            arguments=(start, arguments), shared=shared,
        )  # fmt: skip
    with _interrupts_kept() as raise_lost, closing(results):
        for result in results:
            yield result
            raise_lost()


def _in_pool(
    work: Callable[[J], R],
    jobs: Iterable[J],
    count: int,
    start: Callable[..., object],
    arguments: tuple[Any, ...],
    peek: Callable[[], object] | None,
    long: bool,
) -> Generator[R, None, None]:
    todo = iter(jobs)
    more = list(islice(todo, AHEAD * count))
    count = min(count, max(len(more), 1))
    context = get_context("spawn")
    # Closed, it tells the workers to end. An event would wait for the answer of one that was killed.
    told, tell = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(
        count, mp_context=context, initializer=_start_worker, initargs=(start, arguments, told, long)
    )
    finished = False
    try:
        # Never all at once: to wait for one of ten thousand futures touches each of them, every time.
        waiting = set[Future[R]]()
        while more or waiting:
            with _held(signal.SIGINT):  # for processes that start in here to be deaf to it
                waiting |= {executor.submit(_work, work, job) for job in more}
                # Python's pool looks which workers it has when it is given a job, and only then starts one for it.
                # Without one more job it would not see that the last one dies.
                if more:
                    executor.submit(int)
            done, waiting = wait(waiting, None if peek is None else PEEK_SECONDS, FIRST_COMPLETED)
            if peek is not None:
                peek()
            for future in done:
                yield future.result()
            more = list(islice(todo, AHEAD * count - len(waiting)))
        finished = True
    except BrokenProcessPool:
        raise AudiotransError(
            "a worker process died, perhaps for want of memory: run again with one worker; finished files are kept "
            "(a script that starts workers needs the guard 'if __name__ == \"__main__\"')"
        ) from None
    finally:
        # A second Ctrl-C would leave workers behind that nobody ends, for which Python then waits for ever.
        with _held(*ENDING):
            if not finished:
                tell.close()
            executor.shutdown(wait=True, cancel_futures=True)
            tell.close()
            told.close()


_told = False
"""Of a worker: whether it is to end."""

_at_work = False
"""Of a worker: whether a job is at hand."""


def _start_worker(start: Callable[..., object], arguments: tuple[Any, ...], told: Connection, long: bool) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Windows cannot start a process deaf
    if not long:
        signal.signal(signal.SIGTERM, _give_up)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threading.Thread(target=_end_when_told, args=(told,), daemon=True).start()
    own_numba_cache()
    start(*arguments)


def _work(work: Callable[[J], R], job: J) -> R:
    """Do a job in a worker. Told to end meanwhile, it ends when what is unfinished has been removed."""
    global _at_work
    try:
        _at_work = True
        if _told:
            raise KeyboardInterrupt
        return work(job)
    finally:
        _at_work = False
        if _told:
            os._exit(1)


def _give_up(number: int, frame: FrameType | None) -> None:
    """Answer SIGTERM in a worker."""
    global _told
    _told = True
    if not _at_work:
        os._exit(1)
    sys.stderr = None  # libraries that drop the exception would print its traceback
    signal.default_int_handler(number, frame)


def _start_cluster_worker(start: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    if not _locks:  # it may serve several runs
        own_numba_cache()
    start(*arguments)


def _end_with_parent() -> None:
    """Leave at once when the parent is gone: a killed run must not go on in the background."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _end_when_told(told: Connection) -> None:
    """Send this process SIGTERM: what trains in its main thread then saves first; all else ends at once."""
    with suppress(EOFError, OSError):
        told.recv_bytes()
    if sys.platform == "win32":  # os.kill would end the process at once there
        signal.raise_signal(signal.SIGTERM)
    else:
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _held(*signals: signal.Signals) -> Iterator[None]:
    """Hold signals back, from processes that start in here for good: this one gets them afterwards."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _interrupts_kept() -> Iterator[Callable[[], None]]:
    """Note Ctrl-C and SIGTERM beside what they do: Python drops exceptions that arise in finalisers and callbacks.

    Libraries whose callback was cut short may fail of it, as numba does while it compiles: that is the signal, too.

    Yields:
        A function that raises KeyboardInterrupt if a signal has come, for places that are reached only if its own
        exception was lost.
    """
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        signal.default_int_handler(number, frame)

    def raise_lost() -> None:
        if came:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield raise_lost  # Python lets no other thread handle signals
        return
    # Who ignores a signal, or has an answer of his own to it, goes on so.
    ours = [n for n in ENDING if signal.getsignal(n) is signal.default_int_handler]
    for number in ours:
        signal.signal(number, note)
    try:
        with _dropped_in_silence(came):
            yield raise_lost
    except Exception:
        raise_lost()
        raise
    finally:
        for number in ours:
            signal.signal(number, signal.default_int_handler)


@contextmanager
def _dropped_in_silence(came: list[int]) -> Iterator[None]:
    """Let Python print nothing of the KeyboardInterrupts that it drops once a signal has come."""
    report = sys.unraisablehook

    def dropped(told: Any) -> None:
        if not (came and issubclass(told.exc_type, KeyboardInterrupt)):
            report(told)

    sys.unraisablehook = dropped
    try:
        yield
    finally:
        sys.unraisablehook = report
