"""The folder that `audiotrans cycle` writes: what made it, a record of every finished clip, and the tables at the end.

``.cycle/run.json`` says what made the results, ``.cycle/clips/<domain>/<clip>.json`` is written when a clip is done.
The tables are made of these records, so a run that was killed and started again ends with the same tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audiotrans.convert.chains import Chain, chain_name
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.evaluation.cycle_inputs import CycleClip
from audiotrans.evaluation.scoring import METRICS
from audiotrans.evaluation.tables import csv_text, heading, markdown_table
from audiotrans.files import from_json, real, write_whole

FORMAT = "audiotrans-cycle"
VERSION = 1
RECORDS = ".cycle"

SCORED_SECONDS = 60.0
"""Longer sounds are scored by their beginning: spectra and pitch tracks of an hour would need gigabytes."""

_NAMES = {"model_sha256": "another model", "chains": "other chains", "domains": "other domains"}
_ABOUT = ("input", "clip", "domain", "chain", "sound")


def sound_path(folder: Path, clip: CycleClip, chain: Chain) -> Path:
    """Return where a chain's sound of a clip lies: as the input, in a folder named by the chain."""
    return folder / "sounds" / chain_name(chain) / f"{clip.name}{clip.source.suffix}"


def record_path(folder: Path, clip: CycleClip) -> Path:
    """Return where the record of a finished clip lies."""
    return folder / RECORDS / "clips" / clip.domain / f"{clip.name}.json"


def open_folder(folder: Path, made_with: dict[str, Any], *, force: bool) -> None:
    """Begin a folder, or go on with one that was begun with the same model and options.

    Args:
        folder: new, empty, or of an earlier run.
        made_with: what decides the results, in values that JSON keeps.
        force: whether to forget the results of a run that differs.

    Raises:
        UsageError: if the folder holds something else, or results of another model or other options.
    """
    told = folder / RECORDS / "run.json"
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"-o {folder} is a file: give a folder")
    if force:
        _forget(folder)
    elif told.exists():
        _refuse_other(folder, _read(told), made_with)
        return
    elif folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"-o {folder} holds something else than a cycle run: choose another folder, or use --force")
    write_whole(told, json.dumps(made_with, indent=2))


