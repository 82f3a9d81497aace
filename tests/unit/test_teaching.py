"""A student learns what its teacher makes of sounds, shift averaging and articulation included."""

from __future__ import annotations

import sys

import pytest
import torch
from click.testing import CliRunner

from audiotrans.cli import main
from audiotrans.convert.converter import load
from audiotrans.errors import UsageError
from audiotrans.recipe import dump_recipe, recipe_from_dict, recipe_to_dict
from audiotrans.training.engine import Trainer
from audiotrans.training.export import export_run
from audiotrans.training.run import train
from audiotrans.training.warm_start import teacher
from audiotrans.weights import export_weights, read_weights
from tests.fakes import assert_same, fake_cache, image, tiny_recipe

CPU = torch.device("cpu")
LOSSES = {"generator": {"imitation": 10.0, "vae_reconstruction": 1.0}}


pytestmark = pytest.mark.usefixtures("no_board")


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    """A model of random weights that averages shifts, more of them towards A, and articulates."""
    path = tmp_path_factory.mktemp("teacher") / "master.safetensors"
    recipe = tiny_recipe(train={"seed": 3}, articulation={"a": 1.5, "b": 1.2}, shifts={"a": 3, "b": 2})
    export_weights(Trainer(recipe, 1, CPU).model.state_dict(), recipe, path, card={"summary": "", "steps": 0})
    return path


def student(master, **parts):
    recipe = taught(master, **parts)
    return Trainer(recipe, 1, CPU, teacher(recipe))


def taught(master, **parts):
    """Return the recipe of a student."""
    return recipe_from_dict(recipe_to_dict(tiny_recipe(**parts)) | {"losses": LOSSES, "teacher": str(master)})


def crops(recipe):
    shape = (1, 1, recipe.imaging.rows, recipe.train.crop_frames)
    return image(shape, 1, -0.2), image(shape, 2, 0.2)


def test_a_teacher_gives_what_it_would_convert_to(master):
    recipe = taught(master)
    teach, converter = teacher(recipe), load(master)
    a, b = crops(recipe)
    for images, side, to in ((a, "a", converter.domains[1]), (b, "b", converter.domains[0])):
        request = converter.options(to)
        assert (request.shifts, request.articulation) == {"a": (2, 1.2), "b": (3, 1.5)}[side]
        assert torch.equal(teach(images, side), converter.translate_image(images, 0, request))


def test_a_student_comes_nearer_and_the_discriminators_are_left_alone(master):
    trainer = student(master, train={"steps": 40, "learning_rate": 3e-3, "precision": "float32"})
    discriminators = {name: value.clone() for name, value in trainer.discriminators.state_dict().items()}
    found = [trainer.train_step(*crops(trainer.recipe)) for _ in range(40)]
    assert float(found[-1]["generator/imitation"]) < 0.6 * float(found[0]["generator/imitation"])
    assert "generator/gan" not in found[0]
    assert not any(name.startswith("discriminator/") for name in found[0])
    assert_same(dict(trainer.discriminators.state_dict()), discriminators)


def test_without_a_teacher_nothing_is_imitated():
    assert teacher(tiny_recipe()) is None
    with pytest.raises(UsageError, match="the loss imitation needs a teacher: name a model, or leave the loss out"):
        tiny_recipe(losses=LOSSES)


@pytest.mark.parametrize(
    ("parts", "message"),
    [({"imaging": {"hop_length": 128}}, "imaging.hop_length"), ({"domains": {"a": "x"}}, "domains.a")],
)
def test_a_teacher_of_other_images_or_domains_is_refused(master, parts, message):
    with pytest.raises(UsageError, match=f"teacher .*: its {message} is .*, the recipe's .*; choose another"):
        student(master, **parts)


def test_the_command_trains_a_student_and_its_model_names_the_teacher(master, tmp_path, monkeypatch):
    monkeypatch.setattr("audiotrans.cli.train._sample_writer", lambda *_: None)  # this cache was made of no sounds
    recipe = taught(master, train={"steps": 2})
    cache = fake_cache(tmp_path / "cache", recipe)
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    arguments = [
        "train",
        tmp_path / "recipe.yaml",
        "--cache",
        cache,
        "--run",
        tmp_path / "run",
        "--device",
        "cpu",
        "-q",
    ]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    out = export_run(tmp_path / "run", tmp_path / "student.safetensors")
    assert read_weights(out).recipe.teacher == "master.safetensors"


def test_a_machine_without_sound_libraries_says_what_the_teacher_needs(master, tmp_path, monkeypatch):
    monkeypatch.setattr("audiotrans.cli.train._sample_writer", lambda *_: None)
    monkeypatch.setitem(sys.modules, "audiotrans.convert.converter", None)
    (tmp_path / "recipe.yaml").write_text(dump_recipe(taught(master)), encoding="utf-8")
    result = CliRunner().invoke(main, ["train", str(tmp_path / "recipe.yaml"), "--device", "cpu", "-q"])
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code == 1
    assert f"the teacher {master} needs audiotrans.convert.converter, which is not installed" in result.output


def test_training_without_the_teacher_at_hand_is_refused(master, tmp_path):
    with pytest.raises(UsageError, match=r"the recipe's teacher \S+ is not at hand: give teach"):
        train(taught(master), tmp_path / "cache", tmp_path / "run", progress=False)


def test_a_recipe_without_a_teacher_asks_for_none(tmp_path):
    recipe = tiny_recipe(losses={"generator": {"gan": 1.0, "vae_reconstruction": 1.0}}, train={"steps": 1})
    last = train(recipe, fake_cache(tmp_path / "cache", recipe), tmp_path / "run", progress=False)
    assert last.is_file()
