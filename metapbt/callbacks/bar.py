"""The bar: how far a run is, on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from metapbt.callbacks.base import Callback, RunStart
from metapbt.history import History, Record


class BarCallback(Callback):
    """Draws a bar with the time left on a terminal; elsewhere nothing, for the log's lines tell the same."""

    def on_start(self, run: RunStart) -> None:
        """Begin with what was trained before."""
        console = Console(stderr=True)
        self._generations = run.generations
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
            run.title, total=run.intervals, completed=len(run.history), generation=self._shown(run.history), best="-"
        )
        self._bar.start()

    def on_record(self, record: Record) -> None:
        """One more."""
        self._bar.advance(self._task)

    def on_generation(self, history: History) -> None:
        """Which generation trains now, and how good the best is."""
        best = history.value(history.leader())
        self._bar.update(self._task, generation=self._shown(history), best=f"{best:.1f}")

    def on_end(self, history: History, tested: tuple[Record, float] | None) -> None:
        """Take the bar away."""
        self._bar.stop()

    def _shown(self, history: History) -> str:
        return f"{min(history.generations + 1, self._generations)}/{self._generations}"
