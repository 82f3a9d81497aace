"""The notebook runs, from its first cell to its last."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.usefixtures("no_board")
def test_every_cell_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cells = json.loads((ROOT / "docs" / "tour.ipynb").read_text(encoding="utf-8"))["cells"]
    assert all(not cell["outputs"] for cell in cells if cell["cell_type"] == "code")  # none is kept, so none is old
    for name in ("data", "recipes"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    with warnings.catch_warnings():
        for number, cell in enumerate(cells):
            if cell["cell_type"] == "code":
                exec(compile("".join(cell["source"]), f"<cell {number}>", "exec"), names)  # noqa: S102
    said = capsys.readouterr().out
    assert "('violin', 'piano') (2, 176400) -> (2, 176400)" in said
    assert "as a piano:  []" in said
    assert "like violin" in said or "sounds like" in said
