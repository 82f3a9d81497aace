"""What training waits for its crops, and what memory its images take.

    python -m benchmarks.loading stalls recipes/violin_piano_pairs.yaml --cache CACHE --pairs PAIRS --steps 8
    python -m benchmarks.loading memory --gigabytes 4 --kept 0.5

``stalls`` trains and says what a step's crops take of it, in CPU seconds and by the clock.
``memory`` draws crops from a made cache larger than what may stay in memory, and follows what the process holds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from audiotrans.recipe import Recipe, load_recipe, recipe_to_dict
from audiotrans.training import cache as images
from audiotrans.training.cache import packed, write_images, write_manifest
from audiotrans.training.data import Feed, ImageCache, PairedCache, open_images
from audiotrans.training.engine import Trainer

CPU = torch.device("cpu")
WARM_UP = 2
COLUMNS = 60_000
"""Of a made image: twelve minutes of sound."""


def with_train(recipe: Recipe, **changes: object) -> Recipe:
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=changes)})


def stalls(recipe: Recipe, cache: Path, pairs: Path | None, steps: int, loaders: list[int]) -> None:
    data, paired = open_images(cache), PairedCache(pairs) if pairs else None
    print(
        "| loaders | crops, s of CPU a step | whole step | clock: waited | whole step | share waited |\n"
        + "|---" * 6
        + "|"
    )
    for count in loaders:
        own = with_train(recipe, loaders=count)
        trainer = Trainer(own, data.image_size()[0], CPU)
        drawn = all_cpu = waited = clock = 0.0
        with Feed(own, data, CPU, pairs=paired) as feed:
            for step in range(WARM_UP + steps):
                cpu, main, began = time.process_time(), time.thread_time(), time.perf_counter()
                crops = feed.take(step)
                main, here = time.thread_time() - main, time.perf_counter() - began
                trainer.train_step(*crops)
                if step >= WARM_UP:
                    drawn, waited = drawn + main, waited + here
                    all_cpu += time.process_time() - cpu
                    clock += time.perf_counter() - began
        figures = [drawn / steps, all_cpu / steps, waited / steps, clock / steps]
        print(f"| {count} | {' | '.join(f'{x:.3f}' for x in figures)} | {100 * waited / clock:.1f} % |", flush=True)


def resident() -> float:
    """Return this process's resident memory in MB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1000


def memory(recipe: Recipe, gigabytes: float, kept: float, draws: int, loaders: int) -> None:
    """Draw from a cache of so many gigabytes of images, of which ``kept`` may stay."""
    images.KEPT_BYTES = round(kept * 1e9)
    recipe = with_train(recipe, loaders=loaders, match_range=False)
    values, rows = recipe_to_dict(recipe), recipe.imaging.image_rows
    size = recipe.imaging.image_channels * rows * COLUMNS
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        ramp = torch.arange(COLUMNS, dtype=torch.int64).remainder(251).to(torch.uint8)
        image = packed(ramp.expand(recipe.imaging.image_channels, rows, COLUMNS))
        items = []
        for number in range(round(gigabytes * 1e9 / size)):
            name, domain = f"images/{number}.safetensors", "ab"[number % 2]
            write_images(root / name, [image])
            items.append({"domain": domain, "split": "train", "file": name, "index": 0, "frames": COLUMNS})
        write_manifest(root, {"imaging": values["imaging"], "domains": values["domains"], "items": items})
        data = ImageCache(root)
        print(f"{len(items)} images of {size / 1e6:.1f} MB: {len(items) * size / 1e9:.1f} GB; {kept:g} GB may stay")
        with Feed(recipe, data, CPU) as feed:
            feed.take(0)
            before, most, began = resident(), 0.0, time.process_time()
            for step in range(1, draws):
                feed.take(step)
                most = max(most, resident())
        seconds = (time.process_time() - began) / (draws - 1)
        held = len(data.images._kept) * size / 1e6
        print(f"{draws} steps of crops: resident memory grew by {most - before:.0f} MB at most, from {before:.0f} MB;")
        print(f"{held:.0f} MB of images are held; a step's crops take {1000 * seconds:.0f} ms of CPU")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("stalls", "memory"))
    parser.add_argument("recipe", type=Path, nargs="?", default=Path("recipes/violin_piano_pairs.yaml"))
    parser.add_argument("--cache", type=Path, help="stalls: to draw from")
    parser.add_argument("--pairs", type=Path, help="stalls: the recipe's pairs")
    parser.add_argument("--steps", type=int, default=8, help="steps, after two that are not counted; memory: draws")
    parser.add_argument("--loaders", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--gigabytes", type=float, default=4, help="memory: of images")
    parser.add_argument("--kept", type=float, default=0.5, help="memory: gigabytes that may stay")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    recipe = load_recipe(chosen.recipe, ("train.discriminator_warmup=0", "train.threads=0"))
    if chosen.what == "stalls":
        if chosen.cache is None:
            parser.error("stalls needs --cache")
        stalls(recipe, chosen.cache, chosen.pairs, chosen.steps, chosen.loaders)
    else:
        memory(recipe, chosen.gigabytes, chosen.kept, chosen.steps, chosen.loaders[0])


if __name__ == "__main__":
    main()
