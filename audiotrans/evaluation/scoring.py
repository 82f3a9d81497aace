"""The metrics of one output: what is measured on a sound that a system made of an input.

`METRICS` is the one table of metrics: `audiotrans evaluate`, `audiotrans cycle` and the listening pages take names,
labels, units and functions from it. To add a metric, write a function of a `Case` (or of waves, in
`audiotrans.evaluation.metrics`) and give it a line there. What it needs beyond the two sounds is named in `needs`;
where that is missing, the metric is left out.
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
from audiotrans.evaluation.testset import RATE

if TYPE_CHECKING:
    from audiotrans.evaluation.classifier import InstrumentClassifier

Array = npt.NDArray[np.floating[Any]]

GROUPS = ("content", "timbre", "artefacts", "distance", "speed")
NEAR_ONSET_SECONDS = 0.03

KERNEL_OF = {"classifier": "kad", "tagger": "kad_tagger"}
"""The kernel distance that is computed from the embedding of each network."""

KERNEL_DISTANCES = frozenset(KERNEL_OF.values())


class AnalysedSound:
    """A wave with its pitch track, onsets, notes and embeddings, each computed once, when it is first asked for.

    Args:
        wave: shape (channels, samples).
        classifier: of its instrument, or None.
        sample_rate: Hz.
    """

    def __init__(self, wave: Wave, classifier: InstrumentClassifier | None = None, sample_rate: int = RATE) -> None:
        self.wave = wave
        self.classifier = classifier
        self.sample_rate = sample_rate

    @cached_property
    def track(self) -> PitchTrack:
        """Pitch over time."""
        return pitch_track(self.wave, self.sample_rate)

    @cached_property
    def onsets(self) -> Array:
        """Onsets in seconds."""
        return timing.onset_times(self.wave, self.sample_rate)

    @cached_property
    def notes(self) -> list[Note]:
        """Transcription."""
        from audiotrans.evaluation.transcription import transcribe

        return transcribe(self.wave, self.sample_rate)

    @cached_property
    def shapes(self) -> tuple[float, float]:
        """Attack in ms and decay in dB/s, medians over its notes."""
        from audiotrans.evaluation.transcription import transcription_available

        shapes = envelope.note_shapes(self.wave, self.sample_rate, self.notes if transcription_available() else None)
        return 1000.0 * _median(shapes.attack_seconds), _median(shapes.decay_db_per_second)

    @cached_property
    def probabilities(self) -> Array:
        """The classifier's probabilities of each window, shape (windows, classes)."""
        assert self.classifier is not None  # noqa: S101  # asked for only by metrics that need a classifier
        return self.classifier.probabilities(self.wave, self.sample_rate)

    @cached_property
    def embedding(self) -> Array:
        """The classifier's embedding of each window, shape (windows, dims)."""
        assert self.classifier is not None  # noqa: S101
        return self.classifier.embed(self.wave, self.sample_rate)

    @cached_property
    def tagged(self) -> tuple[Array, Array]:
        """The tagger's probabilities of each window, shape (windows, tags), and its embedding, (windows, dims)."""
        from audiotrans.evaluation.tagger import tags_and_embedding

        return tags_and_embedding(self.wave, self.sample_rate)

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

    source: AnalysedSound
    output: AnalysedSound
    target: str
    truth: Wave | None = None
    score: list[Note] | None = None
    domain: Mapping[str, float] = field(default_factory=dict)

    @property
    def known(self) -> frozenset[str]:
        """What there is beyond the two sounds: some of truth, score and domain."""
        found = {"truth": self.truth is not None, "score": self.score is not None, "domain": bool(self.domain)}
        return frozenset(name for name, there in found.items() if there)


