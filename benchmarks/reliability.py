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
from audiotrans.training.checkpoints import CLOCKED, load_checkpoint
from audiotrans.training.data import Crops, Feed, open_images
from audiotrans.training.engine import Trainer
from audiotrans.training.run import train
from audiotrans.training.stopping import TimeLimit

PARTIAL = ".*.partial"


def made_cache(root: Path, recipe: Recipe, seed: int = 0, frames: int = 300, held_out: int = 1) -> Path:
    """Write a cache of four images per domain, some of them held out."""
    values, items = recipe_to_dict(recipe), []
    generator = torch.Generator().manual_seed(seed)
    shape = (recipe.imaging.image_channels, recipe.imaging.image_rows, frames)
    for domain in "ab":
        for index in range(4):
            name = f"images/{domain}/{index}-{seed}.safetensors"
            image = (torch.randn(shape, generator=generator) * 0.2 - 0.5).clamp(-1, 1)
            write_images(root / name, [packed(image)])
            split = "valid" if index < held_out else "train"
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
        found += [{k: v for k, v in values.items() if k not in CLOCKED}] if values["step"] <= up_to else []
    return found


class Victim:
    """A run in a process of its own: forked, so that twenty of them load torch once."""

    def __init__(self, recipe: Recipe, cache: Path, run: Path) -> None:
        self.run, self.code, limit = run, None, TimeLimit()
        resume = (run / "last.pt").exists()
        self.id = os.fork()
        if not self.id:
            try:
                signal.signal(signal.SIGTERM, signal.default_int_handler)
                train(recipe, cache, run, resume=resume, progress=False, limit=limit)
                os._exit(0 if limit.stopped_at is None else STOPPED)
            finally:
                os._exit(1)

    def alive(self) -> bool:
        if self.code is None:
            done, status = os.waitpid(self.id, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if done else None
        return self.code is None

    def end(self, number: signal.Signals) -> int:
        """Send a signal, unless it has ended; return its exit code."""
        if self.alive():
            os.kill(self.id, number)
        while self.alive():
            time.sleep(0.001)
        return self.code


STOPPED = 3
"""Exit code of a victim that says that it is unfinished."""


def wait_for(victim: Victim, in_a_write: bool, rng: random.Random) -> None:
    """Wait for a random moment of a run, or one at which it writes a checkpoint."""
    if not in_a_write:
        end = time.monotonic() + rng.uniform(0, 20)
        while victim.alive() and time.monotonic() < end:
            time.sleep(0.005)
        return
    skip = rng.randrange(3)  # let some be written before
    while victim.alive():
        writing = [path for path in victim.run.glob(PARTIAL) if size(path) > 100_000]
        if writing and not skip:
            return
        skip -= bool(writing)
        while any(path.exists() for path in writing) and victim.alive():
            time.sleep(0.0005)


def size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def kills(recipe_path: Path, root: Path, count: int, steps: int, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311
    settings = {"steps": steps, "save_every": 1, "keep_every": 1, "log_every": 1, "threads": 1}
    recipe = load_recipe(recipe_path, [f"train.{name}={value}" for name, value in settings.items()])
    cache, whole = made_cache(root / "cache", recipe, held_out=0), root / "whole"
    train(recipe, cache, whole, progress=False)
    print(f"a run of {steps} steps; a checkpoint has {size(whole / 'last.pt') / 1e6:.1f} MB", flush=True)
    exact = writing = done = ended = runs = 0
    while done < count or (root / f"run{runs}").exists():
        victim = Victim(recipe, cache, root / f"run{runs}")
        if done < count:
            wait_for(victim, done % 2 == 0, rng)
            code = victim.end(signal.SIGKILL)
        else:  # the last one is let go on
            code = victim.end(0)
        if code == 0:
            ended += equal_to_the_end(victim.run, whole, steps)
            runs += 1
            continue
        assert code == -signal.SIGKILL, code
        done += 1
        caught = bool(list(victim.run.glob(PARTIAL)))
        writing += caught
        at = step_of(victim.run)
        good = not at or same_at(victim.run, whole, at)
        exact += good
        print(
            f"kill {done}: at step {at}, {'in a write' if caught else 'between'}: {'same' if good else 'NOT'}",
            flush=True,
        )
    print(f"kills: {exact} of {done} leave a checkpoint with the bits, and lines, of the run without a stop;")
    print(f"{writing} came while one was written; {ended} of {runs} runs ended with equal bits and lines")
    stopped = 0
    for number in range(STOPS):
        victim = Victim(recipe, cache, root / f"stopped{number}")
        while victim.alive() and not (victim.run / "last.pt").exists():
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 5))
        code = victim.end(signal.SIGTERM)
        at = step_of(victim.run)
        stopped += code == (STOPPED if at < steps else 0) and same_at(victim.run, whole, at)
    print(f"SIGTERM: {stopped} of {STOPS} runs end by themselves, all saved, with the bits of the run without a stop")


