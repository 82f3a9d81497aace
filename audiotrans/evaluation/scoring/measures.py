"""What is measured on one clip of one system: a table of names, labels, directions of better, and functions.

To add a measure, write a function of a `Case` and give it a line in `MEASURES`. What a function needs beyond the two
sounds (a truth, a score, a transcriber, a judge, a tagger) is named there too; where it is missing, the measure is
left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from audiotrans.audio import Wave
from audiotrans.errors import AudiotransError
from audiotrans.evaluation.metrics import artefacts, envelope, notes, spectral, stereo, timing
from audiotrans.evaluation.metrics.pitch import (
    Note,
    PitchError,
    PitchTrack,
    compare_tracks,
    pitch_track,
    vibrato_extent_cents,
)
from audiotrans.evaluation.scoring.testset import RATE

if TYPE_CHECKING:
    from audiotrans.evaluation.classifier import InstrumentClassifier

Array = npt.NDArray[np.floating[Any]]

GROUPS = ("content", "timbre", "artefacts", "distance", "speed")
ONSET_AGREEMENT_SECONDS = 0.03

KERNEL_OF = {"classifier": "kad", "tagger": "kad_tagger"}
"""Who gives an embedding, and the measure made of it."""

KERNEL_DISTANCES = frozenset(KERNEL_OF.values())


class Hearing:
    """What one wave was heard to hold; every part is made when it is first asked for, and once.

    Args:
        wave: shape (channels, samples) at `RATE`.
        judge: who tells its timbre, or None.
    """

    def __init__(self, wave: Wave, classifier: InstrumentClassifier | None = None) -> None:
        self.wave = wave
        self.classifier = classifier

    @cached_property
    def track(self) -> PitchTrack:
        """Pitch over time."""
        return pitch_track(self.wave, RATE)

    @cached_property
    def onsets(self) -> Array:
        """Onsets in seconds."""
        return timing.onset_times(self.wave, RATE)

    @cached_property
    def notes(self) -> list[Note]:
        """Notes that the transcriber hears."""
        from audiotrans.evaluation.transcription import transcribe

        return transcribe(self.wave, RATE)

    @cached_property
    def shapes(self) -> tuple[float, float]:
        """Attack in ms and decay in dB/s, medians over its notes."""
        from audiotrans.evaluation.transcription import transcription_available

        shapes = envelope.note_shapes(self.wave, RATE, self.notes if transcription_available() else None)
        return 1000.0 * _median(shapes.attack_seconds), _median(shapes.decay_db_per_second)

    @cached_property
    def probabilities(self) -> Array:
        """What the judge says of each window, shape (windows, classes)."""
        assert self.classifier is not None  # noqa: S101  # asked for only by measures that need a judge
        return self.classifier.probabilities(self.wave, RATE)

    @cached_property
    def embedding(self) -> Array:
        """The judge's embedding of each window, shape (windows, dims)."""
        assert self.classifier is not None  # noqa: S101
        return self.classifier.embed(self.wave, RATE)

    @cached_property
    def tagged(self) -> tuple[Array, Array]:
        """What the tagger says of each window, shape (windows, tags), and its embedding, (windows, dims)."""
        from audiotrans.evaluation.tagger import tags_and_embedding

        return tags_and_embedding(self.wave, RATE)

    def embeddings(self, tools: Iterable[str]) -> dict[str, Array]:
        """Return the embeddings by the kernel distance that they serve, of the tools that there are."""
        found = {}
        if "classifier" in tools:
            found[KERNEL_OF["classifier"]] = self.embedding
        if "tagger" in tools:
            found[KERNEL_OF["tagger"]] = self.tagged[1]
        return found


@dataclass(frozen=True)
class Case:
    """One output to be measured.

    Attributes:
        source: the input.
        output: what a system made of it.
        target: domain that the output should sound like.
        truth: the same notes played by the target, of the output's shape, or None.
        score: the notes that were played, or None.
        domain: medians of real clips of the target, without this clip's own recording: attack_ms, decay_db_per_s.
    """

    source: Hearing
    output: Hearing
    target: str
    truth: Wave | None = None
    score: list[Note] | None = None
    domain: Mapping[str, float] = field(default_factory=dict)

    @property
    def waves(self) -> tuple[Wave, Wave]:
        """Input and output."""
        return self.source.wave, self.output.wave

    @property
    def known(self) -> frozenset[str]:
        """What there is beyond the two sounds: some of truth, score and domain."""
        found = {"truth": self.truth is not None, "score": self.score is not None, "domain": bool(self.domain)}
        return frozenset(name for name, there in found.items() if there)


