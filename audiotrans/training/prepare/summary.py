"""What a run of prep found and did, in figures and as text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Count:
    """Sounds of one domain and split: files, recordings they were cut from, and seconds."""

    files: int
    recordings: int
    seconds: float


@dataclass(frozen=True)
class Summary:
    """What the cache holds and how it came about; ``str()`` of it is fit to be printed.

    Attributes:
        output: folder of the cache.
        names: the domains' names by ``a`` and ``b``.
        counts: by domain (``a``, ``b``) and split (``train``, ``valid``).
        skipped: files left out, each with its reason.
        built: sounds whose images were made now.
        reused: sounds whose images were there.
        removed: images that nothing needed any more.
        notes: what the user should know about the split.
    """

    output: Path
    names: dict[str, str]
    counts: dict[tuple[str, str], Count]
    skipped: tuple[tuple[Path, str], ...]
    built: int
    reused: int
    removed: int
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return a table of the counts, the skipped files with reasons, and the notes."""
        width = max(len(name) for name in self.names.values())
        lines = [
            f"{self.output}: {self.built} sounds made into images, {self.reused} as they were, "
            f"{len(self.skipped)} skipped, {self.removed} old images removed"
        ]
        for (domain, split), count in self.counts.items():
            lines.append(
                f"  {self.names[domain]:{width}}  {split:5}  {count.files:5} files  "
                f"{count.recordings:5} recordings  {count.seconds / 60:7.1f} min"
            )
        lines += [f"  skipped {reason}" for reason in self.reasons()]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)

    def reasons(self, most: int = 20) -> list[str]:
        """Return ``path: reason`` for the skipped files, the first ``most`` of them and how many more there are."""
        lines = [f"{path}: {reason}" for path, reason in self.skipped[:most]]
        more = len(self.skipped) - most
        return [*lines, f"{more} more: the manifest names them all"] if more > 0 else lines
