"""The bar: how far a run is, on a terminal and in a notebook."""

from __future__ import annotations

import importlib
import io
import math
from collections.abc import Callable, Iterable
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from metapbt.callbacks.base import Callback, RunStart
from metapbt.callbacks.log import duration
from metapbt.callbacks.time_left import TimeLeft
from metapbt.history import History, Record
from metapbt.log import readable

_NOTEBOOK = 100  # columns


class BarCallback(Callback):
    """Draws a bar with the time left on a terminal; elsewhere nothing, for the log's lines tell the same.

    In a notebook it is drawn anew after each interval, in the cell's output.

    Args:
        place: of the run among others: ``run 2 of 6: ``.
        console: where to; None for standard error.
    """

    def __init__(self, place: str = "", console: Console | None = None) -> None:
        self._place, self._console = place, console

    def on_start(self, run: RunStart) -> None:
        """Begin with what was trained before."""
        console = self._console or Console(stderr=True)
        self._generations = run.generations
        self._time = TimeLeft(run)
        self._bar = TwoLines(
            SpinnerColumn(),
            bar_column(),
            TextColumn("{task.completed} of {task.total} intervals", table_column=whole()),
            TextColumn("best return {task.fields[best]}", table_column=whole()),
            _Left(lambda: self._time.seconds),
            console=console,
            disable=not console.is_terminal,
            transient=True,
            expand=True,
        )
        self._task = self._bar.add_task(self._place + run.title, total=run.intervals, completed=len(run.history))
        self._metric, self._best = run.metric, -math.inf
        self._tell_generation(run.history)
        self._tell_best(run.history.value(run.history.leader_ever()) if len(run.history) else math.nan)
        self._notebook = _display_in_notebook() if console.is_jupyter else None
        self._bar.start()
        self._draw()

    def on_record(self, record: Record) -> None:
        """One more, and the best return so far."""
        self._time.on_record(record)
        self._tell_best(record.value(self._metric))
        self._bar.advance(self._task)
        self._draw()

    def on_generation(self, history: History) -> None:
        """Which generation trains now."""
        self._time.on_generation()
        self._tell_generation(history)
        self._draw()

    def on_end(self, history: History, tested: tuple[Record, float] | None) -> None:
        """Take the bar away."""
        self._bar.stop()

    def _tell_generation(self, history: History) -> None:
        said = f"generation {min(history.generations + 1, self._generations)} of {self._generations}"
        self._bar.update(self._task, said=said)

    def _tell_best(self, value: float) -> None:
        if value > self._best:
            self._best = value
        self._bar.update(self._task, best=readable(self._best) if math.isfinite(self._best) else "-")

    def _draw(self) -> None:
        if self._notebook is None:
            return
        page = Console(file=io.StringIO(), width=_NOTEBOOK, record=True, force_jupyter=False, force_terminal=True)
        page.print(self._bar.get_renderable())
        style = "white-space:pre;overflow-x:auto;line-height:normal;font-family:monospace"
        self._notebook(page.export_html(code_format=f'<pre style="{style}">{{code}}</pre>', inline_styles=True))


class TwoLines(Progress):
    """What is trained stands above the bar, which has a line of its own: so nothing is cut on a narrow terminal.

    A task's field ``said`` stands behind its description.
    """

    def get_renderables(self) -> Iterable[RenderableType]:
        """Two lines for each task, or more where they do not fit."""
        for task in self.tasks:
            yield Text(f"{task.description}, {task.fields['said']}", overflow="fold")
            yield self.make_tasks_table([task])


def whole() -> Column:
    """A column that is never cut."""
    return Column(no_wrap=True, justify="right")


def bar_column() -> BarColumn:
    """The bar, as wide as the others leave it room."""
    return BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=10))


class _Left(ProgressColumn):
    """How long it goes on."""

    def __init__(self, seconds: Callable[[], float | None]) -> None:
        self._seconds = seconds
        super().__init__(table_column=whole())

    def render(self, task: Task) -> Text:
        seconds = self._seconds()
        return Text("time left unknown yet" if seconds is None else f"{duration(seconds)} left")


def _display_in_notebook() -> Callable[[str], None]:
    """A place in the cell's output, to be filled with HTML again and again."""
    shown: Any = importlib.import_module("IPython.display")
    place = shown.display(shown.HTML(""), display_id=True)
    return lambda html: place.update(shown.HTML(html))
