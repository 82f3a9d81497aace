"""One call from folders to a page."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from audiotrans.errors import UsageError, lookup
from audiotrans.evaluation.report.assembly import assemble
from audiotrans.evaluation.report.content import Material
from audiotrans.evaluation.report.page import write_page
from audiotrans.evaluation.report.sounds import FORMATS
from audiotrans.evaluation.report.sources import read_source
from audiotrans.evaluation.report.writing import check_output, replaced_folder


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
    materials = [read_source(place) for place in places]
    name = title or ", ".join(material.heading for material in materials)
    total = sum(_sounds(material) for material in materials)
    with replaced_folder(target) as folder:
        with tqdm(total=total, desc="report", unit="sound", disable=not progress) as bar:
            ready = assemble(materials, folder, sound_format, bar.update)
        write_page(ready, folder, name, sound_format)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    clips = sum(len(direction.clips) for material in materials for direction in material.directions)
    return Built(target / "index.html", clips, total, size, time.monotonic() - began)


def _sounds(material: Material) -> int:
    clips = [clip for direction in material.directions for clip in direction.clips]
    return sum(take.sound is not None for clip in clips for take in clip.takes)
