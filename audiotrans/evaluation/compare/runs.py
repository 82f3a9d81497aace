"""Train every recipe with every seed, examine each on the way, and keep what was found: resumable at any moment."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from audiotrans.errors import AudiotransError, UsageError
from audiotrans.evaluation.compare.kept import (
    RECORDS,
    keep_weights,
    kept_weights,
    measure_kept,
    read_records,
    write_records,
)
from audiotrans.evaluation.compare.measures import DIRECTIONS, Exam, examine, latent_health, set_exam
from audiotrans.evaluation.compare.referee import Referee, Trained
from audiotrans.evaluation.compare.summary import write_summary
from audiotrans.files import replacing
from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.processes import in_processes
from audiotrans.recipe import Recipe, dump_recipe, parse_recipe
from audiotrans.training.checkpoints import CHECKPOINT_NAME, load_checkpoint
from audiotrans.training.datasets import open_images, read_manifest, stream
from audiotrans.training.engine import SAMPLES, is_due, train
from audiotrans.training.journal import METRICS_NAME
from audiotrans.training.prepare.images import write_atomically
from audiotrans.training.warm_start import fit

EXAM = "exam.pt"
PLAN = "compare.json"

SHEET_IMAGES = 6
"""Images of each domain whose translations are kept at every examination, for the figure of progress."""


@dataclass(frozen=True)
class Contestant:
    """A recipe and the name under which its figures stand."""

    name: str
    recipe: Recipe


@dataclass(frozen=True)
class Run:
    """One contestant with one seed.

    Attributes:
        contestant: see `Contestant`; its recipe holds the seed, the steps and the examinations' distance.
        seed: of the run.
        folder: of the run.
        cache: of the images.
        exam: file of the examination.
    """

    contestant: Contestant
    seed: int
    folder: Path
    cache: Path
    exam: Path


def compare(
    contestants: Sequence[Contestant],
    cache: Path,
    output: Path,
    *,
    steps: int = 5000,
    every: int = 500,
    seeds: int = 3,
    images: int = 128,
    referee_steps: int = 600,
    workers: int = 1,
    threads: int = 1,
    progress: bool = True,
) -> Path:
    """Train recipes on the same data with the same seeds and write curves, pictures and a summary.

    A run that was killed goes on from its last checkpoint, a finished one is not repeated; so the same call with more
    seeds or more recipes adds to what is there.

    Args:
        contestants: at least one; all with the imaging and domains of the cache.
        cache: folder that `audiotrans prep` wrote.
        output: folder for runs, curves and the summary.
        steps: of every run.
        every: steps between examinations.
        seeds: runs of each contestant, with seeds 0, 1, ...
        images: held-out images of each domain.
        referee_steps: steps that the referee is trained for, once for the folder.
        workers: runs at a time, each in a process of its own.
        threads: CPU threads of each.
        progress: show a bar with speed and time left.

    Returns:
        The summary, ``output/summary.md``.

    Raises:
        UsageError: for arguments that are not allowed, or a folder that holds another comparison.
        AudiotransError: if a recipe does not fit the cache, or a run fails.
    """
    _check(contestants, steps=steps, every=every, seeds=seeds, workers=workers, threads=threads, images=images)
    _keep_plan(output, contestants, cache, steps, every, images)
    exam = (
        load_exam(output / EXAM)
        if (output / EXAM).exists()
        else _make_exam(contestants, cache, images, referee_steps, output)
    )
    runs = [
        Run(Contestant(each.name, _scheduled(each.recipe, steps, every, seed)), seed,
            output / "runs" / f"{each.name}-{seed}", cache, output / EXAM)
        for seed in range(seeds) for each in contestants
    ]  # fmt: skip
    with _Bar(runs, steps, progress) as peek:
        if workers == 1:
            torch.set_num_threads(threads)
            for run in runs:
                _run(run, peek)
        else:
            with closing(
                in_processes(
                    _run, runs, workers, start=torch.set_num_threads, arguments=(threads,), peek=peek, long=True
                )
            ) as finished:
                deque(finished, maxlen=0)
    measure_kept([run.folder for run in runs], output, exam, cache, progress=progress)
    return write_summary(output, exam)


def _check(contestants: Sequence[Contestant], **figures: int) -> None:
    names = [each.name for each in contestants]
    if not names:
        raise UsageError("nothing to compare: give one recipe or more")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UsageError(f"two recipes are called {twice[0]!r}: rename one of the files")
    for what, value in figures.items():
        if value < 1:
            raise UsageError(f"{what} {value}: at least 1")
    if figures["every"] > figures["steps"]:
        raise UsageError(f"every {figures['every']}: there would be no examination in {figures['steps']} steps")


def _keep_plan(
    output: Path, contestants: Sequence[Contestant], cache: Path, steps: int, every: int, images: int
) -> None:
    """Write what is compared, or refuse to mix it with another comparison in the same folder."""
    manifest = read_manifest(cache)
    facts = {"steps": steps, "every": every, "images": images, "imaging": manifest["imaging"],
             "domains": manifest["domains"], "data": _digest(manifest)}  # fmt: skip
    known = {"epoch": epoch_images(manifest, contestants[0].recipe.train.crop_frames)}
    path = output / PLAN
    recipes = {each.name: dump_recipe(each.recipe) for each in contestants}
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        for key, value in facts.items():
            if before.get(key, value) != value:  # older versions did not write all of them
                raise UsageError(
                    f"{output} holds a comparison with {key} {before[key]!r}, not {value!r}: take another folder"
                )
        # As recipes, not as texts: a later version may know more settings.
        kept = {name: parse_recipe(text, f"{path}: {name}") for name, text in before["recipes"].items()}
        changed = [each.name for each in contestants if kept.get(each.name, each.recipe) != each.recipe]
        if changed:
            raise UsageError(f"{output} holds runs of another recipe {changed[0]!r}: take another folder or name")
        recipes = before["recipes"] | recipes
    plan = {"format": "audiotrans-compare", "version": 1, **facts, **known, "recipes": recipes}
    output.mkdir(parents=True, exist_ok=True)  # not before: a wrong cache leaves no empty folder
    write_atomically(path, json.dumps(plan, indent=1).encode())


def _digest(manifest: dict[str, Any]) -> str:
    """Name what is trained and held out: the examination's images must never have been trained on."""
    items = sorted([item["domain"], item["split"], item.get("sha1", ""), item["file"]] for item in manifest["items"])
    return hashlib.sha256(json.dumps(items).encode()).hexdigest()[:16]


