"""The score tables: systems as rows, metrics as columns under their groups, intervals as numbers and as whiskers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from audiotrans.evaluation.report.content import Direction, Kind, Metric, Summary, System
from audiotrans.evaluation.report.html import Html, join, tag

GROUPS = ("content", "timbre", "artefacts", "distance", "speed")
"""The order of the columns; groups of other names follow, in the order they come."""

KINDS: dict[Kind, str] = {"system": "", "baseline": "baseline", "truth": "truth", "input": "input"}

MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"

_ARROWS = {
    "higher": ("↑", "higher is better"),
    "lower": ("↓", "lower is better"),
    "closer to truth": ("→", "closer to the truth's value is better"),
}


def shown_metrics(metrics: Iterable[Metric], values: Iterable[Mapping[str, object]]) -> list[Metric]:
    """Choose the metrics that have a value, ordered by group.

    Args:
        metrics: all columns that there could be.
        values: scores or summaries by metric, of every row.
    """
    present = {key for row in values for key, value in row.items() if value is not None}
    kept = [metric for metric in metrics if metric.key in present]
    names = [*GROUPS, *dict.fromkeys(metric.group for metric in kept if metric.group not in GROUPS)]
    return sorted(kept, key=lambda metric: names.index(metric.group))


def summary_tables(direction: Direction, metrics: Iterable[Metric]) -> Html:
    """Build the tables of a direction's means, one for each group of metrics; empty where there are none."""
    columns = shown_metrics(metrics, (_means(system) for system in direction.systems))
    # One table with thirty columns could not be read.
    groups = groupby(columns, key=lambda metric: metric.group)
    tables = [_group_table(direction, name or "other", list(of)) for name, of in groups]
    return tag("div", *tables, class_="tables") if tables else Html("")


def _group_table(direction: Direction, name: str, columns: Sequence[Metric]) -> Html:
    head = tag("thead", tag("tr", tag("td"), *map(_column_head, columns)))
    body = tag("tbody", *_summary_rows(direction.systems, columns))
    table = tag("table", tag("caption", name), head, body, class_="scores")
    label = f"{name} scores, {direction.heading}"
    return tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=label)


def _summary_rows(systems: Sequence[System], columns: Sequence[Metric]) -> list[Html]:
    scales = [_Scale([system.summary.get(metric.key) for system in systems]) for metric in columns]
    marks = [_marks(systems, metric) for metric in columns]
    rows = []
    for system in systems:
        if all(system.summary.get(metric.key) is None for metric in columns):
            continue
        cells = (
            _summary_cell(system.summary.get(metric.key), scale, mark.get(system.name, ""))
            for metric, scale, mark in zip(columns, scales, marks, strict=True)
        )
        rows.append(_row(system, *cells))
    return rows


def _row(system: System, *cells: Html) -> Html:
    return tag("tr", row_head(system), *cells, class_=f"kind-{system.kind}")


def row_head(system: System) -> Html:
    """Name a row, with what kind of row it is where it is no system."""
    return tag("th", tag("span", system.name, title=system.about or None), badge(system.kind, system.name), scope="row")


def badge(kind: Kind, name: str = "") -> Html:
    """Say in a word that a row is an anchor, the truth or the input, where its name does not say so itself."""
    return tag("small", KINDS[kind], class_=f"badge {kind}") if KINDS[kind] and KINDS[kind] != name else Html("")


def marks_note(direction: Direction) -> str:
    """Explain the marks in the table of a direction."""
    among = "systems" if _several(direction.systems) else "systems and anchors"
    return (
        f"Bold: best of the {among}. ≈: its interval and the best's overlap, so this test set may not tell them "
        "apart. Small figures and whiskers: 95 % interval of the mean."
    )


def decimals(values: Iterable[float | None]) -> int:
    """Choose one number of decimals for a column: three figures for its largest number."""
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    return 2 if largest == 0 else min(7, max(0, 2 - math.floor(math.log10(largest))))


