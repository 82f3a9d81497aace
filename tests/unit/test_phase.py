"""Where phases come from: each method by what it must keep, and `auto` by what it picks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from audiotrans.errors import UsageError
from audiotrans.spectrogram.phase import PHASES, PhaseTask
from audiotrans.spectrogram.phase.methods import auto, griffin_lim, network, pghi_refined, source
from audiotrans.spectrogram.phase.task import direction
from audiotrans.spectrogram.stft import STFT

SMALL = STFT(256, 64)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(0.1 * np.random.default_rng(seed).standard_normal(shape)).float()


def chord(samples: int, hertz: float = 300.0, channels: int = 2) -> Tensor:
    """A decaying harmonic tone at 16 kHz, the channels at different levels, phases and delays."""
    at = torch.arange(samples) / 16_000
    waves = [
        sum(torch.sin(2 * math.pi * hertz * h * (at - 0.0003 * c) + c * h) / h for h in range(1, 8)) / (c + 1)
        for c in range(channels)
    ]
    return 0.3 * torch.stack(waves) * torch.exp(-2 * at)


def task(wave: Tensor, stft: STFT = SMALL, **changes: object) -> PhaseTask:
    spectrum = stft.forward(wave)
    return PhaseTask(**{"magnitude": spectrum.abs(), "source": spectrum, "generated": None, "stft": stft} | changes)


def test_the_names_are_those_of_the_command_line() -> None:
    estimates = {"pghi_refined", "pghi", "rtpghi", "fast_griffin_lim", "griffin_lim"}
    assert set(PHASES) == {"auto", "source", "network"} | estimates


def test_directions_have_length_one_also_where_floats_end() -> None:
    values = torch.tensor([0, -0.0, 3 + 4j, 1e-42j, -1e-39, 1e-30 - 1e-30j, 2e38 + 2e38j], dtype=torch.complex64)
    got = direction(values)
    assert torch.allclose(got.abs(), torch.ones(7))
    wanted = torch.tensor([1, 1, 0.6 + 0.8j, 1, 1, (1 - 1j) / math.sqrt(2), (1 + 1j) / math.sqrt(2)])
    assert torch.allclose(got, wanted.to(got))


@pytest.mark.parametrize("method", ["source", "auto"])
def test_unchanged_magnitudes_with_the_sources_phase_give_the_wave(method: str) -> None:
    wave = chord(5_001)
    back = SMALL.inverse(PHASES[method](task(wave)), 5_001)
    # float32 angles: 1e-7 of the wave, -130 dB.
    assert 20 * torch.log10((back - wave).norm() / wave.norm()) < -110


def test_network_takes_the_generated_phase_as_it_is() -> None:
    generated = noise(2, 129, 6, seed=1) * 30  # beyond pi: phases need not be wrapped
    made = task(noise(2, 300), generated=generated)
    got = network(made)
    assert torch.allclose(got.abs(), made.magnitude, rtol=1e-5, atol=1e-6)
    assert torch.allclose(got, made.magnitude * torch.exp(1j * generated), rtol=0, atol=1e-5)


def test_network_without_a_generated_phase_is_refused_in_one_line() -> None:
    with pytest.raises(UsageError, match="needs a model trained on magnitude_phase") as caught:
        network(task(noise(2, 300)))
    message = str(caught.value)
    assert "\n" not in message
    assert all(name in message for name in ("source", "pghi_refined", "auto"))  # the way out


def test_magnitudes_are_never_touched() -> None:
    spectrum = SMALL.forward(noise(2, 3_000))
    wanted = SMALL.forward(noise(2, 3_000, seed=5)).abs()
    for name in sorted(set(PHASES) - {"network"}):
        got = PHASES[name](PhaseTask(wanted, spectrum, None, SMALL))
        assert torch.allclose(got.abs(), wanted, rtol=1e-5, atol=1e-6), name


def test_source_is_finite_where_the_source_is_silent() -> None:
    got = source(PhaseTask(torch.ones(1, 129, 4), torch.zeros(1, 129, 4, dtype=torch.complex64), None, SMALL))
    assert torch.equal(got, torch.ones(1, 129, 4, dtype=torch.complex64))  # phase 0 there


# Griffin-Lim


@pytest.mark.parametrize("wave", [chord(8_000), noise(1, 8_000), noise(1, 300)], ids=["chord", "noise", "burst"])
def test_griffin_lim_finds_a_consistent_spectrum(wave: Tensor) -> None:
    found = griffin_lim(task(torch.nn.functional.pad(wave, (1_000, 1_000))))
    # Measured: -18.8 dB or less. Random phases reach -4 dB, and noise whose frames are one hop off -7.7.
    assert SMALL.inconsistency_db(found) < -17


def test_griffin_lim_repeats_with_its_seed_and_differs_with_another() -> None:
    made = task(chord(3_000))
    again = task(chord(3_000))
    other = task(chord(3_000), seed=1)
    assert torch.equal(griffin_lim(made), griffin_lim(again))
    assert not torch.allclose(griffin_lim(made), griffin_lim(other), atol=1e-3)


def test_griffin_lim_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()  # noqa: NPY002 - the legacy state is what must not change
    griffin_lim(task(chord(2_000)))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002


def test_griffin_lim_does_not_depend_on_the_global_random_state() -> None:
    first = griffin_lim(task(chord(2_000)))
    with torch.random.fork_rng():
        torch.manual_seed(1234)
        assert torch.equal(griffin_lim(task(chord(2_000))), first)


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 128, 129, 255, 256, 1_000, 1_001])
def test_griffin_lim_takes_every_length(length: int) -> None:
    made = task(noise(2, length))
    got = griffin_lim(made)
    assert got.shape == made.magnitude.shape  # from one frame on
    assert torch.isfinite(torch.view_as_real(got)).all()
    assert torch.allclose(got.abs(), made.magnitude, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("n_fft", "hop"), [(2048, 512), (2048, 256), (512, 256), (128, 50), (4, 1)])
def test_griffin_lim_takes_every_setting(n_fft: int, hop: int) -> None:
    stft = STFT(n_fft, hop)
    made = task(chord(3_001), stft)
    got = griffin_lim(made)
    assert got.shape == made.magnitude.shape
    assert stft.inverse(got, 3_001).isfinite().all()


def test_griffin_lim_of_silence_is_silence() -> None:
    silence = torch.zeros(2, 1_000)
    assert torch.equal(griffin_lim(task(silence)), SMALL.forward(silence))


def test_griffin_lim_makes_sound_from_a_silent_source() -> None:
    wanted = SMALL.forward(chord(3_000)).abs()
    got = griffin_lim(PhaseTask(wanted, torch.zeros_like(wanted, dtype=torch.complex64), None, SMALL))
    assert torch.allclose(got.abs(), wanted, rtol=1e-5, atol=1e-6)
    assert torch.allclose(got[0].angle()[wanted[0] > 1], got[1].angle()[wanted[0] > 1], atol=1e-5)  # no differences


@pytest.mark.parametrize("channels", [2, 3])
def test_griffin_lim_keeps_the_sources_differences_between_channels(channels: int) -> None:
    made = task(chord(4_000, channels=channels))
    got = griffin_lim(made)
    for other in range(1, channels):
        wanted = made.source[0] * made.source[other].conj()
        same = got[0] * got[other].conj()
        assert torch.allclose(same, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


def test_griffin_lim_is_as_good_for_channels_of_opposite_polarity() -> None:
    wave = chord(6_000)
    turned = wave * torch.tensor([[1.0], [-1.0]])
    for pair in (wave, wave[:1].repeat(2, 1)):
        apart = pair * torch.tensor([[1.0], [-1.0]])
        straight, opposite = (SMALL.inconsistency_db(griffin_lim(task(each))) for each in (pair, apart))
        # A mean of the channels would cancel, and its phase be anything.
        assert opposite == pytest.approx(straight, abs=0.1)
    assert torch.allclose(griffin_lim(task(turned))[1], -griffin_lim(task(wave))[1], atol=1e-3)


def test_griffin_lim_keeps_double_precision() -> None:
    assert griffin_lim(task(chord(1_000).double())).dtype == torch.complex128


# The choice


def equaliser(bins: int) -> Tensor:
    """A smooth gain between -12 and +12 dB, ``(bins, 1)``."""
    return 10 ** (12 / 20 * torch.cos(torch.linspace(0, 3 * math.pi, bins)))[:, None]


def test_auto_keeps_the_sources_phase_under_a_smooth_gain() -> None:
    wave = chord(8_000)
    made = task(wave)
    made = PhaseTask(made.magnitude * equaliser(SMALL.bins), made.source, None, SMALL)
    assert torch.equal(auto(made), source(made))


def test_auto_estimates_for_unrelated_magnitudes() -> None:
    stranger = SMALL.forward(chord(8_000, hertz=410.0)).abs()
    made = task(noise(2, 8_000), magnitude=stranger, seed=3)
    assert torch.equal(auto(made), pghi_refined(made))


def test_auto_keeps_the_sources_phase_for_any_declared_gain() -> None:
    made = task(noise(2, 8_000))
    gain = 10 ** (2 * noise(*made.magnitude.shape[1:], seed=7))  # so rough that no phase fits
    made = PhaseTask(made.magnitude * gain, made.source, None, SMALL, gain)
    plain = PhaseTask(made.magnitude, made.source, None, SMALL)
    assert torch.equal(auto(made), source(made))
    torch.testing.assert_close(source(made), source(plain), rtol=1e-5, atol=1e-7)


def test_auto_takes_silence() -> None:
    assert torch.equal(auto(task(torch.zeros(1, 500))), SMALL.forward(torch.zeros(1, 500)))


@pytest.mark.parametrize("name", sorted(PHASES))
def test_no_method_changes_its_inputs(name: str) -> None:
    made = task(noise(2, 2_000), magnitude=SMALL.forward(noise(2, 2_000, seed=9)).abs())
    made = PhaseTask(made.magnitude, made.source, noise(*made.magnitude.shape, seed=4), SMALL)
    kept = [tensor.clone() for tensor in (made.magnitude, made.source, made.generated)]
    PHASES[name](made)
    for tensor, before in zip((made.magnitude, made.source, made.generated), kept, strict=True):
        assert torch.equal(tensor, before)


@pytest.mark.gpu
@pytest.mark.parametrize("name", sorted(PHASES))
def test_the_device_is_kept(name: str) -> None:
    spectrum = SMALL.forward(noise(2, 2_000).cuda())
    assert PHASES[name](PhaseTask(spectrum.abs(), spectrum, spectrum.angle(), SMALL)).is_cuda
