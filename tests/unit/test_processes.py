"""Worker processes: what becomes of the jobs at hand when the parent is interrupted."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from audiotrans.processes import in_processes

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


def test_short_jobs_are_finished_when_the_parent_is_interrupted(tmp_path: Path):
    path = tmp_path / "state"
    jobs = in_processes(works_a_little, [path], 1, start=int, peek=interrupt_when_at_work(path))
    with pytest.raises(KeyboardInterrupt):
        next(jobs)
    assert path.read_text() == "done"


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


def test_a_worker_without_a_place_for_its_cache_takes_a_temporary_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    (folder,) = in_processes(where_numba_compiles, [0.0], 1, start=int)
    assert "audiotrans-numba-" in folder
    assert not Path(folder).exists()
