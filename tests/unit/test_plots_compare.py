"""Figures of a comparison: the right images in the right rows, curves that intervals do not press flat."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from safetensors.torch import save_file

from audiotrans.evaluation.plots import canvas, comparison_curves, ends_sheet, progress_sheet, to_pixels
from audiotrans.evaluation.plots.comparison import GAP, MOST_ROWS

SIZE = 8


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    caught: list[Figure] = []
    save = canvas.save
    monkeypatch.setattr(canvas, "save", lambda figure, path: (caught.append(figure), save(figure, path))[1])
    return caught


def samples(folder: Path, values: dict[int, int], channels: int = 3, height: int = SIZE) -> Path:
    """Keep translations of two images at each step: even ones, brighter by one from B to A."""
    folder.mkdir()
    for step, value in values.items():
        made = {
            way: torch.full((2, channels, height, SIZE), value + i, dtype=torch.uint8)
            for i, way in enumerate(("ab", "ba"))
        }
        save_file(made, folder / f"step_{step:07d}.safetensors")
    return folder


def sources(channels: int = 3, height: int = SIZE) -> dict[str, torch.Tensor]:
    return {way: torch.full((3, channels, height, SIZE), -1.0) for way in ("ab", "ba")}


def drawn(figure: Figure) -> list[tuple[list[str], np.ndarray]]:
    """Return each side's row labels and its sheet."""
    axes = [axis for axis in figure.axes if axis.images]
    return [
        ([label.get_text() for label in axis.get_yticklabels()], np.asarray(axis.images[0].get_array()))
        for axis in axes
    ]


def row(sheet: np.ndarray, index: int) -> np.ndarray:
    return sheet[index * (SIZE + GAP) : index * (SIZE + GAP) + SIZE, :SIZE]


def test_progress_goes_down_the_rows(tmp_path: Path, figures: list[Figure]) -> None:
    folder = samples(tmp_path / "samples", {500: 50, 1000: 100})
    progress_sheet(folder, sources(), tmp_path / "p.png")
    (labels, sheet), (_, back) = drawn(figures[0])
    assert labels == ["input", "500", "1,000"]
    assert sheet.shape == (3 * (SIZE + GAP), 2 * (SIZE + GAP), 3)  # two images: as many as were kept
    assert [int(row(sheet, i).max()) for i in range(3)] == [0, 50, 100]
    assert [int(row(back, i).max()) for i in range(3)] == [0, 51, 101]
    assert sheet[SIZE : SIZE + GAP].min() == 255


def test_long_runs_are_thinned_out_from_first_to_last(tmp_path: Path, figures: list[Figure]) -> None:
    folder = samples(tmp_path / "samples", {step: step for step in range(1, 40)})
    progress_sheet(folder, sources(), tmp_path / "p.png")
    labels, _ = drawn(figures[0])[0]
    assert len(labels) == MOST_ROWS + 1
    assert (labels[1], labels[-1]) == ("1", "39")


def test_the_ends_of_all_recipes_stand_below_the_same_inputs(tmp_path: Path, figures: list[Figure]) -> None:
    folders = {"avb": samples(tmp_path / "avb", {1: 10, 20: 30}), "unit": samples(tmp_path / "unit", {10: 60})}
    (tmp_path / "new").mkdir()
    ends_sheet(folders | {"new": tmp_path / "new"}, sources(), tmp_path / "p.png")
    (labels, sheet), _ = drawn(figures[0])
    assert labels == ["input", "avb\n20", "unit\n10"]  # nothing yet of the newest
    assert [int(row(sheet, i).max()) for i in range(3)] == [0, 30, 60]


def test_sounds_are_drawn_low_notes_down(tmp_path: Path, figures: list[Figure]) -> None:
    folder = samples(tmp_path / "samples", {1: 9}, channels=1, height=256)
    spectra = {way: torch.linspace(-1, 1, 256)[None, None, :, None].expand(2, 1, 256, SIZE) for way in ("ab", "ba")}
    progress_sheet(folder, spectra, tmp_path / "p.png")
    _, sheet = drawn(figures[0])[0]
    assert sheet.ndim == 2
    assert sheet[0, 0] == 255
    assert sheet[127, 0] <= 1  # 256 rows thinned out to 128: every second one


def test_images_become_bytes() -> None:
    assert to_pixels(torch.tensor([-1.2, -1.0, 0.0, 1.0, 1.2])).tolist() == [0, 0, 128, 255, 255]


def test_wide_intervals_leave_the_curves_readable(tmp_path: Path, figures: list[Figure]) -> None:
    steps, mean = np.array([1.0, 2.0]), np.array([0.4, 0.6])
    curve = SimpleNamespace(steps=steps, mean=mean, low=mean - 50, high=mean + 50)
    comparison_curves({"avb": {"x": curve}}, {"x": "a metric"}, {"x": {"real": 0.8}}, tmp_path / "p.png")
    low, high = figures[0].axes[0].get_ylim()
    assert (low, high) == pytest.approx((0.2, 1.0))  # half of the range from .4 to .8 on either side
