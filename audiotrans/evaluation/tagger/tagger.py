"""Which instrument does a tagger that others trained hear in a sound?

The weights (9 MB) come with the package musicnn, licence ISC; what it requires (TensorFlow of 2019 among it) is not
needed, so it is installed alone: ``pip install --no-deps musicnn``. Of the package only the file of weights is read;
none of its code runs.

Source:
    Pons and Serra, musicnn: pre-trained convolutional neural networks for music audio tagging, 2019, arXiv:1909.06654;
    trained on MagnaTagATune (Law et al. 2009), the 50 tags given most often.
"""

from __future__ import annotations

import importlib.util
import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from audiotrans.errors import AudiotransError
from audiotrans.evaluation.listening import mono_blocks
from audiotrans.evaluation.metrics.checks import Wave, validate_wave
from audiotrans.evaluation.tagger.bundle import read_bundle
from audiotrans.evaluation.tagger.network import BANDS, DIMS, FRAMES, MusicnnNet

Array = npt.NDArray[np.float32]

EMBEDDING_NAME = f"musicnn, {DIMS}-d"
SAMPLE_RATE = 16_000
FFT = 512
HOP = 256
STEP = 62
"""Frames from one window to the next: a second, so that windows overlap by two thirds."""

LEVEL = 0.1
"""Root mean square that a sound is brought to, -20 dB of full scale as most published music: level shall not count."""

SILENCE_DB = -50.0
"""A window so far below the whole sound's level is left out."""

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


def tagger_available() -> bool:
    """Tell whether the weights are installed; imports nothing."""
    return _checkpoint() is not None


def tag(wave: Wave, sample_rate: int) -> Array:
    """Say how likely each tag is, window by window.

    Args:
        wave: shape (channels, samples); the mono mix is heard at 16 kHz, and its level does not count.
        sample_rate: Hz.

    Returns:
        Shape (windows, 50), in the order of `TAGS`, each in [0, 1] for itself. Windows are 3 s long and begin a second
        apart; a shorter sound is repeated. Silent windows are left out; so there may be none.

    Raises:
        AudiotransError: where the wave is empty or not finite, or the weights are not installed.
    """
    return tags_and_embedding(wave, sample_rate)[0]


def taken_for(tags: Array) -> str | None:
    """Return the instrument that is likeliest on average over the windows that `tag` gave; None of no window."""
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


def picture(samples: Array) -> Array:
    """Return what the network sees of mono sound at 16 kHz: shape (frames, 96), a frame every 16 ms."""
    import librosa

    mel = librosa.feature.melspectrogram(y=samples, sr=SAMPLE_RATE, hop_length=HOP, n_fft=FFT, n_mels=BANDS)
    image: Array = np.log10(1.0 + 10_000.0 * mel.T).astype(np.float32)
    return image


@lru_cache(maxsize=1)
def load_network() -> MusicnnNet:
    """Read the installed weights, once.

    Raises:
        AudiotransError: where there are none, or not these.
    """
    folder = _checkpoint()
    if folder is None:
        raise AudiotransError("tagging needs the weights of musicnn: pip install --no-deps musicnn")
    weights = read_bundle(folder / ".index", folder / ".data-00000-of-00001")
    try:
        return MusicnnNet(weights)
    except KeyError as error:
        raise AudiotransError(f"{folder} lacks {error}: pip install --no-deps musicnn==0.1.0") from None


def _windows(samples: Array) -> list[Array]:
    """Cut mono sound at 16 kHz into pictures of shape (187, 96); silent ones are left out."""
    level = math.sqrt(float(np.mean(np.square(samples, dtype=np.float64))))
    if level == 0.0:
        return []
    length = FRAMES * HOP
    samples = samples * np.float32(LEVEL / level)
    if len(samples) < length:
        samples = np.resize(samples, length)  # repeats it
    spectrogram = picture(samples)
    quietest = LEVEL**2 * 10 ** (SILENCE_DB / 10)
    starts = range(0, len(spectrogram) - FRAMES + 1, STEP)
    loud = (start for start in starts if np.mean(np.square(samples[start * HOP :][:length])) > quietest)
    return [spectrogram[start : start + FRAMES] for start in loud]


def _checkpoint() -> Path | None:
    """Find the folder of weights without importing its package, which would look for TensorFlow."""
    found = importlib.util.find_spec("musicnn")
    if found is None or not found.submodule_search_locations:
        return None
    folder = Path(found.submodule_search_locations[0]) / "MTT_musicnn"
    return folder if (folder / ".index").is_file() else None
