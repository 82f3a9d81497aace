"""Wave <-> spectrum, with an exact inverse for every length."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class STFT:
    """Hann-windowed STFT whose two directions share their settings.

    Frame ``k`` is centred on sample ``k * hop_length``; the wave is taken as zero outside its ends.

    Args:
        n_fft: frame length and FFT size in samples, even.
        hop_length: distance of frames in samples, at most ``n_fft // 2`` so that every sample is covered twice.
    """

    n_fft: int = 2048
    hop_length: int = 512

    def __post_init__(self) -> None:
        if self.n_fft < 4 or self.n_fft % 2:
            raise ValueError(f"n_fft {self.n_fft} must be even and at least 4")
        if not 1 <= self.hop_length <= self.n_fft // 2:
            raise ValueError(f"hop_length {self.hop_length} must lie in 1..{self.n_fft // 2} (n_fft // 2)")

    @property
    def bins(self) -> int:
        """Number of frequency bins, ``n_fft // 2 + 1``."""
        return self.n_fft // 2 + 1

    def frames(self, samples: int) -> int:
        """Number of frames of a wave of ``samples`` samples: ``1 + ceil(samples / hop_length)``."""
        return 1 + -(-samples // self.hop_length)

    def window(self, like: Tensor | None = None) -> Tensor:
        """Return the periodic Hann window, ``(n_fft,)``, real, on the device of ``like``."""
        if like is None:
            return torch.hann_window(self.n_fft)
        real = like.real.dtype if like.is_complex() else like.dtype
        return torch.hann_window(self.n_fft, dtype=real, device=like.device)

    def forward(self, wave: Tensor) -> Tensor:
        """Transform a wave.

        Args:
            wave: real, ``(..., samples)``; any length, also zero.

        Returns:
            Complex spectrum ``(..., n_fft // 2 + 1, 1 + ceil(samples / hop_length))``, unscaled: a sine of
            amplitude 1 at a bin's centre has magnitude ``n_fft / 4``.
        """
        samples = wave.shape[-1]
        right = (self.frames(samples) - 1) * self.hop_length - samples + self.n_fft // 2
        padded = torch.nn.functional.pad(wave, (self.n_fft // 2, right))
        flat = padded.reshape(-1, padded.shape[-1])
        spectrum = torch.stft(
            flat, self.n_fft, self.hop_length, window=self.window(wave), center=False, return_complex=True
        )
        return spectrum.reshape(*wave.shape[:-1], *spectrum.shape[-2:])

    def inverse(self, spectrum: Tensor, length: int) -> Tensor:
        """Return the least-squares wave of a spectrum (Griffin and Lim 1984, eq. 6).

        Args:
            spectrum: complex, ``(..., n_fft // 2 + 1, frames)``.
            length: samples wanted, at most ``(frames - 1) * hop_length``.

        Returns:
            Real wave ``(..., length)``.

        Raises:
            ValueError: if more samples are asked for than the frames hold.
        """
        if length > (spectrum.shape[-1] - 1) * self.hop_length:
            raise ValueError(f"{spectrum.shape[-1]} frames hold fewer than {length} samples")
        if length == 0:
            return spectrum.real.new_zeros(*spectrum.shape[:-2], 0)
        window = self.window(spectrum)
        left, stop = self.n_fft // 2, self.n_fft // 2 + length
        weight = self._overlap_added(window.square().expand(spectrum.shape[-1], -1))[left:stop]
        waves = [  # one after the other: their frames take twice the memory of their spectrum
            self._overlap_added(torch.fft.irfft(channel.T, self.n_fft).mul_(window))[left:stop] / weight
            for channel in spectrum.reshape(-1, *spectrum.shape[-2:])
        ]
        return torch.stack(waves).reshape(*spectrum.shape[:-2], length)

    def _overlap_added(self, frames: Tensor) -> Tensor:
        """Add up frames ``(frames, n_fft)`` that begin a hop apart, ``(samples,)``; `torch.istft` is slower."""
        hops = -(-self.n_fft // self.hop_length)
        rest = hops * self.hop_length - self.n_fft
        padded = torch.nn.functional.pad(frames, (0, rest)) if rest else frames
        cut = padded.reshape(len(frames), hops, self.hop_length)
        total = frames.new_zeros(len(frames) + hops - 1, self.hop_length)
        for hop in range(hops):
            total[hop : hop + len(frames)] += cut[:, hop]
        return total.flatten()

    def inconsistency_db(self, spectrum: Tensor) -> float:
        """Measure how far a spectrum is from being the STFT of any wave.

        Args:
            spectrum: complex, ``(..., n_fft // 2 + 1, frames)``.

        Returns:
            ``20 log10(|| |STFT(ISTFT(X))| - |X| || / ||X||)`` in dB; -inf for silence, very low for a real STFT.
        """
        magnitude = spectrum.abs()
        again = self.forward(self.inverse(spectrum, (spectrum.shape[-1] - 1) * self.hop_length)).abs()
        error, total = (again - magnitude).norm(), magnitude.norm()
        return float(20 * torch.log10(error / total)) if error > 0 and total > 0 else float("-inf")
