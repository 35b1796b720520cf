"""The package's logger, and where its lines go while a run works."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOGGER = logging.getLogger("metapbt")


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Send metapbt's log to a file, and to stderr as well: all of it where no bar is drawn, else warnings only."""
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
    shown = logging.StreamHandler()
    shown.setFormatter(logging.Formatter("%(message)s"))
    shown.setLevel(logging.WARNING if sys.stderr.isatty() else logging.INFO)
    level, propagate = LOGGER.level, LOGGER.propagate
    LOGGER.setLevel(logging.INFO)
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


def counted(number: int, thing: str) -> str:
    """A number with its noun: ``1 member``, ``4 members``."""
    return f"{number:,} {thing}{'s' * (number != 1)}"
