"""Cards of models: what a run says of its model, with the head that the hub reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from audiotrans.cli.train import push
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.hub import Place, check, linked, parse
from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.recipe import Recipe, read_head
from audiotrans.training.checkpoints import metrics_of, save_checkpoint
from audiotrans.training.export import export_run
from audiotrans.weights import list_models, open_weights
from tests.fakes import fake_cache, tiny_recipe


@pytest.fixture
def recipe() -> Recipe:
    return tiny_recipe()


@pytest.fixture
def run(tmp_path: Path, recipe: Recipe) -> Path:
    """Make the folder of a run of twelve steps, with a log and two sheets."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        weights = AVBGTN(recipe.model, recipe.imaging.image_channels).state_dict()
    folder = tmp_path / "run"
    save_checkpoint(folder / "last.pt", {"step": 12, "ema": weights}, recipe)
    lines = [{"step": 6, "valid/cycle": 0.5}, {"step": 12, "valid/cycle": 0.25, "seconds": 1800}, {"step": 12, "x": 1}]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines) + "{cut")
    (folder / "samples").mkdir()
    for step in (2, 12):
        (folder / "samples" / f"step_{step}.png").write_bytes(b"sheet %d" % step)
    return folder


def test_a_runs_card_has_a_head_figures_amounts_and_its_last_sheet(tmp_path: Path, run: Path, recipe: Recipe) -> None:
    cache = fake_cache(tmp_path / "cache", recipe)
    out = tmp_path / "mine.safetensors"
    export_run(run, out, summary="Mine.", licence="CC-BY-4.0", card=True, cache=cache)
    text = (tmp_path / "mine.md").read_text()
    head = read_head(text)
    assert (head["license"], head["pipeline_tag"]) == ("cc-by-4.0", "audio-to-audio")
    assert {"audiotrans", "violin", "piano"} <= set(head["tags"])
    (result,) = head["model-index"][0]["results"]
    assert [(metric["type"], metric["value"]) for metric in result["metrics"]] == [("cycle", 0.25)]
    for said in ("# mine\n", "Mine.", "![What it makes", "12 steps, batch 2", ".50 hours", "- **violin**: 0.0 minutes"):
        assert said in text, said
    assert (tmp_path / "mine.png").read_bytes() == b"sheet 12"
    assert linked(tmp_path / "mine.md") == {"mine.png": tmp_path / "mine.png"}
    with pytest.raises(UsageError, match=r"mine\.safetensors exists"):
        export_run(run, out, card=True)
    (tmp_path / "new.md").write_text("by hand")
    with pytest.raises(UsageError, match=r"new\.md exists"):
        export_run(run, tmp_path / "new.safetensors", card=True)
    assert open_weights(out).card == {"summary": "Mine.", "steps": 12, "licence": "CC-BY-4.0"}


def test_what_is_not_known_is_asked_for(tmp_path: Path, run: Path) -> None:
    (run / "metrics.jsonl").unlink()
    assert metrics_of(run) == []
    out = export_run(run, tmp_path / "m.safetensors", card=True)
    text = out.with_suffix(".md").read_text()
    assert "license" not in read_head(text)
    assert "model-index" not in read_head(text)
    assert "Not known here: say which recordings" in text
    again = export_run(out, tmp_path / "n.safetensors", card=True)  # a weights file has a card, too
    assert "12 steps" in again.with_suffix(".md").read_text()
    with pytest.raises(UsageError, match="its card and its precision stay"):
        export_run(out, tmp_path / "o.safetensors", licence="mit")


def test_push_wants_a_card(tmp_path: Path, run: Path) -> None:
    out = export_run(run, tmp_path / "m.safetensors")
    with pytest.raises(UsageError, match=r"no card m\.md beside it"):
        push.callback(out, "someone/mine", private=False, force=False)


def test_shipped_models_are_listed_with_size_licence_and_figures() -> None:
    (entry,) = list_models()
    assert (entry.licence, entry.facts()["size_mb"]) == ("apache-2.0", round(entry.path.stat().st_size / 1e6, 2))
    assert set(entry.figures) == {"violin to piano", "piano to violin"}
    assert all(0 < figures["note F1 to the score"] < 1 for figures in entry.figures.values())
    assert "  violin to piano: note F1 to the score 0." in str(entry)
    json.dumps(entry.facts())


def test_names_of_the_hub() -> None:
    assert parse("hf:owner/name") == Place("owner/name")
    assert parse("hf:owner/name/sub/x.safetensors@v1.0") == Place("owner/name", "sub/x.safetensors", "v1.0")
    for wrong in ("hf:name", "hf:", "hf:a/..", "hf:a/b/../c", "hf:a/b c", "hf:a/b@", "owner/name"):
        with pytest.raises(UsageError, match="write hf:owner/name"):
            parse(wrong)


def test_checksums_of_either_kind_are_compared(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"what is up, doc?")
    check(path, "bd9dbf5aae1a3862dd1526723246b20206e5fc37")  # git's own example of a blob
    check(path, "no checksum")
    for wrong in ("0" * 40, "0" * 64):
        with pytest.raises(AudiotransError, match="is damaged"):
            check(path, wrong)
