"""Wave <-> image: the sound side of the one road, built from the STFT, a representation and a phase method."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiotrans.errors import AudiotransError, lookup
from audiotrans.spectrogram.phase import PHASES, PhaseTask
from audiotrans.spectrogram.representations import REPRESENTATIONS, Context, warped_centres
from audiotrans.spectrogram.stft import STFT

GATE_DB = 30.0
"""Frames this far below the loudest do not count for the level: pauses must not change how loud music is taken."""

LIMIT_DB = 400.0
"""No sound has a level beyond this on either side of full scale; it is near the end of what float32 can square."""


@dataclass(frozen=True)
class AudioSettings:
    """How sounds become images. Part of every recipe, cache and model.

    Attributes:
        sample_rate: rate in Hz at which the model works; other rates are resampled on the way in and out.
        n_fft: STFT frame length, samples.
        hop_length: STFT hop, samples.
        representation: a name in `REPRESENTATIONS`.
        rows: bands of ``log_mel_gain``; the other representations keep every bin.
        channels: sound channels in one image, 1 or 2, for representations that keep channels apart.
        time_stride: keep every n-th column (``magnitude_phase`` only): the paper's down-sampled setting.
        phase: default phase method, a name in `PHASES`.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # misspelt keys of a recipe are refused

    type: Literal["audio"] = "audio"
    sample_rate: int = 44100
    n_fft: int = 2048
    hop_length: int = 512
    representation: str = "log_mel_gain"
    rows: int = 256
    channels: int = 2
    time_stride: int = 1
    phase: str = "auto"

    def __post_init__(self) -> None:
        lookup(REPRESENTATIONS, self.representation, "representation")
        lookup(PHASES, self.phase, "phase")
        if self.phase == "network" and self.representation != "magnitude_phase":
            raise ValueError("phase network needs the representation magnitude_phase")
        if self.sample_rate < 1:
            raise ValueError(f"sample_rate {self.sample_rate}: at least 1 Hz")
        stft = STFT(self.n_fft, self.hop_length)
        if self.representation == "log_mel_gain":
            warped_centres(self.rows, stft.bins)
        if self.channels not in (1, 2):
            raise ValueError(f"channels {self.channels}: 1 or 2")
        if self.time_stride < 1 or (self.time_stride > 1 and self.representation != "magnitude_phase"):
            raise ValueError(f"time_stride {self.time_stride}: 1, or more with magnitude_phase")

    @property
    def image_channels(self) -> int:
        """Channels of the images."""
        return AudioImaging(self).representation.image_channels(self.channels)

    @property
    def image_rows(self) -> int:
        """Rows of the images."""
        return AudioImaging(self).representation.rows


class LevelMeter:
    """Gated RMS level from blocks of any size: the mean power of frames within `GATE_DB` of the loudest frame.

    Args:
        hop_length: samples in a frame.
        most_frames: forget all but the last so many whole frames, so that memory has a bound; None keeps all.
    """

    def __init__(self, hop_length: int, most_frames: int | None = None) -> None:
        self.hop_length, self.most_frames = hop_length, most_frames
        self._rest = torch.zeros(0, dtype=torch.float64)
        self._powers = array("d")  # plain numbers: small tensors kept between blocks would fragment the heap

    def update(self, block: Tensor) -> None:
        """Take the next samples, ``(channels, n)``."""
        power = torch.cat([self._rest, block.cpu().double().square().mean(0)])  # not every device has float64
        whole = len(power) // self.hop_length * self.hop_length
        self._powers.extend(power[:whole].reshape(-1, self.hop_length).mean(1).tolist())
        if self.most_frames is not None:
            del self._powers[: max(0, len(self._powers) - self.most_frames)]
        self._rest = power[whole:].clone()

    def level_db(self) -> float:
        """Return the level so far in dB re full scale; -inf for silence."""
        last = [float(self._rest.mean())] if len(self._rest) else []
        powers = torch.tensor([*self._powers, *last], dtype=torch.float64)
        if not len(powers) or powers.max() <= 0:
            return -math.inf
        loud = powers[powers >= powers.max() * 10 ** (-GATE_DB / 10)]
        return float(10 * torch.log10(loud.mean()))


class AudioImaging:
    """Turn waves into images and images back into waves.

    Args:
        settings: see `AudioSettings`.
    """

    def __init__(self, settings: AudioSettings) -> None:
        self.settings = settings
        self.stft = STFT(settings.n_fft, settings.hop_length)
        build = REPRESENTATIONS[settings.representation]
        self.representation = build(self.stft, settings.channels, settings.rows, settings.time_stride)

    def level_meter(self, most_frames: int | None = None) -> LevelMeter:
        """Return a fresh meter, for sounds that do not fit in memory."""
        return LevelMeter(self.settings.hop_length, most_frames)

    def level_db(self, wave: Tensor) -> float:
        """Return the gated RMS level of a whole wave ``(channels, samples)`` in dB re full scale."""
        meter = self.level_meter()
        meter.update(wave)
        return meter.level_db()

    def to_image(self, wave: Tensor, level_db: float | None = None) -> tuple[Tensor, Context]:
        """Turn a wave into images.

        Args:
            wave: float32, ``(channels, samples)``, at `AudioSettings.sample_rate`.
            level_db: level of the whole file that this wave is a piece of; measured on the wave itself if None.

        Returns:
            Images ``(groups, image channels, rows, frames)`` in [-1, 1], and the context that `from_image` needs.

        Raises:
            AudiotransError: if no sound can have this level: silence, or beyond `LIMIT_DB`.
        """
        level = self.level_db(wave) if level_db is None else level_db
        check_level(level)
        spectrum = self.stft.forward(wave)
        image = self.representation.encode(spectrum, level)
        return image, Context(spectrum, image, wave.shape[-1], level)

    def from_image(self, image: Tensor, context: Context, *, phase: str | None = None, seed: int = 0) -> Tensor:
        """Turn images back into a wave.

        Args:
            image: of the shape `to_image` gave.
            context: as `to_image` gave it.
            phase: a name in `PHASES`; the settings' own if None.
            seed: for phase methods that start at random.

        Returns:
            Wave ``(channels, samples)`` of the source's length.

        Raises:
            UsageError: for an unknown phase method, or one that this representation cannot serve.
        """
        method = lookup(PHASES, phase or self.settings.phase, "phase")
        found = self.representation.decode(image, context)
        task = PhaseTask(found.magnitude, context.spectrum, found.phase, self.stft, found.gain, seed)
        return self.stft.inverse(method(task), context.length)

    def row_frequencies(self) -> NDArray[np.float64]:
        """Return the centre of each image row in Hz."""
        return self.representation.row_bins() * self.settings.sample_rate / self.settings.n_fft

    def display_db(self, image: Tensor) -> Tensor:
        """Return what a figure of the image should show: dB below the top, ``(channels, rows, frames)``."""
        return self.representation.display_db(image)

    @property
    def seconds_per_frame(self) -> float:
        """Seconds between image columns."""
        return self.settings.hop_length * self.settings.time_stride / self.settings.sample_rate


def check_level(level_db: float) -> None:
    """Refuse a level that no sound can have.

    Args:
        level_db: dB re full scale.

    Raises:
        AudiotransError: for silence, more than `LIMIT_DB`, or what is not a number.
    """
    if level_db < -LIMIT_DB:
        raise AudiotransError("the sound is silent: there is nothing to translate")
    if not level_db <= LIMIT_DB:  # also not a number
        raise AudiotransError(f"the sound's level is {level_db:g} dB re full scale: at most {LIMIT_DB:g} is possible")
