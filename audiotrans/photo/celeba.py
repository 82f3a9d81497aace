"""CelebA's attribute file: which faces belong to a domain.

Layout (Liu, Luo, Wang and Tang, ICCV 2015): ``img_align_celeba/000001.jpg`` ..., ``list_attr_celeba.txt`` with a count,
40 attribute names and one row of 1 / -1 per image, and ``list_eval_partition.txt`` with 0 (train), 1 (valid) or 2
(test) per image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiotrans.errors import AudiotransError, UsageError, nearest

ATTRIBUTES_FILE = "list_attr_celeba.txt"
PARTITION_FILES = ("list_eval_partition.txt", "split.txt")
IMAGES_FOLDER = "img_align_celeba"

SPLITS = ("train", "valid", "test")

HAIR = {"blond": "Blond_Hair", "brown": "Brown_Hair", "black": "Black_Hair", "gray": "Gray_Hair"}
"""Domain names that stand for an attribute; any attribute's own name may be used as well."""


@dataclass(frozen=True)
class Condition:
    """One attribute and the value that it must have.

    Attributes:
        attribute: a name of the file's header.
        value: 1 or -1.
    """

    attribute: str
    value: int

    def __str__(self) -> str:
        """Return it as it is written on the command line."""
        return f"{self.attribute}={self.value}"


def parse_condition(text: str) -> Condition:
    """Read ``Male=-1``, or ``Male`` for ``Male=1``.

    Raises:
        UsageError: for a value other than 1 and -1.
    """
    name, equals, value = text.partition("=")
    if not name.strip() or (equals and value.strip() not in ("1", "-1")):
        raise UsageError(f"condition {text!r}: write ATTRIBUTE=1 or ATTRIBUTE=-1, such as Male=-1")
    return Condition(HAIR.get(name.strip(), name.strip()), int(value) if equals else 1)


def parse_domain(text: str) -> tuple[str, Condition]:
    """Read a domain: ``blond``, an attribute's name, or ``name=ATTRIBUTE`` / ``name=ATTRIBUTE=-1``.

    Returns:
        The domain's name and its condition.
    """
    name, equals, rest = text.partition("=")
    return name.strip(), parse_condition(rest if equals else name)


class Attributes:
    """The attribute file of a CelebA folder.

    Args:
        root: folder that holds ``list_attr_celeba.txt``.

    Raises:
        AudiotransError: naming the file and line, if it is missing or not of the official form.
    """

    def __init__(self, root: Path) -> None:
        path = root / ATTRIBUTES_FILE
        try:
            lines = path.read_text(encoding="ascii").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not plain text"
            raise AudiotransError(f"cannot read {path}: {reason}") from None
        if len(lines) < 2 or not lines[0].strip().isdigit():
            raise AudiotransError(f"{path} is not CelebA's attribute file: a count and a line of names come first")
        self.path, self.names = path, lines[1].split()
        self.files: list[str] = []
        rows = []
        for number, line in enumerate(lines[2:], start=3):
            if line.strip():
                file, *values = line.split()
                if len(values) != len(self.names) or not set(values) <= {"1", "-1"}:
                    raise AudiotransError(f"{path}, line {number}: {len(self.names)} values of 1 or -1 are expected")
                self.files.append(file)
                rows.append([int(value) for value in values])
        if len(rows) != int(lines[0]):
            raise AudiotransError(f"{path} announces {lines[0].strip()} images and lists {len(rows)}: fetch it again")
        self.values = np.array(rows, dtype=np.int8).reshape(len(rows), len(self.names))

    def where(self, condition: Condition) -> NDArray[np.bool_]:
        """Return which images meet a condition, one value per file.

        Raises:
            UsageError: for an unknown attribute.
        """
        if condition.attribute not in self.names:
            hint = nearest(condition.attribute, self.names)
            raise UsageError(f"no attribute {condition.attribute!r} in {self.path}: {', '.join(self.names)}.{hint}")
        found: NDArray[np.bool_] = self.values[:, self.names.index(condition.attribute)] == condition.value
        return found

    def select(self, a: Condition, b: Condition, where: Sequence[Condition] = ()) -> tuple[list[str], list[str], int]:
        """Choose the images of two domains.

        Args:
            a: of the first domain.
            b: of the second.
            where: conditions on both.

        Returns:
            File names of A, of B, and how many images fit both and were left out.
        """
        kept = np.ones(len(self.files), dtype=bool)
        for condition in where:
            kept &= self.where(condition)
        in_a, in_b = self.where(a) & kept, self.where(b) & kept
        both = in_a & in_b
        chosen = [[self.files[i] for i in np.flatnonzero(mask & ~both)] for mask in (in_a, in_b)]
        return chosen[0], chosen[1], int(both.sum())


def read_partition(root: Path) -> dict[str, str] | None:
    """Return each image's split, ``train``, ``valid`` or ``test``; None where the folder has no partition file.

    Raises:
        AudiotransError: naming the file and line, if it is not of the official form.
    """
    path = next((root / name for name in PARTITION_FILES if (root / name).is_file()), None)
    if path is None:
        return None
    splits = {}
    for number, line in enumerate(path.read_text(encoding="ascii", errors="replace").splitlines(), start=1):
        parts = line.split()
        if parts and (len(parts) != 2 or parts[1] not in ("0", "1", "2")):
            raise AudiotransError(f"{path}, line {number}: a file name and 0, 1 or 2 are expected")
        if parts:
            splits[parts[0]] = SPLITS[int(parts[1])]
    return splits
