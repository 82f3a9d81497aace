"""Training-data statistics of a model, measured on the prepared cache: needs torch and numpy, no sound library.

Where the limits lie is found on windows that the statistics have not seen: recordings are held out a third at a time,
neighbours by name together, since those often share a player, a room or an instrument. A model's users have other
players than its maker, and a limit drawn around the very windows that were measured would ring at each of them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from audiotrans.convert.warnings import (
    DomainStatistics,
    FeatureExtractor,
    Matrix,
    SoundFeatures,
    TrainingStatistics,
    describe,
    likeness,
)
from audiotrans.errors import AudiotransError
from audiotrans.recipe import Recipe
from audiotrans.spectrogram.imaging import AudioImaging, AudioSettings
from audiotrans.training.cache import MANIFEST
from audiotrans.training.data import ImageCache

_log = logging.getLogger(__name__)

FOLDS = 3

RARE = 0.005
"""Share of held-out windows beyond the limit; an input is placed by its median window, which is far rarer there."""

MARGIN = 1.25
"""What limits of distance are widened by: for players, rooms and instruments that no third of the data stood for."""

IN_SAMPLE_MARGIN = 1.5
"""The same where there is one recording only, and nothing can be held out."""

FIRM = -0.25
"""Highest limit of likeness: an input in the middle between both domains is not accused of being the other."""

LIKENESS_MARGIN = 0.25
"""What limits of likeness are lowered by, below the least like held-out windows."""

PITCH_SHARES = (0.01, 0.99)
"""Quantiles of the columns' lowest partials that count as the trained range."""

LEAST_WINDOWS = 40
"""Two minutes of sound: fewer windows say nothing of twenty features."""

MOST_WINDOWS = 4000
"""Windows measured of a domain at most, evenly over the cache: half a minute's work however large it is."""


class TooLittleSound(AudiotransError):
    """A cache holds so little that nothing can be said of what else sounds like it."""


def statistics_for(recipe: Recipe, cache: Path | None, *, progress: bool = False) -> TrainingStatistics | None:
    """Measure the data that a recipe's model was trained on.

    Args:
        recipe: of the model.
        cache: prepared data; the recipe's own if None.
        progress: show a bar.

    Returns:
        The statistics; None where no cache was named, and the recipe's own is not here (any more) or is of other data;
        and where a cache is too small, which the log says.

    Raises:
        AudiotransError: if the cache that was named is not a cache or does not suit the recipe.
    """
    if not isinstance(recipe.imaging, AudioSettings):
        return None  # photos have no pitch or level
    try:
        root = Path(recipe.cache) if cache is None else cache
        if cache is None and not (root / MANIFEST).is_file():
            return None
        data = ImageCache(root)
        data.check_suits(recipe, "the model", "name the cache that it was trained on")
        return fit_statistics(data, AudioImaging(recipe.imaging), progress=progress)
    except TooLittleSound as error:
        _log.warning("%s", error)
        return None
    except AudiotransError:
        if cache is None:
            return None
        raise


def fit_statistics(data: ImageCache, imaging: AudioImaging, *, progress: bool = False) -> TrainingStatistics:
    """Measure both domains of a cache on its training images.

    Args:
        data: the cache.
        imaging: that its images were made by.
        progress: show a bar.

    Raises:
        TooLittleSound: if there is too little in it.
    """
    extractor = FeatureExtractor(imaging)
    sounds = {side: measure_domain(data, side, extractor, progress=progress) for side in "ab"}
    plain = {}
    for side, measured in sounds.items():
        name = data.manifest["domains"][side]
        features = np.concatenate([sound.features for sound in measured])
        if len(features) < LEAST_WINDOWS:
            need = f"{len(features)} windows of 3 s sound in {name!r}, statistics need {LEAST_WINDOWS}"
            raise TooLittleSound(f"the cache {data.root} holds too little sound for statistics: {need}")
        plain[side] = replace(describe(name, features), recordings=len(measured))
    return TrainingStatistics({side: _limited(data, side, plain, sounds[side], extractor) for side in "ab"})


