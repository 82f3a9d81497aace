"""Train every recipe with every seed, evaluate each run on the way: resumable at any moment."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from audiotrans.errors import UsageError, check_counts
from audiotrans.evaluation.compare import imagenet
from audiotrans.evaluation.compare.evaluation_set import (
    DIRECTIONS,
    EvaluationSet,
    different,
    distance,
    evaluate_model,
    latent_health,
    translations,
)
from audiotrans.evaluation.compare.summary import RECORDS, Scale, read_records, read_scale, write_scale, write_summary
from audiotrans.evaluation.metrics.kernel import median_bandwidth
from audiotrans.evaluation.plots import to_pixels
from audiotrans.files import from_json, replacing, write_whole
from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.processes import in_processes
from audiotrans.recipe import Recipe, dump_recipe, load_recipe, parse_recipe
from audiotrans.training.cache import read_manifest
from audiotrans.training.checkpoints import CHECKPOINT_NAME, METRICS_NAME, fit, load_checkpoint
from audiotrans.training.data import open_images
from audiotrans.training.run import SAMPLES, is_due, train

EVALUATION_SET = "evaluation_set.pt"
PLAN = "compare.json"
VERSION = 2
"""Of a comparison's folder."""

SHEET_IMAGES = 6
"""Images of each domain whose translations are kept at every evaluation, for the figure of progress."""


@dataclass(frozen=True)
class Run:
    """One recipe with one seed.

    Attributes:
        recipe: holds the seed, the steps, and the steps between evaluations.
        folder: of the run.
        cache: of the images.
        evaluation_set: file of the evaluation set.
    """

    recipe: Recipe
    folder: Path
    cache: Path
    evaluation_set: Path


def compare(
    recipes: Mapping[str, Recipe],
    cache: Path,
    output: Path,
    *,
    steps: int = 5000,
    every: int = 500,
    seeds: int = 3,
    images: int = 128,
    classifier_steps: int = 600,
    workers: int = 1,
    threads: int = 1,
    progress: bool = True,
) -> Path:
    """Train recipes on the same data with the same seeds and write curves, figures and a summary.

    A run that was killed goes on from its last checkpoint, a finished one is not repeated; so the same call with more
    seeds or more recipes adds to what is there.

    Args:
        recipes: at least one, by name; all with the imaging and domains of the cache.
        cache: folder that `audiotrans prep` wrote.
        output: folder for runs, curves and the summary.
        steps: of every run.
        every: steps between evaluations.
        seeds: runs of each recipe, with seeds 0, 1, ...
        images: held-out images of each domain.
        classifier_steps: steps that the attribute classifier is trained for, once for the folder.
        workers: runs at a time, each in a process of its own.
        threads: CPU threads of each.
        progress: show a bar with speed and time left.

    Returns:
        The summary, ``output/summary.md``.

    Raises:
        UsageError: for arguments that are not allowed, or a folder that holds another comparison.
        AudiotransError: if a recipe does not fit the cache, or a run fails.
    """
    _check(recipes, steps=steps, every=every, seeds=seeds, workers=workers, threads=threads, images=images)
    _keep_plan(output, recipes, cache, steps, every, images)
    path = output / EVALUATION_SET
    if not path.exists():
        crop_frames = next(iter(recipes.values())).train.crop_frames
        EvaluationSet.make(open_images(cache), crop_frames, images=images, steps=classifier_steps).save(path)
    runs = [
        Run(_scheduled(recipe, steps, every, seed), output / "runs" / f"{name}-{seed}", cache, path)
        for seed in range(seeds)
        for name, recipe in recipes.items()
    ]
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
    held_out = EvaluationSet.load(path)
    measure_imagenet([run.folder for run in runs], output, held_out, cache, progress=progress)
    return write_summary(output, held_out)


def _check(recipes: Mapping[str, Recipe], **numbers: int) -> None:
    if not recipes:
        raise UsageError("nothing to compare: give one recipe or more")
    check_counts(**numbers)
    if numbers["every"] > numbers["steps"]:
        raise UsageError(f"every {numbers['every']}: there would be no evaluation in {numbers['steps']} steps")


