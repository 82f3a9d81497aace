"""Laws of the sound path that hold for every wave, length and setting."""

from __future__ import annotations

import math
from itertools import pairwise

import librosa
import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from torch import Tensor

from audiotrans.errors import AudiotransError
from audiotrans.spectrogram.imaging import REPRESENTATIONS, AudioImaging, AudioSettings, triangular_bank, warped_centres
from audiotrans.spectrogram.phase import PhaseTask
from audiotrans.spectrogram.phase.methods import griffin_lim, source
from audiotrans.spectrogram.stft import STFT

SEEDS = st.integers(0, 2**32 - 1)
LENGTHS = st.integers(0, 700)
SOUNDS = st.integers(1, 3)
NAMES = st.sampled_from(sorted(REPRESENTATIONS))

FINITE_WAVES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 3), st.integers(1, 60)),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


@st.composite
def transforms(draw: st.DrawFn) -> STFT:
    """Draw any allowed pair of frame length and hop up to 128 samples."""
    half = draw(st.integers(2, 64))
    return STFT(2 * half, draw(st.integers(1, half)))


def noise(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, shape)).float()


def road(name: str, channels: int = 2, **changes: object) -> AudioImaging:
    small = {"sample_rate": 16_000, "n_fft": 64, "hop_length": 16, "rows": 20}
    return AudioImaging(AudioSettings(**{**small, "representation": name, "channels": channels, **changes}))


# Transform


@given(transforms(), SEEDS, LENGTHS)
def test_the_inverse_is_exact(stft: STFT, seed: int, length: int) -> None:
    wave = noise(seed, 2, length)
    spectrum = stft.forward(wave)
    assert spectrum.shape == (2, stft.bins, stft.frames(length))
    # float32 spectra of up to 128 samples, divided by a window overlap of at least a half.
    assert torch.allclose(stft.inverse(spectrum, length), wave, rtol=0, atol=1e-5)


@given(transforms(), SEEDS, st.integers(1, 700))
def test_the_transform_is_librosas(stft: STFT, seed: int, length: int) -> None:
    wave = noise(seed, length).double()
    before = stft.n_fft // 2
    padded = np.pad(wave.numpy(), (before, before + -length % stft.hop_length))
    oracle = librosa.stft(padded, n_fft=stft.n_fft, hop_length=stft.hop_length, center=False)
    np.testing.assert_allclose(stft.forward(wave).numpy(), oracle, rtol=0, atol=1e-10)


@given(transforms(), SEEDS, st.integers(1, 700))
def test_spectra_of_waves_are_consistent(stft: STFT, seed: int, length: int) -> None:
    assert stft.inconsistency_db(stft.forward(noise(seed, 2, length))) < -80


@given(transforms(), SEEDS, st.integers(2, 12))
def test_the_inverse_is_a_projection(stft: STFT, seed: int, frames: int) -> None:
    real, imaginary = noise(seed, 2, stft.bins, frames).double()
    length = (frames - 1) * stft.hop_length
    wave = stft.inverse(torch.complex(real, imaginary), length)
    assert torch.allclose(stft.inverse(stft.forward(wave), length), wave, rtol=0, atol=1e-12)


# Images


@given(FINITE_WAVES, NAMES)
@example(np.full((2, 40), np.finfo(np.float32).max), "log_mel_gain")
@example(np.full((2, 40), np.finfo(np.float32).smallest_subnormal), "log_magnitude")
@example(np.array([[0.0] * 39 + [1e19]], np.float32), "log_mel_gain")
@example(np.array([[0.0] * 39 + [1e-19]], np.float32), "log_magnitude")
def test_images_of_finite_waves_are_finite_and_in_range(wave: NDArray[np.float32], name: str) -> None:
    peak = np.abs(wave).max()
    try:
        image, context = road(name).to_image(torch.from_numpy(wave))
    except AudiotransError:
        # Refused are silence, and what is hundreds of dB from anything that sounds.
        beyond = peak < 1e-15 or peak > 1e19
        assert beyond
        return
    assert image.isfinite().all()
    assert image.abs().max() <= 1
    assert np.isfinite(context.level_db).all()


@given(SEEDS, st.integers(64, 700), SOUNDS, st.floats(-200, 200), st.sampled_from(["log_magnitude", "log_mel_gain"]))
def test_a_gain_of_the_wave_changes_nothing_in_logarithmic_images(
    seed: int, length: int, sounds: int, gain_db: float, name: str
) -> None:
    wave = noise(seed, sounds, length)
    image, context = road(name).to_image(wave)
    louder, shifted = road(name).to_image(wave * 10 ** (gain_db / 20))
    # float32 rounds the louder wave anew: 2e-3 of an image are 0.1 dB, met only near the floor.
    assert torch.allclose(louder, image, rtol=0, atol=2e-3)
    assert shifted.level_db - context.level_db == pytest.approx(gain_db, abs=1e-4)


@given(SEEDS, st.integers(64, 700), SOUNDS, st.integers(-30, 30))
def test_a_gain_of_the_wave_changes_nothing_in_the_papers_image(
    seed: int, length: int, sounds: int, doublings: int
) -> None:
    wave = noise(seed, sounds, length)
    image, _ = road("magnitude_phase").to_image(wave)
    louder, _ = road("magnitude_phase").to_image(wave * 2.0**doublings)  # exact in float32, so phases are too
    assert torch.allclose(louder, image, rtol=0, atol=1e-6)


