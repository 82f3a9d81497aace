"""``audiotrans plot``: figures of sounds, cycles and training runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

PATH = click.Path(path_type=Path)


def _figure(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of every figure."""
    command = click.option("--force", is_flag=True, help="Overwrite a figure that exists.")(command)
    return click.option("-o", "--output", type=PATH, required=True, help="Figure to write, .png or .svg.")(command)


def _piece(seconds: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options of figures that show a piece of a sound."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        length = click.option(
            "--seconds", default=seconds, show_default=True, help="How much to draw; less where the sound ends."
        )
        start = click.option("--start", "start_seconds", default=0.0, show_default=True, help="Where to begin, in s.")
        return start(length(command))

    return add


_axis = click.option("--axis", "scale", default="log", show_default=True, help="Frequency axis: log, mel or linear.")


@click.group(no_args_is_help=False)
def plot() -> None:
    """Draw sounds, cycles and training runs as figures."""


@plot.command("figure8")
@click.argument("folder", type=PATH, metavar="CYCLE")
@click.option("--clip", "clips", multiple=True, help="Clip to show, one per domain.  [default: the first that fits]")
@_piece(6.0)
@_axis
@_figure
def figure8(folder: Path, output: Path, force: bool, **options: Any) -> None:
    """Draw magnitudes and phases of a folder that audiotrans cycle wrote, as the paper's Figure 8."""
    from audiotrans.evaluation import plots

    click.echo(str(plots.figure8(folder, plots.check_output(output, force=force), **options)))


@plot.command("figure9")
@click.argument("sound", type=PATH)
@_piece(3.0)
@click.option("--channel", default=1, show_default=True, help="Which channel, from 1.")
@click.option("--bare", is_flag=True, help="Only the 8-bit pixels, one per bin and frame, without axes.")
@_figure
def figure9(sound: Path, output: Path, force: bool, **options: Any) -> None:
    """Draw the phase of a sound as an 8-bit image, as the paper's Figure 9."""
    from audiotrans.evaluation import plots

    click.echo(str(plots.figure9(sound, plots.check_output(output, force=force), **options)))


@plot.command("progress")
@click.argument("run", type=PATH)
@_axis
@_figure
def progress(run: Path, output: Path, force: bool, scale: str) -> None:
    """Draw how a training run went: its log by domain, and its samples over the steps."""
    from audiotrans.evaluation import plots

    click.echo(str(plots.training_progress(run, plots.check_output(output, force=force), scale=scale)))


@plot.command("spectrogram")
@click.argument("sounds", nargs=-1, required=True, metavar="SOUND...")
@click.option("--columns", type=click.IntRange(min=1), help="Panels side by side.  [default: 4 at most]")
@_piece(60.0)
@_axis
@_figure
def spectrogram(sounds: tuple[str, ...], output: Path, force: bool, columns: int | None, **options: Any) -> None:
    """Draw sounds side by side as spectrograms, on one scale of levels."""
    from audiotrans.evaluation import plots

    target = plots.check_output(output, force=force)
    click.echo(str(plots.sound_files_figure(sounds, target, columns=columns, **options)))
