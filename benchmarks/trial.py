"""One model, one choice of settings, on phrases and on recordings: the rows of docs/diary.md.

    python -m benchmarks.trial MODEL --phrases PHRASES --clips SOUNDS [--shifts N] [--articulation F] ...

PHRASES is made by `benchmarks.phrases`; SOUNDS holds a folder for each domain, with recordings that the model was
not trained on, such as the validation sounds. To choose by: never by the pairs that final figures are measured on.
Needs `audiotrans[eval]`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

import audiotrans
from audiotrans.audio import Wave
from audiotrans.convert.converter import Converter
from audiotrans.evaluation.classifier import InstrumentClassifier
from audiotrans.evaluation.metrics.pitch import Note, read_notes
from audiotrans.evaluation.scoring import AnalysedSound, Case, measure
from audiotrans.evaluation.testset import RATE
from benchmarks.conditions import cut
from benchmarks.paired import clips as pairs

CHOSEN = {
    "F1 to input": "note_f1",
    "F1 to score": "note_f1_score",
    "onsets": "onsets_within_30_ms",
    "classifier": "target_probability",
    "tagger": "tagger_probability",
    "modulation, dB": "modulation_noise_db",
    "swing, cents": "vibrato_extent_cents",
    "attack, ms": "attack_ms",
    "decay, dB/s": "decay_db_per_s",
    "bands, dB": "band_distance_db",
    "bins, dB": "log_spectral_distance_db",
}
TOOLS = ("pitch", "transcriber", "mir_eval", "classifier", "tagger")
CLIP_SECONDS = 8.0
MOST_CLIPS = 3

Convert = Callable[[Wave, str], Wave]


@dataclass
class Sound:
    """An input, heard once, and its truth where there is one."""

    heard: AnalysedSound
    truth: Wave | None
    score: list[Note] | None = None


def sounds(phrases: Path | None, clips: Path | None, source: str, target: str) -> dict[str, list[Sound]]:
    """Return the inputs of one direction by the set that they are of."""
    classifier, found = InstrumentClassifier.load(), {}
    if phrases is not None:
        found["phrases"] = [
            Sound(AnalysedSound(c.source, classifier), c.truth, read_notes(c.notes) if c.notes else None)
            for c in pairs(phrases, source, target)
        ]
    if clips is not None:
        found["clips"] = [
            Sound(AnalysedSound(c, classifier), None) for c in cut(clips / source, CLIP_SECONDS, MOST_CLIPS)
        ]
    return found


def figures(chosen: list[Sound], target: str, convert: Convert) -> dict[str, float]:
    """Return the mean of every figure over the inputs."""

    def one(sound: Sound) -> list[float]:
        made = AnalysedSound(convert(sound.heard.wave, target), sound.heard.classifier)
        case = Case(sound.heard, made, target, sound.truth, sound.score)
        found = measure(case, TOOLS, CHOSEN.values())
        return [found.get(name, math.nan) for name in CHOSEN.values()]

    rows = np.array([one(sound) for sound in chosen])
    known = [column[np.isfinite(column)] for column in rows.T]
    return {name: float(column.mean()) if len(column) else math.nan for name, column in zip(CHOSEN, known, strict=True)}


def table(
    name: str, phrases: Path | None, clips: Path | None, domains: tuple[str, str], convert: Convert
) -> Iterator[str]:
    """Yield the lines of a Markdown table: each direction, each set."""
    first, second = domains
    yield f"| {name} | {' | '.join(CHOSEN)} |"
    yield f"|{'---|' * (len(CHOSEN) + 1)}"
    for source, target in ((first, second), (second, first)):
        for kind, chosen in sounds(phrases, clips, source, target).items():
            cells = [f"{value:.3g}" if value == value else "" for value in figures(chosen, target, convert).values()]
            yield f"| {source} to {target}, {len(chosen)} {kind} | {' | '.join(cells)} |"


def converting(converter: Converter, **options: float | None) -> Convert:
    """Return a function that converts with these options of `Converter.convert`."""
    return lambda wave, target: converter.convert(wave, RATE, to=target, **options)  # type: ignore[arg-type]


@click.command()
@click.argument("model")
@click.option("--phrases", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--clips", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--articulation", type=float)
@click.option("--shifts", type=int)
@click.option("--vibrato", type=float)
@click.option("--remove-vibrato", type=float)
def main(model: str, phrases: Path | None, clips: Path | None, **options: float | None) -> None:
    """Print one Markdown table."""
    converter = audiotrans.load(model)
    for line in table(Path(model).stem, phrases, clips, converter.domains, converting(converter, **options)):
        click.echo(line)


if __name__ == "__main__":
    main()
