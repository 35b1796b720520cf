"""How far a command is that takes seconds or minutes: a bar on a terminal, nothing elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Is told how much has been done and, where that was not known before, of how much.
Tell = Callable[..., None]


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Tell]:
    """Draw a bar on standard error, where that is a terminal, and take it away in the end.

    Args:
        what: is done, or counted.
        total: how many there will be; None where nobody knows yet: the bar runs to and fro.

    Yields:
        What is told ``(done)`` or ``(done, total)``.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[done]}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
        expand=True,
    ) as bar:
        task = bar.add_task(what, total=total, done="")

        def tell(done: int, of: int | None = total) -> None:
            bar.update(task, completed=done, total=of, done=f"{done:,}" if of is None else f"{done:,}/{of:,}")

        yield tell