def _keep_plan(output: Path, recipes: Mapping[str, Recipe], cache: Path, steps: int, every: int, images: int) -> None:
    """Write what is compared, or refuse to mix it with another comparison in the same folder."""
    manifest = read_manifest(cache)
    facts = {
        "steps": steps,
        "every": every,
        "images": images,
        "imaging": manifest["imaging"],
        "domains": manifest["domains"],
        "data": _digest(manifest),
    }
    epoch = epoch_images(manifest, next(iter(recipes.values())).train.crop_frames)
    path = output / PLAN
    texts = {name: dump_recipe(recipe) for name, recipe in recipes.items()}
    if path.exists():
        before = from_json(path.read_text(encoding="utf-8"))
        if before.get("version") != VERSION:
            raise UsageError(f"{output} holds a comparison of another version of audiotrans: take another folder")
        for key, value in facts.items():
            if before[key] != value:
                raise UsageError(
                    f"{output} holds a comparison with {key} {before[key]!r}, not {value!r}: take another folder"
                )
        # As recipes, not as texts: a later version may know more settings.
        kept = {name: parse_recipe(text, f"{path}: {name}") for name, text in before["recipes"].items()}
        changed = [name for name, recipe in recipes.items() if kept.get(name, recipe) != recipe]
        if changed:
            raise UsageError(f"{output} holds runs of another recipe {changed[0]!r}: take another folder or name")
        texts = before["recipes"] | texts
    plan = {"format": "audiotrans-compare", "version": VERSION, **facts, "epoch": epoch, "recipes": texts}
    output.mkdir(parents=True, exist_ok=True)  # not before: a wrong cache leaves no empty folder
    write_whole(path, json.dumps(plan, indent=1))


def _digest(manifest: dict[str, Any]) -> str:
    """Name what is trained and held out: the evaluation set must never have been trained on."""
    items = sorted([item["domain"], item["split"], item.get("sha1", ""), item["file"]] for item in manifest["items"])
    return hashlib.sha256(json.dumps(items).encode()).hexdigest()[:16]


def epoch_images(manifest: dict[str, Any], crop_frames: int) -> int:
    """Count the training images of the smaller domain; sounds count once for every crop that fits into them."""
    counts = dict.fromkeys("ab", 0)
    for item in manifest["items"]:
        if item["split"] == "train":
            counts[item["domain"]] += max(item["frames"] // crop_frames, 1)
    return min(counts.values())


def _scheduled(recipe: Recipe, steps: int, every: int, seed: int) -> Recipe:
    """Give every recipe the same length, evaluations and seed; all else is its own."""
    schedule = {"steps": steps, "seed": seed, "sample_every": every, "save_every": every, "threads": 0}
    schedule["log_every"] = min(recipe.train.log_every, every)
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=schedule)})


def _run(run: Run, peek: Callable[[], object] | None = None) -> Path:
    """Train one run to its end, from where it stands."""
    checkpoint, recipe = run.folder / CHECKPOINT_NAME, run.recipe
    state = load_checkpoint(checkpoint)[0] if checkpoint.exists() else None
    not_evaluated = state is not None and _is_not_evaluated(run, state["step"])
    if state is not None and state["step"] >= recipe.train.steps and not not_evaluated:
        return run.folder
    held_out = EvaluationSet.load(run.evaluation_set)

    def on_sample(model: AVBGTN, step: int, folder: Path) -> None:
        record = {"step": step, **evaluate_model(model, held_out), **latent_health(_last_losses(run.folder))}
        _keep_images(model, held_out, folder / f"step_{step:07d}.safetensors")
        _keep_weights(model, _weights(run.folder, step))
        # A step that is repeated after an interruption replaces its line. Last: it says that the evaluation is whole.
        earlier = [each for each in read_records(run.folder) if each["step"] < record["step"]]
        _write_records(run.folder, [*earlier, record])
        if peek is not None:
            peek()

    if state is not None and not_evaluated:
        model = AVBGTN(recipe.model, open_images(run.cache).image_size()[0])
        fit(model, state["ema"], str(checkpoint))
        on_sample(model.eval(), state["step"], run.folder / SAMPLES)
    train(recipe, run.cache, run.folder, resume=state is not None, on_sample=on_sample, progress=False)
    return run.folder


def _is_not_evaluated(run: Run, step: int) -> bool:
    """Return whether a run was killed between a checkpoint and the end of the evaluation that belongs to it."""
    settings = run.recipe.train
    due = step > 0 and is_due(step, settings.sample_every, settings.steps)
    return due and step not in {record["step"] for record in read_records(run.folder)}


def _last_losses(folder: Path) -> dict[str, float]:
    """Return the last line of metrics.jsonl that has the losses; empty if there is none."""
    path = folder / METRICS_NAME
    if not path.exists():
        return {}
    for line in reversed(path.read_text(encoding="utf-8").splitlines()):
        record: dict[str, float] = from_json(line)
        if "generator/gan" in record:
            return record
    return {}


