"""The document: the template filled in, the style and the script beside it, and the data that the script plays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from audiotrans import __version__
from audiotrans.evaluation.plots import colour_stops
from audiotrans.evaluation.report.assembly import ReadyDirection, ReadyMaterial
from audiotrans.evaluation.report.clips import direction_section
from audiotrans.evaluation.report.content import Material
from audiotrans.evaluation.report.html import Html, join, script_data, tag
from audiotrans.evaluation.report.overview import overview
from audiotrans.evaluation.report.tables import shown_metrics
from audiotrans.evaluation.report.writing import FORMAT, MARKER

SCRIPTS = ("dom.js", "statistics.js", "player.js", "scores.js", "trials.js", "blind.js", "start.js")
"""Parts of the page's one script, in the order in which they use each other."""

_MARK = {"format": FORMAT, "version": 1, "made_with": f"audiotrans {__version__}"}

_SOUNDS = {
    "flac": "FLAC, 16 bits, without loss, with some silence behind so that browsers can seek to the end",
    "ogg": "Ogg Vorbis, about 190 kbit/s for stereo",
    "wav": "WAV, 16 bits, without loss",
    "as-is": "copies of the source files",
}


def write_page(ready: Sequence[ReadyMaterial], folder: Path, title: str, sound_format: str) -> None:
    """Write the page around its sounds and pictures.

    Args:
        ready: what the page shows.
        folder: of the page.
        title: of the page.
        sound_format: what the sounds were written as.
    """
    data = page_data(ready, title)
    directions = [each for material in ready for each in material.directions]
    filled = Template(_asset("page.html")).substitute(
        title=tag("title", title),
        heading=tag("h1", title),
        links=_links(ready),
        bar=f"linear-gradient(to left, {', '.join(colour_stops())})",
        overview=join(*(overview(each, _heading(each, ready)) for each in ready)),
        clips=join(*map(direction_section, directions)),
        sounds=join(_SOUNDS[sound_format]),
        version=join(__version__),
        data=script_data(data),
    )
    texts = {
        "index.html": filled,
        "page.css": _asset("page.css"),
        "page.js": _script(),
        "icon.svg": _asset("icon.svg"),
        MARKER: json.dumps(_MARK | data, indent=1),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


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
                    "scores": [take.take.scores.get(metric.key) for metric in metrics],
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
        "metrics": [{"label": each.label, "unit": each.unit, "group": each.group} for each in metrics],
        "clips": clips,
    }


def _heading(each: ReadyMaterial, ready: Sequence[ReadyMaterial]) -> str:
    """Name a source's part; a page of one source carries its name already."""
    return each.material.heading if len(ready) > 1 else "Overview"


def _links(ready: Sequence[ReadyMaterial]) -> Html:
    parts = [(each.key, _heading(each, ready)) for each in ready]
    parts += [(each.key, each.direction.heading) for material in ready for each in material.directions if each.clips]
    return join(*(piece for key, name in parts for piece in (tag("a", name, href=f"#{key}"), " ")))


def _script() -> str:
    parts = "\n".join(_asset(name) for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def _asset(name: str) -> str:
    return (files("audiotrans.evaluation.report") / "assets" / name).read_text(encoding="utf-8")
