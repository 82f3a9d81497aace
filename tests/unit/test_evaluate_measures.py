"""What an evaluation's figures rest on: the code that measures, the judge's own files, shared clips."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from audiotrans.evaluation.classifier import InstrumentClassifier
from audiotrans.evaluation.scoring import measures, plan
from audiotrans.evaluation.scoring.measures import MEASURES
from audiotrans.evaluation.scoring.store import Record
from audiotrans.evaluation.scoring.summary import Row, _Figures
from tests.unit.test_evaluate import NAMES


def test_the_code_that_measures_is_part_of_every_key():
    package = Path(plan.__file__).parents[2]
    # A part that was renamed would silently no longer count.
    assert [part for part in plan.MEASURING_CODE if not (package / part).exists()] == []
    assert plan._digest_of_code() == plan._digest_of_code()
    covered = tuple(part.removesuffix(".py") for part in plan.MEASURING_CODE)
    for name in ("measures", "systems", "baselines/__init__"):
        tree = ast.parse((package / "evaluation/scoring" / f"{name}.py").read_text())
        used = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
        ours = {module.replace(".", "/").removeprefix("audiotrans/") for module in used if "audiotrans" in module}
        assert {part for part in ours if not part.startswith(covered)} <= {"errors", "evaluation/scoring"}, name


def test_the_shipped_judge_knows_its_own_training_files(tmp_path):
    classifier = InstrumentClassifier.load("violin-piano")
    clip = SimpleNamespace(path=tmp_path / Path(sorted(classifier.recordings)[0]).name)
    direction = SimpleNamespace(clips=[clip], reals=[])
    assert "was trained on 1 of these files" in plan._heard_before(classifier, [direction])[0]
    clip.path = tmp_path / "of nobody.wav"
    assert plan._heard_before(classifier, [direction]) == []


def test_kernel_distances_are_compared_on_the_clips_that_both_have():
    rng = np.random.default_rng(0)
    clips = [SimpleNamespace(name=name, recording=name) for name in NAMES]
    reals = [(SimpleNamespace(recording=f"real {name}"), rng.normal(0, 1, (5, 2))) for name in NAMES]
    hard = {"one": 0.0, "two": 0.0, "three": 4.0}
    records = [(clip, record_of(rng.normal(hard[clip.name], 1, (5, 2)), clip.name)) for clip in clips]
    every, easy = Row("every", "system", records), Row("easy", "system", records[:2])
    figures = _Figures(
        SimpleNamespace(clips=clips), [every, easy], [(clip, record_of(rows)) for clip, rows in reals], 0
    )
    of = [figures.of(row)["kad"] for row in (every, easy)]
    assert of[0].mean > of[1].mean + 0.04
    assert (of[0].n, of[1].n) == (3, 2)
    difference = figures.difference("kad", "every", "easy")
    assert (difference.mean, difference.low, difference.high, difference.n) == (0, 0, 0, 2)


def record_of(embedding: np.ndarray, heard: str = "") -> Record:
    return Record("", {}, "", heard, {"kad": embedding})


def test_every_measure_has_a_group_and_says_which_way_is_better():
    for name, item in MEASURES.items():
        assert item.group in measures.GROUPS, name
        assert item.better in ("higher", "lower", "closer to truth", ""), name