def number(value: float | None, places: int) -> str:
    """Write a number with a true minus sign; a dash where there is none."""
    return NONE if value is None else f"{value:.{places}f}".replace("-", MINUS)


def _means(system: System) -> dict[str, float | None]:
    return {key: summary.mean for key, summary in system.summary.items()}


class _Scale:
    """The range and the decimals that a column's cells share."""

    def __init__(self, summaries: Sequence[Summary | None]) -> None:
        given = [each for each in summaries if each is not None]
        values = [value for each in given for value in (each.mean, each.low, each.high) if value is not None]
        self.low, self.high = min(values, default=0.0), max(values, default=0.0)
        self.places = decimals(each.mean for each in given)

    def percent(self, value: float) -> str:
        """Return where a value lies between the column's smallest and largest."""
        width = self.high - self.low
        return f"{100 * (value - self.low) / width:.1f}%" if width > 0 else "50%"


def _summary_cell(summary: Summary | None, scale: _Scale, mark: str) -> Html:
    if summary is None or summary.mean is None:
        return tag("td", NONE, class_="none")
    value = number(summary.mean, scale.places)
    pieces = [tag("span", value, class_="value")]
    if mark == "close":
        pieces.insert(0, tag("span", "≈", class_="mark", role="img", aria_label="not separable from the best:"))
    style = f"--mean:{scale.percent(summary.mean)}"
    if summary.low is not None and summary.high is not None:
        interval = f"{number(summary.low, scale.places)} … {number(summary.high, scale.places)}"
        pieces.append(tag("span", interval, class_="interval"))
        style += f";--low:{scale.percent(summary.low)};--high:{scale.percent(summary.high)}"
    pieces.append(tag("i", class_="whisker", style=style, aria_hidden="true"))
    count = f"mean of {summary.n} clips" if summary.n is not None else None
    return tag("td", *pieces, class_=mark or None, title=count)


def _column_head(metric: Metric) -> Html:
    arrow, said = _ARROWS.get(metric.better, ("", ""))
    about = " ".join(part for part in (metric.about, f"({said})" if said else "") if part)
    unit = tag("small", metric.unit, class_="unit") if metric.unit else Html("")
    sign = tag("span", arrow, role="img", aria_label=said) if arrow else Html("")
    return tag("th", join(metric.label, "\N{NO-BREAK SPACE}", sign), unit, scope="col", title=about or None)


def _several(systems: Sequence[System]) -> bool:
    return sum(system.kind == "system" for system in systems) > 1


def _marks(systems: Sequence[System], metric: Metric) -> dict[str, str]:
    """Find the best row of a column and those that cannot be told from it: name -> ``best`` or ``close``."""
    kinds = {"system"} if _several(systems) else {"system", "baseline"}
    rows = {
        each.name: each.summary[metric.key] for each in systems if each.kind in kinds and metric.key in each.summary
    }
    costs = {name: cost for name, row in rows.items() if (cost := _cost(row, metric, systems)) is not None}
    if len(costs) < 2:
        return {}
    least = min(costs.values())
    best = [name for name, cost in costs.items() if cost == least]
    close = {name: "close" for name in costs if any(_overlap(rows[name], rows[first]) for first in best)}
    return close | dict.fromkeys(best, "best")


def _cost(row: Summary, metric: Metric, systems: Sequence[System]) -> float | None:
    """Turn a mean into a number of which less is better; None where nothing says what is good."""
    if row.mean is None:
        return None
    if metric.better == "closer to truth":
        truths = [
            each.summary[metric.key].mean for each in systems if each.kind == "truth" and metric.key in each.summary
        ]
        truth = next((value for value in truths if value is not None), None)
        return None if truth is None else abs(row.mean - truth)
    return {"higher": -row.mean, "lower": row.mean}.get(metric.better)


def _overlap(one: Summary, other: Summary) -> bool:
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    return one.low <= other.high and other.low <= one.high
