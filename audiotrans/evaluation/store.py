"""The folder of an evaluation: its sounds, and a journal of what was measured, from which `--resume` goes on."""

from __future__ import annotations

import base64
import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audiotrans import audio
from audiotrans.audio import Wave
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.evaluation.testset import RATE
from audiotrans.files import from_json, write_whole

Array = npt.NDArray[np.float32]

JOURNAL = "scores.jsonl"
RESULT = "evaluation.json"
TABLE = "table.md"
CSV = "table.csv"
SOUNDS = "sounds"
OURS = (JOURNAL, RESULT, TABLE, CSV, SOUNDS)


@dataclass(frozen=True)
class Record:
    """What was measured on one output, or on one real clip.

    Attributes:
        key: names the input, the system and the code that measures; a change of one makes another key.
        scores: name and figure.
        sound: file of the output, relative to the folder; empty for a real clip.
        content: recording that its notes come from.
        embeddings: by the kernel distance that they serve, shape (windows, dims) each.
        warnings: one line each.
    """

    key: str
    scores: Mapping[str, float]
    sound: str = ""
    content: str = ""
    embeddings: Mapping[str, Array] = field(default_factory=dict)
    warnings: tuple[str, ...] = field(default_factory=tuple)

    def to_json(self) -> str:
        """Return the journal's line."""
        packed = {name: _packed(rows) for name, rows in self.embeddings.items()}
        scores = {name: plain(value) for name, value in self.scores.items()}
        values = {"key": self.key, "scores": scores, "sound": self.sound, "content": self.content, "embeddings": packed}
        return json.dumps({**values, "warnings": self.warnings})

    @classmethod
    def from_json(cls, line: str) -> Record:
        """Read the journal's line.

        Raises:
            ValueError: it is not a record, as the line that a killed run was writing.
        """
        values = from_json(line)
        try:
            scores = {name: math.nan if value is None else float(value) for name, value in values["scores"].items()}
            rows = {name: _unpacked(*packed) for name, packed in values["embeddings"].items()}
            return cls(values["key"], scores, values["sound"], values["content"], rows, tuple(values["warnings"]))
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"not a record: {error}") from error


def _packed(rows: Array) -> tuple[list[int], str]:
    return list(rows.shape), base64.b64encode(rows.astype("<f4").tobytes()).decode()


def _unpacked(shape: list[int], text: str) -> Array:
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(shape)


def plain(value: float) -> float | None:
    """Return a figure as JSON can hold it: seven digits; None for nan and infinity."""
    return float(f"{value:.7g}") if math.isfinite(value) else None


class Store:
    """The output folder.

    Args:
        folder: made if need be.
        force: delete what an earlier evaluation left there.
        resume: keep it and add to it.

    Raises:
        UsageError: the folder holds an evaluation and neither is asked for, or holds other things.
    """

    def __init__(self, folder: Path, *, force: bool = False, resume: bool = False) -> None:
        self.folder = folder
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file: name a folder with -o")
        there = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
        if there and not {RESULT, JOURNAL} & set(there):
            raise UsageError(f"{folder} holds other things ({there[0]}): name a new or empty folder with -o")
        if there and not (force or resume):
            raise UsageError(f"{folder} holds an evaluation already: --resume goes on with it, --force replaces it")
        if there and not resume:
            for name in OURS:
                _remove(folder / name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._records = _read_journal(folder / JOURNAL)
        except OSError as error:
            raise AudiotransError(f"cannot write to {folder}: {error.strerror}") from error

    def get(self, key: str) -> Record | None:
        """Return what was measured before, if its sound is still there."""
        record = self._records.get(key)
        if record is None or (record.sound and not (self.folder / record.sound).is_file()):
            return None
        return record

    def put(self, record: Record) -> Record:
        """Add a record, which survives a kill from here on; return it as a resumed run will read it."""
        line = record.to_json()
        try:
            with (self.folder / JOURNAL).open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
        except OSError as error:
            raise AudiotransError(f"cannot write to {self.folder}: {error.strerror}") from error
        self._records[record.key] = Record.from_json(line)
        return self._records[record.key]

    def write_text(self, name: str, text: str) -> None:
        """Write a file, whole or not at all."""
        write_whole(self.folder / name, text)

    def write_json(self, values: Mapping[str, Any]) -> None:
        """Write the result."""
        self.write_text(RESULT, json.dumps(values, indent=1, allow_nan=False) + "\n")


def write_sound(path: Path, wave: Wave) -> float:
    """Write a sound at `RATE` as 16-bit FLAC, lowered if it would clip; return the gain in dB that it needed."""
    gain = audio.peak_safe_gain(float(np.abs(wave).max(initial=0.0)), "PCM_16")
    kind = audio.AudioInfo(path, RATE, wave.shape[0], wave.shape[1], "FLAC", "PCM_16")
    audio.write(path, wave * np.float32(gain), RATE, like=kind, force=True)
    return 20.0 * math.log10(gain)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _read_journal(path: Path) -> dict[str, Record]:
    """Read what is whole, and make the file end with a whole line."""
    if not path.exists():
        return {}
    records: dict[str, Record] = {}
    lines = path.read_text(encoding="utf-8").splitlines()
    for line in lines:
        try:
            record = Record.from_json(line)
        except ValueError:  # the line that a killed run was writing
            continue
        records[record.key] = record
    if len(records) < len(lines):
        write_whole(path, "".join(f"{record.to_json()}\n" for record in records.values()))
    return records
