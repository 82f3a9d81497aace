"""The figure of a training run: the right curves in the right panels, and the samples over the steps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner
from matplotlib.figure import Figure
from PIL import Image

from audiotrans.cli import main
from audiotrans.errors import AudiotransError
from audiotrans.evaluation.plots import canvas, training_progress
from audiotrans.evaluation.plots.curves import read_curves
from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.photo.pillow import write_photo
from audiotrans.recipe import dump_recipe, recipe_from_dict
from audiotrans.training.samples import photo_sheet


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    caught: list[Figure] = []
    save = canvas.save
    monkeypatch.setattr(canvas, "save", lambda figure, path: (caught.append(figure), save(figure, path))[1])
    return caught


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Make a run of flute and oboe with a log of 100 steps."""
    root = tmp_path / "run"
    root.mkdir()
    (root / "recipe.yaml").write_text("domains: {a: flute, b: oboe}\n")
    records = [
        {
            "step": step,
            "health/d_real_a": 1.0,
            "health/d_fake_ba": -1.0,
            "health/d_real_b": 2.0,
            "health/d_fake_ab": -2.0,
        }
        | ({"valid/statistics_ab": 0.5, "valid/statistics_ba": 0.7} if step % 10 == 0 else {})
        for step in range(100)
    ]
    (root / "metrics.jsonl").write_text("\n".join(map(json.dumps, records)))
    return root


def add_sounds(run: Path, steps: list[int]) -> None:
    for step in steps:
        folder = run / "samples" / f"step_{step:07d}"
        folder.mkdir(parents=True)
        for name in ("flute 1 input", "flute 1 translation", "oboe 1 translation"):
            wave = 0.1 * np.sin(np.arange(4000) * 0.3)
            soundfile.write(folder / f"{name}.wav", wave, 8000)


def test_curves_stand_by_domain(run: Path, tmp_path: Path, figures: list[Figure]) -> None:
    training_progress(run, tmp_path / "p.png")
    found = {
        axis.get_title(): {line.get_label(): line.get_ydata()[0] for line in axis.lines if line.get_label()[0] != "_"}
        for axis in figures[0].axes
    }
    assert found == {
        "held out: distance left to the target's sound": {"flute to oboe": 0.5, "oboe to flute": 0.7},
        "discriminator output for flute": {"real flute": 1.0, "oboe to flute": -1.0},
        "discriminator output for oboe": {"real oboe": 2.0, "flute to oboe": -2.0},
    }
    assert {axis.get_xlabel() for axis in figures[0].axes} == {"step"}


def test_logs_of_version_0_1_are_read(run: Path) -> None:
    log = run / "metrics.jsonl"
    now = read_curves(log)
    log.write_text(log.read_text().replace("valid/statistics_", "valid/profile_"))
    assert "valid/profile_ab" in log.read_text()
    assert read_curves(log) == now
    assert len(now["valid/statistics_ab"]) == 10


def test_samples_are_chosen_evenly_from_first_to_last(run: Path, tmp_path: Path, figures: list[Figure]) -> None:
    add_sounds(run, [100, 200, 300, 400, 500, 600, 1000])
    training_progress(run, tmp_path / "p.svg", scale="mel")
    titles = [axis.get_title() for axis in figures[0].axes if axis.images]
    shown = ["step 100", "step 300", "step 500", "step 1,000"]
    assert titles == ["input", *shown, *shown]  # the oboe's input was not kept


def test_without_sounds_the_last_sheet_is_shown(run: Path, tmp_path: Path, figures: list[Figure]) -> None:
    (run / "samples").mkdir()
    for step in (5, 30):
        Image.new("RGB", (20, 10), (step, 0, 0)).save(run / "samples" / f"step_{step:07d}.png")
    training_progress(run, tmp_path / "p.png")
    (axis,) = [axis for axis in figures[0].axes if axis.images]
    assert axis.get_title() == "samples at step 30"
    assert np.asarray(axis.images[0].get_array()).shape[:2] == (10, 20)


def test_what_is_not_a_run_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(AudiotransError, match="cannot read the recipe"):
        training_progress(tmp_path, tmp_path / "p.png")
    (run / "metrics.jsonl").write_text('{"step": 1, "other": 2}')
    with pytest.raises(AudiotransError, match="nothing of what a run logs"):
        training_progress(run, tmp_path / "p.png")


@pytest.mark.smoke
def test_the_command(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "p.png"
    result = CliRunner().invoke(main, ["plot", "progress", str(run), "-o", str(target)], prog_name="audiotrans")
    assert (result.exit_code, result.stdout) == (0, f"{target}\n"), result.output
    assert target.stat().st_size > 0


def test_a_run_on_photos_is_drawn(tmp_path: Path, figures: list[Figure]) -> None:
    """What such a run logs and writes, by the functions that write it."""
    recipe = recipe_from_dict(
        {
            "imaging": {"type": "photo", "height": 16, "width": 16},
            "domains": {"a": "blond", "b": "brown"},
            "model": {"preset": "light", "width": 4, "z_channels": 4, "blocks": 1, "discriminator_width": 4},
            "losses": {"generator": {"gan": 1, "vae_reconstruction": 10}},
        }
    )
    (tmp_path / "samples").mkdir()
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe))
    lines = [{"step": 1, "valid/reconstruction": 0.4, "valid/cycle": 0.5, "health/d_real_a": 1.0}]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    photos = {domain: torch.rand(3, 3, 16, 16) * 2 - 1 for domain in "ab"}
    made = {}
    for step in (1, 20, 300):
        torch.manual_seed(step)
        made[step] = photo_sheet(AVBGTN(recipe.model, 3).eval(), photos, torch.device("cpu"))
        write_photo(tmp_path / f"samples/step_{step:07d}.png", made[step])
    training_progress(tmp_path, tmp_path / "p.png")
    titles = [axis.get_title() for axis in figures[0].axes]
    panels = ["held out: error against the input", "discriminator output for blond"]
    assert titles == [*panels, "blond to brown", "brown to blond"]
    axes = [axis for axis in figures[0].axes if axis.images]
    for axis, top in zip(axes, (0, 4), strict=True):
        assert [tick.get_text() for tick in axis.get_yticklabels()] == ["photo", "step 1", "step 20", "step 300"]
        drawn = np.asarray(axis.images[0].get_array())
        # Three photos side by side, each with a gap of two pixels; below them their translations, three times.
        assert drawn.shape[:2] == (4 * 18, 3 * 18)
        wanted = [made[1][top * 18 : (top + 1) * 18]]
        wanted += [sheet[(top + 2) * 18 : (top + 3) * 18] for sheet in made.values()]
        np.testing.assert_allclose(drawn[..., :3] * 255, np.concatenate(wanted), atol=0.51)


def test_a_broken_sheet_is_named(run: Path, tmp_path: Path) -> None:
    (run / "samples").mkdir()
    (run / "samples" / "step_0000005.png").write_text("not an image")
    with pytest.raises(AudiotransError, match=r"sample sheet .*step_0000005\.png"):
        training_progress(run, tmp_path / "p.png")
