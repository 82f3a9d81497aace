"""What the user names -> material for a page. Each kind of folder is read by one module."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from audiotrans.errors import AudiotransError
from audiotrans.evaluation.report.content import Material
from audiotrans.evaluation.report.sources import cycle, evaluation, folder, run


def read_source(path: Path | str) -> Material:
    """Read a folder of whatever kind.

    Args:
        path: folder of an evaluation, of cycles, of a training run, or of sounds; or the JSON file in it.

    Returns:
        What is in it; every sound that it names exists.

    Raises:
        AudiotransError: the folder is missing, damaged, holds nothing to hear, or names sounds that are not there.
    """
    root = Path(path)
    root = root.parent if root.name in READERS and root.is_file() else root
    if not root.exists():
        raise AudiotransError(f"{root}: there is no such folder; name {ALLOWED}.")
    if not root.is_dir():
        raise AudiotransError(f"{root}: is a file; name {ALLOWED}.")
    reader = next((read for mark, read in READERS.items() if (root / mark).exists()), folder.read_folder)
    material = reader(root)
    _refuse_missing(root, material)
    return material


def _refuse_missing(root: Path, material: Material) -> None:
    takes = [take for direction in material.directions for clip in direction.clips for take in clip.takes]
    sounds = [take.sound for take in takes if take.sound is not None]
    missing = [sound for sound in sounds if not sound.is_file()]
    if missing:
        others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise AudiotransError(
            f"{root}: names the sound {missing[0]}{others}, which is not there: copy the whole folder or make it again."
        )
    if not sounds and not material.figures:
        raise AudiotransError(f"{root}: there is nothing to hear or to see in it; name {ALLOWED}.")


ALLOWED = "a folder that evaluate, cycle or train wrote, or any folder of sounds"

READERS: dict[str, Callable[[Path], Material]] = {
    evaluation.FILE: evaluation.read_evaluation,
    cycle.FILE: cycle.read_cycle,
    "metrics.jsonl": run.read_run,
    "samples": run.read_run,
}
