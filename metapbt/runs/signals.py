"""What ends a run from outside: Ctrl-C and SIGTERM; and errors that nobody foresaw, in one line."""

from __future__ import annotations

import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metapbt.errors import Interrupted, MetapbtError, one_line
from metapbt.log import LOGGER


@contextmanager
def stoppable(place: Path) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end what is saved in ``place`` once; those that follow while it ends are ignored.

    Raises:
        Interrupted: one of them came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: object) -> None:
        for other in before:
            signal.signal(other, signal.SIG_IGN)
        raise Interrupted(number, f"stopped; {place} is saved, and the same command goes on from there")

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def one_line_errors(log: Path) -> Iterator[None]:
    """Turn what nobody foresaw, anywhere in a run, into one line; its traceback goes to the log."""
    try:
        yield
    except MetapbtError:
        raise
    except Exception as error:
        LOGGER.info("%s", traceback.format_exc())
        raise MetapbtError(
            f"unexpected {type(error).__name__}: {one_line(error)} (traceback in {log}; everything finished is saved)"
        ) from error
