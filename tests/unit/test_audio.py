"""The audio door: every format there and back, resampling, and finding files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soxr

from audiotrans import audio
from audiotrans.errors import AudiotransError, UsageError
from tests.sounds import snr_db, tones

# --- there and back ---

LOSSLESS = (".wav", ".flac", ".aiff", ".aif", ".w64", ".rf64", ".caf", ".au")


@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("suffix", LOSSLESS)
def test_lossless_formats_come_back_at_24_bits(tmp_path: Path, suffix: str, channels: int) -> None:
    wave = tones(channels)
    audio.write(tmp_path / f"x{suffix}", wave, 48_000)
    info = audio.probe(tmp_path / f"x{suffix}")
    back, rate = audio.read(tmp_path / f"x{suffix}")
    assert (info.sample_rate, info.channels, info.frames, info.subtype) == (48_000, channels, 48_007, "PCM_24")
    assert rate == 48_000
    assert back.dtype == np.float32
    # Half a step of 24 bits, and the rounding of float32 near it.
    assert np.abs(back - wave).max() <= 0.51 * 2.0**-23


# Measured: Vorbis 39 dB, Opus 34 dB, MP3 53 dB, AAC 51 dB. 30 dB fails for any shift by a sample, swap or lost channel.
@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("suffix", [".ogg", ".oga", ".opus", ".mp3", ".m4a"])
def test_lossy_formats_come_back_in_step(tmp_path: Path, suffix: str, channels: int) -> None:
    wave = tones(channels)
    path = tmp_path / f"x{suffix}"
    if suffix in (".mp3", ".m4a") and channels > 2:
        with pytest.raises(UsageError, match=r"(MP3 holds 2|M4A holds 6) channels, the sound has 8; write \.wav"):
            audio.write(path, wave, 48_000)
        return
    audio.write(path, wave, 48_000)
    back, rate = audio.read(path)
    assert rate == 48_000
    assert back.shape == wave.shape
    assert audio.probe(path).frames == wave.shape[1]
    kept = 7 if suffix == ".opus" and channels == 8 else channels  # the bass channel of 7.1 holds no tones
    assert all(snr_db(wave[c], back[c]) > 30 for c in range(kept))


@pytest.mark.parametrize("sample_rate", [8_000, 11_025, 22_050, 44_100])
def test_mp3_keeps_the_level_at_every_rate(tmp_path: Path, sample_rate: int) -> None:
    wave = tones(1, sample_rate)
    audio.write(tmp_path / "x.mp3", wave, sample_rate)
    back, _ = audio.read(tmp_path / "x.mp3")
    # A constant bit rate would lower it by up to 5 %.
    assert np.abs(back).max() == pytest.approx(np.abs(wave).max(), rel=0.02)


@pytest.mark.parametrize(
    ("suffix", "given", "stored"),
    [
        (".opus", 44_100, 48_000),
        (".opus", 11_025, 12_000),
        (".opus", 96_000, 48_000),
        (".mp3", 96_000, 48_000),
        (".m4a", 192_000, 96_000),
    ],
)
def test_codecs_with_few_rates_get_the_next_higher_one(tmp_path: Path, suffix: str, given: int, stored: int) -> None:
    wave = tones(2, given)
    assert audio.file_sample_rate(f"x{suffix}", given) == stored
    audio.write(tmp_path / f"x{suffix}", wave, given)
    back, rate = audio.read(tmp_path / f"x{suffix}")
    assert rate == stored
    assert back.shape == (2, audio.resampled_length(wave.shape[1], given, stored))
    assert snr_db(wave, audio.resample(back, stored, given, length=wave.shape[1])) > 25  # measured: 28 and more


def test_a_long_ogg_vorbis_file_does_not_crash_the_interpreter(tmp_path: Path) -> None:
    wave = np.tile(tones(2, 44_100, 1.0)[:, :44_100], (1, 90))
    audio.write(tmp_path / "x.ogg", wave, 44_100)
    assert audio.probe(tmp_path / "x.ogg").frames == 90 * 44_100


def test_content_decides_over_a_wrong_suffix(tmp_path: Path) -> None:
    audio.write(tmp_path / "x.wav", tones(1), 48_000)
    (tmp_path / "x.wav").rename(tmp_path / "x.mp3")
    assert audio.probe(tmp_path / "x.mp3").format == "WAV"


# --- resampling ---


def test_resampled_length_rounds_halves_up_and_keeps_one_sample() -> None:
    assert [audio.resampled_length(n, 44_100, 22_050) for n in (0, 1, 2, 3, 441)] == [0, 1, 1, 2, 221]
    assert audio.resampled_length(1, 192_000, 8_000) == 1
    assert audio.resampled_length(3600 * 44_100, 44_100, 48_000) == 3600 * 48_000


def test_resample_agrees_with_soxr_and_leaves_no_alias() -> None:
    time = np.arange(44_100) / 44_100
    wave = np.stack([np.sin(2 * np.pi * 1_000 * time), np.sin(2 * np.pi * 15_000 * time)]).astype(np.float32)
    found = audio.resample(wave, 44_100, 22_050)
    np.testing.assert_array_equal(found, soxr.resample(wave.T.copy(), 44_100, 22_050, quality="VHQ").T)
    assert np.abs(found[1, 2_000:-2_000]).max() < 1e-6  # 15 kHz lies above the new Nyquist frequency


def test_resample_comes_back_to_the_very_length_and_sound() -> None:
    wave = tones(2, 96_000)
    back = audio.resample(audio.resample(wave, 96_000, 44_100), 44_100, 96_000, length=wave.shape[1])
    assert back.shape == wave.shape
    assert snr_db(wave, back) > 120  # float32 and a filter of 28 bits; measured 148


def test_resample_refuses_odd_input() -> None:
    with pytest.raises(UsageError, match="sample rate 0"):
        audio.resample(tones(1), 44_100, 0)
    with pytest.raises(ValueError, match="channels, samples"):
        audio.resample(tones(1)[0], 44_100, 48_000)


# --- finding files ---


def test_files_folders_and_patterns(tmp_path: Path) -> None:
    names = ["b.wav", "a.FLAC", "sub/c.mp3", "sub/[vio][cla]1__1.wav", ".hidden/d.wav", "sub/.c.partial.wav", "n.txt"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    everything = [tmp_path / name for name in ("a.FLAC", "b.wav", "sub/[vio][cla]1__1.wav", "sub/c.mp3")]
    assert audio.find_audio([tmp_path]) == everything
    assert audio.find_audio([tmp_path / "n.txt", str(tmp_path / "b.wav"), tmp_path]) == [
        tmp_path / "n.txt",
        tmp_path / "b.wav",
        *(path for path in everything if path.name != "b.wav"),
    ]
    assert audio.find_audio([tmp_path / "sub" / "[vio][cla]1__1.wav"]) == [everything[2]]
    assert audio.find_audio([str(tmp_path / "*")]) == everything
    assert audio.find_audio([str(tmp_path / "**" / "*.mp3")]) == [everything[3]]


def test_nothing_found(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the folder holds no sound file"):
        audio.find_audio([tmp_path])
    with pytest.raises(UsageError, match="the pattern matches no sound file"):
        audio.find_audio([str(tmp_path / "*.wav")])
    with pytest.raises(AudiotransError, match="there is no such file"):
        audio.find_audio([tmp_path / "x.wav"])
    with pytest.raises(UsageError, match="no sound file was named"):
        audio.find_audio([])
