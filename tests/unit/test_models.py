from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import audiotrans
from audiotrans import processes as workers
from audiotrans import weights as model_files
from audiotrans.convert.converter import load
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.processes import choose_device, use_threads
from audiotrans.recipe import Recipe, recipe_from_dict
from audiotrans.training.checkpoints import save_checkpoint
from audiotrans.training.export import export_run
from audiotrans.weights import export_weights
from tests.standins import RATE, SMALL, tone


@pytest.fixture
def recipe() -> Recipe:
    return recipe_from_dict({"imaging": SMALL, "model": {"preset": "tiny"}})


@pytest.fixture
def weights(recipe: Recipe) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return AVBGTN(recipe.model, recipe.imaging.image_channels).state_dict()


@pytest.fixture
def shelf(tmp_path: Path, recipe: Recipe, weights: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with one shipped model."""
    path = tmp_path / "weights" / "violin-piano.safetensors"
    export_weights(weights, recipe, path, card={"summary": "A toy."})
    monkeypatch.setattr(model_files.resources, "files", lambda _: tmp_path)
    return path


def test_shipped_models_are_listed_and_loaded_by_name(shelf: Path) -> None:
    (entry,) = model_files.list_models()
    assert (entry.name, entry.path, entry.domains, entry.summary) == (
        "violin-piano", shelf, ("violin", "piano"), "A toy.",
    )  # fmt: skip
    assert str(entry).startswith("violin-piano: violin <-> piano, ")
    model = audiotrans.load()
    assert model.domains == ("violin", "piano")
    assert not model.model.training
    wave = tone(0.2)
    assert model.convert(wave, RATE, to="piano").shape == wave.shape


def test_models_are_loaded_by_path(shelf: Path) -> None:
    assert load(shelf, device="cpu").domains == ("violin", "piano")
    assert load(str(shelf)).device == choose_device("auto")


@pytest.mark.parametrize(("tilt", "lines"), [({"a": 0.0, "b": 0.0}, 0), ({"a": 0.0, "b": -4.0}, 1)])
def test_a_model_of_an_option_that_is_gone_converts_without_it(shelf: Path, tilt: dict[str, float], lines: int) -> None:
    with safe_open(shelf, framework="pt") as file:
        metadata = file.metadata()
    metadata["recipe"] = json.dumps(json.loads(metadata["recipe"]) | {"tilt": tilt})
    save_file(load_file(shelf), shelf, metadata=metadata)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        load(shelf, device="cpu")
    assert [str(each.message).partition(": ")[2][:29] for each in said] == ["tilt is gone and does nothing"] * lines


def test_unknown_names_list_what_exists(shelf: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no model 'violin-paino': shipped are violin-piano.*Did you mean"):
        load("violin-paino")
    with pytest.raises(UsageError, match=r"is a folder.*export-weights"):
        load(tmp_path)
    shelf.unlink()
    with pytest.raises(UsageError, match="shipped are none"):
        load()
    assert model_files.list_models() == []


def test_files_of_others_are_refused(tmp_path: Path, shelf: Path) -> None:
    junk, foreign = tmp_path / "junk.safetensors", tmp_path / "weights" / "foreign.safetensors"
    junk.write_text("not a model")
    save_file({"w": np.zeros(2, np.float32)}, foreign)
    for path in (junk, foreign):
        with pytest.raises(AudiotransError, match=path.name) as caught:
            load(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(AudiotransError, match=r"foreign\.safetensors is not an audiotrans model"):
        model_files.list_models()


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cpu:"])
def test_unknown_devices_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"unknown device.*auto, cpu, cuda"):
        choose_device(name)


def test_cuda_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("cuda", "cuda:1"):
        with pytest.raises(UsageError, match=f"no device '{name}' here.*--device cpu"):
            choose_device(name)
    assert choose_device("auto") == torch.device("cpu")


def test_threads_are_set_where_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    use_threads(None)
    monkeypatch.setattr(workers, "usable_cores", lambda: 4)
    use_threads(3)
    use_threads(3000)
    assert asked == [3, 4]
    with pytest.raises(UsageError, match="threads 0"):
        use_threads(0)


def test_how_a_model_converts_is_said_when_it_is_exported(
    tmp_path: Path, recipe: Recipe, weights: dict[str, torch.Tensor]
) -> None:
    save_checkpoint(tmp_path / "run" / "last.pt", {"step": 12, "ema": weights}, recipe)
    chosen = {"shifts": 3, "articulation": {"piano": 1.5}, "vibrato": {"violin": 12}}
    out = export_run(tmp_path / "run", tmp_path / "m.safetensors", chosen)
    again = export_run(out, tmp_path / "again.safetensors", {"vibrato": {"violin": 9}})
    for path, cents in ((out, 12), (again, 9)):
        model = load(path)
        to_violin, to_piano = model.options("violin"), model.options("piano")
        assert (to_violin.vibrato, to_violin.articulation, to_violin.shifts) == (cents, 1, 3)
        assert (to_piano.vibrato, to_piano.articulation, to_piano.shifts) == (0, 1.5, 3)
    with pytest.raises(UsageError, match="viola"):
        export_run(tmp_path / "run", tmp_path / "n.safetensors", {"vibrato": {"viola": 9}})
    with pytest.raises(UsageError, match="vibrato"):
        export_run(tmp_path / "run", tmp_path / "n.safetensors", {"vibrato": {"violin": 900}})


def test_a_run_becomes_a_model(tmp_path: Path, recipe: Recipe, weights: dict[str, torch.Tensor]) -> None:
    save_checkpoint(tmp_path / "run" / "last.pt", {"step": 12, "ema": weights}, recipe)
    out = export_run(tmp_path / "run", tmp_path / "m.safetensors", summary="Mine.")
    half = export_run(tmp_path / "run" / "last.pt", tmp_path / "h.safetensors", half=True)
    assert half.stat().st_size < 0.7 * out.stat().st_size
    loaded = load(out)
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value, weights[name]), name
    with pytest.raises(UsageError, match="--force"):
        export_run(tmp_path / "run", out)
    export_run(tmp_path / "run", out, force=True)


def test_a_shipped_model_can_be_described_anew_by_its_name(tmp_path: Path) -> None:
    export_run(Path("violin-piano"), tmp_path / "mine.safetensors", {"vibrato": {"violin": 0}})
    assert load(str(tmp_path / "mine.safetensors"), device="cpu").recipe.vibrato.a == 0
