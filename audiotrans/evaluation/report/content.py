"""What a listening page shows, whatever folder it comes from: systems, clips, sounds, scores, and what they mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

Kind = Literal["system", "baseline", "truth", "input"]
"""``system`` is what is evaluated; the others are there to compare it with."""

Better = Literal["higher", "lower", "closer to truth", ""]

MARKER = "report.json"
"""Says that a folder is a listening page, and which neutral file name is whose sound."""


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Score = Annotated[float | None, BeforeValidator(_finite)]
"""A number, or None where there is none: NaN and infinities are read as none."""


@dataclass(frozen=True)
class Metric:
    """A column of the tables; its name in the scores is its key in `Material.metrics`.

    Attributes:
        label: what the reader sees.
        unit: of the numbers, or empty.
        better: which way is good; empty where there is no good way.
        group: heading over the column.
        about: one or two sentences for the reader; empty where nothing is known.
    """

    label: str
    unit: str = ""
    better: Better = ""
    group: str = ""
    about: str = ""


@dataclass(frozen=True)
class Summary:
    """The mean of a metric over clips, and its 95 % interval where there is one."""

    mean: Score = None
    low: Score = None
    high: Score = None
    n: int | None = None


@dataclass(frozen=True)
class System:
    """A row of the tables: a model's output, a baseline, the input or the truth."""

    name: str
    kind: Kind = "system"
    about: str = ""
    summary: Mapping[str, Summary] = field(default_factory=dict)


@dataclass(frozen=True)
class Take:
    """One clip as one system renders it; ``sound`` is None where it was scored but not kept."""

    system: str
    sound: Path | None
    scores: Mapping[str, float | None] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Clip:
    """One piece of sound in all its takes, in the order of the direction's systems."""

    name: str
    takes: tuple[Take, ...]


@dataclass(frozen=True)
class Direction:
    """A table and its clips.

    Attributes:
        heading: such as "violin to piano".
        systems: the rows.
        clips: what can be heard.
        target: domain that the sounds should belong to, for the blind test's question; empty where it is not known.
    """

    heading: str
    systems: tuple[System, ...]
    clips: tuple[Clip, ...]
    target: str = ""

    def system(self, name: str) -> System:
        """Return the system of a take."""
        return next(system for system in self.systems if system.name == name)


@dataclass(frozen=True)
class Figure:
    """An image that exists already (``path`` ends with .png), or the curves of a training log (.jsonl)."""

    caption: str
    path: Path


@dataclass(frozen=True)
class Material:
    """All that one source folder holds.

    Attributes:
        heading: name of the part of the page.
        what: what kind of folder it was, for the reader.
        facts: short names and values, such as the model.
        metrics: the columns by name, in order.
        directions: the tables and clips.
        verdicts: conclusions of the evaluation, in sentences.
        warnings: what the reader must know about the folder itself.
        figures: further images.
    """

    heading: str
    what: str
    facts: tuple[tuple[str, str], ...] = ()
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    directions: tuple[Direction, ...] = ()
    verdicts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()


ABOUT_KINDS: Mapping[Kind, str] = {
    "system": "",
    "baseline": "A simple method to compare systems with.",
    "truth": "The same music, truly played by the target: what a perfect translation would be.",
    "input": "The sound that goes in.",
}

ABOUT_BASELINES: Mapping[str, str] = {
    "copy": "The input unchanged. Perfect content, nothing of the target's timbre: a system must beat it on timbre and "
    "on distance.",
    "copy + EQ": "The input through one fixed filter that gives it the target's mean spectrum. It shows how far colour "
    "alone goes.",
    "random target clip": "Some other recording of the target. Perfect timbre, wrong notes: a system must beat it on "
    "content.",
    "transcribe + synthesise": "The input's notes, found by a transcriber and played by a sound bank. Clean, but "
    "without the player's expression.",
    "score + synthesise": "The written score, every note of it right, played by a sound bank: how far another "
    "instrument in another room is from the truth.",
    "Griffin-Lim of truth": "The truth's magnitudes with phases found by Griffin-Lim. It shows what is lost by phase "
    "alone.",
}

