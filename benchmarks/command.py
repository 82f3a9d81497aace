"""What the command ``audiotrans convert`` takes: memory by length, drift over a long sound, and its start.

    python -m benchmarks.command memory --seconds 10 600 7200
    python -m benchmarks.command clicks --minutes 20
    python -m benchmarks.command start --runs 15

Each row is a process of its own on one thread. CPU seconds are the figure to go by on a machine that others use too.
This program loads no torch: a process's peak of memory counts what began it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parents[1]
VIOLIN = ROOT / "data" / "violin.wav"
CLICK_SECONDS = 10
CLICK = 0.9
BEFORE = 0.02
"""Seconds on each side of its place in which a click is looked for."""


@dataclass(frozen=True)
class Taken:
    """What a process took: CPU seconds, seconds of the clock, and its peak of resident memory in MiB."""

    cpu: float
    wall: float
    peak: float


def run(arguments: Sequence[str], threads: int = 1) -> Taken:
    """Run this Python with arguments.

    Raises:
        RuntimeError: if it fails.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise RuntimeError(f"`python {' '.join(arguments)}` ended with status {process.returncode}")
    unit = 2**20 if sys.platform == "darwin" else 2**10  # Linux counts in KiB, macOS in bytes
    return Taken(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / unit)


def convert(source: Path, output: Path, *more: str, to: str = "piano", threads: int = 1) -> Taken:
    """Run ``audiotrans convert`` on a file."""
    where = ["--to", to, "-o", str(output), "--force", "-q", "--device", "cpu", *more]
    return run(["-m", "audiotrans", "convert", str(source), *where], threads)


def violin(path: Path, seconds: float) -> None:
    """Write the shipped violin, repeated, as 16-bit stereo."""
    wave, rate = soundfile.read(VIOLIN, dtype="int16", always_2d=True)
    left = round(seconds * rate)
    with soundfile.SoundFile(path, "w", rate, wave.shape[1], subtype="PCM_16") as file:
        while left:
            file.write(wave[:left])
            left -= min(left, len(wave))


def memory(folder: Path, lengths: Sequence[float], threads: int) -> None:
    print("| sound, s | peak, MiB | CPU, s | clock, s |\n|---|---|---|---|")
    for seconds in lengths:
        source = folder / "long.wav"
        violin(source, seconds)
        taken = convert(source, folder / "out.wav", threads=threads)
        print(f"| {seconds:g} | {taken.peak:.0f} | {taken.cpu:.1f} | {taken.wall:.1f} |", flush=True)


def clicks(folder: Path, minutes: float, rate: int) -> None:
    """Put a click on a soft violin every ten seconds, convert, and say how far each has moved."""
    source, output = folder / "clicks.wav", folder / "out.wav"
    wave, own = soundfile.read(VIOLIN, dtype="float32", always_2d=True)
    step = CLICK_SECONDS * rate
    # Played at another rate it is another violin; the places of clicks are what counts.
    one = 0.1 * np.resize(wave, (step, wave.shape[1]))
    one[step // 2] = CLICK
    count = round(60 * minutes / CLICK_SECONDS)
    with soundfile.SoundFile(source, "w", rate, wave.shape[1], subtype="FLOAT") as file:
        for _ in range(count):
            file.write(one)
    taken = convert(source, output)
    moved, near = [], round(BEFORE * rate)
    with soundfile.SoundFile(output) as file:
        length = len(file)
        for number in range(count):
            file.seek(number * step + step // 2 - near)
            moved.append(int(np.abs(file.read(2 * near + 1, always_2d=True)).sum(1).argmax()) - near)
    worst = max(moved, key=abs)
    print(f"{count} clicks in {minutes:g} minutes at {rate} Hz (violin of {own} Hz): {taken.cpu:.0f} s of CPU")
    print(f"samples: {count * step} before, {length} after")
    print(f"moved by {1000 * worst / rate:.3f} ms at most; first {moved[0]}, last {moved[-1]} samples")


def start(folder: Path, runs: int, graph: Path | None) -> None:
    """Time what comes before the first translation, in turn."""
    soundfile.write(folder / "short.wav", *soundfile.read(VIOLIN))
    cases = {
        "`audiotrans --help`": lambda: run(["-m", "audiotrans", "--help"]),
        "`import torch` alone": lambda: run(["-c", "import torch"]),
        "first conversion, `data/violin.wav` to piano": lambda: convert(folder / "short.wav", folder / "out.wav"),
    }
    if graph is not None:
        cases["the same by an exported graph, ONNX Runtime"] = lambda: convert(
            folder / "short.wav", folder / "out.wav", "--model", str(graph)
        )
    taken: dict[str, list[Taken]] = {name: [] for name in cases}
    for number in range(runs + 1):
        for name, case in cases.items():
            found = case()
            if number:  # the first one fills the disk's cache and writes bytecode
                taken[name].append(found)
    print("| process | CPU, s: least | median | clock, s: least |\n|---|---|---|---|")
    for name, found in taken.items():
        cpu = [each.cpu for each in found]
        print(f"| {name} | {min(cpu):.2f} | {statistics.median(cpu):.2f} | {min(each.wall for each in found):.2f} |")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("memory", "clicks", "start"))
    parser.add_argument("--seconds", type=float, nargs="+", default=(10, 600, 7200), help="memory: of the sounds")
    parser.add_argument("--threads", type=int, default=1, help="memory: CPU threads")
    parser.add_argument("--minutes", type=float, default=20, help="clicks: of the sound")
    parser.add_argument("--rate", type=int, default=48_000, help="clicks: of the sound, Hz")
    parser.add_argument("--runs", type=int, default=15, help="start: of each process")
    parser.add_argument("--graph", type=Path, help="start: also a graph of audiotrans export")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if chosen.what == "memory":
            memory(folder, chosen.seconds, chosen.threads)
        elif chosen.what == "clicks":
            clicks(folder, chosen.minutes, chosen.rate)
        else:
            start(folder, chosen.runs, chosen.graph)


if __name__ == "__main__":
    main()
