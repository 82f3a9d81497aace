"""Crops for training from a prepared cache: where they are cut, what is changed of them, and when they are drawn.

All of it is a function of recipe, data and step, so that a resumed run sees what the first one would have seen, and
threads may draw the crops of coming steps while a GPU computes this one's. What is changed at random keeps a network
from telling the domains by level, noise, key or microphone.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from audiotrans.errors import AudiotransError
from audiotrans.model.extra_losses import FIRST_NOTE_ROW, SOUNDING_ON_AVERAGE
from audiotrans.recipe import Recipe, recipe_to_dict
from audiotrans.spectrogram.imaging import DB_PER_UNIT, AudioImaging, AudioSettings, relevel
from audiotrans.training.cache import Images, from_bytes, read_manifest

OUTSIDE = 0.05
"""Weight that crops outside the shared range keep."""

CURVE_WAVES = 4
"""Half waves, over all octaves, of the finest part of a random equaliser's curve."""

CURVE_LOWEST_HZ = 60.0
"""Where a random equaliser's curve begins; rows below have its first value."""

Seed = int | tuple[int, str]
"""A run's seed; with a name, the seed of a stream of its own beside it."""

Step = int | tuple[int, int]
"""Position in a run; with a number, that of an image of the step beside its first one, see `at`."""

Place = tuple[dict[str, Any], int]


class Share(NamedTuple):
    """The part of each step's images that one of several processes draws.

    Attributes:
        rank: number of the process.
        size: processes.
    """

    rank: int = 0
    size: int = 1

    def images(self, each: int) -> range:
        """Return the numbers of its images in the whole step, if every process has so many."""
        return range(self.rank * each, (self.rank + 1) * each)


WHOLE = Share()


def at(step: int, image: int) -> Step:
    """Return the place of an image of a step: all that is drawn of it depends on nothing else.

    However many processes a step's images are divided among, they are the same images.
    """
    return (step, image) if image else step


