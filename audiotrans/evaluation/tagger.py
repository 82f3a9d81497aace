"""The music tagger musicnn: which of ten instruments a network recognises that was trained elsewhere, on other music.

The instrument classifier of `audiotrans.evaluation.classifier` is trained on the recordings that models here learn
from. The tagger is not: it learned 50 tags, ten instruments among them, from the songs of MagnaTagATune. That makes it
the more independent of the two, and as it knows many other sounds, the harder to satisfy.

Its weights are shipped (`audiotrans/weights/evaluation`, licence ISC); the network is written here from their shapes
and its paper, and held against the original by `tests/golden`.

Source:
    Pons and Serra, musicnn: pre-trained convolutional neural networks for music audio tagging, 2019, arXiv:1909.06654;
    trained on MagnaTagATune (Law et al. 2009), the 50 tags given most often.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from audiotrans.evaluation.wave_checks import Wave, mono_blocks, validate_wave

Array = npt.NDArray[np.float32]

SAMPLE_RATE = 16_000
FFT = 512
HOP = 256
BANDS = 96
FRAMES = 187
"""Frames of a window, of 16 ms: the three seconds that the network was trained with."""

STEP = 62
"""Frames from one window to the next: a second, so that windows overlap by two thirds."""

DIMS = 200
EMBEDDING_NAME = f"musicnn, {DIMS}-d"

LEVEL = 0.1
"""Root mean square that a sound is brought to, -20 dB re full scale as most published music: level must not count."""

SILENCE_DB = -50.0
"""A window this far below the level of the whole sound is left out."""

# The order of the network's outputs.
TAGS = (
    *("guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast", "piano"),
    *("ambient", "beat", "violin", "vocal", "synth", "female", "indian", "opera", "male", "singing"),
    *("vocals", "no vocals", "harpsichord", "loud", "quiet", "flute", "woman", "male vocal", "no vocal", "pop"),
    *("soft", "sitar", "solo", "man", "classic", "choir", "voice", "new age", "dance", "male voice"),
    *("female vocal", "beats", "harp", "cello", "no voice", "weird", "country", "metal", "female voice", "choral"),
)
INSTRUMENTS = ("guitar", "drums", "piano", "violin", "synth", "harpsichord", "flute", "sitar", "harp", "cello")
"""Tags that name one instrument; "strings" names many, a violin among them."""

_BATCH = 8
_TIMBRAL = (0, 1)
# Filters that look along time, and their lengths in frames.
_TEMPORAL = {2: 128, 3: 64, 4: 32}


def tag(wave: Wave, sample_rate: int) -> Array:
    """Return how likely each tag is, window by window.

    Args:
        wave: shape (channels, samples); the mono mix at 16 kHz counts, and its level does not count.
        sample_rate: Hz.

    Returns:
        Shape (windows, 50), in the order of `TAGS`, each in [0, 1] for itself. Windows are 3 s long and begin a second
        apart; a shorter sound is repeated. Silent windows are left out; so there may be none.

    Raises:
        AudiotransError: where the wave is empty or not finite.
    """
    return tags_and_embedding(wave, sample_rate)[0]


def likeliest_instrument(tags: Array) -> str | None:
    """Return the instrument with the highest mean over the windows that `tag` gave; None of no window."""
    if not len(tags):
        return None
    mean = tags.mean(axis=0)
    return max(INSTRUMENTS, key=lambda name: float(mean[TAGS.index(name)]))


def tags_and_embedding(wave: Wave, sample_rate: int) -> tuple[Array, Array]:
    """Return what `tag` does and the layer ahead of it, shape (windows, 200): an embedding of timbre."""
    validate_wave(wave)
    network = load_network()
    windows = _windows(np.concatenate(list(mono_blocks(wave, sample_rate, SAMPLE_RATE))))
    tags, rows = [np.zeros((0, len(TAGS)), np.float32)], [np.zeros((0, DIMS), np.float32)]
    with torch.inference_mode():
        for at in range(0, len(windows), _BATCH):
            embedding = network.embed(torch.from_numpy(np.stack(windows[at : at + _BATCH])))
            rows.append(embedding.numpy())
            tags.append(network.tags(embedding).numpy())
    return np.concatenate(tags), np.concatenate(rows)


def _windows(samples: Array) -> list[Array]:
    """Cut mono sound at 16 kHz into spectrograms of shape (187, 96); silent windows are left out."""
    level = math.sqrt(float(np.mean(np.square(samples, dtype=np.float64))))
    if level == 0.0:
        return []
    length = FRAMES * HOP
    samples = samples * np.float32(LEVEL / level)
    if len(samples) < length:
        samples = np.resize(samples, length)  # repeats it
    spectrogram = log_mel(samples)
    quietest = LEVEL**2 * 10 ** (SILENCE_DB / 10)
    starts = range(0, len(spectrogram) - FRAMES + 1, STEP)
    loud = (start for start in starts if np.mean(np.square(samples[start * HOP :][:length])) > quietest)
    return [spectrogram[start : start + FRAMES] for start in loud]


def log_mel(samples: Array) -> Array:
    """Return the log-mel spectrogram of mono sound at 16 kHz that the network sees: (frames, 96), a frame per 16 ms."""
    import librosa

    mel = librosa.feature.melspectrogram(y=samples, sr=SAMPLE_RATE, hop_length=HOP, n_fft=FFT, n_mels=BANDS)
    image: Array = np.log10(1.0 + 10_000.0 * mel.T).astype(np.float32)
    return image


@lru_cache(maxsize=1)
def load_network() -> MusicnnNet:
    """Read the shipped weights, once."""
    return MusicnnNet(
        load_file(Path(str(resources.files("audiotrans"))) / "weights/evaluation/musicnn-mtt.safetensors")
    )


class MusicnnNet:
    """Log-mel spectrograms -> the layer ahead of the tags, and the tags.

    Filters that are high, and filters that are long; three layers in the middle; maximum and mean over time.

    Args:
        weights: tensors by name; batch normalisations as scale and shift.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = weights

    def embed(self, spectrograms: Tensor) -> Tensor:
        """Return the layer ahead of the tags.

        Args:
            spectrograms: shape (n, frames, 96), of `log_mel`.

        Returns:
            Shape (n, 200).
        """
        front = self._front(self._norm(spectrograms[:, None], 0))
        layers = [front]
        # Each of the middle's three layers looks at all channels of seven frames; the last two add to what they read.
        hidden = self._middle(front, 5)
        layers.append(hidden)
        for number in (6, 7):
            hidden = hidden + self._middle(hidden, number)
            layers.append(hidden)
        joined = torch.cat(layers, dim=1)
        pooled = torch.stack([joined.amax(dim=2), joined.mean(dim=2)], dim=2).flatten(1)
        return self._norm(functional.relu(self._linear(self._norm(pooled, 9), "hidden")), 10)

    def tags(self, embedding: Tensor) -> Tensor:
        """Return how likely each tag is, shape (n, 50), of what `embed` gave."""
        return torch.sigmoid(self._linear(embedding, "tags"))

    def _front(self, x: Tensor) -> Tensor:
        """Return what the first filters find in each frame at the band where they find most, (n, 561, frames)."""
        padded = functional.pad(x, (0, 0, 3, 3))
        found = [self._convolve(padded, number) for number in _TIMBRAL]
        for number, length in _TEMPORAL.items():
            found.append(self._convolve(functional.pad(x, (0, 0, (length - 1) // 2, length // 2)), number))
        return torch.cat([maps.amax(dim=3) for maps in found], dim=1)

    def _middle(self, x: Tensor, number: int) -> Tensor:
        return self._convolve(functional.pad(x.transpose(1, 2)[:, None], (0, 0, 3, 3)), number)[..., 0]

    def _convolve(self, x: Tensor, number: int) -> Tensor:
        weight, bias = (self._weights[f"convolutions.{number}.{part}"] for part in ("weight", "bias"))
        return self._norm(functional.relu(functional.conv2d(x, weight, bias)), number + 1)

    def _norm(self, x: Tensor, number: int) -> Tensor:
        scale, shift = (
            self._weights[f"norms.{number}.{part}"].reshape([1, -1] + [1] * (x.ndim - 2)) for part in ("scale", "shift")
        )
        return x * scale + shift

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return functional.linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])
