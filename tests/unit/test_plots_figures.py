"""The paper's figures: what stands in which column and row, and that a pixel of phase is the phase."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result
from matplotlib.figure import Figure
from matplotlib.image import imread

from audiotrans.cli import main
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.evaluation.plots import canvas, figure8, figure9
from audiotrans.evaluation.plots.spectrograms import phase_pixels
from audiotrans.spectrogram.stft import STFT

RATE = 16_000
SIX = ("violin-violin", "violin-piano", "violin-piano-violin", "piano-piano", "piano-violin", "piano-violin-piano")


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Catch the figures that would be saved: drawing dozens of panels takes seconds."""
    caught: list[Figure] = []
    monkeypatch.setattr(canvas, "save", lambda figure, path: caught.append(figure) or Path(path))
    return caught


def sine(hertz: float, seconds: float = 0.6, gain: float = 0.25) -> np.ndarray:
    return gain * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)


@pytest.fixture
def cycle(tmp_path: Path) -> Path:
    """Make the folder of a run: the left channel a sine of 1 kHz, the right one of 2 kHz, 20 dB below."""
    folder = tmp_path / "cycle"
    items = []
    for chain in ("violin", "piano", *SIX):
        for clip in ("a", "b") if chain.startswith("violin") else ("b", "c"):
            sound = f"sounds/{chain}/{clip}.wav"
            (folder / sound).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / sound, np.stack([sine(1000), 0.1 * sine(2000)], axis=1), RATE)
            items.append({"clip": clip, "domain": chain.split("-")[0], "chain": chain, "sound": sound, "scores": {}})
    values = {"format": "audiotrans-cycle", "version": 1, "model": "m", "domains": ["violin", "piano"], "items": items}
    (folder / "cycle.json").write_text(json.dumps(values))
    return folder


def panels(figure: Figure) -> list[list[Any]]:
    """Return the panels by row: those with an image, without the colour bars."""
    drawn = [axis for axis in figure.axes if axis.images]
    return [drawn[start : start + 8] for start in range(0, len(drawn), 8)]


class TestFigure8:
    def test_columns_and_rows_are_the_papers(self, cycle: Path, tmp_path: Path, figures: list[Figure]) -> None:
        figure8(cycle, tmp_path / "f.png")
        rows = panels(figures[0])
        titles = [axis.get_title() for axis in rows[0]]
        assert titles == ["P", "V", "P→P", "V→V", "P→V", "V→P", "P→V→P", "V→P→V"]
        assert [row[0].get_ylabel().splitlines()[0] for row in rows] == [
            "left magnitude x 10", "left phase", "right magnitude x 10", "right phase",
            "left log magnitude", "right log magnitude",
        ]  # fmt: skip
        assert {axis.get_xlabel() for axis in rows[-1]} == {"time (s)"}
        assert rows[0][0].get_xlim() == pytest.approx((0.0, 0.6))
        assert "violin (clip b), P: piano (clip b)" in figures[0].get_suptitle()  # the clip that both have
        bars = [axis.get_ylabel() for axis in figures[0].axes if not axis.images and axis.get_ylabel()]
        assert bars == ["magnitude x 10", "phase (rad)"] * 2 + ["dB re loudest"] * 2

    def test_values_are_those_of_the_sound(self, cycle: Path, tmp_path: Path, figures: list[Figure]) -> None:
        figure8(cycle, tmp_path / "f.png", scale="linear")
        rows = [row[0].images[0] for row in panels(figures[0])]
        middle = [np.asarray(image.get_array())[:, 10] for image in rows]
        tone_bin, other = 128, 256  # 1 and 2 kHz over 16 kHz / 2048
        assert middle[0][tone_bin] == pytest.approx(2.5, rel=1e-3)  # ten times the amplitude: the peak of a sine is 1
        assert rows[0].get_clim() == (0.0, 1.0)
        assert middle[4][tone_bin] == pytest.approx(0.0, abs=0.01)
        assert middle[5][other] == pytest.approx(-20.0, abs=0.01)
        assert np.abs(middle[1]).max() <= math.pi + 1e-6

    def test_mono_has_one_channel(self, cycle: Path, tmp_path: Path, figures: list[Figure]) -> None:
        for path in cycle.rglob("*.wav"):
            soundfile.write(path, sine(500), RATE)
        figure8(cycle, tmp_path / "f.svg", start_seconds=0.1, seconds=0.2, scale="mel")
        rows = panels(figures[0])
        assert [row[0].get_ylabel().splitlines()[0] for row in rows] == ["magnitude x 10", "phase", "log magnitude"]
        assert rows[0][0].get_xlim() == pytest.approx((0.0, 0.2))

    def test_clips_can_be_chosen(self, cycle: Path, tmp_path: Path, figures: list[Figure]) -> None:
        figure8(cycle, tmp_path / "f.png", clips=["a", "c"])
        assert "V: violin (clip a), P: piano (clip c)" in figures[0].get_suptitle()
        with pytest.raises(UsageError, match="no clip 'x': there are a, b, c"):
            figure8(cycle, tmp_path / "f.png", clips=["x"])

    def test_a_folder_of_something_else_is_refused(self, cycle: Path, tmp_path: Path) -> None:
        with pytest.raises(AudiotransError, match=r"no readable cycle\.json"):
            figure8(tmp_path, tmp_path / "f.png")
        (cycle / "cycle.json").write_text('{"format": "other"}')
        with pytest.raises(AudiotransError, match="not what audiotrans cycle writes"):
            figure8(cycle, tmp_path / "f.png")


