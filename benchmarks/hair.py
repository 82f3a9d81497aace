"""Measure a model of hair colour: on the test images of a prepared cache, and on a photo that is no part of the data.

    python -m benchmarks.hair --model hair.safetensors --cache CACHE --faces CELEBA --set OUT/evaluation_set.pt

The outside photo is NASA's portrait of Eileen Collins, in the public domain, which the package scikit-image ships
(`pip install scikit-image`); or any other, with `--photo FILE --hair MASK.png` and the box of its face.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from scipy import ndimage
from scipy.spatial.distance import cdist

from audiotrans.convert.converter import load_photo
from audiotrans.convert.jobs import Job
from audiotrans.convert.photos import PhotoConverter
from audiotrans.errors import AudiotransError
from audiotrans.evaluation.compare.evaluation_set import (
    DIRECTIONS,
    EvaluationSet,
    content_kept,
    different,
    distance,
    embedded,
    share_classified_as,
    train_classifier,
    translations,
)
from audiotrans.photo.images import Pixels
from audiotrans.photo.pillow import read_photo, write_photo
from audiotrans.training.data import ImageCache, open_images
from benchmarks.table import Row, markdown, write_json

DRAWS = 1000

HAIR = (
    (190, 33), (205, 23), (232, 16), (255, 21), (275, 31), (287, 42), (296, 60), (301, 84), (297, 104), (288, 118),
    (275, 130), (272, 128), (270, 112), (269, 92), (252, 84), (232, 80), (212, 80), (198, 78), (188, 71), (184, 78),
    (183, 100), (181, 112), (178, 117), (170, 117), (158, 106), (155, 93), (153, 70), (157, 57), (168, 45), (188, 36),
)  # fmt: skip
"""Outline of the hair in the portrait, x and y."""

FACE = (119, 0, 329, 210)
"""The part of the portrait that CelebA's alignment and UNIT's cut would show: eyes at half the height, .22 apart."""

BAND = 0.012
"""Share of the photo's longer side on each side of the hair's outline that counts neither as hair nor as outside."""


@dataclass(frozen=True)
class View:
    """One way in which a user may hand the photo in: a box of it (left, top, right, bottom), at a size (w, h)."""

    name: str
    box: tuple[float, float, float, float]
    size: tuple[int, int]


def held_out_photos(data: ImageCache, domain: str, celeba: Path | None) -> list[Pixels]:
    """Return the test images of a domain as photos: the files themselves, or if not at hand what the cache holds."""
    items = data.items.get((domain, "test"))
    if not items:
        raise AudiotransError(f"{data.root} has no test images: prepare a folder that has a split")
    if celeba is None:
        whole = [((data.read(item) + 1) * 127.5).round().to(torch.uint8) for item in items]
        return [image.permute(1, 2, 0).numpy().copy() for image in whole]
    return [read_photo(celeba / "img_align_celeba" / Path(item["source"]).name) for item in items]


def as_images(photos: list[Pixels], converter: PhotoConverter) -> torch.Tensor:
    """Make of photos what the classifier sees: prepared as `prep` does, cut to the middle."""
    settings, images = converter.imaging.settings, []
    for photo in photos:
        whole = torch.from_numpy(converter.imaging.prepare(photo)).float() / 127.5 - 1
        top, left = (whole.shape[1] - settings.height) // 2, (whole.shape[2] - settings.width) // 2
        images.append(whole[:, top : top + settings.height, left : left + settings.width])
    return torch.stack(images)


def kernels(held_out: EvaluationSet, source: str, target: str, made: torch.Tensor) -> tuple[list[np.ndarray], ...]:
    """Return the kernel within the target, within the inputs and the translations, and across, as matrices."""
    width, real = held_out.bandwidth[target], held_out.target[target].double().numpy()
    sets = [held_out.target[source].double().numpy(), embedded(held_out.classifier, made).double().numpy()]

    def k(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.exp(cdist(x, y, "sqeuclidean") / (-2 * width * width))

    return [k(real, real)], [k(x, x) for x in sets], [k(real, x) for x in sets]


def weighted_distance(real: np.ndarray, made: np.ndarray, across: np.ndarray, w: np.ndarray, v: np.ndarray) -> float:
    """Return the unbiased kernel distance of two sets whose images count w and v times; repeats make no pairs."""
    within = [(x @ k @ x - (x * x).sum()) / (x.sum() ** 2 - (x * x).sum()) for k, x in ((real, w), (made, v))]
    return float(sum(within) - 2 * (w @ across @ v) / (w.sum() * v.sum()))


@torch.inference_mode()
def outcome_rows(
    name: str, held_out: EvaluationSet, made: dict[str, torch.Tensor], names: dict[str, str]
) -> Iterator[Row]:
    """Tell how the classifier classifies the translations of both directions, with intervals over the images."""
    for source, target in DIRECTIONS:
        way, images = f"{names[source]} to {names[target]}", made[source]
        right = ((held_out.classifier(images) > 0) == (target == "b")).double().numpy()
        real = ((held_out.classifier(held_out.images[target]) > 0) == (target == "b")).double().numpy()
        rows = kernels(held_out, source, target, images)
        rng, draws = np.random.default_rng(0), []
        for _ in range(DRAWS):
            w = rng.multinomial(len(real), np.full(len(real), 1 / len(real))).astype(float)
            v = rng.multinomial(len(right), np.full(len(right), 1 / len(right))).astype(float)
            copied, moved = (weighted_distance(rows[0][0], rows[1][i], rows[2][i], w, v) for i in (0, 1))
            taken, ceiling = v @ right / v.sum(), w @ real / w.sum()
            draws.append((100 * taken, 100 * ceiling, 100 * taken / ceiling, 1000 * moved, 100 * (1 - moved / copied)))
        low, high = np.percentile(np.array(draws), (2.5, 97.5), axis=0)
        copy, floor = held_out.copy[source + target], held_out.floor[source + target]
        away = distance(held_out.target[target], embedded(held_out.classifier, images), held_out.bandwidth[target])
        taken, ceiling = share_classified_as(held_out.classifier, images, target), held_out.accuracy[target]
        figures: list[tuple[str, float, str, float | None]] = [
            (f"classified as {names[target]} ({len(right)} images)", 100 * taken, "%", None),
            (f"real {names[target]} classified as {names[target]} ({len(real)} images)", 100 * ceiling, "%", None),
            ("accuracy, share of real images'", 100 * taken / ceiling, "%", 85),
            ("kernel distance x 1000", 1000 * away, "", None),
            ("kernel distance below copying", 100 * (1 - away / copy), "%", 40),
        ]  # fmt: skip
        for (what, value, unit, bar), a, b in zip(figures, low, high, strict=True):
            yield Row(name, f"{way}: {what}", value, unit, bar, low=float(a), high=float(b))
        yield Row(name, f"{way}: of copying; kernel distance x 1000", 1000 * copy)
        yield Row(name, f"{way}: of other real images; kernel distance x 1000", 1000 * floor)
        yield Row(name, f"{way}: content kept (gradient cosine)", content_kept(held_out.images[source], images))


@torch.inference_mode()
def face_rows(converter: PhotoConverter, cache: Path, celeba: Path | None, set_file: Path | None) -> Iterator[Row]:
    """Measure all test images: as the network paints them, as in `compare`, and as `convert` gives them back."""
    data = open_images(cache)
    photos = {d: held_out_photos(data, d, celeba) for d in "ab"}
    images = {d: as_images(photos[d], converter) for d in "ab"}
    classifier = EvaluationSet.load(set_file).classifier if set_file else train_classifier(data, 0)
    held_out = EvaluationSet.of(
        classifier, images, {d: different(data, d, "train", len(images[d]), 0, 1) for d in "ab"}
    )
    names = dict(zip("ab", converter.domains, strict=True))
    made = {s: torch.cat([y for _, y, _ in translations(converter.model, images[s], s, t)]) for s, t in DIRECTIONS}
    yield from outcome_rows("faces, the network's image", held_out, made, names)
    for source, target in DIRECTIONS:
        requests = (converter.options(names[target], seed=seed) for seed in range(len(photos[source])))
        converted = [converter.translate(p, r) for p, r in zip(photos[source], requests, strict=True)]
        made[source] = as_images(converted, converter)
    yield from outcome_rows("faces, as `convert` gives them", held_out, made, names)


def portrait() -> tuple[Pixels, np.ndarray]:
    """Return the portrait and where its hair is."""
    from PIL import Image, ImageDraw

    try:
        import skimage  # its data function would want more packages than the picture needs
    except ImportError:
        raise AudiotransError("no photo: pip install scikit-image, or give --photo and --hair") from None
    pixels = read_photo(Path(skimage.__file__).parent / "data" / "astronaut.png")
    mask = Image.new("L", (pixels.shape[1], pixels.shape[0]))
    ImageDraw.Draw(mask).polygon(HAIR, fill=255)
    return pixels, np.asarray(mask) > 127


def views(width: int, height: int, face: tuple[int, int, int, int] | None) -> list[View]:
    """Return the whole photo, its face as CelebA aligns it, and an odd size that is not square, around the face."""
    found = [View("whole", (0, 0, width, height), (width, height))]
    left, top, right, bottom = face or (0, 0, width, height)
    if face:
        found.append(View("face", face, (right - left, bottom - top)))
    # As wide as it can be around the face's middle: 777 x 431.
    half = min((right - left) * 1.2, width / 2)
    middle = min(max((left + right) / 2, half), width - half)
    tall = min(2 * half * 431 / 777, height)
    start = min(max((top + bottom) / 2 - tall / 2, 0), height - tall)
    return [*found, View("777 x 431", (middle - half, start, middle + half, start + tall), (777, 431))]


def seen(picture: np.ndarray, view: View) -> Pixels:
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize(view.size, Image.Resampling.BICUBIC, view.box))


def photo_rows(
    converter: PhotoConverter,
    photo: Pixels,
    hair: np.ndarray,
    face: tuple[int, int, int, int] | None,
    kept: Path | None,
) -> Iterator[Row]:
    """Convert each view of a photo as a file, and tell what changed in the hair and what outside of it."""
    with tempfile.TemporaryDirectory() as folder:
        for view in views(photo.shape[1], photo.shape[0], face):
            source, mask = Path(folder) / f"{view.name}.png", seen(hair.astype(np.uint8) * 255, view) > 127
            write_photo(source, seen(photo, view))
            for to in converter.domains:
                output = (kept or Path(folder)) / f"{view.name} {to}.png"
                converter.convert_job(Job(source, (output,)), converter.options(to), force=True)
                yield from changes(f"photo, {view.name}, to {to}", read_photo(source), read_photo(output), mask)


def changes(name: str, before: Pixels, after: Pixels, hair: np.ndarray) -> Iterator[Row]:
    """Compare a photo with its translation, in the hair and outside; the outline's neighbourhood left out."""
    size = f"size kept ({before.shape[1]} x {before.shape[0]})"
    yield Row(name, size, float(before.shape == after.shape), at_least=1)
    band = max(round(BAND * max(hair.shape)), 1)
    parts = {
        "in the hair": ndimage.binary_erosion(hair, iterations=band),
        "outside": ~ndimage.binary_dilation(hair, iterations=band),
    }
    change = np.abs(after.astype(float) - before).mean(2)
    means = {where: float(change[part].mean()) for where, part in parts.items()}
    for where, value in means.items():
        yield Row(name, f"L1 {where} ({value / 255:.3f} of 0 .. 1)", value, "of 255")
    yield Row(name, "L1 in the hair over outside", means["in the hair"] / max(means["outside"], 1e-9))
    yield Row(name, "gradient cosine outside", edges_kept(before, after, parts["outside"]))


