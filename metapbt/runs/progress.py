"""How far a command is that takes seconds or minutes: a bar on a terminal, nothing elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Draw a bar on standard error, where that is a terminal, and take it away in the end.

    Args:
        what: is counted.
        total: how many there will be; None where nobody knows.

    Yields:
        What is told how many have been done.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = [TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.fields[done]}")]
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
        expand=True,
    ) as bar:
        task = bar.add_task(what, total=total, done="")

        def tell(done: int) -> None:
            bar.update(task, completed=done, done=f"{done:,}" if total is None else f"{done:,}/{total:,}")

        yield tell
