"""Versions for .ci/run: `lowest` pins the floors of pyproject.toml, `newer` lists what is past constraints.txt.

Runs in any environment that has `packaging`.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]


def lowest() -> None:
    """Print `name==floor` for every dependency that a user may install."""
    declared = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    used = declared.partition("\ndependencies = [")[2].partition("\ndev = [")[0]
    for name, floor in dict(re.findall(r'"([\w-]+)>=([\w.]+)', used)).items():
        print(f"{name}=={floor}")


def newer() -> None:
    """Print one line for every installed release that is newer than the newest one known to pass."""
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name, _, cap = line.partition("<=")
        try:
            found = version(name)
        except (PackageNotFoundError, ValueError):
            continue
        if Version(Version(found).public) > Version(cap):
            print(f"  {name} {found} (known to pass: {cap})")


if __name__ == "__main__":
    {"lowest": lowest, "newer": newer}[sys.argv[1]]()
