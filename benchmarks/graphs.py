"""Exported graphs beside torch: sound, speed, memory: ``python -m benchmarks.graphs --violin CLIP... --piano CLIP...``.

Exports both directions of the shipped model, or takes those in ``--graphs FOLDER``. Sounds are compared at the model's
own settings, vibrato included. Torch and ONNX Runtime convert a minute of stereo in turns, in one process: on a machine
that others use too, their ratio and their CPU time are the figures to go by.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from audiotrans.evaluation.metrics.spectral import snr_db

ROOT = Path(__file__).resolve().parents[1]
RATE = 44_100


def graphs_in(folder: Path, targets: list[str]) -> dict[str, Path]:
    """Return the graph of each target, exported where it is missing."""
    found = {to: folder / f"to_{to}.onnx" for to in targets}
    for to, path in found.items():
        if not path.exists():
            command = [sys.executable, "-m", "audiotrans", "export", "violin-piano", "--to", to, "-o", str(path)]
            began = time.perf_counter()
            subprocess.run(command, check=True)
            print(f"exported in {time.perf_counter() - began:.0f} s")
    return found


def timed(work: Callable[[], object]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def command_of(model: str, sound: Path, folder: Path) -> str:
    """Run a whole command; return what it took."""
    command = [sys.executable, "-m", "audiotrans", "convert", str(sound), "--to", "piano", "--model", model]
    began = time.perf_counter()
    process = subprocess.Popen([*command, "-o", str(folder / "out.wav"), "--force", "-q"])
    _, process.returncode, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    return f"{usage.ru_utime + usage.ru_stime:.1f} s of CPU, {wall:.1f} s, {usage.ru_maxrss / 1024:.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--violin", type=Path, nargs="*", default=[ROOT / "data" / "violin.wav"], help="to the piano")
    parser.add_argument("--piano", type=Path, nargs="*", default=[ROOT / "data" / "piano.wav"], help="to the violin")
    parser.add_argument("--graphs", type=Path, help="folder of to_piano.onnx and to_violin.onnx, kept")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=0, help="also whole commands, for so long a sound")
    chosen = parser.parse_args()

    import soundfile
    import torch

    from audiotrans import audio, load
    from audiotrans.convert.graph_runtime import GraphConverter

    torch.set_num_threads(chosen.threads)
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.graphs or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        targets = ["piano", *(["violin"] if chosen.piano else [])]
        graphs = {to: GraphConverter(path, chosen.threads) for to, path in graphs_in(folder, targets).items()}
        model = load(device="cpu")
        for to, clips in (("piano", chosen.violin), ("violin", chosen.piano)):
            for clip in clips:
                wave, rate = audio.read(clip)
                wanted, found = model.convert(wave, rate, to=to), graphs[to].convert(wave, rate, to=to)
                print(f"{clip.name} to {to}, {wave.shape[1] / rate:.1f} s: {snr_db(wanted, found):.1f} dB SNR")
        wave, rate = audio.read(ROOT / "data" / "violin.wav", sample_rate=RATE)
        minute = np.take(wave, range(60 * RATE), axis=1, mode="wrap")
        taken: dict[str, list[tuple[float, float]]] = {"torch": [], "onnx": []}
        for _ in range(chosen.rounds + 1):
            taken["torch"].append(timed(lambda: model.convert(minute, RATE, to="piano")))
            taken["onnx"].append(timed(lambda: graphs["piano"].convert(minute, RATE, to="piano")))
        for name, times in taken.items():
            cpu, wall = (statistics.median(each[i] for each in times[1:]) for i in (0, 1))  # the first one warms up
            print(f"{name}: 60 s of stereo in {cpu:.2f} s of CPU, {wall:.2f} s; {60 / wall:.1f} x real time")
        if chosen.minutes:
            sound = Path(scratch) / "long.wav"
            soundfile.write(sound, np.take(wave, range(round(60 * chosen.minutes * RATE)), axis=1, mode="wrap").T, RATE)
            for name in ("violin-piano", str(graphs["piano"].path)):
                print(f"convert --model {Path(name).name}: {command_of(name, sound, Path(scratch))}")


if __name__ == "__main__":
    main()