ABOUT_METRICS: Mapping[str, str] = {
    "note_f1": "Notes of the input that are found again with the right pitch and start: 1 is all, and none too many.",
    "note_f1_score": "Notes of the written score that are heard with the right pitch and start, and no others.",
    "note_jaccard": "How little the sounding pitches share with the input's, moment by moment: 0 the same, 1 nothing.",
    "note_jaccard_score": "How little the sounding pitches share with the score's, moment by moment.",
    "pitch_error_cents": "How far the pitch lies from the input's, as a rule; 100 cents are a semitone.",
    "pitch_fraction_off": "Share of the time in which the pitch is more than half a semitone off the input's.",
    "onset_f1": "Starts of notes that agree with the input's within 50 ms: 1 is all, and none too many.",
    "onsets_within_30_ms": "Share of the input's note starts that are kept within 30 ms.",
    "loudness_correlation": "How alike the loudness moves over time: 1 in step with the input, 0 unrelated.",
    "target_probability": "Probability of the target by an independent instrument classifier; it was trained on other "
    "recordings and never on a model's output.",
    "target_accuracy": "Share of clips that the independent instrument classifier classifies as the target.",
    "tagger_probability": "Probability of the target by a public music tagger, which others trained on other music.",
    "tagger_accuracy": "Share of clips in which the public tagger gives the target the highest probability of all "
    "instruments.",
    "kad": "Kernel distance between all the system's sounds and real ones of the target, in the named embedding: "
    "around 0 they cannot be told apart.",
    "kad_tagger": "The same kernel distance in the public tagger's embedding.",
    "attack_ms": "How long notes take to rise.",
    "attack_gap_ms": "How far the rise of notes lies from that of real clips of the target.",
    "decay_db_per_s": "How fast held notes die away.",
    "decay_gap_db_per_s": "How far the decay of notes lies from that of real clips of the target.",
    "vibrato_extent_cents": "How far the pitch of lasting notes moves up and down: vibrato.",
    "pre_echo_db": "Sound smeared ahead of attacks, a fault of spectral processing.",
    "modulation_noise_db": "Roughness of held notes.",
    "clicks_per_second": "Sudden jumps of the waveform, heard as clicks.",
    "stereo_coherence_error": "How far the likeness of left and right has moved from the input's: 0 keeps the image.",
    "level_difference_error_db": "How far the balance of left and right has moved from the input's.",
    "clipped_fraction": "Share of samples at or beyond full scale.",
    "silent_fraction": "Share of the time that is silent.",
    "inconsistency_db": "How far the spectrum that was asked for is from one that a sound can have; it is heard as a "
    "phasey ring.",
    "band_distance_db": "Mean difference of level in bands of hearing; 0 is the same.",
    "log_spectral_distance_db": "Mean difference of the spectra, bin by bin; 0 is the same.",
    "multi_resolution_stft": "Difference of the spectra in long and short windows; 0 is the same.",
    "snr_db": "Level of the true sound over that of the difference, sample by sample.",
    "real_time_factor": "Seconds of sound per second of computing: above 1 is faster than real time.",
    "peak_memory_mb": "The most memory that was in use.",
}

ABOUT_SAMPLES: Mapping[str, str] = {
    "input": ABOUT_KINDS["input"],
    "reconstruction": "Encoded and decoded within its own domain: what the network loses.",
    "translation": "Encoded, and decoded in the other domain.",
    "cycle": "Translated and translated back; a good model returns to the input.",
}
"""What a training run writes of a held-out sound."""


def about_system(name: str, kind: Kind) -> str:
    """Explain a row.

    Args:
        name: of the system.
        kind: what it is there for.

    Returns:
        A sentence or two, or nothing for a system: its name must say it.
    """
    return ABOUT_BASELINES.get(name, ABOUT_KINDS[kind]) if kind == "baseline" else ABOUT_KINDS[kind]


def about_chain(domains: Sequence[str]) -> str:
    """Explain a chain of translations.

    Args:
        domains: that it goes through, the input's own first.
    """
    if len(domains) < 2:
        return ABOUT_KINDS["input"]
    if len(domains) == 2:
        alone = domains[0] == domains[1]
        return ABOUT_SAMPLES["reconstruction"] if alone else f"Translated from {domains[0]} to {domains[1]}."
    back = " A good model returns to the input." if domains[0] == domains[-1] else ""
    return f"Translated from {domains[0]} to {', then to '.join(domains[1:])}.{back}"
