"""Wave <-> image: what the network sees of a sound, and how its output becomes a sound again.

Every representation maps a spectrum ``(channels, bins, frames)`` to an image ``(groups, image channels, rows, frames)``
in [-1, 1] and an image back to `Decoded` values: magnitudes, and phases where the image holds them. `AudioImaging` puts
the STFT before it, and a phase method and the inverse STFT behind it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import ClassVar, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiotrans.errors import lookup
from audiotrans.spectrogram.level import LOWEST_HZ, Level, LevelMeter, check_level
from audiotrans.spectrogram.phase import PHASES, PhaseTask
from audiotrans.spectrogram.stft import STFT

TOP_DB = 24.0
"""Headroom: +1 in an image lies this far above the level, so that partials do not clip."""

DB_PER_UNIT = 50.0
"""Decibels in one unit of a logarithmic image."""

RANGE_DB = 2 * DB_PER_UNIT
"""Distance of -1 and +1 in the logarithmic images; the floor lies ``RANGE_DB - TOP_DB`` below the level."""


@dataclass(frozen=True)
class Context:
    """What an image cannot hold of its sound.

    Attributes:
        spectrum: complex ``(channels, bins, frames)``, the source's own.
        image: ``(groups, image channels, rows, frames)``, as `to_image` gave it.
        length: samples of the wave.
        level_db: what the image is relative to, dB re full scale; 0 dB in an image is this level plus `TOP_DB`.
    """

    spectrum: Tensor
    image: Tensor
    length: int
    level_db: Level


@dataclass(frozen=True)
class Decoded:
    """What an image says of its sound.

    Attributes:
        magnitude: ``(channels, bins, frames)``, >= 0.
        phase: radians, same shape, where the image holds phases.
        gain: ``(bins, frames)``, where the magnitude is so many times the source's, whose phase then fits.
    """

    magnitude: Tensor
    phase: Tensor | None = None
    gain: Tensor | None = None


class Representation(Protocol):
    """What `AudioImaging` needs of a representation.

    Attributes:
        rows: of its images.
        is_gain: whether the difference of output and input is a gain on the source's spectrum.
        follows_level: whether they are made at the level of the music around each frame, or at one for a whole sound.
    """

    rows: int
    is_gain: bool
    follows_level: bool

    def image_channels(self, channels: int) -> int:
        """Return the image's channel count for sounds of ``channels`` channels."""

    def encode(self, spectrum: Tensor, level_db: Level) -> Tensor:
        """Turn a spectrum into an image."""

    def decode(self, image: Tensor, context: Context) -> Decoded:
        """Turn an image of ``context``'s shape into magnitudes."""

    def row_bins(self) -> NDArray[np.float64]:
        """Return the centre of each row in (fractional) bins."""

    def display_db(self, image: Tensor) -> Tensor:
        """Return magnitudes of the image in dB below the top, ``(image channels, rows, frames)``, for figures."""


def amplitude_scale(stft: STFT) -> float:
    """Return the factor that makes a full-scale sine's peak magnitude 1."""
    return 4.0 / stft.n_fft


SOFT_FLOOR = 10 ** ((TOP_DB - RANGE_DB) / 10)
"""Power re the level, added before the logarithm: a smooth floor that can be subtracted again.

It is the power of the image's -1, so silence lies exactly there, and what equals the floor 3 dB above.
"""


def _relative_power(spectrum: Tensor, stft: STFT, level_db: Level) -> Tensor:
    """Return power re the level; scaled before squaring, so that no sound leaves the range of float32."""
    scale = amplitude_scale(stft) / _amplitude(level_db, spectrum)
    real, imag = spectrum.real * scale, spectrum.imag * scale  # `abs` takes four times as long
    return real.square_().addcmul_(imag, imag)


def _summed(channels: Tensor) -> Tensor:
    """Sum over the first axis; ``sum(0)`` takes ten times as long of what `STFT.forward` lays out."""
    return reduce(torch.add, channels.unbind(0))


def _amplitude(level_db: Level, like: Tensor) -> Tensor:
    """Return the amplitude of a level, one number or ``(frames,)``, to be multiplied with ``like``."""
    # In this order: MPS has no float64.
    amplitude = torch.from_numpy(np.asarray(10 ** (np.asarray(level_db, np.float64) / 20)))
    return amplitude.to(like.real.dtype).to(like.device)


