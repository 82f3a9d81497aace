"""Exported graphs beside torch: sound, speed, memory: ``python -m benchmarks.graphs --violin CLIP... --piano CLIP...``.

Exports both directions of the shipped model, or takes those in ``--graphs FOLDER``. Sounds are compared at the model's
own settings, vibrato included. Torch and ONNX Runtime convert a minute of stereo in turns, in one process: on a machine
that others use too, their ratio and their CPU time are the figures to go by. ``--without-torch PYTHON`` names an
interpreter without torch, whose `audiotrans convert --runtime onnx` converts the clips as well.
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
from typing import Any

import numpy as np

from audiotrans.evaluation.metrics.spectral import snr_db

ROOT = Path(__file__).resolve().parents[1]
RATE = 44_100
WANTED_DB, WANTED_SPEED = 40, 5  # of the sound, and times real time on two cores


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


def compare(model: Any, graphs: dict[str, Any], clips: dict[str, list[Path]]) -> None:
    """Print each clip's SNR, and the least of each direction."""
    from audiotrans import audio

    for to, paths in clips.items():
        found = {}
        for clip in paths:
            wave, rate = audio.read(clip)
            found[clip] = snr_db(model.convert(wave, rate, to=to), graphs[to].convert(wave, rate, to=to))
            print(f"{clip.name} to {to}, {wave.shape[1] / rate:.1f} s: {found[clip]:.1f} dB SNR")
        if found:
            values = sorted(found.values())
            print(f"to {to}: {values[0]:.1f} to {values[-1]:.1f} dB SNR on {len(values)} clips (wanted: {WANTED_DB})")


def race(model: Any, path: Path, to: str, sound: Path, threads: int, rounds: int) -> None:
    """Print what a minute of stereo takes by torch and by ONNX Runtime, in turns."""
    import torch

    from audiotrans import audio
    from audiotrans.convert.graph_runtime import GraphConverter

    torch.set_num_threads(threads)
    graph = GraphConverter(path, threads)
    wave, _ = audio.read(sound, sample_rate=RATE)
    minute = np.take(wave, range(60 * RATE), axis=1, mode="wrap")
    taken: dict[str, list[tuple[float, float]]] = {"torch": [], "ONNX Runtime": []}
    for _ in range(rounds + 1):  # the first one warms up
        for name, converter in (("torch", model), ("ONNX Runtime", graph)):
            taken[name].append(timed(lambda converter=converter: converter.convert(minute, RATE, to=to)))
    for name, times in taken.items():
        cpu, wall = (statistics.median(each[i] for each in times[1:]) for i in (0, 1))
        speed = f"{60 / cpu:.1f} x real time by CPU time, {60 / wall:.1f} x by the clock (wanted: {WANTED_SPEED})"
        print(f"{threads} thread(s), to {to}, {name}: 60 s of stereo in {cpu:.2f} s of CPU, {wall:.2f} s; {speed}")


def timed(work: Callable[[], object]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def bare(python: Path, graphs: dict[str, Path], clips: dict[str, list[Path]], folder: Path) -> None:
    """Print the SNR of the command without torch against the command with it, files of 24 bits."""
    import soundfile

    from audiotrans import audio

    found = subprocess.run([python, "-c", "import torch"], capture_output=True, check=False)
    if found.returncode == 0:
        sys.exit(f"{python} has torch: name an interpreter without it")
    for to, paths in clips.items():
        values = []
        for clip in paths:
            wave, rate = audio.read(clip)
            source = folder / "in.wav"
            soundfile.write(source, wave.T, rate, "PCM_24")  # finer than what is measured
            made = []
            for interpreter, model in ((sys.executable, "violin-piano"), (python, graphs[to].resolve())):
                command = [interpreter, "-m", "audiotrans", "convert", source, "--to", to, "--model", model, "-q"]
                made.append(folder / f"out{len(made)}.wav")
                subprocess.run([*map(str, command), "-o", str(made[-1]), "--force"], cwd=ROOT, check=True)
            values.append(snr_db(*(audio.read(path)[0] for path in made)))
        if values:
            print(f"convert without torch, to {to}: {min(values):.1f} to {max(values):.1f} dB SNR, {len(values)} clips")


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
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2], help="numbers of threads to race at")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-torch", type=Path, metavar="PYTHON", help="an interpreter that has no torch")
    parser.add_argument("--minutes", type=float, default=0, help="also whole commands, for so long a sound")
    chosen = parser.parse_args()

    from audiotrans import load
    from audiotrans.convert.graph_runtime import GraphConverter

    clips = {"piano": chosen.violin, "violin": chosen.piano}
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.graphs or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        graphs = graphs_in(folder, list(clips))
        model = load(device="cpu")
        compare(model, {to: GraphConverter(path) for to, path in graphs.items()}, clips)
        for threads in chosen.threads:
            for to, sound in (("piano", "violin.wav"), ("violin", "piano.wav")):
                race(model, graphs[to], to, ROOT / "data" / sound, threads, chosen.rounds)
        if chosen.without_torch:
            bare(chosen.without_torch, graphs, clips, Path(scratch))
        if chosen.minutes:
            long(graphs["piano"], chosen.minutes, Path(scratch))


def long(graph: Path, minutes: float, folder: Path) -> None:
    """Print what a whole command takes of a long sound, by torch and by the graph."""
    import soundfile

    from audiotrans import audio

    wave, _ = audio.read(ROOT / "data" / "violin.wav", sample_rate=RATE)
    sound = folder / "long.wav"
    soundfile.write(sound, np.take(wave, range(round(60 * minutes * RATE)), axis=1, mode="wrap").T, RATE)
    for name in ("violin-piano", str(graph)):
        print(f"convert --model {Path(name).name}: {command_of(name, sound, folder)}")


if __name__ == "__main__":
    main()
