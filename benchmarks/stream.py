"""Delay, speed and memory of a stream, by chunk size: ``python -m benchmarks.stream``.

Every row is a process of its own, so that its peak of memory is its own. The CPU time is the figure to go by on any
machine that is not idle. A real-time factor of 0.2 means that a second of sound takes 0.2 s.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
BLOCK = 1024
CHUNKS = (0.1, 0.2, 0.5, 1.0, 2.0)
HEAD = "| chunk, s | delay, s | real-time factor, CPU | wall | slowest chunk, s | memory, MB | its growth, MB |"


def measure(chunk: float, options: argparse.Namespace) -> dict[str, float]:
    """Stream a recording, repeated, through the shipped model in blocks of `BLOCK` samples."""
    import torch

    from audiotrans import audio, load
    from audiotrans.convert.stream import StreamConverter

    torch.set_num_threads(options.threads)
    converter = load(device="cpu")
    wave, rate = audio.read(ROOT / "data" / "violin.wav")
    request = converter.options("piano", phase=options.phase, shifts=options.shifts, remove_vibrato=0)
    warm = StreamConverter(
        converter, rate, len(wave), request, chunk_seconds=chunk, look_ahead_seconds=options.look_ahead
    )
    # Compiles what is compiled, and fills the memory that torch keeps.
    warm.push(np.take(wave, range(warm.delay_samples + 2 * round(chunk * rate)), axis=1, mode="wrap"))
    stream = StreamConverter(
        converter, rate, len(wave), request, chunk_seconds=chunk, look_ahead_seconds=options.look_ahead
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu, wall, slowest, total = time.process_time(), time.perf_counter(), 0.0, options.seconds * rate
    for start in range(0, total, BLOCK):
        began = time.perf_counter()
        stream.push(np.take(wave, range(start, start + BLOCK), axis=1, mode="wrap"))
        slowest = max(slowest, time.perf_counter() - began)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "chunk": stream.chunk_seconds,
        "delay": stream.delay_seconds,
        "cpu": cpu / options.seconds,
        "wall": wall / options.seconds,
        "slowest": slowest,
        "memory": peak / 1024,
        "growth": (peak - before) / 1024,
    }


def difference(options: argparse.Namespace) -> str:
    """Compare streams with the conversion of the whole recording."""
    import torch

    from audiotrans import audio, load
    from audiotrans.convert.stream import StreamConverter

    torch.set_num_threads(options.threads)
    converter = load(device="cpu")
    wave, rate = audio.read(ROOT / "data" / "violin.wav")
    level_db = converter.measure([wave], rate, len(wave)).level_db
    asked = {"phase": options.phase, "shifts": options.shifts, "remove_vibrato": 0}
    whole = converter.convert(wave, rate, to="piano", **asked)
    request, found = converter.options("piano", **asked), []
    for level in (level_db, None):
        stream = StreamConverter(
            converter,
            rate,
            len(wave),
            request,
            level_db=level,
            chunk_seconds=options.chunks[0],
            look_ahead_seconds=options.look_ahead,
        )
        error = np.concatenate([stream.push(wave), stream.finish()], axis=1) - whole
        found.append(20 * np.log10(np.linalg.norm(error) / np.linalg.norm(whole) + 1e-12))
    return f"difference to the whole: {found[0]:.0f} dB at one level, {found[1]:.0f} dB where it follows the music"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--phase", choices=("source", "rtpghi"), default="source")
    parser.add_argument("--shifts", type=int, default=1)
    parser.add_argument("--chunks", type=float, nargs="+", default=CHUNKS)
    parser.add_argument("--look-ahead", type=float, help="seconds; all of the model's reach if not given")
    parser.add_argument("--one", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one is not None:
        print(json.dumps(measure(options.one, options)))
        return
    print(HEAD)
    print("|---" * 7 + "|")
    same = [f"--{name}={getattr(options, name)}" for name in ("threads", "seconds", "phase", "shifts")]
    same += [] if options.look_ahead is None else [f"--look-ahead={options.look_ahead}"]
    for chunk in options.chunks:
        program = [sys.executable, "-m", "benchmarks.stream", f"--one={chunk}", *same]
        done = subprocess.run(program, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        row = json.loads(done.stdout)
        print(
            f"| {row['chunk']:.2f} | {row['delay']:.2f} | {row['cpu']:.3f} | {row['wall']:.3f} "
            f"| {row['slowest']:.2f} | {row['memory']:.0f} | {row['growth']:.1f} |",
            flush=True,
        )
    print(difference(options))


if __name__ == "__main__":
    main()
