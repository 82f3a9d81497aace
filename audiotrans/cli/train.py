"""``audiotrans prep``, ``train``, ``recipe`` and ``export-weights``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from audiotrans.cli.parameters import DEVICE, MODEL, worker_options
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.options import BY_MODEL, flag

if TYPE_CHECKING:
    from audiotrans.model.avb_gtn import AVBGTN
    from audiotrans.recipe import Recipe
    from audiotrans.training.prep import Shard
    from audiotrans.training.run import OnSample
    from audiotrans.training.warm_start import Teach

F = TypeVar("F", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("source", type=PATH)
@click.option("--a", help="First domain: a folder of SOURCE, an IRMAS class, or NAME=PATH.  [default: the recipe's]")
@click.option("--b", help="Second domain, likewise.  [default: the recipe's]")
@click.option("-o", "--output", type=PATH, help="Cache to make.  [default: the recipe's, else ./cache]")
@click.option("--recipe", "recipe_path", type=PATH, help="Make the images that this recipe needs.")
@click.option("--valid-fraction", default=0.1, show_default=True, help="Share of the recordings that is held out.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Decides which recordings are held out."
)
@click.option("--where", multiple=True, metavar="ATTRIBUTE=1|-1", help="CelebA: only such images; may be repeated.")
@click.option(
    "--weight", "weights", multiple=True, metavar="NAME*=NUMBER", help="Draw so many times as often from such files."
)
@click.option("--paired", is_flag=True, help="Files of equal names are the same notes in both domains: pairs.")
@click.option("--shard", metavar="I/N", help="Only the I-th of N equal shares; the run without --shard ends the work.")
@worker_options("by cores and files")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
@click.option("--json", "in_json", is_flag=True, help="Print JSON, for programs.")
def prep(source: Path, *, in_json: bool, **options: Any) -> None:
    """Check sounds or photos and write the cache that training reads.

    SOURCE is IRMAS, CelebA, or a folder with one folder per domain.
    """
    if in_json and options["shard"] is not None:
        raise UsageError("--json tells of the whole cache: leave it out with --shard")
    summary = _prep(source, **options)
    if not in_json:
        click.echo(str(summary))
        return
    from audiotrans.facts import facts_of

    output: Path = summary.output  # type: ignore[attr-defined]
    click.echo(json.dumps(facts_of(str(output)), indent=1, ensure_ascii=False))


def _prep(
    source: Path,
    *,
    a: str | None,
    b: str | None,
    output: Path | None,
    recipe_path: Path | None,
    quiet: bool,
    weights: tuple[str, ...],
    shard: str | None,
    **rest: Any,
) -> object:
    from audiotrans.recipe import load_recipe
    from audiotrans.training.prep import default_recipe, prepare

    wanted = default_recipe(source) if recipe_path is None else load_recipe(recipe_path)
    rest |= {"a": a or wanted.domains.a, "b": b or wanted.domains.b, "progress": not quiet}
    rest |= {"weights": [_weight(text) for text in weights], "shard": None if shard is None else _shard(shard)}
    return prepare(source, output or Path(wanted.cache), wanted, **rest)


def _shard(text: str) -> Shard:
    from audiotrans.training.prep import Shard

    number, _, count = text.partition("/")
    try:
        return Shard(int(number), int(count))
    except ValueError:
        raise UsageError(f"--shard {text!r}: write I/N, such as 1/4 on the first of four machines") from None


def _weight(text: str) -> tuple[str, float]:
    pattern, _, value = text.rpartition("=")
    try:
        weight = float(value)
    except ValueError:
        pattern = ""
    if not pattern:
        raise UsageError(f"--weight {text!r}: write NAME*=NUMBER, such as 'garner*=8'")
    return pattern, weight


@click.command()
@click.argument("recipe_path", type=PATH, metavar="[RECIPE]", required=False)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting; may be repeated.")
@click.option("--resume", is_flag=True, help="Go on from the run's last checkpoint; needs no RECIPE, but --run.")
@click.option("--changed", is_flag=True, help="With --resume: go on with settings or data other than the run's.")
@click.option(
    "--init", type=MODEL, metavar="MODEL", help="Fine-tune: a shipped model's name, a weights file or another run."
)
@click.option("--cache", type=PATH, help="Prepared data.  [default: the recipe's]")
@click.option("--run", "run_dir", type=PATH, help="Folder of the run.  [default: runs/ and the recipe's name]")
@click.option("--device", type=DEVICE, default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option("--threads", type=int, help="CPU threads to use.  [default: all cores]")
@click.option("--max-minutes", type=float, help="Stop after the step in which so much time has passed, and save.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
def train(
    recipe_path: Path | None, overrides: tuple[str, ...], run_dir: Path | None, init: str | None, **options: Any
) -> None:
    """Train a model from a recipe and a prepared cache.

    SIGTERM saves after the step at hand and exits with 0; so does Ctrl-C, with 130. Several GPUs, or machines:
    torchrun --nproc-per-node 8 -m audiotrans train RECIPE ...
    """
    began = time.monotonic()  # to load torch takes time too
    # The option wins over the recipe, which would set them again.
    threads = () if options["threads"] is None else (f"train.threads={options['threads']}",)
    start = () if init is None else (f"init={json.dumps(init)}",)
    recipe, run = _recipe_and_run(recipe_path, run_dir, (*overrides, *threads, *start), options)
    if said := _train(recipe, run, began, **options):
        click.echo(said)


def _recipe_and_run(
    recipe_path: Path | None, run_dir: Path | None, overrides: tuple[str, ...], options: dict[str, Any]
) -> tuple[Recipe, Path]:
    """Return what to train and where: by a recipe, or as a run that goes on was begun."""
    if options["changed"] and not options["resume"]:
        raise UsageError("--changed goes with --resume: a new run has nothing to change")
    if recipe_path is not None:
        from audiotrans.recipe import load_recipe

        return load_recipe(recipe_path, overrides), run_dir or Path("runs") / recipe_path.stem
    if not options["resume"] or run_dir is None:
        raise UsageError("name a recipe, such as recipes/violin_piano.yaml; to go on with a run: --resume --run FOLDER")
    from audiotrans.training.resume import run_recipe

    return run_recipe(run_dir, overrides), run_dir


def _train(
    recipe: Recipe,
    run_dir: Path,
    began: float,
    *,
    cache: Path | None,
    device: str,
    threads: int | None,
    max_minutes: float | None,
    quiet: bool,
    **rest: Any,
) -> str:
    from audiotrans.processes import choose_device, use_threads
    from audiotrans.training.distributed import local_device, writes
    from audiotrans.training.run import train
    from audiotrans.training.stopping import TimeLimit

    use_threads(threads)
    limit, data, target = (
        TimeLimit(max_minutes, began),
        cache or Path(recipe.cache),
        choose_device(local_device(device)),
    )
    rest["on_sample"] = _sample_writer(recipe, data, target) if writes() else None
    rest["teach"] = _teacher(recipe, str(target))
    last = train(recipe, data, run_dir, device=str(target), limit=limit, progress=not quiet, **rest)
    if not writes():
        return ""
    if limit.stopped_at is None:
        return f"last checkpoint: {last}"
    return (
        f"last checkpoint: {last}\nunfinished: stopped at step {limit.stopped_at} of {recipe.train.steps};"
        " give the same command with --resume to go on"
    )


def _teacher(recipe: Recipe, device: str) -> Teach | None:
    """Load the recipe's teacher, if it has one: a whole converter, which a bare training machine cannot run."""
    from audiotrans.training.warm_start import teacher

    try:
        return teacher(recipe, device)
    except ImportError as error:
        raise AudiotransError(
            f"the teacher {recipe.teacher} needs {error.name}, which is not installed: pip install {error.name}"
        ) from None


