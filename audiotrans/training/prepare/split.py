"""Which recordings are held out: by a hash of their names, so that nothing moves when files are added."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def assign_splits(recordings: Iterable[str], valid_fraction: float, seed: int) -> dict[str, str]:
    """Divide the recordings of one domain between train and valid.

    A recording's side depends on its own name, the fraction and the seed alone; a recording of the same name in the
    other domain falls on the same side. So the share that is held out is near ``valid_fraction``, not exact. The
    one exception: of two or more recordings each side gets at least one, the nearest to the threshold.

    Args:
        recordings: names; repeated ones count once.
        valid_fraction: 0 to 1, share of recordings that is held out on average.
        seed: another seed holds out other recordings.

    Returns:
        ``train`` or ``valid`` for each name.
    """
    scores = {name: _score(name, seed) for name in recordings}
    splits = {name: "valid" if score < valid_fraction else "train" for name, score in scores.items()}
    if len(splits) < 2:
        return dict.fromkeys(splits, "train")
    if "valid" not in splits.values():
        splits[min(scores, key=scores.__getitem__)] = "valid"
    if "train" not in splits.values():
        splits[max(scores, key=scores.__getitem__)] = "train"
    return splits


def _score(name: str, seed: int) -> float:
    """Return a number in [0, 1) that looks random and is the same everywhere."""
    digest = hashlib.sha256(f"{seed}:{name}".encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
