"""Comparing recipes: the attribute classifier, the metrics, levels and intervals, and a whole comparison in small."""

from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from audiotrans.cli import main
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.evaluation.compare import EvaluationSet, compare, evaluate_model, imagenet, summary
from audiotrans.evaluation.compare import runs as comparing
from audiotrans.evaluation.compare.evaluation_set import (
    AttributeClassifier,
    between_samples,
    content_kept,
    different,
    distance,
    posterior_moments,
    share_classified_as,
    train_classifier,
)
from audiotrans.evaluation.compare.runs import epoch_images, imagenet_distances
from audiotrans.evaluation.compare.summary import AT_ONCE, Scale, distinct, levels, read_records, read_scale, unrelated
from audiotrans.evaluation.metrics.kernel import median_bandwidth
from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.model.nets import layers
from audiotrans.photo.images import PhotoSettings
from audiotrans.recipe import Recipe, dump_recipe, load_recipe, recipe_from_dict
from audiotrans.training.data import open_images
from audiotrans.training.photo_images import prepare_photos

pytestmark = pytest.mark.slow

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two domains that differ in colour alone: reddish and bluish noise."""
    root = tmp_path_factory.mktemp("compare")
    rng = np.random.default_rng(0)
    for name, tint in (("red", (60, 0, -60)), ("blue", (-60, 0, 60))):
        (root / "faces" / name).mkdir(parents=True)
        for index in range(12):
            pixels = rng.integers(60, 196, (20, 20, 3)) + np.array(tint)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / "faces" / name / f"{index}.png")
    settings = PhotoSettings(height=16, width=16, margin=2)
    prepare_photos(
        root / "faces", root / "cache", a="red", b="blue", settings=settings, valid_fraction=0.4, progress=False
    )
    return root / "cache"


@pytest.fixture(autouse=True)
def without_imagenet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is optional; what is tested must not depend on whether it is installed."""
    monkeypatch.setattr(imagenet, "available", lambda: False)


