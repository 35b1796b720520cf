"""How long a run goes on, forecast from what was trained since it started."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from metapbt.callbacks.base import RunStart
from metapbt.history import Record


class TimeLeft:
    """Forecasts from the first interval on; what was trained before a stop, and loading libraries, count as no time.

    Until a generation has ended here, an interval is taken to cost its own time, shared by all that train at once. Then
    from when to when generations ended is what they cost, decisions included. Members of an asynchronous run wait for
    nobody, so there the former holds all along.

    Args:
        run: which starts.
        clock: in seconds.
    """

    def __init__(self, run: RunStart, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left = run.intervals - len(run.history)
        self._waits = not run.asynchronous
        # Members that wait for each other train in so many waves.
        self._at_once = run.size / math.ceil(run.size / run.at_once) if self._waits else run.at_once
        self._trained, self._seconds = 0, 0.0
        self._start = clock()
        self._since = (self._start, self._left)  # when, and how many intervals were left then
        self._began = math.inf  # the first interval
        self._first: tuple[float, int] | None = None  # when the first generation ended here, and what was left then
        self._each: float | None = None  # seconds for each interval

    def on_record(self, record: Record) -> None:
        """An interval has ended."""
        now = self._clock()
        self._trained += 1
        self._left -= 1
        self._seconds += record.wall_seconds
        self._began = min(self._began, max(now - record.wall_seconds, self._start))
        if self._first is None or not self._waits:
            self._each = self._seconds / self._trained / self._at_once
            self._since = (self._began, self._left + self._trained) if self._waits else (now, self._left)

    def on_generation(self) -> None:
        """A generation has ended."""
        now = self._clock()
        if not (self._waits and self._trained):
            return
        self._since = (now, self._left)
        if self._first is None:
            self._first = self._since
            self._each = (now - self._began) / self._trained
        elif self._left < self._first[1]:
            self._each = (now - self._first[0]) / (self._first[1] - self._left)

    @property
    def seconds(self) -> float | None:
        """How many seconds it goes on from now; None before the first interval has ended here."""
        if self._each is None:
            return None
        when, left = self._since
        return max(left * self._each - (self._clock() - when), 0.0)