def _refuse_other(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    ways = "use --force to start over, or -o to write elsewhere"
    for name, said in _NAMES.items():
        if before.get(name) != now[name]:
            raise UsageError(f"{folder} was made with {said}: {ways}")
    for name, value in now["options"].items():
        other = before.get("options", {}).get(name)
        if other != value:
            raise UsageError(f"{folder} was made with {name} {other}, not {value}: {ways}")


def _forget(folder: Path) -> None:
    """Remove the records of an earlier run, and the sounds that they name; nothing else."""
    for path in _record_files(folder):
        try:
            sounds = [folder / item["sound"] for item in _read(path)["items"]]
        except (AudiotransError, KeyError, TypeError):  # a broken record names nothing
            sounds = []
        for sound in sounds:
            if real(folder / "sounds") in real(sound).parents:
                sound.unlink(missing_ok=True)
        path.unlink()


def _record_files(folder: Path) -> list[Path]:
    found = sorted((folder / RECORDS / "clips").glob("*/*.json"))
    return [path for path in found if not path.name.startswith(".")]  # a killed run leaves hidden halves


def read_records(folder: Path) -> list[dict[str, Any]]:
    """Read the records of all clips that are finished, by domain and name.

    Raises:
        AudiotransError: if one is broken.
    """
    return [_read(path) for path in _record_files(folder)]


def _read(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AudiotransError(f"cannot read {path} ({error}): use --force to start over") from error
    return values


def is_finished(folder: Path, clip: CycleClip) -> bool:
    """Tell whether a clip's results are there and its file has not changed since.

    Raises:
        UsageError: if another file's results have this clip's name.
    """
    path = record_path(folder, clip)
    if not path.exists():
        return False
    record = _read(path)
    other = Path(record["source"])
    if other != real(clip.source) and other.exists():
        raise UsageError(f"{folder} holds results of {other} under the name {clip.name!r}: write elsewhere with -o")
    there = all((folder / item["sound"]).is_file() for item in record["items"])
    return there and tuple(record["stamp"]) == clip.stamp


def cycle_values(header: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join what made the results with the results: the content of cycle.json.

    Args:
        header: model, domains, options and chains.
        items: one for each sound.
    """
    used = header["scores"]
    described = {name: METRICS[name].as_dict() for name in used}
    of_chain = {chain: [item["scores"] for item in items if item["chain"] == chain] for chain in header["chains"]}
    means = {chain: mean_scores(scores) for chain, scores in of_chain.items() if scores}
    rest = {name: value for name, value in header.items() if name not in ("scores", "chains")}
    found = {"metrics": described, "chains": list(header["chains"]), "means": means, "items": list(items)}
    return {"format": FORMAT, "version": VERSION, **rest, **found}


def write_tables(folder: Path, values: Mapping[str, Any]) -> None:
    """Write cycle.json, scores.csv and scores.md.

    Raises:
        AudiotransError: if one cannot be written.
    """
    write_whole(folder / "cycle.json", json.dumps(values, indent=1, allow_nan=False) + "\n")
    if values["metrics"]:
        write_whole(folder / "scores.csv", _csv(values))
        write_whole(folder / "scores.md", _markdown(values))


def means_table(values: Mapping[str, Any]) -> str:
    """Return the mean scores of every chain as a Markdown table; empty where nothing is scored."""
    names = _shown(values)
    counts = {chain: sum(item["chain"] == chain for item in values["items"]) for chain in values["means"]}
    rows = [
        [arrow(chain, values), str(counts[chain]), *_cells(means, names)] for chain, means in values["means"].items()
    ]
    return markdown_table(["chain", "clips", *_heads(values)], rows) if names else ""


def arrow(chain: str, values: Mapping[str, Any]) -> str:
    """Return a chain's name as it is read: ``violin -> piano``."""
    return " -> ".join(values["steps"][chain])


def _markdown(values: Mapping[str, Any]) -> str:
    names = _shown(values)
    rows = [
        [item["clip"], arrow(item["chain"], values), *_cells(item["scores"], names)]
        for item in values["items"]
        if item["chain"] in values["means"]
    ]
    options = ", ".join(f"{name} {value}" for name, value in values["options"].items() if value is not None)
    parts = [
        "# Scores of chains",
        f"Model {values['model']} (SHA-256 {values['model_sha256'][:12]}), {options}.",
        "Each sound is compared with the input of its chain; where a chain ends in another domain, only by what a "
        "translation must keep. Pitch is tracked for one note at a time: with chords it tells little. "
        f"Sounds over {SCORED_SECONDS:g} s are scored by their first {SCORED_SECONDS:g} s.",
        "## Means",
        means_table(values),
        "## Clips",
        markdown_table(["clip", "chain", *_heads(values)], rows),
    ]
    return "\n\n".join(parts) + "\n"


def _shown(values: Mapping[str, Any]) -> list[str]:
    """Name the scores that any chain has: a run of translations alone has no distances."""
    return [name for name in values["metrics"] if any(name in means for means in values["means"].values())]


def _heads(values: Mapping[str, Any]) -> list[str]:
    return [heading(values["metrics"][name]) for name in _shown(values)]


def _cells(scores: Mapping[str, float | None], names: Sequence[str]) -> list[str]:
    return ["" if scores.get(name) is None else f"{scores[name]:.3g}" for name in names]


def _csv(values: Mapping[str, Any]) -> str:
    names = list(values["metrics"])
    rows = (
        [*(item[name] for name in _ABOUT), *(item["scores"].get(name) for name in names)]
        for item in values["items"]
        if item["chain"] in values["means"]
    )
    return csv_text([*_ABOUT, *names], rows)


def mean_scores(items: Iterable[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Average scores by name over those items that have a number."""
    values: dict[str, list[float]] = {}
    for scores in items:
        for name, value in scores.items():
            values.setdefault(name, []).extend([] if value is None else [value])
    return {name: float(np.mean(found)) if found else None for name, found in values.items()}
