"""The ``audiotrans`` command: every command parses, calls one function and prints."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audiotrans import __version__
from audiotrans.errors import AudiotransError

if TYPE_CHECKING:
    from audiotrans.training.recipe import Recipe
    from audiotrans.translation.batch import Failure
    from audiotrans.translation.files import Written
    from audiotrans.translation.samples import OnSample

PATH = click.Path(path_type=Path)
INTERRUPTED = 130


class OneLineErrors(click.Group):
    """Turns every mistake of a user into one line on stderr and an exit code: 2 usage, 1 data, 130 interrupted."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line and exit."""
        kwargs["standalone_mode"] = False
        try:
            code = super().main(*args, **kwargs)
        except AudiotransError as error:
            _fail(str(error), error.exit_code)
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            hint = f" See {context.command_path} --help." if context else ""
            _fail(error.format_message() + hint, error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            _fail("interrupted", INTERRUPTED)
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and "memory" not in str(error):
                raise
            _fail("not enough memory: use a smaller batch, shorter crops, a smaller model or another device", 1)
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of our output, such as head, has seen enough
                sys.exit(1)
            _fail(f"{error.filename or 'system'}: {error.strerror or error}", 1)
        sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> None:
    click.echo(f"audiotrans: error: {' '.join(message.split())}", err=True)
    sys.exit(code)


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


@main.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--to", required=True, help="Domain to translate to, such as piano.")
@click.option("--from", "source", help="Domain of the input.  [default: the model's other domain]")
@click.option("-o", "--output", help="A file for one input, a folder for several.  [default: beside the input]")
@click.option("--model", default="violin-piano", show_default=True, help="A shipped model's name, or a weights file.")
@click.option("--phase", help="auto, source, griffin_lim or network.  [default: the model's own]")
@click.option("--strength", default=100.0, show_default=True, help="0 (the input) to 100 (the whole translation).")
@click.option("--samples", default=1, show_default=True, help="Draws per input, with seeds S, S+1, ...")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same bytes.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--threads", type=int, help="CPU threads to use.  [default: all cores]")
@click.option("--force", is_flag=True, help="Overwrite outputs that exist.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar, and no line per file.")
def convert(inputs: tuple[str, ...], **options: Any) -> None:
    """Translate sound files; folders and patterns work too."""
    jobs, outcomes = _convert(inputs, **options)
    failures = 0
    for outcome in outcomes:
        failures += outcome.failed
        if outcome.failed or not options["quiet"]:
            click.echo(str(outcome), err=outcome.failed)
    if failures:
        raise AudiotransError(f"{failures} of {jobs} inputs could not be converted: see above")


def _convert(
    inputs: tuple[str, ...], *, output: str | None, to: str, source: str | None, **options: Any
) -> tuple[int, Iterator[Written | Failure]]:
    from functools import partial

    from audiotrans.translation import batch, models
    from audiotrans.translation.progress import sound_bar

    force = options["force"]
    jobs = batch.plan_jobs(inputs, output, to, options["samples"], force=force)
    models.use_threads(options["threads"])
    converter = models.load(options["model"], device=options["device"])
    request = converter.request(to, source, options["strength"], options["phase"], options["seed"])
    bar = partial(sound_bar, quiet=options["quiet"])
    return len(jobs), batch.run_jobs(converter, jobs, request, force=force, bar=bar)


@main.command()
def models() -> None:
    """List the shipped models."""
    from audiotrans.translation.models import list_models

    entries = list_models()
    for entry in entries:
        click.echo(str(entry))
    if not entries:
        raise AudiotransError("no model is shipped with this installation: give convert a file with --model")


@main.command()
@click.argument("source", type=PATH)
@click.option("--a", help="First domain: a folder of SOURCE, an IRMAS class, or NAME=PATH.  [default: the recipe's]")
@click.option("--b", help="Second domain, likewise.  [default: the recipe's]")
@click.option("-o", "--output", type=PATH, help="Cache to make.  [default: the recipe's, else ./cache]")
@click.option("--recipe", "recipe_path", type=PATH, help="Make the images that this recipe needs.")
@click.option("--valid-fraction", default=0.1, show_default=True, help="Share of the recordings that is held out.")
@click.option("--seed", default=0, show_default=True, help="Decides which recordings are held out.")
@click.option("--workers", type=int, help="Processes.  [default: by cores and files]")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
def prep(source: Path, **options: Any) -> None:
    """Check sounds and write the cache that training reads; SOURCE is IRMAS or a folder with one folder per domain."""
    click.echo(str(_prep(source, **options)))


def _prep(
    source: Path,
    *,
    a: str | None,
    b: str | None,
    output: Path | None,
    recipe_path: Path | None,
    quiet: bool,
    **rest: Any,
) -> object:
    from audiotrans.training.prepare import prepare
    from audiotrans.training.recipe import Recipe, load_recipe

    wanted = Recipe() if recipe_path is None else load_recipe(recipe_path)
    first, second = a or wanted.domains.a, b or wanted.domains.b
    target, crop = output or Path(wanted.cache), wanted.train.crop_frames
    rest |= {"settings": wanted.imaging, "crop_frames": crop, "progress": not quiet}
    return prepare(source, target, a=first, b=second, **rest)


@main.command()
@click.argument("recipe_path", type=PATH, metavar="RECIPE")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting; may be repeated.")
@click.option("--resume", is_flag=True, help="Go on from the run's last checkpoint.")
@click.option("--cache", type=PATH, help="Prepared data.  [default: the recipe's]")
@click.option("--run", "run_dir", type=PATH, help="Folder of the run.  [default: runs/ and the recipe's name]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--threads", type=int, help="CPU threads to use.  [default: all cores]")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
def train(recipe_path: Path, overrides: tuple[str, ...], run_dir: Path | None, **options: Any) -> None:
    """Train a model from a recipe and a prepared cache."""
    from audiotrans.training.recipe import load_recipe

    # The option wins over the recipe, which would set them again.
    threads = () if options["threads"] is None else (f"train.threads={options['threads']}",)
    recipe = load_recipe(recipe_path, (*overrides, *threads))
    click.echo(f"last checkpoint: {_train(recipe, run_dir or Path('runs') / recipe_path.stem, **options)}")


def _train(
    recipe: Recipe, run_dir: Path, *, cache: Path | None, device: str, threads: int | None, resume: bool, quiet: bool
) -> Path:
    from audiotrans.training.engine import train
    from audiotrans.translation.models import choose_device, use_threads

    use_threads(threads)
    data, target = cache or Path(recipe.cache), choose_device(device)
    on_sample = _sample_writer(recipe, data, target)
    return train(recipe, data, run_dir, device=str(target), resume=resume, on_sample=on_sample, progress=not quiet)


def _sample_writer(recipe: Recipe, cache: Path, device: Any) -> OnSample | None:
    """Build the writer of sample sheets here: the drawing lies in a layer above translation."""
    try:
        from audiotrans.evaluation.plots import sample_sheet
        from audiotrans.translation.samples import sample_writer
    except ImportError as error:  # a bare training machine needs neither pictures nor sound files
        click.echo(f"no sample sheets: {error.name} is not installed", err=True)
        return None
    return sample_writer(recipe, cache, device, sample_sheet)


@main.group(no_args_is_help=False)
def recipe() -> None:
    """Look at recipes."""


@recipe.command("show")
@click.argument("recipe_path", type=PATH, metavar="RECIPE")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting; may be repeated.")
def recipe_show(recipe_path: Path, overrides: tuple[str, ...]) -> None:
    """Print a recipe with every default filled in."""
    from audiotrans.training.recipe import dump_recipe, load_recipe

    click.echo(dump_recipe(load_recipe(recipe_path, overrides)), nl=False)


@main.command("export-weights")
@click.argument("run", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, help="Weights file to write (.safetensors).")
@click.option("--summary", default="", help="One line for the model's card.")
@click.option("--half", is_flag=True, help="Store float16: half the size, no audible difference.")
@click.option("--force", is_flag=True, help="Overwrite an output that exists.")
def export_weights(run: Path, output: Path, **options: Any) -> None:
    """Write the averaged weights of a run as a model for convert."""
    from audiotrans.translation.models import export_run

    click.echo(str(export_run(run, output, **options)))


if __name__ == "__main__":
    main()
