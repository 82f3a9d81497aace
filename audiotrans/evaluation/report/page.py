"""Write the document: templates filled in, the style and the script beside it, and the data that the script plays."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from audiotrans import __version__
from audiotrans.errors import names_extras
from audiotrans.evaluation.plots import RANGE_DB, STRIP_HZ, STRIP_ROWS, colour_stops
from audiotrans.evaluation.report.content import MARKER, Direction, Material, Summary, System
from audiotrans.evaluation.report.sounds import ReadyDirection, ReadyMaterial, ReadyTake
from audiotrans.evaluation.scoring import GROUPS, Metric

if TYPE_CHECKING:
    from jinja2 import Environment

FORMAT = "audiotrans-report"

SCRIPTS = ("dom.js", "statistics.js", "player.js", "scores.js", "trials.js", "blind.js", "start.js")
"""Parts of the page's one script, in the order in which they use each other."""

MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"

_MARK = {"format": FORMAT, "version": 1, "made_with": f"audiotrans {__version__}"}

_SOUNDS = {
    "flac": "FLAC, 16 bits, without loss, with some silence behind so that browsers can seek to the end",
    "ogg": "Ogg Vorbis, about 190 kbit/s for stereo",
    "wav": "WAV, 16 bits, without loss",
    "as-is": "copies of the source files",
}

_ARROWS = {
    "higher": ("↑", "higher is better"),
    "lower": ("↓", "lower is better"),
    "closer to truth": ("→", "closer to the truth's value is better"),
}

_HERTZ = ((100, "100"), (1_000, "1k"), (10_000, "10k"))
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
_MOST_TICKS = 8


