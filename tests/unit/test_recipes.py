"""Recipes: every file in recipes/ is built and stepped, and every mistake is named."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import pytest
import torch

from audiotrans.errors import AudiotransError, RenamedWarning, UsageError
from audiotrans.recipe import Recipe, check_trains, dump_recipe, load_recipe, recipe_from_dict, recipe_to_dict
from audiotrans.training.engine import Trainer
from tests.fakes import image

FOLDER = Path(__file__).parents[2] / "recipes"
RECIPES = sorted(FOLDER.glob("*.yaml"))
SHRINK = [
    "model.width=8", "model.discriminator_width=8", "model.blocks=1", "train.batch_size=1", "train.precision=float32",
]  # fmt: skip


def write(tmp_path, text):
    path = tmp_path / "r.yaml"
    path.write_text(text, encoding="utf-8")
    return path


BOMB = "a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "holds more than a recipe can"),
        ("model: &m {width: *m}", "is not YAML|holds more than a recipe can"),
        ("model: &m [*m]", "holds more than a recipe can"),
        ("[" * 30, "is not YAML"),
        ("model: " + "[" * 5_000 + "]" * 5_000, "is not YAML"),
        ("model: " + "[" * 50 + "]" * 50, "holds more than a recipe can"),
        ("train: {steps: 2026-13-01}", "is not YAML: month must be in 1..12"),
        ("model: !!python/object/apply:os.system ['true']", "is not YAML"),
        ("model: !!int ''", "is not YAML"),
        ('cache: "\\ud800"', "holds characters that are no Unicode"),
        ("\x00", "is not YAML"),
    ],
)
def test_hostile_yaml_is_one_line(tmp_path, text, message):
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=message) as caught:
        load_recipe(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1_000
    with pytest.raises(UsageError):
        load_recipe(FOLDER / "debug.yaml", [f"train.steps={text}"])


def test_the_named_recipes_are_there():
    wanted = {
        "debug", "irmas_violin_piano", "irmas_violin_piano_paper", "unit_violin_piano", "violin_piano",
        "celeba_blond_brown", "celeba_blond_brown_paper", "celeba_unit", "celeba_small", "celeba_claims",
    }  # fmt: skip
    assert wanted <= {path.stem for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_comes_back_from_its_dump(path, tmp_path):
    recipe = load_recipe(path)
    assert load_recipe(write(tmp_path, dump_recipe(recipe))) == recipe
    assert recipe_from_dict(recipe_to_dict(recipe)) == recipe


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_built_and_stepped(path):
    recipe = load_recipe(path)
    scales = recipe.model.discriminator_scales
    frames = 16 << max(scales - 1, 0)  # the least that its coarsest discriminator can judge
    size = [f"imaging.height={2 * frames}", f"imaging.width={2 * frames}"] if recipe.imaging.type == "photo" else []
    recipe = load_recipe(path, [*SHRINK, f"train.crop_frames={max(frames, 16)}", *size])
    width = recipe.imaging.width if recipe.imaging.type == "photo" else recipe.train.crop_frames
    shape = (1, recipe.imaging.image_channels, recipe.imaging.image_rows, width)
    trainer = Trainer(recipe, shape[1], torch.device("cpu"), (lambda images, _: -images) if recipe.teacher else None)
    a, b = image(shape, 0), image(shape, 1)
    values = trainer.train_step(a, b, targets={"true_ab": b, "true_ba": a} if recipe.pairs else {})
    assert trainer.step == 1
    values |= trainer.train_step(a, b) if recipe.pairs else {}
    assert {f"generator/{name}" for name in recipe.losses.generator} <= set(values)
    assert all(value.isfinite() for value in values.values())


def test_the_crops_of_every_recipe_suit_its_model():
    for path in RECIPES:
        recipe = load_recipe(path)
        rows, frames = recipe.model.stride
        assert recipe.train.crop_frames % frames == recipe.imaging.image_rows % rows == 0, path


@pytest.mark.parametrize(
    "names", [("irmas_violin_piano_paper", "unit_violin_piano"), ("celeba_blond_brown_paper", "celeba_unit")]
)
def test_units_recipe_is_the_papers_with_one_setting_changed(names):
    paper, unit = (recipe_to_dict(load_recipe(FOLDER / f"{name}.yaml")) for name in names)
    assert (paper["model"].pop("kl"), unit["model"].pop("kl")) == ("paper", "mu2")
    assert paper == unit


def test_the_papers_recipe_is_the_papers():
    recipe = load_recipe(FOLDER / "irmas_violin_piano_paper.yaml")
    assert (recipe.train.batch_size, recipe.train.steps) == (1, 50_000)
    assert (recipe.imaging.representation, recipe.imaging.phase, recipe.imaging.image_channels) == (
        "magnitude_phase", "network", 4,
    )  # fmt: skip
    assert (recipe.losses.gan, recipe.model.residual, recipe.model.latent_discriminator) == ("bce", 0, "global")
    assert set(recipe.losses.generator) == {
        "gan", "vae_kl", "vae_reconstruction", "cycle_kl", "cycle_reconstruction",
    }  # fmt: skip


def test_an_empty_recipe_is_the_defaults(tmp_path):
    assert load_recipe(write(tmp_path, "# nothing\n")) == Recipe()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trian: {}", r"r\.yaml: trian: unknown key; known here: imaging, .*Did you mean 'train'\?"),
        ("train: {stpes: 1}", r"train\.stpes: unknown key; .*Did you mean 'steps'\?"),
        ("model: {widht: 8}", r"model\.widht: unknown key; .*Did you mean 'width'\?"),
        ("imaging: {hop_lenght: 8}", r"imaging\.hop_lenght: unknown key; .*Did you mean 'hop_length'\?"),
        ("domains: {c: x}", r"domains\.c: unknown key; known here: a, b"),
        ("losses: {generator: {cycle_kll: 1}}", r"unknown generator loss 'cycle_kll'.*Did you mean 'cycle_kl'\?"),
        ("losses: {discriminator: {imgae: 1}}", r"unknown discriminator loss 'imgae'.*Did you mean 'image'\?"),
        ("losses: {discriminator: {}}", r"losses\.discriminator: .*at least one weight must be above 0"),
        ("losses: {generator: {gan: -1}}", r"losses\.generator: .*the weight of gan is -1\.0: 0 or more"),
        ("losses: {generator: {gan: .nan}}", r"losses\.generator\.gan: .*finite number"),
        ("losses: {gan: wgan}", r"losses\.gan: .*'bce', 'lsgan' or 'hinge'"),
        ("model: {preset: bse}", r"unknown model preset 'bse'.*Did you mean 'base'\?"),
        ("model: {kl: soft_plus}", r"model\.kl: .*'softplus', 'linear', 'paper', 'adaptive', 'mu2' or 'none'"),
        ("model: {residual: 2}", r"model: .*residual 2\.0 must lie in 0\.\.1"),
        ("model: {width: 0}", r"model: .*width 0 must be 1 or more"),
        ("model: {image_std: 0}", r"model: .*image_std 0\.0 must be above 0"),
        ("model: {noise_channels: 0}", r"model: .*kl softplus needs noise .*set noise_channels, or kl mu2"),
        ("imaging: {representation: log_mel}", r"unknown representation 'log_mel'.*Did you mean 'log_mel_gain'\?"),
        ("imaging: {phase: grifin_lim}", r"unknown phase 'grifin_lim'.*Did you mean 'griffin_lim'\?"),
        ("imaging: {phase: network}", r"imaging: .*phase network needs the representation magnitude_phase"),
        ("imaging: {type: fotos}", r"imaging\.type: .*'audio'"),
        ("train: {learning_rate: fast}", r"train\.learning_rate: .*valid number.*\(it is 'fast'\)"),
        ("train: {learning_rate: .inf}", r"train\.learning_rate: .*finite"),
        ("train: {learning_rate: 0}", r"train\.learning_rate: .*greater than 0"),
        ("train: {steps: 1.5}", r"train\.steps: .*integer.*\(it is 1\.5\)"),
        ("train: {steps: [1]}", r"train\.steps: .*integer"),
        ("train: {betas: [0.5]}", r"train\.betas\.1: "),
        ("train: {betas: [0.5, 2]}", r"train\.betas\.1: .*less than 1"),
        ("model: 5", r"model: .*\(it is 5\)"),
        ("train:", r"train: .*\(it is None\)"),
        ("1: 2", r"1: Keys should be strings"),
        ("domains: {a: x, b: x}", r"both domains are called 'x'"),
        ("cache: [a]", r"cache: .*string"),
        ("- a\n- b", r"is not a recipe: it must hold keys such as model"),
        ("just words", r"is not a recipe"),
        ("a: [1", r"is not YAML: "),
        ("a: !!python/object:os.system x", r"is not YAML: "),
    ],
)
def test_mistakes_are_named_in_one_line(tmp_path, text, message):
    with pytest.raises(UsageError, match=message) as error:
        load_recipe(write(tmp_path, text))
    assert "\n" not in str(error.value)
    assert "r.yaml" in str(error.value)


@pytest.mark.parametrize("kl", ["softplus", "linear", "paper", "adaptive"])
def test_a_discriminator_that_is_asked_but_never_taught_is_refused(kl):
    values = {"model": {"kl": kl}, "losses": {"discriminator": {"image": 10}}}
    with pytest.raises(UsageError, match=f"T would never learn what vae_kl asks of it with kl {kl}: add latent: 1"):
        recipe_from_dict(values)
    for way_out in ({"model": {"kl": "mu2"}}, {"losses": {"discriminator": {"image": 10, "latent": 1}}}):
        recipe_from_dict(values | way_out)
    nobody_asks = {"generator": {"gan": 1, "cycle_reconstruction": 1}, "discriminator": {"image": 10}}
    recipe_from_dict(values | {"losses": nobody_asks})


def test_old_keys_are_read_and_answered_with_todays(tmp_path):
    path = write(tmp_path, "passes: 2\nstraighten: {b: 50}\nmodel: {carry: 0.5}\ntrain: {critic_batch: 3}\n")
    with pytest.warns(RenamedWarning) as said:
        recipe = load_recipe(path)
    assert (recipe.shifts.a, recipe.remove_vibrato.b, recipe.model.residual) == (2, 50, 0.5)
    assert recipe.train.discriminator_batch == 3
    lines = [str(warning.message) for warning in said]
    assert [line.partition("r.yaml: ")[2] for line in lines] == [
        "passes is called shifts now: rename it",
        "straighten is called remove_vibrato now: rename it",
        "carry is called residual now: rename it",
        "critic_batch is called discriminator_batch now: rename it",
    ]


def test_old_keys_are_also_read_from_the_command_line(tmp_path):
    path = write(tmp_path, "shifts: 1\n")
    with pytest.warns(RenamedWarning) as said:
        recipe = load_recipe(path, ["passes=2", "straighten.b=50", "train.critic_batch=3"])
    assert (recipe.shifts.a, recipe.remove_vibrato.b, recipe.train.discriminator_batch) == (2, 50, 3)
    assert [str(warning.message) for warning in said] == [
        "--set passes=2: passes is called shifts now: rename it",
        "--set straighten.b=50: straighten is called remove_vibrato now: rename it",
        "--set train.critic_batch=3: critic_batch is called discriminator_batch now: rename it",
    ]


def test_options_that_are_gone_are_left_out_with_a_word_where_they_did_something(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_recipe(write(tmp_path, "tilt: {a: 0, b: 0.0}\n")) == load_recipe(write(tmp_path, "{}\n"))
    with pytest.warns(RenamedWarning, match=r"r\.yaml: tilt is gone and does nothing: .*train\.equalise_db"):
        assert load_recipe(write(tmp_path, "tilt: {b: -3}\n")) == load_recipe(write(tmp_path, "{}\n"))


def test_a_missing_or_binary_recipe_is_named(tmp_path):
    with pytest.raises(AudiotransError, match=r"cannot read the recipe .*none\.yaml: No such file"):
        load_recipe(tmp_path / "none.yaml")
    with pytest.raises(AudiotransError, match=r"cannot read the recipe .*Is a directory"):
        load_recipe(tmp_path)
    (tmp_path / "r.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(AudiotransError, match="cannot read the recipe"):
        load_recipe(tmp_path / "r.yaml")


def test_exponents_without_a_point_are_numbers(tmp_path):
    # YAML 1.1 reads 2e-4 as text; the settings' types make it the number that was meant.
    recipe = load_recipe(write(tmp_path, "train: {learning_rate: 2e-4}\nlosses: {generator: {gan: 1e1}}"))
    assert recipe.train.learning_rate == 2e-4
    assert recipe.losses.generator == {"gan": 10.0}


def test_an_override_may_mend_what_the_file_lacks(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("losses: {generator: {gan: 1, vae_kl: 1}, discriminator: {image: 1}}\n")
    with pytest.raises(UsageError, match=r"r\.yaml: .*T would never learn what vae_kl asks"):
        load_recipe(path)
    assert load_recipe(path, ["model.kl=mu2"]).model.kl == "mu2"
    mended = load_recipe(path, ["train.steps=7", "losses.discriminator.latent=1"])
    assert (mended.train.steps, mended.losses.discriminator) == (7, {"image": 1, "latent": 1})
    with pytest.raises(UsageError, match="with kl linear: add latent: 1"):  # as it was asked for, not as the file says
        load_recipe(path, ["model.kl=linear"])


def test_what_nothing_trains_is_not_asked():
    def asked(**values):
        return recipe_from_dict(values)  # models that were trained by it are read

    untaught = asked(losses={"generator": {"gan": 1}, "discriminator": {"latent": 1}})
    with pytest.raises(
        UsageError, match=r"no image, so that D would never learn what gan asks of it: add image: 1, or"
    ):
        check_trains(untaught)
    fading = {"generator": {"identity": 1}, "identity_steps": 100}
    check_trains(asked(losses=fading))
    with pytest.raises(UsageError, match=r"the loss identity has faded in a run that begins with init: add another"):
        check_trains(asked(losses=fading, init="another"))
    check_trains(asked(losses=fading | {"identity_steps": 0}, init="another"))


def test_overrides_change_one_value_and_keep_the_rest(tmp_path):
    path = write(tmp_path, "train: {steps: 5}")
    recipe = load_recipe(path, ["train.batch_size=3", "model.preset=tiny", "losses.generator.gan=2", "domains.a=oboe"])
    assert (recipe.train.steps, recipe.train.batch_size, recipe.model.preset) == (5, 3, "tiny")
    assert recipe.domains.a == "oboe"
    assert recipe.losses.generator == Recipe().losses.generator | {"gan": 2.0}  # the other terms keep their weights


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.steps", r"--set 'train\.steps': write key=value"),
        ("=5", r"--set '=5': write key=value"),
        ("train.stpes=5", r"train\.stpes: unknown key.*Did you mean 'steps'"),
        ("cache.x=5", r"'cache' holds no keys"),
        ("train.steps=[", r"the value is not YAML"),
        ("train.steps=many", r"train\.steps: .*\(it is 'many'\)"),
    ],
)
def test_wrong_overrides_are_named(tmp_path, override, message):
    with pytest.raises(UsageError, match=message):
        load_recipe(write(tmp_path, ""), [override])


def test_recipes_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Recipe().train.steps = 3  # type: ignore[misc]


def test_loss_settings_follow_model_and_losses():
    settings = recipe_from_dict({"model": {"kl": "linear"}, "losses": {"gan": "bce"}}).loss_settings
    assert (settings.gan, settings.kl) == ("bce", "linear")


def test_default_weights_are_finite_and_fine_structure_is_on():
    weights = Recipe().losses.generator
    assert all(math.isfinite(w) and w > 0 for w in weights.values())
    assert weights["fine_structure"] > 0  # the pitch is anchored unless a recipe says otherwise
