"""Figures taken after training, of the weights that every examination has kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from audiotrans.evaluation.compare import imagenet
from audiotrans.evaluation.compare.measures import DIRECTIONS, Exam, between_draws, different, distance, translations
from audiotrans.evaluation.compare.statistics import Records
from audiotrans.evaluation.metrics.kernel import median_bandwidth
from audiotrans.files import replacing
from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.recipe import load_recipe
from audiotrans.training.datasets import open_images, read_manifest
from audiotrans.training.prepare.images import write_atomically

RECORDS = "exams.jsonl"
SCALE = "imagenet.json"


@dataclass(frozen=True)
class Scale:
    """What distances in ImageNet's features are to be read against, by direction (``ab``, ``ba``).

    Attributes:
        bandwidth: of the kernel: the median distance between real images of the target.
        copy: distance of the unchanged input.
        floor: of other real images of the target.
    """

    bandwidth: dict[str, float]
    copy: dict[str, float]
    floor: dict[str, float]


def keep_weights(model: AVBGTN, path: Path) -> None:
    """Keep averaged weights in half precision: a figure thought of later can then be taken of every examination."""
    values = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    with replacing(path) as partial:
        save_file(values, partial)


def kept_weights(folder: Path, step: int) -> Path:
    """Return where a run keeps the weights of an examination."""
    return folder / "exams" / f"step_{step:07d}.safetensors"


def read_records(path: Path) -> Records:
    """Return the examinations of a run by step; empty before the first."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_records(path: Path, records: Records) -> None:
    """Write the examinations of a run."""
    write_atomically(path, "".join(json.dumps(each) + "\n" for each in records).encode())


def read_scale(output: Path) -> Scale | None:
    """Return the scale of a comparison's folder; None where distances in ImageNet's features were not measured."""
    path = output / SCALE
    return Scale(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def measure_kept(folders: Sequence[Path], output: Path, exam: Exam, cache: Path, *, progress: bool = True) -> None:
    """Add to all examinations whose weights are kept what they lack; nothing is measured twice.

    That is `between_draws`, in folders of versions that did not measure it, and for pictures, where its packages are
    installed, the distance in ImageNet's features.

    Args:
        folders: of the runs.
        output: the comparison's folder.
        exam: of all runs.
        cache: prepared data; further real images come from its training split.
        progress: show a bar.
    """
    photos = read_manifest(cache)["imaging"].get("type") == "photo"
    wanted = ["draws", *(["imagenet_ab"] if photos and imagenet.available() else [])]
    lacking = [(folder, int(record["step"])) for folder in folders for record in read_records(folder / RECORDS)
               if any(name not in record for name in wanted)]  # fmt: skip
    lacking = [(folder, step) for folder, step in lacking if kept_weights(folder, step).exists()]
    if not lacking:
        return  # the network need not be loaded
    real = {d: imagenet.embed(x) for d, x in exam.images.items()} if "imagenet_ab" in wanted else {}
    scale = (read_scale(output) or _make_scale(exam, real, cache, output)) if real else None
    for folder, step in tqdm(lacking, unit="examination", desc="later", disable=not progress):
        model = _model(folder, step, exam)
        found = {"draws": between_draws(model, exam)}
        if scale is not None:
            found |= imagenet_distances(model, exam, real, scale)
        records = read_records(folder / RECORDS)
        write_records(folder / RECORDS, [found | each if each["step"] == step else each for each in records])


def _make_scale(exam: Exam, real: dict[str, Tensor], cache: Path, output: Path) -> Scale:
    data = open_images(cache)
    others = {d: imagenet.embed(different(data, d, "train", len(images), 0, 1)) for d, images in exam.images.items()}
    width = {s + t: median_bandwidth(real[t].double().numpy()) for s, t in DIRECTIONS}
    scale = Scale(
        bandwidth=width,
        copy={s + t: distance(real[t], real[s], width[s + t]) for s, t in DIRECTIONS},
        floor={s + t: distance(real[t], others[t], width[s + t]) for s, t in DIRECTIONS},
    )
    write_atomically(output / SCALE, json.dumps(asdict(scale)).encode())
    return scale


def _model(folder: Path, step: int, exam: Exam) -> AVBGTN:
    recipe = load_recipe(folder / "recipe.yaml")
    model = AVBGTN(recipe.model, next(iter(exam.images.values())).shape[1])
    model.load_state_dict({name: value.float() for name, value in load_file(kept_weights(folder, step)).items()})
    return model.eval()


@torch.inference_mode()
def imagenet_distances(model: AVBGTN, exam: Exam, real: dict[str, Tensor], scale: Scale) -> dict[str, float]:
    """Return the kernel distances of a model's translations to real images of the target.

    Args:
        model: in evaluation mode.
        exam: its images are translated, with the noise of every examination.
        real: ImageNet's embedding of them, by domain.
        scale: for the bandwidth.
    """
    found = {}
    for source, target in DIRECTIONS:
        made = torch.cat([y for _, y, _ in translations(model, exam.images[source], source, target)])
        way = source + target
        found[f"imagenet_{way}"] = distance(real[target], imagenet.embed(made), scale.bandwidth[way])
    return found
