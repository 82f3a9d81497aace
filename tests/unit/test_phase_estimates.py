"""Phases from magnitudes alone: closed forms, bounds on quality, stereo, and input that nobody would call music."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from audiotrans.errors import AudiotransError
from audiotrans.spectrogram.phase import PHASES, PhaseTask
from audiotrans.spectrogram.phase.griffin_lim import iterate, iterate_batched
from audiotrans.spectrogram.phase.griffin_lim import iterate_tensors as reference_iterations
from audiotrans.spectrogram.phase.methods import fast_griffin_lim, pghi, pghi_refined
from audiotrans.spectrogram.phase.pghi import integrated_phase
from audiotrans.spectrogram.phase.task import frames_major, spectrum_plane
from audiotrans.spectrogram.stft import STFT
from tests.phrase import phrase, task_of

BIG, SMALL = STFT(2048, 512), STFT(256, 64)
ESTIMATES = ("pghi_refined", "pghi", "rtpghi", "fast_griffin_lim")


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(0.1 * np.random.default_rng(seed).standard_normal(shape)).float()


def centred(spectrum: Tensor) -> Tensor:
    """Count phases from the middle of the window instead of its first sample: every other bin changes its sign."""
    turned = spectrum.clone()
    turned[..., 1::2, :] *= -1
    return turned


def with_phase(magnitude: Tensor, phase: np.ndarray, *, shifted: bool = True) -> Tensor:
    """Build ``(1, bins, frames)`` from centred phases ``(frames, bins)``."""
    spectrum = torch.polar(magnitude, torch.from_numpy(phase.T.copy())[None])
    return centred(spectrum) if shifted else spectrum


# Closed forms


@pytest.mark.parametrize("hertz_bins", [40.0, 40.3])
def test_a_stationary_sine_advances_at_its_frequency(hertz_bins: float) -> None:
    at = torch.arange(60 * SMALL.hop_length, dtype=torch.float64)
    wave = torch.sin(2 * math.pi * hertz_bins / SMALL.n_fft * at)[None].float()
    found = pghi(task_of(wave, SMALL))[0, 40, 5:-5]
    step = (found[1:] * found[:-1].conj()).angle()
    wanted = 2 * math.pi * hertz_bins * SMALL.hop_length / SMALL.n_fft
    # A Hann window is not quite a Gaussian one: 0.3 of a bin is read as 0.3 +- 0.02 of it, 0.03 radians per hop.
    assert torch.remainder(step - wanted + math.pi, 2 * math.pi).sub(math.pi).abs().max() < 0.05


@pytest.mark.parametrize("offset", [0, 20, -30])
def test_an_impulse_turns_by_its_distance_from_the_middle_of_the_frame(offset: int) -> None:
    wave = torch.zeros(1, 2_000)
    wave[0, 10 * SMALL.hop_length + offset] = 1
    found = centred(pghi(task_of(wave, SMALL)))[0, :, 10]
    step = (found[1:] * found[:-1].conj()).angle()
    # Delay by d samples: -2 pi d / n_fft per bin. The window's slope is read from its neighbours a hop away: 0.1 of it.
    assert torch.allclose(step, torch.tensor(-2 * math.pi * offset / SMALL.n_fft), atol=0.1)


def test_a_shift_by_whole_hops_changes_no_step_from_frame_to_frame() -> None:
    wave = phrase(notes=1)
    task, later = (task_of(sound, BIG) for sound in (wave, torch.nn.functional.pad(wave, (6 * BIG.hop_length, 0))))
    first, second = (pghi(each)[..., 2:] for each in (task, later))
    second = second[..., 6:]
    loud = task.magnitude[..., 3:] > 0.1 * task.magnitude.max()  # partials; what lies between may be reached elsewhere
    steps = [(found[..., 1:] * found[..., :-1].conj()).angle()[loud] for found in (first, second)]
    assert torch.allclose(steps[0], steps[1], rtol=0, atol=1e-3)


# Quality: measured on this phrase: pghi -33.0, refined -40.8, random fast Griffin-Lim -23.4, rtpghi -30.1 dB


def test_integration_is_consistent_on_a_tonal_phrase() -> None:
    task = task_of(phrase(), BIG)
    assert BIG.inconsistency_db(pghi(task)) < -30  # -22 dB are asked for
    assert BIG.inconsistency_db(PHASES["rtpghi"](task)) < -27


def test_the_default_beats_random_iterations_by_far() -> None:
    task = task_of(phrase(), BIG)
    refined, started_at_random = (BIG.inconsistency_db(method(task)) for method in (pghi_refined, fast_griffin_lim))
    assert refined < -38
    assert refined < started_at_random - 10  # 4 dB are asked for


def test_the_constant_and_the_convention_matter() -> None:
    task = task_of(phrase(), BIG)
    plane = frames_major(task.magnitude)
    right = BIG.inconsistency_db(with_phase(task.magnitude, integrated_phase(plane, None, BIG)))
    wrong_gamma = integrated_phase(plane, None, BIG, gamma=0.15)
    assert BIG.inconsistency_db(with_phase(task.magnitude, wrong_gamma)) > right + 6
    unshifted = with_phase(task.magnitude, integrated_phase(plane, None, BIG), shifted=False)
    assert BIG.inconsistency_db(unshifted) > right + 6


@pytest.mark.parametrize(("n_fft", "hop"), [(2048, 512), (2048, 256), (1024, 256), (4096, 1024)])
def test_the_true_phase_is_exact_and_more_iterations_leave_it_alone(n_fft: int, hop: int) -> None:
    stft = STFT(n_fft, hop)
    wave = phrase(notes=1)
    spectrum = stft.forward(wave)
    plane = spectrum_plane(spectrum)
    iterate(plane, frames_major(spectrum.abs()), None, stft, 5)
    back = stft.inverse(torch.from_numpy(plane.view(np.complex64)).transpose(1, 2), wave.shape[1])
    # -120 dB: float32 rounding, a little more than one transform and back makes of it.
    assert 20 * torch.log10((back - wave).norm() / wave.norm()) < -120


def test_phases_stay_accurate_in_long_sounds() -> None:
    # 2.6 million samples, 40 000 frames: unwrapped float32 phases would be off by 0.03 radians and more at their end.
    stft = STFT(128, 64)
    wave = torch.sin(2 * math.pi * 20.3 / 128 * torch.arange(40_000 * 64, dtype=torch.float64))[None].float()
    found = pghi(task_of(wave, stft))[0, 20]
    step = (found[1:] * found[:-1].conj()).angle()
    assert torch.allclose(step[100:1_100], step[-1_100:-100], rtol=0, atol=2e-4)


# Against the other implementation


@pytest.mark.parametrize(("channels", "iterations"), [(1, 1), (1, 7), (2, 4), (3, 3)])
def test_the_iterations_are_those_of_the_plain_implementation(channels: int, iterations: int) -> None:
    wave, start = noise(channels, 3_000), SMALL.forward(noise(channels, 3_000, seed=1))
    magnitude = SMALL.forward(wave).abs()
    four = torch.stack([wave[0] + wave[-1], wave[0] - wave[-1]]) / 2
    mid_side = SMALL.forward(four).abs() if channels == 2 else None
    wanted = reference_iterations(start, magnitude, mid_side, SMALL, iterations)
    plane = spectrum_plane(start)
    joint = None if mid_side is None else frames_major(mid_side)
    iterate(plane, frames_major(magnitude), joint, SMALL, iterations)
    found = torch.from_numpy(plane.view(np.complex64)).transpose(1, 2)
    # Both round in float32; directions of bins near zero are anybody's guess, and momentum spreads that: -60 dB.
    assert (found - wanted).norm() < 1e-3 * wanted.norm()


def test_the_way_to_another_device_and_back_changes_nothing() -> None:
    start, magnitude = SMALL.forward(noise(2, 2_000, seed=1)), SMALL.forward(noise(2, 2_000)).abs()
    wanted = reference_iterations(start, magnitude, magnitude.flip(0), SMALL, 3)
    planes = frames_major(magnitude), frames_major(magnitude.flip(0))
    plane = iterate_batched(spectrum_plane(start), *planes, SMALL, 3, torch.device("cpu"))
    assert torch.allclose(torch.from_numpy(plane.view(np.complex64)).transpose(1, 2), wanted, rtol=1e-4, atol=1e-5)


def test_without_momentum_the_error_never_rises() -> None:
    wave, start = phrase(notes=1), SMALL.forward(noise(1, 17_640, seed=1))
    magnitude = SMALL.forward(wave).abs()
    errors = []
    for iterations in range(1, 6):
        plane = spectrum_plane(magnitude * torch.sgn(start))
        iterate(plane, frames_major(magnitude), None, SMALL, iterations, momentum=0.0)
        errors.append(SMALL.inconsistency_db(torch.from_numpy(plane.view(np.complex64)).transpose(1, 2)))
    assert all(after < before + 1e-3 for before, after in pairwise(errors))


# Stereo


def coherence(spectrum: Tensor) -> float:
    """Return the correlation of the two channels over all bins."""
    left, right = spectrum
    return float((left * right.conj()).real.sum() / (left.norm() * right.norm()))


@pytest.mark.parametrize("known", [True, False], ids=["mid and side given", "the source's differences"])
def test_joint_stereo_keeps_the_image_that_channels_alone_lose(known: bool) -> None:
    wave = phrase(2)
    middle_and_side = torch.stack([wave[0] + wave[1], wave[0] - wave[1]]) / 2
    task = task_of(wave, BIG)
    if known:
        task = task_of(wave, BIG, source=0 * task.source, mid_side=BIG.forward(middle_and_side).abs())
    found = pghi_refined(task)
    alone = torch.cat([pghi_refined(task_of(wave[i : i + 1], BIG)) for i in (0, 1)])
    wanted = coherence(BIG.forward(wave))
    assert abs(coherence(found) - wanted) < 0.03
    assert abs(coherence(alone) - wanted) > 0.1
    assert BIG.inconsistency_db(found) < -25


@pytest.mark.parametrize("channels", [2, 3, 8])
@pytest.mark.parametrize("name", ["pghi", "rtpghi"])
def test_without_iterations_the_sources_differences_are_kept_exactly(name: str, channels: int) -> None:
    task = task_of(noise(channels, 2_000), SMALL)
    found = PHASES[name](task)
    for other in range(1, channels):
        wanted = task.source[0] * task.source[other].conj()
        assert torch.allclose(found[0] * found[other].conj(), wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


def test_opposite_polarity_is_no_worse() -> None:
    wave = phrase(2, notes=1)
    opposite = wave * torch.tensor([[1.0], [-1.0]])
    straight, turned = (BIG.inconsistency_db(pghi_refined(task_of(each, BIG))) for each in (wave, opposite))
    assert turned == pytest.approx(straight, abs=0.5)


def test_a_silent_source_gives_channels_in_phase() -> None:
    wanted = SMALL.forward(phrase(2, notes=1)).abs()
    found = pghi(PhaseTask(wanted, torch.zeros_like(wanted, dtype=torch.complex64), None, SMALL))
    loud = wanted.amin(0) > 1
    assert torch.allclose(found[0].angle()[loud], found[1].angle()[loud], atol=1e-4)


# Hostile input


@pytest.mark.parametrize("name", ESTIMATES)
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_silence_stays_silence(name: str, channels: int) -> None:
    silence = SMALL.forward(torch.zeros(channels, 1_000))
    assert torch.equal(PHASES[name](task_of(torch.zeros(channels, 1_000), SMALL)), silence)


@pytest.mark.parametrize("name", ESTIMATES)
@pytest.mark.parametrize("frames", [0, 1, 2, 3])
def test_any_number_of_frames_will_do(name: str, frames: int) -> None:
    magnitude = noise(2, SMALL.bins, frames).abs()
    found = PHASES[name](PhaseTask(magnitude, torch.zeros_like(magnitude, dtype=torch.complex64), None, SMALL))
    assert found.shape == magnitude.shape
    assert torch.allclose(found.abs(), magnitude, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ESTIMATES)
def test_silent_frames_between_sounds_stay_silent(name: str) -> None:
    wave = torch.nn.functional.pad(noise(2, 1_000), (2_000, 2_000)).repeat(1, 2)
    found = PHASES[name](task_of(wave, SMALL))
    assert torch.isfinite(torch.view_as_real(found)).all()
    assert torch.equal(found[..., :20], torch.zeros_like(found[..., :20]))


@pytest.mark.parametrize("name", ESTIMATES)
@pytest.mark.parametrize(("n_fft", "hop"), [(2048, 512), (512, 256), (256, 77), (128, 50), (4, 1), (6, 3)])
def test_every_setting_will_do(name: str, n_fft: int, hop: int) -> None:
    stft = STFT(n_fft, hop)
    task = task_of(noise(2, 3_001), stft)
    found = PHASES[name](task)
    assert torch.allclose(found.abs(), task.magnitude, rtol=1e-5, atol=1e-6)
    assert stft.inverse(found, 3_001).isfinite().all()


@pytest.mark.parametrize("level", [1e-20, 1e20])
@pytest.mark.parametrize("name", ESTIMATES)
def test_levels_far_from_full_scale_are_no_trouble(name: str, level: float) -> None:
    task = task_of(phrase(2, notes=1) * level, BIG)
    assert BIG.inconsistency_db(PHASES[name](task) / level) < -15  # -20 dB and less at any level


@pytest.mark.parametrize("name", ESTIMATES)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_magnitudes_that_are_no_numbers_are_refused_in_one_line(name: str, bad: float) -> None:
    task = task_of(noise(1, 500), SMALL)
    task.magnitude[0, 3, 2] = bad
    with pytest.raises(AudiotransError, match="NaN or infinite") as caught:
        PHASES[name](task)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ESTIMATES)
def test_shapes_that_do_not_belong_together_are_refused(name: str) -> None:
    good = task_of(noise(2, 500), SMALL)
    with pytest.raises(ValueError, match="129"):
        PHASES[name](PhaseTask(good.magnitude[:, :-1], good.source[:, :-1], None, SMALL))
    with pytest.raises(ValueError, match="source"):
        PHASES[name](PhaseTask(good.magnitude, good.source[..., :-1], None, SMALL))
    many = noise(9, SMALL.bins, 3).abs()
    with pytest.raises(ValueError, match="1 to 8"):
        PHASES[name](PhaseTask(many, many.to(torch.complex64), None, SMALL))


def test_mid_and_side_belong_to_stereo() -> None:
    with pytest.raises(ValueError, match="stereo"):
        pghi(task_of(noise(1, 500), SMALL, mid_side=noise(2, SMALL.bins, 9).abs()))


@pytest.mark.parametrize("name", ESTIMATES)
def test_double_precision_is_kept(name: str) -> None:
    task = task_of(noise(2, 1_000).double(), SMALL)
    found = PHASES[name](task)
    assert found.dtype == torch.complex128
    assert torch.allclose(found.abs(), task.magnitude, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["pghi", "rtpghi", "fast_griffin_lim"])
def test_the_seed_decides(name: str) -> None:
    quiet = phrase(notes=1) + 1e-9 * noise(1, 17_640)  # below the tolerance of the integration: random phases
    first, again, other = (PHASES[name](task_of(quiet, BIG, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_without_a_place_for_machine_code_it_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    from audiotrans.spectrogram.phase import kernels

    def no_place(cache: bool = False, **options: object) -> object:
        if cache:  # what numba says where neither the package's folder nor the user's cache can be written
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(kernels, "_njit", no_place)
    assert kernels.compiled(abs) is abs
