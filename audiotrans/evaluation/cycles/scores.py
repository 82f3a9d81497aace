"""What a chain's sound is scored by, against the input that it was made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from audiotrans.audio import Wave
from audiotrans.errors import AudiotransError
from audiotrans.evaluation import metrics
from audiotrans.evaluation.metrics import PitchError, PitchTrack
from audiotrans.evaluation.metrics.pitch import compare_tracks

SCORED_SECONDS = 60.0
"""Longer sounds are scored by their beginning: spectra and pitch tracks of an hour would need gigabytes."""

CHOICES = ("all", "fast", "none")


class Heard:
    """A sound as the scores hear it, its pitch tracked once.

    Args:
        blocks: float32 ``(channels, n)`` each, one after the other; only the first minute is kept.
        sample_rate: Hz.
    """

    def __init__(self, blocks: Iterable[Wave], sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.wave = _beginning(blocks, round(SCORED_SECONDS * sample_rate))

    @cached_property
    def pitch(self) -> PitchTrack:
        """The pitch of the mono mix."""
        return metrics.pitch_track(self.wave, self.sample_rate)


def _beginning(blocks: Iterable[Wave], frames: int) -> Wave:
    kept: list[Wave] = []
    missing = frames
    for block in blocks:
        kept.append(block[:, :missing])
        missing -= kept[-1].shape[1]
        if missing == 0:
            break
    return np.concatenate(kept, axis=1)


Measure = Callable[[Heard, Heard], float]


@dataclass(frozen=True)
class Score:
    """One column of the tables.

    Attributes:
        label: what it is called.
        unit: of its numbers; empty for shares and bare numbers.
        better: ``lower`` or ``higher``.
        group: ``content``, what a translation must keep too, or ``distance``, for sounds that should be the input's.
        measure: takes the input and the chain's sound.
        slow: whether it needs the pitch tracker.
    """

    label: str
    unit: str
    better: str
    group: str
    measure: Measure
    slow: bool = False


def _plain(metric: metrics.Metric) -> Measure:
    return lambda reference, estimate: metric(reference.wave, estimate.wave, reference.sample_rate)


def _pitch(reference: Heard, estimate: Heard) -> PitchError:
    return compare_tracks(reference.pitch, estimate.pitch)


SCORES: Mapping[str, Score] = {
    "log_spectral_distance_db": Score(
        "log-spectral distance", "dB", "lower", "distance", _plain(metrics.log_spectral_distance)
    ),
    "band_distance_db": Score("band distance", "dB", "lower", "distance", _plain(metrics.band_distance)),
    "multi_resolution_stft": Score(
        "multi-resolution STFT distance", "", "lower", "distance", _plain(metrics.multi_resolution_stft_distance)
    ),
    "pitch_error_cents": Score(
        "median pitch error", "cents", "lower", "content", lambda x, y: _pitch(x, y).median_cents, slow=True
    ),
    "pitch_fraction_off": Score(
        "frames off pitch", "", "lower", "content", lambda x, y: _pitch(x, y).fraction_off, slow=True
    ),
    "onset_f1": Score("onset F1", "", "higher", "content", _plain(metrics.onset_f1)),
    "loudness_correlation": Score(
        "loudness correlation", "", "higher", "content", _plain(metrics.loudness_correlation)
    ),
}


def chosen_scores(choice: str) -> tuple[str, ...]:
    """Return the names of the scores that a word of `CHOICES` stands for."""
    slow = choice == "all"
    return tuple(name for name, score in SCORES.items() if choice != "none" and (slow or not score.slow))


def score_sound(reference: Heard, estimate: Heard, kind: str, names: Sequence[str]) -> dict[str, float | None]:
    """Score the sound of a chain.

    Args:
        reference: the input.
        estimate: the chain's sound, of the same length, rate and channels.
        kind: ``reconstruction``, ``cycle`` or ``translation``; a translation is meant to sound otherwise, so its
            distance to the input says nothing and is left out.
        names: keys of `SCORES`.

    Returns:
        Numbers by name; None where there is nothing to count, such as the pitch of a sound without any.
    """
    fitting = [name for name in names if kind != "translation" or SCORES[name].group == "content"]
    return {name: _number(SCORES[name].measure, reference, estimate) for name in fitting}


def _number(measure: Measure, reference: Heard, estimate: Heard) -> float | None:
    try:
        value = float(measure(reference, estimate))
    except AudiotransError:  # the scored minute of the input is silent
        return None
    return value if math.isfinite(value) else None


def mean_scores(items: Iterable[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Average scores by name over those items that have a number."""
    values: dict[str, list[float]] = {}
    for scores in items:
        for name, value in scores.items():
            values.setdefault(name, []).extend([] if value is None else [value])
    return {name: float(np.mean(found)) if found else None for name, found in values.items()}
