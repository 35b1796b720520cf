"""What is shown on a terminal while a command works for long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

#: Is told how much has been done, and of how much.
Told = Callable[[int, int], None]


@contextmanager
def waiting(what: str) -> Iterator[Told]:
    """Show a bar on standard error, where that is a terminal: it runs to and fro until it is told how far it is."""
    console = Console(stderr=True)
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
