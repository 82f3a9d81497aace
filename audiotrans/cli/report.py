"""``audiotrans report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("sources", nargs=-1, required=True, type=PATH, metavar="SOURCE...")
@click.option("-o", "--output", type=PATH, required=True, help="Folder of the page to make.")
@click.option("--title", help="Title of the page.  [default: the sources' names]")
@click.option("--format", "sound_format", default="flac", show_default=True, help="Sounds: flac, ogg, wav or as-is.")
@click.option("--force", is_flag=True, help="Replace a page that exists; nothing else is ever replaced.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
def report(sources: tuple[Path, ...], output: Path, quiet: bool, **options: Any) -> None:
    """Make a listening page of what evaluate, cycle or train wrote, or of any folder of sounds."""
    from audiotrans.evaluation.report import build_report

    click.echo(str(build_report(sources, output, progress=not quiet, **options)))
