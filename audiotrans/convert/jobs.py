"""Jobs of a conversion: the inputs, what their outputs are called, the spool between them, and what was written."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from tqdm import tqdm

from audiotrans.audio import AUDIO_SUFFIXES, AudioInfo, Wave, Writer, find_audio, output_suffix, peak_safe_gain
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.files import WriteError, real, refuse_existing, short_name, write_error
from audiotrans.photo.pillow import PHOTO_SUFFIXES, find_photos

Progress = Callable[[float, float], None]
"""Takes seconds of sound done and seconds of sound in all."""

SPOOL_FRAMES = 65536

BAR = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s of sound, {speed}, {remaining} left"

OPEN_BAR = "{desc}: {n:.0f} s of sound, {speed}"


@dataclass(frozen=True)
class Job:
    """One input and the outputs to make of it: the n-th with the seed ``seed + n``."""

    source: Path
    outputs: tuple[Path, ...]


@dataclass(frozen=True)
class Written:
    """A finished file.

    Attributes:
        path: where it is.
        size: of what was converted, in words.
        elapsed_seconds: what it took.
        gain: factor that kept its peaks from clipping; 1 if none was needed.
        sample_rate: of the file in Hz, where the format could not take the input's; else 0.
        warnings: how the input was read, where that is not plain, and what of it is unlike the model's training data,
            one line each that names the input; the first of several samples has them.
    """

    path: Path
    size: str
    elapsed_seconds: float
    gain: float = 1.0
    sample_rate: int = 0
    warnings: tuple[str, ...] = ()
    failed: ClassVar[bool] = False

    def __str__(self) -> str:
        """Return the line that a user sees."""
        note = f"; turned down by {-20 * math.log10(self.gain):.1f} dB so that no peak clips" if self.gain < 1 else ""
        note += f"; written at {self.sample_rate} Hz, which this format needs" if self.sample_rate else ""
        return f"{self.path} ({self.size} in {self.elapsed_seconds:.1f} s{note})"


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
    inputs: Sequence[str | Path], output: str | Path | None, to: str, samples: int = 1, *, photos: bool = False
) -> list[Job]:
    """Find the inputs and name the outputs; whether these may be written is for the conversion to say.

    Args:
        inputs: files, folders (searched in depth) and glob patterns.
        output: a file (a name with an extension) for one input, or a folder (made if need be; the tree below an input
            folder is kept), or None: beside each input. In folders, outputs are called ``name.<to>.<extension>``.
        to: name of the target domain.
        samples: how many per input.
        photos: whether photos are looked for rather than sounds.

    Raises:
        UsageError: if nothing is found, if a file is of the other kind, if one file is to hold several outputs, if two
            inputs would be written to the same file or over another input, or if a name is empty.
    """
    if "" in (output, *inputs):
        raise UsageError("an empty name was given, as by a variable that is not set: name files or folders")
    if "-" in (output, *inputs) and not Path("-").exists():
        raise UsageError(
            "- stands for a pipe, which goes with --stream: audiotrans convert --stream < in.wav > out.wav"
        )
    out = None if output is None else Path(output)
    found = _found(inputs, to, photos, out)
    as_file = out is not None and _names_a_file(str(output))
    if as_file and len(found) > 1:
        raise UsageError(f"-o {out} is one file, but there are {len(found)} inputs: give a folder")
    named = partial(_output, out=out, to=to, as_file=as_file, photos=photos)
    places = [named(path, below) for path, below in found]
    of = Counter(places)
    # take.wav and take.wma would both become take.piano.wav: these keep their suffix.
    names = [
        named(path, below, stem=path.name) if of[place] > 1 else place
        for place, (path, below) in zip(places, found, strict=True)
    ]
    jobs = [Job(path, numbered(name, samples)) for name, (path, _) in zip(names, found, strict=True)]
    _refuse_collisions(jobs)
    return jobs


def numbered(path: Path, samples: int) -> tuple[Path, ...]:
    """Name the files of several samples: ``name.wav``, or ``name.1.wav``, ``name.2.wav``, ... for more than one.

    Raises:
        UsageError: for fewer than one sample.
    """
    if samples < 1:
        raise UsageError(f"samples {samples}: ask for 1 or more")
    if samples == 1:
        return (path,)
    return tuple(path.with_name(f"{path.stem}.{index}{path.suffix}") for index in range(1, samples + 1))


def _find(item: str | Path, photos: bool) -> list[Path]:
    """Return the files of one input, refusing what the model's kind cannot read."""
    path = Path(item)
    wrong = AUDIO_SUFFIXES if photos else PHOTO_SUFFIXES
    if path.is_file() and path.suffix.lower() in wrong:
        is_kind, is_for = ("a sound", "photos") if photos else ("a photo", "sound")
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
                found.setdefault(real(path), (path, below))
    if not found:
        raise UsageError(f"no input: give {'photo' if photos else 'sound'} files, folders or patterns")
    return list(found.values())


def _within(paths: Sequence[Path], root: Path, out: Path | None) -> set[Path]:
    """Return those that lie in an output folder inside the folder that is searched: results, of whatever name."""
    if out is None or not root.is_dir() or real(out) == real(root):
        return set()
    return {path for path in paths if real(out) in real(path).parents}


def _earlier_results(paths: Sequence[Path], to: str) -> set[Path]:
    """Return those that an earlier run made of the others: converting a folder twice must not convert its results."""
    stems = {path.parent / name for path in paths for name in (path.stem, path.name)}
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


