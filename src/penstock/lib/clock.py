"""Time as a value that is handed in: monotonic for durations and deadlines, wall for stamps people read."""

import time
from typing import Protocol


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""

    def wall(self) -> float:
        """Unix seconds; may jump when the machine's clock is set."""


class SystemClock:
    """The machine's clocks. Bound as static methods, so a call costs no Python frame."""

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)  # noqa: TID251 - the one place where the system clock is read
