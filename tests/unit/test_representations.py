"""Each representation by hand values: what a sine, silence and a gain look like, and what comes back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from audiotrans.spectrogram.imaging import (
    RANGE_DB,
    REPRESENTATIONS,
    TOP_DB,
    Context,
    LogMagnitude,
    LogMelGain,
    MagnitudePhase,
    Representation,
    amplitude_scale,
    smooth_gains,
    triangular_bank,
    warped_centres,
)
from audiotrans.spectrogram.stft import STFT

FULL = STFT()
SMALL = STFT(256, 64)
SINE_LEVEL_DB = 10 * math.log10(0.5)
"""RMS level of a full-scale sine."""


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(0.1 * np.random.default_rng(seed).standard_normal(shape)).float()


def build(name: str, channels: int = 2, time_stride: int = 1) -> Representation:
    return REPRESENTATIONS[name](SMALL, channels, 40, time_stride)


def encoded(representation: Representation, wave: Tensor, level_db: float, stft: STFT = SMALL) -> Context:
    spectrum = stft.forward(wave)
    return Context(spectrum, representation.encode(spectrum, level_db), wave.shape[-1], level_db)


def level_db(wave: Tensor) -> float:
    return float(10 * torch.log10(wave.square().mean()))


def sine(bin_index: float, samples: int = 16_384) -> Tensor:
    """A full-scale sine at the frequency of a bin of the full setting, or between two."""
    return torch.sin(2 * math.pi * bin_index * torch.arange(samples, dtype=torch.float64) / 2048).float()[None]


def test_the_names_are_those_of_the_recipes() -> None:
    assert set(REPRESENTATIONS) == {"log_mel_gain", "log_magnitude", "magnitude_phase"}


def test_the_scale_makes_a_full_scale_sine_one() -> None:
    spectrum = FULL.forward(sine(64))
    assert spectrum[0, 64, 8].abs().item() * amplitude_scale(FULL) == pytest.approx(1.0, abs=1e-5)


# Level and range: a full-scale sine, 3 dB above its own RMS, lies 21 dB below the top.

DOCUMENTED = 1 - 2 * (TOP_DB + SINE_LEVEL_DB) / RANGE_DB


@pytest.mark.parametrize("bin_index", [16, 64])
def test_a_sine_has_the_documented_value_in_the_logarithmic_images(bin_index: int) -> None:
    assert pytest.approx(0.5802, abs=1e-4) == DOCUMENTED
    magnitude = encoded(LogMagnitude(FULL, 1), sine(bin_index), SINE_LEVEL_DB, FULL).image[0, 0, :, 8]
    bands = encoded(LogMelGain(FULL, 1), sine(bin_index), SINE_LEVEL_DB, FULL).image[0, 0, :, 8]
    for image in (magnitude, bands):  # these rows of log_mel_gain are one bin wide
        assert image.argmax() == bin_index
        assert image[bin_index].item() == pytest.approx(DOCUMENTED, abs=1e-5)
        # Hann's neighbours are 6 dB down, and 6.02 dB are 0.12 of an image.
        neighbours = image[[bin_index - 1, bin_index + 1]]
        assert neighbours.tolist() == pytest.approx([DOCUMENTED - 2 * 20 * math.log10(2) / RANGE_DB] * 2, abs=1e-5)
    # Elsewhere is the floor, and what float32 leaves there is no more than a fraction of a dB above it.
    assert torch.cat([magnitude[: bin_index - 1], magnitude[bin_index + 2 :]]).max() < -0.999


def test_a_sine_has_the_documented_value_in_the_linear_image() -> None:
    image = encoded(MagnitudePhase(FULL, 1), sine(64), SINE_LEVEL_DB, FULL).image[0, 0, :, 8]
    # Twice the amplitude over the top, from -1: the top is 21 dB above the sine.
    assert image[64].item() == pytest.approx(2 * 10 ** (-(TOP_DB + SINE_LEVEL_DB) / 20) - 1, abs=1e-5)
    assert image[[62, 66, 500]].tolist() == pytest.approx([-1] * 3, abs=1e-5)


@pytest.mark.parametrize("name", sorted(REPRESENTATIONS))
def test_silence_is_minus_one_and_comes_back_as_silence(name: str) -> None:
    wave = torch.cat([noise(2, 2_000), torch.zeros(2, 2_000)], dim=1)
    representation = build(name)
    context = encoded(representation, wave, -20.0)
    silent = context.image[..., 40:]
    magnitudes = silent[:, 0::2] if name == "magnitude_phase" else silent
    assert (magnitudes == -1).all()
    if name == "magnitude_phase":
        assert (silent[:, 1::2] == 0).all()
    magnitude = representation.decode(context.image, context).magnitude[..., 40:]
    assert magnitude.max() < 1e-6  # 150 dB below the noise


@pytest.mark.parametrize("name", ["log_magnitude", "log_mel_gain"])
def test_what_is_above_the_top_is_clipped(name: str) -> None:
    context = encoded(build(name), noise(2, 2_000), -80.0)
    assert context.image.max() == 1


@pytest.mark.parametrize("name", sorted(REPRESENTATIONS))
def test_a_figure_is_in_db_below_the_top(name: str) -> None:
    representation = REPRESENTATIONS[name](FULL, 2, 256, 1)
    wave = torch.cat([sine(64), 0.1 * sine(64)])
    shown = representation.display_db(encoded(representation, wave, SINE_LEVEL_DB, FULL).image)
    assert shown.shape == (1 if name == "log_mel_gain" else 2, representation.rows, 33)
    wanted = [-TOP_DB - SINE_LEVEL_DB, -TOP_DB - SINE_LEVEL_DB - 20]
    if name == "log_mel_gain":  # of both channels together
        wanted = [wanted[0] + 10 * math.log10((1 + 0.01) / 2)]
    assert shown[:, 64, 8].tolist() == pytest.approx(wanted, abs=1e-3)
    assert shown[:, 500 % representation.rows, 8].tolist() == pytest.approx([-RANGE_DB] * len(wanted), abs=0.1)


# Round trips


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("sounds", [1, 2, 3])
@pytest.mark.parametrize("name", sorted(REPRESENTATIONS))
def test_any_number_of_channels_goes_there_and_back(name: str, sounds: int, channels: int) -> None:
    representation = build(name, channels)
    context = encoded(representation, noise(sounds, 1_000), -20.0)
    groups = 1 if name == "log_mel_gain" else math.ceil(sounds / channels)
    rows = 40 if name == "log_mel_gain" else 128
    assert representation.rows == rows
    assert context.image.shape == (groups, representation.image_channels(channels), rows, 17)
    decoded = representation.decode(context.image, context)
    assert decoded.magnitude.shape == context.spectrum.shape
    # All of white noise lies well above the floor, so float32 alone limits this.
    assert torch.allclose(decoded.magnitude, context.spectrum.abs(), rtol=1e-4, atol=1e-5)
    assert (decoded.phase is not None) == (name == "magnitude_phase")
    assert (decoded.gain is not None) == (name == "log_mel_gain")


@pytest.mark.parametrize("name", ["log_magnitude", "magnitude_phase"])
def test_a_group_that_is_not_full_repeats_its_last_channel(name: str) -> None:
    image = encoded(build(name, 2), noise(3, 500), -20.0).image
    first, last = image[1].chunk(2)
    assert torch.equal(first, last)
    mono = encoded(build(name, 1), noise(3, 500), -20.0).image
    assert torch.equal(image.flatten(0, 1)[: mono.flatten(0, 1).shape[0]], mono.flatten(0, 1))


def test_the_nyquist_row_is_the_sources_own() -> None:
    for name in ("log_magnitude", "magnitude_phase"):
        representation = build(name)
        context = encoded(representation, noise(2, 500), -20.0)
        decoded = representation.decode(torch.zeros_like(context.image), context)
        assert torch.equal(decoded.magnitude[:, -1], context.spectrum.abs()[:, -1])


def test_the_papers_image_is_left_magnitude_left_phase_right_magnitude_right_phase() -> None:
    wave = noise(2, 1_000)
    image = encoded(MagnitudePhase(SMALL, 2), wave, -20.0).image
    spectrum = SMALL.forward(wave)[:, :-1]
    top = 10 ** ((-20.0 + TOP_DB) / 20)
    for channel in (0, 1):
        magnitude = 2 * spectrum[channel].abs() * 4 / 256 / top - 1
        assert torch.allclose(image[0, 2 * channel], magnitude, atol=1e-6)
        assert torch.allclose(image[0, 2 * channel + 1], spectrum[channel].angle() / math.pi, atol=1e-6)


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 8, 50])
@pytest.mark.parametrize("samples", [1, 640, 1_000, 2_048])
def test_the_papers_down_sampled_image_keeps_every_nth_column(stride: int, samples: int) -> None:
    wave = noise(2, samples)
    whole = encoded(MagnitudePhase(SMALL, 2), wave, -20.0)
    fewer = encoded(MagnitudePhase(SMALL, 2, time_stride=stride), wave, -20.0)
    frames = whole.image.shape[-1]
    assert fewer.image.shape == (1, 4, 128, math.ceil(frames / stride))
    assert torch.equal(fewer.image, whole.image[..., ::stride])
    decoded = MagnitudePhase(SMALL, 2, time_stride=stride).decode(fewer.image, fewer)
    assert decoded.phase is not None
    assert decoded.magnitude.shape == decoded.phase.shape == (2, 129, frames)
    # The columns that were kept come back as they were, also the phases.
    kept = torch.polar(decoded.magnitude, decoded.phase)[..., ::stride]
    assert torch.allclose(kept, whole.spectrum[..., ::stride], rtol=0, atol=1e-4)


def test_left_out_columns_are_interpolated_and_their_phases_advance_at_the_bins_frequency() -> None:
    at = torch.arange(4_096, dtype=torch.float64)
    wave = (torch.sin(2 * math.pi * 20 * at / 256) * torch.linspace(0.2, 1.0, 4_096)).float()[None]
    representation = MagnitudePhase(SMALL, 1, time_stride=4)
    context = encoded(representation, wave, -6.0)
    decoded = representation.decode(context.image, context)
    made = torch.polar(decoded.magnitude, decoded.phase)[0, 20, 4:-6]
    # A swell is straight between columns: the sine's own bin is met closely, though not its neighbours.
    assert torch.allclose(made, context.spectrum[0, 20, 4:-6], rtol=0, atol=0.01 * 64)


# log_mel_gain: the output is a gain


@pytest.mark.parametrize("gain_db", [-30.0, -6.0, 0.0, 6.0, 12.5])
def test_a_constant_added_to_the_image_is_that_many_db_on_every_channel(gain_db: float) -> None:
    representation = build("log_mel_gain")
    context = encoded(representation, noise(3, 2_000) * torch.tensor([[1.0], [0.3], [0.01]]), -20.0)
    raised = representation.decode(context.image + gain_db * 2 / RANGE_DB, context).magnitude
    assert torch.allclose(raised, context.spectrum.abs() * 10 ** (gain_db / 20), rtol=1e-5, atol=0)


def test_any_gain_is_the_same_for_every_channel() -> None:
    representation = build("log_mel_gain")
    context = encoded(representation, noise(2, 2_000) * torch.tensor([[1.0], [0.2]]), -20.0)
    changed = context.image + noise(*context.image.shape, seed=1)
    ratio = representation.decode(changed, context).magnitude / context.spectrum.abs()
    assert torch.allclose(ratio[0], ratio[1], rtol=1e-5)
    assert ratio.std() > 0.1  # it was a change


def test_a_gain_reaches_the_bins_between_the_neighbouring_centres_and_no_others() -> None:
    representation = LogMelGain(FULL, 1)
    context = encoded(representation, noise(1, 3_000), -20.0, FULL)
    row = 200
    image = context.image.clone()
    image[0, 0, row] += 6 * 2 / RANGE_DB
    gain_db = 20 * torch.log10(representation.decode(image, context).magnitude / context.spectrum.abs())[0, :, 3]
    low, middle, high = representation.row_bins()[row - 1 : row + 2]
    triangle = 6 * np.interp(np.arange(1025), [low, middle, high], [0, 1, 0])  # in dB
    weights = np.pad(context.spectrum[0, :, 3].abs().numpy(), 1)
    weighted = [np.convolve(x, np.ones(3), "valid") for x in (np.pad(triangle, 1) * weights, weights)]
    np.testing.assert_allclose(gain_db.numpy(), weighted[0] / weighted[1], rtol=0, atol=1e-3)


def test_the_bins_of_a_partial_share_their_gains_by_magnitude() -> None:
    representation = LogMelGain(FULL, 1)
    context = encoded(representation, sine(40), SINE_LEVEL_DB, FULL)
    image = context.image.clone()
    image[0, 0, 40] -= 12 * 2 / RANGE_DB  # rows are bins down there
    gain_db = 20 * torch.log10(representation.decode(image, context).magnitude / context.spectrum.abs())[0, 38:43, 8]
    # Hann: half as strong one bin away, nothing two bins away.
    assert gain_db.tolist() == pytest.approx([0, -12 * 2 / 3, -6, -12 * 2 / 3, 0], abs=0.1)


def test_a_gain_within_a_partial_is_nearer_to_a_sound_than_one_of_single_bins() -> None:
    wave, gain_db = sine(40.3), torch.zeros(FULL.bins, 1)
    gain_db[40] = -12.0
    spectrum = FULL.forward(wave)[0]
    single, evened = (
        FULL.inconsistency_db(spectrum * 10 ** (gain / 20))
        for gain in (gain_db, smooth_gains(gain_db.expand_as(spectrum), spectrum.abs()))
    )
    assert evened < single - 2


def test_gains_of_silent_bins_are_finite_and_a_common_gain_stays() -> None:
    magnitude = torch.tensor([0.0, 0.0, 1e-30, 2.0])[:, None]
    assert smooth_gains(torch.full((4, 1), -7.0), magnitude)[:, 0].tolist() == pytest.approx([0, -7, -7, -7])


def test_one_image_serves_mono_and_the_same_on_both_channels() -> None:
    mono = noise(1, 1_000)
    first = encoded(build("log_mel_gain"), mono, -20.0).image
    second = encoded(build("log_mel_gain"), mono.repeat(2, 1), -20.0).image
    assert torch.allclose(first, second, atol=1e-6)


def test_bands_are_mean_powers() -> None:
    representation = build("log_mel_gain")
    flat = torch.full((1, 129, 1), 64.0, dtype=torch.complex64)  # of a full-scale sine, in every bin
    image = representation.encode(flat, 0.0)
    assert torch.allclose(image, torch.full_like(image, 1 - 2 * TOP_DB / RANGE_DB), atol=1e-6)


# The bank


@pytest.mark.parametrize(("rows", "bins"), [(256, 1025), (64, 257), (8, 9), (8, 8), (257, 257), (256, 2049), (8, 1025)])
def test_bands_cover_every_bin_and_none_is_narrower_than_one(rows: int, bins: int) -> None:
    centres = warped_centres(rows, bins)
    spacing = np.diff(centres)
    assert (centres[0], centres[-1]) == (0, bins - 1)
    # The curve's chord over the break is a little shorter than its tangent: 0.2 % at the default.
    assert spacing.min() > (0.998 if (rows, bins) == (256, 1025) else 0.98)
    assert np.sort(spacing)[1] > 1 - 1e-6
    bank = triangular_bank(centres, bins)
    assert bank.shape == (rows, bins)
    assert bank.min() >= 0
    np.testing.assert_allclose(bank.sum(0), 1, rtol=0, atol=1e-12)  # a partition of unity: all bins covered
    assert (bank.sum(1) > 0.4).all()  # no band is empty


def test_bands_are_bins_up_to_a_break_and_then_a_constant_ratio() -> None:
    centres = warped_centres(256, 1025)
    hertz = centres * 44_100 / 2048
    linear = int((hertz < 1_480).sum())
    np.testing.assert_array_equal(centres[:linear], np.arange(linear))
    ratios = centres[linear + 2 :] / centres[linear + 1 : -1]
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-9)
    # The closed form: spacing equals centre over break, so the ratio is 1 + 1 / break.
    at_break = 1 / (ratios[0] - 1)
    assert linear - 1 <= at_break <= linear


def test_as_many_rows_as_bins_are_the_bins() -> None:
    np.testing.assert_allclose(warped_centres(65, 65), np.arange(65), atol=1e-9)
    np.testing.assert_allclose(triangular_bank(np.arange(65.0), 65), np.eye(65), atol=1e-12)


@pytest.mark.parametrize("rows", [-1, 0, 7, 130])
def test_row_counts_that_would_leave_bands_empty_are_refused(rows: int) -> None:
    with pytest.raises(ValueError, match=rf"{rows} rows: 8 to 129 .* are possible"):
        LogMelGain(SMALL, 2, rows)


# Manners


@pytest.mark.parametrize("name", sorted(REPRESENTATIONS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_dtypes_are_kept_and_inputs_left_alone(name: str, dtype: torch.dtype) -> None:
    representation = build(name)
    context = encoded(representation, noise(3, 500).to(dtype), -20.0)
    assert context.image.dtype == dtype
    spectrum, image = context.spectrum.clone(), context.image.clone()
    changed = (context.image * 0.9).requires_grad_()
    decoded = representation.decode(changed, context)
    assert decoded.magnitude.dtype == dtype
    assert torch.equal(context.spectrum, spectrum)
    assert torch.equal(context.image, image)


@pytest.mark.gpu
@pytest.mark.parametrize("name", sorted(REPRESENTATIONS))
def test_the_device_is_kept(name: str) -> None:
    representation = build(name)
    context = encoded(representation, noise(3, 500).cuda(), -20.0)
    assert context.image.is_cuda
    assert representation.decode(context.image, context).magnitude.is_cuda