@pytest.fixture(autouse=True)
def without_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time of so small a comparison: one test draws, and looks at what was drawn."""
    if not request.node.get_closest_marker("smoke"):
        for name in ("comparison_curves", "progress_sheet", "ends_sheet"):
            monkeypatch.setattr(summary, name, lambda *given: given[-1])


def recipe(**model: object) -> Recipe:
    return recipe_from_dict(
        {
            "imaging": {"type": "photo", "height": 16, "width": 16, "margin": 2},
            "domains": {"a": "red", "b": "blue"},
            "model": {"preset": "light", "width": 4, "z_channels": 4, "blocks": 1, "discriminator_width": 4,
                      "discriminator_scales": 1, **model},
            "losses": {"generator": {"gan": 1, "vae_kl": 0.1, "vae_reconstruction": 10, "cycle_reconstruction": 10}},
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def classifier(cache: Path) -> AttributeClassifier:
    return train_classifier(open_images(cache), 0, steps=40)


@pytest.fixture(scope="module")
def held_out(classifier: AttributeClassifier, cache: Path) -> EvaluationSet:
    data = open_images(cache)
    images = {d: data.sample(d, "valid", 0, 24, 0, 0) for d in "ab"}
    return EvaluationSet.of(classifier, images, {d: data.sample(d, "train", 0, 24, 0, 1) for d in "ab"})


def test_the_classifier_tells_the_domains_apart(held_out: EvaluationSet):
    assert held_out.accuracy == {"a": 1.0, "b": 1.0}
    assert share_classified_as(held_out.classifier, held_out.images["a"], "b") == 0.0


class Known(AVBGTN):
    """A model whose translations are known: the input itself, or other images of the target."""

    def __init__(self, answers: dict[str, torch.Tensor] | None = None) -> None:
        super().__init__(recipe().model, 3)
        self.answers = answers

    def translate(self, image, source, target, noise=None):
        if self.answers is None or source == target:
            return image
        return self.answers[target][: len(image)]


def test_copying_the_input_has_the_metrics_of_the_input(held_out: EvaluationSet, cache: Path):
    found = evaluate_model(Known(), held_out)
    assert found["accuracy_ab"] == found["accuracy_ba"] == 0.0
    assert found["distance_ab"] == pytest.approx(held_out.copy["ab"], abs=1e-6)
    assert found["reconstruction"] == found["cycle"] == 0.0
    assert found["content"] == pytest.approx(1.0)


def test_real_images_of_the_target_have_the_best_metrics(held_out: EvaluationSet, cache: Path):
    data = open_images(cache)
    others = {d: data.sample(d, "train", 1, 24, 0, 0) for d in "ab"}
    found = evaluate_model(Known(others), held_out)
    assert found["accuracy_ab"] == found["accuracy_ba"] == 1.0
    assert found["distance_ab"] < 0.2 * held_out.copy["ab"]
    assert found["content"] < 0.2  # another image altogether


def test_content_is_told_by_edges_and_not_by_colour():
    x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) - 0.5
    assert content_kept(x, x * 0.5 + 0.1) == pytest.approx(1.0, abs=1e-5)
    assert content_kept(x, -x) == pytest.approx(-1.0, abs=1e-5)
    assert abs(content_kept(x, x.flip(0))) < 0.1


def test_the_posterior_of_unit_variance_around_zero_has_no_nats():
    class Standard(AVBGTN):
        def encode(self, image, domain, noise):
            return torch.zeros(len(image), 4, 4, 4)

    found = posterior_moments(Standard(recipe(kl="mu2").model, 3), torch.zeros(64, 3, 16, 16))
    # Eight samples of N(0, 1) per dimension: their sample moments are off by about 1 / 8 nats on average.
    assert 0.05 < found["moment_nats"] < 0.25


def test_levels_ask_for_both_directions(held_out: EvaluationSet, cache: Path):
    near = levels(held_out)["distance 60% of copying"]
    good, bad = 0.5 * held_out.copy["ab"], 0.7 * held_out.copy["ab"]
    assert near({"distance_ab": good, "distance_ba": good})
    assert not near({"distance_ab": good, "distance_ba": bad})
    accurate = levels(held_out)["accuracy 85% of real images'"]
    assert accurate({"accuracy_ab": 0.86, "accuracy_ba": 0.86})
    assert not accurate({"accuracy_ab": 0.86, "accuracy_ba": 0.84})


def test_likeness_is_measured_against_unrelated_images(held_out: EvaluationSet, cache: Path):
    assert unrelated(torch.tensor([0.0, 1.0, 0.0, 1.0])[:, None, None, None]) == 1
    strangers = (unrelated(held_out.images["a"]) + unrelated(held_out.images["b"])) / 2
    like = levels(held_out)["cycle L1 40% of unrelated images'"]
    assert like({"cycle": 0.39 * strangers})
    assert not like({"cycle": 0.41 * strangers})
    good = {"accuracy_ab": 1, "accuracy_ba": 1, "distance_ab": 0, "distance_ba": 0, "cycle": 0, "content": 0.4}
    assert levels(held_out)[AT_ONCE](good)
    for change in ({"accuracy_ba": 0}, {"distance_ab": 9}, {"cycle": 9}, {"content": 0.1}):
        assert not levels(held_out)[AT_ONCE](good | change)


def test_held_out_images_are_different_ones(cache: Path):
    data = open_images(cache)
    count = sum(item["domain"] == "a" and item["split"] == "valid" for item in data.manifest["items"])
    assert distinct(different(data, "a", "valid", 100, 0, 0)) == count  # all that there are, and no more
    assert different(data, "a", "valid", 2, 0, 0).shape == (2, 3, 16, 16)
    torch.testing.assert_close(different(data, "a", "valid", 2, 0, 0), different(data, "a", "valid", 2, 0, 0))


def test_an_epoch_is_the_smaller_domain_once():
    frames = [("a", "train", 300), ("a", "train", 50), ("b", "train", 700), ("b", "valid", 900), ("a", "test", 900)]
    manifest = {"items": [dict(zip(("domain", "split", "frames"), each, strict=True)) for each in frames]}
    assert epoch_images(manifest, 100) == 4  # three crops and a short sound


def test_an_evaluation_set_survives_being_written(held_out: EvaluationSet, tmp_path: Path):
    held_out.save(tmp_path / "set.pt")
    again = EvaluationSet.load(tmp_path / "set.pt")
    model = Known()
    assert evaluate_model(model, again) == evaluate_model(model, held_out)
    assert again.accuracy == held_out.accuracy
    (tmp_path / "set.pt").write_bytes(b"broken")
    with pytest.raises(AudiotransError, match=r"set\.pt cannot be read \(\w+\): remove it"):
        EvaluationSet.load(tmp_path / "set.pt")


def small(cache: Path, output: Path, **options: object) -> Path:
    recipes = {"avb": recipe(), "unit": recipe(kl="mu2")}
    settings = {"steps": 4, "every": 2, "seeds": 2, "images": 8, "classifier_steps": 4, "progress": False, **options}
    return compare(recipes, cache, output, **settings)


@pytest.fixture(scope="module")
def whole(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imagenet, "available", lambda: False)
        return small(cache, tmp_path_factory.mktemp("whole"), seeds=1).parent


@pytest.fixture
def started(whole: Path, tmp_path: Path) -> Path:
    """Copy a comparison of one seed, which takes long to make."""
    return shutil.copytree(whole, tmp_path / "comparison")


@pytest.mark.smoke
def test_a_comparison_is_whole_and_goes_on_where_it_stopped(cache: Path, started: Path):
    output = started
    first = (output / "runs/avb-0/evaluations.jsonl").read_bytes()
    assert [record["step"] for record in read_records(output / "runs/avb-0")] == [2, 4]
    summary = small(cache, output)
    assert (output / "runs/avb-0/evaluations.jsonl").read_bytes() == first  # nothing was repeated
    text = re.sub(" +", " ", summary.read_text())
    assert "avb (2 seeds)" in text
    assert "unit (2 seeds)" in text
    records = read_records(output / "runs/avb-1")
    assert 0 <= records[-1]["t_accuracy"] <= 1
    assert math.isnan(read_records(output / "runs/unit-0")[-1]["t_accuracy"])  # UNIT has no T
    assert "the 7 training images of the smaller domain" in text
    assert f"| {AT_ONCE} | avb, unit | neither got there | open |" in text
    for name in ("curves.png", "progress-avb.png", "progress-unit.png", "ends.png"):
        with Image.open(output / name) as figure:
            assert min(figure.size) > 100
    plan = json.loads((output / "compare.json").read_text())
    assert plan["domains"] == {"a": "red", "b": "blue"}


def test_imagenets_distances_are_added_to_what_was_evaluated_before(
    cache: Path, started: Path, monkeypatch: pytest.MonkeyPatch
):
    output = started
    before = read_records(output / "runs/avb-0")
    assert "imagenet_ab" not in before[0]
    assert "ImageNet" not in (output / "summary.md").read_text()
    monkeypatch.setattr(imagenet, "available", lambda: True)
    monkeypatch.setattr(imagenet, "embed", lambda images: images.mean((2, 3)))  # the colour
    small(cache, output, seeds=1)
    scale = read_scale(output)
    assert scale is not None
    assert scale.floor["ab"] < 0.1 * scale.copy["ab"]  # red is far from blue, blue near to blue
    after = read_records(output / "runs/avb-0")
    kept = [{key: value for key, value in each.items() if not key.startswith("imagenet")} for each in after]
    assert kept == before
    assert [record["imagenet_ab"] != record["imagenet_ba"] for record in after] == [True, True]
    assert "ImageNet kernel distance to B, A to B" in (output / "summary.md").read_text()
    (output / "runs/avb-0/evaluations/step_0000002.safetensors").unlink()
    small(cache, output, seeds=1)  # nothing is left to measure
    assert read_records(output / "runs/avb-0") == after


def test_samples_of_a_model_without_noise_are_one_and_units_differ(held_out: EvaluationSet, cache: Path):
    torch.manual_seed(0)
    unit = AVBGTN(recipe(kl="mu2").model, 3).eval()
    assert between_samples(unit, held_out) > 0.01
    assert between_samples(unit, held_out) == between_samples(unit, held_out)
    deaf = AVBGTN(recipe().model, 3).eval()
    deaf.noise = lambda image, generator=None: torch.zeros(deaf.noise_shape(image))  # type: ignore[method-assign]
    assert between_samples(deaf, held_out) == 0


def test_a_copy_has_the_distance_that_the_scale_says(held_out: EvaluationSet, cache: Path):
    real = {domain: images.mean((2, 3)) for domain, images in held_out.images.items()}
    scale = Scale({"ab": 0.3, "ba": 0.3}, {}, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imagenet, "embed", lambda images: images.mean((2, 3)))
        found = imagenet_distances(Known(), held_out, real, scale)
    assert found["imagenet_ab"] == pytest.approx(distance(real["b"], real["a"], 0.3), rel=1e-4)


@pytest.mark.skipif(not imagenet.available(), reason="EfficientNet-Lite0 is not installed")
def test_imagenets_features_see_the_blur_that_the_classifier_does_not():
    generator = torch.Generator().manual_seed(0)
    sharp = torch.rand(24, 3, 32, 32, generator=generator) * 2 - 1
    other = torch.rand(24, 3, 32, 32, generator=generator) * 2 - 1
    blurred = torch.nn.functional.avg_pool2d(other, 3, 1, 1)
    x, y, z = (imagenet.embed(images) for images in (sharp, other, blurred))
    assert x.shape == (24, 1280)
    width = median_bandwidth(x.double().numpy())
    assert distance(x, z, width) > 10 * abs(distance(x, y, width))


def test_a_folder_that_is_not_a_cache_is_told_in_one_line(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(AudiotransError, match="audiotrans prep"):
        small(tmp_path / "empty", tmp_path / "c")
    assert not (tmp_path / "c").exists()  # nothing is left behind


def test_another_comparison_does_not_get_mixed_in(cache: Path, started: Path):
    with pytest.raises(UsageError, match="with steps 4, not 6"):
        small(cache, started, steps=6)
    with pytest.raises(UsageError, match="another recipe 'avb'"):
        compare({"avb": recipe(kl="none")}, cache, started, steps=4, every=2, images=8)


def test_other_data_do_not_get_mixed_in(cache: Path, started: Path, tmp_path: Path):
    other = shutil.copytree(cache, tmp_path / "other")
    manifest = json.loads((other / "manifest.json").read_text())
    held_out = next(item for item in manifest["items"] if item["split"] == "valid")
    held_out["split"] = "train"
    (other / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match=r"with data '.*', not"):
        small(other, started, seeds=2)


@pytest.mark.parametrize("killed_in", [1, 2])
def test_an_evaluation_that_was_interrupted_is_made_when_the_run_goes_on(
    cache: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_in: int
):
    output, calls = tmp_path / "comparison", []

    def killed(model: AVBGTN, held_out: EvaluationSet) -> dict[str, float]:
        calls.append(model)
        if len(calls) == killed_in:
            raise KeyboardInterrupt
        return evaluate_model(model, held_out)

    output.mkdir()
    shutil.copy(whole / "evaluation_set.pt", output / "evaluation_set.pt")
    with monkeypatch.context() as patch:
        patch.setattr(comparing, "evaluate_model", killed)
        with pytest.raises(KeyboardInterrupt):
            small(cache, output, seeds=1)
    assert len(read_records(output / "runs/avb-0")) == killed_in - 1
    small(cache, output, seeds=1)
    for name in ("avb-0", "unit-0"):
        found, wanted = (read_records(root / "runs" / name) for root in (output, whole))
        assert [record["step"] for record in found] == [2, 4]
        assert [record["accuracy_ab"] for record in found] == [record["accuracy_ab"] for record in wanted]
    assert (output / "runs/avb-0/evaluations/step_0000002.safetensors").exists()


@pytest.mark.parametrize(
    ("options", "message"), [({"steps": 0}, "steps 0"), ({"every": 9}, "every 9"), ({"seeds": 0}, "seeds 0")]
)
def test_wrong_figures_are_named(cache: Path, tmp_path: Path, options, message):
    with pytest.raises(UsageError, match=message):
        small(cache, tmp_path / "c", **options)
    with pytest.raises(UsageError, match="nothing to compare"):
        compare({}, cache, tmp_path / "c")


def test_two_recipes_of_one_name_are_refused(tmp_path: Path):
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.yaml").write_text(dump_recipe(recipe()))
    both = [str(tmp_path / folder / "x.yaml") for folder in ("one", "other")]
    result = CliRunner().invoke(main, ["compare", *both, "-o", str(tmp_path / "c")], prog_name="audiotrans")
    assert result.exit_code == 2
    assert "two recipes are called 'x': rename one of the files" in result.stderr


def test_a_comparison_of_an_earlier_version_is_refused_in_one_line(cache: Path, tmp_path: Path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c/compare.json").write_text(json.dumps({"format": "audiotrans-compare", "version": 1, "recipes": {}}))
    with pytest.raises(UsageError, match="of another version of audiotrans: take another folder") as refused:
        small(cache, tmp_path / "c")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("first", "second", "changes"),
    [("celeba_blond_brown_paper", "celeba_unit", ()), ("celeba_claims", "celeba_claims", ("model.kl=mu2",))],
)
def test_the_baseline_is_one_setting_away(first: str, second: str, changes: tuple[str, ...]):
    """A comparison with UNIT is one of the KL term only, and of the noise at the encoder's input that comes with it."""
    ours, unit = load_recipe(RECIPES / f"{first}.yaml"), load_recipe(RECIPES / f"{second}.yaml", changes)
    assert unit.model.kl == "mu2"
    assert unit == ours.model_copy(update={"model": replace(ours.model, kl="mu2")})
    assert layers(unit.model) == layers(ours.model) | {"noise_channels": 0}
