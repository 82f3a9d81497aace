"""What the command does before its work: caches for users without a home, and no search for garbage at the exit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SEEN = """
import audiotrans.cli, gc, os
audiotrans.cli._collect_rarely()
audiotrans.cli._give_caches_a_place()
print(os.environ.get("NUMBA_CACHE_DIR"), os.environ.get("HOME"), gc.get_threshold()[0])
"""


def seen(home: str | None) -> tuple[str, str, str]:
    """Return where numba keeps its cache, the home and the threshold of a process with this home."""
    kept = {key: value for key, value in os.environ.items() if key not in ("HOME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR")}
    environment = kept if home is None else kept | {"HOME": home}
    done = subprocess.run([sys.executable, "-c", SEEN], env=environment, capture_output=True, text=True, check=True)
    numba, found, threshold = done.stdout.split()
    return numba, found, threshold


def test_a_home_that_can_be_written_is_left_alone(tmp_path: Path) -> None:
    assert seen(str(tmp_path)) == ("None", str(tmp_path), "50000")


def test_a_home_that_is_not_there_gets_no_cache(tmp_path: Path) -> None:
    numba, home, _ = seen(str(tmp_path / "missing"))
    assert home == str(tmp_path / "missing")
    assert "audiotrans-caches-" in numba
    assert not Path(numba).exists()  # it went with the process


def test_no_home_at_all_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import audiotrans.cli

    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("HOME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(Path, "home", staticmethod(unknown))
    audiotrans.cli._give_caches_a_place()
    folder = os.environ["HOME"]
    assert folder == os.environ["NUMBA_CACHE_DIR"] == os.environ["MPLCONFIGDIR"]
    assert os.access(folder, os.W_OK)
