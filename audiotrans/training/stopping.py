"""When a run stops before its last step: by a signal, or because its time is over."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

from audiotrans.errors import ENDING, UsageError


class Interruption:
    """Context in which the first signal of `ENDING` only sets `asked`; a second one takes effect at once.

    Outside the main thread, where Python allows no signal handlers, it does nothing.

    Attributes:
        asked: whether a signal came.
        number: which one.
    """

    def __init__(self) -> None:
        self.asked = False
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in ENDING:
                before = signal.getsignal(number)
                if before not in (signal.SIG_IGN, None):  # a run in the background stays deaf to Ctrl-C
                    self._before[number] = before
                    signal.signal(number, self._ask)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.asked:
            raise KeyboardInterrupt
        self.asked, self.number = True, number


class TimeLimit:
    """A run's share of the clock, for machines that end a command after so many minutes.

    Args:
        minutes: to run, > 0; None for no limit.
        began: `time.monotonic` when the clock started; now if None.

    Attributes:
        stopped_at: the step after which a run stopped because its time was spent, or by SIGTERM; None if it did not.

    Raises:
        UsageError: for minutes that are not above 0.
    """

    def __init__(self, minutes: float | None = None, began: float | None = None) -> None:
        if minutes is not None and not minutes > 0:
            raise UsageError(f"minutes {minutes:g}: more than 0 are needed")
        self.minutes, self.began = minutes, time.monotonic() if began is None else began
        self.stopped_at: int | None = None

    def check(self, step: int, steps: int) -> None:
        """Note that the run stops after this step if the time is over and it is not the last of ``steps``."""
        if self.minutes is not None and step < steps and time.monotonic() - self.began >= 60 * self.minutes:
            self.stopped_at = step
