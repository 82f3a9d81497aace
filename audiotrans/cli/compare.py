"""``audiotrans compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("recipes", nargs=-1, required=True, type=PATH, metavar="RECIPE...")
@click.option("--cache", type=PATH, help="Prepared data.  [default: the first recipe's]")
@click.option("-o", "--output", type=PATH, required=True, help="Folder for runs, curves and the summary.")
@click.option("--steps", default=5000, show_default=True, help="Steps of every run.")
@click.option("--every", default=500, show_default=True, help="Steps between evaluations.")
@click.option("--seeds", default=3, show_default=True, help="Runs of each recipe.")
@click.option("--images", default=128, show_default=True, help="Held-out images of each domain to evaluate with.")
@click.option("--kl", "modes", multiple=True, help="Run each recipe with this KL term; may be repeated.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting of all recipes.")
@click.option("--workers", default=1, show_default=True, help="Runs at a time.")
@click.option("--threads", default=1, show_default=True, help="CPU threads of each run.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
def compare(recipes: tuple[Path, ...], **options: Any) -> None:
    """Train recipes on the same data and seeds and measure them on the way; run again to go on or to add."""
    click.echo(str(_compare(recipes, **options)))


def _compare(
    recipes: tuple[Path, ...],
    *,
    cache: Path | None,
    output: Path,
    modes: tuple[str, ...],
    overrides: tuple[str, ...],
    quiet: bool,
    **rest: Any,
) -> Path:
    from audiotrans.errors import UsageError
    from audiotrans.evaluation.compare import compare
    from audiotrans.recipe import Recipe, load_recipe

    chosen: dict[str, Recipe] = {}
    for path in recipes:
        for mode in modes or (None,):
            name = f"{path.stem}-{mode}" if mode else path.stem
            if name in chosen:
                raise UsageError(f"two recipes are called {name!r}: rename one of the files")
            chosen[name] = load_recipe(path, (*overrides, f"model.kl={mode}") if mode else overrides)
    first = next(iter(chosen.values()))
    return compare(chosen, cache or Path(first.cache), output, progress=not quiet, **rest)