@dataclass(frozen=True)
class Measure:
    """One figure of a table.

    Attributes:
        label: what people read.
        group: one of `GROUPS`.
        better: ``higher``, ``lower``, ``closer to truth`` or empty.
        unit: of the figure; empty for shares and correlations.
        compute: takes a `Case`; None for what is measured elsewhere (speed, and what belongs to a system as a whole).
        needs: of transcriber, judge, tagger, truth, score and domain, what the function cannot do without.
    """

    label: str
    group: str
    better: str
    unit: str = ""
    compute: Callable[[Case], float] | None = None
    needs: frozenset[str] = frozenset()

    def as_dict(self) -> dict[str, str]:
        """Return what the JSON file says of it."""
        return {"label": self.label, "unit": self.unit, "better": self.better, "group": self.group}


def measure(case: Case, tools: Iterable[str]) -> dict[str, float]:
    """Take every measure that can be taken.

    Args:
        case: the output and what is known.
        tools: of transcriber, mir_eval, judge and tagger, what is installed.

    Returns:
        Name and figure; nan where there is nothing to measure, such as the pitch of a sound that has none.
    """
    there = case.known | set(tools)
    figures = {}
    for name, item in MEASURES.items():
        if item.compute is not None and item.needs <= there:
            try:
                figures[name] = float(item.compute(case))
            except AudiotransError:  # silence, for instance, has no distance in dB
                figures[name] = math.nan
    return figures


def _median(values: Array) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else math.nan


def _pitch(case: Case) -> PitchError:
    return compare_tracks(case.source.track, case.output.track)


def _onset_f1(case: Case) -> float:
    first, second = case.source.onsets, case.output.onsets
    total = len(first) + len(second)
    return 2.0 * timing.match_onsets(first, second) / total if total else 1.0


def _onsets_kept(case: Case) -> float:
    first, second = case.source.onsets, case.output.onsets
    return timing.match_onsets(first, second, ONSET_AGREEMENT_SECONDS) / len(first) if len(first) else math.nan


def _judged(case: Case) -> tuple[float, float]:
    """Return the mean probability of the target, and whether it is the likeliest class; 0 for a sound turned silent."""
    assert case.output.classifier is not None  # noqa: S101
    if not len(case.output.probabilities):
        nothing = 0.0 if len(case.source.probabilities) else math.nan
        return nothing, nothing
    mean = case.output.probabilities.mean(axis=0)
    place = case.output.classifier.classes.index(case.target)
    return float(mean[place]), float(np.argmax(mean) == place)


def _tagged(case: Case) -> tuple[float, float]:
    """Return the mean probability of the target's tag, and whether no other instrument's is likelier, as `_judged`."""
    from audiotrans.evaluation.tagger import TAGS, taken_for

    tags = case.output.tagged[0]
    if not len(tags):
        nothing = 0.0 if len(case.source.tagged[0]) else math.nan
        return nothing, nothing
    return float(tags[:, TAGS.index(case.target)].mean()), float(taken_for(tags) == case.target)


def _against_truth(distance: Callable[[Wave, Wave, int], float]) -> Callable[[Case], float]:
    def compute(case: Case) -> float:
        assert case.truth is not None  # noqa: S101
        return distance(case.truth, case.output.wave, RATE)

    return compute


def _against_score(distance: Callable[..., float]) -> Callable[[Case], float]:
    return lambda case: distance(case.score, case.output.notes)


def _needs(*names: str) -> frozenset[str]:
    return frozenset(names)