def epoch_images(manifest: dict[str, Any], crop_frames: int) -> int:
    """Count the training images of the smaller domain; sounds count once for every crop that fits into them."""
    counts: dict[str, int] = {
        domain: sum(max(item["frames"] // crop_frames, 1) for item in manifest["items"]
                    if (item["domain"], item["split"]) == (domain, "train"))
        for domain in "ab"
    }  # fmt: skip
    return min(counts.values())


def _scheduled(recipe: Recipe, steps: int, every: int, seed: int) -> Recipe:
    """Give every recipe the same length, examinations and seed; all else is its own."""
    log = min(recipe.train.log_every, every)
    train_settings = recipe.train.model_copy(
        update={
            "steps": steps,
            "seed": seed,
            "sample_every": every,
            "save_every": every,
            "log_every": log,
            "threads": 0,
        }
    )
    return recipe.model_copy(update={"train": train_settings})


def _make_exam(contestants: Sequence[Contestant], cache: Path, images: int, steps: int, output: Path) -> Exam:
    exam = set_exam(open_images(cache), contestants[0].recipe.train.crop_frames, images=images, steps=steps)
    save_exam(exam, output / EXAM)
    return exam


def save_exam(exam: Exam, path: Path) -> None:
    """Write an examination, so that every run and every later session is judged by the same referee."""
    values = {
        "weights": exam.referee.state_dict(), "coordinate": exam.referee.coordinate,
        "channels": next(iter(exam.images.values())).shape[1], "accuracy": exam.trained.accuracy,
        "images": exam.images, "target": exam.target, "bandwidth": exam.bandwidth, "copy": exam.copy,
        "floor": exam.floor, "copy_accuracy": exam.copy_accuracy,
    }  # fmt: skip
    with replacing(path) as partial:
        torch.save(values, partial)


def load_exam(path: Path) -> Exam:
    """Read what `save_exam` wrote.

    Raises:
        AudiotransError: if the file is broken.
    """
    try:
        values: dict[str, Any] = torch.load(path, weights_only=True)
        referee = Referee(values["channels"], coordinate=values["coordinate"])
        referee.load_state_dict(values["weights"])
    except Exception as error:  # torch raises pickle, zip and runtime errors for broken files
        raise AudiotransError(f"{path} cannot be read ({type(error).__name__}): remove it to make it anew") from None
    trained = Trained(referee.eval().requires_grad_(False), values["accuracy"])
    kept = {name: values[name] for name in ("images", "bandwidth", "target", "copy", "floor", "copy_accuracy")}
    return Exam(trained=trained, **kept)


def _run(run: Run, peek: Callable[[], object] | None = None) -> Path:
    """Train one run to its end, from where it stands."""
    checkpoint = run.folder / CHECKPOINT_NAME
    recipe = run.contestant.recipe
    state = load_checkpoint(checkpoint)[0] if checkpoint.exists() else None
    unexamined = state is not None and _is_unexamined(run, state["step"])
    if state is not None and state["step"] >= recipe.train.steps and not unexamined:
        return run.folder
    exam = load_exam(run.exam)

    def on_sample(model: AVBGTN, step: int, folder: Path) -> None:
        record = {"step": step, **examine(model, exam), **latent_health(_last_record(run.folder / METRICS_NAME))}
        _keep_images(model, exam, folder / f"step_{step:07d}.safetensors")
        keep_weights(model, kept_weights(run.folder, step))
        _keep_record(run.folder / RECORDS, record)  # last: it says that the examination is whole
        if peek is not None:
            peek()

    if state is not None and unexamined:
        model = AVBGTN(recipe.model, open_images(run.cache).image_size()[0])
        fit(model, state["ema"], str(checkpoint))
        on_sample(model.eval(), state["step"], run.folder / SAMPLES)
    train(recipe, run.cache, run.folder, resume=state is not None, on_sample=on_sample, progress=False)
    return run.folder


def _is_unexamined(run: Run, step: int) -> bool:
    """Tell whether a run was killed between a checkpoint and the end of the examination that belongs to it."""
    settings = run.contestant.recipe.train
    due = step > 0 and is_due(step, settings.sample_every, settings.steps)
    return due and step not in {record["step"] for record in read_records(run.folder / RECORDS)}


def _last_record(path: Path) -> dict[str, float]:
    """Return the last line of metrics.jsonl that tells of the players; empty if there is none."""
    if not path.exists():
        return {}
    for line in reversed(path.read_text(encoding="utf-8").splitlines()):
        record: dict[str, float] = json.loads(line)
        if "generator/gan" in record:
            return record
    return {}


def _keep_record(path: Path, record: dict[str, float]) -> None:
    """Add the figures of an examination; a step that is repeated after an interruption replaces its line."""
    write_records(path, [*(each for each in read_records(path) if each["step"] < record["step"]), record])


@torch.inference_mode()
def _keep_images(model: AVBGTN, exam: Exam, path: Path) -> None:
    """Keep the translations of a few images, 8 bits a channel, for the figure of progress."""
    made: dict[str, Tensor] = {}
    for source, target in DIRECTIONS:
        x = exam.images[source][:SHEET_IMAGES]
        noise = torch.randn(model.noise_shape(x), generator=stream(0, "exam", source, 0))
        y = model.translate(x, source, target, noise)
        made[source + target] = ((y + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).contiguous()
    with replacing(path) as partial:
        save_file(made, partial)


class _Bar:
    """A bar over the steps of all runs, read from their logs: they may run in other processes."""

    def __init__(self, runs: Sequence[Run], steps: int, progress: bool) -> None:
        self.runs, self.steps, self.progress = runs, steps, progress

    def __enter__(self) -> Callable[[], None]:
        total = len(self.runs) * self.steps
        done = self._done()
        self.bar = tqdm(total=total, initial=done, unit="step", disable=not self.progress)
        return self._peek

    def __exit__(self, *_: object) -> None:
        self._peek()
        self.bar.close()

    def _peek(self) -> None:
        done = self._done()
        if done > self.bar.n:
            self.bar.update(done - self.bar.n)
            finished = sum(_step_of(run.folder) >= self.steps for run in self.runs)
            self.bar.set_postfix(runs=f"{finished}/{len(self.runs)}")

    def _done(self) -> int:
        return sum(min(_step_of(run.folder), self.steps) for run in self.runs)


def _step_of(folder: Path) -> int:
    """Return the last step that a run has logged."""
    try:
        with (folder / METRICS_NAME).open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 4096))
            lines = file.read().splitlines()
        return next((int(json.loads(line)["step"]) for line in reversed(lines) if line.endswith(b"}")), 0)
    except (FileNotFoundError, ValueError, KeyError):
        return 0
