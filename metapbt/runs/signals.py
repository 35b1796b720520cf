"""What ends a run from outside: Ctrl-C and SIGTERM; and errors that nobody foresaw, in one line."""

from __future__ import annotations

import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from metapbt.errors import Interrupted, MetapbtError, named
from metapbt.log import LOGGER


@contextmanager
def stoppable(place: Path) -> Iterator[Callable[[], None]]:
    """Let Ctrl-C and SIGTERM end what is saved in ``place`` once; those that follow while it ends are ignored.

    In another thread than the main one there are no signals.

    Yields:
        What is to be called now and then: it ends the run if a signal came and whatever ran just then, such as a
        learner that catches everything, let it go on.

    Raises:
        Interrupted: one of them came.
    """
    came: list[Interrupted] = []

    def stop(number: int, _frame: object) -> None:
        if not came:  # else it is ending
            came.append(Interrupted(number, f"stopped; {place} is saved, and the same command goes on from there"))
            raise came[0]

    def heed() -> None:
        if came:
            raise came[0]

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # What was not set from Python cannot be set back.
    before = {number: handler for number, handler in before.items() if handler is not None}
    try:
        for number in before:
            signal.signal(number, stop)
        yield heed
    except KeyboardInterrupt as error:
        if came and error is not came[0]:  # whatever ran just then, such as Ray, made another of it
            raise came[0] from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def one_line_errors(place: Path, log: Path) -> Iterator[None]:
    """Turn what nobody foresaw, anywhere in a run, into one line; its traceback goes to the log.

    Args:
        place: of the run.
        log: its log.

    Raises:
        MetapbtError: whatever was raised, but for what ends processes.
    """
    try:
        yield
    except MetapbtError:
        raise
    except (Exception, SystemExit) as error:
        LOGGER.debug("%s", traceback.format_exc())
        if isinstance(error, OSError) and error.filename is not None:
            raise MetapbtError(
                f"{error.filename}: {error.strerror}; what {place} holds is whole, and once that is mended the same "
                "command goes on"
            ) from error
        raise MetapbtError(f"unexpected {named(error)} (traceback in {log}; everything finished is saved)") from error