def write_page(ready: Sequence[ReadyMaterial], folder: Path, title: str, sound_format: str) -> None:
    """Write the page around its sounds and figures.

    Args:
        ready: what the page shows.
        folder: of the page.
        title: of the page.
        sound_format: what the sounds were written as.
    """
    data = page_data(ready, title)
    document = environment().get_template("page.html.jinja").render(
        title=title,
        colours=colour_stops(),
        parts=[_part(each, each.material.heading if len(ready) > 1 else "Overview") for each in ready],
        directions=[each for material in ready for each in material.directions],
        sounds=_SOUNDS[sound_format],
        version=__version__,
        data=data,
    )  # fmt: skip
    texts = {
        "index.html": document,
        "page.css": _asset("page.css"),
        "page.js": _script(),
        "icon.svg": _asset("icon.svg"),
        MARKER: json.dumps(_MARK | data, indent=1),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", errors="replace")  # of names that are not Unicode


@names_extras()
def environment() -> Environment:
    """Build the environment of the page's templates: text of users is escaped, also within the script's data."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(loader=PackageLoader(__package__, "assets"), autoescape=True, undefined=StrictUndefined)
    made.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    made.globals |= {
        "hertz_ticks": [(_hertz_percent(hertz), label) for hertz, label in _HERTZ],
        "level": _level,
        "range_db": round(RANGE_DB),
        "seconds_ticks": _seconds_ticks,
        "strip_rows": STRIP_ROWS,
    }
    return made


def page_data(ready: Sequence[ReadyMaterial], title: str) -> dict[str, Any]:
    """Return what the script must know: clips with their sounds, levels and systems."""
    directions = [_direction_data(each, material.material) for material in ready for each in material.directions]
    # What a listener answered is kept in the browser under this name: the same page made again finds it.
    heard = [[each["heading"], *(clip["name"] for clip in each["clips"]), each["systems"]] for each in directions]
    identity = hashlib.sha256(json.dumps([title, heard]).encode()).hexdigest()[:16]
    return {"id": identity, "title": title, "directions": directions}


def _direction_data(ready: ReadyDirection, material: Material) -> dict[str, Any]:
    systems = ready.direction.systems
    metrics = shown_metrics(material.metrics, [take.take.scores for clip in ready.clips for take in clip.takes])
    at = {system.name: index for index, system in enumerate(systems)}
    clips = [
        {
            "key": clip.key,
            "name": clip.name,
            "seconds": round(clip.seconds, 4),
            "takes": [
                {
                    "system": at[take.take.system],
                    "sound": take.sound,
                    "seconds": round(take.seconds, 4),
                    "gain": round(take.gain_db, 2),
                    "scores": [take.take.scores.get(key) for key in metrics],
                }
                for take in clip.takes
            ],
        }
        for clip in ready.clips
    ]
    return {
        "heading": ready.direction.heading,
        "part": material.heading,
        "target": ready.direction.target,
        "systems": [{"name": system.name, "kind": system.kind} for system in systems],
        "metrics": [{"label": each.label, "unit": each.unit, "group": each.group} for each in metrics.values()],
        "clips": clips,
    }


def _script() -> str:
    parts = "\n".join(_asset(name) for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def _asset(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")


def _part(ready: ReadyMaterial, heading: str) -> dict[str, Any]:
    """Prepare the overview of one source for its template."""
    material, directions = ready.material, [each.direction for each in ready.directions]
    summaries = [system.summary for direction in directions for system in direction.systems]
    scores = [take.scores for direction in directions for clip in direction.clips for take in clip.takes]
    explained = {each.name: each for direction in directions for each in direction.systems if each.about}
    return {
        "key": ready.key,
        "heading": heading,
        "facts": [("source", material.what), *material.facts],
        "conclusions": material.conclusions,
        "figures": ready.figures,
        "warnings": _warnings(material),
        "systems": list(explained.values()),
        "metrics": [each for each in shown_metrics(material.metrics, [*summaries, *scores]).values() if each.about],
        "directions": [
            {
                "key": each.key,
                "heading": each.direction.heading,
                "tables": score_tables(each.direction, material.metrics),
                "among": "systems" if _several(each.direction.systems) else "systems and baselines",
            }
            for each in ready.directions
        ],
    }


def _warnings(material: Material) -> list[str]:
    """Return the folder's own warnings, and which clips have some: those are told beside the clips."""
    warned = [
        f"{direction.heading}: {clip.name}"
        for direction in material.directions
        for clip in direction.clips
        if any(take.warnings for take in clip.takes)
    ]
    if not warned:
        return list(material.warnings)
    named = ", ".join(warned[:5]) + (", and more" if len(warned) > 5 else "")
    clips = "clip comes" if len(warned) == 1 else "clips come"
    return [*material.warnings, f"{len(warned)} {clips} with warnings, told beside the names there ({named})"]


def _level(ready: ReadyTake) -> str:
    if ready.sound is None:
        return "no sound was kept"
    told = "silent" if ready.loudness is None else f"{ready.loudness:.1f} LUFS".replace("-", MINUS)
    return f"{told}, lowered by {ready.lowered_db:.1f} dB to fit" if ready.lowered_db >= 0.05 else told


def _seconds_ticks(seconds: float) -> list[tuple[str, str]]:
    """Return the places in percent and the labels of a time axis."""
    step = next((step for step in _STEPS if seconds / step <= _MOST_TICKS), seconds)
    marks = [at * step for at in range(math.floor(seconds / step + 1e-9) + 1)]
    return [(f"{100 * mark / seconds:.2f}", f"{mark:g}" if mark else "0 s") for mark in marks]


def _hertz_percent(hertz: float) -> str:
    low, high = STRIP_HZ
    return f"{100 * math.log(hertz / low) / math.log(high / low):.1f}"


class Column(NamedTuple):
    """A column's head: the metric, the arrow that says which way is better, the same in words, and the tooltip."""

    metric: Metric
    arrow: str
    better: str
    about: str


class Cell(NamedTuple):
    """A cell as it is written.

    Attributes:
        value: the mean, or a dash.
        mark: ``best``, ``close`` to the best, or empty.
        interval: lower and upper end, or empty.
        whisker: CSS that places mean and interval on the column's scale; None where there is no mean.
        tooltip: how many clips the mean is of, or empty.
    """

    value: str
    mark: str = ""
    interval: str = ""
    whisker: str | None = None
    tooltip: str = ""


class Row(NamedTuple):
    """A system and its cells."""

    system: System
    cells: list[Cell]


class Table(NamedTuple):
    """The metrics of one group."""

    name: str
    columns: list[Column]
    rows: list[Row]


def shown_metrics(metrics: Mapping[str, Metric], values: Iterable[Mapping[str, object]]) -> dict[str, Metric]:
    """Choose the metrics that have a value, ordered by group.

    Args:
        metrics: all columns that there could be.
        values: scores or summaries by metric, of every row.
    """
    present = {key for row in values for key, value in row.items() if value is not None}
    kept = {key: metric for key, metric in metrics.items() if key in present}
    names = [*GROUPS, *dict.fromkeys(metric.group for metric in kept.values() if metric.group not in GROUPS)]
    return dict(sorted(kept.items(), key=lambda item: names.index(item[1].group)))


def score_tables(direction: Direction, metrics: Mapping[str, Metric]) -> list[Table]:
    """Build the tables of a direction's means: one for each group, since thirty columns could not be read."""
    means = ({key: summary.mean for key, summary in system.summary.items()} for system in direction.systems)
    groups = groupby(shown_metrics(metrics, means).items(), key=lambda item: item[1].group)
    return [_table(direction.systems, name or "other", dict(of)) for name, of in groups]


def _table(systems: Sequence[System], name: str, metrics: Mapping[str, Metric]) -> Table:
    shown = [system for system in systems if any(key in system.summary for key in metrics)]
    columns = [
        _cells({each.name: each.summary.get(key, Summary()) for each in shown}, systems, metric)
        for key, metric in metrics.items()
    ]
    rows = [Row(system, list(cells)) for system, cells in zip(shown, zip(*columns, strict=True), strict=True)]
    return Table(name, [_column(metric) for metric in metrics.values()], rows)


def _column(metric: Metric) -> Column:
    arrow, better = _ARROWS.get(metric.better, ("", ""))
    about = " ".join(part for part in (metric.about, f"({better})" if better else "") if part)
    return Column(metric, arrow, better, about)


def _cells(rows: Mapping[str, Summary], systems: Sequence[System], metric: Metric) -> list[Cell]:
    """Write a column, from summaries by system: all cells share one number of decimals and one scale."""
    values = [value for each in rows.values() for value in (each.mean, each.low, each.high) if value is not None]
    low, width = min(values, default=0.0), max(values, default=0.0) - min(values, default=0.0)
    places = decimals(each.mean for each in rows.values())
    marks = _marks(rows, systems, metric)

    def percent(value: float) -> str:
        return f"{100 * (value - low) / width:.1f}%" if width > 0 else "50%"

    def cell(name: str, summary: Summary) -> Cell:
        if summary.mean is None:
            return Cell(NONE)
        interval, whisker = "", f"--mean:{percent(summary.mean)}"
        if summary.low is not None and summary.high is not None:
            interval = f"{number(summary.low, places)} … {number(summary.high, places)}"
            whisker += f";--low:{percent(summary.low)};--high:{percent(summary.high)}"
        tooltip = f"mean of {summary.n} clips" if summary.n is not None else ""
        return Cell(number(summary.mean, places), marks.get(name, ""), interval, whisker, tooltip)

    return [cell(name, summary) for name, summary in rows.items()]


def decimals(values: Iterable[float | None]) -> int:
    """Choose one number of decimals for a column: three figures for its largest number."""
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    return 2 if largest == 0 else min(7, max(0, 2 - math.floor(math.log10(largest))))


def number(value: float, places: int) -> str:
    """Write a number with a true minus sign."""
    return f"{value:.{places}f}".replace("-", MINUS)


def _several(systems: Sequence[System]) -> bool:
    return sum(system.kind == "system" for system in systems) > 1


def _marks(rows: Mapping[str, Summary], systems: Sequence[System], metric: Metric) -> dict[str, str]:
    """Find the best row of a column and those that cannot be told from it: name -> ``best`` or ``close``."""
    kinds = {"system"} if _several(systems) else {"system", "baseline"}
    means = {
        each.name: (each.kind, mean)
        for each in systems
        if each.name in rows and (mean := rows[each.name].mean) is not None
    }
    truth = next((mean for kind, mean in means.values() if kind == "truth"), None)
    costs = {
        name: cost
        for name, (kind, mean) in means.items()
        if kind in kinds and (cost := _cost(mean, metric, truth)) is not None
    }
    if len(costs) < 2:
        return {}
    least = min(costs.values())
    best = [name for name, cost in costs.items() if cost == least]
    close = {name: "close" for name in costs if any(_overlap(rows[name], rows[first]) for first in best)}
    return close | dict.fromkeys(best, "best")


def _cost(mean: float, metric: Metric, truth: float | None) -> float | None:
    """Turn a mean into a number of which less is better; None where nothing says what is good."""
    if metric.better == "closer to truth":
        return None if truth is None else abs(mean - truth)
    return {"higher": -mean, "lower": mean}.get(metric.better)


def _overlap(one: Summary, other: Summary) -> bool:
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    return one.low <= other.high and other.low <= one.high
