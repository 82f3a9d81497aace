"""What a file or folder is: a sound, a photo, a model, a run, a checkpoint or a prepared cache, in plain values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from audiotrans.audio import probe, read_blocks
from audiotrans.convert.converter import statistics_of
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.files import file_digest, missing
from audiotrans.photo.pillow import PHOTO_SUFFIXES, read_photo
from audiotrans.recipe import Recipe, load_recipe
from audiotrans.spectrogram.imaging import AudioSettings
from audiotrans.training.cache import MANIFEST, read_manifest
from audiotrans.training.checkpoints import CHECKPOINT_NAME, METRICS_NAME, load_checkpoint, metrics_of, steps_of
from audiotrans.weights import SUFFIX, find, open_weights, shipped_by_name

Facts = dict[str, Any]
"""Names and plain values, JSON-ready; units are in the names."""

RUN_RECIPE = "recipe.yaml"


def facts_of(name: str) -> Facts:
    """Tell what a file, a folder or a model's name is.

    Args:
        name: a sound, a photo, a weights file, a checkpoint, the folder of a run or of a cache, or a model's name.

    Returns:
        ``kind`` (``sound``, ``photo``, ``model``, ``checkpoint``, ``run`` or ``cache``) and what is known of it.

    Raises:
        AudiotransError: if it is none of these, or cannot be read.
    """
    path = Path(name)
    if path.is_dir():
        return _folder(path)
    if name in shipped_by_name() or name.startswith("hf:") or path.suffix == SUFFIX:
        return _model(find(name))
    if not path.exists():
        raise missing(path)
    if path.suffix.lower() in (".yaml", ".yml"):
        raise UsageError(f"{path} is a recipe: audiotrans recipe show {path} prints it")
    if path.suffix == ".pt":
        return _checkpoint(path)
    return _photo(path) if path.suffix.lower() in PHOTO_SUFFIXES else _sound(path)


def _folder(path: Path) -> Facts:
    if (path / MANIFEST).is_file():
        return _cache(path)
    if any((path / name).is_file() for name in (CHECKPOINT_NAME, METRICS_NAME)):
        return _run(path)
    raise AudiotransError(f"{path} is neither a prepared cache ({MANIFEST}) nor a run ({CHECKPOINT_NAME}): name a file")


def _sound(path: Path) -> Facts:
    info = probe(path)
    peak, power = 0.0, 0.0
    for block in read_blocks(path):
        peak = max(peak, float(np.abs(block).max(initial=0)))
        power += float(np.square(block, dtype=np.float64).sum())
    mean = power / (info.frames * info.channels)
    facts: Facts = {"kind": "sound", "file": str(path), "format": f"{info.format} {info.subtype}"}
    facts |= {"seconds": round(info.seconds, 3), "sample_rate_hz": info.sample_rate, "channels": info.channels}
    facts |= {"peak_db": _decibels(peak**2), "level_db": _decibels(mean)}
    return facts | ({"note": info.note} if info.note else {}) | ({"tags": info.tags.texts} if info.tags.texts else {})


def _decibels(power: float) -> float | None:
    return round(10 * math.log10(power), 1) if power > 0 else None


def _photo(path: Path) -> Facts:
    height, width, _ = read_photo(path).shape
    return {"kind": "photo", "file": str(path), "width": width, "height": height}


def _images(recipe: Recipe) -> str:
    settings = recipe.imaging
    if not isinstance(settings, AudioSettings):
        return f"photos of {settings.height} x {settings.width}"
    stft = f"STFT {settings.n_fft} / {settings.hop_length} at {settings.sample_rate} Hz"
    return f"{settings.representation}, {settings.image_rows} rows, {stft}"


def _model(path: Path) -> Facts:
    stored = open_weights(path)
    recipe, tensors = stored.recipe, stored.tensors()
    facts: Facts = {"kind": "model", "file": str(path), "domains": [recipe.domains.a, recipe.domains.b]}
    facts |= {name: stored.card[name] for name in ("summary", "steps", "licence") if stored.card.get(name)}
    facts |= {"images": _images(recipe), "network": f"{recipe.model.preset}, kl {recipe.model.kl}"}
    facts |= {"parameters": sum(value.numel() for value in tensors.values())}
    facts |= {"precision": ", ".join(sorted({str(value.dtype).removeprefix("torch.") for value in tensors.values()}))}
    facts |= {"size_mb": round(path.stat().st_size / 1e6, 2), "sha256": file_digest(path)}
    statistics = statistics_of(stored)
    if statistics is not None:
        facts["trained_on"] = {
            side.name: {"recordings": side.recordings, "lowest_partials_hz": _pair(side.pitch_hz)}
            | {"levels_db": _pair(side.level_db)}
            for side in statistics.sides.values()
        }
    return facts


def _pair(ends: tuple[float, float] | None) -> list[float] | None:
    return None if ends is None else list(ends)


def _checkpoint(path: Path) -> Facts:
    state, recipe = load_checkpoint(path)
    facts: Facts = {"kind": "checkpoint", "file": str(path), "domains": [recipe.domains.a, recipe.domains.b]}
    facts |= {"step": int(state["step"]), "of_steps": recipe.train.steps, "steps_with_earlier_runs": steps_of(state)}
    return facts | {"images": _images(recipe), "network": f"{recipe.model.preset}, kl {recipe.model.kl}"}


def _run(path: Path) -> Facts:
    facts: Facts = {"kind": "run", "folder": str(path)}
    if (path / RUN_RECIPE).is_file():
        recipe = load_recipe(path / RUN_RECIPE)
        facts |= {"domains": [recipe.domains.a, recipe.domains.b], "of_steps": recipe.train.steps}
        facts |= {"cache": recipe.cache, "images": _images(recipe)}
        facts |= {name: value for name in ("init", "teacher", "pairs") if (value := getattr(recipe, name))}
    lines = metrics_of(path)
    facts["logged_steps"] = int(lines[-1]["step"]) if lines else 0
    checkpoint = path / CHECKPOINT_NAME
    facts["checkpoint_mb"] = round(checkpoint.stat().st_size / 1e6, 1) if checkpoint.is_file() else None
    for name, key in (("last_losses", "generator/"), ("last_validation", "valid/")):
        found = [line for line in lines if any(each.startswith(key) for each in line)]
        if found:
            facts[name] = {each.removeprefix(key): v for each, v in found[-1].items() if each.startswith(key)}
    return facts


def _cache(path: Path) -> Facts:
    manifest = read_manifest(path)
    facts: Facts = {"kind": "cache", "folder": str(path), "imaging": manifest["imaging"]}
    try:
        facts["domains"] = {
            name: {split: share for split in ("train", "valid", "test") if (share := _share(manifest, side, split))}
            for side, name in manifest["domains"].items()
        }
        files = {item["file"] for item in manifest["items"]}
        sizes = [(path / file).stat().st_size for file in files if (path / file).is_file()]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise AudiotransError(f"{path / MANIFEST} is broken ({error}): run audiotrans prep again") from None
    facts["size_mb"], facts["missing_files"] = round(sum(sizes) / 1e6, 1), len(files) - len(sizes)
    return facts | {"skipped_sources": len(manifest.get("skipped", ()))}


def _share(manifest: dict[str, Any], side: str, split: str) -> Facts:
    items = [item for item in manifest["items"] if (item["domain"], item["split"]) == (side, split)]
    if not items:
        return {}
    imaging = manifest["imaging"]
    counts: Facts = {"images": len(items), "recordings": len({item.get("recording") for item in items})}
    if imaging.get("type") == "photo":
        return counts
    seconds = imaging["hop_length"] * imaging.get("time_stride", 1) / imaging["sample_rate"]
    return counts | {"minutes": round(sum(item["frames"] for item in items) * seconds / 60, 2)}