def edges_kept(before: Pixels, after: Pixels, part: np.ndarray) -> float:
    """Return the cosine between the gradients of two photos where both neighbours belong to a part."""
    cosine = np.zeros(3)
    for axis in (0, 1):
        inside = np.minimum(*(np.take(part, range(i, part.shape[axis] - 1 + i), axis) for i in (0, 1)))
        x, y = (np.diff(photo.astype(float).mean(2), axis=axis)[inside] for photo in (before, after))
        cosine += (x @ y, x @ x, y @ y)
    return float(cosine[0] / np.sqrt(max(cosine[1] * cosine[2], 1e-12)))


PATH = click.Path(path_type=Path)


@click.command()
@click.option("--model", required=True, type=PATH, help="A weights file of photos.")
@click.option("--cache", type=PATH, help="Prepared faces with a test split.")
@click.option("--faces", "celeba", type=PATH, help="CelebA's folder: convert its files, not the cache's images.")
@click.option("--set", "set_file", type=PATH, help="evaluation_set.pt of `audiotrans compare`: the same classifier.")
@click.option("--photo", type=PATH, help="Another outside photo.  [default: scikit-image's portrait]")
@click.option("--hair", type=PATH, help="Its mask: white where there is hair.")
@click.option("--face", nargs=4, type=int, help="Box of its face: left top right bottom, eyes at half the height.")
@click.option("--keep", type=float, help="Share of what the auto-encoder loses that stays.  [default: convert's]")
@click.option("--pictures", type=PATH, help="Folder for the converted photos.")
@click.option("--threads", default=1, show_default=True)
@click.option("-o", "--output", type=PATH, help="File for the table; with .json for programs.")
def main(
    model: Path, cache: Path | None, celeba: Path | None, set_file: Path | None, photo: Path | None, hair: Path | None,
    face: tuple[int, int, int, int] | None, keep: float | None, pictures: Path | None, threads: int,
    output: Path | None,
) -> None:  # fmt: skip
    """Measure a model of hair colour on held-out faces and on a photo from outside."""
    torch.set_num_threads(threads)
    if (photo is None) != (hair is None):
        raise click.UsageError("--photo and --hair go together")
    loaded = load_photo(model, device="cpu")
    converter = PhotoConverter(loaded.model, loaded.recipe, keep=keep)
    rows = list(face_rows(converter, cache, celeba, set_file)) if cache else []
    if photo is None or hair is None:
        pixels, mask = portrait()
        face = FACE
    else:
        pixels, mask = read_photo(photo), read_photo(hair)[..., 0] > 127
    rows += photo_rows(converter, pixels, mask, face, pictures)
    click.echo(markdown(rows))
    if output is not None and output.suffix == ".json":
        write_json(rows, [], output)
    elif output is not None:
        output.write_text(f"{markdown(rows)}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
