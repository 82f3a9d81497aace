"""Worker processes: what becomes of the jobs at hand when the parent is interrupted."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from audiotrans.errors import AudiotransError
from audiotrans.files import replacing
from audiotrans.processes import AHEAD, _start_cluster_worker, alone_in, in_processes, in_turn

MOST_SECONDS = 60.0
"""A job that nobody ends gives up after this long, so that a broken test does not hang."""


def works_until_told(path: Path) -> Path:
    """Stand in for a training run: SIGTERM is answered by saving."""
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    path.write_text("at work")
    until = time.monotonic() + MOST_SECONDS
    while not told and time.monotonic() < until:
        time.sleep(0.02)
    path.write_text("saved" if told else "never told")
    return path


def works_a_little(path: Path) -> Path:
    path.write_text("at work")
    time.sleep(0.5)
    path.write_text("done")
    return path


def interrupt_when_at_work(path: Path) -> Callable[[], None]:
    def peek() -> None:
        if path.exists():
            raise KeyboardInterrupt

    return peek


@pytest.mark.skipif(os.name == "nt", reason="SIGTERM cannot be caught there")
def test_long_jobs_are_told_to_end_when_the_parent_is_interrupted(tmp_path: Path):
    path = tmp_path / "state"
    jobs = in_processes(works_until_told, [path], 1, start=int, peek=interrupt_when_at_work(path), long=True)
    with pytest.raises(KeyboardInterrupt):
        next(jobs)
    assert path.read_text() == "saved"


def busy() -> None:
    """Work until interrupted, in small steps: a signal just before a long sleep would be answered after it."""
    until = time.monotonic() + MOST_SECONDS
    while time.monotonic() < until:
        time.sleep(0.02)


def writes_for_long(folder: Path) -> None:
    with replacing(folder / "output") as partial:
        partial.write_text("half of it")
        (folder / "state").write_text("at work")
        busy()


def test_other_jobs_are_given_up_and_leave_nothing_unfinished(tmp_path: Path):
    jobs = in_processes(writes_for_long, [tmp_path], 1, start=int, peek=interrupt_when_at_work(tmp_path / "state"))
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        next(jobs)
    assert time.monotonic() - began < MOST_SECONDS / 2
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_jobs_that_were_handed_out_ahead_are_not_begun(tmp_path: Path):
    folders = [tmp_path / str(number) for number in range(8)]
    for folder in folders:
        folder.mkdir()
    jobs = in_processes(writes_for_long, folders, 2, start=int, peek=interrupt_when_at_work(folders[0] / "state"))
    with pytest.raises(KeyboardInterrupt):
        next(jobs)
    assert sum((folder / "state").exists() for folder in folders) <= 2


def dies_beside(folder: Path) -> None:
    if folder.name == "writes":
        writes_for_long(folder)
    while not (folder.parent / "writes" / "state").exists():
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL there")
@pytest.mark.parametrize("long", [False, True])
def test_a_killed_worker_ends_the_work_and_the_others_leave_nothing_unfinished(tmp_path: Path, long: bool):
    folders = [tmp_path / name for name in ("writes", "dies")]
    for folder in folders:
        folder.mkdir()
    began = time.monotonic()
    with pytest.raises(AudiotransError, match="a worker process died"):
        list(in_processes(dies_beside, folders, 2, start=int, long=long))
    assert time.monotonic() - began < MOST_SECONDS / 2
    if not long:  # whose jobs answer for themselves
        assert [path.name for path in folders[0].iterdir()] == ["state"]


def is_slow_to_leave(path: Path) -> None:
    try:
        path.write_text("at work")
        busy()
    finally:
        path.write_text("leaving")
        time.sleep(1)


@pytest.mark.skipif(os.name == "nt", reason="signals cannot be held back there")
def test_a_second_ctrl_c_leaves_no_worker_behind(tmp_path: Path):
    path, sent = tmp_path / "state", []

    def again() -> None:
        while not path.exists() or path.read_text() != "leaving":
            time.sleep(0.02)
        sent.append(signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=again, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        next(in_processes(is_slow_to_leave, [path], 1, start=int, peek=interrupt_when_at_work(path)))
    assert sent
    assert not multiprocessing.active_children()


def test_long_jobs_that_end_by_themselves_are_not_told(tmp_path: Path):
    paths = [tmp_path / name for name in "ab"]
    found = list(in_processes(works_a_little, paths, 2, start=int, long=True))
    assert sorted(found) == paths
    assert all(path.read_text() == "done" for path in paths)


def where_numba_compiles(wait: float) -> str:
    time.sleep(wait)  # so that no worker takes two jobs
    import numba

    return str(numba.config.CACHE_DIR)


@pytest.mark.slow
def test_workers_and_their_parent_share_no_numba_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    for _ in "12":  # the second run finds what the first has compiled
        folders = set(in_processes(where_numba_compiles, [0.5, 0.5], 2, start=int))
        assert folders == {str(tmp_path / "worker-0"), str(tmp_path / "worker-1")}


def serve_another_run(number: int) -> str:
    _start_cluster_worker(abs, (number,))
    return os.environ["NUMBA_CACHE_DIR"]


def test_a_cluster_s_worker_keeps_its_cache_from_run_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert list(in_processes(serve_another_run, [1, 2], 1, start=int)) == [str(tmp_path / "worker-0")] * 2


def test_a_worker_without_a_place_for_its_cache_takes_a_temporary_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    (folder,) = in_processes(where_numba_compiles, [0.0], 1, start=int)
    assert "audiotrans-numba-" in folder
    assert not Path(folder).exists()


class Dropped:
    """Ctrl-C comes while this goes, as in many a library's callback: Python prints the exception and drops it."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def drop_at_two(number: int) -> int:
    if number == 2:
        Dropped()
    return number


