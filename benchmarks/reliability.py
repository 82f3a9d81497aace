"""What a training run survives: kills, wrong commands, numbers that are not finite, a full disk.

    python -m benchmarks.reliability kills resumes numbers disk --recipe recipes/violin_piano.yaml

Everything runs on a made cache, so that no data are needed. docs/reliability.md has the figures.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from click.testing import CliRunner

from audiotrans.cli import main
from audiotrans.recipe import Recipe, load_recipe, recipe_to_dict
from audiotrans.training.cache import packed, write_images, write_manifest
from audiotrans.training.checkpoints import load_checkpoint
from audiotrans.training.data import Crops, Feed, open_images
from audiotrans.training.engine import Trainer

PARTIAL = ".*.partial"


def made_cache(root: Path, recipe: Recipe, seed: int = 0, frames: int = 300) -> Path:
    """Write a cache of four images per domain, three of them to train on."""
    values, items = recipe_to_dict(recipe), []
    generator = torch.Generator().manual_seed(seed)
    shape = (recipe.imaging.image_channels, recipe.imaging.image_rows, frames)
    for domain in "ab":
        for index in range(4):
            name = f"images/{domain}/{index}-{seed}.safetensors"
            image = (torch.randn(shape, generator=generator) * 0.2 - 0.5).clamp(-1, 1)
            write_images(root / name, [packed(image)])
            split = "train" if index else "valid"
            items.append({"domain": domain, "split": split, "file": name, "index": 0, "frames": frames})
    write_manifest(root, {"imaging": values["imaging"], "domains": values["domains"], "items": items})
    return root


def command(recipe: Path, cache: Path, run: Path, steps: int, *more: str) -> list[str]:
    settings = {"steps": steps, "save_every": 1, "keep_every": 1, "sample_every": 10**6, "log_every": 1}
    changes = [part for name, value in settings.items() for part in ("--set", f"train.{name}={value}")]
    places = ["--cache", str(cache), "--run", str(run), "--device", "cpu", "--threads", "1", "-q"]
    return [sys.executable, "-m", "audiotrans", "train", str(recipe), *changes, *places, *more]


def flat(values, prefix=""):
    """Return nested dicts and lists by path."""
    if isinstance(values, dict):
        return {k: v for key, each in values.items() for k, v in flat(each, f"{prefix}/{key}").items()}
    return flat(dict(enumerate(values)), prefix) if isinstance(values, list | tuple) else {prefix: values}


def same(one: Path, other: Path) -> bool:
    """Compare two checkpoints bit for bit."""
    one, other = (flat(load_checkpoint(path)[0]) for path in (one, other))
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
        for name, value in one.items()
    )


def lines(run: Path, up_to: int) -> list[dict]:
    found = []
    for line in (run / "metrics.jsonl").read_text().splitlines():
        try:
            values = json.loads(line)
        except ValueError:  # what a killed run was writing
            continue
        found += [{k: v for k, v in values.items() if k != "seconds"}] if values["step"] <= up_to else []
    return found


def kill(process: subprocess.Popen, run: Path, in_a_write: bool, rng: random.Random) -> bool:
    """Kill a run at a random moment, or while it writes a checkpoint; return whether it was writing one."""
    if in_a_write:
        skip = rng.randrange(3)  # let some be written before
        while process.poll() is None:
            writing = [path for path in run.glob(PARTIAL) if size(path) > 100_000] if run.exists() else []
            if writing and not skip:
                time.sleep(rng.uniform(0, 0.02))
                break
            if writing:
                skip -= 1
                while any(path.exists() for path in writing) and process.poll() is None:
                    time.sleep(0.001)
            time.sleep(0.0005)
    else:
        while process.poll() is None and not (run / "recipe.yaml").exists():
            time.sleep(0.01)
        end = time.monotonic() + rng.uniform(0, 15)
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
    process.kill()
    process.wait()
    return bool(list(run.glob(PARTIAL)))


def size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def kills(recipe_path: Path, root: Path, count: int, steps: int, seed: int) -> None:
    rng, recipe = random.Random(seed), load_recipe(recipe_path)  # noqa: S311
    cache, whole = made_cache(root / "cache", recipe), root / "whole"
    subprocess.run(command(recipe_path, cache, whole, steps), check=True, stdout=subprocess.DEVNULL)
    print(f"a run of {steps} steps; a checkpoint has {size(whole / 'last.pt') / 1e6:.0f} MB", flush=True)
    exact = writing = done = runs = ended = 0
    while done < count:
        run = root / f"run{runs}"
        resume = ["--resume"] if (run / "last.pt").exists() else []
        process = subprocess.Popen(
            command(recipe_path, cache, run, steps, *resume), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        in_a_write = done % 2 == 0
        caught = kill(process, run, in_a_write, rng)
        message = process.stderr.read().decode().strip()
        if process.returncode == 0:  # it was quicker
            ended += equal_to_the_end(run, whole, steps)
            runs += 1
            continue
        assert process.returncode == -signal.SIGKILL, message
        done += 1
        writing += caught
        at = load_checkpoint(run / "last.pt")[0]["step"] if (run / "last.pt").exists() else 0
        good = not at or (same(run / "last.pt", whole / f"step_{at:07d}.pt") and lines(run, at) == lines(whole, at))
        exact += good
        print(
            f"kill {done}: at step {at}, {'in a write' if caught else 'between'}: {'same' if good else 'NOT'}",
            flush=True,
        )
        if at == steps:
            runs += 1
    for number in range(runs, runs + 1):
        run = root / f"run{number}"
        if run.exists():
            resume = ["--resume"] if (run / "last.pt").exists() else []
            subprocess.run(command(recipe_path, cache, run, steps, *resume), check=True, stdout=subprocess.DEVNULL)
            ended += equal_to_the_end(run, whole, steps)
    print(f"kills: {exact} of {done} bit for bit with the run without a stop; {writing} of them while a checkpoint was")
    print(f"written; runs gone on with to their end, with equal bits and logs: {ended}")


def equal_to_the_end(run: Path, whole: Path, steps: int) -> bool:
    assert not list(run.glob(PARTIAL))
    return same(run / "last.pt", whole / "last.pt") and lines(run, steps) == lines(whole, steps)


def stops(recipe_path: Path, root: Path, count: int, steps: int, seed: int) -> None:
    """End runs by SIGTERM, and go on."""
    rng, cache, whole = random.Random(seed), root / "cache", root / "whole"  # noqa: S311
    good = 0
    for number in range(count):
        run = root / f"stopped{number}"
        process = subprocess.Popen(command(recipe_path, cache, run, steps), stdout=subprocess.PIPE, text=True)
        while not (run / "last.pt").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 5))
        process.terminate()
        said, _ = process.communicate()
        at = load_checkpoint(run / "last.pt")[0]["step"]
        exact = same(run / "last.pt", whole / f"step_{at:07d}.pt")
        good += process.returncode == 0 and exact and (at == steps or f"stopped at step {at} of {steps}" in said)
    print(f"SIGTERM: {good} of {count} exit with 0, say at which step, and have saved it bit for bit")


WRONG = (
    "train.seed=1", "train.batch_size=4", "train.discriminator_batch=5", "train.learning_rate=0.001",
    "train.discriminator_learning_rate=0.01", "train.betas=[0.9, 0.99]", "train.weight_decay=0.1",
    "train.decay_from=0.1", "train.ema=0.9", "train.crop_frames=64", "train.dither=0.1", "train.steps=9",
    "train.clip_norm=1",
    "losses.generator.cycle_kl=0", "losses.gan=bce", "model.kl=linear", "shifts=3",
)  # fmt: skip


def resumes(recipe_path: Path, root: Path) -> None:
    """Go on with other settings, starts, recipes and data: all must be refused by name and change nothing."""
    recipe = load_recipe(recipe_path)
    cache, run = made_cache(root / "small", recipe), root / "resumed"
    other, weighted = made_cache(root / "other", recipe, seed=1), shutil.copytree(cache, root / "weighted")
    manifest = json.loads((weighted / "manifest.json").read_text())
    manifest["items"][1]["weight"] = 8.0
    (weighted / "manifest.json").write_text(json.dumps(manifest))
    begun = command(recipe_path, cache, run, 2)[3:]
    runner = CliRunner()
    result = runner.invoke(main, begun)
    assert result.exit_code == 0, result.output
    wrong = [(text, [*begun, "--set", text]) for text in WRONG]
    wrong += [("init", [*begun, "--init", "violin-piano"])]
    wrong += [("content of cache", command(recipe_path, path, run, 2)[3:]) for path in (other, weighted)]
    before, refused = (run / "last.pt").read_bytes(), 0
    for name, arguments in wrong:
        result = runner.invoke(main, [*arguments, "--resume"])
        named = name.partition("=")[0] in result.output
        one_line = len(result.output.strip().splitlines()) == 1
        good = result.exit_code == 2 and named and one_line and (run / "last.pt").read_bytes() == before
        refused += good
        if not good:
            print(f"NOT refused: {name}: {result.exit_code} {result.output}")
    assert runner.invoke(main, [*begun, "--resume"]).exit_code == 0
    print(
        f"wrong resumes: {refused} of {len(wrong)} refused in one line that names the difference; the right one goes on"
    )


def numbers(recipe_path: Path, root: Path, count: int, seed: int) -> None:
    """Put NaN into the images, or a gradient, of a random step, and train on."""
    recipe, rng = load_recipe(recipe_path, ("train.steps=8", "train.precision=float32")), random.Random(seed)  # noqa: S311
    data = open_images(made_cache(root / "numbers", recipe))
    for kind in ("image", "gradient of the generator", "gradient of D and T"):
        went_on = 0
        for _ in range(count):
            trainer, at = Trainer(recipe, data.image_size()[0], torch.device("cpu")), rng.randrange(1, 6)
            with Feed(recipe, data, torch.device("cpu")) as feed:
                for step in range(8):
                    crops, hook = feed.take(step), None
                    if step == at and kind == "image":
                        crops.a[0, 0, rng.randrange(crops.a.shape[2]), rng.randrange(crops.a.shape[3])] = math.nan
                    elif step == at:
                        part = trainer.model if "generator" in kind else trainer.discriminators
                        weight = rng.choice(list(part.parameters()))
                        hook = weight.register_hook(lambda gradient: gradient * math.nan)
                    values = trainer.train_step(*Crops(*crops))
                    assert bool(trainer.guard.found) == (step == at), (kind, step, trainer.guard.found)
                    if hook:
                        hook.remove()
            state = flat(trainer.state())
            finite = all(x.isfinite().all() for x in state.values() if isinstance(x, torch.Tensor))
            went_on += finite and trainer.guard.skipped == 1 and all(x.isfinite() for x in values.values())
        print(f"NaN in {kind}: {went_on} of {count} runs go on, one step skipped, every number finite", flush=True)


def disk(recipe_path: Path, root: Path) -> None:
    """Train onto a disk that has room for one checkpoint and a half."""
    recipe = load_recipe(recipe_path)
    cache, place = made_cache(root / "cache", recipe), root / "small_disk"
    place.mkdir()
    trial = root / "trial"
    subprocess.run(command(recipe_path, cache, trial, 1), check=True, stdout=subprocess.DEVNULL)
    room = int(1.5 * size(trial / "last.pt"))
    train = " ".join(command(recipe_path, cache, place / "run", 9))
    mount = f"mount -t tmpfs -o size={room} none {place}"
    script = f"{mount} && {train}; code=$?; cp {place}/run/last.pt {root}/kept.pt; exit $code"
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script],  # noqa: S607
        capture_output=True, text=True, env=os.environ, check=False,
    )  # fmt: skip
    step = load_checkpoint(root / "kept.pt")[0]["step"]
    print(
        f"full disk: exit code {done.returncode}, {done.stderr.strip()!r}; the last checkpoint is whole, of step {step}"
    )


def run(what: list[str], recipe: Path, count: int, steps: int, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in what:
            root = Path(folder) / name
            root.mkdir()
            if name == "kills":
                kills(recipe, root, count, steps, seed)
                stops(recipe, root, 5, steps, seed)
            elif name == "resumes":
                resumes(recipe, root)
            elif name == "numbers":
                numbers(recipe, root, count, seed)
            else:
                disk(recipe, root)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="+", choices=["kills", "resumes", "numbers", "disk"])
    parser.add_argument("--recipe", type=Path, default=Path("recipes/debug.yaml"))
    parser.add_argument("--count", type=int, default=20, help="kills, and runs with a NaN of each kind")
    parser.add_argument("--steps", type=int, default=12, help="of the runs that are killed")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    run(given.what, given.recipe, given.count, given.steps, given.seed)
