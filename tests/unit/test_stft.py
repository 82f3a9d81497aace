"""The transform against hand values, against a plain overlap-add, and against librosa."""

from __future__ import annotations

import math

import librosa
import numpy as np
import pytest
import torch
from torch import Tensor

from audiotrans.spectrogram.stft import STFT

SETTINGS = [(2048, 512), (2048, 1024), (1024, 256), (512, 64), (512, 200), (64, 5), (10, 5), (4, 1), (4, 2)]


def noise(*shape: int, seed: int = 0) -> Tensor:
    """White noise, float64."""
    return torch.from_numpy(0.1 * np.random.default_rng(seed).standard_normal(shape))


def lengths(n_fft: int, hop: int) -> list[int]:
    return [0, 1, hop - 1, hop, hop + 1, n_fft // 2, n_fft - 1, n_fft, 3 * n_fft, 3 * n_fft + hop // 2 + 1]


def least_squares(spectrum: np.ndarray, stft: STFT, length: int) -> np.ndarray:
    """Overlap-add by hand: the sum of windowed frames over the sum of squared windows."""
    window = np.hanning(stft.n_fft + 1)[:-1]
    frames = np.fft.irfft(spectrum, axis=0)
    total = np.zeros((spectrum.shape[1] - 1) * stft.hop_length + stft.n_fft)
    weight = np.zeros_like(total)
    for k in range(spectrum.shape[1]):
        here = slice(k * stft.hop_length, k * stft.hop_length + stft.n_fft)
        total[here] += window * frames[:, k]
        weight[here] += window**2
    middle = slice(stft.n_fft // 2, stft.n_fft // 2 + length)
    return total[middle] / weight[middle]


@pytest.mark.parametrize(("n_fft", "hop"), SETTINGS)
def test_the_inverse_is_exact_for_every_length(n_fft: int, hop: int) -> None:
    stft = STFT(n_fft, hop)
    for length in lengths(n_fft, hop):
        wave = noise(2, length)
        spectrum = stft.forward(wave)
        assert spectrum.shape == (2, n_fft // 2 + 1, 1 + math.ceil(length / hop))
        assert spectrum.shape[1:] == (stft.bins, stft.frames(length))
        back = stft.inverse(spectrum, length)
        assert back.shape == wave.shape
        # float64; the window's overlap never falls below a half, so nothing is amplified on the way.
        assert torch.allclose(back, wave, rtol=0, atol=1e-12)


def test_float32_reconstruction_is_below_minus_120_db() -> None:
    wave = noise(30_001).float()
    stft = STFT()
    error = stft.inverse(stft.forward(wave), 30_001) - wave
    assert 20 * torch.log10(error.norm() / wave.norm()) < -120


@pytest.mark.parametrize(("n_fft", "hop"), [(2048, 512), (512, 200), (64, 5)])
def test_spectra_are_librosas_with_zeros_around_the_wave(n_fft: int, hop: int) -> None:
    stft = STFT(n_fft, hop)
    for length in (1, n_fft // 2, 2 * n_fft + 3):
        wave = noise(length)
        # librosa leaves out the last, incomplete hop: give it one that is complete.
        full = np.pad(wave.numpy(), (0, -length % hop))
        padded = np.pad(full, n_fft // 2)
        oracle = librosa.stft(padded, n_fft=n_fft, hop_length=hop, center=False, window="hann")
        np.testing.assert_allclose(stft.forward(wave).numpy(), oracle, rtol=0, atol=1e-10)
        if length > n_fft:  # librosa's own padding warns about, or refuses, shorter waves
            oracle = librosa.stft(full, n_fft=n_fft, hop_length=hop, center=True, pad_mode="constant")
            np.testing.assert_allclose(stft.forward(wave).numpy(), oracle, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("n_fft", "hop"), [(2048, 512), (512, 200)])
@pytest.mark.parametrize("bin_index", [3, 17, 100])
def test_a_full_scale_sine_at_a_bin_has_a_quarter_of_n_fft(n_fft: int, hop: int, bin_index: int) -> None:
    wave = torch.sin(2 * math.pi * bin_index * torch.arange(4 * n_fft, dtype=torch.float64) / n_fft)
    inner = STFT(n_fft, hop).forward(wave).abs()[:, n_fft // hop : -n_fft // hop]  # frames that feel no end
    assert inner[bin_index].sub(n_fft / 4).abs().max() < 1e-9
    # Hann spreads a sine over three bins, the outer two at a half, and over no others.
    assert inner[[bin_index - 1, bin_index + 1]].sub(n_fft / 8).abs().max() < 1e-9
    assert torch.cat([inner[: bin_index - 1], inner[bin_index + 2 :]]).max() < 1e-9


def test_constants_and_alternating_signs_lie_in_the_outer_bins() -> None:
    stft = STFT(64, 16)
    ones = torch.ones(512, dtype=torch.float64)
    signs = ones.clone()
    signs[1::2] = -1
    assert stft.forward(ones)[0, 16].abs().item() == pytest.approx(32)
    assert stft.forward(signs)[32, 16].abs().item() == pytest.approx(32)


def test_frames_are_centred_on_multiples_of_the_hop() -> None:
    stft = STFT(64, 16)
    wave = torch.zeros(161)
    wave[80] = 1.0
    power = stft.forward(wave).abs().square().sum(0)
    assert power.argmax() == 5  # 80 / 16
    # The window reaches less than half its length to either side, and zero exactly there.
    assert torch.equal(power > 1e-9, (torch.arange(12) - 5).abs() < 2)


def test_a_delay_of_one_hop_delays_the_spectrum_by_one_frame() -> None:
    stft = STFT(128, 32)
    wave = noise(500)
    delayed = torch.cat([torch.zeros(32, dtype=torch.float64), wave])
    # The first frames differ: half of theirs lies before the wave.
    assert torch.allclose(stft.forward(delayed)[:, 3:], stft.forward(wave)[:, 2:], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("n_fft", "hop"), [(64, 16), (64, 32), (64, 11)])
def test_the_inverse_of_no_ones_spectrum_is_the_least_squares_wave(n_fft: int, hop: int) -> None:
    stft = STFT(n_fft, hop)
    spectrum = torch.complex(noise(33, 9, seed=1), noise(33, 9, seed=2))
    spectrum[[0, -1]] = spectrum[[0, -1]].real.to(spectrum.dtype)
    length = 8 * hop - 3
    wanted = least_squares(spectrum.numpy(), stft, length)
    np.testing.assert_allclose(stft.inverse(spectrum, length).numpy(), wanted, rtol=0, atol=1e-12)


def test_leading_dimensions_are_a_batch() -> None:
    stft = STFT(64, 16)
    wave = noise(2, 3, 100)
    spectrum = stft.forward(wave)
    assert spectrum.shape == (2, 3, 33, 8)
    assert torch.equal(spectrum[1, 2], stft.forward(wave[1, 2]))
    assert torch.equal(stft.inverse(spectrum, 100)[1, 2], stft.inverse(spectrum[1, 2], 100))
    assert stft.inverse(spectrum, 0).shape == (2, 3, 0)


@pytest.mark.parametrize(
    ("real", "complex_"), [(torch.float32, torch.complex64), (torch.float64, torch.complex128)], ids=str
)
def test_dtypes_are_kept_and_inputs_left_alone(real: torch.dtype, complex_: torch.dtype) -> None:
    stft = STFT(64, 16)
    wave = noise(100).to(real)
    kept = wave.clone()
    spectrum = stft.forward(wave)
    assert spectrum.dtype == complex_
    seen = spectrum.clone()
    assert stft.inverse(spectrum, 100).dtype == real
    assert torch.equal(wave, kept)
    assert torch.equal(spectrum, seen)
    assert stft.window(spectrum).dtype == stft.window(wave).dtype == real


@pytest.mark.gpu
def test_the_device_is_kept() -> None:
    stft = STFT(64, 16)
    spectrum = stft.forward(noise(100).float().cuda())
    assert spectrum.is_cuda
    assert stft.inverse(spectrum, 100).is_cuda


def test_the_window_is_the_periodic_hann() -> None:
    assert STFT(8, 2).window().tolist() == pytest.approx(np.hanning(9)[:-1].tolist())


def test_inconsistency_tells_spectra_of_waves_from_others() -> None:
    stft = STFT(512, 128)
    spectrum = stft.forward(noise(2, 5_000).float())
    assert stft.inconsistency_db(spectrum) < -80
    # Not divisible by the hop: the spectrum is that of the wave with zeros after it, all the same consistent.
    assert stft.inconsistency_db(stft.forward(noise(2, 5_077).float())) < -80
    strangers = torch.polar(spectrum.abs(), 2 * math.pi * noise(*spectrum.shape, seed=3).float())
    assert -20 < stft.inconsistency_db(strangers) < 0
    assert stft.inconsistency_db(spectrum * 0) == -math.inf


@pytest.mark.parametrize(
    ("n_fft", "hop", "message"),
    [
        (511, 128, "n_fft 511 must be even and at least 4"),
        (2, 1, "n_fft 2 must be even and at least 4"),
        (0, 1, "n_fft 0 must be even"),
        (512, 0, r"hop_length 0 must lie in 1\.\.256"),
        (512, 257, r"hop_length 257 must lie in 1\.\.256"),
    ],
)
def test_settings_that_cannot_be_inverted_are_refused(n_fft: int, hop: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        STFT(n_fft, hop)


def test_more_samples_than_the_frames_hold_are_refused() -> None:
    stft = STFT(64, 16)
    spectrum = stft.forward(noise(100))  # 8 frames: 112 samples
    assert stft.inverse(spectrum, 112).shape == (112,)
    with pytest.raises(ValueError, match="8 frames hold fewer than 113 samples"):
        stft.inverse(spectrum, 113)
