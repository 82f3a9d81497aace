"""Any folder of sounds: sub-folders are systems, equal file names are takes of one clip."""

from __future__ import annotations

from pathlib import Path

from audiotrans.audio import find_audio
from audiotrans.errors import UsageError
from audiotrans.evaluation.report.content import Clip, Direction, Kind, Material, System, Take
from audiotrans.evaluation.report.explanations import about_system
from audiotrans.evaluation.report.writing import MARKER

_KINDS: dict[str, Kind] = {
    "input": "input",
    "inputs": "input",
    "source": "input",
    "truth": "truth",
    "target": "truth",
    "reference": "truth",
    "copy": "baseline",
    "baseline": "baseline",
}
"""What the names of folders give away; every other folder is a system."""

_ORDER: tuple[Kind, ...] = ("input", "system", "baseline", "truth")


def read_folder(root: Path) -> Material:
    """Read a folder of sounds.

    ``input/a.wav`` and ``model/a.flac`` are two takes of the clip ``a``; so is ``model/a.piano.flac``, the name that
    convert gives, where some other folder holds an ``a``.

    Args:
        root: the folder; its pages of earlier reports are passed over.

    Returns:
        One direction with all systems and clips; no scores.

    Raises:
        UsageError: the folder holds no sound.
    """
    files = [path for path in find_audio([root]) if not _in_page(path, root)]
    if not files:
        raise UsageError(f"{root}: the folder holds no sound but those of listening pages.")
    stems = {path.stem for path in files}
    takes: dict[str, dict[str, Path]] = {}
    doubled: list[Path] = []
    for path in files:
        clip = path.stem.rpartition(".")[0] if path.stem.rpartition(".")[0] in stems else path.stem
        of_clip, system = takes.setdefault(clip, {}), _system_name(path, root)
        if system in of_clip:
            doubled.append(path)
        of_clip.setdefault(system, path)
    names = sorted({system for of_clip in takes.values() for system in of_clip}, key=_rank)
    systems = tuple(System(name, _kind(name), about_system(name, _kind(name))) for name in names)
    clips = tuple(
        Clip(clip, tuple(Take(name, takes[clip][name]) for name in names if name in takes[clip]))
        for clip in sorted(takes)
    )
    warnings = tuple(
        f"{path.relative_to(root)} is left out: its system has another sound of that name" for path in doubled
    )
    heading = root.resolve().name
    return Material(
        heading=f"Sounds of {heading}",
        what="folder of sounds",
        directions=(Direction(heading, systems, clips),),
        warnings=warnings,
    )


def _system_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).parts[:-1]
    return "/".join(parts) or root.resolve().name


def _kind(name: str) -> Kind:
    return _KINDS.get(name.rpartition("/")[2].casefold(), "system")


def _rank(name: str) -> tuple[int, str]:
    return _ORDER.index(_kind(name)), name


def _in_page(path: Path, root: Path) -> bool:
    return any((folder / MARKER).is_file() for folder in path.parents if folder.is_relative_to(root))