def _power_to_image(power: Tensor) -> Tensor:
    return ((10 * torch.log10(power + SOFT_FLOOR) - TOP_DB) * (2 / RANGE_DB) + 1).clamp(-1, 1)


def _image_to_db(image: Tensor) -> Tensor:
    """Return dB below the image's top."""
    return (image - 1) * DB_PER_UNIT


def relevel(image: Tensor, change_db: Tensor) -> Tensor:
    """Return the logarithmic image of the same sound so much louder, relative to the same level.

    Args:
        image: ``(..., rows, frames)`` in [-1, 1].
        change_db: what broadcasts to the image's shape.
    """
    power = torch.pow(10.0, (_image_to_db(image) + TOP_DB) / 10) - SOFT_FLOOR
    return _power_to_image(power.clamp(min=0) * torch.pow(10.0, change_db / 10))


def _grouped(spectrum: Tensor, size: int) -> Tensor:
    """Split channels into groups of ``size``, the last channel repeated to fill: ``(groups, size, bins, frames)``."""
    missing = -spectrum.shape[0] % size
    filled = torch.cat([spectrum, *[spectrum[-1:]] * missing])
    return filled.reshape(-1, size, *spectrum.shape[1:])


def smooth_gains(gain_db: Tensor, magnitude: Tensor) -> Tensor:
    """Smooth gains over neighbouring bins, weighted by magnitude.

    A partial fills the few bins of the window's main lobe. Gains that differ within them ask for a spectrum that no
    sound has, and its inverse has another one: partials that flutter. So a bin's gain becomes the mean of its own and
    its two neighbours', each weighted by its magnitude: where one of them holds a partial, that one's gain decides.

    Args:
        gain_db: ``(bins, frames)``.
        magnitude: of the source, the same shape, >= 0.

    Returns:
        The same shape; 0 dB where there is silence.
    """
    total = _with_neighbours(magnitude).clamp_(min=torch.finfo(magnitude.dtype).tiny)
    return _with_neighbours(magnitude * gain_db) / total


def _with_neighbours(values: Tensor) -> Tensor:
    """Return each bin's sum with its two neighbours, of ``(bins, frames)``."""
    around = values.clone()
    around[1:] += values[:-1]
    around[:-1] += values[1:]
    return around


class LogMelGain:
    """Log-power spectrogram of all channels together; the output is a spectral gain (mask) on the source's spectrum.

    The axis: ``rows`` bands that are linear in frequency (one bin each) up to about 1.5 kHz and logarithmic above, as
    on Slaney's mel scale, but with no band narrower than a bin, so that low partials stay apart. The difference between
    output and input in dB is the gain. It is spread over the bins, smoothed over neighbouring ones (`smooth_gains`) and
    applied to every channel alike: stereo, phase and all fine detail stay the source's own.
    """

    is_gain, follows_level = True, True

    def __init__(self, stft: STFT, channels: int, rows: int = 256, time_stride: int = 1) -> None:
        del channels, time_stride  # one image serves any number of channels; there is no down-sampled form
        self.stft, self.rows = stft, rows
        self.centres = warped_centres(rows, stft.bins)
        self.bank = torch.from_numpy(triangular_bank(self.centres, stft.bins)).float()
        self.spread = (self.bank / self.bank.sum(0, keepdim=True)).T.contiguous()
        self.bank = self.bank / self.bank.sum(1, keepdim=True)

    def image_channels(self, channels: int) -> int:
        """Return 1: all channels share one image."""
        del channels
        return 1

    def encode(self, spectrum: Tensor, level_db: Level) -> Tensor:
        """Return the mean power of all channels in `rows` bands as an image ``(1, 1, rows, frames)``."""
        return self.image_of(_summed(_relative_power(spectrum, self.stft, level_db)) / spectrum.shape[0])

    def image_of(self, power: Tensor) -> Tensor:
        """Return the image ``(1, 1, rows, frames)`` of a power re the level, ``(bins, frames)``."""
        return _power_to_image(self.bank.to(power) @ power)[None, None]

    def decode(self, image: Tensor, context: Context) -> Decoded:
        """Apply ``image - context.image``, a gain in dB per band, to the source's magnitudes."""
        magnitude = _relative_power(context.spectrum, self.stft, context.level_db).sqrt_()
        gain = self.gain_of(image - context.image, _summed(magnitude))
        unit = _amplitude(context.level_db, gain) / amplitude_scale(self.stft)
        return Decoded(magnitude.mul_(gain * unit), gain=gain)

    def gain_of(self, change: Tensor, magnitude: Tensor) -> Tensor:
        """Return the factor of each bin, ``(bins, frames)``.

        Args:
            change: of the image, ``(1, 1, rows, frames)``.
            magnitude: of the source, all channels together, ``(bins, frames)``, in any unit.
        """
        gain_db = change[0, 0].T * DB_PER_UNIT
        gain_db = (gain_db @ self.spread.to(gain_db).T).T  # laid out as spectra are
        return torch.exp(smooth_gains(gain_db, magnitude) * (math.log(10) / 20))

    def row_bins(self) -> NDArray[np.float64]:
        """Return the bands' centres in bins."""
        return self.centres

    def display_db(self, image: Tensor) -> Tensor:
        """Return dB below the image's top."""
        return _image_to_db(image)[0]


