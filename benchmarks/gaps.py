"""Where a translation differs from the true sound of the target: bias and spread by frequency band, in dB.

    python -m benchmarks.gaps MODEL FOLDER

FOLDER holds `violin/` and `piano/` with files of the same stems: the same notes played by both. Use phrases of your own
rendering to steer training by; the paired test set is for the final figure only.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import click
import numpy as np
import torch

import audiotrans
from benchmarks.paired import clips

EDGES = (0, 60, 200, 400, 800, 1600, 3200, 6400, 12_000, 16_000)


def differences(converter, folder: Path, source: str, target: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (input - truth, translation - truth) of every pair, dB, of shape (rows, frames)."""
    imaging, side = converter.imaging, dict(zip(converter.domains, "ab", strict=True))
    for clip in clips(folder, source, target):
        image, _ = imaging.to_image(torch.from_numpy(np.ascontiguousarray(clip.source)))
        truth, _ = imaging.to_image(torch.from_numpy(np.ascontiguousarray(clip.truth)))
        noise = converter.model.noise(image, torch.Generator().manual_seed(0))
        with torch.inference_mode():
            made = converter.model.translate(image, side[source], side[target], noise)
        decibels = [imaging.display_db(x)[0].numpy() for x in (image, made, truth)]
        yield decibels[0] - decibels[2], decibels[1] - decibels[2]


@click.command()
@click.argument("model")
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
def main(model: str, folder: Path) -> None:
    """Print one Markdown table."""
    converter = audiotrans.load(model)
    hertz = converter.imaging.row_frequencies()
    bands = [(hertz >= low) & (hertz < high) for low, high in pairwise(EDGES)]
    names = [f"{low}-{high}" for low, high in pairwise(EDGES)]
    click.echo(f"| bias / rms, dB, by Hz | {' | '.join(names)} | all |\n|{'---|' * (len(names) + 2)}")
    first, second = converter.domains
    for source, target in ((first, second), (second, first)):
        pairs = list(differences(converter, folder, source, target))
        for name, found in (("copy", [p[0] for p in pairs]), ("model", [p[1] for p in pairs])):
            whole = np.concatenate(found, axis=1)
            cells = [f"{whole[b].mean():.1f} / {np.sqrt((whole[b] ** 2).mean()):.1f}" for b in [*bands, slice(None)]]
            click.echo(f"| {source} to {target}, {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