def _output(path: Path, below: Path, *, out: Path | None, to: str, as_file: bool, photos: bool, stem: str = "") -> Path:
    if out is not None and as_file:
        return out
    folder = path.parent if out is None else out / below
    suffix = path.suffix if photos else output_suffix(path)
    return folder / short_name(stem or path.stem, f".{to}{suffix}")


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    sources = {real(job.source) for job in jobs}
    for output in (output for job in jobs for output in job.outputs if len(jobs) > 1):
        if real(output) in sources:
            raise UsageError(f"{output} is an input and would be overwritten: choose another folder with -o")
    owners: dict[Path, Path] = {}
    for job in jobs:
        for output in job.outputs:
            other = owners.setdefault(output, job.source)
            if other != job.source:
                raise UsageError(f"{other} and {job.source} would both become {output}: convert them one at a time")


def check_output(path: Path, source: Path, *, force: bool) -> None:
    """Refuse, before any work, an output that exists or that is the input itself.

    Raises:
        UsageError: with the way out.
    """
    if path.exists() and real(path) == real(source):
        raise UsageError(f"{path} is the input itself: choose another output with -o")
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name a file in it, or end the name with /")
    refuse_existing(path, force)


def writers_of(job: Job, info: AudioInfo, *, force: bool) -> list[Writer]:
    """Return what writes each output; this decides, once and before any work, whether it can and may be written.

    Raises:
        UsageError: with the way out.
    """
    for path in job.outputs:
        check_output(path, job.source, force=force)
    return [Writer(path, info.sample_rate, info.channels, like=info, force=True) for path in job.outputs]


def check_space(folder: Path, needed: int) -> None:
    """Refuse, before any work, a folder whose disk cannot hold ``needed`` bytes.

    Raises:
        AudiotransError: naming both figures.
    """
    try:
        disk = shutil.disk_usage(existing(folder))
    except OSError:
        return  # what the first write will tell
    free = disk.free
    if free < needed and disk.total:  # what has no room at all, such as /proc, is not a full disk
        figures = f"{needed / 1e6:.0f} MB are needed while converting, {free / 1e6:.0f} MB are free"
        raise AudiotransError(f"no space left in {folder}: {figures}")


def existing(folder: Path) -> Path:
    """Return a folder that may be yet to be made, or the nearest above it that is there."""
    return next(place for place in (folder, *folder.parents) if place.exists())


@contextlib.contextmanager
def naming(source: Path) -> Iterator[None]:
    """Put the input before messages that do not name it.

    Raises:
        AudiotransError: the same kind of error.
    """
    try:
        yield
    except AudiotransError as error:
        raise type(error)(str(error) if str(source) in str(error) else f"{source}: {error}") from error


class Spool:
    """Float32 samples on disk, beside the output: an hour of stereo does not belong in memory.

    Args:
        folder: where the unnamed file lies; it disappears on closing, whatever happens.
        channels: of the sound.

    Raises:
        WriteError: if the folder cannot be written to or is full.
    """

    def __init__(self, folder: Path, channels: int) -> None:
        self.folder, self.channels, self.peak = folder, channels, 0.0
        try:
            self._file = tempfile.TemporaryFile(dir=folder)  # closed by __exit__
        except OSError as error:
            raise self._error(error) from error

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, block: Wave) -> None:
        """Add ``(channels, n)`` samples."""
        self.peak = max(self.peak, float(np.abs(block).max(initial=0.0)))
        try:
            self._file.write(np.ascontiguousarray(block.T, dtype=np.float32).data)
            self._file.flush()
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> WriteError:
        return write_error(f"a temporary file of 32-bit samples in {self.folder.absolute()}", error)

    def blocks(self) -> Iterator[Wave]:
        """Yield all samples from the beginning, ``(channels, n)`` with n of at most `SPOOL_FRAMES`."""
        self._file.seek(0)
        while data := self._file.read(SPOOL_FRAMES * self.channels * 4):
            yield np.frombuffer(data, np.float32).reshape(-1, self.channels).T

    def write(self, writer: Writer) -> float:
        """Write all samples as a sound file, turned down where their peak would clip; return the gain."""
        gain = peak_safe_gain(self.peak, writer.subtype)
        for block in self.blocks():
            writer.write(block if gain == 1 else block * np.float32(gain))
        return gain


class SoundBar(tqdm):  # type: ignore[type-arg]  # not generic at run time
    """A bar that counts seconds of sound."""

    @property
    def format_dict(self) -> dict[str, Any]:
        """Add ``speed`` to what the bar's format may name."""
        values = dict(super().format_dict)
        rate = values["rate"] or (values["n"] / values["elapsed"] if values["elapsed"] else 0.0)
        values["speed"] = f"{rate:.1f} x real time" if rate else "starting"
        return values


def on_a_screen() -> bool:
    """Tell whether stderr is a terminal, where a bar can be seen."""
    return sys.stderr.isatty()


@contextlib.contextmanager
def sound_bar(label: str, *, quiet: bool = False) -> Iterator[Progress | None]:
    """Show a bar on stderr while the context lasts: how far, how many times faster than real time, how long still.

    Args:
        label: what the bar is about, such as a file's name.
        quiet: show nothing; so it is also where stderr is not a terminal.

    Yields:
        A function of seconds done and seconds in all (0 where that is not known, as of a stream), or None where nothing
        is shown.
    """
    if quiet or not on_a_screen():
        yield None
        return
    with SoundBar(desc=label, total=None, bar_format=OPEN_BAR, file=sys.stderr, leave=False) as bar:

        def tick(done: float, total: float) -> None:
            if total:
                bar.total, bar.bar_format = total, BAR
            bar.update(done - bar.n)

        yield tick
