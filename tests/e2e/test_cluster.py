"""Big folders on a Ray cluster of this machine: a worker that is killed costs nothing, and outputs are the same."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from audiotrans.cli import main
from audiotrans.cluster import LOCAL, on_cluster
from audiotrans.errors import AudiotransError
from tests.standins import tone

ray = pytest.importorskip("ray", reason="needs Ray")

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.filterwarnings("default")]

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0
"""Seconds: many times what is needed, for machines that are busy."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Begin a cluster of two workers, which all tests share: to begin one takes seconds."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        ray.init(
            address=LOCAL, num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="critical",
            object_store_memory=100_000_000,
        )  # fmt: skip
        yield
        ray.shutdown()
    signal.signal(signal.SIGTERM, before)


def in_cluster(work: Callable[[Any], Any], jobs: list[Any], **options: Any) -> Iterator[Any]:
    return on_cluster(work, jobs, None, address=LOCAL, **{"start": int, **options})


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="audiotrans")
    assert result.exit_code == code, result.output
    return result


def files(folder: Path, *left_out: str) -> dict[str, bytes]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in left_out)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def write_in_turn(job: tuple[Path, int]) -> tuple[int, int]:
    """Note who is at work at what, and take so long that the test can kill it."""
    folder, number = job
    (folder / f"{number}-{os.getpid()}-{time.monotonic_ns()}").touch()
    time.sleep(0.3)
    return number, os.getpid()


def test_a_killed_worker_s_job_is_done_by_another(cluster: None, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_one() -> None:
        deadline = time.monotonic() + PATIENCE
        while not killed and time.monotonic() < deadline:
            for path in tmp_path.glob("*-*-*"):
                killed.append(int(path.name.split("-")[1]))
                os.kill(killed[0], signal.SIGKILL)
                break
            time.sleep(0.02)

    killer = threading.Thread(target=kill_one)
    killer.start()
    found = list(in_cluster(write_in_turn, [(tmp_path, number) for number in range(8)], shared=tmp_path))
    killer.join()
    assert sorted(number for number, _ in found) == list(range(8))
    assert killed
    assert killed[0] not in {pid for _, pid in found}
    assert len(list(tmp_path.glob("*-*-*"))) > 8  # the killed one's job was begun twice
    assert not list(tmp_path.glob(".*"))


def die(number: int) -> None:
    del number
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(number: int) -> None:
    raise AudiotransError(f"number {number} is broken")


def test_a_job_that_kills_every_worker_ends_the_run_with_one_line(
    cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audiotrans.cluster.RETRIES", 1)
    with pytest.raises(AudiotransError, match=r"gave a task up after 2 attempts.*WorkerCrashed"):
        list(in_cluster(die, [1]))


def test_errors_arrive_as_they_are(cluster: None, tmp_path: Path) -> None:
    with pytest.raises(AudiotransError, match=r"^number 1 is broken$"):
        list(in_cluster(refuse, [1]))
    elsewhere = tmp_path / "shared"

    def unmount() -> Iterator[int]:
        shutil.rmtree(elsewhere)
        yield 1

    with pytest.raises(AudiotransError, match=r"does not see .*shared as it is here"):
        list(on_cluster(refuse, unmount(), None, address=LOCAL, start=int, shared=elsewhere))


def tasks_at_work() -> list[int]:
    """Return the numbers of this cluster's processes that have a task at hand, as Ray names them."""
    (raylet,) = ray._private.worker._global_node.all_processes["raylet"]
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == raylet.process.pid and (place / "cmdline").read_bytes().startswith(b"ray::_run"):
                found.append(int(place.name))
    return found


@contextlib.contextmanager
def one_is_killed(ready: Callable[[], bool]) -> Iterator[None]:
    """Kill one worker that has a task at hand, once something is so."""
    killed: list[int] = []

    def kill() -> None:
        deadline = time.monotonic() + PATIENCE
        while not killed and time.monotonic() < deadline:
            for number in tasks_at_work()[:1] if ready() else ():
                os.kill(number, signal.SIGKILL)
                killed.append(number)
            time.sleep(0.005)

    killer = threading.Thread(target=kill)
    killer.start()
    yield
    killer.join()
    assert killed


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    for domain, channels in (("violin", 1), ("piano", 2)):
        (tmp_path / "in" / domain).mkdir(parents=True)
        for index in range(3):
            wave = tone(3.0, channels, 16_000, gain=0.1 + 0.05 * index)
            soundfile.write(tmp_path / "in" / domain / f"{index}x.flac", wave.T, 16_000)
    return tmp_path / "in"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds workers in /proc")
def test_the_bytes_are_the_same_though_a_worker_is_killed(
    cluster: None, model: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # names from here must mean the same to the workers
    np.savetxt("in/violin/broken.wav", [])
    for out, how in (("alone", ("--workers", 1)), ("ray", ("--ray", LOCAL))):
        said = run("prep", "in", "-o", f"{out}/cache", *how, "-q").stdout
        assert "6 sounds made into images, 0 as they were, 1 skipped" in said
        convert = ("convert", "in", "--to", "piano", "--from", "violin", "-o", f"{out}/converted", "--model", model)
        with contextlib.nullcontext() if out == "alone" else one_is_killed(lambda: bool(files(Path("ray/converted")))):
            done = run(*convert, *how, "--device", "cpu", code=1)
        assert "broken.wav" in done.stderr
        assert "1 of 7 inputs could not be converted" in done.stderr
        (sounds / "violin" / "broken.wav").rename(tmp_path / "broken.wav")
        cycle = ("cycle", "in", "-o", f"{out}/cycle", "--model", model, "--chain", "V,P,V", "--scores", "none")
        assert "3 clips in" in run(*cycle, *how, "--device", "cpu").stdout
        (tmp_path / "broken.wav").rename(sounds / "violin" / "broken.wav")
    for path in Path("ray").rglob(".*.partial"):  # what the killed worker had begun
        path.unlink()
    assert files(Path("ray")) == files(Path("alone"))
    assert len(files(Path("ray/converted"))) == 6
    again = run("convert", "in/piano", "--to", "violin", "-o", "ray/converted", "--model", model, "--ray", LOCAL)
    assert again.stderr == ""


def test_what_exists_is_kept(cluster: None, model: Path, sounds: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1x.piano.flac").write_text("mine")
    done = run(
        "convert", sounds / "violin", "--to", "piano", "-o", tmp_path / "out", "--model", model, "--ray", LOCAL, code=1
    )
    assert "1x.piano.flac exists already" in done.stderr
    assert (tmp_path / "out" / "1x.piano.flac").read_text() == "mine"
    assert len(files(tmp_path / "out")) == 3


@pytest.mark.smoke
def test_a_cluster_of_its_own_says_nothing_and_goes(sounds: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "audiotrans", "prep", str(sounds), "-o", str(tmp_path / "cache"), "-q"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--ray", LOCAL, "--workers", "1"], cwd=ROOT, env=environment, capture_output=True, text=True,
        timeout=2 * PATIENCE, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{tmp_path / 'cache'}: 6 sounds made into images")
    assert json.loads((tmp_path / "cache" / "manifest.json").read_text())["domains"] == {"a": "violin", "b": "piano"}


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://here:10001", "nowhere"])
def test_an_address_without_a_cluster_is_one_line(
    sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    done = run("prep", sounds, "-o", tmp_path / "cache", "--ray", address, "-q", code=2)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"audiotrans: error: --ray {address}: no cluster there (")
