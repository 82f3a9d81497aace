"""``audiotrans pack``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("cache", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, help="Folder to make.")
@click.option("--part-mb", default=15.0, show_default=True, help="Largest file, in MB.")
@click.option("--crop-frames", multiple=True, type=int, help="A further crop length that range matching draws exactly.")
@click.option("--force", is_flag=True, help="Overwrite a packed cache that exists.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
def pack(cache: Path, output: Path, quiet: bool, **options: Any) -> None:
    """Rewrite a prepared cache in 8 bits, in few small files: to train on another machine.

    train, compare and export-weights read the result as they read CACHE.
    """
    from audiotrans.training.packing import pack

    click.echo(str(pack(cache, output, progress=not quiet, **options)))
