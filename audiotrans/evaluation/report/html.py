"""Building HTML so that text is always escaped: only what is marked as HTML goes in as it is."""

from __future__ import annotations

import json
from html import escape
from typing import Any

_VOID = frozenset({"img", "input", "br", "meta", "link"})


class Html(str):
    """Text that is HTML already. Every other string is taken for plain text, whoever wrote it."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: str | int | bool | None) -> Html:
    """Build an element.

    Args:
        name: of the element.
        children: its content; plain strings are escaped.
        attributes: values are escaped; None and False leave one out, True gives one without a value. A trailing
            underscore is dropped (``class_``), others become hyphens (``aria_label``).

    Returns:
        The element.
    """
    given = "".join(map(_attribute, attributes, attributes.values()))
    if name in _VOID:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{join(*children)}</{name}>")


def join(*children: str) -> Html:
    """Put pieces behind each other; plain strings are escaped."""
    return Html("".join(each if isinstance(each, Html) else escape(each) for each in children))


def script_data(value: Any) -> Html:
    """Write a value as JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Html(text)


def _attribute(key: str, value: str | int | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
