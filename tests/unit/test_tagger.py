"""The tagger on the shipped sounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiotrans.errors import AudiotransError
from audiotrans.evaluation.tagger import INSTRUMENTS, TAGS, likeliest_instrument, tag, tags_and_embedding

DATA = Path(__file__).parents[2] / "data"


def test_the_likeliest_instrument_counts_and_other_tags_do_not() -> None:
    tags = np.zeros((2, len(TAGS)), np.float32)
    tags[:, TAGS.index("classical")], tags[:, TAGS.index("strings")] = 0.9, 0.8
    tags[0, TAGS.index("violin")], tags[1, TAGS.index("flute")] = 0.5, 0.4
    assert likeliest_instrument(tags) == "violin"
    assert likeliest_instrument(tags[:0]) is None
    assert set(INSTRUMENTS) < set(TAGS)


class TestTag:
    @pytest.mark.parametrize("name", ["violin", "piano"])
    def test_the_shipped_sounds_are_what_they_are(self, name: str) -> None:
        wave, rate = soundfile.read(DATA / f"{name}.wav", dtype="float32", always_2d=True)
        assert likeliest_instrument(tag(wave.T, rate)) == name

    def test_level_and_channels_do_not_count(self) -> None:
        wave, rate = soundfile.read(DATA / "violin.wav", dtype="float32", always_2d=True)
        mono = wave.mean(axis=1)[None, : 4 * rate]
        twice = np.concatenate([mono, mono])
        np.testing.assert_allclose(tag(0.05 * twice, rate), tag(mono, rate), atol=2e-3)

    def test_windows_are_a_second_apart_and_silence_has_none(self) -> None:
        noise = np.random.default_rng(0).standard_normal((1, 8 * 16_000)).astype(np.float32)
        tags, embedding = tags_and_embedding(noise, 16_000)
        assert (tags.shape, embedding.shape) == ((6, 50), (6, 200))
        assert len(tag(np.zeros((2, 16_000), np.float32), 16_000)) == 0
        noise[:, 4 * 16_000 :] = 0
        assert len(tag(noise, 16_000)) == 5  # the window from 5 s on is silent
        assert len(tag(noise[:, :8_000], 16_000)) == 1  # a short sound is repeated

    def test_what_is_no_sound_is_refused(self) -> None:
        with pytest.raises(AudiotransError):
            tag(np.zeros((1, 0), np.float32), 16_000)
        with pytest.raises(AudiotransError):
            tag(np.full((1, 16_000), np.nan, np.float32), 16_000)
