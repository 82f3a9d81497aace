"""The phase methods of the benchmark, what they cost and how well they do."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from audiotrans.errors import AudiotransError
from audiotrans.evaluation import metrics
from audiotrans.spectrogram.phase import PHASES, PhaseTask
from benchmarks.phase_cases import RATE, Case

TRUE_PHASE = "true phase"
LIBROSA = "librosa.griffinlim, 32"
PGHI = "pghi"
DEFAULT = "pghi_refined"
AUTO = "auto"
# A short window for attacks, the usual one, and a long one for partials.
MR_SIZES = (512, 2048, 8192)
OURS = ("pghi", "rtpghi", "fast_griffin_lim", DEFAULT, "source", AUTO)
NEED_SOURCE = ("source", AUTO)

Run = Callable[[PhaseTask, int], np.ndarray]


@dataclass(frozen=True)
class Method:
    """A way from magnitudes to a wave (channels, samples), float32."""

    name: str
    run: Run
    needs_source: bool = False


def _seed_name(function: Callable[..., object]) -> str:
    """Return what librosa calls its seed: the name changed with version 1.0."""
    return "rng" if "rng" in inspect.signature(function).parameters else "random_state"


def librosa_method(iterations: int) -> Method:
    def run(task: PhaseTask, samples: int) -> np.ndarray:
        import librosa

        return librosa.griffinlim(
            task.magnitude.numpy(), n_iter=iterations, hop_length=task.stft.hop_length, n_fft=task.stft.n_fft,
            length=samples, **{_seed_name(librosa.griffinlim): task.seed},
        )  # fmt: skip

    return Method(f"librosa.griffinlim, {iterations}", run)


def torchaudio_methods(iterations: Sequence[int]) -> list[Method]:
    """Give torchaudio's methods; none, and one line on stderr, where it is not installed or does not fit its torch."""
    try:
        from torchaudio.transforms import GriffinLim
    except (ImportError, OSError) as error:
        print(f"torchaudio is left out: {' '.join(str(error).split())}", file=sys.stderr)
        return []
    return [_torchaudio_method(GriffinLim, count) for count in iterations]


def _torchaudio_method(griffin_lim: Callable[..., Any], iterations: int) -> Method:
    def run(task: PhaseTask, samples: int) -> np.ndarray:
        method = griffin_lim(
            task.stft.n_fft, n_iter=iterations, hop_length=task.stft.hop_length, power=1.0, length=samples
        )
        with torch.random.fork_rng():
            torch.manual_seed(task.seed)
            return method(task.magnitude).numpy()

    return Method(f"torchaudio GriffinLim, {iterations}", run)


def our_method(name: str) -> Method:
    def run(task: PhaseTask, samples: int) -> np.ndarray:
        return task.stft.inverse(PHASES[name](task), samples).numpy()

    return Method(name, run, name in NEED_SOURCE)


def methods(quick: bool = False) -> tuple[list[Method], list[str]]:
    """Return the methods to compare, and the names of those of ours that this version does not have."""
    iterations = (2,) if quick else (32, 100)
    theirs = [librosa_method(count) for count in iterations] + torchaudio_methods(iterations)
    missing = [name for name in OURS if name not in PHASES]
    return theirs + [our_method(name) for name in OURS if name in PHASES], missing


def true_phase(case: Case) -> np.ndarray:
    """Give the magnitudes the phases of the sound that is wanted: the bound of all methods."""
    from benchmarks.phase_cases import spectrum

    assert case.truth is not None
    true = spectrum(case.truth, case.task.stft)
    return case.task.stft.inverse(torch.polar(case.task.magnitude, true.angle()), case.samples).numpy()


def mr_distance(truth: np.ndarray, wave: np.ndarray) -> float:
    """Multi-resolution STFT distance; nan where the truth is silent."""
    try:
        return metrics.spectral.multi_resolution_stft_distance(truth, wave, RATE, MR_SIZES)
    except AudiotransError:
        return float("nan")


def measure(case: Case, wave: np.ndarray) -> dict[str, float]:
    """Compare a wave with the case's magnitudes, and with its truth where there is one."""
    found = {
        "inconsistency_db": metrics.artefacts.consistency_db(case.task.magnitude.numpy(), wave, case.task.stft),
        "pre_echo_level_db": metrics.artefacts.pre_echo_level_db(wave, RATE, case.attacks),
    }
    if case.truth is not None:
        found["mr"] = mr_distance(case.truth, wave)
        found["log_spectral_distance_db"] = metrics.spectral.log_spectral_distance(case.truth, wave, RATE)
        found["pre_echo_db"] = metrics.artefacts.pre_echo_db(case.truth, wave, RATE)
        found["roughness_db"] = metrics.artefacts.modulation_noise_excess_db(case.truth, wave, RATE)
    return found


def cpu_seconds(methods: Sequence[Method], cases: Sequence[Case], repeats: int, tick: Callable[[], object]) -> dict:
    """Measure CPU seconds per second of sound, the least of some repeats, averaged over the cases that a method can do.

    The methods take turns, so that a busy moment of the machine meets all of them. Everything has been run once before:
    compiling is not counted.
    """
    least: dict[str, list[float]] = {}
    for case in cases:
        able = [method for method in methods if case.has_source or not method.needs_source]
        best = dict.fromkeys((method.name for method in able), float("inf"))
        for _ in range(repeats):
            for method in able:
                began = time.process_time()
                method.run(case.task, case.samples)
                best[method.name] = min(best[method.name], time.process_time() - began)
                tick()
        for name, seconds in best.items():
            least.setdefault(name, []).append(seconds * RATE / case.samples)
    return {name: float(np.mean(seconds)) for name, seconds in least.items()}
