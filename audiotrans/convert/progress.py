"""A progress bar for sound: how far, how many times faster than real time, how long still."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

BAR = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s of sound, {speed}, {remaining} left"

OPEN_BAR = "{desc}: {n:.0f} s of sound, {speed}"


class SoundBar(tqdm):  # type: ignore[type-arg]  # not generic at run time
    """A bar that counts seconds of sound."""

    @property
    def format_dict(self) -> dict[str, Any]:
        """Add ``speed`` to what the bar's format may name."""
        values = dict(super().format_dict)
        rate = values["rate"] or (values["n"] / values["elapsed"] if values["elapsed"] else 0.0)
        values["speed"] = f"{rate:.1f} x real time" if rate else "starting"
        return values


@contextmanager
def sound_bar(label: str, *, quiet: bool = False) -> Iterator[Callable[[float, float], None] | None]:
    """Show a bar on stderr while the context lasts.

    Args:
        label: what the bar is about, such as a file's name.
        quiet: show nothing; so it is also where stderr is not a terminal.

    Yields:
        A function of seconds done and seconds in all, or None where nothing is shown.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    with SoundBar(desc=label, total=0.0, bar_format=BAR, file=sys.stderr, leave=False) as bar:

        def tick(done: float, total: float) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield tick


@contextmanager
def stream_bar(label: str, *, quiet: bool = False) -> Iterator[Callable[[float, float], None] | None]:
    """Show, as `sound_bar` does, how far a stream is; its length may be unknown, 0 seconds in all."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    with SoundBar(desc=label, total=None, bar_format=OPEN_BAR, file=sys.stderr, leave=False) as bar:

        def tick(done: float, total: float) -> None:
            if total:
                bar.total, bar.bar_format = total, BAR
            bar.update(done - bar.n)

        yield tick
