"""``audiotrans info``, ``models`` and ``doctor``: what is here, as lines or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from audiotrans.cli.parameters import Words
from audiotrans.errors import AudiotransError

as_json = click.option("--json", "in_json", is_flag=True, help="Print JSON, for programs.")


@click.command()
@click.argument("things", nargs=-1, required=True, type=Words("thing", files=True), metavar="FILE|MODEL|RUN|CACHE...")
@as_json
def info(things: tuple[str, ...], in_json: bool) -> None:
    """Tell what sounds, photos, models, checkpoints, runs and prepared caches hold."""
    from audiotrans.facts import facts_of

    found, failures = [], 0
    for name in things:
        try:
            found.append(facts_of(name))
        except AudiotransError as error:
            if len(things) == 1:
                raise
            click.echo(f"audiotrans: error: {error}", err=True)
            failures += 1
    if in_json:
        click.echo(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        click.echo("\n\n".join("\n".join(_lines(facts)) for facts in found))
    if failures:
        raise AudiotransError(f"{failures} of {len(things)} could not be told: see above")


@click.command()
@as_json
def models(in_json: bool) -> None:
    """List the shipped models."""
    from audiotrans.weights import list_models

    entries = list_models()
    if in_json:
        click.echo(json.dumps([entry.facts() for entry in entries], indent=1, ensure_ascii=False))
    for entry in () if in_json else entries:
        click.echo(str(entry))
    if not entries:
        raise AudiotransError("no model is shipped with this installation: give convert a file with --model")


@click.command()
@as_json
def doctor(in_json: bool) -> None:
    """Try this installation: libraries, devices, formats, models, and what is missing and how to get it.

    The exit code is 1 where something does not work that should.
    """
    from audiotrans.doctor import examine

    facts = examine()
    if in_json:
        click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
    else:
        click.echo(
            "\n".join(_lines({name: value for name, value in facts.items() if name not in ("faults", "advice")}))
        )
        for line in facts["advice"]:
            click.echo(f"could be added: {line}")
        for line in facts["faults"]:
            click.echo(f"does not work: {line}")
    if facts["faults"]:
        raise AudiotransError(f"{len(facts['faults'])} things do not work: see above")
    if not in_json:
        click.echo("All that is installed works.")


def _lines(facts: dict[str, Any], indent: str = "") -> Iterator[str]:
    """Lay plain values out as lines of names and values."""
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        label = f"{indent}{name}"
        if isinstance(value, dict):
            yield label
            yield from _lines(value, indent + "  ")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else "-" if value is None else str(value)
            yield f"{label:{width + len(indent)}}  {shown}"
