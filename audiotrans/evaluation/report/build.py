"""Build a page: one call from folders to a folder, made beside its place and renamed when it is complete."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from audiotrans.errors import AudiotransError, UsageError, lookup
from audiotrans.evaluation.report.content import MARKER, Material
from audiotrans.evaluation.report.folders import read_source
from audiotrans.evaluation.report.page import FORMAT, environment, write_page
from audiotrans.evaluation.report.sounds import FORMATS, write_sounds
from audiotrans.files import from_json, real


@dataclass(frozen=True)
class Built:
    """What was made: the page, how many clips and sounds it holds, its size and the time it took."""

    page: Path
    clips: int
    sounds: int
    size_bytes: int
    seconds: float

    def __str__(self) -> str:
        """Return the line that a user sees."""
        size = f"{self.size_bytes / 1e6:.1f} MB"
        clips, sounds = (f"{count} {what}{'' if count == 1 else 's'}" for count, what in self._counts)
        return f"{self.page}: {clips}, {sounds}, {size}, in {self.seconds:.1f} s"

    @property
    def _counts(self) -> tuple[tuple[int, str], ...]:
        return (self.clips, "clip"), (self.sounds, "sound")


def build_report(
    sources: Sequence[Path | str],
    output: Path | str,
    *,
    title: str | None = None,
    sound_format: str = "flac",
    force: bool = False,
    progress: bool = True,
) -> Built:
    """Make a listening page: one folder that opens from a file and asks for nothing outside of it.

    Args:
        sources: folders of evaluations, cycles, training runs or sounds.
        output: the folder to make.
        title: of the page; None names the sources.
        sound_format: ``flac``, ``ogg``, ``wav`` or ``as-is``.
        force: replace an existing page; anything else is never replaced.
        progress: show a bar with speed and time left.

    Returns:
        What was made.

    Raises:
        UsageError: for an output that may not be replaced, an unknown format, or no source.
        AudiotransError: for a source that cannot be read, or an output that cannot be written.
    """
    began, target, places = time.monotonic(), Path(output), [Path(source) for source in sources]
    lookup(dict.fromkeys(FORMATS, ""), sound_format, "sound format")
    if not places:
        raise UsageError("no source was named; name a folder that evaluate, cycle or train wrote, or one of sounds.")
    check_output(target, places, force=force)
    environment()  # before the work: its library may be missing
    materials = [read_source(place) for place in places]
    name = title or ", ".join(material.heading for material in materials)
    total = sum(_sounds(material) for material in materials)
    with replaced_folder(target) as folder:
        with tqdm(total=total, desc="report", unit="sound", disable=not progress) as bar:
            ready = write_sounds(materials, folder, sound_format, bar.update)
        write_page(ready, folder, name, sound_format)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    clips = sum(len(direction.clips) for material in materials for direction in material.directions)
    return Built(target / "index.html", clips, total, size, time.monotonic() - began)


def _sounds(material: Material) -> int:
    clips = [clip for direction in material.directions for clip in direction.clips]
    return sum(take.sound is not None for clip in clips for take in clip.takes)


def check_output(output: Path, sources: Sequence[Path], *, force: bool) -> None:
    """Refuse a place where the page must not go, before any work.

    Args:
        output: the folder to be made.
        sources: what the page is made of.
        force: whether an existing page may be replaced.

    Raises:
        UsageError: it is a file, holds something that is not a page of ours, a page without ``force``, or a source.
    """
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output}: is a file; name a folder for the page.")
    if not output.exists() or not any(output.iterdir()):
        return
    if not is_page(output):
        raise UsageError(f"{output}: holds files that are not a listening page; name another folder.")
    if not force:
        raise UsageError(f"{output}: there is a page already; --force replaces it, or choose another name.")
    inner = [source for source in sources if real(source).is_relative_to(real(output))]
    if inner:
        raise UsageError(f"{output}: cannot be replaced, the source {inner[0]} lies in it; choose another name.")


def is_page(folder: Path) -> bool:
    """Tell whether a folder is a listening page, by its marker."""
    try:
        marker = from_json((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(marker, dict) and marker.get("format") == FORMAT


@contextmanager
def replaced_folder(output: Path) -> Iterator[Path]:
    """Give an empty folder that takes the output's name when the context ends without an error.

    Args:
        output: the folder to be made; checked by ``check_output``.

    Yields:
        A hidden folder beside it, which is deleted after an error.

    Raises:
        AudiotransError: the disk is full, or the place cannot be written.
    """
    place = Path(os.path.abspath(output))  # "." has no name of its own to put a partial folder beside
    partial = place.with_name(f".{place.name}.partial.{os.getpid()}")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        _swap(partial, place)
    except OSError as error:
        raise AudiotransError(f"{output}: cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _swap(new: Path, place: Path) -> None:
    """Put the new folder where the old one is; the old one is back in its place if that fails."""
    old = new.with_name(f"{new.name}.old")
    if place.exists():
        os.replace(place, old)
    try:
        os.replace(new, place)
    except OSError:
        if old.exists():
            os.replace(old, place)
        raise
    shutil.rmtree(old, ignore_errors=True)