class ImageCache:
    """A folder that `audiotrans prep` wrote.

    Args:
        root: the folder.

    Raises:
        AudiotransError: if it holds no cache, or one of another version, or a domain without images.
    """

    made_of = "SOUNDS"
    """What `audiotrans prep` makes such a cache of, for messages."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.manifest = read_manifest(self.root, self.made_of)
        self.images = Images(self.root)
        self.items: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for item in self.manifest["items"]:
            self.items.setdefault((item["domain"], item["split"]), []).append(item)
        self._drawn_lock = threading.Lock()  # looking at every image once is enough
        self._drawn: dict[tuple[str, int, bool], dict[str, tuple[list[Place], Tensor]]] = {}
        for domain in "ab":
            if not self.items.get((domain, "train")):
                name = self.manifest["domains"][domain]
                raise AudiotransError(
                    f"the cache {self.root} has no training images of {name!r}; run audiotrans prep again"
                )

    def check_suits(self, recipe: Recipe, whose: str, way_out: str) -> None:
        """Refuse a recipe of another imaging, or of other domains.

        Args:
            recipe: that the images are for.
            whose: of whom it is, for the message: ``the recipe``.
            way_out: end of the message.

        Raises:
            AudiotransError: naming the first setting that differs, and both values.
        """
        found, wanted = self.manifest["imaging"], recipe_to_dict(recipe)
        for key, value in wanted["imaging"].items():
            if key != "phase" and found.get(key, value) != value:
                raise AudiotransError(
                    f"the cache {self.root} has imaging.{key} {found[key]!r}, {whose} {value!r}; {way_out}"
                )
        if wanted["domains"] != self.manifest["domains"]:
            held, named = (" and ".join(each.values()) for each in (self.manifest["domains"], wanted["domains"]))
            raise AudiotransError(f"the cache {self.root} holds {held}, {whose} translates {named}; {way_out}")

    def has(self, split: str) -> bool:
        """Tell whether both domains have images in a split."""
        return all(self.items.get((domain, split)) for domain in "ab")

    def sample(
        self,
        domain: str,
        split: str,
        step: Step,
        batch: int,
        crop_frames: int,
        seed: Seed,
        *,
        match_range: bool = False,
    ) -> Tensor:
        """Draw crops: a pure function of its arguments, so that a resumed run sees what the first would have seen.

        Args:
            domain: ``a`` or ``b``.
            split: ``train`` or ``valid``.
            step: position in the run.
            batch: number of crops.
            crop_frames: columns of each; shorter images are filled with their lowest value.
            seed: of the run.
            match_range: draw both domains from the pitch range that they share, see `range_weights`.

        Returns:
            Float32 ``(batch, c, rows, crop_frames)`` in [-1, 1]; every second of sound is equally likely, unless `prep`
            gave weights or ranges are matched.
        """
        generator = stream(seed, "crops", domain, split, step)
        places, bounds = self._places(split, crop_frames, match_range)[domain]
        chosen = draw_places(bounds, batch, generator)
        crops = []
        for index in chosen.tolist():
            item, first = places[index]
            start = first + int(torch.randint(_starts(item, first, crop_frames), (1,), generator=generator))
            crops.append(self._crop(item, start, crop_frames))
        return torch.stack(crops)

    def _places(self, split: str, crop_frames: int, match_range: bool) -> dict[str, tuple[list[Place], Tensor]]:
        """Return where crops may begin (on a grid of half crops), and the running sum of their weights, by domain."""
        key = split, crop_frames, match_range
        with self._drawn_lock:
            if key not in self._drawn:
                self._drawn[key] = self._all_places(*key)
            return self._drawn[key]

    def _all_places(self, split: str, crop_frames: int, match_range: bool) -> dict[str, tuple[list[Place], Tensor]]:
        step = max(crop_frames // 2, 1)
        places = {
            domain: [
                (item, at) for item in self.items[domain, split] for at in _grid(item["frames"], crop_frames, step)
            ]
            for domain in "ab"
        }
        weights = {
            domain: torch.tensor(
                [_starts(item, at, crop_frames) * item.get("weight", 1.0) for item, at in found],
                dtype=torch.float64,
            )
            for domain, found in places.items()
        }
        if match_range:
            lowest = {d: [lowest_row(self.read(item, at, crop_frames)) for item, at in places[d]] for d in "ab"}
            shared = range_weights(lowest["a"], lowest["b"], (weights["a"], weights["b"]))
            weights = {"a": weights["a"] * shared[0], "b": weights["b"] * shared[1]}
        return {domain: (places[domain], weights[domain].cumsum(0)) for domain in "ab"}

    def image_size(self) -> tuple[int, int]:
        """Return channels and rows of the images."""
        channels, rows, _ = self.read(self.manifest["items"][0], 0, 1).shape
        return channels, rows

    def read(self, item: dict[str, Any], start: int = 0, frames: int | None = None) -> Tensor:
        """Read columns of one item of the manifest, float32 ``(c, rows, frames)`` in [-1, 1].

        Raises:
            AudiotransError: if the file is missing or broken.
        """
        return from_bytes(self._values(item)[..., start : None if frames is None else start + frames])

    def _values(self, item: dict[str, Any]) -> Tensor:
        parts = [(each["file"], each["index"]) for each in (item, *(item.get("joined") or ()))]
        return self._as_said(item, self.images.values(parts, item.get("gap") or 0))

    def _as_said(self, item: dict[str, Any], values: Tensor) -> Tensor:
        """Return an image, or refuse one that is not as wide as the manifest says: crops of it would be empty."""
        if values.shape[-1] != item["frames"]:
            raise AudiotransError(
                f"{self.root / item['file']} holds an image of {values.shape[-1]} columns, its manifest says"
                f" {item['frames']}: remove it and run audiotrans prep again"
            )
        return values

    def _crop(self, item: dict[str, Any], start: int, frames: int) -> Tensor:
        image = self.read(item, start, frames)
        missing = frames - image.shape[-1]
        if missing <= 0:
            return image
        return torch.nn.functional.pad(image, (0, missing), value=float(image.min()))


class PhotoCache(ImageCache):
    """A cache of photos: images of one size, many to a file, cropped in both directions and mirrored."""

    def sample(
        self,
        domain: str,
        split: str,
        step: Step,
        batch: int,
        crop_frames: int,
        seed: Seed,
        *,
        match_range: bool = False,
    ) -> Tensor:
        """Draw images: a pure function of its arguments.

        Args:
            domain: ``a`` or ``b``.
            split: ``train``: random crops, mirrored half of the time if the settings say so; else centred crops.
            step: position in the run.
            batch: number of images.
            crop_frames: not used: the settings that the cache was made with name the size.
            seed: of the run.
            match_range: not used.

        Returns:
            Float32 ``(batch, 3, height, width)`` in [-1, 1].
        """
        del crop_frames, match_range
        generator = stream(seed, "crops", domain, split, step)
        items, settings = self.items[domain, split], self.manifest["imaging"]
        chosen = torch.randint(len(items), (batch,), generator=generator).tolist()
        crops = []
        for index in chosen:
            image = self.read(items[index])
            room = torch.tensor([image.shape[1] - settings["height"], image.shape[2] - settings["width"]])
            places = torch.rand(3, generator=generator)
            top, left = ((places[:2] * (room + 1)).long() if split == "train" else room // 2).tolist()
            crop = image[:, top : top + settings["height"], left : left + settings["width"]]
            mirrored = split == "train" and settings["flip"] and places[2] < 0.5
            crops.append(crop.flip(2) if mirrored else crop)
        return torch.stack(crops)

    def image_size(self) -> tuple[int, int]:
        """Return channels and rows of the images."""
        return self.read(self.manifest["items"][0]).shape[0], int(self.manifest["imaging"]["height"])


class PairedCache(ImageCache):
    """A cache of pairs: sounds of the same notes in both domains, the n-th of one with the n-th of the other.

    Args:
        root: the folder.

    Raises:
        AudiotransError: as `ImageCache`, or if it was not prepared as pairs.
    """

    made_of = "PAIRS --paired"

    def __init__(self, root: Path | str) -> None:
        super().__init__(root)
        if not self.manifest.get("paired"):
            raise AudiotransError(f"the cache {root} holds no pairs; make it with: audiotrans prep PAIRS --paired")
        self._counts: dict[int, tuple[list[int], Tensor]] = {}
        self.pairs = [
            dict(zip("ab", pair, strict=True))
            for pair in zip(self.items["a", "train"], self.items["b", "train"], strict=True)
        ]

    def sample_pairs(self, step: Step, batch: int, crop_frames: int, seed: Seed) -> dict[str, Tensor]:
        """Draw places of the training pairs and cut both domains there: a pure function of its arguments.

        Args:
            step: position in the run.
            batch: number of places.
            crop_frames: columns of each crop.
            seed: of the run.

        Returns:
            ``a`` and ``b``, ``(batch, c, rows, crop_frames)`` in [-1, 1]; ``level_a`` and ``level_b``, what the columns
            are relative to, dB re the level of the whole sound, ``(batch, 1, 1, crop_frames)``.
        """
        generator = stream(seed, "pairs", step)
        starts, bounds = self._starts(crop_frames)
        chosen = draw_places(bounds, batch, generator)
        crops: dict[str, list[Tensor]] = {"a": [], "b": [], "level_a": [], "level_b": []}
        for index in chosen.tolist():
            start = int(torch.randint(starts[index], (1,), generator=generator))
            for domain, item in self.pairs[index].items():
                crops[domain].append(self._crop(item, start, crop_frames))
                crops[f"level_{domain}"].append(self._level(item, start, crop_frames))
        return {name: torch.stack(found) for name, found in crops.items()}

    def _starts(self, crop_frames: int) -> tuple[list[int], Tensor]:
        """Return how many crops each pair holds, and the running sum of that times `prep`'s weights."""
        if crop_frames not in self._counts:
            ends = [min(int(item["frames"]) for item in pair.values()) for pair in self.pairs]
            starts = [max(end - crop_frames + 1, 1) for end in ends]
            weights = [count * pair["a"].get("weight", 1.0) for count, pair in zip(starts, self.pairs, strict=True)]
            self._counts[crop_frames] = starts, torch.tensor(weights, dtype=torch.float64).cumsum(0)
        return self._counts[crop_frames]

    def _level(self, item: dict[str, Any], start: int, frames: int) -> Tensor:
        parts = [(part["file"], part["level"]) for part in (item, *(item.get("joined") or ()))]
        level = from_bytes(self.images.values(parts)[..., start : start + frames]) * DB_PER_UNIT
        return torch.nn.functional.pad(level, (0, frames - level.shape[-1]))