@dataclass(frozen=True)
class Metric:
    """One figure of a table; its name is its key in `METRICS`.

    Attributes:
        label: title of its column.
        unit: of the figure; empty for shares and correlations.
        better: ``higher``, ``lower``, ``closer to truth`` or empty.
        group: one of `GROUPS`.
        function: takes a `Case`; None for what is measured elsewhere (speed, and what belongs to a system as a whole).
        needs: what the function cannot do without: some of pitch, transcriber, mir_eval, classifier, tagger, truth,
            score and domain.
        about: one or two sentences for the readers of listening pages.
    """

    label: str
    unit: str = ""
    better: str = ""
    group: str = ""
    function: Callable[[Case], float] | None = None
    needs: tuple[str, ...] = ()
    about: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return what the JSON files say of it."""
        return {"label": self.label, "unit": self.unit, "better": self.better, "group": self.group}


def measure(case: Case, tools: Iterable[str], names: Iterable[str] | None = None) -> dict[str, float]:
    """Compute the metrics of one output.

    Args:
        case: the output and what is known.
        tools: of pitch, transcriber, mir_eval, classifier and tagger, what may be used.
        names: keys of `METRICS`; None takes all.

    Returns:
        Name and figure; nan where there is nothing to measure, such as the pitch of a sound that has none.
    """
    there = case.known | set(tools)
    figures = {}
    for name in METRICS if names is None else names:
        metric = METRICS[name]
        if metric.function is not None and there.issuperset(metric.needs):
            try:
                figures[name] = float(metric.function(case))
            except AudiotransError:  # silence, for instance, has no distance in dB
                figures[name] = math.nan
    return figures


def _median(values: Array) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else math.nan


def _pitch(case: Case) -> PitchError:
    return compare_tracks(case.source.track, case.output.track)


def _onsets_kept(case: Case) -> float:
    first, second = case.source.onsets, case.output.onsets
    return timing.match_onsets(first, second, NEAR_ONSET_SECONDS) / len(first) if len(first) else math.nan


def _classified(case: Case) -> tuple[float, float]:
    """Return the mean probability of the target, and whether it is the likeliest class; 0 for a sound turned silent."""
    assert case.output.classifier is not None  # noqa: S101
    if not len(case.output.probabilities):
        nothing = 0.0 if len(case.source.probabilities) else math.nan
        return nothing, nothing
    mean = case.output.probabilities.mean(axis=0)
    place = case.output.classifier.classes.index(case.target)
    return float(mean[place]), float(np.argmax(mean) == place)


def _tagged(case: Case) -> tuple[float, float]:
    """Return the mean probability of the target's tag, and whether it is the likeliest instrument, as `_classified`."""
    from audiotrans.evaluation.tagger import TAGS, likeliest_instrument

    tags = case.output.tagged[0]
    if not len(tags):
        nothing = 0.0 if len(case.source.tagged[0]) else math.nan
        return nothing, nothing
    return float(tags[:, TAGS.index(case.target)].mean()), float(likeliest_instrument(tags) == case.target)


def _of_output(function: Callable[[Wave, int], float]) -> Callable[[Case], float]:
    return lambda case: function(case.output.wave, case.output.sample_rate)


def _to_input(function: Callable[[Wave, Wave, int], float]) -> Callable[[Case], float]:
    return lambda case: function(case.source.wave, case.output.wave, case.output.sample_rate)


def _to_truth(function: Callable[[Wave, Wave, int], float]) -> Callable[[Case], float]:
    def compute(case: Case) -> float:
        assert case.truth is not None  # noqa: S101
        return function(case.truth, case.output.wave, case.output.sample_rate)

    return compute


def _notes_to_input(function: Callable[..., float]) -> Callable[[Case], float]:
    return lambda case: function(case.source.notes, case.output.notes)


def _notes_to_score(function: Callable[..., float]) -> Callable[[Case], float]:
    return lambda case: function(case.score, case.output.notes)


def _from_domain(place: int, name: str) -> Callable[[Case], float]:
    return lambda case: abs(case.output.shapes[place] - case.domain[name])


_F1 = ("transcriber", "mir_eval")

