"""Tables as Markdown, as aligned columns of a terminal and as CSV, and how figures are written in them."""

from __future__ import annotations

import csv
import io
import math
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence

from audiotrans.evaluation.intervals import Interval

ARROWS = {"higher": "↑", "lower": "↓", "closer to truth": "≈"}
"""By the direction that is better; the words are those of `audiotrans.evaluation.scoring.Metric`."""

Rows = Sequence[Sequence[str]]


def number(value: float) -> str:
    """Write a figure for people: three digits, no more than a small test set can carry; a dash for none."""
    if not math.isfinite(value):
        return "-"
    size = abs(value)
    decimals = 0 if size >= 99.95 else 1 if size >= 9.995 else 2 if size >= 0.9995 else 3
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0 else text


def with_interval(figure: Interval) -> str:
    """Write a figure and its interval, where it has one: ``0.936 [0.901, 0.968]``."""
    text = number(figure.mean)
    return f"{text} [{number(figure.low)}, {number(figure.high)}]" if _has_interval(figure) else text


def with_half_width(figure: Interval) -> str:
    """Write a figure and half the width of its interval, where it has one: ``0.936 ±0.034``."""
    text = number(figure.mean)
    return f"{text} ±{number((figure.high - figure.low) / 2)}" if _has_interval(figure) else text


def _has_interval(figure: Interval) -> bool:
    return all(map(math.isfinite, (figure.mean, figure.low, figure.high))) and figure.low != figure.high


def heading(metric: Mapping[str, str]) -> str:
    """Return the title of a metric's column, from what the JSON files say of it: ``decay, dB/s ≈``."""
    unit = f", {metric['unit']}" if metric["unit"] else ""
    arrow = f" {ARROWS[metric['better']]}" if metric["better"] in ARROWS else ""
    return f"{metric['label']}{unit}{arrow}"


def markdown_table(header: Sequence[str], rows: Rows) -> str:
    """Return a Markdown table in aligned columns, without a line break at its end; pipes in cells are escaped."""
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    widths = [_wide(escaped, column) for column in range(len(header))]
    lines = ["| " + " | ".join(map(_left, row, widths)) + " |" for row in escaped]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def aligned_tables(header: Sequence[str], rows: Rows, width: int) -> Iterator[list[str]]:
    """Yield the lines of a table in aligned columns; one after the other, of the columns that fit beside the first.

    Args:
        header: titles, each broken over two lines; that of the first column is written in capitals.
        rows: cells; the first of a row is its name.
        width: of the terminal in characters.
    """
    first, used, names = 1, _wide(rows, 0), _wide(rows, 0)
    for column in range(1, len(header)):
        wide = max(_wide(rows, column), *map(_characters, _two_lines(header[column]))) + 2
        if column > first and used + wide > width:
            yield _aligned(header, rows, range(first, column))
            first, used = column, names
        used += wide
    yield _aligned(header, rows, range(first, len(header)))


def _aligned(header: Sequence[str], rows: Rows, columns: Iterable[int]) -> list[str]:
    chosen = [0, *columns]
    titles = [_two_lines(header[column]) for column in chosen[1:]]
    table = [
        ["", *(first for first, _ in titles)],
        [header[0].upper(), *(second for _, second in titles)],
        *([row[column] for column in chosen] for row in rows),
    ]
    widths = [_wide(table, column) for column in range(len(chosen))]
    return [
        (
            _left(row[0], widths[0])
            + "".join("  " + _right(cell, size) for cell, size in zip(row[1:], widths[1:], strict=True))
        ).rstrip()
        for row in table
    ]


def _two_lines(title: str) -> tuple[str, str]:
    """Break a title at the blank nearest to its middle."""
    blanks = [place for place, letter in enumerate(title) if letter == " "]
    if not blanks:
        return "", title
    cut = min(blanks, key=lambda place: abs(place - len(title) / 2))
    return title[:cut], title[cut + 1 :]


def _wide(rows: Rows, column: int) -> int:
    return max(_characters(row[column]) for row in rows)


def _characters(text: str) -> int:
    return sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text)


def _left(text: str, width: int) -> str:
    return text + " " * (width - _characters(text))


def _right(text: str, width: int) -> str:
    return " " * (width - _characters(text)) + text


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV with a header; None is an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()
