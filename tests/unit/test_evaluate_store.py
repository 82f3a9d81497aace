"""The folder of an evaluation: its journal, its sounds and their names."""

from __future__ import annotations

import math

import numpy as np
import pytest
import soundfile

from audiotrans.evaluation.store import Record, Store, write_sound
from audiotrans.evaluation.systems import slug
from audiotrans.evaluation.testset import RATE
from tests.standins import tone


def test_records_survive_the_journal(tmp_path):
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    store = Store(tmp_path / "out")
    store.put(Record("k", {"a": 0.5, "b": math.nan, "c": math.inf}, "", "other", {"kad": rows}, ("beware",)))
    found = Store(tmp_path / "out", resume=True).get("k")
    assert found.scores["a"] == 0.5
    assert math.isnan(found.scores["b"])
    assert math.isnan(found.scores["c"])
    assert np.array_equal(found.embeddings["kad"], rows)
    assert (found.content, found.warnings) == ("other", ("beware",))


def test_lines_of_another_form_are_no_records():
    for line in ("", "{}", '{"key": "k", "scores": {}, "sound": "", "content": "", "embedding": null, "warnings": []}'):
        with pytest.raises(ValueError, match=r"not a record|Expecting"):
            Record.from_json(line)


def test_sounds_that_would_clip_are_lowered(tmp_path):
    path = tmp_path / "out" / "sounds" / "x.flac"
    gain = write_sound(path, 2 * tone(0.1, 1, RATE, 1.0) / np.abs(tone(0.1, 1, RATE, 1.0)).max())
    assert gain == pytest.approx(-6.02, abs=0.01)
    assert np.abs(soundfile.read(path)[0]).max() <= 1.0


@pytest.mark.parametrize(
    ("name", "folder"), [("copy + EQ", "copy-EQ"), ("a/b", "a-b"), ("..", "system"), ("Griffin-Lim", "Griffin-Lim")]
)
def test_names_of_folders(name, folder):
    assert slug(name) == folder
