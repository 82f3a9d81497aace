"""How near to the truth comes another instrument that plays every note of the score?

    python -m benchmarks.reach PAIRS BANK.sf2 ...

PAIRS holds `violin/`, `piano/` and `notes/*.csv`. Every row is a mean over the pairs: distance to the true target over
256 bands and over 1,025 bins in dB, and how much nearer that is than the input. "Own spectrum" are equalised to the
spectrum of the very truth, which no system can know.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np

from audiotrans.evaluation.baselines import at_level_of, equalise, mean_spectrum
from audiotrans.evaluation.metrics.pitch import read_notes
from audiotrans.evaluation.metrics.spectral import band_distance, log_spectral_distance
from audiotrans.evaluation.soundfont import program_of, synthesise
from audiotrans.evaluation.testset import RATE
from benchmarks.paired import Clip, clips


def performances(clip: Clip, target: str, banks: tuple[Path, ...]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield a name and a wave for the input and for every bank, as they are and with the truth's own spectrum."""
    found = {"the input": clip.source}
    for bank in banks:
        played = synthesise(read_notes(clip.notes), program_of(target), bank, clip.source.shape[1])
        found[f"the score, {bank.stem}"] = at_level_of(clip.source, played[: len(clip.truth)])
    for name, wave in found.items():
        yield name, wave
        yield f"{name}, own spectrum", equalise(wave, mean_spectrum([clip.truth]))


@click.command()
@click.argument("pairs", type=click.Path(exists=True, path_type=Path))
@click.argument("banks", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--limit", type=int, help="So many pairs only.")
def main(pairs: Path, banks: tuple[Path, ...], limit: int | None) -> None:
    """Print one Markdown table."""
    click.echo(
        "| direction | performance | 256 bands, dB | 1,025 bins, dB | nearer than the input |\n|---|---|---|---|---|"
    )
    for source, target in (("violin", "piano"), ("piano", "violin")):
        distances: dict[str, list[tuple[float, float]]] = {}
        for clip in clips(pairs, source, target, limit):
            for name, wave in performances(clip, target, banks):
                found = band_distance(clip.truth, wave, RATE), log_spectral_distance(clip.truth, wave, RATE)
                distances.setdefault(name, []).append(found)
        means = {name: np.mean(found, axis=0) for name, found in distances.items()}
        for name, (bands, bins) in means.items():
            nearer = 100 * (1 - np.array([bands, bins]) / means["the input"])
            share = f"{nearer[0]:.0f} / {nearer[1]:.0f} %"
            click.echo(f"| {source} to {target} | {name} | {bands:.2f} | {bins:.2f} | {share} |")


if __name__ == "__main__":
    main()
