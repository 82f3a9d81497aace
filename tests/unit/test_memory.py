"""What a process does with the memory that it frees."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from audiotrans.processes import keep_freed_memory

PAGES = """
import resource
import torch
from audiotrans.processes import keep_freed_memory
if {kept}:
    keep_freed_memory()
for _ in range(50):
    torch.zeros(10_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def pages_fetched(kept: bool) -> int:
    done = subprocess.run([sys.executable, "-c", PAGES.format(kept=kept)], capture_output=True, check=True, text=True)
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_is_not_fetched_from_the_system_again() -> None:
    # 40 MB are ten thousand pages of 4 KiB, and with huge pages at least twenty.
    assert pages_fetched(kept=True) <= pages_fetched(kept=False) - 40 * 20


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    monkeypatch.setattr("sys.platform", system)
    opened: list[object] = []
    monkeypatch.setattr("ctypes.CDLL", opened.append)
    keep_freed_memory()
    assert opened == []


def test_a_c_library_without_the_setting_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    opened: list[object] = []
    monkeypatch.setattr("ctypes.CDLL", opened.append)  # what it returns has no mallopt
    keep_freed_memory()
    assert opened == [None]
