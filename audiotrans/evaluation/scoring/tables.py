"""An evaluation as tables: Markdown and a terminal's for people, CSV for programs."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from audiotrans.evaluation.scoring.measures import GROUPS
from audiotrans.evaluation.scoring.verdicts import number

ARROWS = {"higher": "↑", "lower": "↓", "closer to truth": "≈"}
LEGEND = (
    "↑ more is better, ↓ less is better, ≈ nearer to the truth's is better; * the best but for the truth; "
    "[ ] or ± 95 % intervals by recording"
)
TIE = 1e-9
KINDS = {"truth": 0, "system": 1, "baseline": 2, "input": 3}

Result = Mapping[str, Any]
System = Mapping[str, Any]


def markdown(result: Result) -> str:
    """Return the whole evaluation as Markdown, with intervals."""
    lines = [f"# {result['test_set']}: {result['model'] or 'baselines'}", "", f"{LEGEND}.", ""]
    for direction in result["directions"]:
        lines += [f"## {_title(direction)}", "", f"{_counts(direction)}.", ""]
        for group, header, rows in blocks(result, direction, _with_interval):
            lines += [f"### {group}", ""]
            lines += ["| system | " + " | ".join(header) + " |", "|---" * (len(header) + 1) + "|"]
            lines += [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows]
            lines.append("")
    lines += _listed("## Verdicts", result["verdicts"]) + _listed("## Notes", result["warnings"])
    return "\n".join(lines).rstrip() + "\n"


def _listed(title: str, items: Sequence[str]) -> list[str]:
    return [title, "", *(f"- {item}" for item in items), ""] if items else []


def terminal(result: Result, width: int = 100) -> str:
    """Return the evaluation as aligned columns, a block for each group.

    Args:
        result: what `evaluation.json` holds.
        width: of the terminal in characters; measures that do not fit go into a block below.
    """
    lines: list[str] = []
    for direction in result["directions"]:
        lines += [f"{_title(direction)} ({_counts(direction)})", ""]
        for group, header, rows in blocks(result, direction, _with_half_width):
            for first, last in _fitting(header, rows, width):
                lines += _aligned(group, header[first:last], [(name, cells[first:last]) for name, cells in rows])
                lines.append("")
    lines += [LEGEND, ""]
    lines += [f"verdict: {line}" for line in result["verdicts"]] + [f"note: {line}" for line in result["warnings"]]
    return "\n".join(lines).rstrip()


def as_csv(result: Result) -> str:
    """Return one line for each direction, system and measure."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = ("mean", "low", "high", "n")
    writer.writerow(("source", "target", "system", "kind", "metric", "label", "unit", "better", "group", *columns))
    for direction in result["directions"]:
        for system in direction["systems"]:
            for metric, figures in system["summary"].items():
                meta = result["metrics"][metric]
                names = (direction["source"], direction["target"], system["name"], system["kind"], metric)
                about = (meta["label"], meta["unit"], meta["better"], meta["group"])
                values = ("" if figures[column] is None else figures[column] for column in columns)
                writer.writerow((*names, *about, *values))
    return out.getvalue()


def blocks(
    result: Result, direction: Mapping[str, Any], cell: Any
) -> Iterator[tuple[str, list[str], list[tuple[str, list[str]]]]]:
    """Yield group, column titles and rows (name, cells) of every group that has a measure.

    Args:
        result: for the measures' labels.
        direction: its systems are the rows: the truth, systems, anchors.
        cell: turns the figures of a summary, or None, into text.
    """
    systems = sorted((s for s in direction["systems"] if s["summary"]), key=lambda system: KINDS[system["kind"]])
    for group in GROUPS:
        metrics = [name for name, meta in result["metrics"].items() if meta["group"] == group]
        metrics = [name for name in metrics if any(name in system["summary"] for system in systems)]
        if not metrics:
            continue
        best = {name: best_of(systems, name, result["metrics"][name]["better"]) for name in metrics}
        rows = []
        for system in systems:
            if any(name in system["summary"] for name in metrics):
                cells = [
                    cell(system["summary"].get(name)) + ("*" if system["name"] in best[name] else "")
                    for name in metrics
                ]
                rows.append((system["name"], cells))
        yield group, [_heading(result["metrics"][name]) for name in metrics], rows


