"""What ends a run from outside: Ctrl-C and SIGTERM; and errors that nobody foresaw, in one line."""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from metapbt.errors import Interrupted, MetapbtError, named
from metapbt.log import LOGGER

SAME = "the same command"  # which goes on with what was stopped
_SOON = 0.02  # seconds after which a signal comes again that came at a bad moment


@contextmanager
def stoppable(place: Path, command: Callable[[], str | None] = lambda: SAME) -> Iterator[Callable[[], None]]:
    """Let Ctrl-C and SIGTERM end what is saved in ``place`` once; those that follow while it ends are ignored.

    One that comes in the midst of an import waits for its end: the import system would keep its lock, which all other
    threads wait for then. In another thread than the main one there are no signals.

    Args:
        place: of the run.
        command: asked once a signal came: which one goes on from there, in words; None while what is there is another
            run, which is to be replaced.

    Yields:
        What is to be called now and then: it ends the run if a signal came and whatever ran just then, such as a
        learner that catches everything, let it go on.

    Raises:
        Interrupted: one of them came.
    """
    came: list[Interrupted] = []
    put_off: list[int] = []
    begun = sys._getframe(2)  # whose frame is that of the ``with`` statement

    def stop(number: int, frame: FrameType | None) -> None:
        if came or (put_off and put_off[0] != number):  # it is ending, or about to
            return
        if _imports(frame, begun):
            put_off[:] = [number]
            again = threading.Timer(_SOON, signal.pthread_kill, (threading.main_thread().ident, number))
            again.daemon = True
            again.start()
            return
        then = command()
        if then is None:
            came.append(Interrupted(number, f"stopped; {place} was to be replaced, and {SAME} begins it anew"))
        else:
            came.append(Interrupted(number, f"stopped; {place} is saved, and {then} goes on from there"))
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


def _imports(frame: FrameType | None, begun: FrameType) -> bool:
    """Whether the import system is at work in a frame or in what called it, down to where all began."""
    while frame is not None and frame is not begun:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


@contextmanager
def one_line_errors(place: Path, log: Path, command: Callable[[], str | None] = lambda: SAME) -> Iterator[None]:
    """Turn what nobody foresaw, anywhere in a run, into one line; its traceback goes to the log.

    Args:
        place: of the run.
        log: its log.
        command: as of `stoppable`.

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
            then = command()
            intact = "" if then is None else f"what {place} holds is intact; "
            goes_on = f"{SAME} begins it anew" if then is None else f"{then} continues"
            raise MetapbtError(f"{error.filename}: {error.strerror}; {intact}once this is fixed, {goes_on}") from error
        raise MetapbtError(f"unexpected {named(error)} (traceback in {log}; everything finished is saved)") from error