@given(SEEDS, st.integers(1, 700), SOUNDS, st.integers(1, 2), NAMES)
def test_an_image_comes_back_as_its_wave(seed: int, length: int, sounds: int, channels: int, name: str) -> None:
    wave = noise(seed, sounds, length)
    imaging = road(name, channels)
    image, context = imaging.to_image(wave)
    groups = 1 if name == "log_mel_gain" else math.ceil(sounds / channels)
    assert image.shape[:3] == (groups, imaging.settings.image_channels, imaging.settings.image_rows)
    back = imaging.from_image(image, context, phase="network" if name == "magnitude_phase" else "source")
    assert back.shape == wave.shape
    assert (back - wave).norm() <= 1e-3 * wave.norm()  # 60 dB


@given(SEEDS, st.integers(1, 700), SOUNDS, NAMES, st.sampled_from(["source", "griffin_lim", "auto", "network"]))
def test_any_image_makes_a_finite_wave(seed: int, length: int, sounds: int, name: str, phase: str) -> None:
    assume(phase != "network" or name == "magnitude_phase")
    imaging = road(name)
    image, context = imaging.to_image(noise(seed, sounds, length))
    back = imaging.from_image(noise(seed + 1, *image.shape), context, phase=phase)
    assert back.shape == (sounds, length)
    assert back.isfinite().all()


@given(SEEDS, st.integers(64, 700), st.integers(1, 9))
def test_the_down_sampled_image_has_every_nth_column(seed: int, length: int, stride: int) -> None:
    wave = noise(seed, 2, length)
    image, _ = road("magnitude_phase").to_image(wave)
    imaging = road("magnitude_phase", time_stride=stride)
    fewer, context = imaging.to_image(wave)
    assert torch.equal(fewer, image[..., ::stride])
    assert imaging.from_image(fewer, context, phase="network").shape == wave.shape


@given(SEEDS, st.integers(64, 700), SOUNDS, st.floats(-40, 20))
def test_a_constant_in_a_gain_image_is_a_gain_of_the_wave(seed: int, length: int, sounds: int, gain_db: float) -> None:
    wave = noise(seed, sounds, length)
    imaging = road("log_mel_gain")
    image, context = imaging.to_image(wave)
    back = imaging.from_image(image + gain_db / 50, context)
    # Every channel by the same decibels, sample by sample: level and phase differences between channels are kept.
    assert torch.allclose(back, wave * 10 ** (gain_db / 20), rtol=1e-3, atol=1e-5 * 10 ** (gain_db / 20))


# Level


@given(SEEDS, st.integers(1, 700), SOUNDS, st.lists(st.integers(0, 700), max_size=6))
def test_the_level_of_blocks_is_the_level_of_the_whole(seed: int, length: int, sounds: int, cuts: list[int]) -> None:
    wave = noise(seed, sounds, length)
    imaging = road("log_mel_gain")
    meter = imaging.level_meter()
    places = [0, *sorted(min(cut, length) for cut in cuts), length]
    for begin, end in pairwise(places):
        meter.update(wave[:, begin:end])
    assert meter.level_db() == pytest.approx(imaging.level_db(wave), abs=1e-9)


@given(SEEDS, st.integers(1, 20), st.integers(0, 40), st.integers(0, 40))
def test_pauses_do_not_change_the_level(seed: int, frames: int, before: int, after: int) -> None:
    imaging = road("log_mel_gain")
    wave = noise(seed, 2, 16 * frames)
    paused = torch.nn.functional.pad(wave, (16 * before, 16 * after))
    assert imaging.level_db(paused) == pytest.approx(imaging.level_db(wave), abs=1e-9)


# Bands


@given(st.integers(8, 300), st.data())
def test_bands_are_a_partition_of_unity(rows: int, data: st.DataObject) -> None:
    bins = data.draw(st.integers(rows, 2_000))
    centres = warped_centres(rows, bins)
    assert (centres[0], centres[-1]) == (0, bins - 1)
    # One step crosses the break, and is its curve's chord: with the break at bin 1 at worst 2 ** f - f = 0.914.
    assert np.diff(centres).min() > 0.91
    assert np.sort(np.diff(centres))[1] > 1 - 1e-6
    bank = triangular_bank(centres, bins)
    np.testing.assert_allclose(bank.sum(0), 1, rtol=0, atol=1e-12)
    assert (bank >= 0).all()
    assert (bank.sum(1) > 0.4).all()


# Phase


@pytest.mark.slow
@given(SEEDS, transforms(), LENGTHS, SOUNDS)
def test_phase_methods_keep_every_magnitude(seed: int, stft: STFT, length: int, sounds: int) -> None:
    assume(stft.n_fft // stft.hop_length < 20)  # Griffin-Lim on hundreds of frames a window is only slow
    spectrum = stft.forward(noise(seed, sounds, length))
    magnitude = spectrum.abs() * noise(seed + 1, *spectrum.shape).abs()
    task = PhaseTask(magnitude, spectrum, None, stft, seed=seed)
    for method in (source, griffin_lim):
        assert torch.allclose(method(task).abs(), magnitude, rtol=1e-5, atol=1e-6)
    assert torch.equal(griffin_lim(task), griffin_lim(task))


@given(SEEDS, st.integers(1, 700))
def test_griffin_lim_keeps_differences_between_channels(seed: int, length: int) -> None:
    stft = STFT(64, 16)
    spectrum = stft.forward(noise(seed, 2, length))
    got = griffin_lim(PhaseTask(spectrum.abs(), spectrum, None, stft))
    wanted = spectrum[0] * spectrum[1].conj()
    assert torch.allclose(got[0] * got[1].conj(), wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()) + 1e-12)