def _sample_writer(recipe: Recipe, cache: Path, device: Any) -> OnSample | None:
    """Build the writer of sample sheets; None on a bare training machine, which has no library for images or sounds."""
    try:
        from audiotrans.training.samples import photo_sample_writer, sample_writer

        if recipe.imaging.type == "photo":
            return _forgiving(photo_sample_writer(recipe, cache, device))
        from audiotrans.evaluation.plots import sample_sheet  # which stands above training

        return _forgiving(sample_writer(recipe, cache, device, sample_sheet))
    except ImportError as error:
        _no_sheets(error)
        return None


def _no_sheets(error: ImportError) -> None:
    click.echo(f"no sample sheets: {error.name} is not installed", err=True)


def _forgiving(on_sample: OnSample) -> OnSample:
    """Let a run go on without sheets when one needs a library that is not there, such as a phase method's."""
    missing: list[ImportError] = []

    def sample(model: AVBGTN, step: int, folder: Path) -> None:
        if missing:
            return
        try:
            on_sample(model, step, folder)
        except ImportError as error:
            missing.append(error)
            _no_sheets(error)

    return sample


@click.group(no_args_is_help=False)
def recipe() -> None:
    """Look at recipes."""


@recipe.command("show")
@click.argument("recipe_path", type=PATH, metavar="RECIPE")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting; may be repeated.")
def recipe_show(recipe_path: Path, overrides: tuple[str, ...]) -> None:
    """Print a recipe with every default filled in."""
    from audiotrans.recipe import dump_recipe, load_recipe

    click.echo(dump_recipe(load_recipe(recipe_path, overrides)), nl=False)