def _write_records(folder: Path, records: Sequence[Mapping[str, float]]) -> None:
    write_whole(folder / RECORDS, "".join(json.dumps(each) + "\n" for each in records))


@torch.inference_mode()
def _keep_images(model: AVBGTN, held_out: EvaluationSet, path: Path) -> None:
    """Keep the translations of a few images, 8 bits a channel, for the figure of progress."""
    made: dict[str, Tensor] = {}
    for source, target in DIRECTIONS:
        ((_, y, _),) = translations(model, held_out.images[source][:SHEET_IMAGES], source, target)
        made[source + target] = to_pixels(y).contiguous()
    with replacing(path) as partial:
        save_file(made, partial)


def _keep_weights(model: AVBGTN, path: Path) -> None:
    """Keep averaged weights in half precision: a metric thought of later can then be taken of every evaluation."""
    with replacing(path) as partial:
        save_file({name: value.half().contiguous() for name, value in model.state_dict().items()}, partial)


def _weights(folder: Path, step: int) -> Path:
    return folder / "evaluations" / f"step_{step:07d}.safetensors"


def measure_imagenet(
    folders: Sequence[Path], output: Path, held_out: EvaluationSet, cache: Path, *, progress: bool = True
) -> None:
    """Add the distances in ImageNet's features to all evaluations that lack them, where the network is installed.

    Args:
        folders: of the runs; the weights that their evaluations kept are read.
        output: the comparison's folder.
        held_out: the evaluation set.
        cache: prepared data; further real images come from its training split. Nothing is measured of sounds.
        progress: show a bar.
    """
    if read_manifest(cache)["imaging"].get("type") != "photo" or not imagenet.available():
        return
    lacking = [
        (folder, int(record["step"]))
        for folder in folders
        for record in read_records(folder)
        if "imagenet_ab" not in record and _weights(folder, int(record["step"])).exists()
    ]
    if not lacking:
        return  # the network need not be loaded
    real = {d: imagenet.embed(x) for d, x in held_out.images.items()}
    scale = read_scale(output)
    if scale is None:
        scale = _make_scale(held_out, real, cache)
        write_scale(output, scale)
    for folder, step in tqdm(lacking, unit="evaluation", desc="ImageNet", disable=not progress):
        found = imagenet_distances(_model(folder, step, held_out), held_out, real, scale)
        _write_records(folder, [each | found if each["step"] == step else each for each in read_records(folder)])


def _make_scale(held_out: EvaluationSet, real: dict[str, Tensor], cache: Path) -> Scale:
    data = open_images(cache)
    others = {d: imagenet.embed(different(data, d, "train", len(x), 0, 1)) for d, x in held_out.images.items()}
    width = {s + t: median_bandwidth(real[t].double().numpy()) for s, t in DIRECTIONS}
    return Scale(
        bandwidth=width,
        copy={s + t: distance(real[t], real[s], width[s + t]) for s, t in DIRECTIONS},
        floor={s + t: distance(real[t], others[t], width[s + t]) for s, t in DIRECTIONS},
    )


def _model(folder: Path, step: int, held_out: EvaluationSet) -> AVBGTN:
    recipe = load_recipe(folder / "recipe.yaml")
    model = AVBGTN(recipe.model, next(iter(held_out.images.values())).shape[1])
    model.load_state_dict({name: value.float() for name, value in load_file(_weights(folder, step)).items()})
    return model.eval()


@torch.inference_mode()
def imagenet_distances(
    model: AVBGTN, held_out: EvaluationSet, real: dict[str, Tensor], scale: Scale
) -> dict[str, float]:
    """Return the kernel distances of a model's translations to real images of the target.

    Args:
        model: in evaluation mode.
        held_out: its images are translated, with the noise of every evaluation.
        real: ImageNet's embedding of them, by domain.
        scale: for the bandwidth.
    """
    found = {}
    for source, target in DIRECTIONS:
        made = torch.cat([y for _, y, _ in translations(model, held_out.images[source], source, target)])
        way = source + target
        found[f"imagenet_{way}"] = distance(real[target], imagenet.embed(made), scale.bandwidth[way])
    return found


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
        return next((int(from_json(line)["step"]) for line in reversed(lines) if line.endswith(b"}")), 0)
    except (FileNotFoundError, ValueError, KeyError):
        return 0