class LogMagnitude:
    """Log-magnitude spectrogram, one image channel per sound channel; the Nyquist bin stays the source's."""

    is_gain, follows_level = False, True

    def __init__(self, stft: STFT, channels: int, rows: int = 0, time_stride: int = 1) -> None:
        del rows, time_stride
        self.stft, self.channels, self.rows = stft, channels, stft.bins - 1

    def image_channels(self, channels: int) -> int:
        """Return ``channels``."""
        return channels

    def encode(self, spectrum: Tensor, level_db: Level) -> Tensor:
        """Return ``(groups, channels, n_fft // 2, frames)``."""
        power = _relative_power(spectrum[..., :-1, :], self.stft, level_db)
        return _power_to_image(_grouped(power, self.channels))

    def decode(self, image: Tensor, context: Context) -> Decoded:
        """Return the image's magnitudes: the smooth floor is taken off again."""
        power = torch.pow(10.0, (_image_to_db(image) + TOP_DB) / 10) - SOFT_FLOOR
        magnitude = power.clamp(min=0).sqrt() * (_amplitude(context.level_db, image) / amplitude_scale(self.stft))
        return Decoded(_with_nyquist(magnitude, context.spectrum.abs()))

    def row_bins(self) -> NDArray[np.float64]:
        """Return 0 .. rows - 1."""
        return np.arange(self.rows, dtype=float)

    def display_db(self, image: Tensor) -> Tensor:
        """Return dB below the image's top."""
        return _image_to_db(image)[0]


