"""What the instrument classifier is trained on: recordings, split and held as 16-bit mono, and augmented windows.

Recordings only: a folder that `evaluate` or `cycle` wrote holds what a model made, and a classifier that had learned
from it would grade the model by itself, so such folders are refused. Augmentation changes room, equalisation, codec,
level and pitch of the windows, so that these are not cues of the domain.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from audiotrans.audio import read
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.evaluation.classifier import FeatureSettings, window_starts
from audiotrans.evaluation.wave_checks import mono
from audiotrans.files import real
from audiotrans.training.sources import SPLITS, Sound, assign_splits, find_sources

Samples = npt.NDArray[np.float32]
Spectrum = npt.NDArray[np.complex64]
Array = npt.NDArray[np.floating[Any]]

MADE_BY_US = ("evaluation.json", "cycle.json")
"""Files that mark a folder of sounds made by a model."""

MOST_SECONDS = 7200.0
"""Sound of one domain that is used: 2 hours, 0.23 GB. Of a larger collection every file gives its first part."""

LEAST_SECONDS = 20.0
"""What every file gives at least."""

_FULL_SCALE = 32767.0

PITCH_SEMITONES = 3.0
"""A window is resampled up or down by up to this much."""

EQ_DB = 12.0
"""Height of a random smooth equaliser."""

LEAD_SECONDS = 0.4
"""Sound before a window that goes into its reverberation and is then cut off."""

_EQ_BUMPS = 7

# Gains are sampled at these frequencies and joined by lines: all that a mel band can tell.
_KNOTS_HZ = np.geomspace(40.0, 8000.0, 64)


@dataclass(frozen=True)
class Recording:
    """A sound in memory.

    Attributes:
        sound: its file, domain and recording, as `prep` knows them.
        label: index of its domain.
        split: ``train`` or ``valid``.
        samples: mono, 16 bit, shape (samples,), at the classifier's rate.
        gain: what the samples times this are is the sound again.
    """

    sound: Sound
    label: int
    split: str
    samples: npt.NDArray[np.int16]
    gain: float

    def wave(self, start: int = 0, stop: int | None = None) -> npt.NDArray[np.float32]:
        """Return the samples from ``start`` to ``stop`` as float32."""
        return self.samples[start:stop].astype(np.float32) * np.float32(self.gain)


def domain_names(source: Path) -> tuple[str, ...]:
    """Name the domains of a folder by its sub-folders (of its train folder where it is split already).

    Raises:
        UsageError: where there are fewer than two.
    """
    if not source.is_dir():
        raise UsageError(f"{source} is not a folder: give the folder that holds the sounds")
    root = source / "train" if all((source / split).is_dir() for split in SPLITS) else source
    names = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(names) < 2:
        there = ", ".join(names) or "none"
        raise UsageError(f"{root} needs two or more sub-folders, one for each domain; it has {there}")
    return tuple(names)


def find_sounds(source: Path, domains: Sequence[str]) -> tuple[tuple[str, ...], list[list[Sound]]]:
    """Find the sounds of two or more domains.

    Args:
        source: as `audiotrans.training.sources.find_sources` takes it.
        domains: names, IRMAS classes or ``name=path``.

    Returns:
        The domains' names, and the sounds of each.

    Raises:
        UsageError: a folder is missing, empty or the same for two domains, or was written by an evaluation.
    """
    if len(domains) < 2:
        raise UsageError(f"a classifier tells two or more domains apart; {len(domains)} given")
    names: list[str] = []
    sounds: list[list[Sound]] = []
    for other in domains[1:]:
        pair = find_sources(source, domains[0], other)
        for key in "ab" if not names else "b":
            names.append(pair.names[key])
            sounds.append([sound for sound in pair.sounds if sound.domain == key])
    if len({name.casefold() for name in names}) < len(names):
        raise UsageError(f"two of the domains have the same name: {', '.join(names)}")
    paths = [real(sound.path) for of_domain in sounds for sound in of_domain]
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise UsageError(f"{twice} is in two domains: they must be apart")
    refuse_made_sounds(paths)
    return tuple(names), sounds


def refuse_made_sounds(paths: Iterable[Path]) -> None:
    """Refuse sound files that lie in a folder which evaluate or cycle wrote, at any depth.

    Raises:
        UsageError: naming the folder.
    """
    folders = {folder for path in paths for folder in path.parents}
    for folder in sorted(folders):
        for mark in MADE_BY_US:
            if (folder / mark).is_file():
                raise UsageError(
                    f"{folder} holds {mark}: its sounds were made by a model, "
                    "and a classifier learns from recordings only"
                )


def load_recordings(
    sounds: Sequence[Sequence[Sound]],
    names: Sequence[str],
    settings: FeatureSettings,
    *,
    valid_fraction: float,
    seed: int,
    progress: bool,
) -> tuple[list[Recording], list[str]]:
    """Read the sounds and divide them by recording.

    Args:
        sounds: of each domain.
        names: of the domains.
        settings: see `FeatureSettings`.
        valid_fraction: share of the recordings that is held out, where the source is not split already.
        seed: another seed holds out other recordings.
        progress: show a bar.

    Returns:
        The recordings, and a line for each file that was left out.

    Raises:
        AudiotransError: where a domain has nothing to train on.
    """
    found, skipped = [], []
    with tqdm(total=sum(map(len, sounds)), desc="read", unit="file", disable=not progress) as bar:
        for label, of_domain in enumerate(sounds):
            splits = assign_splits((sound.recording for sound in of_domain), valid_fraction, seed)
            seconds = max(MOST_SECONDS / len(of_domain), LEAST_SECONDS)
            for sound in of_domain:
                split = sound.split or splits[sound.recording]
                try:
                    found.append(_load(sound, label, split, settings, seconds))
                except AudiotransError as error:
                    skipped.append(str(error))
                bar.update()
    for label, name in enumerate(names):
        if not any(recording.label == label and recording.split == "train" for recording in found):
            first = f"; the first trouble is {skipped[0]}" if skipped else ""
            raise AudiotransError(f"no sound of {name!r} can be trained on{first}")
    return found, skipped


def _load(sound: Sound, label: int, split: str, settings: FeatureSettings, seconds: float) -> Recording:
    wave, _ = read(sound.path, sample_rate=settings.sample_rate, seconds=seconds)
    samples = mono(wave)
    peak = float(np.abs(samples).max())
    if not window_starts(samples.astype(np.float32), settings):
        raise AudiotransError(f"{sound.path}: is silent")
    gain = peak / _FULL_SCALE
    return Recording(sound, label, split, np.rint(samples / gain).astype(np.int16), gain)


def by_split(recordings: Iterable[Recording], split: str) -> Iterator[Recording]:
    """Yield the recordings of one split."""
    return (recording for recording in recordings if recording.split == split)


def source_length(settings: FeatureSettings, rng: np.random.Generator) -> int:
    """Sample the length of the piece that a window and its lead are made of: a longer one is higher and faster."""
    from scipy import fft

    stretched = _whole(settings) * 2.0 ** (rng.uniform(-PITCH_SEMITONES, PITCH_SEMITONES) / 12.0)
    return int(fft.next_fast_len(round(stretched), real=True))


def _whole(settings: FeatureSettings) -> int:
    """Return the samples of a window and its lead, of a length that the Fourier transform likes."""
    from scipy import fft

    return int(fft.next_fast_len(settings.window + round(LEAD_SECONDS * settings.sample_rate), real=True))


def augment(samples: Samples, settings: FeatureSettings, rng: np.random.Generator) -> Samples:
    """Change pitch, room, equalisation, bandwidth and noise of a piece of sound.

    All of it is done on one spectrum: resampling there is exact, and costs no more than cutting it off.

    Args:
        samples: mono, of any length; see `source_length`.
        settings: see `FeatureSettings`.
        rng: source of randomness.

    Returns:
        One window, shape (settings.window,).
    """
    from scipy import fft

    whole = _whole(settings)
    spectrum = fft.rfft(samples)
    if rng.random() < 0.5:
        spectrum *= _room(len(samples), settings, rng)
    # What lies above half the sample rate after the change of length is cut off, or is not there.
    spectrum = np.pad(spectrum[: whole // 2 + 1], (0, max(whole // 2 + 1 - len(spectrum), 0)))
    knots = _KNOTS_HZ * (settings.sample_rate / 16_000)
    hertz = np.linspace(0.0, settings.sample_rate / 2, whole // 2 + 1, dtype=np.float32)
    level = float(np.sqrt(np.mean(np.square(samples)))) + 1e-9
    spectrum *= np.interp(hertz, knots, _gains(knots, rng)).astype(np.float32)
    spectrum += _noise(hertz, knots, level * len(samples), rng)
    changed = fft.irfft(spectrum, whole) * np.float32(whole / len(samples))
    window: Samples = changed[-settings.window :].astype(np.float32)
    if rng.random() < 0.1:  # as a short sound is filled up
        window[int(rng.uniform(0.3, 1.0) * len(window)) :] = 0.0
    return window


def _gains(knots: Array, rng: np.random.Generator) -> Array:
    """Sample the gain of an equaliser, a tilt and bumps of up to 12 dB either way, and of band limits at some knots."""
    position = np.linspace(-1.0, 1.0, len(knots))
    bumps = np.interp(position, np.linspace(-1.0, 1.0, _EQ_BUMPS), rng.normal(0.0, EQ_DB / 3.0, _EQ_BUMPS))
    gain: Array = np.power(10.0, np.clip(rng.uniform(-EQ_DB, EQ_DB) * position + bumps, -EQ_DB, EQ_DB) / 20.0)
    if rng.random() < 0.3:
        gain /= 1.0 + (knots / rng.uniform(2500.0, 7500.0)) ** 16
    if rng.random() < 0.3:
        gain /= 1.0 + (rng.uniform(40.0, 250.0) / knots) ** 4
    return gain


def _room(length: int, settings: FeatureSettings, rng: np.random.Generator) -> Spectrum:
    """Sample the spectrum of a room's impulse response: the direct sound and decaying noise, 5 to 20 dB below it.

    The noise decays by 60 dB in 0.1 to 0.8 s.
    """
    from scipy import fft

    seconds = rng.uniform(0.1, 0.8)
    count = min(length, round(seconds * settings.sample_rate))
    fall = np.exp(np.linspace(0.0, -math.log(1000.0), count, dtype=np.float32))
    tail = rng.standard_normal(count, dtype=np.float32) * fall
    tail *= np.float32(10.0 ** (-rng.uniform(5.0, 20.0) / 20.0) / np.linalg.norm(tail))
    tail[0] += 1.0
    response: Spectrum = fft.rfft(tail, length)
    return response


def _noise(hertz: Array, knots: Array, level: float, rng: np.random.Generator) -> Spectrum:
    """Sample hiss between white and brown, 15 to 60 dB below the sound; ``level`` is its level times its length."""
    slope = np.interp(hertz, knots, knots ** -rng.uniform(0.0, 1.0)).astype(np.float32)
    noise = rng.standard_normal((len(hertz), 2), dtype=np.float32).view(np.complex64)[:, 0] * slope
    # Parseval: the sum of |N|^2 over both halves of the spectrum is (level * length)^2.
    scale = level * 10.0 ** (-rng.uniform(15.0, 60.0) / 20.0) / (math.sqrt(2.0) * float(np.linalg.norm(noise)))
    scaled: Spectrum = noise * np.float32(scale)
    return scaled


def exchange_spectra(levels: Tensor, rng: np.random.Generator) -> Tensor:
    """Give half of the windows the long-term spectrum of another window, of any domain, wholly or in part.

    What an equaliser can copy from the other domain is thus seen on both sides and says nothing; what is left to go by
    is how the sound moves: attacks, decays, vibrato, noise between partials.

    Args:
        levels: dB, shape (batch, bands, frames); not changed.
        rng: source of randomness.
    """
    means = 10.0 * torch.log10(torch.pow(10.0, levels / 10.0).mean(dim=2, keepdim=True))
    donors = torch.from_numpy(rng.permutation(len(levels)))
    amounts = rng.uniform(0.3, 1.2, len(levels)) * (rng.random(len(levels)) < 0.5)
    return levels + torch.from_numpy(amounts).float()[:, None, None] * (means[donors] - means)


def mask(spectrograms: Tensor, rng: np.random.Generator) -> Tensor:
    """Blank out up to 12 bands and 12 frames of each spectrogram (batch, bands, frames).

    Source:
        Park et al., SpecAugment, Interspeech 2019.
    """
    masked = spectrograms.clone()
    for spectrogram in masked:
        for axis in (0, 1):
            size = int(rng.integers(0, 13))
            start = int(rng.integers(0, max(spectrogram.shape[axis] - size, 1)))
            spectrogram.narrow(axis, start, min(size, spectrogram.shape[axis])).zero_()
    return masked
