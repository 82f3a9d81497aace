"""The instrument classifier: which domain a sound belongs to.

A small convolutional network on log-mel spectrograms. It is trained on recordings of the domains alone, never on what a
translation model made, and never serves as a training loss: otherwise a model would be graded by what it was taught to
fool. It works offline and for any two or more domains; `audiotrans.evaluation.classifier_training` makes one in
minutes, `InstrumentClassifier.load` opens it, and one for violin and piano is shipped. Its penultimate layer is the
embedding of the kernel distance.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from audiotrans.errors import AudiotransError, UsageError, nearest
from audiotrans.evaluation.metrics.spectral import band_matrix
from audiotrans.evaluation.wave_checks import Wave, mono_blocks, validate_wave
from audiotrans.files import from_json, write_whole

Array = npt.NDArray[np.float32]

FORMAT = "audiotrans-classifier"
OLD_FORMAT = "audiotrans-judge"
VERSION = "1"
SUFFIX = ".safetensors"
DEFAULT_CLASSIFIER = "violin-piano"

WIDTHS = (24, 48, 64, 96)
EMBEDDING = 64

SILENT_RMS = 1e-4
"""A window below this level (-80 dB re full scale) is silent."""

QUIET_DB = 40.0
"""A window this far below the loudest of its sound is a pause or a fading room: it says nothing of an instrument."""

_TINY_POWER = 1e-12
_DB_PER_UNIT = 15.0
# Windows that the network sees at once; 64 of them with their feature maps are some 60 MB.
_BATCH = 64


@dataclass(frozen=True)
class FeatureSettings:
    """How sound becomes log-mel spectrograms.

    Attributes:
        sample_rate: Hz; what lies above half of it, where codecs cut off and microphones differ, does not count.
        window_seconds: length of a window.
        hop_seconds: from one window to the next.
        n_fft: of the Hann-windowed transform, in samples.
        hop_length: from frame to frame, in samples.
        bands: mel-spaced bands from 30 Hz to half the sample rate.
        range_db: what lies further below the loudest point of a window is raised to that floor.
    """

    sample_rate: int = 16_000
    window_seconds: float = 1.5
    hop_seconds: float = 0.75
    n_fft: int = 1024
    hop_length: int = 256
    bands: int = 80
    range_db: float = 70.0

    @property
    def window(self) -> int:
        """Array of a window."""
        return round(self.window_seconds * self.sample_rate)

    @property
    def hop(self) -> int:
        """Array from one window to the next."""
        return round(self.hop_seconds * self.sample_rate)


def window_starts(samples: Array, settings: FeatureSettings) -> list[int]:
    """Return where the windows of a mono sound begin that are not silent; the last one ends with the sound.

    Args:
        samples: shape (samples,), at the settings' rate; a sound shorter than a window has one, filled with silence.
        settings: see `FeatureSettings`.
    """
    last = max(len(samples) - settings.window, 0)
    starts = list(range(0, last + 1, settings.hop))
    if last - starts[-1] > settings.hop // 4:
        starts.append(last)
    levels = np.array([_rms(samples[start : start + settings.window]) for start in starts])
    least = max(SILENT_RMS, float(levels.max()) * 10.0 ** (-QUIET_DB / 20.0))
    return [start for start, level in zip(starts, levels, strict=True) if level >= least]


def cut(samples: Array, start: int, length: int) -> Array:
    """Return samples[start : start + length], filled up with silence."""
    piece = samples[start : start + length]
    return np.pad(piece, (0, length - len(piece))) if len(piece) < length else piece


def _rms(samples: Array) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0


def decibels(waves: Tensor, settings: FeatureSettings) -> Tensor:
    """Return the power of mono windows (batch, samples) in mel bands, dB, shape (batch, bands, frames)."""
    spectra = torch.stft(
        waves, settings.n_fft, settings.hop_length, window=_hann(settings.n_fft), center=False, return_complex=True
    )
    bands = _bands(settings.sample_rate, settings.bands, settings.n_fft)
    return 10.0 * torch.log10(torch.clamp(bands @ spectra.abs().square(), min=_TINY_POWER))


def normalise(levels: Tensor, settings: FeatureSettings) -> Tensor:
    """Normalise dB (batch, bands, frames) to what the network sees: floored, free of level, about -3 to 3.

    A gain of the sound moves all dB alike and is gone after the mean is taken off.
    """
    loudest = levels.amax(dim=(1, 2), keepdim=True)
    floored = torch.maximum(levels, loudest - settings.range_db)
    return (floored - floored.mean(dim=(1, 2), keepdim=True)) / _DB_PER_UNIT


@lru_cache(maxsize=4)
def _hann(size: int) -> Tensor:
    return torch.hann_window(size)


@lru_cache(maxsize=4)
def _bands(sample_rate: int, bands: int, n_fft: int) -> Tensor:
    return torch.from_numpy(band_matrix(sample_rate, bands, n_fft)).float()


class ClassifierNet(nn.Module):
    """Four convolutions of stride 2, the mean and the maximum over the maps, an embedding, logits.

    GroupNorm, so that the logits of a window do not depend on which others are in its batch.

    Args:
        classes: number of domains.
        widths: channels of the convolutions, multiples of 8.
        embedding: size of the penultimate layer.
    """

    def __init__(self, classes: int, widths: Sequence[int] = WIDTHS, embedding: int = EMBEDDING) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 2
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.GroupNorm(8, width), nn.SiLU()]
            channels = width
        self.body = nn.Sequential(*layers)
        self.embedding = nn.Sequential(nn.Dropout(0.1), nn.Linear(2 * channels, embedding), nn.SiLU())
        self.head = nn.Linear(embedding, classes)

    def embed(self, spectrograms: Tensor) -> Tensor:
        """Return the penultimate layer of spectrograms (batch, bands, frames), shape (batch, embedding)."""
        height = torch.linspace(-1.0, 1.0, spectrograms.shape[1]).view(1, -1, 1).expand_as(spectrograms)
        maps = self.body(
            torch.stack([spectrograms, height], dim=1)
        )  # the second channel tells where in pitch a filter is
        pooled = torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)
        embedded: Tensor = self.embedding(pooled)
        return embedded

    def forward(self, spectrograms: Tensor) -> Tensor:
        """Return logits of spectrograms (batch, bands, frames), shape (batch, classes)."""
        logits: Tensor = self.head(self.embed(spectrograms))
        return logits


class InstrumentClassifier:
    """Classifies sounds by domain.

    Args:
        net: the network.
        classes: names of the domains, in the order of the network's outputs.
        settings: how sound becomes the network's spectrograms.
        title: what it is called, such as ``violin-piano``.
        card: what is known of it: recordings it was trained on, figures, licence.
    """

    def __init__(
        self,
        net: ClassifierNet,
        classes: tuple[str, ...],
        settings: FeatureSettings,
        *,
        title: str,
        card: dict[str, Any] | None = None,
    ) -> None:
        self.net = net.eval()
        self.classes = classes
        self.settings = settings
        self.title = title
        self.card = card or {}

    @property
    def sample_rate(self) -> int:
        """Hz; sounds of other rates are resampled."""
        return self.settings.sample_rate

    @property
    def name(self) -> str:
        """The embedding's name for tables: a kernel distance means nothing without it."""
        return f"classifier {self.title}, {self.net.head.in_features}-d"

    @property
    def recordings(self) -> frozenset[str]:
        """Sound files that it was trained on, by their paths in what it was given; it must not score these."""
        trained = self.card.get("recordings", {}).get("train", {})
        return frozenset(name for names in trained.values() for name in names)

    def index(self, domain: str) -> int:
        """Return the column of a domain in what `probabilities` and `predict` give.

        Raises:
            UsageError: for a domain that the classifier does not know.
        """
        if domain not in self.classes:
            known = ", ".join(self.classes)
            hint = nearest(domain, self.classes)
            raise UsageError(f"the instrument classifier {self.title} knows {known}, not {domain!r}: train one.{hint}")
        return self.classes.index(domain)

    def probabilities(self, wave: Wave, sample_rate: int) -> Array:
        """Return the probability of each domain, window by window.

        Args:
            wave: shape (channels, samples); the mono mix counts, and its level does not count.
            sample_rate: Hz.

        Returns:
            Shape (windows, classes), each row summing to 1. Silent windows are left out; so there may be none.

        Raises:
            AudiotransError: where the wave is empty or not finite.
        """
        return self._run(wave, sample_rate, lambda spectrograms: torch.softmax(self.net(spectrograms), dim=1))

    def predict(self, wave: Wave, sample_rate: int) -> Array:
        """Return the probability of each domain for a whole sound: the mean of `probabilities` over its windows.

        Returns:
            Shape (classes,); nan for a silent sound.

        Raises:
            AudiotransError: where the wave is empty or not finite.
        """
        rows = self.probabilities(wave, sample_rate)
        mean: Array = rows.mean(axis=0) if len(rows) else np.full(len(self.classes), np.nan, np.float32)
        return mean

    def embed(self, wave: Wave, sample_rate: int) -> Array:
        """Return the penultimate layer for every window that is not silent, shape (windows, dims).

        Raises:
            AudiotransError: where the wave is empty or not finite.
        """
        return self._run(wave, sample_rate, self.net.embed)

    def _run(self, wave: Wave, sample_rate: int, function: Callable[[Tensor], Tensor]) -> Array:
        validate_wave(wave)
        samples = np.concatenate(list(mono_blocks(wave, sample_rate, self.sample_rate)))
        starts = window_starts(samples, self.settings)
        rows = []
        # A first batch of none gives the result its shape where everything is silent.
        for at in range(0, max(len(starts), 1), _BATCH):
            windows = [cut(samples, start, self.settings.window) for start in starts[at : at + _BATCH]]
            rows.append(self._batch(windows, function))
        result: Array = np.concatenate(rows)
        return result

    def _batch(self, windows: list[Array], function: Callable[[Tensor], Tensor]) -> Array:
        waves = torch.from_numpy(np.stack(windows or [np.zeros(self.settings.window, np.float32)]))
        with torch.inference_mode():
            found: Tensor = function(normalise(decibels(waves, self.settings), self.settings))
        array: Array = found.numpy()
        return array if windows else array[:0]

    def save(self, path: Path | str) -> None:
        """Write the classifier as one safetensors file, whole or not at all.

        Raises:
            AudiotransError: where it cannot be written.
        """
        metadata = {
            "format": FORMAT,
            "version": VERSION,
            "classes": json.dumps(self.classes),
            "settings": json.dumps(asdict(self.settings)),
            "card": json.dumps(self.card),
        }
        weights = {key: value.contiguous() for key, value in self.net.state_dict().items()}
        write_whole(Path(path), save(weights, metadata=metadata))

    @classmethod
    def load(cls, path_or_name: Path | str = DEFAULT_CLASSIFIER) -> InstrumentClassifier:
        """Open a classifier: a shipped one by name, or a file.

        Raises:
            UsageError: for a name that no classifier has.
            AudiotransError: for a file that is not a classifier.
        """
        path = find_classifier(path_or_name)
        metadata, weights = _read(path)
        try:
            classes = tuple(str(name) for name in from_json(metadata["classes"]))
            settings = FeatureSettings(**from_json(metadata["settings"]))
            with torch.random.fork_rng(devices=[]):  # fresh weights must not cost the caller's random numbers
                net = ClassifierNet(len(classes))
            net.load_state_dict(weights)
            card = from_json(metadata["card"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:120]
            raise AudiotransError(f"{path} is a broken instrument classifier ({reason}): train it again") from None
        return cls(net, classes, settings, title=path.stem, card=card)


def list_classifiers() -> list[Path]:
    """List the files of the shipped classifiers, by name."""
    folder = Path(str(resources.files("audiotrans"))) / "weights" / "classifiers"
    return sorted(folder.glob(f"*{SUFFIX}"))


def find_classifier(path_or_name: Path | str) -> Path:
    """Return the file of a classifier given by path or by a shipped one's name.

    Raises:
        UsageError: listing the names that exist.
    """
    path = Path(path_or_name)
    if path.is_file():
        return path
    shipped = {entry.stem: entry for entry in list_classifiers()}
    if str(path_or_name) in shipped:
        return shipped[str(path_or_name)]
    names = ", ".join(shipped) or "none"
    raise UsageError(
        f"no instrument classifier {str(path_or_name)!r}: shipped are {names}; "
        f"audiotrans train-classifier makes others.{nearest(str(path_or_name), shipped)}"
    )


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}
    except Exception:  # safetensors raises its own error class for anything that is not its format
        raise AudiotransError(f"{path} is not an instrument classifier: not a readable safetensors file") from None
    if metadata.get("format") not in (FORMAT, OLD_FORMAT):
        raise AudiotransError(
            f"{path} is not an instrument classifier (its metadata names {metadata.get('format', 'no format')}): "
            "audiotrans train-classifier makes one"
        )
    if metadata.get("version") != VERSION:
        raise AudiotransError(f"{path} is of version {metadata.get('version')}, this program reads {VERSION}")
    return metadata, weights