METRICS: Mapping[str, Metric] = {
    "note_f1": Metric(
        "note F1 to input", "", "higher", "content", _notes_to_input(notes.note_f1), _F1,
        about="Notes of the input that are found again with the right pitch and start: 1 is all, and none too many.",
    ),
    "note_f1_score": Metric(
        "note F1 to score", "", "higher", "content", _notes_to_score(notes.note_f1), (*_F1, "score"),
        about="Notes of the written score that are heard with the right pitch and start, and no others.",
    ),
    "note_jaccard": Metric(
        "Jaccard distance to input", "", "lower", "content",
        _notes_to_input(notes.note_jaccard_distance), ("transcriber",),
        about="How little the sounding pitches share with the input's, moment by moment: 0 the same, 1 nothing.",
    ),
    "note_jaccard_score": Metric(
        "Jaccard distance to score", "", "lower", "content",
        _notes_to_score(notes.note_jaccard_distance), ("transcriber", "score"),
        about="How little the sounding pitches share with the score's, moment by moment.",
    ),
    "pitch_error_cents": Metric(
        "median pitch error", "cents", "lower", "content", lambda case: _pitch(case).median_cents, ("pitch",),
        about="How far the pitch lies from the input's, as a rule; 100 cents are a semitone.",
    ),
    "pitch_fraction_off": Metric(
        "frames off by over 50 cents", "", "lower", "content", lambda case: _pitch(case).fraction_off, ("pitch",),
        about="Share of the time in which the pitch is more than half a semitone off the input's.",
    ),
    "onset_f1": Metric(
        "onset F1 within 50 ms", "", "higher", "content",
        lambda case: timing.f1_of_onsets(case.source.onsets, case.output.onsets),
        about="Starts of notes that agree with the input's within 50 ms: 1 is all, and none too many.",
    ),
    "onsets_within_30_ms": Metric(
        "onsets kept within 30 ms", "", "higher", "content", _onsets_kept,
        about="Share of the input's note starts that are kept within 30 ms.",
    ),
    "loudness_correlation": Metric(
        "loudness curve correlation", "", "higher", "content", _to_input(timing.loudness_correlation),
        about="How alike the loudness moves over time: 1 in step with the input, 0 unrelated.",
    ),
    "target_probability": Metric(
        "classifier's probability of target", "", "higher", "timbre",
        lambda case: _classified(case)[0], ("classifier",),
        about="Probability of the target by an independent instrument classifier; it was trained on other "
        "recordings and never on a model's output.",
    ),
    "target_accuracy": Metric(
        "classified as target", "", "higher", "timbre", lambda case: _classified(case)[1], ("classifier",),
        about="Share of clips that the independent instrument classifier classifies as the target.",
    ),
    "kad": Metric(
        "KAD", "", "lower", "timbre", None, ("classifier",),
        about="Kernel distance between all the system's sounds and real ones of the target, in the named embedding:"
        " around 0 they cannot be told apart.",
    ),
    "tagger_probability": Metric(
        "tagger's probability of target", "", "higher", "timbre", lambda case: _tagged(case)[0], ("tagger",),
        about="Probability of the target by a public music tagger, which others trained on other music.",
    ),
    "tagger_accuracy": Metric(
        "classified as target by tagger", "", "higher", "timbre", lambda case: _tagged(case)[1], ("tagger",),
        about="Share of clips in which the public tagger gives the target the highest probability of all instruments.",
    ),
    "kad_tagger": Metric(
        "KAD, tagger", "", "lower", "timbre", None, ("tagger",),
        about="The same kernel distance in the public tagger's embedding.",
    ),
    "attack_ms": Metric(
        "attack", "ms", "closer to truth", "timbre", lambda case: case.output.shapes[0],
        about="How long notes take to rise.",
    ),
    "attack_gap_ms": Metric(
        "attack, distance to target", "ms", "lower", "timbre", _from_domain(0, "attack_ms"), ("domain",),
        about="How far the rise of notes lies from that of real clips of the target.",
    ),
    "decay_db_per_s": Metric(
        "decay", "dB/s", "closer to truth", "timbre", lambda case: case.output.shapes[1],
        about="How fast held notes die away.",
    ),
    "decay_gap_db_per_s": Metric(
        "decay, distance to target", "dB/s", "lower", "timbre", _from_domain(1, "decay_db_per_s"), ("domain",),
        about="How far the decay of notes lies from that of real clips of the target.",
    ),
    "vibrato_extent_cents": Metric(
        "vibrato extent", "cents", "closer to truth", "timbre",
        lambda case: vibrato_extent_cents(case.output.track), ("pitch",),
        about="How far the pitch of lasting notes moves up and down: vibrato.",
    ),
    "pre_echo_db": Metric(
        "pre-echo", "dB", "closer to truth", "artefacts", _of_output(artefacts.pre_echo_level_db),
        about="Sound smeared ahead of attacks, a fault of spectral processing.",
    ),
    "modulation_noise_db": Metric(
        "modulation noise", "dB", "closer to truth", "artefacts", _of_output(artefacts.modulation_noise_db),
        about="Roughness of held notes.",
    ),
    "clicks_per_second": Metric(
        "clicks", "per s", "lower", "artefacts", _of_output(artefacts.clicks_per_second),
        about="Sudden jumps of the waveform, heard as clicks.",
    ),
    "stereo_coherence_error": Metric(
        "stereo coherence error", "", "lower", "artefacts", _to_input(stereo.stereo_coherence_error),
        about="How far the likeness of left and right has moved from the input's: 0 keeps the image.",
    ),
    "level_difference_error_db": Metric(
        "left-right level error", "dB", "lower", "artefacts", _to_input(stereo.level_difference_error_db),
        about="How far the balance of left and right has moved from the input's.",
    ),
    "clipped_fraction": Metric(
        "clipped samples", "", "lower", "artefacts", lambda case: timing.clipped_fraction(case.output.wave),
        about="Share of samples at or beyond full scale.",
    ),
    "silent_fraction": Metric(
        "silent frames", "", "closer to truth", "artefacts", _of_output(timing.silent_fraction),
        about="Share of the time that is silent.",
    ),
    "inconsistency_db": Metric(
        "inconsistency", "dB", "lower", "artefacts",
        about="How far the spectrum that was asked for is from one that a sound can have; it is heard as a phasey "
        "ring.",
    ),
    "band_distance_db": Metric(
        "log-spectral distance, 256 bands", "dB", "lower", "distance", _to_truth(spectral.band_distance), ("truth",),
        about="Mean difference of level in bands of hearing; 0 is the same.",
    ),
    "log_spectral_distance_db": Metric(
        "log-spectral distance, 1025 bins", "dB", "lower", "distance",
        _to_truth(spectral.log_spectral_distance), ("truth",),
        about="Mean difference of the spectra, bin by bin; 0 is the same.",
    ),
    "multi_resolution_stft": Metric(
        "multi-resolution STFT distance", "", "lower", "distance",
        _to_truth(spectral.multi_resolution_stft_distance), ("truth",),
        about="Difference of the spectra in long and short windows; 0 is the same.",
    ),
    "real_time_factor": Metric(
        "speed", "x real time", "higher", "speed",
        about="Seconds of sound per second of computing: above 1 is faster than real time.",
    ),
    "peak_memory_mb": Metric(
        "peak memory", "MB", "lower", "speed",
        about="The most memory that was in use.",
    ),
}  # fmt: skip
"""Every metric, in the order of the tables' columns."""
