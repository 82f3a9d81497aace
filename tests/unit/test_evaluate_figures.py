"""What an evaluation's figures rest on: the code that measures, the classifier's own files, shared clips."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from audiotrans.evaluation import evaluator
from audiotrans.evaluation.classifier import InstrumentClassifier
from audiotrans.evaluation.scoring import GROUPS, METRICS
from audiotrans.evaluation.store import Record
from audiotrans.evaluation.summaries import Figures, Row
from tests.unit.test_evaluate import NAMES


def test_another_version_or_code_measures_anew(monkeypatch):
    before = evaluator._digest_of_code()
    evaluator._digest_of_code.cache_clear()
    assert evaluator._digest_of_code() == before
    evaluator._digest_of_code.cache_clear()
    monkeypatch.setattr(evaluator, "__version__", "0")
    assert evaluator._digest_of_code() != before
    evaluator._digest_of_code.cache_clear()


def test_the_shipped_classifier_knows_its_own_training_files(tmp_path):
    classifier = InstrumentClassifier.load("violin-piano")
    clip = SimpleNamespace(path=tmp_path / Path(sorted(classifier.recordings)[0]).name)
    direction = SimpleNamespace(clips=[clip], reals=[])
    assert "was trained on 1 of these files" in evaluator._trained_on(classifier, [direction])[0]
    clip.path = tmp_path / "of nobody.wav"
    assert evaluator._trained_on(classifier, [direction]) == []


def test_kernel_distances_are_compared_on_the_clips_that_both_have():
    rng = np.random.default_rng(0)
    clips = [SimpleNamespace(name=name, recording=name) for name in NAMES]
    reals = [(SimpleNamespace(recording=f"real {name}"), rng.normal(0, 1, (5, 2))) for name in NAMES]
    hard = {"one": 0.0, "two": 0.0, "three": 4.0}
    records = [(clip, record_of(rng.normal(hard[clip.name], 1, (5, 2)), clip.name)) for clip in clips]
    every, easy = Row("every", "system", records), Row("easy", "system", records[:2])
    figures = Figures(SimpleNamespace(clips=clips), [every, easy], [(clip, record_of(rows)) for clip, rows in reals], 0)
    of = [figures.of(row)["kad"] for row in (every, easy)]
    assert of[0].mean > of[1].mean + 0.04
    assert (of[0].n, of[1].n) == (3, 2)
    difference = figures.difference("kad", "every", "easy")
    assert (difference.mean, difference.low, difference.high, difference.n) == (0, 0, 0, 2)


def record_of(embedding: np.ndarray, heard: str = "") -> Record:
    return Record("", {}, "", heard, {"kad": embedding})


def test_every_metric_has_a_group_and_says_which_way_is_better():
    for name, item in METRICS.items():
        assert item.group in GROUPS, name
        assert item.better in ("higher", "lower", "closer to truth", ""), name
