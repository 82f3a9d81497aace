"""Photos through the command line: prep, train, export, convert, on faces made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from audiotrans.cli import main
from tests.unit.test_prepare_photos import celeba

RECIPE = """
imaging: {type: photo, height: 16, width: 16, margin: 2}
domains: {a: blond, b: brown}
model: {preset: light, width: 4, z_channels: 4, blocks: 1, discriminator_width: 4, discriminator_scales: 1}
losses: {generator: {gan: 1, vae_kl: 0.1, vae_reconstruction: 10, cycle_reconstruction: 10}}
train: {steps: 2, threads: 1, save_every: 2, sample_every: 2}
"""


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def refused(result: Result, code: int) -> str:
    assert result.exit_code == code, result.output
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Go the whole way once: CelebA's layout to a weights file."""
    root = tmp_path_factory.mktemp("photos")
    (root / "faces.yaml").write_text(RECIPE)
    source = celeba(root / "celeba")
    prepared = run("prep", source, "--recipe", root / "faces.yaml", "--where", "Male=-1", "-o", root / "cache", "-q")
    assert prepared.exit_code == 0, prepared.output
    assert "3 train" in prepared.stdout
    trained = run("train", root / "faces.yaml", "--cache", root / "cache", "--run", root / "run", "-q")
    assert trained.exit_code == 0, trained.output
    with Image.open(root / "run/samples/step_0000002.png") as sheet:
        assert sheet.size[1] == 8 * (16 + 2)  # four rows for each domain
    exported = run("export-weights", root / "run", "-o", root / "faces.safetensors")
    assert exported.stderr == ""  # no word of warnings, which pictures do not get
    assert exported.exit_code == 0, exported.output
    return root / "faces.safetensors"


def photo(path: Path, height: int = 50, width: int = 33) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.smoke
def test_a_photo_comes_back_at_its_own_size(model: Path, tmp_path: Path):
    result = run("convert", photo(tmp_path / "me.png"), "--to", "blond", "--model", model)
    assert result.exit_code == 0, result.output
    assert "33 x 50 pixels" in result.stdout
    with Image.open(tmp_path / "me.blond.png") as made:
        assert made.size == (33, 50)


def test_strength_0_is_the_photo_itself_and_seeds_repeat(model: Path, tmp_path: Path):
    source = photo(tmp_path / "me.png")
    for name, options in {"zero": ["--strength", 0], "one": [], "again": [], "other": ["--seed", 5]}.items():
        result = run("convert", source, "--to", "brown", "--model", model, "-o", tmp_path / f"{name}.png", *options)
        assert result.exit_code == 0, result.output
    read = {name: np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("me", "zero", "one", "again", "other")}
    np.testing.assert_array_equal(read["zero"], read["me"])
    np.testing.assert_array_equal(read["one"], read["again"])
    assert not np.array_equal(read["one"], read["me"])
    assert not np.array_equal(read["one"], read["other"])


def test_folders_and_several_draws(model: Path, tmp_path: Path):
    (tmp_path / "faces").mkdir()
    for name in ("a.png", "b.jpg"):
        photo(tmp_path / "faces" / name)
    result = run(
        "convert", tmp_path / "faces", "--to", "blond", "--model", model, "-o", tmp_path / "out", "--samples", 2
    )
    assert result.exit_code == 0, result.output
    made = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert made == ["a.blond.1.png", "a.blond.2.png", "b.blond.1.jpg", "b.blond.2.jpg"]


def test_mistakes_are_one_line(model: Path, tmp_path: Path):
    face, letter, sound = photo(tmp_path / "me.png"), tmp_path / "letter.jpg", tmp_path / "a.wav"
    letter.write_text("dear reader")
    sound.write_bytes(b"RIFF")
    assert "not a photo" in refused(run("convert", letter, "--to", "blond", "--model", model), 1)
    assert "is for photos" in refused(run("convert", sound, "--to", "blond", "--model", model), 2)
    assert "is for sound" in refused(run("convert", face, "--to", "piano"), 2)
    assert "leave --phase out" in refused(
        run("convert", face, "--to", "blond", "--model", model, "--phase", "source"), 2
    )
    assert "unknown" in refused(run("convert", face, "--to", "red", "--model", model), 2)
    run("convert", face, "--to", "blond", "--model", model)
    before = (tmp_path / "me.blond.png").read_bytes()
    assert "--force" in refused(run("convert", face, "--to", "blond", "--model", model), 2)
    assert (tmp_path / "me.blond.png").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "letter.jpg", "me.blond.png", "me.png"]
