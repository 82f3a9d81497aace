"""Golden data of the sound path. Rank of each: 1 closed form, 2 another implementation, 4 our own past output."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 44_100
FRAMES = (0, 1, 20, 43, 44)
"""Kept of the chirp's 45 frames: both ends, and one that feels neither."""


def chirp() -> NDArray[np.float32]:
    """Make half a second of mono, float32 (22050,): a sweep from 110 Hz to 8 kHz at half of full scale."""
    seconds = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    rise = (8_000 - 110) / 0.5  # Hz per second
    return (0.5 * np.sin(2 * np.pi * (110 * seconds + 0.5 * rise * seconds**2))).astype(np.float32)


def stft_chirp() -> dict[str, object]:
    """Transform the chirp with librosa in float64, zeros around it and up to a whole hop."""
    import librosa

    wave = chirp().astype(np.float64)
    whole = np.pad(wave, (0, -len(wave) % 512))
    spectrum = librosa.stft(whole, n_fft=2048, hop_length=512, center=True, pad_mode="constant")
    return {
        "rank": 2,
        "source": f"librosa {librosa.__version__}, librosa.stft, 2048/512, pad_mode='constant'",
        "spectrum": spectrum[:, FRAMES].astype(np.complex64),
    }


def warped_bank() -> dict[str, object]:
    """Give band centres and weights in closed form, written anew with Newton's method instead of bisection.

    With break b and R rows of B bins, centre i is i up to b and b (1 + 1/b)^(i - b) above; the last one is B - 1.
    """
    rows, bins = 256, 1025

    def excess(at: float) -> float:
        return np.log(at) + (rows - 1 - at) * np.log1p(1 / at) - np.log(bins - 1)

    at_break = 60.0
    for _ in range(50):
        slope = (excess(at_break + 1e-4) - excess(at_break - 1e-4)) / 2e-4
        at_break -= excess(at_break) / slope
    i = np.arange(rows)
    centres = np.where(i <= at_break, i, at_break * (1 + 1 / at_break) ** (i - at_break))
    # A triangle's weights add up to half its width where centres fall on bins; elsewhere to nearly that.
    rising = (np.arange(bins) - centres[199]) / (centres[200] - centres[199])
    falling = (centres[201] - np.arange(bins)) / (centres[201] - centres[200])
    return {
        "rank": 1,
        "source": "closed form, see the docstring of this maker",
        "centres": centres,
        "weights_200": np.clip(np.minimum(rising, falling), 0, 1),
    }


def image_chirp() -> dict[str, object]:
    """Take the images of the chirp that this package makes today: a change here makes trained models wrong."""
    import torch

    from audiotrans.sound.imaging import AudioImaging, AudioSettings
    from audiotrans.sound.representations import REPRESENTATIONS

    made: dict[str, object] = {"rank": 4, "source": "audiotrans itself, before the first release"}
    for name in sorted(REPRESENTATIONS):
        imaging = AudioImaging(AudioSettings(representation=name, channels=1))
        image, context = imaging.to_image(torch.from_numpy(chirp())[None])
        made[name] = image[0, 0, :, 20].numpy()
        made["level_db"] = context.level_db
    return made


MAKERS: dict[str, Callable[[], dict[str, object]]] = {
    "stft_chirp": stft_chirp,
    "warped_bank": warped_bank,
    "image_chirp": image_chirp,
}
