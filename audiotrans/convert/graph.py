"""A model of sounds as one graph from wave to wave, for ONNX and TorchScript.

`SoundGraph` does what `Converter` does between resampling in and out, for one translation at settings that are fixed:
STFT, level that follows the music, image, model with everything around it, gain, inverse STFT. It calls the very
functions of `effects`, `imaging` and `nets`; what is written again here is what no graph format holds: complex numbers
(so the STFT is one of real matrices) and loops over the frames of a level. `audiotrans.convert.graph_export` measures
that both ways give one sound.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool1d, pad

from audiotrans.convert.effects import aligned_noise, noise_period, translated
from audiotrans.errors import AudiotransError
from audiotrans.spectrogram.imaging import LogMelGain, amplitude_scale
from audiotrans.spectrogram.level import (
    AHEAD_SECONDS,
    DEPTH_DB,
    FALL_DB_PER_SECOND,
    HOLD_SECONDS,
    LOUD_SHARE,
    MEDIAN_SECONDS,
    RISE_DB_PER_SECOND,
    first_bin,
    power_scale,
)
from audiotrans.spectrogram.stft import STFT

if TYPE_CHECKING:
    from audiotrans.convert.converter import Converter
    from audiotrans.options import ConvertOptions

SILENT_PEAK = 1e-20
"""Highest sample of what is taken for silence: it stays silence."""

LOWEST_DB = -150.0
"""Levels go no deeper below the highest sample: their squares must stay numbers of float32."""


class SoundGraph(nn.Module):
    """One translation of sounds, from wave to wave, in operations that graph formats have.

    Args:
        converter: of the model, on the CPU.
        options: complete, from `Converter.options`; ``phase`` and those that change waves do not count.

    Raises:
        AudiotransError: for a model whose output is no gain, or whose frames overlap by no whole number of hops.
    """

    def __init__(self, converter: Converter, options: ConvertOptions) -> None:
        super().__init__()
        settings, imaging = converter.settings, converter.imaging
        if not isinstance(imaging.representation, LogMelGain):
            raise AudiotransError(
                f"no graph can hold this model: phases of {settings.representation} images are estimated step by step; "
                "models with the representation log_mel_gain can be exported"
            )
        if settings.n_fft % settings.hop_length:
            raise AudiotransError(f"no graph can hold this model: n_fft {settings.n_fft} is no multiple of its hop")
        self.imaging, self.options, self.representation = imaging, options, imaging.representation
        self.sides = converter.side(options.source), converter.side(options.to)
        self.model = converter.model
        self.stft = RealSTFT(imaging.stft)
        self.level = LevelGraph(settings.hop_length / settings.sample_rate)
        self.first_bin = first_bin(settings.n_fft, settings.sample_rate)
        self.power_scale = power_scale(settings.n_fft)
        self._keep_noise()

    def _keep_noise(self) -> None:
        """Hold a period of the noise for each number of rows that the model is given."""
        rows, stride = self.representation.rows, self.model.stride
        period = noise_period(self.model)
        seen: list[Tensor] = []

        def remember(image: Tensor) -> Tensor | None:
            seen.append(image)
            return None

        with torch.no_grad():
            translated(
                self.model, self.imaging, torch.zeros(1, 1, rows, 4 * stride[1]), self.options, self.sides, remember
            )
            for height in {image.shape[2] for image in seen}:
                noise = aligned_noise(self.model, torch.zeros(1, 1, height, period), 0, self.options.seed)
                if noise is not None:
                    self.register_buffer(f"noise_{height}", noise)

    def noise(self, image: Tensor) -> Tensor | None:
        """Return what `aligned_noise` gives for an image at the beginning of a sound."""
        held = getattr(self, f"noise_{image.shape[2]}", None)
        if held is None:
            return None
        at = torch.arange(image.shape[3]) % held.shape[3]
        return cast(Tensor, held.index_select(3, at))

    def forward(self, wave: Tensor, level_db: Tensor) -> Tensor:
        """Translate a wave.

        Args:
            wave: float32, ``(channels, samples)`` at the model's rate.
            level_db: float32, `LevelMeter.levels_db` of each frame, where the wave is a piece of a sound. What is not a
                number there is measured on this wave; the last value stands for all frames that follow.

        Returns:
            The translated wave, of the same shape.
        """
        samples = wave.shape[1]
        peak = wave.abs().max().clamp(min=SILENT_PEAK)
        spectrum = self.stft.forward(wave / peak)  # so that no sound leaves the range of float32
        energy = spectrum.square().sum(2)  # (channels, frames, bins)
        mean = energy.mean(0)
        # Parseval: every bin stands for two, but for the last one.
        power = (mean[:, self.first_bin :].sum(1) - mean[:, -1] / 2) * self.power_scale
        given = level_db[torch.minimum(torch.arange(power.shape[0]), _last(level_db))] - 20 * torch.log10(peak)
        level = torch.where(torch.isnan(given), self.level(power), given)
        scale = amplitude_scale(self.imaging.stft) ** 2 * torch.pow(10.0, level / -10)
        image = self.representation.image_of((mean * scale[:, None]).T)
        made = translated(self.model, self.imaging, image, self.options, self.sides, self.noise)
        gain = self.representation.gain_of(made - image, energy.sqrt().sum(0).T)
        return self.stft.inverse(spectrum * gain.T[:, None], samples) * peak


class RealSTFT(nn.Module):
    """The STFT of `STFT` with real numbers only, and its inverse.

    Args:
        stft: whose frames these are; ``n_fft`` is a multiple of the hop.
    """

    window: Tensor

    def __init__(self, stft: STFT) -> None:
        super().__init__()
        self.size, self.hop, self.overlap = stft.n_fft, stft.hop_length, stft.n_fft // stft.hop_length
        self.register_buffer("window", stft.window())
        self.fourier = RealFourier(stft.n_fft)

    def hops(self, samples: int) -> int:
        """Return the frames of a wave, less one."""
        return (samples + self.hop - 1) // self.hop

    def forward(self, wave: Tensor) -> Tensor:
        """Transform a wave ``(channels, samples)`` to ``(channels, frames, 2, bins)``: real and imaginary parts."""
        hops = self.hops(wave.shape[1])
        padded = pad(wave, (self.size // 2, hops * self.hop - wave.shape[1] + self.size // 2))
        cut = padded.reshape(wave.shape[0], -1, self.hop)
        frames = torch.cat([cut[:, part : part + hops + 1] for part in range(self.overlap)], dim=2)
        spectrum: Tensor = self.fourier(frames * self.window)
        return spectrum

    def inverse(self, spectrum: Tensor, samples: int) -> Tensor:
        """Return the least-squares wave ``(channels, samples)`` of a spectrum."""
        window = self.window.expand(1, spectrum.shape[1], self.size)
        total = self._added(self.fourier.inverse(spectrum) * window)
        weight = self._added(window.square())
        first = self.size // 2
        return total[:, first : first + samples] / weight[:, first : first + samples]

    def _added(self, frames: Tensor) -> Tensor:
        """Overlap and add frames ``(channels, frames, n_fft)``."""
        parts = frames.reshape(frames.shape[0], -1, self.overlap, self.hop)
        last = self.overlap - 1
        total = pad(parts[:, :, 0], (0, 0, 0, last))
        for part in range(1, self.overlap):
            total = total + pad(parts[:, :, part], (0, 0, part, last - part))
        return total.reshape(frames.shape[0], -1)


class RealFourier(nn.Module):
    """Fourier transform of real frames, and its inverse, by two matrix products.

    A frame's samples are laid out in ``columns`` columns: ``n = columns * a + b``, and ``k = rows * d + c``. Then

        X[k] = sum_b  W(size)^(b c)  W(columns)^(b d)  sum_a  W(rows)^(a c)  x[columns * a + b]

    with ``W(m) = exp(-2 pi i / m)``.

    The inverse takes the same steps backwards, transposed.

    Args:
        size: of a frame, even.

    Source:
        Cooley and Tukey 1965, with the two factors nearest to each other.
    """

    rows_: Tensor
    turn_real: Tensor
    turn_imag: Tensor
    of_real: Tensor
    of_imag: Tensor
    weights: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        pairs = [(rows, size // rows) for rows in range(1, size + 1) if size % rows == 0 and size // rows % 2 == 0]
        self.size = size
        self.rows, self.columns = min(pairs, key=sum)
        self.bins, self.kept = size // 2 + 1, self.columns // 2 + 1
        real, imag = _roots(self.rows, self.rows, self.rows)
        self.register_buffer("rows_", torch.cat([real, imag]).float())
        real, imag = _roots(self.rows, self.columns, size)
        self.register_buffer("turn_real", real.float())
        self.register_buffer("turn_imag", imag.float())
        real, imag = _roots(self.columns, self.kept, self.columns)
        self.register_buffer("of_real", torch.cat([real, imag], dim=1).float())
        self.register_buffer("of_imag", torch.cat([-imag, real], dim=1).float())
        weights = torch.full((self.bins,), 2 / size)  # every bin but the first and the last has a mirror image
        weights[0] = weights[-1] = 1 / size
        self.register_buffer("weights", weights)

    def forward(self, frames: Tensor) -> Tensor:
        """Transform ``(channels, frames, size)`` to ``(channels, frames, 2, bins)``."""
        cut = frames.reshape(frames.shape[0], -1, self.rows, self.columns)
        both = self.rows_ @ cut
        real, imag = both[:, :, : self.rows], both[:, :, self.rows :]
        turned = (real * self.turn_real - imag * self.turn_imag) @ self.of_real + (
            real * self.turn_imag + imag * self.turn_real
        ) @ self.of_imag
        split = turned.reshape(frames.shape[0], -1, self.rows, 2, self.kept).permute(0, 1, 3, 4, 2)
        return split.reshape(frames.shape[0], -1, 2, self.kept * self.rows)[..., : self.bins]

    def inverse(self, spectrum: Tensor) -> Tensor:
        """Return the frames ``(channels, frames, size)`` of a spectrum ``(channels, frames, 2, bins)``."""
        filled = pad(spectrum * self.weights, (0, self.kept * self.rows - self.bins))
        split = filled.reshape(spectrum.shape[0], -1, 2, self.kept, self.rows).permute(0, 1, 4, 2, 3)
        flat = split.reshape(spectrum.shape[0], -1, self.rows, 2 * self.kept)
        real, imag = flat @ self.of_real.T, flat @ self.of_imag.T
        turned = torch.cat(
            [real * self.turn_real + imag * self.turn_imag, imag * self.turn_real - real * self.turn_imag], dim=2
        )
        return (self.rows_.T @ turned).reshape(spectrum.shape[0], -1, self.size)


def _roots(first: int, second: int, size: int) -> tuple[Tensor, Tensor]:
    """Return the real and imaginary parts of ``exp(-2 pi i a b / size)``, ``(first, second)`` each."""
    turns = torch.outer(torch.arange(first), torch.arange(second)).double() % size
    return torch.cos(2 * math.pi / size * turns), -torch.sin(2 * math.pi / size * turns)


class LevelGraph(nn.Module):
    """The level of the music around each frame, as `audiotrans.spectrogram.level.followed` gives it.

    Args:
        seconds_per_frame: between frames.
    """

    def __init__(self, seconds_per_frame: float) -> None:
        super().__init__()
        self.beside = max(1, round(MEDIAN_SECONDS / seconds_per_frame / 2))
        self.ahead = max(1, round(AHEAD_SECONDS / seconds_per_frame))
        self.hold = round(HOLD_SECONDS / seconds_per_frame)
        self.rise, self.fall = RISE_DB_PER_SECOND * seconds_per_frame, FALL_DB_PER_SECOND * seconds_per_frame

    def loudness_db(self, level: Tensor) -> Tensor:
        """Return what `LOUD_SHARE` of the levels ``(frames,)`` lie below: the quantile, interpolated."""
        order = torch.sort(level).values
        place = LOUD_SHARE * _last(level).float()
        below = place.floor().long()
        above = place.ceil().long()
        return order[below] + (place - below) * (order[above] - order[below])

    def forward(self, power: Tensor) -> Tensor:
        """Return the level of each frame in dB, given the power of each, ``(frames,)``."""
        width = 2 * self.beside + 1
        last = _last(power)
        at = (torch.arange(power.shape[0] + 2 * self.beside) - self.beside).abs()  # reflected at the beginning
        around = power[torch.minimum(at, 2 * last - at).clamp(min=0)]  # and at the end
        windows = torch.stack([around[start : start + power.shape[0]] for start in range(width)], dim=1)
        median = torch.topk(windows, self.beside + 1, dim=1).values[:, -1]
        level = 10 * torch.log10(median.clamp(min=10 ** (LOWEST_DB / 10)))
        level = torch.maximum(level, self.loudness_db(level) - DEPTH_DB)
        return self._fallen(self._held(self._risen(level)))

    def _risen(self, level: Tensor) -> Tensor:
        """Return the largest of what lies ahead, less the more the further away: spans that double."""
        span = 1
        while 2 * span <= self.ahead + 1:
            level = torch.maximum(level, _later(level, span) - self.rise * span)
            span *= 2
        rest = self.ahead + 1 - span
        return torch.maximum(level, _later(level, rest) - self.rise * rest) if rest else level

    def _held(self, level: Tensor) -> Tensor:
        """Return the largest of the last frames."""
        before = pad(level[None], (self.hold, 0), value=-1e9)
        return max_pool1d(before, self.hold + 1, 1)[0]

    def _fallen(self, level: Tensor) -> Tensor:
        """Return the largest of all that lies behind, less the more the further away."""
        span = 1
        while span * self.fall < -2 * LOWEST_DB:  # no level lies further above another
            level = torch.maximum(level, pad(level, (span, 0), value=-1e9)[: level.shape[0]] - self.fall * span)
            span *= 2
        return level


def _last(values: Tensor) -> Tensor:
    """Return the index of the last value, ``(1,)``, as a tensor: graphs keep what it depends on."""
    return torch.arange(values.shape[0])[-1:]


def _later(level: Tensor, frames: int) -> Tensor:
    """Return what comes so many frames later; beyond the end, nothing."""
    return pad(level, (0, frames), value=-1e9)[frames:]
