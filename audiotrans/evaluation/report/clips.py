"""The lower part of the page: every clip in all its takes, with spectrograms on common axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from audiotrans.evaluation.plots import RANGE_DB, STRIP_HZ, STRIP_ROWS
from audiotrans.evaluation.report.assembly import ReadyClip, ReadyDirection, ReadyTake
from audiotrans.evaluation.report.content import System
from audiotrans.evaluation.report.html import Html, join, tag
from audiotrans.evaluation.report.tables import MINUS, badge

_HERTZ = ((100, "100"), (1_000, "1k"), (10_000, "10k"))
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
_MOST_TICKS = 8
# Filled by the page's script when it is opened: tables for hundreds of clips would make the page slow to open.
_SCORES = tag("details", tag("summary", "Scores of this clip"), class_="clip-scores scripted")
_PICTURE_WIDTH = 800  # what an image that is not loaded yet takes for its shape; the page's style has the last word


def direction_section(ready: ReadyDirection) -> Html:
    """Build the clips of a direction."""
    if not ready.clips:
        return Html("")
    names = [tag("a", clip.name, href=f"#{clip.key}") for clip in ready.clips]
    index = tag("nav", *_spaced(names), class_="jump", aria_label=f"Clips, {ready.direction.heading}")
    systems = {system.name: system for system in ready.direction.systems}
    articles = (_clip(clip, systems) for clip in ready.clips)
    heading = tag("h2", ready.direction.heading, tag("small", _count(len(ready.clips))))
    return tag("section", heading, index if len(names) > 1 else Html(""), *articles, class_="direction", id=ready.key)


def _count(clips: int) -> str:
    return "1 clip" if clips == 1 else f"{clips} clips"


def _spaced(names: Sequence[Html]) -> list[str]:
    return [piece for name in names for piece in (name, " ")]


def _clip(clip: ReadyClip, systems: Mapping[str, System]) -> Html:
    takes = (_take(take, systems[take.take.system], clip, at) for at, take in enumerate(clip.takes))
    scale = join("0 dB ", tag("i", class_="bar", aria_hidden="true"), f" {MINUS}{RANGE_DB:.0f} dB")
    heading = tag("h3", clip.name, tag("small", f"{clip.seconds:.2f} s"))
    scored = any(take.take.scores for take in clip.takes)
    return tag(
        "article",
        tag("header", heading, tag("small", scale, class_="decibels", title="level re the clip's loudest")),
        tag("ol", *takes, class_="takes"),
        _seconds_axis(clip.seconds),
        _SCORES if scored else Html(""),
        class_="clip",
        id=clip.key,
    )


def _take(ready: ReadyTake, system: System, clip: ReadyClip, at: int) -> Html:
    key = tag("kbd", str((at + 1) % 10), aria_hidden="true") if at < 10 else Html("")
    who = tag("span", system.name, class_="who")
    choose = tag(
        "button",
        key,
        who,
        type="button",
        class_="choose",
        aria_pressed="false",
        disabled=ready.sound is None,
        title=system.about or None,
    )
    warnings = (tag("p", warning, class_="warning") for warning in ready.take.warnings)
    about = tag(
        "div",
        choose,
        tag("p", badge(system.kind, system.name), _level(ready), class_="level"),
        *warnings,
        class_="about",
    )
    return tag("li", about, _strip(ready, clip, system.name), class_=f"take kind-{system.kind}", data_take=at)


def _level(ready: ReadyTake) -> str:
    if ready.sound is None:
        return "no sound was kept"
    said = "silent" if ready.loudness is None else f"{ready.loudness:.1f} LUFS".replace("-", MINUS)
    return f"{said}, lowered by {ready.lowered_db:.1f} dB to fit" if ready.lowered_db >= 0.05 else said


def _strip(ready: ReadyTake, clip: ReadyClip, name: str) -> Html:
    if ready.sound is None or ready.picture is None:
        return Html("")
    image = tag(
        "img",
        src=ready.picture,
        alt=f"Spectrogram of {clip.name}, {name}: 0 to {ready.seconds:.2f} s, 50 Hz to 20 kHz",
        width=_PICTURE_WIDTH,
        height=STRIP_ROWS,
        loading="lazy",
        decoding="async",
        style=f"width:{100 * ready.seconds / clip.seconds:.2f}%",
    )
    low, high = STRIP_HZ
    places = ((100 * math.log(hertz / low) / math.log(high / low), label) for hertz, label in _HERTZ)
    ticks = (tag("span", label, style=f"bottom:{place:.1f}%") for place, label in places)
    plain = tag(
        "noscript", tag("audio", src=ready.sound, controls=True, preload="none", aria_label=f"{clip.name}, {name}")
    )
    hertz = tag("div", *ticks, class_="hertz", aria_hidden="true")
    return tag("div", hertz, tag("div", image, class_="strip"), plain, class_="view")


def _seconds_axis(seconds: float) -> Html:
    if seconds <= 0:
        return Html("")
    step = next((step for step in _STEPS if seconds / step <= _MOST_TICKS), seconds)
    marks = [at * step for at in range(math.floor(seconds / step + 1e-9) + 1)]
    ticks = (tag("span", f"{mark:g}" if mark else "0 s", style=f"left:{100 * mark / seconds:.2f}%") for mark in marks)
    return tag("div", tag("div", *ticks, class_="ticks"), class_="seconds", aria_hidden="true")
