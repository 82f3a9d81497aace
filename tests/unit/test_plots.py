"""Figures are real PNG files with the axes that were asked for, and no half file is ever left."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from audiotrans.errors import AudiotransError
from audiotrans.evaluation import plots
from audiotrans.evaluation.plots import canvas


@pytest.fixture
def rows() -> np.ndarray:
    return np.linspace(0.0, 8000.0, 64)


@pytest.fixture
def sheet_figure(monkeypatch):
    """Catch the figure that a plot would save."""
    caught = []
    save = canvas.save

    def catch(figure, path):
        caught.append(figure)
        return save(figure, path)

    monkeypatch.setattr(canvas, "save", catch)
    return caught


def read_png(path) -> np.ndarray:
    from matplotlib.image import imread

    return imread(path)


def test_sample_sheet_has_a_panel_an_image_and_one_colour_bar(tmp_path, rows, sheet_figure):
    images = {name: np.full((1, 64, 50), -0.5, dtype=np.float32) for name in ("input", "translation", "cycle")}
    path = plots.sample_sheet(images, tmp_path / "sheet.png", rows, 0.01)
    assert read_png(path).shape[2] == 4
    *panels, colour_bar = sheet_figure[0].axes
    assert [panel.get_title() for panel in panels] == ["input", "translation", "cycle"]
    assert {panel.get_ylabel() for panel in panels} == {"frequency (Hz)"}
    assert {panel.get_xlabel() for panel in panels} == {"time (s)"}
    assert panels[0].get_xlim() == (0.0, 0.5)
    assert "image value" in colour_bar.get_ylabel()


def test_a_row_is_drawn_at_its_frequency(tmp_path, rows, sheet_figure):
    image = np.full((1, 64, 10), -1.0, dtype=np.float32)
    image[0, 8] = 1.0  # 8 * 8000 / 63 = 1015.9 Hz
    plots.sample_sheet({"row": image}, tmp_path / "sheet.png", rows, 0.1)
    drawn = sheet_figure[0].axes[0].images[0]
    low, high = drawn.get_extent()[2:]
    bright = np.flatnonzero(drawn.get_array()[:, 0] == 1.0)
    hertz = 10 ** (low + (high - low) * bright.mean() / (len(drawn.get_array()) - 1))
    # Rows are 127 Hz apart; the middle of the bright band on a log axis lies a little below the row's own frequency.
    assert hertz == pytest.approx(1015.9, abs=20)


@pytest.mark.parametrize("scale", ["log", "mel", "linear"])
def test_no_bin_is_lost_between_the_rows_of_a_figure(tmp_path, sheet_figure, scale):
    # A chirp of one bin: near the top of a logarithmic axis a row of the figure stands for many bins.
    rate, bins = 44100, 1025
    levels = np.full((bins, bins), -80.0)
    np.fill_diagonal(levels, 0.0)
    _, (axis,) = canvas.grid(1, 1)
    hertz = np.arange(bins) * rate / 2048
    drawn = canvas.draw_spectrogram(axis, levels, hertz, 1.0, (-80.0, 0.0), scale=scale)
    lowest = 0 if scale == "linear" else np.flatnonzero(hertz >= 40.0)[0]
    np.testing.assert_array_equal(np.asarray(drawn.get_array()).max(axis=0)[lowest:], 0.0)
    low, high = axis.get_ylim()
    place = canvas.SCALES[scale].place
    assert (low, high) == pytest.approx((place(hertz[lowest]), place(22050.0)))
    assert "10000" in [label.get_text() for label in axis.get_yticklabels()]


def test_an_unknown_scale_and_format_are_refused(tmp_path):
    waves = {"a": (np.ones((1, 4000), np.float32), 8000)}
    with pytest.raises(AudiotransError, match="unknown frequency axis 'bark'"):
        plots.spectrogram_figure(waves, tmp_path / "a.png", scale="bark")
    with pytest.raises(AudiotransError, match=r"ends in \.png or \.svg"):
        plots.check_output(tmp_path / "a.gif")


def test_the_same_figure_gives_the_same_svg(tmp_path):
    waves = {"a": (np.sin(np.arange(4000, dtype=np.float32))[None], 8000)}
    first, second = (plots.spectrogram_figure(waves, tmp_path / name) for name in ("a.svg", "b.svg"))
    assert first.read_bytes() == second.read_bytes()


def test_channels_become_panels_and_decibels_are_recognised(tmp_path, rows, sheet_figure):
    image = np.linspace(-100.0, 0.0, 2 * 64 * 5).reshape(2, 64, 5)
    plots.sample_sheet({"stereo": image}, tmp_path / "sheet.png", rows, 0.01)
    left, right, colour_bar = sheet_figure[0].axes
    assert (left.get_title(), right.get_title()) == ("stereo, channel 1", "stereo, channel 2")
    assert colour_bar.get_ylabel() == "level (dB)"
    assert left.images[0].get_clim() == (-80.0, 0.0)


@pytest.mark.parametrize("shape", [(64, 50), (1, 63, 50), (1, 64, 0)])
def test_images_of_a_wrong_shape_are_refused(tmp_path, rows, shape):
    with pytest.raises(AudiotransError, match="64 rows"):
        plots.sample_sheet({"bad": np.zeros(shape)}, tmp_path / "sheet.png", rows, 0.01)
    assert list(tmp_path.iterdir()) == []


def test_no_image_at_all_is_refused(tmp_path, rows):
    with pytest.raises(AudiotransError, match="no image"):
        plots.sample_sheet({}, tmp_path / "sheet.png", rows, 0.01)


def test_spectrogram_shows_a_sine_at_its_frequency(tmp_path, sheet_figure):
    rate = 22050
    wave = 0.5 * np.sin(2 * np.pi * 1000.0 * np.arange(rate) / rate)[None].repeat(2, axis=0)
    waves = {"input": (wave.astype(np.float32), rate), "output": (wave[:1].astype(np.float32) / 10, rate)}
    path = plots.spectrogram_figure(waves, tmp_path / "sounds.png")
    assert read_png(path).size > 0
    first, second, colour_bar = sheet_figure[0].axes
    drawn = first.images[0]
    low, high = drawn.get_extent()[2:]
    pixels = drawn.get_array()
    middle = pixels[:, pixels.shape[1] // 2]
    peak = 10 ** (low + (high - low) * np.flatnonzero(middle == middle.max()).mean() / (len(middle) - 1))
    assert peak == pytest.approx(1000.0, abs=11.0)  # a bin of 2048 samples is 10.8 Hz wide
    # The quieter sound shares the scale of the louder one: 20 dB below it.
    assert second.images[0].get_array().max() == pytest.approx(pixels.max() - 20.0, abs=0.01)
    assert colour_bar.get_ylabel() == "level (dB re loudest)"


def test_spectrogram_of_a_long_sound_draws_its_first_minute(tmp_path, sheet_figure):
    wave = np.random.default_rng(0).standard_normal((1, 100 * 4000)).astype(np.float32)
    plots.spectrogram_figure({"long": (wave, 4000)}, tmp_path / "long.png")
    axis = sheet_figure[0].axes[0]
    assert axis.get_xlim() == (0.0, 60.0)
    assert axis.images[0].get_array().shape[1] <= 1600


def test_spectrogram_of_silence_and_of_one_sample(tmp_path):
    waves = {"silence": (np.zeros((1, 8000), np.float32), 8000), "sample": (np.zeros((1, 1), np.float32), 8000)}
    assert plots.spectrogram_figure(waves, tmp_path / "quiet.png").stat().st_size > 0


@pytest.mark.parametrize("wave", [np.zeros((1, 0), np.float32), np.zeros(8, np.float32)])
def test_spectrogram_of_a_bad_wave_is_refused(tmp_path, wave):
    with pytest.raises(AudiotransError, match="'bad'"):
        plots.spectrogram_figure({"bad": (wave, 8000)}, tmp_path / "bad.png")
    with pytest.raises(AudiotransError, match="no sound"):
        plots.spectrogram_figure({}, tmp_path / "bad.png")


def test_training_curves_draw_every_number(tmp_path, sheet_figure):
    log = tmp_path / "metrics.jsonl"
    records = [{"step": step, "generator": {"cycle": 1 / (step + 1)}, "rate": 2e-4, "note": "x"} for step in range(5)]
    # A killed run leaves half a line.
    log.write_text("\n".join(map(json.dumps, records)) + '\n{"step": 5, "gene')
    path = plots.training_curves(log, tmp_path / "curves.png")
    assert read_png(path).size > 0
    assert [axis.get_title() for axis in sheet_figure[0].axes] == ["generator/cycle", "rate"]
    np.testing.assert_array_equal(sheet_figure[0].axes[0].lines[0].get_xdata(), range(5))


def test_training_logs_that_cannot_be_drawn(tmp_path):
    log, target = tmp_path / "metrics.jsonl", tmp_path / "curves.png"
    with pytest.raises(AudiotransError, match="cannot read"):
        plots.training_curves(log, target)
    log.write_text('{"loss": 1}\n')
    with pytest.raises(AudiotransError, match="no numbers with a step"):
        plots.training_curves(log, target)
    log.write_text('nonsense\n{"step": 1, "loss": 1}\n')
    with pytest.raises(AudiotransError, match="line 1"):
        plots.training_curves(log, target)


def test_a_figure_that_cannot_be_written_leaves_nothing(tmp_path, rows):
    image = {"image": np.zeros((1, 64, 4))}
    with pytest.raises(AudiotransError, match="cannot write"):
        plots.sample_sheet(image, tmp_path / "missing" / "sheet.png", rows, 0.01)
    folder = tmp_path / "sheet.png"
    folder.mkdir()
    with pytest.raises(AudiotransError, match="cannot write"):
        plots.sample_sheet(image, folder, rows, 0.01)
    assert list(tmp_path.iterdir()) == [folder]


def test_plots_leave_pyplot_alone(tmp_path, rows):
    plots.sample_sheet({"image": np.zeros((1, 64, 4))}, tmp_path / "sheet.png", rows, 0.01)
    assert "matplotlib.pyplot" not in sys.modules
