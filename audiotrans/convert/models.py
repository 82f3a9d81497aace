"""Models by name or by path, shipped or trained by users, as converters; and many files converted by one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from audiotrans.convert.converter import Converter
from audiotrans.convert.jobs import Failure, Job, Progress, Written
from audiotrans.convert.photos import PhotoConverter
from audiotrans.convert.warnings import TrainingStatistics
from audiotrans.errors import AudiotransError
from audiotrans.options import ConvertOptions
from audiotrans.processes import choose_device
from audiotrans.spectrogram.imaging import AudioSettings
from audiotrans.weights import StoredModel, find, open_weights

DEFAULT_MODEL = "violin-piano"


def load_any(name_or_path: str | Path, *, device: str = "auto") -> Converter | PhotoConverter:
    """Load a model of sounds or of photos; arguments and errors as in `load`."""
    return converter_of(open_weights(find(name_or_path)), choose_device(device))


def converter_of(stored: StoredModel, device: torch.device) -> Converter | PhotoConverter:
    """Return a weights file's model with all that converting needs.

    Raises:
        AudiotransError: if the file is broken.
    """
    if not isinstance(stored.recipe.imaging, AudioSettings):
        return PhotoConverter(stored.model, stored.recipe, device)
    return Converter(stored.model, stored.recipe, device, statistics_of(stored))


def statistics_of(stored: StoredModel) -> TrainingStatistics | None:
    """Return the training-data statistics of a weights file; None where it has none that can be used.

    Raises:
        AudiotransError: naming the file, if they are broken.
    """
    try:
        return None if stored.statistics is None else TrainingStatistics.from_dict(stored.statistics)
    except AudiotransError as error:
        raise AudiotransError(f"{stored.path}: {error}") from None


def load(name_or_path: str | Path = DEFAULT_MODEL, *, device: str = "auto") -> Converter:
    """Load a model of sounds with everything that converting needs.

    Args:
        name_or_path: a shipped model's name, or a weights file.
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        UsageError: for a name that no model has, or a device that is not there.
        AudiotransError: for a file that is not a model of ours, or one of photos.
    """
    converter = load_any(name_or_path, device=device)
    if isinstance(converter, PhotoConverter):
        raise AudiotransError("this model translates photos, not sound: choose another with --model")
    return converter


def load_photo(name_or_path: str | Path, *, device: str = "auto") -> PhotoConverter:
    """Load a model of photos; arguments and errors as in `load`."""
    converter = load_any(name_or_path, device=device)
    if isinstance(converter, Converter):
        raise AudiotransError("this model translates sound, not photos: choose another with --model")
    return converter


def run_jobs(
    converter: Converter | PhotoConverter,
    jobs: Sequence[Job],
    options: ConvertOptions,
    *,
    force: bool = False,
    bar: Callable[[str], AbstractContextManager[Progress | None]] | None = None,
) -> Iterator[Written | Failure]:
    """Convert one input after the other.

    With several inputs, one that fails does not stop the others.

    Args:
        converter: the model.
        jobs: from `plan_jobs`.
        options: what to do, from the converter's `options`.
        force: whether to overwrite outputs that exist.
        bar: opens a progress bar of that label for a file: a context whose value takes seconds done and seconds in all.

    Yields:
        What was written, and what failed.

    Raises:
        AudiotransError: if the only input fails.
    """
    for job in jobs:
        try:
            with bar(job.source.name) if bar is not None else nullcontext() as progress:
                done = converter.convert_job(job, options, force=force, progress=progress)
        except AudiotransError as error:
            if len(jobs) == 1:
                raise
            yield Failure(job.source, error)
        else:
            yield from done