def _own_options(function: F) -> F:
    """Add the options of conversion that a model has its own values of."""
    for name, info in reversed(BY_MODEL.items()):
        text = f"{info.help}, {info.least:g} to {info.most:g}"
        text += f" {info.unit}" if info.unit else ""
        add = click.option(flag(name), name, multiple=True, metavar="TO=VALUE", help=f"{text}; for each domain.")
        function = add(function)
    return function


@click.command("export-weights")
@click.argument("run", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, help="Weights file to write (.safetensors).")
@click.option("--summary", default="", help="One line for the model's card.")
@click.option("--licence", default="", help="For the model's card, as SPDX names it: cc-by-4.0.")
@click.option("--card", is_flag=True, help="Write a card beside it (.md), as the Hugging Face hub shows it.")
@click.option("--half", is_flag=True, help="Store float16: half the size, no audible difference.")
@click.option("--cache", type=PATH, help="Prepared data to know right inputs by.  [default: the recipe's]")
@_own_options
@click.option("--force", is_flag=True, help="Overwrite an output that exists.")
def export_weights(run: Path, output: Path, **options: Any) -> None:
    """Write the averaged weights of a run as a model for convert.

    RUN may be a weights file or a shipped model's name, to be described anew. Options of conversion become the model's
    own; what is not given stays as the recipe has it.
    """
    from audiotrans.training.export import export_run
    from audiotrans.weights import open_weights

    own = {name: options.pop(name) for name in BY_MODEL}
    conversion = {name: dict(_by_target(name, text) for text in values) for name, values in own.items() if values}
    click.echo(str(export_run(run, output, conversion, progress=sys.stderr.isatty(), **options)))
    stored = open_weights(output)
    if stored.statistics is None and stored.recipe.imaging.type == "audio":  # photos are not checked
        hint = "" if options["cache"] or Path(stored.recipe.cache).exists() else " (name its cache with --cache)"
        click.echo(f"no statistics of its training data: convert will not warn of unlike inputs{hint}", err=True)


@click.command()
@click.argument("model", type=PATH)
@click.argument("repository", metavar="OWNER/NAME")
@click.option("--private", is_flag=True, help="Make a new repository for its owner's eyes only.")
@click.option("--force", is_flag=True, help="Replace a model that is there; the hub keeps the old one in its history.")
def push(model: Path, repository: str, **options: Any) -> None:
    """Put a model and its card on the Hugging Face hub, as OWNER/NAME.

    The card lies beside MODEL (.md): export-weights --card makes it. Log in first: hf auth login.
    """
    from audiotrans.hub import push as run
    from audiotrans.weights import open_weights

    open_weights(model)
    card = model.with_suffix(".md")
    if not card.is_file():
        raise UsageError(f"{model} has no card {card.name} beside it: write one, or export-weights with --card")
    click.echo(run(model, card, repository, **options))


def _by_target(name: str, text: str) -> tuple[str, float]:
    target, _, value = text.partition("=")
    try:
        return target, float(value)
    except ValueError:
        raise UsageError(f"{flag(name)} {text!r}: write TO=VALUE, such as piano=1") from None
