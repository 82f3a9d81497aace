"""Laws of the audio door that hold for every length, rate and block size."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from audiotrans import audio
from audiotrans.audio.blocks import reblock
from audiotrans.errors import AudiotransError

RATES = st.sampled_from([8_000, 11_025, 16_000, 22_050, 22_254, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000])
SEEDS = st.integers(0, 2**32 - 1)
CHANNELS = st.integers(1, 8)


def noise(seed: int, channels: int, samples: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(-1, 1, (channels, samples)).astype(np.float32)


def in_blocks(wave: NDArray[np.float32], seed: int) -> list[NDArray[np.float32]]:
    """Cut a wave at random places; empty blocks may occur."""
    places = np.sort(np.random.default_rng(seed).integers(0, wave.shape[1] + 1, 5))
    return np.split(wave, places, axis=1)


@given(SEEDS, CHANNELS, st.integers(0, 20_000), RATES, RATES)
def test_a_resampled_stream_equals_the_whole_and_has_the_promised_length(
    seed: int, channels: int, samples: int, rate_in: int, rate_out: int
) -> None:
    wave = noise(seed, channels, samples)
    kept = wave.copy()
    whole = audio.resample(wave, rate_in, rate_out)
    blocks = list(audio.resample_blocks(in_blocks(wave, seed), rate_in, rate_out, channels))
    assert all(block.shape[1] for block in blocks)
    streamed = np.concatenate([np.zeros((channels, 0), np.float32), *blocks], axis=1)
    assert whole.shape == (channels, audio.resampled_length(samples, rate_in, rate_out))
    assert np.isfinite(whole).all()
    np.testing.assert_array_equal(streamed, whole)
    np.testing.assert_array_equal(wave, kept)


@given(SEEDS, st.integers(1, 20_000), RATES, RATES)
def test_resampling_back_gives_the_very_length(seed: int, samples: int, rate_in: int, rate_out: int) -> None:
    there = audio.resample(noise(seed, 1, samples), rate_in, rate_out)
    assert audio.resample(there, rate_out, rate_in, length=samples).shape == (1, samples)


@given(st.integers(1, 10**10), RATES, RATES)
def test_the_length_rule_is_within_half_a_sample(samples: int, rate_in: int, rate_out: int) -> None:
    length = audio.resampled_length(samples, rate_in, rate_out)
    assert length == 1 or abs(2 * (length * rate_in - samples * rate_out)) <= rate_in


@given(SEEDS, CHANNELS, st.integers(0, 3_000), st.integers(1, 700))
def test_reblocking_changes_only_the_cuts(seed: int, channels: int, samples: int, block_frames: int) -> None:
    wave = noise(seed, channels, samples)
    blocks = list(reblock(in_blocks(wave, seed), block_frames))
    assert all(block.shape == (channels, block_frames) for block in blocks[:-1])
    assert all(0 < block.shape[1] <= block_frames for block in blocks)
    np.testing.assert_array_equal(np.concatenate([np.zeros((channels, 0), np.float32), *blocks], axis=1), wave)


@given(
    SEEDS,
    CHANNELS,
    st.integers(1, 3_000),
    st.sampled_from([(".wav", "PCM_U8", 8), (".wav", "PCM_16", 16), (".flac", "PCM_16", 16), (".aiff", "PCM_24", 24)]),
)
def test_integer_samples_survive_a_copy_bit_for_bit(
    seed: int, channels: int, samples: int, kind: tuple[str, str, int]
) -> None:
    suffix, subtype, bits = kind
    full = 2 ** (bits - 1)
    steps = np.random.default_rng(seed).integers(-full, full, (channels, samples))
    wave = (steps / full).astype(np.float32)
    like = audio.AudioInfo(Path("in"), 44_100, channels, samples, "any", subtype)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{suffix}"
        assert audio.write(path, wave, 44_100, like=like) == 1.0
        assert audio.probe(path).subtype == subtype
        np.testing.assert_array_equal(audio.read(path)[0], wave)


@given(SEEDS, st.integers(1, 2), st.integers(1, 6_000), st.sampled_from([".m4a", ".mp3"]), st.integers(1, 3_000))
def test_what_ffmpeg_reads_has_its_length_and_is_the_same_in_blocks(
    seed: int, channels: int, samples: int, suffix: str, block_frames: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{suffix}"
        audio.write(path, noise(seed, channels, samples) * np.float32(0.1), 44_100)
        whole, rate = audio.read(path)
        blocks = list(audio.read_blocks(path, block_frames))
        assert (whole.shape, rate, audio.probe(path).frames) == ((channels, samples), 44_100, samples)
        np.testing.assert_array_equal(np.concatenate(blocks, axis=1), whole)
        start = seed % samples
        piece, _ = audio.read(path, start_seconds=start / 44_100, seconds=1.0)
        np.testing.assert_array_equal(piece, whole[:, start:])


@functools.cache
def whole_file(suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        audio.write(Path(folder) / f"x{suffix}", noise(0, 2, 9_000) * np.float32(0.1), 44_100)
        return (Path(folder) / f"x{suffix}").read_bytes()


@given(SEEDS, st.sampled_from([".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aiff", ".w64"]), st.booleans())
def test_whatever_is_wrong_with_a_file_is_one_line_or_a_sound_of_one_length(seed: int, suffix: str, cut: bool) -> None:
    rng = np.random.default_rng(seed)
    data = np.frombuffer(whole_file(suffix), np.uint8).copy()
    # Headers are where most of the mistakes are.
    places = rng.integers(0, len(data) if rng.random() < 0.5 else 300, rng.integers(0, 20))
    data[places] = rng.integers(0, 256, len(places))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{suffix}"
        path.write_bytes(data[: rng.integers(1, len(data)) if cut else None].tobytes())
        said, info, wave = "", None, np.zeros((0, 0), np.float32)
        try:
            info, (wave, _) = audio.probe(path), audio.read(path)
        except AudiotransError as error:
            said = str(error)
        if info is None or not wave.size:
            assert said.count("\n") == 0
            assert str(path) in said
        else:
            assert wave.shape == (info.channels, info.frames)
            assert np.isfinite(wave).all()


@given(SEEDS, st.integers(1, 2), st.integers(1, 6_000), st.sampled_from([("ALAC_16", 16), ("ALAC_24", 24)]))
def test_alac_survives_a_copy_bit_for_bit(seed: int, channels: int, samples: int, kind: tuple[str, int]) -> None:
    subtype, bits = kind
    full = 2 ** (bits - 1)
    wave = (np.random.default_rng(seed).integers(-full, full, (channels, samples)) / full).astype(np.float32)
    like = audio.AudioInfo(Path("in"), 44_100, channels, samples, "MP4", subtype)
    with tempfile.TemporaryDirectory() as folder:
        audio.write(Path(folder) / "x.m4a", wave, 44_100, like=like)
        assert audio.probe(Path(folder) / "x.m4a").subtype == subtype
        np.testing.assert_array_equal(audio.read(Path(folder) / "x.m4a")[0], wave)


@given(SEEDS, st.integers(1, 3_000), st.floats(0.1, 50.0), st.sampled_from([".wav", ".flac", ".aiff"]))
def test_nothing_that_is_written_clips(seed: int, samples: int, scale: float, suffix: str) -> None:
    wave = noise(seed, 2, samples) * np.float32(scale)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{suffix}"
        gain = audio.write(path, wave, 44_100)
        back, _ = audio.read(path)
    # Half a step of 24 bits, and float32's own rounding of the product.
    assert np.abs(back - wave * np.float32(gain)).max() <= 1.1 * 2.0**-23
    assert 0 < gain <= 1
