"""What a run shows while it works: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)


class RunProgress:
    """Counts the trained members of a run.

    On a terminal it is a bar with the time left. Elsewhere it shows nothing: the log's lines tell the same.
    """

    def __init__(self, title: str, generations: int, members: int, intervals_done: int) -> None:
        self._generations = generations
        console = Console(stderr=True)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("members trained, generation {task.fields[generation]}, best return {task.fields[best]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task(
            title,
            total=generations * members,
            completed=intervals_done,
            generation=f"{intervals_done // members + 1}/{generations}",
            best="-",
        )
        self._left = generations * members - intervals_done
        self._trained = 0
        self._began = time.monotonic()

    def __enter__(self) -> RunProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def member_done(self) -> None:
        """Count one more trained member."""
        self._trained += 1
        self._bar.advance(self._task)

    def generation_done(self, done: int, best_return: float) -> str:
        """Say how many generations have ended; return the time left, for the log."""
        shown = f"{min(done + 1, self._generations)}/{self._generations}"
        self._bar.update(self._task, generation=shown, best=f"{best_return:.1f}")
        return _duration((time.monotonic() - self._began) / self._trained * (self._left - self._trained))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