MEASURES: Mapping[str, Measure] = {
    "note_f1": Measure(
        "note F1 to input",
        "content",
        "higher",
        "",
        lambda case: notes.note_f1(case.source.notes, case.output.notes),
        _needs("transcriber", "mir_eval"),
    ),
    "note_f1_score": Measure(
        "note F1 to score",
        "content",
        "higher",
        "",
        _against_score(notes.note_f1),
        _needs("transcriber", "mir_eval", "score"),
    ),
    "note_jaccard": Measure(
        "Jaccard distance to input",
        "content",
        "lower",
        "",
        lambda case: notes.note_jaccard_distance(case.source.notes, case.output.notes),
        _needs("transcriber"),
    ),
    "note_jaccard_score": Measure(
        "Jaccard distance to score",
        "content",
        "lower",
        "",
        _against_score(notes.note_jaccard_distance),
        _needs("transcriber", "score"),
    ),
    "pitch_error_cents": Measure(
        "median pitch error", "content", "lower", "cents", lambda case: _pitch(case).median_cents
    ),
    "pitch_fraction_off": Measure(
        "frames off by over 50 cents", "content", "lower", "", lambda case: _pitch(case).fraction_off
    ),
    "onset_f1": Measure("onset F1 within 50 ms", "content", "higher", "", _onset_f1),
    "onsets_within_30_ms": Measure("onsets kept within 30 ms", "content", "higher", "", _onsets_kept),
    "loudness_correlation": Measure(
        "loudness curve correlation",
        "content",
        "higher",
        "",
        lambda case: timing.loudness_correlation(*case.waves, RATE),
    ),
    "target_probability": Measure(
        "judge's probability of target", "timbre", "higher", "", lambda case: _judged(case)[0], _needs("classifier")
    ),
    "target_accuracy": Measure(
        "taken for target by judge", "timbre", "higher", "", lambda case: _judged(case)[1], _needs("classifier")
    ),
    "kad": Measure("KAD", "timbre", "lower", "", None, _needs("classifier")),
    "tagger_probability": Measure(
        "tagger's probability of target", "timbre", "higher", "", lambda case: _tagged(case)[0], _needs("tagger")
    ),
    "tagger_accuracy": Measure(
        "taken for target by tagger", "timbre", "higher", "", lambda case: _tagged(case)[1], _needs("tagger")
    ),
    "kad_tagger": Measure("KAD, tagger", "timbre", "lower", "", None, _needs("tagger")),
    "attack_ms": Measure("attack", "timbre", "closer to truth", "ms", lambda case: case.output.shapes[0]),
    "attack_gap_ms": Measure(
        "attack, distance to target",
        "timbre",
        "lower",
        "ms",
        lambda case: abs(case.output.shapes[0] - case.domain["attack_ms"]),
        _needs("domain"),
    ),
    "decay_db_per_s": Measure("decay", "timbre", "closer to truth", "dB/s", lambda case: case.output.shapes[1]),
    "decay_gap_db_per_s": Measure(
        "decay, distance to target",
        "timbre",
        "lower",
        "dB/s",
        lambda case: abs(case.output.shapes[1] - case.domain["decay_db_per_s"]),
        _needs("domain"),
    ),
    "vibrato_extent_cents": Measure(
        "swing of lasting notes",
        "timbre",
        "closer to truth",
        "cents",
        lambda case: vibrato_extent_cents(case.output.track),
    ),
    "pre_echo_db": Measure(
        "pre-echo",
        "artefacts",
        "closer to truth",
        "dB",
        lambda case: artefacts.pre_echo_level_db(case.output.wave, RATE),
    ),
    "modulation_noise_db": Measure(
        "modulation noise",
        "artefacts",
        "closer to truth",
        "dB",
        lambda case: artefacts.modulation_noise_db(case.output.wave, RATE),
    ),
    "clicks_per_second": Measure(
        "clicks", "artefacts", "lower", "per s", lambda case: artefacts.clicks_per_second(case.output.wave, RATE)
    ),
    "stereo_coherence_error": Measure(
        "stereo coherence error",
        "artefacts",
        "lower",
        "",
        lambda case: stereo.stereo_coherence_error(*case.waves, RATE),
    ),
    "level_difference_error_db": Measure(
        "left-right level error",
        "artefacts",
        "lower",
        "dB",
        lambda case: stereo.level_difference_error_db(*case.waves, RATE),
    ),
    "clipped_fraction": Measure(
        "clipped samples", "artefacts", "lower", "", lambda case: timing.clipped_fraction(case.output.wave)
    ),
    "silent_fraction": Measure(
        "silent frames", "artefacts", "closer to truth", "", lambda case: timing.silent_fraction(case.output.wave, RATE)
    ),
    "inconsistency_db": Measure("inconsistency", "artefacts", "lower", "dB"),
    "band_distance_db": Measure(
        "distance to truth, 256 bands",
        "distance",
        "lower",
        "dB",
        _against_truth(spectral.band_distance),
        _needs("truth"),
    ),
    "log_spectral_distance_db": Measure(
        "distance to truth, 1025 bins",
        "distance",
        "lower",
        "dB",
        _against_truth(spectral.log_spectral_distance),
        _needs("truth"),
    ),
    "multi_resolution_stft": Measure(
        "multi-resolution STFT distance",
        "distance",
        "lower",
        "",
        _against_truth(spectral.multi_resolution_stft_distance),
        _needs("truth"),
    ),
    "real_time_factor": Measure("speed", "speed", "higher", "x real time"),
    "peak_memory_mb": Measure("peak memory", "speed", "lower", "MB"),
}
