"""``audiotrans cycle``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audiotrans.cli.convert import conversion_options
from audiotrans.cli.parameters import DEVICE, FILES, MODEL, worker_options
from audiotrans.errors import AudiotransError, printable

if TYPE_CHECKING:
    from audiotrans.evaluation.cycles import Summary

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=FILES, metavar="INPUT...")
@click.option("-o", "--output", type=PATH, required=True, help="Folder of sounds and scores.")
@click.option(
    "--model", type=MODEL, help="A shipped model's name, a weights file, or hf:owner/name.  [default: violin-piano]"
)
@click.option(
    "--chain",
    "chains",
    multiple=True,
    metavar="A,B,...",
    help="Domains to go through, such as violin,piano,violin or V,P,V; may be repeated.  [default: the paper's six]",
)
@click.option("--from", "source", help="Domain of inputs that lie in no folder named as one.")
@click.option("--recipe", "recipe_path", type=PATH, help="Take model, chains and options from a YAML file.")
@click.option("--scores", help="all, fast (without pitch) or none.  [default: all]")
@conversion_options("to", "source")
@click.option("--device", type=DEVICE, default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option("--threads", type=int, help="CPU threads in all.  [default: all cores]")
@worker_options("by cores and clips")
@click.option("--force", is_flag=True, help="Start over where OUTPUT holds results of another model or other options.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar, and no table.")
def cycle(inputs: tuple[str, ...], quiet: bool, **options: Any) -> None:
    """Take sounds through chains of translations (V->V, V->P, V->P->V, ...) and score what comes out.

    A folder with a sub-folder for each domain gives every file its domain. An interrupted run goes on when it is
    started again.
    """
    summary = _cycle(inputs, progress=not quiet, **options)
    for line in summary.warnings:
        click.echo(f"audiotrans: warning: {printable(line)}", err=True)
    for failed in summary.failures:
        click.echo(f"audiotrans: error: {printable(str(failed.error))}", err=True)
    if not quiet:
        click.echo(str(summary))
    if summary.failures:
        clips = summary.done + summary.kept + len(summary.failures)
        raise AudiotransError(f"{len(summary.failures)} of {clips} inputs could not be translated: see above")


def _cycle(
    inputs: tuple[str, ...],
    *,
    output: Path,
    recipe_path: Path | None,
    device: str,
    threads: int | None,
    workers: int | None,
    ray: str | None,
    force: bool,
    progress: bool,
    **given: Any,
) -> Summary:
    from audiotrans.evaluation.cycle_inputs import load_cycle_recipe
    from audiotrans.evaluation.cycles import run_cycles

    recipe = load_cycle_recipe(recipe_path, given)
    running: dict[str, Any] = {"device": device, "threads": threads, "workers": workers, "ray": ray, "force": force}
    return run_cycles(inputs, output, recipe, progress=progress, **running)
