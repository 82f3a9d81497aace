"""Comparing recipes: the referee, the figures, levels and intervals, and a whole comparison in small."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from audiotrans.errors import AudiotransError, UsageError
from audiotrans.evaluation.compare import Contestant, Exam, compare, examine, train_referee
from audiotrans.evaluation.compare.measures import content_kept, distance, posterior_moments
from audiotrans.evaluation.compare.referee import Trained
from audiotrans.evaluation.compare.runs import load_exam, read_records, save_exam
from audiotrans.evaluation.compare.summary import curve, interval, levels, steps_to
from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.photo.imaging import PhotoSettings
from audiotrans.training.datasets import open_images
from audiotrans.training.prepare import prepare_photos
from audiotrans.training.recipe import Recipe, recipe_from_dict


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


def recipe(**model: object) -> Recipe:
    return recipe_from_dict(
        {
            "imaging": {"type": "photo", "height": 16, "width": 16, "margin": 2},
            "domains": {"a": "red", "b": "blue"},
            "model": {"preset": "light", "width": 4, "z_channels": 4, "blocks": 1, "critic_width": 4,
                      "critic_scales": 1, **model},
            "losses": {"generator": {"gan": 1, "vae_kl": 0.1, "vae_reconstruction": 10, "cycle_reconstruction": 10}},
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(cache: Path) -> Trained:
    return train_referee(open_images(cache), "valid", 0, steps=40, images=24)


def test_the_referee_tells_the_domains_apart(trained: Trained):
    assert trained.accuracy == {"a": 1.0, "b": 1.0}


def exam_of(trained: Trained, cache: Path) -> Exam:
    data = open_images(cache)
    images = {d: data.sample(d, "valid", 0, 24, 0, 0) for d in "ab"}
    with torch.inference_mode():
        target = {d: trained.referee.embed(x) for d, x in images.items()}
    apart = {"ab": distance(target["b"], target["a"], 1.0), "ba": distance(target["a"], target["b"], 1.0)}
    zero = {"ab": 0.0, "ba": 0.0}
    return Exam(images, trained, {"a": 1.0, "b": 1.0}, target, apart, zero, zero)


class Known(AVBGTN):
    """A model whose translations are known: the input itself, or other images of the target."""

    def __init__(self, answers: dict[str, torch.Tensor] | None = None) -> None:
        super().__init__(recipe().model, 3)
        self.answers = answers

    def translate(self, image, source, target, noise=None):
        if self.answers is None or source == target:
            return image
        return self.answers[target][: len(image)]


def test_copying_the_input_has_the_figures_of_the_input(trained: Trained, cache: Path):
    exam = exam_of(trained, cache)
    found = examine(Known(), exam)
    assert found["accuracy_ab"] == found["accuracy_ba"] == 0.0
    assert found["distance_ab"] == pytest.approx(exam.copy["ab"], abs=1e-6)
    assert found["reconstruction"] == found["cycle"] == 0.0
    assert found["content"] == pytest.approx(1.0)


def test_real_images_of_the_target_have_the_best_figures(trained: Trained, cache: Path):
    exam = exam_of(trained, cache)
    data = open_images(cache)
    others = {d: data.sample(d, "train", 1, 24, 0, 0) for d in "ab"}
    found = examine(Known(others), exam)
    assert found["accuracy_ab"] == found["accuracy_ba"] == 1.0
    assert found["distance_ab"] < 0.2 * exam.copy["ab"]
    assert found["content"] < 0.2  # another picture altogether


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
    # Eight draws of N(0, 1) per dimension: their sample moments are off by about 1 / 8 nats on average.
    assert 0.05 < found["moment_nats"] < 0.25


def test_a_level_counts_only_if_it_is_held_to_the_end():
    records = [{"step": step, "x": value} for step, value in ((1, 9.0), (2, 0.0), (3, 9.0), (4, 9.0))]
    assert steps_to(records, lambda r: r["x"] > 5) == 3
    assert steps_to(records[:2], lambda r: r["x"] > 5) == math.inf
    assert steps_to([], lambda r: True) == math.inf


def test_levels_ask_for_both_directions(trained: Trained, cache: Path):
    exam = exam_of(trained, cache)
    near = levels(exam)["distance 60% of copying"]
    good, bad = 0.5 * exam.copy["ab"], 0.7 * exam.copy["ab"]
    assert near({"distance_ab": good, "distance_ba": good})
    assert not near({"distance_ab": good, "distance_ba": bad})
    accurate = levels(exam)["accuracy 85% of real images'"]
    assert accurate({"accuracy_ab": 0.86, "accuracy_ba": 0.86})
    assert not accurate({"accuracy_ab": 0.86, "accuracy_ba": 0.84})


def test_intervals_by_hand():
    mean, low, high = interval([1.0, 2.0, 3.0])
    # Student's t for two degrees of freedom, 4.303, times 1 / sqrt(3).
    assert (mean, low, high) == pytest.approx((2.0, 2 - 2.4843, 2 + 2.4843), abs=1e-3)
    assert math.isnan(interval([1.0])[1])
    assert math.isnan(interval([math.nan])[0])


def test_curves_take_the_steps_that_all_seeds_reached():
    runs = {0: [{"step": 1, "x": 1.0}, {"step": 2, "x": 3.0}], 1: [{"step": 1, "x": 3.0}]}
    found = curve(runs, "x")
    assert found.steps.tolist() == [1]
    assert found.mean.tolist() == [2.0]


def test_an_exam_survives_being_written(trained: Trained, cache: Path, tmp_path: Path):
    exam = exam_of(trained, cache)
    save_exam(exam, tmp_path / "exam.pt")
    again = load_exam(tmp_path / "exam.pt")
    model = Known()
    assert examine(model, again) == examine(model, exam)


def small(cache: Path, output: Path, **options: object) -> Path:
    contestants = [Contestant("avb", recipe()), Contestant("unit", recipe(kl="mu2"))]
    settings = {"steps": 4, "every": 2, "seeds": 2, "images": 8, "referee_steps": 4, "progress": False, **options}
    return compare(contestants, cache, output, **settings)


def test_a_comparison_is_whole_and_goes_on_where_it_stopped(cache: Path, tmp_path: Path):
    output = tmp_path / "comparison"
    summary = small(cache, output, seeds=1)
    first = (output / "runs/avb-0/exams.jsonl").read_bytes()
    assert [record["step"] for record in read_records(output / "runs/avb-0/exams.jsonl")] == [2, 4]
    small(cache, output)
    assert (output / "runs/avb-0/exams.jsonl").read_bytes() == first  # nothing was repeated
    text = summary.read_text()
    assert "avb (2 seeds)" in text
    assert "unit (2 seeds)" in text
    records = read_records(output / "runs/avb-1/exams.jsonl")
    assert 0 <= records[-1]["t_accuracy"] <= 1
    assert math.isnan(read_records(output / "runs/unit-0/exams.jsonl")[-1]["t_accuracy"])  # UNIT has no T
    for name in ("curves.png", "progress-avb.png", "progress-unit.png"):
        with Image.open(output / name) as picture:
            assert min(picture.size) > 100
    plan = json.loads((output / "compare.json").read_text())
    assert plan["domains"] == {"a": "red", "b": "blue"}


def test_a_folder_that_is_no_cache_is_told_in_one_line(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(AudiotransError, match="audiotrans prep"):
        small(tmp_path / "empty", tmp_path / "c")


def test_another_comparison_does_not_get_mixed_in(cache: Path, tmp_path: Path):
    small(cache, tmp_path / "c", seeds=1)
    with pytest.raises(UsageError, match="with steps 4, not 6"):
        small(cache, tmp_path / "c", steps=6)
    with pytest.raises(UsageError, match="another recipe 'avb'"):
        compare([Contestant("avb", recipe(kl="none"))], cache, tmp_path / "c", steps=4, every=2, images=8)


@pytest.mark.parametrize(
    ("options", "message"), [({"steps": 0}, "steps 0"), ({"every": 9}, "every 9"), ({"seeds": 0}, "seeds 0")]
)
def test_wrong_figures_are_named(cache: Path, tmp_path: Path, options, message):
    with pytest.raises(UsageError, match=message):
        small(cache, tmp_path / "c", **options)
    with pytest.raises(UsageError, match="two recipes are called 'x'"):
        compare([Contestant("x", recipe())] * 2, cache, tmp_path / "c")
