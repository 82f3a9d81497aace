"""The stereo part of the phase benchmark: does the image survive?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch

from audiotrans.evaluation.metrics import stereo
from audiotrans.spectrogram.phase import PHASES, PhaseTask
from audiotrans.spectrogram.stft import STFT
from benchmarks.phase_cases import RATE, Excerpt, model_case, spectrum, spoil
from benchmarks.phase_methods import AUTO, DEFAULT, Run, librosa_method, mr_distance

JOINT = f"{DEFAULT}, jointly"
BLOCK_SECONDS = 0.2
# Side below this level re the middle is a mono sound, whose image nobody can lose.
LEAST_SIDE_DB = -40.0
CAN_BE_JOINT = "mid_side" in {field.name for field in fields(PhaseTask)}


@dataclass(frozen=True)
class StereoCase:
    """Magnitudes of two channels; `truth`, (2, samples), has the image that is wanted.

    Where `complete`, the truth is also the sound that is wanted; of a translation only the image is known: a gain on
    both channels keeps the source's, so it is the image of the output with the source's phase.
    """

    kind: str
    name: str
    task: PhaseTask
    truth: np.ndarray
    complete: bool = True


def is_stereo(excerpt: Excerpt) -> bool:
    if excerpt.wave.shape[0] != 2:
        return False
    left, right = excerpt.wave.astype(np.float64)
    middle, side = np.mean((left + right) ** 2), np.mean((left - right) ** 2)
    return bool(side > middle * 10 ** (LEAST_SIDE_DB / 10))


def cases(excerpt: Excerpt, stft: STFT, converter) -> Iterator[StereoCase]:
    for kind in ("exact", "blurred"):
        yield spoilt_case(excerpt, stft, kind)
    if converter is not None and excerpt.domain:
        case = model_case("", excerpt, converter, stereo=True)
        image = case.task.stft.inverse(PHASES["source"](case.task), case.samples).numpy()
        yield StereoCase("model", excerpt.name, case.task, image, complete=False)


def spoilt_case(excerpt: Excerpt, stft: STFT, kind: str) -> StereoCase:
    """Spoil left, right, middle and side alike: what a network of four outputs would give."""
    left, right = spectrum(excerpt.wave, stft)
    four = [left, right, (left + right) / 2, (left - right) / 2]
    spoilt = [
        torch.from_numpy(spoil(one.abs().numpy(), kind, stft.n_fft, seed=index)) for index, one in enumerate(four)
    ]
    magnitude = torch.stack(spoilt[:2])
    extra = {"mid_side": torch.stack(spoilt[2:])} if CAN_BE_JOINT else {}
    task = PhaseTask(magnitude, torch.zeros_like(magnitude, dtype=torch.complex64), None, stft, **extra)
    return StereoCase(kind, excerpt.name, task, excerpt.wave)


def alone(run: Run) -> Run:
    """Rebuild each channel as if there were no other."""

    def each(task: PhaseTask, samples: int) -> np.ndarray:
        parts = [
            run(PhaseTask(task.magnitude[i : i + 1], task.source[i : i + 1], None, task.stft), samples) for i in (0, 1)
        ]
        return np.concatenate(parts)

    return each


def estimated(name: str) -> Run:
    """One of our methods, on all channels that it is given."""

    def run(task: PhaseTask, samples: int) -> np.ndarray:
        return task.stft.inverse(PHASES[name](task), samples).numpy()

    return run


def shared(name: str) -> Run:
    """Give both channels the phase of their root mean square."""

    def run(task: PhaseTask, samples: int) -> np.ndarray:
        loudness = task.magnitude.square().mean(0, keepdim=True).sqrt()
        phase = PHASES[name](PhaseTask(loudness, torch.zeros_like(loudness, dtype=torch.complex64), None, task.stft))
        turned = torch.polar(task.magnitude, phase.angle().expand_as(task.magnitude))
        return task.stft.inverse(turned, samples).numpy()

    return run


def methods(quick: bool = False) -> dict[str, Run]:
    """Name the ways to rebuild two channels."""
    iterations = 2 if quick else 32
    # Given both channels, librosa draws other random phases for each; alone, both would start from the same.
    found = {f"librosa.griffinlim, {iterations}, each channel": librosa_method(iterations).run}
    if DEFAULT in PHASES:
        found[f"{DEFAULT}, each channel"] = alone(estimated(DEFAULT))
        found[f"{DEFAULT}, one phase for both"] = shared(DEFAULT)
        if CAN_BE_JOINT:
            found[JOINT] = estimated(DEFAULT)
    return found


def measure(case: StereoCase, wave: np.ndarray) -> dict[str, float]:
    """Compare two channels, their middle and side, and their image with the truth."""
    found = {
        "coherence_error": stereo.stereo_coherence_error(case.truth, wave, RATE),
        "level_difference_error_db": stereo.level_difference_error_db(case.truth, wave, RATE),
        "coherence_error_blocks": stereo.stereo_coherence_error(case.truth, wave, RATE, block_seconds=BLOCK_SECONDS),
        "level_difference_error_blocks_db": stereo.level_difference_error_db(
            case.truth, wave, RATE, block_seconds=BLOCK_SECONDS
        ),
    }
    if case.complete:
        sides = [mr_distance(case.truth[i : i + 1], wave[i : i + 1]) for i in (0, 1)]
        found["mr_channels"] = float(np.mean(sides))
        found["mr_mid"] = mr_distance(case.truth.mean(0, keepdims=True), wave.mean(0, keepdims=True))
        difference = np.array([[0.5], [-0.5]], dtype=np.float32)
        found["mr_side"] = mr_distance(
            (case.truth * difference).sum(0, keepdims=True), (wave * difference).sum(0, keepdims=True)
        )
    return found


def scores(case: StereoCase, quick: bool, tick: Callable[[], object]) -> Iterator[dict]:
    """Yield a record of every way to rebuild one case."""
    ways = methods(quick)
    if not case.complete and AUTO in PHASES:
        ways[AUTO] = estimated(AUTO)
    samples = case.truth.shape[1]
    for name, run in ways.items():
        figures = measure(case, run(case.task, samples))
        yield {"set": case.kind, "clip": case.name, "method": name, **figures}
        tick()
    if case.complete:
        true = spectrum(case.truth, case.task.stft).angle()
        bound = case.task.stft.inverse(torch.polar(case.task.magnitude, true), samples).numpy()
        yield {"set": case.kind, "clip": case.name, "method": "true phase", **measure(case, bound)}
