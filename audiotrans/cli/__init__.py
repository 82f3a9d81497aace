"""The ``audiotrans`` command: every command parses, calls one function and prints."""

from __future__ import annotations

import click

from audiotrans import __version__
from audiotrans.cli import classifier as classifier
from audiotrans.cli import compare, convert, cycle, evaluate, plot, report, train
from audiotrans.cli.errors import OneLineErrors, renamed_command


@click.group(
    cls=OneLineErrors,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="audiotrans")
@click.pass_context
def main(context: click.Context) -> None:
    """Translate between two kinds of sound, learned from unpaired examples: violin to piano and back."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


COMMANDS = (
    compare.compare,
    convert.convert,
    convert.models,
    cycle.cycle,
    plot.plot,
    train.prep,
    train.train,
    train.recipe,
    train.export_weights,
    report.report,
    classifier.train_classifier,
    renamed_command("pack", "prep"),
    renamed_command("train-judge", "train-classifier"),
    evaluate.evaluate,
)
for command in COMMANDS:
    main.add_command(command)
