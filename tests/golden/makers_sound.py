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

    from audiotrans.spectrogram.imaging import REPRESENTATIONS, AudioImaging, AudioSettings

    made: dict[str, object] = {"rank": 4, "source": "audiotrans itself, before the first release"}
    for name in sorted(REPRESENTATIONS):
        imaging = AudioImaging(AudioSettings(representation=name, channels=1))
        wave = torch.from_numpy(chirp())[None]
        made["level_db"] = imaging.level_db(wave)
        made[name] = imaging.to_image(wave, imaging.level_db(wave))[0][0, 0, :, 20].numpy()
    return made


def organ() -> NDArray[np.float32]:
    """Make 4 s of mono at 16 kHz, quiet enough for musicnn's own spectrograms in float16: chords of fading partials."""
    seconds = np.arange(4 * 16_000) / 16_000
    wave = np.zeros_like(seconds)
    for number, hertz in enumerate((220.0, 277.2, 329.6, 440.0, 554.4, 659.3, 880.0, 415.3)):
        since = seconds - 0.5 * number
        tone = sum(np.sin(2 * np.pi * hertz * k * since) / k for k in range(1, 9))
        wave += np.where(since >= 0, tone * np.exp(-2 * np.maximum(since, 0)), 0)
    return (0.02 * wave).astype(np.float32)


def musicnn_organ() -> dict[str, object]:
    """Have musicnn itself tag the organ; it needs its own environment, with tensorflow, tf_keras, librosa and musicnn.

    Its program goes on with random weights where it cannot read its own; then this maker must not be believed, which
    the comparison with our reading of the same weights would show.
    """
    import os
    import tempfile
    from pathlib import Path

    import soundfile

    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    from musicnn.extractor import extractor

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "organ.wav"
        soundfile.write(path, organ(), 16_000, subtype="FLOAT")
        tags, names = extractor(str(path), model="MTT_musicnn", input_length=3, extract_features=False)
    return {
        "rank": 2,
        "source": "musicnn 0.1.0, MTT_musicnn, run by TensorFlow 2",
        "tags": tags.astype(np.float32),
        "names": np.array(names),
    }


def integrated_phase_chirp() -> dict[str, object]:
    """Integrate the phase gradients of the chirp's magnitudes with a heap, in float64, written from the formulae.

    Slow and plain on purpose: what is compared with it takes its bins in another order (buckets of 0.9 dB) and float32.
    """
    import heapq

    n_fft, hop, gamma = 2048, 512, 0.25645 * 2048**2
    magnitude = magnitude_of_chirp(n_fft, hop)
    bins, frames = magnitude.shape
    loudest = magnitude.max()
    log = np.log(np.maximum(magnitude, 1e-10 * loudest))
    per_hop = np.zeros_like(log)
    per_hop[1:-1] = hop * n_fft / (2 * gamma) * (log[2:] - log[:-2])
    per_hop += 2 * np.pi * hop * np.arange(bins)[:, None] / n_fft
    per_bin = -gamma / (hop * n_fft) * np.gradient(log, axis=1)
    phase, todo = np.zeros_like(log), magnitude >= 1e-6 * loudest
    while todo.any():
        seed = np.unravel_index(np.where(todo, magnitude, -1).argmax(), magnitude.shape)
        todo[seed] = False
        heap = [(-magnitude[seed], *seed)]
        while heap:
            _, m, n = heapq.heappop(heap)
            for i, j in ((m + 1, n), (m - 1, n), (m, n + 1), (m, n - 1)):
                if 0 <= i < bins and 0 <= j < frames and todo[i, j]:
                    step = (i - m) * (per_bin[m, n] + per_bin[i, j]) + (j - n) * (per_hop[m, n] + per_hop[i, j])
                    phase[i, j] = phase[m, n] + step / 2
                    todo[i, j] = False
                    heapq.heappush(heap, (-magnitude[i, j], i, j))
    return {
        "rank": 2,
        "source": "phase gradient heap integration, see the docstring of this maker",
        "phase": np.angle(np.exp(1j * phase[:, FRAMES])).astype(np.float16),
    }


def magnitude_of_chirp(n_fft: int, hop: int) -> NDArray[np.float64]:
    """Transform the chirp with numpy alone, zeros around it: magnitudes ``(bins, frames)``."""
    wave = chirp().astype(np.float64)
    padded = np.pad(wave, (n_fft // 2, n_fft // 2 + -len(wave) % hop))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    starts = np.arange(0, len(padded) - n_fft + 1, hop)
    return np.abs(np.fft.rfft(padded[starts[:, None] + np.arange(n_fft)] * window, axis=1)).T


MAKERS: dict[str, Callable[[], dict[str, object]]] = {
    "stft_chirp": stft_chirp,
    "warped_bank": warped_bank,
    "image_chirp": image_chirp,
    "integrated_phase_chirp": integrated_phase_chirp,
    "musicnn_organ": musicnn_organ,
}
