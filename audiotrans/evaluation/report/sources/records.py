"""Reading what other commands wrote as JSON: checked once, here, with one line where it is wrong."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from audiotrans.errors import AudiotransError
from audiotrans.evaluation.report.content import Better, Metric
from audiotrans.evaluation.report.explanations import METRICS

R = TypeVar("R", bound="Record")

VERSION = 1


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Score = Annotated[float | None, BeforeValidator(_finite)]
"""A number, or None where there is none: NaN and infinities count as none."""

Scores = dict[str, Score]


class Record(BaseModel):
    """A JSON object; keys that are not known yet are passed over, for a later minor version may add some."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class MetricRecord(Record):
    """How a metric is shown."""

    label: str
    unit: str = ""
    better: Better = ""
    group: str = ""
    about: str = ""


def load_record(path: Path, kind: type[R], name: str) -> R:
    """Read and check a JSON file.

    Args:
        path: of the file.
        kind: what it must hold.
        name: of the format, as in its ``format`` key.

    Returns:
        What it holds.

    Raises:
        AudiotransError: it cannot be read, is of another format or version, or lacks something.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise AudiotransError(f"{path}: cannot be read: {error}; make it again.") from error
    if not isinstance(data, dict) or data.get("format") != name:
        found = data.get("format") if isinstance(data, dict) else type(data).__name__
        raise AudiotransError(f"{path}: is of format {found!r}; {name!r} is needed.")
    if data.get("version") != VERSION:
        raise AudiotransError(
            f"{path}: is of version {data.get('version')!r}, only {VERSION} can be read; install the newest audiotrans."
        )
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise AudiotransError(f"{path}: {where}: {first['msg'].lower()}; make the folder again.") from None


def metrics_of(records: dict[str, MetricRecord]) -> tuple[Metric, ...]:
    """Turn records into the columns of a table, explained."""
    return tuple(
        Metric(key, each.label, each.unit, each.better, each.group, each.about or METRICS.get(key, ""))
        for key, each in records.items()
    )


def inside(root: Path, sound: str | None) -> Path | None:
    """Return the path of a sound of the folder.

    Args:
        root: the folder.
        sound: relative to it; None or empty where there is none.

    Raises:
        AudiotransError: it points out of the folder: a page may be published, and must not take other files along.
    """
    if not sound:
        return None
    path = root / sound
    if not path.resolve().is_relative_to(root.resolve()):
        raise AudiotransError(f"{root}: the sound {sound} lies outside of the folder; only sounds within it are shown.")
    return path
