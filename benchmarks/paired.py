"""Translation against the true sound of the target playing the same notes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audiotrans import audio
from audiotrans.errors import AudiotransError
from audiotrans.evaluation import metrics
from audiotrans.evaluation.baselines import equalise, folder_spectrum
from audiotrans.evaluation.metrics.pitch import OFF_CENTS
from audiotrans.evaluation.testset import RATE
from benchmarks import rulers
from benchmarks.table import Row, bootstrap


@dataclass(frozen=True)
class Clip:
    name: str
    source: np.ndarray
    truth: np.ndarray
    notes: Path | None


def clips(folder: Path, source: str, target: str, limit: int | None = None) -> Iterator[Clip]:
    """Find files of the same stem in the folders of both domains; waves (channels, samples) at 44.1 kHz."""
    files = audio.find_audio([folder / source])
    for path in files[:limit]:
        twins = [twin for twin in audio.find_audio([folder / target]) if twin.stem == path.stem]
        if not twins:
            raise AudiotransError(f"{path} has no counterpart in {folder / target}")
        first, second = audio.read(path, sample_rate=RATE)[0], audio.read(twins[0], sample_rate=RATE)[0]
        length = min(first.shape[1], second.shape[1])
        notes = folder / "notes" / f"{path.stem}.csv"
        yield Clip(path.stem, first[:, :length], second[:, :length], notes if notes.is_file() else None)


@dataclass(frozen=True)
class Scores:
    """Figures of one direction, each of shape (clips,) but for `notes`.

    `bins` and `bands` hold, by method (model, copy, EQ), the distance to the truth in dB; `cents` and `off` compare the
    pitch of the output with the input's; `notes` holds the absolute error in cents of every note heard in the inputs.
    """

    bins: dict[str, np.ndarray]
    bands: dict[str, np.ndarray]
    cents: np.ndarray
    off: np.ndarray
    notes: np.ndarray


def score(
    converter, folder: Path, source: str, target: str, *, spectrum: np.ndarray | None, limit: int | None
) -> Scores:
    """Translate every clip and measure it."""
    bins: dict[str, list[float]] = {}
    bands: dict[str, list[float]] = {}
    pitch, notes = [], []
    for clip in clips(folder, source, target, limit):
        output = converter.convert(clip.source, RATE, to=target)
        methods = {"model": output, "copy": clip.source}
        if spectrum is not None:
            methods["copy + EQ"] = equalise(clip.source, spectrum)
        for method, wave in methods.items():
            bins.setdefault(method, []).append(metrics.spectral.log_spectral_distance(clip.truth, wave, RATE))
            bands.setdefault(method, []).append(metrics.spectral.band_distance(clip.truth, wave, RATE))
        pitch.append(metrics.pitch.pitch_error(clip.source, output, RATE))
        if clip.notes is not None:
            notes.append(np.abs(rulers.note_pitch_errors(clip.source, output, RATE, clip.notes)))
    errors = np.concatenate(notes) if notes else np.zeros(0)
    return Scores(
        {method: np.array(values) for method, values in bins.items()},
        {method: np.array(values) for method, values in bands.items()},
        np.array([error.median_cents for error in pitch]),
        np.array([error.fraction_off for error in pitch]),
        errors[~np.isnan(errors)],
    )


def nearer(distances: dict[str, np.ndarray], method: str, than: str = "copy") -> tuple[float, float, float]:
    """Return by how many percent a method is nearer to the truth than another, with its 95 % interval."""

    def percent(chosen: np.ndarray) -> float:
        return 100.0 * (1.0 - float(distances[method][chosen].mean() / distances[than][chosen].mean()))

    count = len(distances[method])
    return percent(np.arange(count)), *bootstrap(percent, count)


def rows(converter, folder: Path, training: Path | None, limit: int | None) -> Iterator[Row]:
    first, second = converter.domains
    for source, target in ((first, second), (second, first)):
        spectrum = None if training is None else folder_spectrum(training / target, limit)
        scores = score(converter, folder, source, target, spectrum=spectrum, limit=limit)
        yield from distance_rows(f"{source} to {target}, bins", scores.bins, bar=15)
        yield from distance_rows(f"{source} to {target}, bands", scores.bands, bar=None)
        yield from pitch_rows(f"{source} to {target}", scores)


def distance_rows(label: str, distances: dict[str, np.ndarray], bar: float | None) -> Iterator[Row]:
    for method, values in distances.items():
        yield Row("paired", f"{label}: log-spectral distance of {method}", float(values.mean()), "dB")
    pairs = [("model", "copy"), ("copy + EQ", "copy"), ("model", "copy + EQ")]
    for method, than in pairs if "copy + EQ" in distances else pairs[:1]:
        value, low, high = nearer(distances, method, than)
        wanted = bar if (method, than) == ("model", "copy") else None
        yield Row("paired", f"{label}: {method} nearer than {than} by", value, "%", wanted, low=low, high=high)


def pitch_rows(label: str, scores: Scores) -> Iterator[Row]:
    median = float(np.nanmedian(scores.cents))
    yield Row("paired", f"{label}: median pitch error over clips", median, "cents", at_most=20)
    yield Row("paired", f"{label}: frames off by over 50 cents", 100 * float(np.nanmean(scores.off)), "%")
    if len(scores.notes):
        yield Row("paired", f"{label}: median error of a note", float(np.median(scores.notes)), "cents", at_most=20)
        off = 100 * float(np.mean(scores.notes > OFF_CENTS))
        yield Row("paired", f"{label}: notes off by over 50 cents or lost", off, f"% of {len(scores.notes)}")
