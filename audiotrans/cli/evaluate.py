"""``audiotrans evaluate`` and ``audiotrans train-classifier``."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from audiotrans.cli.parameters import DEVICE, MODEL, worker_options
from audiotrans.errors import UsageError

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("test_set", type=PATH, metavar="TESTSET")
@click.option(
    "--model",
    "models",
    type=MODEL,
    multiple=True,
    help="A shipped model's name, a weights file, or hf:owner/name; may be repeated.",
)
@click.option("--system", "systems", multiple=True, metavar="NAME=FOLDER", help="A folder that someone else converted.")
@click.option(
    "--classifier",
    help="An instrument classifier's name or file.  [default: the shipped one, where it knows the domains]",
)
@click.option("--train", type=PATH, metavar="SOUNDS", help="Real sounds of each domain, for the equaliser.")
@click.option("--from", "source", help="Only this domain's sounds.")
@click.option("--to", "target", help="Only translations to this domain.")
@click.option("--soundfont", type=PATH, metavar="SF2", help="General MIDI bank.  [default: one of the system's]")
@click.option("--seconds", default=10.0, show_default=True, help="Longer files are cut into clips of this length.")
@click.option("--limit", type=int, help="Clips per direction at most, spread over the recordings.")
@click.option("--unpaired", is_flag=True, help="Files of equal names in two domains are not the same notes.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of noise, random clips and the bootstrap: the same seed gives the same figures.",
)
@click.option("--device", type=DEVICE, default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option("--threads", type=int, help="CPU threads to use.  [default: all cores]")
@worker_options("1")
@click.option("-o", "--output", type=PATH, required=True, help="Folder to write.")
@click.option("--force", is_flag=True, help="Replace an evaluation that is there.")
@click.option("--resume", is_flag=True, help="Go on with an evaluation that is there: what was measured is kept.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar and no table.")
def evaluate(test_set: Path, *, output: Path, quiet: bool, **options: Any) -> None:
    """Score models and folders of converted sounds beside baselines; TESTSET has a folder of sounds for each domain."""
    from audiotrans.evaluation.summaries import terminal

    result = _evaluate(test_set, output, quiet=quiet, **options)
    if not quiet:
        click.echo(terminal(result, shutil.get_terminal_size((120, 24)).columns))
        click.echo(f"\nwritten: {output / 'table.md'}, table.csv, evaluation.json and sounds/")


def _evaluate(
    test_set: Path,
    output: Path,
    *,
    quiet: bool,
    force: bool,
    resume: bool,
    threads: int | None,
    workers: int | None,
    ray: str | None,
    systems: tuple[str, ...],
    **rest: Any,
) -> dict[str, Any]:
    from audiotrans.evaluation.evaluator import Options
    from audiotrans.evaluation.evaluator import evaluate as run
    from audiotrans.evaluation.testset import Selection
    from audiotrans.processes import use_threads

    use_threads(threads)
    chosen = {name: rest.pop(name) for name in ("source", "target", "seconds", "limit", "unpaired")}
    options = Options(test_set, systems=_named(systems), selection=Selection(**chosen), **rest)
    with _bar(quiet) as progress:
        how: dict[str, Any] = {"threads": threads, "workers": workers, "ray": ray}
        return run(options, output, force=force, resume=resume, progress=progress, **how)


def _named(systems: tuple[str, ...]) -> tuple[tuple[str, Path], ...]:
    found = []
    for text in systems:
        name, equals, folder = text.partition("=")
        if not equals or not name.strip() or not folder:
            raise UsageError(f"--system {text!r}: write NAME=FOLDER, such as others=converted/")
        found.append((name.strip(), Path(folder).expanduser()))
    return tuple(found)


@contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[int, int, str], None] | None]:
    """Show on stderr how many outputs are done and how long the rest will take."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(total=0, unit="output", file=sys.stderr, leave=False) as bar:

        def tick(done: int, total: int, label: str) -> None:
            bar.total = total
            bar.set_description(label[:40])
            bar.update(done - bar.n)

        yield tick


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