class TestFigure9:
    def test_a_pixel_is_the_phase_in_eight_bits(self) -> None:
        # A cosine at a bin's centre, its hop whole periods: every frame sees it at phase 0.
        stft = STFT(64, 16)
        wave = np.cos(2 * np.pi * 4 * np.arange(1024) / 64).astype(np.float32)
        assert phase_pixels(wave, stft)[4, 10] in (127, 128)  # 127.5 and float error
        assert phase_pixels(-wave, stft)[4, 10] in (0, 255)  # pi and -pi are one phase
        quarter = np.sin(2 * np.pi * 4 * np.arange(1024) / 64).astype(np.float32)
        assert phase_pixels(quarter, stft)[4, 10] == 64  # -pi / 2

    def test_bare_pixels_have_their_size_and_the_highest_row_first(self, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "a.wav", np.stack([sine(1000), sine(3000)], axis=1), RATE)
        figure9(tmp_path / "a.wav", tmp_path / "p.png", channel=2, bare=True)
        written = np.rint(imread(tmp_path / "p.png") * 255).astype(np.uint8)
        wave, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
        np.testing.assert_array_equal(written, phase_pixels(np.ascontiguousarray(wave[:, 1]), STFT())[::-1])
        assert written.ndim == 2

    def test_axes_are_hertz_and_seconds(self, tmp_path: Path, figures: list[Figure]) -> None:
        soundfile.write(tmp_path / "a.wav", sine(1000), RATE)
        figure9(tmp_path / "a.wav", tmp_path / "p.png")
        (axis,) = [axis for axis in figures[0].axes if axis.images]
        assert axis.get_xlim() == pytest.approx((0.0, 0.6))
        assert axis.get_ylim() == pytest.approx((0.0, 8000.0))
        assert axis.images[0].get_clim() == (0.0, 255.0)

    def test_mistakes(self, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "a.wav", sine(1000), RATE)
        with pytest.raises(UsageError, match=r"channel 2: .* has 1"):
            figure9(tmp_path / "a.wav", tmp_path / "p.png", channel=2)
        with pytest.raises(UsageError, match=r"bare pixels are written as \.png"):
            figure9(tmp_path / "a.wav", tmp_path / "p.svg", bare=True)


class TestCommand:
    def plot(self, *arguments: object) -> Result:
        return CliRunner().invoke(main, ["plot", *map(str, arguments)], prog_name="audiotrans")

    @pytest.mark.slow
    @pytest.mark.smoke
    def test_every_kind_of_sound_figure(self, cycle: Path, tmp_path: Path) -> None:
        sound = cycle / "sounds" / "violin" / "a.wav"
        for kind, given in (("figure8", cycle), ("figure9", sound), ("spectrogram", sound)):
            target = tmp_path / f"{kind}.{'svg' if kind == 'figure9' else 'png'}"
            result = self.plot(kind, given, "-o", target, "--seconds", 0.3)
            assert result.exit_code == 0, result.output
            assert result.stdout == f"{target}\n"
            refused = self.plot(kind, given, "-o", target)
            assert refused.exit_code == 2
            assert "use --force" in refused.stderr
        assert self.plot("spectrogram", sound, "-o", target, "--force", "--seconds", 0.3).exit_code == 0
        assert (tmp_path / "figure9.svg").read_text().startswith("<?xml")

    @pytest.mark.parametrize(
        ("more", "said"),
        [(("-o", "x.gif"), "ends in .png or .svg"), (("-o", "x.png", "--axis", "bark"), "unknown frequency axis"),
         (("-o", "no/x.png"), "cannot write"), (("-o", "x.png", "--seconds", -1), "a length > 0")],
    )  # fmt: skip
    def test_mistakes_get_one_line(self, cycle: Path, more: tuple[object, ...], said: str) -> None:
        result = self.plot("spectrogram", cycle / "sounds" / "violin" / "a.wav", *more)
        assert result.exit_code in (1, 2)
        (line,) = result.stderr.splitlines()
        assert said in line
