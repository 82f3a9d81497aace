"""Wave <-> image: the sound side of the one road, built from the STFT, a representation and a phase method."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from audiotrans.errors import lookup
from audiotrans.spectrogram.level import LOWEST_HZ, Level, LevelMeter, check_level
from audiotrans.spectrogram.phase import PHASES, PhaseTask
from audiotrans.spectrogram.representations import REPRESENTATIONS, Context, warped_centres
from audiotrans.spectrogram.stft import STFT


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
        return LevelMeter(self.stft, self.settings.sample_rate, most_frames)

    def level_db(self, wave: Tensor) -> float:
        """Return the gated level of a whole wave ``(channels, samples)`` in dB re full scale; -inf for silence."""
        meter = self.level_meter()
        meter.update(wave)
        return meter.level_db()

    def level(self, meter: LevelMeter) -> Level:
        """Return what the images of a metered sound are relative to: the music's level around each frame, or one level.

        Raises:
            AudiotransError: if no sound can have this level: silence, or beyond `LIMIT_DB`.
        """
        whole = meter.level_db()
        check_level(whole)
        return meter.levels_db() if self.representation.follows_level else whole

    def to_image(self, wave: Tensor, level_db: Level | None = None) -> tuple[Tensor, Context]:
        """Turn a wave into images.

        Args:
            wave: float32, ``(channels, samples)``, at `AudioSettings.sample_rate`.
            level_db: what the images are relative to, dB re full scale: a number, or one for each frame, as `level`
                gives it for the whole sound that this wave is a piece of; measured on the wave itself if None.

        Returns:
            Images ``(groups, image channels, rows, frames)`` in [-1, 1], and the context that `from_image` needs.

        Raises:
            AudiotransError: if no sound can have this level: silence, or beyond `LIMIT_DB`.
        """
        if level_db is None:
            meter = self.level_meter()
            meter.update(wave)
            level_db = self.level(meter)
        elif isinstance(level_db, float | int):
            check_level(level_db)
        spectrum = self.stft.forward(wave)
        image = self.representation.encode(spectrum, level_db)
        return image, Context(spectrum, image, wave.shape[-1], level_db)

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

    @cached_property
    def rumble_rows(self) -> int:
        """How many rows lie below `LOWEST_HZ`, where images are gains: none of the music that those can change."""
        return int((self.row_frequencies() < LOWEST_HZ).sum()) if self.representation.is_gain else 0

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