def best_of(systems: Sequence[System], metric: str, better: str) -> set[str]:
    """Return the names of the best systems and anchors; none where the measure has no better or all are equal."""
    means: dict[str, float] = {
        system["name"]: system["summary"][metric]["mean"]
        for system in systems
        if system["kind"] in ("system", "baseline") and system["summary"].get(metric, {}).get("mean") is not None
    }
    if better == "closer to truth":
        true = next((s["summary"].get(metric, {}).get("mean") for s in systems if s["kind"] == "truth"), None)
        means = {} if true is None else {name: -abs(value - true) for name, value in means.items()}
    elif better == "lower":
        means = {name: -value for name, value in means.items()}
    elif better != "higher":
        return set()
    best = {name for name, value in means.items() if value >= max(means.values()) - TIE}
    return best if len(best) < len(means) else set()


def _title(direction: Mapping[str, Any]) -> str:
    return f"{direction['source']} to {direction['target']}"


def _counts(direction: Mapping[str, Any]) -> str:
    clips = {clip["clip"]: clip["recording"] for system in direction["systems"] for clip in system["clips"]}
    recordings = len(set(clips.values()))
    return f"{_many(len(clips), 'clip')} of {_many(recordings, 'recording')}"


def _many(count: int, name: str) -> str:
    return f"{count} {name}" + ("" if count == 1 else "s")


def _heading(meta: Mapping[str, str]) -> str:
    unit = f", {meta['unit']}" if meta["unit"] else ""
    arrow = f" {ARROWS[meta['better']]}" if meta["better"] in ARROWS else ""
    return f"{meta['label']}{unit}{arrow}"


def _with_interval(figures: Mapping[str, float | None] | None) -> str:
    if figures is None or figures["mean"] is None:
        return "-"
    text = number(figures["mean"])
    low, high = figures["low"], figures["high"]
    return text if low is None or high is None or low == high else f"{text} [{number(low)}, {number(high)}]"


def _with_half_width(figures: Mapping[str, float | None] | None) -> str:
    if figures is None or figures["mean"] is None:
        return "-"
    text = number(figures["mean"])
    low, high = figures["low"], figures["high"]
    return text if low is None or high is None or low == high else f"{text} ±{number((high - low) / 2)}"


def _fitting(header: list[str], rows: list[tuple[str, list[str]]], width: int) -> Iterator[tuple[int, int]]:
    """Yield first and last + 1 of the columns that fit beside the names."""
    names = max(len(name) for name, _ in rows)
    first, used = 0, names
    for column, title in enumerate(header):
        wide = max(*(_wide(cells[column]) for _, cells in rows), *(_wide(line) for line in _two_lines(title))) + 2
        if column > first and used + wide > width:
            yield first, column
            first, used = column, names
        used += wide
    yield first, len(header)


def _aligned(group: str, header: list[str], rows: list[tuple[str, list[str]]]) -> list[str]:
    titles = [_two_lines(title) for title in header]
    names = max(len(group), *(len(name) for name, _ in rows))
    table = [("", [title[0] for title in titles]), (group.upper(), [title[1] for title in titles]), *rows]
    widths = [max(_wide(cells[column]) for _, cells in table) for column in range(len(header))]
    return [
        (
            name.ljust(names) + "".join("  " + _right(cell, width) for cell, width in zip(cells, widths, strict=True))
        ).rstrip()
        for name, cells in table
    ]


def _two_lines(title: str) -> tuple[str, str]:
    """Break a title at the blank nearest to its middle."""
    blanks = [place for place, letter in enumerate(title) if letter == " "]
    if not blanks:
        return "", title
    cut = min(blanks, key=lambda place: abs(place - len(title) / 2))
    return title[:cut], title[cut + 1 :]


def _wide(text: str) -> int:
    return sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text)


def _right(text: str, width: int) -> str:
    return " " * (width - _wide(text)) + text
