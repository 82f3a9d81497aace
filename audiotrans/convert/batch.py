"""Many inputs at once: what each output is called, and converting one after the other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from audiotrans.audio import AUDIO_SUFFIXES, find_audio, output_suffix
from audiotrans.convert.files import Progress, Written, check_output, convert_file, numbered
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.files import short_name
from audiotrans.photo.files import PHOTO_SUFFIXES, find_photos

if TYPE_CHECKING:
    from audiotrans.convert.converter import Converter
    from audiotrans.convert.options import Request
    from audiotrans.convert.photos import PhotoConverter, WrittenPhoto


class Bar(Protocol):
    """Opens a progress bar for one file."""

    def __call__(self, label: str) -> AbstractContextManager[Progress | None]:
        """Return a context whose value takes seconds done and seconds in all."""


@dataclass(frozen=True)
class Job:
    """One input and the outputs to make of it."""

    source: Path
    outputs: tuple[Path, ...]


@dataclass(frozen=True)
class Failure:
    """An input of several that could not be converted, and why."""

    source: Path
    error: AudiotransError
    failed: ClassVar[bool] = True
    warnings: ClassVar[tuple[str, ...]] = ()

    def __str__(self) -> str:
        """Return the line that a user sees."""
        return f"audiotrans: error: {self.error}"


def plan_jobs(
    inputs: Sequence[str | Path],
    output: str | Path | None,
    to: str,
    samples: int = 1,
    *,
    force: bool = False,
    photos: bool = False,
) -> list[Job]:
    """Find the inputs and name the outputs.

    Args:
        inputs: files, folders (searched in depth) and glob patterns.
        output: a file (a name with an extension) for one input, or a folder (made if need be; the tree below an input
            folder is kept), or None: beside each input. In folders, outputs are called ``name.<to>.<extension>``.
        to: name of the target domain.
        samples: draws per input.
        force: whether outputs may exist.
        photos: whether pictures are looked for rather than sounds.

    Raises:
        UsageError: if nothing is found, if a file is of the other kind, if one file is to hold several outputs, if two
            inputs would be written to the same file or over another input, if the only input's output exists, or if a
            name is empty.
    """
    if "" in (output, *inputs):
        raise UsageError("an empty name was given, as by a variable that is not set: name files or folders")
    out = None if output is None else Path(output)
    found = _found(inputs, to, photos, out)
    as_file = out is not None and _names_a_file(str(output))
    if as_file and len(found) > 1:
        raise UsageError(f"-o {out} is one file, but there are {len(found)} inputs: give a folder")
    jobs = [Job(path, tuple(numbered(_output(path, below, out, to, as_file), samples))) for path, below in found]
    _refuse_collisions(jobs)
    if len(jobs) == 1:
        for path in jobs[0].outputs:
            check_output(path, jobs[0].source, force=force)
    return jobs


def run_jobs(
    converter: Converter | PhotoConverter,
    jobs: Sequence[Job],
    request: Request,
    *,
    force: bool = False,
    bar: Bar | None = None,
) -> Iterator[Written | WrittenPhoto | Failure]:
    """Convert one input after the other.

    With several inputs, one that fails does not stop the others.

    Args:
        converter: the model.
        jobs: from `plan_jobs`.
        request: what to do.
        force: whether to overwrite outputs that exist.
        bar: opens a progress bar for a file.

    Yields:
        What was written, and what failed.

    Raises:
        AudiotransError: if the only input fails.
    """
    for job in jobs:
        try:
            done = _run_job(converter, job, request, force, bar)
        except AudiotransError as error:
            if len(jobs) == 1:
                raise
            yield Failure(job.source, error)
        else:
            yield from done


def _run_job(
    converter: Converter | PhotoConverter, job: Job, request: Request, force: bool, bar: Bar | None
) -> Sequence[Written | WrittenPhoto]:
    from audiotrans.convert.photos import PhotoConverter, convert_photo_file

    if isinstance(converter, PhotoConverter):  # done before a bar could be seen
        return convert_photo_file(converter, job.source, job.outputs, request, force=force)
    with bar(job.source.name) if bar is not None else nullcontext() as progress:
        return convert_file(converter, job.source, job.outputs, request, force=force, progress=progress)


def _find(item: str | Path, photos: bool) -> list[Path]:
    """Return the files of one input, refusing what the model's kind cannot read."""
    path = Path(item)
    wrong = AUDIO_SUFFIXES if photos else PHOTO_SUFFIXES
    if path.is_file() and path.suffix.lower() in wrong:
        is_kind, is_for = ("a sound", "pictures") if photos else ("a picture", "sound")
        raise UsageError(f"{path} is {is_kind}, but this model is for {is_for}: choose another with --model")
    return find_photos([item]) if photos else find_audio([item])


def _found(inputs: Sequence[str | Path], to: str, photos: bool, out: Path | None) -> list[tuple[Path, Path]]:
    """Return each input once, with its folder relative to the input folder that it was found in."""
    found: dict[Path, tuple[Path, Path]] = {}
    for item in inputs:
        root = Path(item)
        paths = _find(item, photos)
        results = set() if root.is_file() else _earlier_results(paths, to) | _within(paths, root, out)
        for path in paths:
            if path not in results:
                below = path.parent.relative_to(root) if root.is_dir() else Path()
                found.setdefault(path.resolve(), (path, below))
    if not found:
        raise UsageError(f"no input: give {'picture' if photos else 'sound'} files, folders or patterns")
    return list(found.values())


def _within(paths: Sequence[Path], root: Path, out: Path | None) -> set[Path]:
    """Return those that lie in an output folder inside the folder that is searched: results, of whatever name."""
    if out is None or not root.is_dir() or out.resolve() == root.resolve():
        return set()
    return {path for path in paths if out.resolve() in path.resolve().parents}


def _earlier_results(paths: Sequence[Path], to: str) -> set[Path]:
    """Return those that an earlier run made of the others: converting a folder twice must not convert its results."""
    stems = {path.parent / path.stem for path in paths}
    results = set()
    for path in paths:
        stem, _, last = path.stem.rpartition(".")
        made_of = stem if last.isdigit() else path.stem
        if made_of.endswith(f".{to}") and path.parent / made_of.removesuffix(f".{to}") in stems:
            results.add(path)
    return results


def _names_a_file(output: str) -> bool:
    """Tell a file from a folder that may not exist yet: a file has an extension."""
    path = Path(output)
    return bool(path.suffix) and not path.is_dir() and not output.endswith(("/", os.sep))


def _output(path: Path, below: Path, out: Path | None, to: str, as_file: bool) -> Path:
    if out is not None and as_file:
        return out
    folder = path.parent if out is None else out / below
    suffix = output_suffix(path) if path.suffix.lower() in AUDIO_SUFFIXES else path.suffix
    return folder / short_name(path.stem, f".{to}{suffix}")


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    sources = {job.source.resolve() for job in jobs}
    for output in (output for job in jobs for output in job.outputs if len(jobs) > 1):
        if output.resolve() in sources:
            raise UsageError(f"{output} is an input and would be overwritten: choose another folder with -o")
    owners: dict[Path, Path] = {}
    for job in jobs:
        for output in job.outputs:
            other = owners.setdefault(output, job.source)
            if other != job.source:
                raise UsageError(f"{other} and {job.source} would both become {output}: convert them one at a time")
