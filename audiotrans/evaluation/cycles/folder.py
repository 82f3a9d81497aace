"""The folder of a run: what it was made with, what is finished, and the tables at the end.

``.cycle/run.json`` says what made the results, ``.cycle/clips/<domain>/<clip>.json`` is written when a clip is done.
The tables are made of these records, so a run that was killed and started again ends with the same tables.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from audiotrans.convert.chains import Chain, chain_name
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.evaluation.cycles.clips import Clip

RECORDS = ".cycle"
_NAMES = {"model_sha256": "another model", "chains": "other chains", "domains": "other domains"}


def sound_path(folder: Path, clip: Clip, chain: Chain) -> Path:
    """Return where a chain's sound of a clip lies: as the input, in a folder named by the chain."""
    return folder / "sounds" / chain_name(chain) / f"{clip.name}{clip.source.suffix}"


def record_path(folder: Path, clip: Clip) -> Path:
    """Return where the record of a finished clip lies."""
    return folder / RECORDS / "clips" / clip.domain / f"{clip.name}.json"


def write_whole(path: Path, text: str) -> None:
    """Write a text beside its place and rename it, so that it is whole or not there.

    Raises:
        AudiotransError: if it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_text(text, encoding="utf-8")
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise AudiotransError(f"cannot write {path}: {error.strerror or error}") from error


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


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
            if (folder / "sounds").resolve() in sound.resolve().parents:
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
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AudiotransError(f"cannot read {path} ({error}): use --force to start over") from error
    return values


def is_finished(folder: Path, clip: Clip) -> bool:
    """Tell whether a clip's results are there and its file has not changed since.

    Raises:
        UsageError: if another file's results have this clip's name.
    """
    path = record_path(folder, clip)
    if not path.exists():
        return False
    record = _read(path)
    other = Path(record["source"])
    if other != clip.source.resolve() and other.exists():
        raise UsageError(f"{folder} holds results of {other} under the name {clip.name!r}: write elsewhere with -o")
    there = all((folder / item["sound"]).is_file() for item in record["items"])
    return there and tuple(record["stamp"]) == clip.stamp
