"""A trained judge: verdicts and embeddings of sounds, and its file."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from audiotrans.errors import AudiotransError, UsageError, nearest
from audiotrans.evaluation.classifier.features import FeatureSettings, cut, decibels, picture, window_starts
from audiotrans.evaluation.classifier.net import ClassifierNet
from audiotrans.evaluation.listening import mono_blocks
from audiotrans.evaluation.metrics.checks import Wave, validate_wave
from audiotrans.files import write_whole

FORMAT = "audiotrans-classifier"
OLD_FORMAT = "audiotrans-judge"
VERSION = "1"
SUFFIX = ".safetensors"
DEFAULT_JUDGE = "violin-piano"

# Windows that the net sees at once; 64 of them with their feature maps are some 60 MB.
_BATCH = 64

Array = npt.NDArray[np.float32]


class InstrumentClassifier:
    """Tells which domain a sound belongs to.

    Args:
        net: the classifier.
        classes: names of the domains, in the order of the net's outputs.
        settings: how sound becomes the net's pictures.
        title: what the judge is called, such as ``violin-piano``.
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
        """Rate in Hz at which the judge hears; sounds of other rates are resampled."""
        return self.settings.sample_rate

    @property
    def name(self) -> str:
        """The embedding's name for tables: a kernel distance means nothing without it."""
        return f"judge {self.title}, {self.net.head.in_features}-d"

    @property
    def recordings(self) -> frozenset[str]:
        """Sound files that the judge was trained on, by their paths in what it was given; it must not score these."""
        heard = self.card.get("recordings", {}).get("train", {})
        return frozenset(name for names in heard.values() for name in names)

    def index(self, domain: str) -> int:
        """Return the column of a domain in what `probabilities` and `predict` give.

        Raises:
            UsageError: for a domain that the judge does not know.
        """
        if domain not in self.classes:
            known = ", ".join(self.classes)
            hint = nearest(domain, self.classes)
            raise UsageError(f"the judge {self.title} knows {known}, not {domain!r}: train one.{hint}")
        return self.classes.index(domain)

    def probabilities(self, wave: Wave, sample_rate: int) -> Array:
        """Judge a sound window by window.

        Args:
            wave: shape (channels, samples); the mono mix is heard, and its level does not count.
            sample_rate: Hz.

        Returns:
            Shape (windows, classes), each row summing to 1. Silent windows are left out; so there may be none.

        Raises:
            AudiotransError: where the wave is empty or not finite.
        """
        return self._run(wave, sample_rate, lambda pictures: torch.softmax(self.net(pictures), dim=1))

    def predict(self, wave: Wave, sample_rate: int) -> Array:
        """Judge a whole sound: the mean of `probabilities` over its windows.

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

    def _run(self, wave: Wave, sample_rate: int, function: Any) -> Array:
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

    def _batch(self, windows: list[Array], function: Any) -> Array:
        waves = torch.from_numpy(np.stack(windows or [np.zeros(self.settings.window, np.float32)]))
        with torch.inference_mode():
            found: Tensor = function(picture(decibels(waves, self.settings), self.settings))
        array: Array = found.numpy()
        return array if windows else array[:0]

    def save(self, path: Path | str) -> None:
        """Write the judge as one safetensors file, whole or not at all.

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
    def load(cls, path_or_name: Path | str = DEFAULT_JUDGE) -> InstrumentClassifier:
        """Open a judge: a shipped one by name, or a file.

        Raises:
            UsageError: for a name that no judge has.
            AudiotransError: for a file that is no judge.
        """
        path = find_classifier(path_or_name)
        metadata, weights = _read(path)
        try:
            classes = tuple(str(name) for name in json.loads(metadata["classes"]))
            settings = FeatureSettings(**json.loads(metadata["settings"]))
            with torch.random.fork_rng(devices=[]):  # fresh weights must not cost the caller's random numbers
                net = ClassifierNet(len(classes))
            net.load_state_dict(weights)
            card = json.loads(metadata["card"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:120]
            raise AudiotransError(f"{path} is a broken judge ({reason}): train it again") from None
        return cls(net, classes, settings, title=path.stem, card=card)


def list_classifiers() -> list[Path]:
    """List the shipped judges' files, by name."""
    folder = Path(str(resources.files("audiotrans"))) / "weights" / "classifiers"
    return sorted(folder.glob(f"*{SUFFIX}"))


def find_classifier(path_or_name: Path | str) -> Path:
    """Return the file of a judge given by path or by a shipped one's name.

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
        f"no judge {str(path_or_name)!r}: shipped are {names}; audiotrans train-classifier makes others."
        f"{nearest(str(path_or_name), shipped)}"
    )


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}
    except Exception:  # safetensors raises its own error class for anything that is not its format
        raise AudiotransError(f"{path} is no judge: not a readable safetensors file") from None
    if metadata.get("format") not in (FORMAT, OLD_FORMAT):
        raise AudiotransError(
            f"{path} is no judge (its metadata names {metadata.get('format', 'no format')}): "
            "audiotrans train-classifier makes one"
        )
    if metadata.get("version") != VERSION:
        raise AudiotransError(f"{path} is of version {metadata.get('version')}, this program reads {VERSION}")
    return metadata, weights
