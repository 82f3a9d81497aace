"""``audiotrans serve``."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

import click

PORT = click.IntRange(0, 65535)
EXAMPLE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


@click.command()
@click.option("--model", "models", multiple=True, help="A shipped model's name, or a weights file; may be repeated.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0 lets others in.")
@click.option("--port", default=7860, type=PORT, show_default=True, help="Port to listen at; 0 takes a free one.")
@click.option("--example", "examples", multiple=True, type=EXAMPLE, help="A sound or photo to try, offered.")
@click.option("--minutes", default=30.0, show_default=True, help="Longest sound that is taken.")
@click.option("--megabytes", default=300.0, show_default=True, help="Largest file that is taken.")
@click.option("--waiting", default=20, show_default=True, help="Jobs that may run or wait.")
@click.option("--keep", default=60.0, show_default=True, help="Minutes until uploads and results are deleted.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--threads", type=int, help="CPU threads to use.  [default: all cores]")
@click.option("--open", "open_browser", is_flag=True, help="Open the page in your browser.")
def serve(models: tuple[str, ...], examples: tuple[Path, ...], threads: int | None, **options: Any) -> None:
    """Convert in the browser: a page on this computer to drop, record, listen and download; ends with Ctrl-C."""
    from audiotrans.processes import use_threads
    from audiotrans.web.server import serving
    from audiotrans.web.work import Limits

    use_threads(threads)
    kept = options.pop("keep")
    limits = Limits(**{name: options.pop(name) for name in ("minutes", "megabytes", "waiting")}, keep_minutes=kept)
    with serving(models or ("violin-piano",), examples=examples, limits=limits, **options) as address:
        click.echo(f"The page is at {address} (Ctrl-C ends it)")
        with contextlib.suppress(KeyboardInterrupt):  # the way to end it
            threading.Event().wait()
