"""The road wave -> image -> wave, its settings, and the level that makes images alike."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiotrans import audio
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.spectrogram.imaging import REPRESENTATIONS, AudioImaging, AudioSettings
from audiotrans.spectrogram.level import LIMIT_DB, level_of_frames
from audiotrans.spectrogram.phase import PHASES

DATA = Path(__file__).resolve().parents[2] / "data"

BARS = {"magnitude_phase": ("network", 60.0), "log_magnitude": ("source", 40.0), "log_mel_gain": ("source", 40.0)}
"""Phase method and SNR in dB that a round trip must reach at least; all of them measure above 110 dB."""


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(0.1 * np.random.default_rng(seed).standard_normal(shape)).float()


def imaging(**changes: object) -> AudioImaging:
    """A setting small enough for tests."""
    return AudioImaging(AudioSettings(**{"sample_rate": 16_000, "n_fft": 256, "hop_length": 64, "rows": 40} | changes))


def snr_db(wave: Tensor, back: Tensor) -> float:
    return float(20 * torch.log10(wave.norm() / (back - wave).norm()))


# Round trips


def plucks() -> Tensor:
    """Four seconds of stereo: decaying harmonic notes with silence between, the right channel later and quieter."""
    wave = torch.zeros(2, 4 * 44_100)
    at = torch.arange(22_050) / 44_100
    for k, hertz in enumerate((196.0, 440.0, 659.3, 1318.5)):
        note = sum(torch.sin(2 * math.pi * hertz * h * at) / h for h in range(1, 9)) * torch.exp(-8 * at)
        wave[0, 44_100 * k : 44_100 * k + 22_050] = 0.2 * note
        wave[1, 44_100 * k + 30 : 44_100 * k + 22_080] = 0.1 * note
    return wave


def sound(name: str) -> Tensor:
    if name == "plucks":
        return plucks()
    wave, _ = audio.read(DATA / name, sample_rate=44_100)
    return torch.from_numpy(wave)


@pytest.mark.parametrize("name", ["violin.wav", "piano.wav", "plucks"])
@pytest.mark.parametrize("representation", sorted(REPRESENTATIONS))
def test_sounds_come_back(representation: str, name: str, record_property: pytest.RecordProperty) -> None:
    phase, bar = BARS[representation]
    road = AudioImaging(AudioSettings(representation=representation))
    wave = sound(name)
    image, context = road.to_image(wave)
    assert image.abs().max() <= 1
    back = road.from_image(image, context, phase=phase)
    assert back.shape == wave.shape
    figure = snr_db(wave, back)
    record_property("snr_db", round(figure, 1))
    print(f"{representation}, {phase} phase, {name}: {figure:.1f} dB")
    assert figure >= bar
    # Far above the bar, since nothing but float32 is in the way; a drop below this is a defect.
    assert figure >= 100


@pytest.mark.parametrize(("stride", "at_least"), [(2, 10.0), (4, 1.5)])
@pytest.mark.parametrize("name", ["violin.wav", "piano.wav"])
def test_the_down_sampled_setting_loses_what_the_docs_say(name: str, stride: int, at_least: float) -> None:
    road = AudioImaging(AudioSettings(representation="magnitude_phase", time_stride=stride))
    wave = sound(name)[:, : 3 * 44_100]
    image, context = road.to_image(wave)
    assert at_least < snr_db(wave, road.from_image(image, context, phase="network")) < 20
    assert road.seconds_per_frame == pytest.approx(stride * 512 / 44_100)


@pytest.mark.parametrize("samples", [1, 63, 64, 65, 255, 1_000, 5_000])
@pytest.mark.parametrize("sounds", [1, 2, 3])
@pytest.mark.parametrize("representation", sorted(REPRESENTATIONS))
def test_every_length_and_channel_count_comes_back(representation: str, sounds: int, samples: int) -> None:
    road = imaging(representation=representation)
    wave = noise(sounds, samples)
    image, context = road.to_image(wave)
    assert image.shape[1:3] == (road.settings.image_channels, road.settings.image_rows)
    assert context.length == samples
    assert context.image is image
    back = road.from_image(image, context, phase=BARS[representation][0])
    assert snr_db(wave, back) > 80  # of very short noise, at rather few bits of float32


@pytest.mark.parametrize("phase", ["auto", "griffin_lim", "source"])
@pytest.mark.parametrize("representation", sorted(REPRESENTATIONS))
def test_every_phase_method_serves_every_representation(representation: str, phase: str) -> None:
    road = imaging(representation=representation)
    wave = noise(2, 1_001)
    image, context = road.to_image(wave)
    back = road.from_image(-image, context, phase=phase, seed=4)
    assert back.shape == wave.shape
    assert back.isfinite().all()
    assert torch.equal(back, road.from_image(-image, context, phase=phase, seed=4))


def test_the_settings_own_phase_is_the_default() -> None:
    wave = noise(2, 1_000)
    by_settings = imaging(representation="log_magnitude", phase="griffin_lim")
    image, context = by_settings.to_image(wave)
    assert torch.equal(
        by_settings.from_image(image, context, seed=2),
        imaging(representation="log_magnitude").from_image(image, context, phase="griffin_lim", seed=2),
    )


def test_auto_keeps_the_sources_phase_under_any_gain() -> None:
    road = imaging()
    image, context = road.to_image(noise(2, 1_000))
    torn = image + 3 * noise(*image.shape, seed=1)  # 15 dB up and down: nothing that a wave can follow
    assert torch.equal(road.from_image(torn, context, phase="auto"), road.from_image(torn, context, phase="source"))


def test_seeds_reach_the_phase_method() -> None:
    road = imaging(representation="log_magnitude")
    image, context = road.to_image(noise(2, 1_000))
    first, second = (road.from_image(image, context, phase="griffin_lim", seed=seed) for seed in (1, 2))
    assert not torch.allclose(first, second, atol=1e-3)


def test_phases_that_cannot_serve_are_refused_in_one_line() -> None:
    road = imaging()
    image, context = road.to_image(noise(2, 500))
    with pytest.raises(UsageError, match="needs a model trained on magnitude_phase") as network:
        road.from_image(image, context, phase="network")
    with pytest.raises(UsageError, match="Did you mean 'griffin_lim'") as unknown:
        road.from_image(image, context, phase="griffinlim")
    assert "\n" not in str(network.value) + str(unknown.value)


def test_gain_keeps_the_sources_differences_between_channels() -> None:
    road = imaging()
    wave = noise(2, 3_000) * torch.tensor([[1.0], [0.25]])
    image, context = road.to_image(wave)
    raised = road.from_image(image + 10 * 2 / 100, context)  # 10 dB
    assert torch.allclose(raised, wave * 10 ** (10 / 20), rtol=0, atol=1e-5)


# Level


def test_the_level_of_a_sine_is_its_rms(chirp: NDArray[np.float32]) -> None:
    at = torch.arange(16_384, dtype=torch.float64)
    wave = torch.sin(2 * math.pi * at / 64).float()[None]  # whole periods in every frame
    assert imaging().level_db(wave) == pytest.approx(10 * math.log10(0.5), abs=1e-4)
    assert imaging().level_db(0.1 * wave) == pytest.approx(10 * math.log10(0.5) - 20, abs=1e-4)
    # Two channels count by their mean power: the right one is 6.02 dB below.
    left, both = imaging().level_db(torch.from_numpy(chirp[:1])), imaging().level_db(torch.from_numpy(chirp))
    assert both - left == pytest.approx(10 * math.log10(0.5 + 0.5 / 4), abs=1e-4)


def test_pauses_do_not_change_the_level() -> None:
    wave = noise(2, 64 * 50)
    alone = imaging().level_db(wave)
    for pause in (64 * 10, 64 * 500, 1_001):
        silence = torch.zeros(2, pause)
        # A pause that no frame border meets makes one frame of it quieter: 1 of 51.
        figure = imaging().level_db(torch.cat([silence, wave, silence, wave], dim=1))
        assert figure == pytest.approx(alone, abs=1e-9 if pause % 64 == 0 else 0.2)
        hushed = torch.cat([wave, 10 ** (-45 / 20) * noise(2, pause, seed=3)], dim=1)
        assert imaging().level_db(hushed) == pytest.approx(alone, abs=0.2)


@pytest.mark.parametrize("block", [1, 63, 64, 65, 500, 10_000])
def test_blocks_of_any_size_give_the_wholes_level(block: int) -> None:
    wave = noise(2, 3_333) * torch.linspace(0, 1, 3_333)
    meter = imaging().level_meter()
    for piece in wave.split(block, dim=1):
        meter.update(piece)
        meter.update(piece[:, :0])  # an empty block says nothing
    assert meter.level_db() == pytest.approx(imaging().level_db(wave), abs=1e-9)


def test_the_meter_can_be_read_in_between() -> None:
    meter = imaging().level_meter()
    assert meter.level_db() == -math.inf
    wave = noise(2, 1_000)
    meter.update(wave[:, :500])
    assert meter.level_db() == imaging().level_db(wave[:, :500])
    meter.update(wave[:, 500:])
    assert meter.level_db() == imaging().level_db(wave)


@pytest.mark.parametrize("samples", [0, 1, 64, 1_000])
def test_silence_has_no_level_and_no_image(samples: int) -> None:
    silence = torch.zeros(2, samples)
    assert imaging().level_db(silence) == -math.inf
    with pytest.raises(AudiotransError, match="the sound is silent") as caught:
        imaging().to_image(silence)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("level_db", [math.nan, math.inf, LIMIT_DB + 1])
def test_levels_that_no_sound_has_are_refused(level_db: float) -> None:
    with pytest.raises(AudiotransError, match="at most 400 is possible") as caught:
        imaging().to_image(noise(2, 100), level_db)
    assert "\n" not in str(caught.value)
    with pytest.raises(AudiotransError, match="silent"):
        imaging().to_image(noise(2, 100), -LIMIT_DB - 1)


def test_waves_that_are_not_finite_are_refused() -> None:
    for bad in (math.nan, math.inf):
        wave = noise(2, 100)
        wave[1, 50] = bad
        with pytest.raises(AudiotransError, match=r"level is (nan|inf) dB"):
            imaging().to_image(wave)


@pytest.mark.parametrize("representation", sorted(REPRESENTATIONS))
def test_a_silent_piece_of_a_file_is_an_image_at_the_floor(representation: str) -> None:
    road = imaging(representation=representation)
    image, context = road.to_image(torch.zeros(2, 500), level_db=-20.0)
    assert (image[:, 0::2] == -1).all()
    # What float32 leaves of the floor is 140 dB below full scale.
    assert road.from_image(image, context, phase="source").abs().max() < 1e-7


def test_a_piece_is_imaged_at_the_files_level() -> None:
    road = imaging()
    loud, quiet = noise(2, 64 * 60), 0.1 * noise(2, 64 * 60, seed=1)
    whole = torch.cat([loud, quiet], dim=1)
    meter = road.level_meter()
    meter.update(whole)
    level = road.level(meter)
    piece, context = road.to_image(quiet, level_of_frames(level, 60, 61))
    assert len(context.level_db) == 61
    # Apart from the frames that look across the cut, a piece looks as it does within its file.
    assert torch.allclose(piece[..., 3:], road.to_image(whole)[0][..., 63:], atol=1e-4)


def test_a_soft_passage_is_imaged_as_it_is_alone_but_by_the_papers_representation() -> None:
    soft, loud = 0.05 * noise(2, 64 * 200), noise(2, 64 * 200, seed=1)
    both = torch.cat([soft, loud], dim=1)
    for name in REPRESENTATIONS:
        road = imaging(representation=name, sample_rate=1_600)
        alone, within = road.to_image(soft)[0][..., 2:150], road.to_image(both)[0][..., 2:150]
        moved = (alone[:, ::2] - within[:, ::2]).abs().mean()  # magnitudes, where phases lie between them
        assert (moved < 0.01) == road.representation.follows_level, name


# Settings


def test_the_default_is_a_gain_image_of_the_44_khz_spectrum() -> None:
    settings = AudioSettings()
    assert (settings.representation, settings.image_channels, settings.image_rows) == ("log_mel_gain", 1, 256)
    assert AudioSettings(representation="log_magnitude").image_rows == 1024
    assert AudioSettings(representation="magnitude_phase").image_channels == 4
    assert AudioSettings(representation="magnitude_phase", channels=1).image_channels == 2
    assert dataclasses.asdict(settings)["type"] == "audio"


@pytest.mark.parametrize("representation", sorted(REPRESENTATIONS))
def test_rows_have_rising_frequencies_in_hertz(representation: str) -> None:
    hertz = AudioImaging(AudioSettings(representation=representation)).row_frequencies()
    assert hertz.shape == (AudioSettings(representation=representation).image_rows,)
    assert (np.diff(hertz) > 0).all()
    assert hertz[0] == 0
    assert hertz[10] == pytest.approx(10 * 44_100 / 2048)
    assert hertz[-1] == pytest.approx(22_050, abs=22)  # log_mel_gain ends at Nyquist, the others a bin below


def test_figures_are_those_of_the_representation() -> None:
    road = imaging()
    image, _ = road.to_image(noise(2, 500))
    assert torch.equal(road.display_db(image), road.representation.display_db(image))
    assert road.display_db(image).shape == (1, 40, 9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"representation": "log_mel"}, "unknown representation 'log_mel'.*Did you mean 'log_mel_gain'"),
        ({"phase": "sauce"}, "unknown phase 'sauce'.*Did you mean 'source'"),
        ({"channels": 3}, "channels 3: 1 or 2"),
        ({"channels": 0}, "channels 0: 1 or 2"),
        ({"time_stride": 0}, "time_stride 0: 1"),
        ({"time_stride": 2}, "time_stride 2: 1, or more with magnitude_phase"),
        ({"n_fft": 2047}, "n_fft 2047 must be even"),
        ({"hop_length": 0}, "hop_length 0 must lie in"),
        ({"hop_length": 1500}, "hop_length 1500 must lie in"),
        ({"rows": 2000}, "2000 rows: 8 to 1025"),
        ({"rows": 0}, "0 rows: 8 to 1025"),
        ({"sample_rate": 0}, "sample_rate 0"),
        ({"phase": "network"}, "phase network needs the representation magnitude_phase"),
        ({"phase": "network", "representation": "log_magnitude"}, "needs the representation magnitude_phase"),
    ],
)
def test_bad_settings_are_refused_in_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises((ValueError, UsageError), match=message) as caught:
        AudioSettings(**changes)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_rows_do_not_matter_where_every_bin_is_kept() -> None:
    assert AudioSettings(representation="log_magnitude", n_fft=256, hop_length=64).image_rows == 128


# Manners


@pytest.mark.parametrize("representation", sorted(REPRESENTATIONS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_dtypes_are_kept_and_inputs_left_alone(representation: str, dtype: torch.dtype) -> None:
    road = imaging(representation=representation)
    wave = noise(2, 1_000).to(dtype)
    kept = wave.clone()
    image, context = road.to_image(wave)
    spectrum, seen = context.spectrum.clone(), image.clone()
    for phase in PHASES:
        if phase != "network" or representation == "magnitude_phase":
            assert road.from_image(image, context, phase=phase).dtype == dtype
    assert image.dtype == dtype
    assert torch.equal(wave, kept)
    assert torch.equal(image, seen)
    assert torch.equal(context.spectrum, spectrum)


@pytest.mark.gpu
@pytest.mark.parametrize("representation", sorted(REPRESENTATIONS))
def test_the_device_is_kept(representation: str) -> None:
    road = imaging(representation=representation)
    image, context = road.to_image(noise(2, 1_000).cuda())
    assert image.is_cuda
    assert road.from_image(image, context).is_cuda
