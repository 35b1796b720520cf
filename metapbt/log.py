"""The package's logger, and where its lines go while a run works."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any

from metapbt.errors import MetapbtError
from metapbt.files import Held

LOGGER = logging.getLogger("metapbt")


@contextmanager
def logging_to(path: Path, held: Held) -> Iterator[None]:
    """Send metapbt's log to a file, and to stderr as well: what people read where no bar is drawn, else warnings only.

    Tracebacks, at level DEBUG, stand in the file alone.

    Args:
        path: of the file; one that is removed meanwhile is begun again.
        held: of its folder; in another one that took its place no log is begun.

    Raises:
        MetapbtError: the file cannot be written.
    """
    try:
        file = _LogFile(path, held)
    except OSError as error:
        raise MetapbtError(f"{path} cannot be written: {error.strerror or error}") from error
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
    shown = _Shown()
    shown.setFormatter(logging.Formatter("%(message)s"))
    shown.setLevel(logging.WARNING if _is_drawn() else logging.INFO)
    level, propagate = LOGGER.level, LOGGER.propagate
    LOGGER.setLevel(logging.DEBUG)
    LOGGER.propagate = False
    for handler in (file, shown):
        LOGGER.addHandler(handler)
    try:
        yield
    finally:
        for handler in (file, shown):
            LOGGER.removeHandler(handler)
        file.close()
        LOGGER.setLevel(level)
        LOGGER.propagate = propagate


def _is_drawn() -> bool:
    """Whether somebody sees a bar: on a terminal or in a notebook."""
    if sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty():
        return True
    if "IPython" not in sys.modules:
        return False
    from rich.console import Console

    return Console(stderr=True).is_jupyter


class _Shown(logging.StreamHandler[Any]):
    """Writes to what standard error is by then: where a bar is drawn, lines go above it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        self.stream = sys.stderr
        super().emit(record)


class _LogFile(WatchedFileHandler):
    """Says once that it cannot be written, instead of a traceback for each line."""

    def __init__(self, path: Path, held: Held) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self._held = held
        self._lost = False

    def reopenIfNeeded(self) -> None:  # noqa: N802 - logging's name
        """Begin the file again where it was removed from its folder."""
        if self._held.in_place:
            super().reopenIfNeeded()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Say that lines are lost from here on."""
        if not self._lost:
            self._lost = True
            LOGGER.warning("%s cannot be written: %s; lines of it are lost", self.baseFilename, sys.exc_info()[1])

    def close(self) -> None:
        """Close the file, also where what is left of it cannot be written."""
        try:
            super().close()
        except OSError:
            self.handleError(logging.makeLogRecord({}))


def counted(number: int, thing: str) -> str:
    """A number with its noun: ``1 member``, ``4 members``."""
    return f"{number:,} {thing}{'s' * (number != 1)}"


def readable(number: float) -> str:
    """A number for people, in four significant digits or whole: ``22,000``, ``0.0003``, ``12.34``."""
    return f"{number:,.0f}" if 1000 <= abs(number) < 1e15 else f"{number:.4g}"


def rounded(value: object) -> str:
    """A hyperparameter for people, in one line: four significant digits."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) and value.isprintable() else repr(value)
