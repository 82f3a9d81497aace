"""Put several weights files side by side, to choose between them.

    python -m benchmarks.compare_models run_a.safetensors run_b.safetensors --data VALID --train TRAIN

Choose on the `valid` set, which has no pairs: the sound of a domain is described by mean and spread of each band
over time, and a translation should come nearer to its target's than the input was, while the notes stay. The `paired`
set gives the final figures of a model that has been chosen already; choosing on it would spoil them.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import torch

import audiotrans
from audiotrans import audio
from audiotrans.evaluation import metrics
from benchmarks import paired, rulers

RATE = 44_100
CLIP_SECONDS = 15.0


def read_clips(folder: Path, limit: int | None = None) -> list[np.ndarray]:
    return [audio.read(path, sample_rate=RATE, seconds=CLIP_SECONDS)[0] for path in audio.find_audio([folder])[:limit]]


def valid_figures(
    converter, folder: Path, reference: Path, source: str, target: str, limit: int | None
) -> dict[str, float]:
    """Distance of the band distributions to the target domain's, and what became of pitch and onsets."""
    waves = read_clips(folder / source, limit)
    outputs = [converter.convert(wave, RATE, to=target) for wave in waves]
    goal = rulers.band_statistics(read_clips(reference / target), RATE)
    before, after = (
        rulers.distribution_distance(rulers.band_statistics(body, RATE), goal) for body in (waves, outputs)
    )
    pitch = [metrics.pitch.pitch_error(wave, output, RATE) for wave, output in zip(waves, outputs, strict=True)]
    onsets = [metrics.timing.onset_f1(wave, output, RATE) for wave, output in zip(waves, outputs, strict=True)]
    return {
        "input to target (dB)": before,
        "output to target (dB)": after,
        "nearer by (%)": 100 * (1 - after / before),
        "median pitch error (cents)": float(np.nanmedian([error.median_cents for error in pitch])),
        "frames off (%)": 100 * float(np.nanmean([error.fraction_off for error in pitch])),
        "onset F1 with input": float(np.mean(onsets)),
    }


def paired_figures(converter, folder: Path, source: str, target: str, limit: int | None) -> dict[str, float]:
    scores = paired.score(converter, folder, source, target, spectrum=None, limit=limit)
    bins, low, high = paired.nearer(scores.bins, "model")
    return {
        "copy (dB)": float(scores.bins["copy"].mean()),
        "model (dB)": float(scores.bins["model"].mean()),
        "nearer by (%)": bins,
        "from": low,
        "to": high,
        "bands nearer by (%)": paired.nearer(scores.bands, "model")[0],
        "median pitch error (cents)": float(np.nanmedian(scores.cents)),
        "frames off (%)": 100 * float(np.nanmean(scores.off)),
    }


def table(records: list[tuple[str, str, dict[str, float]]]) -> str:
    names = list(records[0][2])
    lines = [f"| weights | direction | {' | '.join(names)} |", "|" + "---|" * (len(names) + 2)]
    for model, direction, figures in records:
        lines.append(f"| {model} | {direction} | {' | '.join(f'{figures[name]:.2f}' for name in names)} |")
    return "\n".join(lines)


@click.command()
@click.argument("weights", nargs=-1, required=True)
@click.option("--data", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--set", "kind", type=click.Choice(["valid", "paired"]), default="valid", show_default=True)
@click.option("--train", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Describes the targets.")
@click.option("--threads", default=1, show_default=True)
@click.option("--quick", is_flag=True, help="Three clips of each domain.")
def main(weights: tuple[str, ...], data: Path, kind: str, train: Path | None, threads: int, quick: bool) -> None:
    """Compare weights files, both directions each, in one table."""
    torch.set_num_threads(threads)
    limit = 3 if quick else None
    records = []
    for name in weights:
        converter = audiotrans.load(name, device="cpu")
        first, second = converter.domains
        for source, target in ((first, second), (second, first)):
            if kind == "valid":
                figures = valid_figures(converter, data, train or data, source, target, limit)
            else:
                figures = paired_figures(converter, data, source, target, limit)
            records.append((Path(name).stem, f"{source} to {target}", figures))
    click.echo(table(records))


if __name__ == "__main__":
    main()
