"""What prep needs for folders of many short clips: memory of its own process, and CPU time for each clip.

    python -m benchmarks.big_folders 1000 10000 --workers 2

The clips are tones of a quarter of a second at 8 kHz. Memory is that of the process which hands out the work, at its
highest; CPU time is that of all processes. docs/reliability.md has the figures.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

RATE = 8000


def write_clips(folder: Path, count: int) -> Path:
    """Write so many clips, half of them for each domain."""
    seconds = np.arange(RATE // 4) / RATE
    for domain, hertz in (("violin", 440), ("piano", 220)):
        (folder / domain).mkdir(parents=True)
        for index in range(count // 2):
            wave = 0.3 * np.sin(2 * np.pi * (hertz + index % 50) * seconds)
            soundfile.write(folder / domain / f"r{index}x.wav", wave, RATE)
    return folder


def measured(*command: object) -> tuple[float, float]:
    """Run a command; return its own highest memory in MB, and the CPU seconds of it and its workers."""
    before = os.times()
    process = subprocess.Popen([sys.executable, "-m", "audiotrans", *map(str, command)], stdout=subprocess.DEVNULL)
    peak = 0.0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:  # it has just ended
            continue
        found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
        peak = max([peak, *(int(kilobytes) / 1024 for kilobytes in found)])
        time.sleep(0.1)
    assert process.returncode == 0
    after = os.times()
    return peak, after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("counts", nargs="+", type=int)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print("| clips | prep | memory, MB | CPU, s | CPU, ms a clip |\n|---|---|---|---|---|")
    for count in options.counts:
        with tempfile.TemporaryDirectory() as scratch:
            sounds, cache = write_clips(Path(scratch) / "sounds", count), Path(scratch) / "cache"
            command = ("prep", sounds, "-o", cache, "--workers", options.workers, "-q")
            for number in (1, 2):
                print_row(count // 2, f"shard {number} of 2", measured(*command, "--shard", f"{number}/2"))
            print_row(count, "then without --shard", measured(*command))
            print_row(count, "again", measured(*command))


def print_row(clips: int, name: str, figures: tuple[float, float]) -> None:
    peak, cpu = figures
    print(f"| {clips} | {name} | {peak:.0f} | {cpu:.1f} | {1000 * cpu / clips:.1f} |", flush=True)


if __name__ == "__main__":
    main()
