"""``audiotrans convert`` and ``audiotrans models``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from audiotrans.cli.stream import ConvertCommand, asked_of, convert_stream, split_options, stream_options
from audiotrans.errors import AudiotransError

if TYPE_CHECKING:
    from audiotrans.convert.batch import Failure
    from audiotrans.convert.files import Written
    from audiotrans.convert.photos import WrittenPhoto


@click.command(cls=ConvertCommand)
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option("--to", required=True, help="Domain to translate to, such as piano.")
@click.option("--from", "source", help="Domain of the input.  [default: the model's other domain]")
@click.option("-o", "--output", help="A file for one input, a folder for several.  [default: beside the input]")
@click.option("--model", default="violin-piano", show_default=True, help="A shipped model's name, or a weights file.")
@click.option(
    "--phase",
    help="auto, source, pghi_refined, pghi, rtpghi, fast_griffin_lim, griffin_lim, network.  [default: the model's]",
)
@click.option("--strength", default=100.0, show_default=True, help="0 (the input) to 100; decibels between.")
@click.option("--articulation", type=float, help="How clearly notes begin, 0 to 4.  [default: the model's]")
@click.option(
    "--shifts", type=int, help="Translations averaged, 1 (fastest) to 8.  [default: the model's, 1 with --stream]"
)
@click.option(
    "--vibrato", type=float, metavar="CENTS", help="How far lasting notes swing, 0 to 100.  [default: the model's]"
)
@click.option(
    "--remove-vibrato",
    type=float,
    metavar="PERCENT",
    help="How much of the input's vibrato is taken out, 0 to 100.  [default: the model's, 0 with --stream]",
)
@click.option(
    "--tilt", type=float, metavar="DB", help="Darker (-6) to brighter (6), per octave.  [default: the model's]"
)
@click.option("--samples", default=1, show_default=True, help="Draws, with seeds S, S+1, ...: alike but for vibrato.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same bytes.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--threads", type=int, help="CPU threads to use.  [default: all cores]")
@click.option("--force", is_flag=True, help="Overwrite outputs that exist.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar, and no line per file.")
@stream_options
def convert(inputs: tuple[str, ...], **options: Any) -> None:
    """Translate sound files or, with a model of pictures, photos; folders and patterns work too.

    Photos keep their size and proportions. A model of faces works best on portraits: one face, upright, eyes at about
    half the height and a fifth of the width apart; cut larger pictures to that first.

    With --stream: translate what flows through a pipe.
    """
    stream, given = split_options(options)
    if stream:
        convert_stream(inputs, given, **options)
        return
    if not inputs:
        raise click.UsageError("Missing argument 'INPUT...'.", click.get_current_context())
    jobs, outcomes = _convert(inputs, **options)
    failures = 0
    for outcome in outcomes:
        failures += outcome.failed
        for line in outcome.warnings:
            click.echo(f"audiotrans: warning: {line}", err=True)
        if outcome.failed or not options["quiet"]:
            click.echo(str(outcome), err=outcome.failed)
    if failures:
        raise AudiotransError(f"{failures} of {jobs} inputs could not be converted: see above")


def _convert(
    inputs: tuple[str, ...], *, output: str | None, to: str, source: str | None, **options: Any
) -> tuple[int, Iterator[Written | WrittenPhoto | Failure]]:
    from functools import partial

    from audiotrans.cli.memory import keep_freed_memory
    from audiotrans.convert import batch, models
    from audiotrans.convert.progress import sound_bar
    from audiotrans.weights import is_photo_model

    keep_freed_memory()
    force = options["force"]
    photos = is_photo_model(options["model"])
    jobs = batch.plan_jobs(inputs, output, to, options["samples"], force=force, photos=photos)
    models.use_threads(options["threads"])
    converter = (models.load_photo if photos else models.load)(options["model"], device=options["device"])
    request = asked_of(converter, to, source, options)
    bar = partial(sound_bar, quiet=options["quiet"])
    return len(jobs), batch.run_jobs(converter, jobs, request, force=force, bar=bar)


@click.command()
def models() -> None:
    """List the shipped models."""
    from audiotrans.weights import list_models

    entries = list_models()
    for entry in entries:
        click.echo(str(entry))
    if not entries:
        raise AudiotransError("no model is shipped with this installation: give convert a file with --model")
