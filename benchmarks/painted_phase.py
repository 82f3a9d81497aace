"""What a phase costs that a network painted, if all magnitudes were right: is phase why the paper's sounds are poor?

    python -m benchmarks.painted_phase

The paper's picture of the two shipped sounds is taken, its phase rows are spoilt in ways that networks spoil pictures,
and it is turned back. Beside it: how alike neighbours are in a picture, since that is what convolutions learn from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from audiotrans import audio
from audiotrans.evaluation.metrics.spectral import log_spectral_distance, multi_resolution_stft_distance, snr_db
from audiotrans.spectrogram.imaging import AudioImaging, AudioSettings
from benchmarks.table import Row, markdown

DATA = Path(__file__).resolve().parents[1] / "data"
RATE = 44_100


def noisy(share: float) -> Callable[[Tensor], Tensor]:
    """Paint with an error of so many half turns (standard deviation)."""

    def spoil(phase: Tensor) -> Tensor:
        noise = torch.randn(phase.shape, generator=torch.Generator().manual_seed(0))
        return torch.remainder(phase + share * noise + 1, 2) - 1

    return spoil


def smooth(phase: Tensor) -> Tensor:
    """Paint each pixel as the mean of its 3 x 3 neighbours: the mildest blur of an auto-encoder."""
    return F.avg_pool2d(F.pad(phase, (1, 1, 1, 1), mode="replicate"), 3, 1)


WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "right": lambda phase: phase,
    "wrong by 9 degrees rms": noisy(0.05),
    "wrong by 36 degrees rms": noisy(0.2),
    "wrong by 90 degrees rms": noisy(0.5),
    "mean of 3 x 3 pixels": smooth,
    "0 everywhere (least L1 without knowledge)": torch.zeros_like,
}

ESTIMATED = ("pghi", "pghi_refined")


def neighbours(picture: Tensor, axis: int) -> float:
    """Return the correlation of a picture ``(rows, frames)`` with itself, one pixel along an axis."""
    one, other = picture.narrow(axis, 0, picture.shape[axis] - 1), picture.narrow(axis, 1, picture.shape[axis] - 1)
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


def rows() -> Iterator[Row]:
    imaging = AudioImaging(AudioSettings(representation="magnitude_phase"))
    for name in ("violin", "piano"):
        wave = audio.read(DATA / f"{name}.wav", sample_rate=RATE)[0]
        image, context = imaging.to_image(torch.from_numpy(np.ascontiguousarray(wave)))
        for what, channel in (("magnitude", 0), ("phase", 1)):
            picture = image[0, channel]
            for way, axis in (("in time", 1), ("in frequency", 0)):
                yield Row(f"{name}, pictures", f"{what}: correlation of neighbours {way}", neighbours(picture, axis))
        for way, spoil in WAYS.items():
            spoilt = image.clone()
            spoilt[:, 1::2] = spoil(image[:, 1::2])
            yield from distances(name, f"painted, {way}", wave, imaging.from_image(spoilt, context, phase="network"))
        for method in ESTIMATED:
            yield from distances(name, f"not painted, {method}", wave, imaging.from_image(image, context, phase=method))


def distances(name: str, phase: str, wave: np.ndarray, back: Tensor) -> Iterator[Row]:
    estimate = back.numpy()
    yield Row(f"{name}, sounds", f"{phase}: mr distance", multi_resolution_stft_distance(wave, estimate, RATE))
    yield Row(f"{name}, sounds", f"{phase}: LSD", log_spectral_distance(wave, estimate, RATE), "dB")
    yield Row(f"{name}, sounds", f"{phase}: SNR", snr_db(wave, estimate), "dB")


@click.command()
def main() -> None:
    """Print one Markdown table."""
    torch.set_num_threads(1)
    click.echo(markdown(rows()))


if __name__ == "__main__":
    main()