def measure_domain(
    data: ImageCache, side: str, extractor: FeatureExtractor, *, progress: bool = False
) -> list[SoundFeatures]:
    """Measure the training images of one domain, in windows that overlap by half.

    Returns:
        The features of each recording, by name.
    """
    items = data.items[side, "train"]
    step = max(extractor.window // 2, 1)
    total = sum(int(item["frames"]) // step for item in items)
    stretch = 8 * extractor.window  # columns read at once
    places = [(item, start) for item in items for start in range(0, int(item["frames"]), stretch)]
    kept = places[:: math.ceil(total / MOST_WINDOWS)] if total > MOST_WINDOWS else places
    measured: dict[str, SoundFeatures] = {}
    name = data.manifest["domains"][side]
    for item, start in tqdm(kept, desc=f"statistics of {name}", unit="stretch", disable=not progress, leave=False):
        image = data.read(item, start, min(stretch, int(item["frames"]) - start))
        recording = str(item.get("recording", item["file"]))
        measured[recording] = measured.get(recording, extractor.none()) + extractor.measure(image[None], step)
    return [measured[recording] for recording in sorted(measured)]


def _limited(
    data: ImageCache,
    side: str,
    plain: dict[str, DomainStatistics],
    measured: Sequence[SoundFeatures],
    extractor: FeatureExtractor,
) -> DomainStatistics:
    """Add to the statistics of one domain where its limits lie."""
    other = plain["b" if side == "a" else "a"]
    features = [sound.features for sound in measured]
    distances, scores = held_out(plain[side], other, features)
    margin = MARGIN if len(features) > 1 else IN_SAMPLE_MARGIN
    sounds = [sound for item in data.items[side, "train"] for sound in (item, *item.get("joined", ()))]
    levels = [float(sound["level_db"]) for sound in sounds if sound.get("level_db") is not None]
    return replace(
        plain[side],
        distance=round(distance_limit(distances, margin), 4),
        likeness=round(likeness_limit(scores), 4),
        pitch_hz=pitch_range(np.sum([sound.partials for sound in measured], axis=0), extractor.frequencies),
        level_db=(round(min(levels), 2), round(max(levels), 2)) if levels else None,
        sounding=round(min(sound.sounding / max(sound.columns, 1) for sound in measured), 4),
    )


def held_out(
    domain: DomainStatistics, other: DomainStatistics, recordings: Sequence[Matrix]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Measure windows by statistics that have not seen them.

    Args:
        domain: of all recordings; used where nothing can be held out.
        other: the other domain.
        recordings: features of each recording, ``(windows, features)``, by name.

    Returns:
        Distance from the domain and likeness to it, of every window.
    """
    folds = np.array_split(np.arange(len(recordings)), min(FOLDS, len(recordings)))
    distances, scores = [], []
    for fold in folds:
        unseen = np.concatenate([recordings[int(i)] for i in fold])
        rest = [recordings[i] for i in range(len(recordings)) if i not in fold]
        enough = sum(map(len, rest)) >= LEAST_WINDOWS // 2
        known = describe(domain.name, np.concatenate(rest)) if enough else domain
        distances.append(known.distances(unseen))
        scores.append(likeness(known, other, unseen))
    return np.concatenate(distances), np.concatenate(scores)


def distance_limit(distances: NDArray[np.float64], margin: float) -> float:
    """Return the distance that all but `RARE` windows keep within, widened by ``margin``."""
    return margin * float(np.quantile(distances, 1 - RARE))


def likeness_limit(scores: NDArray[np.float64]) -> float:
    """Return the likeness that all but `RARE` windows exceed, less a margin; at most `FIRM`."""
    return min(FIRM, float(np.quantile(scores, RARE)) - LIKENESS_MARGIN)


def pitch_range(partials: NDArray[np.float64], frequencies: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return the rows (Hz) between which all but the rarest lowest partials lie; None without any partial."""
    if not partials.sum():
        return None
    shares = np.cumsum(partials) / partials.sum()
    low, high = (int(np.searchsorted(shares, share)) for share in PITCH_SHARES)
    return round(float(frequencies[low]), 1), round(float(frequencies[high]), 1)