def open_images(root: Path | str) -> ImageCache:
    """Open a cache of sounds or of photos.

    Raises:
        AudiotransError: as `ImageCache`.
    """
    kind = read_manifest(Path(root))["imaging"].get("type")
    return PhotoCache(root) if kind == "photo" else ImageCache(root)


def draw_places(bounds: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw places with replacement, in a time that hardly grows with their number (`torch.multinomial`'s does).

    Args:
        bounds: running sum of the places' weights, float64, rising to above 0.
        count: of draws.
        generator: source.

    Returns:
        Indices ``(count,)``; a place of weight 0 is never among them.
    """
    found = torch.rand(count, dtype=torch.float64, generator=generator) * bounds[-1]
    return torch.searchsorted(bounds, found, right=True).clamp(max=len(bounds) - 1)


def _starts(item: dict[str, Any], first: int, crop_frames: int) -> int:
    """Count the columns from ``first`` to the next place at which a crop may begin."""
    left = int(item["frames"]) - crop_frames + 1 - first
    return max(min(max(crop_frames // 2, 1), left), 1)


def _grid(frames: int, crop_frames: int, step: int) -> range:
    return range(0, max(frames - crop_frames + 1, 1), step)


def lowest_row(image: Tensor) -> int:
    """Return the lowest row of a logarithmic image ``(c, rows, frames)`` that sounds: about the lowest note's.

    A row sounds if its mean lies within `SOUNDING_ON_AVERAGE` of the loudest row's mean; rows are taken from the first
    channel.
    """
    means = image[0, FIRST_NOTE_ROW:].mean(1)
    return FIRST_NOTE_ROW + int((means >= means.max() - SOUNDING_ON_AVERAGE).nonzero()[0])


def range_weights(
    lowest_a: Sequence[int], lowest_b: Sequence[int], counts: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Weigh crops so that both domains are drawn from the range of lowest notes that they share.

    A discriminator that always sees bass notes on one side asks for them on the other, where no note can be made of
    nothing: the translation fills up with rumble. Each domain's histogram over thirds of octaves is brought to the
    lesser of both; crops outside the shared range keep `OUTSIDE` of their weight, so that they still occur.

    Args:
        lowest_a: `lowest_row` of each crop of A.
        lowest_b: the same of B.
        counts: how often each crop of A and of B counts; once if None.

    Returns:
        Weights of either domain's crops, float64, > 0.
    """
    bins = [torch.tensor([math.floor(3 * math.log2(row + 1)) for row in rows]) for rows in (lowest_a, lowest_b)]
    size = int(max(found.max() for found in bins)) + 1
    counted = counts or (None, None)
    sums = [torch.bincount(found, n, minlength=size).double() for found, n in zip(bins, counted, strict=True)]
    shares = [found / found.sum() for found in sums]
    shared = torch.minimum(*shares)
    a, b = (
        (shared / share.clamp(min=1e-12))[found].clamp(min=OUTSIDE) for share, found in zip(shares, bins, strict=True)
    )
    return a, b


def stream(seed: Seed, *place: object) -> torch.Generator:
    """Return a CPU generator that depends on a seed and a place only (a name, a step)."""
    digest = hashlib.sha256(repr((seed, *place)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


# What is changed of crops --------------------------------------------------------------------------------------------


def augment(images: Tensor, recipe: Recipe, seed: Seed, domain: str, step: Step) -> Tensor:
    """Transpose crops, change their level and dither them, as the recipe says.

    Args:
        images: ``(n, c, rows, frames)`` in [-1, 1].
        recipe: for ``train.transpose``, ``gain_range_db``, ``gain_db`` and ``dither``.
        seed: of the draw.
        domain: ``a`` or ``b``.
        step: position in the run.

    Returns:
        The same shape, in [-1, 1].
    """
    images = _transposed(images, recipe, seed, domain, step)
    if recipe.train.gain_range_db:
        images = louder(images, gains_db(len(images), recipe, seed, domain, step))
    return _roughened(images, recipe, seed, domain, step)


def louder(images: Tensor, gains: Tensor) -> Tensor:
    """Return crops, or what is asked for of them, as their sounds would look so much louder (dB, `gains_db`)."""
    return relevel(images, gains)


def _transposed(images: Tensor, recipe: Recipe, seed: Seed, domain: str, step: Step) -> Tensor:
    settings = recipe.train
    if not settings.transpose:
        return images
    imaging = cast(AudioSettings, recipe.imaging)  # the recipe refuses anything else
    pitches = torch.rand(len(images), generator=stream(seed, "transpose", domain, step)) * 2 - 1
    moved = [
        transpose(image, float(pitch) * settings.transpose, imaging)
        for image, pitch in zip(images, pitches, strict=True)
    ]
    return torch.stack(moved)


def gains_db(count: int, recipe: Recipe, seed: Seed, domain: str, step: Step) -> Tensor:
    """Return how much louder each of a step's crops is made by ``train.gain_range_db``, dB, ``(n, 1, 1, 1)``."""
    low, high = recipe.train.gain_range_db or (0.0, 0.0)
    shares = torch.rand(count, 1, 1, 1, generator=stream(seed, "gain", domain, step))
    return high - (high - low) * shares.square()  # softer than usual is rarer, the more so the softer


def _roughened(images: Tensor, recipe: Recipe, seed: Seed, domain: str, step: Step) -> Tensor:
    """Change crops in what nothing that is asked for follows: a little level, and noise."""
    settings = recipe.train
    generator = stream(seed, "augment", domain, step)
    if settings.gain_db:
        gain = (torch.rand(len(images), 1, 1, 1, generator=generator) * 2 - 1) * settings.gain_db / DB_PER_UNIT
        images = images + gain
    if settings.dither:
        images = images + settings.dither * torch.randn(images.shape, generator=generator)
    return images.clamp(-1, 1)


def equalise(images: Tensor, recipe: Recipe, seed: Seed, domain: str, step: Step) -> Tensor:
    """Colour crops as another microphone, place or record would: each by a smooth curve over octaves of its own.

    Args:
        images: logarithmic, ``(n, c, rows, frames)`` in [-1, 1].
        recipe: for ``train.equalise_db``, the most that any curve lifts or lowers a row by.
        seed: of the draw.
        domain: ``a`` or ``b``.
        step: position in the run.

    Returns:
        The same shape, in [-1, 1].
    """
    generator = stream(seed, "equalise", domain, step)
    waves = torch.arange(1, CURVE_WAVES + 1)
    heights = torch.randn(len(images), CURVE_WAVES, generator=generator) / waves  # the first is a tilt, the widest
    places = _row_places(cast(AudioSettings, recipe.imaging))  # the recipe refuses anything else
    curves = heights @ torch.cos(math.pi * waves[:, None] * places)
    most = torch.rand(len(images), 1, generator=generator) * recipe.train.equalise_db / DB_PER_UNIT
    curves = curves / curves.abs().amax(1, keepdim=True) * most
    return (images + curves[:, None, :, None]).clamp(-1, 1)


def transpose(image: Tensor, semitones: float, imaging: AudioSettings) -> Tensor:
    """Move a logarithmic image's frequencies by a factor, as a tape at another speed does; its time stays.

    Args:
        image: ``(c, rows, frames)``.
        semitones: up, or down where negative.
        imaging: that made it: it knows where the rows lie.

    Returns:
        The same shape. Between rows decibels are interpolated; above the highest row of the input is what it holds.
    """
    bins = _row_bins(imaging)
    places = np.interp(bins / 2 ** (semitones / 12), bins, np.arange(len(bins)))
    below = torch.from_numpy(np.minimum(places.astype(np.int64), len(bins) - 2))
    share = torch.from_numpy(places).to(image) - below.to(image)
    return torch.lerp(image[:, below], image[:, below + 1], share[:, None])


@lru_cache(maxsize=4)
def _row_bins(imaging: AudioSettings) -> np.ndarray:
    return AudioImaging(imaging).representation.row_bins()


@lru_cache(maxsize=4)
def _row_places(imaging: AudioSettings) -> Tensor:
    """Return where each row lies from `CURVE_LOWEST_HZ`, 0, to the highest row, 1, in octaves."""
    hertz = torch.from_numpy(AudioImaging(imaging).row_frequencies()).float()
    octaves = torch.log2(hertz.clamp(min=CURVE_LOWEST_HZ) / CURVE_LOWEST_HZ)
    return octaves / octaves[-1]


@lru_cache(maxsize=4)
def _rumble_rows(imaging: AudioSettings) -> int:
    return AudioImaging(imaging).rumble_rows


# The crops of each step ----------------------------------------------------------------------------------------------


class Crops(NamedTuple):
    """Images of one step, ``(n, c, rows, frames)``.

    Attributes:
        a: of domain A.
        b: of domain B.
        more: further real images of ``a`` and ``b`` for the discriminators alone; empty if they see the same.
        seen: what the encoders see of ``a`` and ``b``; empty if they see the same.
        targets: what is asked for: of pairs ``true_ab`` and ``true_ba``, the other side of ``a`` and ``b``; where they
            were made louder, ``plain_a`` and ``plain_b`` as they were, and by how much, ``gain_a`` and ``gain_b``, dB.
    """

    a: Tensor
    b: Tensor
    more: dict[str, Tensor]
    seen: dict[str, Tensor]
    targets: dict[str, Tensor]

    def each(self, function: Callable[[Tensor], Tensor]) -> Crops:
        """Return what a function makes of all of them."""
        named = ({name: function(x) for name, x in found.items()} for found in (self.more, self.seen, self.targets))
        return Crops(function(self.a), function(self.b), *named)

    def parts(self, count: int) -> Iterator[Crops]:
        """Yield so many batches of equal size, each with all of `more`."""
        whole = self._replace(more={})
        for first in range(0, len(self.a), len(self.a) // count):
            own = slice(first, first + len(self.a) // count)
            yield whole.each(partial(_rows, own))._replace(more=self.more)


def _rows(own: slice, images: Tensor) -> Tensor:
    return images[own]


class Feed:
    """Hands out the crops of one step after the other, on the device.

    Args:
        recipe: see `Recipe`.
        data: to draw from.
        device: where the crops are needed.
        pairs: to draw from in some of the steps.
        share: which of each step's images.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: ImageCache,
        device: torch.device,
        *,
        pairs: PairedCache | None = None,
        share: Share = WHOLE,
    ) -> None:
        self.recipe, self.data, self.device, self.pairs, self.share = recipe, data, device, pairs, share
        self._layout = torch.channels_last if recipe.train.channels_last else torch.contiguous_format
        loaders = recipe.train.loaders
        if loaders is None:
            loaders = 0 if device.type == "cpu" else 1
        self._threads = ThreadPoolExecutor(loaders, thread_name_prefix="crops") if loaders else None
        self._ahead: dict[int, Future[Crops]] = {}

    def take(self, step: int) -> Crops:
        """Return the crops of a step.

        Raises:
            AudiotransError: if an image cannot be read.
        """
        settings, found = self.recipe.train, self._ahead.pop(step, None)
        if self._threads:
            wanted = range(step + 1, min(step + 1 + settings.prefetch, settings.steps))
            for other in self._ahead.keys() - set(wanted):
                self._ahead.pop(other).cancel()
            for coming in wanted:
                if coming not in self._ahead:
                    self._ahead[coming] = self._threads.submit(self._draw, coming)
        drawn = found.result() if found else self._draw(step)
        return drawn.each(self._to_device)

    def _draw(self, step: int) -> Crops:
        """Draw on the CPU; for a GPU into pinned memory, which it reads while the program goes on."""
        on_gpu = self.device.type == "cuda"
        with torch.cuda.device(self.device) if on_gpu else nullcontext():
            own, targets = step_crops(self.recipe, self.data, self.pairs, step, self.share)
            further = further_crops(self.recipe, self.data, step, self.share)
            seen = encoder_inputs(self.recipe, own, step, self.share)
            crops = Crops(own["a"], own["b"], further, seen, targets)
            return crops.each(Tensor.pin_memory) if on_gpu else crops

    def _to_device(self, images: Tensor) -> Tensor:
        return images.to(self.device, non_blocking=True, memory_format=self._layout)

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *error: object) -> None:
        if self._threads:
            self._threads.shutdown(cancel_futures=True)


def step_crops(
    recipe: Recipe, data: ImageCache, pairs: PairedCache | None, step: int, share: Share = WHOLE
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return a step's own crops of both domains, augmented, and what is asked for of them: `Crops.targets`.

    Args:
        recipe: for its settings.
        data: to draw from.
        pairs: to draw from in ``train.pairs_share`` of the steps.
        step: position in the run.
        share: which of the step's images.
    """
    settings = recipe.train
    paired = float(torch.rand((), generator=stream(settings.seed, "pairs or not", step))) < settings.pairs_share
    images = share.images(settings.batch_size * settings.accumulate)
    drawn = [_image_crops(recipe, data, pairs if paired else None, at(step, image)) for image in images]
    crops, targets = zip(*drawn, strict=True)
    return _joined(crops), _joined(targets)


def _joined(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _image_crops(
    recipe: Recipe, data: ImageCache, pairs: PairedCache | None, step: Step
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return one crop of either domain, or of a pair."""
    settings, seed, targets = recipe.train, recipe.train.seed, {}
    if pairs:
        found = pairs.sample_pairs(step, 1, settings.crop_frames, seed)
        # Transposed alike, they stay pairs.
        crops = {d: _transposed(found[d], recipe, seed, "pairs", step) for d in "ab"}
        higher = found["level_b"] - found["level_a"]
        targets = {"true_ab": relevel(crops["b"], higher), "true_ba": relevel(crops["a"], -higher)}
    else:
        crops = {d: _transposed(_sampled(recipe, data, d, step), recipe, seed, d, step) for d in "ab"}
    if settings.gain_range_db:
        for d, name in (("a", "true_ab"), ("b", "true_ba")):
            gains = gains_db(1, recipe, seed, d, step)
            targets |= {f"plain_{d}": crops[d], f"gain_{d}": gains}
            targets |= {name: louder(targets[name], gains)} if name in targets else {}
            crops[d] = louder(crops[d], gains)
    return {d: _roughened(images, recipe, seed, d, step) for d, images in crops.items()}, targets


def encoder_inputs(recipe: Recipe, crops: dict[str, Tensor], step: int, share: Share = WHOLE) -> dict[str, Tensor]:
    """Return what the encoders see of a step's crops of both domains (of a share of them), if that is something else.

    Their rows of rumble are silent, as they are in a conversion.
    """
    seed, coloured = recipe.train.seed, recipe.train.equalise_db
    if not (coloured or rumble_rows(recipe)):
        return {}
    if coloured:
        numbers = share.images(recipe.train.batch_size * recipe.train.accumulate)
        crops = {
            domain: torch.cat(
                [
                    equalise(image[None], recipe, seed, domain, at(step, number))
                    for image, number in zip(images, numbers, strict=True)
                ]
            )
            for domain, images in crops.items()
        }
    return {domain: without_rumble(images, recipe) for domain, images in crops.items()}


def rumble_rows(recipe: Recipe) -> int:
    """Return how many of the lowest rows a conversion neither shows to the network nor changes (`AudioImaging`)."""
    return _rumble_rows(recipe.imaging) if isinstance(recipe.imaging, AudioSettings) else 0


def without_rumble(images: Tensor, recipe: Recipe) -> Tensor:
    """Return images as a conversion shows them to the network: silent in `rumble_rows`."""
    seen = images.clone()
    seen[..., : rumble_rows(recipe), :] = -1
    return seen


def further_crops(recipe: Recipe, data: ImageCache, step: int, share: Share = WHOLE) -> dict[str, Tensor]:
    """Return the further real crops of both domains that the discriminators see, of one turn after the other."""
    numbers, seed = list(_further_images(recipe, share)), (recipe.train.seed, "more")
    return {d: real_crops(recipe, data, d, step, numbers, seed) for d in "ab"} if numbers else {}


def _further_images(recipe: Recipe, share: Share) -> Iterator[int]:
    settings, first = recipe.train, 0
    for turn in range(settings.discriminator_steps):
        each = max(settings.discriminator_batch, settings.batch_size) - (0 if turn else settings.batch_size)
        each *= settings.accumulate
        yield from (first + image for image in share.images(each))
        first += share.size * each


def real_crops(
    recipe: Recipe,
    data: ImageCache,
    domain: str,
    step: int,
    images: Sequence[int] | None = None,
    seed: Seed | None = None,
) -> Tensor:
    """Return crops of a domain, ``(n, c, rows, frames)``, augmented, on the CPU.

    Args:
        recipe: for its settings.
        data: to draw from.
        domain: ``a`` or ``b``.
        step: position in the run.
        images: their numbers in the step; of as many as the recipe's batch size if None.
        seed: of the draw; the recipe's if None.
    """
    seed = recipe.train.seed if seed is None else seed
    places = [at(step, image) for image in (range(recipe.train.batch_size) if images is None else images)]
    return torch.cat(
        [augment(_sampled(recipe, data, domain, place, seed), recipe, seed, domain, place) for place in places]
    )


def _sampled(recipe: Recipe, data: ImageCache, domain: str, step: Step, seed: Seed | None = None) -> Tensor:
    settings = recipe.train
    seed = settings.seed if seed is None else seed
    return data.sample(domain, "train", step, 1, settings.crop_frames, seed, match_range=settings.match_range)
