"""``audiotrans train-classifier``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from audiotrans.errors import UsageError

PATH = click.Path(path_type=Path)


@click.command("train-classifier")
@click.argument("source", type=PATH, metavar="SOUNDS")
@click.option("-o", "--output", type=PATH, required=True, help="File to write (.safetensors); its card lies beside it.")
@click.option("--a", help="First domain: a folder of SOUNDS, an IRMAS class, or NAME=PATH.")
@click.option("--b", help="Second domain, likewise.")
@click.option("--domains", help="Two or more domains with commas between, instead of --a and --b.  [default: all]")
@click.option("--steps", default=1500, show_default=True, help="Training steps.")
@click.option("--valid-fraction", default=0.1, show_default=True, help="Share of the recordings that is held out.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The same seed gives the same classifier."
)
@click.option("--threads", type=int, help="CPU threads to use.  [default: all cores]")
@click.option("--force", is_flag=True, help="Overwrite an output that exists.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
def train_classifier(source: Path, output: Path, **options: Any) -> None:
    """Train the instrument classifier that evaluate uses, on recordings only: SOUNDS has one folder per domain."""
    click.echo(_train(source, output, **options))


def _train(
    source: Path,
    output: Path,
    *,
    a: str | None,
    b: str | None,
    domains: str | None,
    threads: int | None,
    quiet: bool,
    **rest: Any,
) -> str:
    if domains and (a or b):
        raise UsageError("--domains and --a/--b say the same: give one of them")
    if bool(a) != bool(b):
        raise UsageError("--a and --b go together: give both, or neither for all folders of SOUNDS")
    from audiotrans.evaluation.classifier_training import summary, train_classifier
    from audiotrans.processes import use_threads

    use_threads(threads)
    wanted = [name.strip() for name in domains.split(",")] if domains else [a, b] if a and b else None
    classifier = train_classifier(source, output, domains=wanted, progress=not quiet, **rest)
    left_out = [f"skipped {line}" for line in classifier.card["skipped"]]
    return "\n".join([*left_out, summary(classifier), f"wrote {output} and {output.with_suffix('.md')}"])
