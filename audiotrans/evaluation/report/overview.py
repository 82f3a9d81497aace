"""The upper part of the page: what was judged, the tables, the verdicts, and what the words mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from audiotrans.evaluation.report.assembly import ReadyMaterial
from audiotrans.evaluation.report.content import Direction, Material
from audiotrans.evaluation.report.html import Html, join, tag
from audiotrans.evaluation.report.tables import badge, marks_note, shown_metrics, summary_tables


def overview(ready: ReadyMaterial, heading: str) -> Html:
    """Build the overview of one source, under a heading."""
    material = ready.material
    return tag(
        "section",
        tag("h2", heading),
        _facts(material),
        _list("Warnings", _warnings(material), "warnings"),
        _list("Verdicts", material.verdicts, "verdicts"),
        *(_table(each.direction, material, each.key) for each in ready.directions),
        _legend(material),
        *_figures(ready.figures),
        class_="overview",
        id=ready.key,
    )


def _facts(material: Material) -> Html:
    facts = (("source", material.what), *material.facts)
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts), class_="facts")


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


def _list(heading: str, lines: Sequence[str], kind: str) -> Html:
    if not lines:
        return Html("")
    return tag("div", tag("h3", heading), tag("ul", *(tag("li", line) for line in lines)), class_=kind)


def _table(direction: Direction, material: Material, key: str) -> Html:
    table = summary_tables(direction, material.metrics)
    if not table:
        return Html("")
    heading = tag("h3", tag("a", direction.heading, href=f"#{key}"))
    return join(heading, table, tag("p", marks_note(direction), class_="note"))


def _legend(material: Material) -> Html:
    """Explain the rows and the columns in text: a tooltip alone reaches neither fingers nor keyboards."""
    systems = {each.name: each for direction in material.directions for each in direction.systems if each.about}
    values = [each.summary for direction in material.directions for each in direction.systems]
    scores = [take.scores for direction in material.directions for clip in direction.clips for take in clip.takes]
    metrics = [each for each in shown_metrics(material.metrics, [*values, *scores]) if each.about]
    if not systems and not metrics:
        return Html("")
    rows = _terms((join(each.name, " ", badge(each.kind, each.name)), each.about) for each in systems.values())
    columns = _terms((each.label, each.about) for each in metrics)
    return tag("details", tag("summary", "What the rows and the columns mean"), rows, columns, class_="legend")


def _terms(terms: Iterable[tuple[str, str]]) -> Html:
    pieces = [tag("div", tag("dt", name), tag("dd", about)) for name, about in terms]
    return tag("dl", *pieces) if pieces else Html("")


def _figures(figures: Sequence[tuple[str, str]]) -> list[Html]:
    return [
        tag(
            "figure",
            tag("a", tag("img", src=path, alt=caption, loading="lazy", decoding="async"), href=path),
            tag("figcaption", caption),
        )
        for caption, path in figures
    ]
