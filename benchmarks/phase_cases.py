"""What the phase benchmark rebuilds: excerpts of music, and magnitudes of them that are exact, spoilt or translated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import uniform_filter
from torch import Tensor

from audiotrans import audio
from audiotrans.evaluation import metrics
from audiotrans.spectrogram.phase import PhaseTask
from audiotrans.spectrogram.stft import STFT
from benchmarks.paired import clips

RATE = 44_100
BLUR_RANGE_DB = 100.0
FADE_SECONDS = 0.02
NOISE_DB = 2.0
MELS = 128
LOUD_ENOUGH_DB = -60.0
SPOILT = ("exact", "blurred", "mel-128")
"""The sets whose magnitudes come from the sound that is wanted."""


@dataclass(frozen=True)
class Excerpt:
    """A few seconds of a file.

    Attributes:
        name: of the file, without its folder.
        wave: float32 (channels, samples) at 44.1 kHz, a whole number of hops.
        domain: the model's name for its instrument, or "".
    """

    name: str
    wave: np.ndarray
    domain: str = ""

    @property
    def mono(self) -> np.ndarray:
        return self.wave.mean(axis=0, keepdims=True)


@dataclass(frozen=True)
class Case:
    """Magnitudes that want a phase.

    Attributes:
        group: whose music: rendered, recorded, or a direction of translation.
        kind: a name in `SPOILT`, "model" or "oracle gain".
        name: of the excerpt.
        task: as a phase method takes it; where no source is known its spectrum is zero.
        truth: (1, samples), the sound that the magnitudes describe, or None.
        samples: of the wave wanted.
        attacks: seconds at which the reference-free pre-echo is measured.
        has_source: whether the task's source means anything.
    """

    group: str
    kind: str
    name: str
    task: PhaseTask
    truth: np.ndarray | None
    samples: int
    attacks: np.ndarray
    has_source: bool = False


def excerpts(paths: Sequence[str], seconds: float, hop: int, limit: int, domains: Sequence[str] = ()) -> list[Excerpt]:
    """Cut one excerpt a file, a third of the way in; of more files than the limit, evenly spaced ones."""
    files = audio.find_audio(paths)
    chosen = [files[index] for index in np.unique(np.linspace(0, len(files) - 1, limit).round().astype(int))]
    return [cut(path, seconds, hop, domains) for path in (chosen if len(files) > limit else files)]


def cut(path: Path, seconds: float, hop: int, domains: Sequence[str] = ()) -> Excerpt:
    whole, _ = audio.read(path, sample_rate=RATE)
    first = max(0, min(whole.shape[1] // 3, whole.shape[1] - round(seconds * RATE)))
    wave = whole[:, first : first + round(seconds * RATE)]
    # Whole hops: other programs' transforms then have as many frames as ours.
    return Excerpt(path.name, faded(wave[:, : wave.shape[1] // hop * hop]), domain_of(path, domains))


def faded(wave: np.ndarray) -> np.ndarray:
    """Fade both ends: a cut in the middle of music is a click that no method places right, and music has none."""
    size = min(round(FADE_SECONDS * RATE), wave.shape[1] // 2)
    ramp = (np.sin(np.pi / 2 * (np.arange(size) + 0.5) / max(size, 1)) ** 2).astype(np.float32)
    shaped = np.array(wave, dtype=np.float32)
    shaped[:, :size] *= ramp
    shaped[:, wave.shape[1] - size :] *= ramp[::-1]
    return shaped


def domain_of(path: Path, domains: Sequence[str]) -> str:
    """Find a domain's name in a file's name or in the nearest folder that holds one."""
    for part in reversed(path.parts):
        for domain in domains:
            if domain in part.lower():
                return domain
    return ""


def spoil(magnitude: np.ndarray, kind: str, n_fft: int, seed: int = 0) -> np.ndarray:
    """Return magnitudes (bins, frames) as a network might give them.

    "blurred": the mean of 3 x 3 neighbours in dB, a floor 100 dB below the loudest, and normal noise of 2 dB on every
    bin. "mel-128": 128 bands of magnitude, undone by librosa's non-negative least squares.
    """
    import librosa

    if kind == "exact":
        return magnitude
    if kind == "mel-128":
        bands = librosa.filters.mel(sr=RATE, n_fft=n_fft, n_mels=MELS) @ magnitude
        return librosa.feature.inverse.mel_to_stft(bands, sr=RATE, n_fft=n_fft, power=1.0).astype(np.float32)
    floor = magnitude.max() * 10 ** (-BLUR_RANGE_DB / 20)
    decibels = uniform_filter(20 * np.log10(np.maximum(magnitude, floor)), 3, mode="nearest")
    noise = np.random.default_rng(seed).normal(0, NOISE_DB, decibels.shape)
    return (10 ** ((decibels + noise) / 20)).astype(np.float32)


def spectrum(wave: np.ndarray, stft: STFT) -> Tensor:
    return stft.forward(torch.from_numpy(np.ascontiguousarray(wave)))


def magnitude_cases(group: str, excerpt: Excerpt, stft: STFT) -> Iterator[Case]:
    """Yield the sets (a) to (c) of one excerpt, mixed down to mono."""
    truth = excerpt.mono
    exact = spectrum(truth, stft).abs()
    attacks = metrics.artefacts.attack_times(truth, RATE)
    for kind in SPOILT:
        magnitude = torch.from_numpy(spoil(exact[0].numpy(), kind, stft.n_fft))[None]
        task = PhaseTask(magnitude, torch.zeros_like(magnitude, dtype=torch.complex64), None, stft)
        yield Case(group, kind, excerpt.name, task, truth, truth.shape[1], attacks)


def model_case(group: str, excerpt: Excerpt, converter, *, stereo: bool = False) -> Case:
    """Translate an excerpt to the other domain and stop before the phases: set (d)."""
    imaging, wave = converter.imaging, excerpt.wave if stereo else excerpt.mono
    image, context = imaging.to_image(torch.from_numpy(np.ascontiguousarray(wave)))
    sides = ("a", "b") if excerpt.domain == converter.domains[0] else ("b", "a")
    with torch.inference_mode():
        noise = converter.model.noise(image, torch.Generator().manual_seed(0))
        picture = imaging.representation.decode(converter.model.translate(image, *sides, noise), context)
    # Out of inference mode: methods may write into what they are given.
    magnitude = picture.magnitude.clone()
    task = PhaseTask(magnitude, context.spectrum, None, imaging.stft, picture.gain)
    attacks = metrics.artefacts.attack_times(wave, RATE)
    return Case(group, "model", excerpt.name, task, None, wave.shape[1], attacks, has_source=True)


def oracle_cases(folder: Path, converter, seconds: float, limit: int) -> Iterator[Case]:
    """Yield what a perfect model would give: the source, with the gain that its true counterpart's image asks for."""
    imaging, hop = converter.imaging, converter.imaging.stft.hop_length
    first, second = converter.domains
    for source, target in ((first, second), (second, first)):
        for clip in clips(folder, source, target, limit):
            samples = min(round(seconds * RATE), clip.source.shape[1]) // hop * hop
            waves = [faded(wave[:, :samples].mean(0, keepdims=True)) for wave in (clip.source, clip.truth)]
            _, context = imaging.to_image(torch.from_numpy(waves[0]))
            # At the source's level: the gain holds the difference of the two sounds' levels as well.
            wanted, _ = imaging.to_image(torch.from_numpy(waves[1]), context.level_db)
            picture = imaging.representation.decode(wanted, context)
            task = PhaseTask(picture.magnitude, context.spectrum, None, imaging.stft, picture.gain)
            attacks = metrics.artefacts.attack_times(waves[1], RATE)
            group = f"{source} to {target}"
            yield Case(group, "oracle gain", clip.name, task, waves[1], samples, attacks, has_source=True)


def loud(excerpt: Excerpt) -> bool:
    """Tell whether there is enough of a sound to measure anything on."""
    power = float(np.mean(np.square(excerpt.wave, dtype=np.float64)))
    return power > 10 ** (LOUD_ENOUGH_DB / 10)
