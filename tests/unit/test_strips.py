"""The bare spectrograms of the listening page: rows are frequencies, columns are moments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from audiotrans.errors import AudiotransError
from audiotrans.evaluation.plots import RANGE_DB, STRIP_HZ, STRIP_ROWS, colour_stops, save_strip, strip_levels


def row_of(hertz: float) -> int:
    low, high = STRIP_HZ
    return int(STRIP_ROWS * np.log(hertz / low) / np.log(high / low))


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("hertz", [110.0, 440.0, 1_000.0, 5_000.0])
def test_a_tone_lies_in_its_row(rate: int, hertz: float) -> None:
    wave = np.sin(2 * np.pi * hertz * np.arange(rate) / rate).astype(np.float32)[None]
    levels = strip_levels(wave, rate)
    middle = levels[:, levels.shape[1] // 2]
    assert abs(int(middle.argmax()) - row_of(hertz)) <= 1  # where bins are wider than rows, one row beside
    # A sine of amplitude 1 in a Hann window of n samples has magnitude n / 4; up to 1.5 dB less between two bins.
    n_fft = 2 ** round(np.log2(rate * 0.093))
    assert middle.max() == pytest.approx(20 * np.log10(n_fft / 4), abs=1.6)


def test_columns_cover_the_sound_from_start_to_end() -> None:
    rate = 16_000
    wave = np.zeros((2, 4 * rate), np.float32)
    for second in (0.5, 3.0):
        wave[:, int(second * rate)] = 1.0
    loudest = strip_levels(wave, rate).max(axis=0)
    heard = np.flatnonzero(loudest > loudest.max() - 20) / len(loudest) * 4
    # A click shows over the length of a window, 128 ms.
    near = np.minimum(abs(heard - 0.5), abs(heard - 3.0))
    assert near.max() < 0.1
    assert {round(each) for each in (heard * 2)} >= {1, 6}


def test_long_sounds_are_read_in_pieces_and_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    wave = np.random.default_rng(0).normal(size=(1, 100_000)).astype(np.float32)
    whole = strip_levels(wave, 8_000)
    monkeypatch.setattr("audiotrans.evaluation.plots.spectrograms._CHUNK_SECONDS", 1.0)
    # Equal but for the margin's ends, which lie outside of every window that is kept.
    np.testing.assert_allclose(strip_levels(wave, 8_000), whole, atol=1e-3)


def test_strips_hold_the_levels_upside_up(tmp_path: Path) -> None:
    levels = np.full((STRIP_ROWS, 10), -200.0)
    levels[0, 0] = 0.0  # the lowest frequency, at the start
    with Image.open(save_strip(levels, tmp_path / "a.png", 0.0)) as image:
        assert image.size == (10, STRIP_ROWS)
        colours = np.asarray(image.convert("RGB"))
    stops = colour_stops()
    assert "#" + bytes(colours[-1, 0]).hex() == stops[-1]
    assert "#" + bytes(colours[0, 0]).hex() == stops[0]
    assert RANGE_DB == 80.0  # what the page says beside its bar


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudiotransError, match=r"shape \(1, 0\)"):
        strip_levels(np.zeros((1, 0), np.float32), 8_000)
    with pytest.raises(AudiotransError, match="cannot write"):
        save_strip(np.zeros((STRIP_ROWS, 2)), tmp_path / "nowhere" / "a.png", 0.0)
    assert strip_levels(np.ones((1, 1), np.float32), 8_000).shape == (STRIP_ROWS, 1)