STOPS = 5
"""Runs that are sent SIGTERM."""


def step_of(run: Path) -> int:
    return load_checkpoint(run / "last.pt")[0]["step"] if (run / "last.pt").exists() else 0


def same_at(run: Path, whole: Path, at: int) -> bool:
    return same(run / "last.pt", whole / f"step_{at:07d}.pt") and lines(run, at) == lines(whole, at)


def equal_to_the_end(run: Path, whole: Path, steps: int) -> bool:
    assert not list(run.glob(PARTIAL))
    return same(run / "last.pt", whole / "last.pt") and lines(run, steps) == lines(whole, steps)


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
    training = " ".join(command(recipe_path, cache, place / "run", 9))
    mount = f"mount -t tmpfs -o size={room} none {place}"
    script = f"{mount} && {training}; code=$?; cp {place}/run/last.pt {root}/kept.pt; exit $code"
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script],  # noqa: S607
        capture_output=True, text=True, env=os.environ, check=False,
    )  # fmt: skip
    step = load_checkpoint(root / "kept.pt")[0]["step"]
    print(
        f"full disk: exit code {done.returncode}, {done.stderr.strip()!r}; the last checkpoint is whole, of step {step}"
    )


LINKS = {"NVLink, 300 GB/s": 300e9, "PCIe 4 x 16, 25 GB/s": 25e9, "100 Gb/s": 12.5e9, "10 Gb/s": 1.25e9}


def plan(recipe_path: Path, root: Path) -> None:
    """Say what several processes send one another for each step, and how fast crops are drawn."""
    recipe = load_recipe(recipe_path)
    data = open_images(made_cache(root / "cache", recipe))
    trainer, settings = Trainer(recipe, data.image_size()[0], torch.device("cpu")), recipe.train
    sizes = [sum(p.numel() for p in part.parameters()) for part in (trainer.model, trainer.discriminators)]
    gradients = 4 * (sizes[0] + settings.discriminator_steps * sizes[1])
    with Feed(recipe, data, torch.device("cpu")) as feed:
        feed.take(0)
        began, steps = time.process_time(), 50
        for step in range(1, steps):
            crops = feed.take(step)
        seconds = (time.process_time() - began) / (steps - 1)
    image = 4 * crops.a[0].numel() * len(crops.a)
    print(f"weights: {sizes[0] / 1e6:.2f} M of the generator side, {sizes[1] / 1e6:.2f} M of D and T")
    print(f"gradients of a step: {gradients / 1e6:.1f} MB; crops of a step: {1000 * seconds:.1f} ms of one core")
    for count in (2, 8, 64):
        ring = 2 * (count - 1) / count * gradients
        past = 2 * (count - 1) * image if trainer.pool.size else 0
        times = ", ".join(f"{name}: {1000 * (ring + past) / rate:.1f} ms" for name, rate in LINKS.items())
        print(f"{count} processes: each sends {ring / 1e6:.1f} MB of gradients, {past / 1e6:.1f} MB of images; {times}")


def run(what: list[str], recipe: Path, count: int, steps: int, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in what:
            root = Path(folder) / name
            root.mkdir()
            if name == "kills":
                kills(recipe, root, count, steps, seed)
            elif name == "resumes":
                resumes(recipe, root)
            elif name == "numbers":
                numbers(recipe, root, count, seed)
            elif name == "disk":
                disk(recipe, root)
            else:
                plan(recipe, root)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="+", choices=["kills", "resumes", "numbers", "disk", "plan"])
    parser.add_argument("--recipe", type=Path, default=Path("recipes/debug.yaml"))
    parser.add_argument("--count", type=int, default=20, help="kills, and runs with a NaN of each kind")
    parser.add_argument("--steps", type=int, default=12, help="of the runs that are killed")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    run(given.what, given.recipe, given.count, given.steps, given.seed)
