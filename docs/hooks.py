"""Hooks of the documentation site: pages that lie elsewhere in the repository, sounds that play, and the reference.

Pages link to each other, to recipes, cards and source files as they lie in the repository, so that they can be read
there. On the site these links are led to pages of the site.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks, which no wheel has

ELSEWHERE = {
    "recipes/README.md": "recipes.md",
    "data/README.md": "data.md",
    "audiotrans/weights/violin-piano.md": "violin-piano.md",
    "audiotrans/weights/classifiers/violin-piano.md": "classifier.md",
    "audiotrans/weights/evaluation/README.md": "source/evaluation-networks.md",
    "docs/tour.ipynb": "tour.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "CODE_OF_CONDUCT.md": "conduct.md",
    "SECURITY.md": "security.md",
    "README.md": "index.md",
}
"""Files of the repository that are pages of the site under another name."""

LINK = re.compile(r"(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^)\s]+)\)")
SOUNDS = (".mp3", ".wav", ".flac", ".ogg")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".jinja": "html"}

_homes: dict[str, str] = {}
"""Where a page of the site lies in the repository, by its name on the site."""


def on_config(config: Any) -> Any:
    """Make the gallery again where the shipped model is not the one that it is of."""
    from benchmarks import gallery

    folder = ROOT / "docs" / "gallery"
    if not gallery.is_current(folder):
        gallery.make(folder)
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie elsewhere, and every file that a page links to."""
    for place, name in ELSEWHERE.items():
        if place != "README.md":
            _homes[name] = place
            files.append(File.generated(config, name, content=_page(place)))
    homes = {file.src_uri: _homes.get(file.src_uri, f"docs/{file.src_uri}") for file in files.documentation_pages()}
    for name, home in homes.items():
        _homes[name] = home
        text = _page(home)
        for match in LINK.finditer(_without_code(text)):
            place = _resolved(home, match["target"].partition("#")[0])
            if place and not _on_site(place) and (ROOT / place).is_file():
                _add(files, config, place)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to where things are on the site; make links to sounds play; put the reference in its place."""
    home = _homes.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    if home.startswith("source/"):
        return markdown
    parts = re.split(r"(?ms)(^ *```.*?^ *```$|`[^`\n]+`)", markdown)
    parts[::2] = [LINK.sub(lambda match: _led(match, home, page.file.src_uri), part) for part in parts[::2]]
    return re.sub(r"<!-- reference: ([\w.]+) -->", r"::: \1", "".join(parts))


def _led(match: re.Match[str], home: str, page: str) -> str:
    target, hash_mark, anchor = match["target"].partition("#")
    if not target or re.match(r"[a-z]+:", target):
        return match[0]
    place = _resolved(home, target)
    if place is None or not (ROOT / place).exists():
        return match[0]  # mkdocs tells that it is broken
    if (ROOT / place).is_dir():
        return match["text"]
    url = os.path.relpath(_name(place), PurePosixPath(page).parent).replace(os.sep, "/") + hash_mark + anchor
    if place.endswith(SOUNDS):
        return f'{match["text"]} <audio controls preload="none" src="{url}" title="{match["text"]}"></audio>'
    return f"{match['image']}[{match['text']}]({url})"


def _resolved(home: str, target: str) -> str | None:
    """Return a link's target from the root of the repository; None where it leads out of it or to another site."""
    if not target or re.match(r"[a-z]+:", target):
        return None
    place = os.path.normpath(PurePosixPath(home).parent / target).replace(os.sep, "/")
    return None if place.startswith("..") else place


def _on_site(place: str) -> bool:
    return place in ELSEWHERE or place.startswith("docs/")


def _name(place: str) -> str:
    """Return what a file of the repository is called on the site."""
    if place in ELSEWHERE:
        return ELSEWHERE[place]
    if place.startswith("docs/"):
        return place.removeprefix("docs/")
    return f"source/{place}" + ("" if place.endswith(SOUNDS) else ".md")


def _add(files: Files, config: Any, place: str) -> None:
    name = _name(place)
    if files.get_file_from_path(name) is not None:
        return
    if place.endswith(SOUNDS):
        files.append(File.generated(config, name, abs_src_path=str(ROOT / place)))
        return
    _homes[name] = f"source/{place}"
    text = (ROOT / place).read_text(encoding="utf-8")
    fence = "`" * 4
    language = LANGUAGES.get(Path(place).suffix, "text")
    files.append(File.generated(config, name, content=f"# {place}\n\n{fence}{language}\n{text}\n{fence}\n"))


def _page(home: str) -> str:
    """Return the Markdown of a page, of a notebook's cells for a notebook."""
    text = (ROOT / home).read_text(encoding="utf-8")
    if not home.endswith(".ipynb"):
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join(_cell("".join(cell["source"]), cell["cell_type"]) for cell in cells)


def _cell(text: str, kind: str) -> str:
    return text if kind == "markdown" else f"```python\n{text}\n```"


def _without_code(text: str) -> str:
    return re.sub(r"(?ms)^ *```.*?^ *```$|`[^`\n]+`", "", text)