class MagnitudePhase:
    """The paper's image: linear magnitude and wrapped phase of each channel, stacked (section 4.3, figure 8).

    For stereo: left magnitude, left phase, right magnitude, right phase. ``time_stride`` keeps every n-th column only,
    the paper's "down-sampled" setting; decoding then interpolates magnitudes linearly and lets phases advance at their
    bin's frequency. It cannot be exact: the paper itself reports that quality deteriorates.
    """

    is_gain, follows_level = False, False  # the paper has one scale for a sound

    def __init__(self, stft: STFT, channels: int, rows: int = 0, time_stride: int = 1) -> None:
        del rows
        self.stft, self.channels, self.rows, self.time_stride = stft, channels, stft.bins - 1, time_stride

    def image_channels(self, channels: int) -> int:
        """Return ``2 * channels``."""
        return 2 * channels

    def encode(self, spectrum: Tensor, level_db: Level) -> Tensor:
        """Return ``(groups, 2 * channels, n_fft // 2, ceil(frames / time_stride))``."""
        kept = _grouped(spectrum[..., :-1, :: self.time_stride], self.channels)
        top = _amplitude(level_db + TOP_DB, spectrum)
        magnitude = (kept.abs() * (amplitude_scale(self.stft) * 2 / top) - 1).clamp(-1, 1)
        # Silence has no phase; -0 would have that of a half turn, and some libraries' transforms of silence hold it.
        phase = torch.where(kept == 0, 0.0, kept.angle()) / math.pi
        return torch.stack([magnitude, phase], dim=2).flatten(1, 2)

    def decode(self, image: Tensor, context: Context) -> Decoded:
        """Return magnitude and phase as the image has them."""
        pairs = image.reshape(image.shape[0], self.channels, 2, *image.shape[2:])
        top = _amplitude(context.level_db + TOP_DB, image)
        magnitude = (pairs[:, :, 0] + 1).clamp(min=0) * (top / 2 / amplitude_scale(self.stft))
        phase = pairs[:, :, 1] * math.pi
        if self.time_stride > 1:
            magnitude, phase = self._upsampled(magnitude, phase, context.spectrum.shape[-1])
        source = context.spectrum
        return Decoded(_with_nyquist(magnitude, source.abs()), _with_nyquist(phase, source.angle()))

    def _upsampled(self, magnitude: Tensor, phase: Tensor, frames: int) -> tuple[Tensor, Tensor]:
        at = torch.arange(frames, device=magnitude.device)
        left = at // self.time_stride
        right = (left + 1).clamp(max=magnitude.shape[-1] - 1)
        share = (at % self.time_stride) / self.time_stride
        between = magnitude[..., left] * (1 - share) + magnitude[..., right] * share
        bins = torch.arange(self.rows, device=phase.device, dtype=phase.dtype)
        step = 2 * math.pi * self.stft.hop_length / self.stft.n_fft * bins[:, None] * (at % self.time_stride)
        return between, phase[..., left] + step

    def row_bins(self) -> NDArray[np.float64]:
        """Return 0 .. rows - 1."""
        return np.arange(self.rows, dtype=float)

    def display_db(self, image: Tensor) -> Tensor:
        """Return magnitudes in dB below the image's top, one per sound channel (phases are left out)."""
        magnitude = (image[0, 0::2] + 1) / 2
        return 20 * torch.log10(magnitude.clamp(min=10 ** (-RANGE_DB / 20)))


def _with_nyquist(rows: Tensor, source: Tensor) -> Tensor:
    """Ungroup ``(groups, size, rows, frames)``, drop filled channels, and append the source's Nyquist row."""
    flat = rows.flatten(0, 1)[: source.shape[0]]
    return torch.cat([flat, source[:, -1:, :].to(flat)], dim=1)


def warped_centres(rows: int, bins: int) -> NDArray[np.float64]:
    """Return ``rows`` band centres in bins, 0 .. ``bins - 1``: spaced by one bin, then by a constant ratio.

    The break is where both spacings agree, so no band is narrower than a bin (the one step that crosses the break is
    shorter by a hair, 0.2 % at 256 rows of 1025 bins). (Slaney's mel scale has the same form,
    with its break at 1 kHz whatever the resolution.)

    Raises:
        ValueError: if there are more rows than bins.
    """
    if not 8 <= rows <= bins:
        raise ValueError(f"{rows} rows: 8 to {bins} (the bins of the STFT) are possible")
    low, high = 1.0, float(rows)
    for _ in range(100):
        middle = (low + high) / 2
        last = middle * (1 + 1 / middle) ** (rows - 1 - middle)
        low, high = (middle, high) if last > bins - 1 else (low, middle)
    at = np.arange(rows, dtype=float)
    centres = np.where(at <= low, at, low * (1 + 1 / low) ** (at - low))
    centres[-1] = bins - 1
    return centres


def triangular_bank(centres: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """Return triangles of height 1 between neighbouring centres, ``(rows, bins)``; every bin's weights sum to 1."""
    at = np.arange(bins, dtype=float)
    unit = np.eye(len(centres))
    return np.stack([np.interp(at, centres, row) for row in unit])


REPRESENTATIONS: dict[str, Callable[..., Representation]] = {
    "log_mel_gain": LogMelGain,
    "log_magnitude": LogMagnitude,
    "magnitude_phase": MagnitudePhase,
}


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
        return LevelMeter(self.stft.n_fft, self.stft.hop_length, self.settings.sample_rate, most_frames)

    def level_db(self, wave: Tensor) -> float:
        """Return the gated level of a whole wave ``(channels, samples)`` in dB re full scale; -inf for silence."""
        meter = self.level_meter()
        meter.update(wave.cpu().numpy())
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
            meter.update(wave.cpu().numpy())
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
