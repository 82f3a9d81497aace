"""What the documents say holds: links lead somewhere, and commands have the options that they are given."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from audiotrans.cli import main

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("*.md", "docs/*.md", "data/*.md", "recipes/*.md", "audiotrans/weights/**/*.md")
PAGES = sorted(page for place in PLACES for page in ROOT.glob(place))
LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")


def anchors(page: Path) -> set[str]:
    """Return the names that headings can be linked by, as GitHub makes them."""
    heads = re.findall(r"(?m)^#{1,6} +(.+?) *$", page.read_text(encoding="utf-8"))
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", head).lower() for head in heads]
    return {re.sub(r"[^\w\- ]", "", head).replace(" ", "-") for head in plain}


def commands(page: Path) -> list[list[str]]:
    """Return the words of each ``audiotrans`` command in a page's blocks of code."""
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```", page.read_text(encoding="utf-8"))
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    found = [re.search(r"(?:^|[|&;] *|python -m )audiotrans +([a-z].*)", line.split(" #")[0]) for line in lines]
    return [shlex.split(match.group(1).split("|")[0]) for match in found if match]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        place = page.parent / target if target else page
        assert place.exists(), f"{target} is not there"
        assert not anchor or place.suffix != ".md" or anchor in anchors(place), f"{target}#{anchor} is not there"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_have_the_options_that_they_are_given(page: Path) -> None:
    for words in commands(page):
        command: click.Command = main
        while isinstance(command, click.Group):
            name = words.pop(0)
            command = command.get_command(click.Context(command), name) or pytest.fail(f"no command {name}")
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for word in words:
            option = word.split("=")[0]
            assert not option.startswith("-") or option in known | {"--help", "-"}, f"{command.name} has no {option}"


def test_the_first_screen_has_a_command_for_all() -> None:
    first = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert 90 <= len(first) <= 140
    assert any(line.startswith("make demo") for line in first[:25])
    assert any(line.startswith("make test") for line in first[:25])