@pytest.fixture
def dropped(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Collect the exceptions that Python drops, and would print."""
    found: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: found.append(args.exc_type))
    return found


def test_a_ctrl_c_whose_exception_was_dropped_ends_the_work(dropped: list[object]):
    done: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        done.extend(in_turn(drop_at_two, range(10)))
    assert done == [0, 1, 2]
    assert not dropped  # nothing is printed of it
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_ctrl_c_in_the_last_job_ends_the_work_too(dropped: list[object]):
    with pytest.raises(KeyboardInterrupt):
        list(in_turn(drop_at_two, range(3)))
    assert not dropped  # nothing is printed of it


def fails_of_it(number: int) -> int:
    """Fail as a library does whose callback was cut short."""
    if number == 1:
        Dropped()
        raise RuntimeError("no compiled object yet")
    if number == 2:
        raise RuntimeError("a fault")
    return number


def test_a_library_that_fails_of_a_ctrl_c_is_a_ctrl_c(dropped: list[object]):
    with pytest.raises(KeyboardInterrupt):
        list(in_turn(fails_of_it, range(3)))
    assert not dropped
    with pytest.raises(RuntimeError, match="a fault"):
        list(in_turn(fails_of_it, [0, 2]))


def test_other_exceptions_that_are_dropped_are_reported(dropped: list[object]):
    class Broken:
        def __del__(self) -> None:
            raise ValueError

    list(in_turn(lambda _: Broken() and None, range(1)))
    assert dropped == [ValueError]
    assert sys.unraisablehook.__name__ == "<lambda>"  # the fixture's again


def test_a_ctrl_c_that_is_dropped_while_workers_work_ends_the_work(dropped: list[object]):
    done: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        done.extend(map(drop_at_two, in_processes(abs, range(1000), 1, start=int)))
    assert len(done) < 10
    assert not dropped  # nothing is printed of it


def test_who_answers_ctrl_c_otherwise_still_does():
    told: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: told.append(number))
    try:
        assert list(in_turn(lambda number: signal.raise_signal(signal.SIGINT) or number, range(3))) == [0, 1, 2]
    finally:
        signal.signal(signal.SIGINT, before)
    assert told == [signal.SIGINT] * 3


def blocked_signals(number: int) -> set[int]:
    del number
    return {int(each) for each in signal.pthread_sigmask(signal.SIG_BLOCK, [])}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no masks of signals")
def test_workers_are_deaf_to_ctrl_c_from_the_start_and_the_parent_is_not():
    (found,) = in_processes(blocked_signals, [1], 1, start=int)
    assert signal.SIGINT in found
    assert signal.SIGINT not in blocked_signals(1)


def test_few_jobs_are_taken_before_their_turn():
    taken: list[int] = []

    def jobs() -> Iterator[int]:
        for number in range(60):
            taken.append(number)
            yield number

    for done, _ in enumerate(in_processes(abs, jobs(), 2, start=int)):
        assert len(taken) <= done + 1 + 2 * AHEAD
    assert len(taken) == 60


@pytest.mark.skipif(os.name == "nt", reason="Windows has no locks of folders")
def test_a_folder_is_for_one_or_for_all_who_share_it(tmp_path: Path):
    busy = pytest.raises(AudiotransError, match="another process is at work")
    with alone_in(tmp_path, shared=True):
        with alone_in(tmp_path, shared=True):
            pass
        with busy, alone_in(tmp_path):
            pass
    with alone_in(tmp_path), busy, alone_in(tmp_path, shared=True):
        pass
