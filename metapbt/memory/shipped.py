"""The memory that ships with metapbt: runs on related contexts of its own environments, in ``results/memory/``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metapbt.config import shared_dir
from metapbt.errors import MetapbtError
from metapbt.store.results import SHIPPED as MARK

#: What names it where a directory of results is asked for; a directory of this name is ``./shipped``.
SHIPPED = "shipped"


def shipped_dir() -> Path:
    """Where it is: inside the installed package, or in a checkout."""
    return shared_dir("results/memory")


def shipped_version() -> str:
    """Its version: a number that grows whenever its runs are others."""
    return (shipped_dir() / MARK).read_text(encoding="utf-8").strip()


def memory_dirs(asked: str | Path | Sequence[str]) -> list[Path]:
    """The directories in which a memory's runs are looked for.

    Args:
        asked: as ``meta.results_dir``: a directory or several; ``shipped`` among them is the memory that ships.
    """
    places = [asked] if isinstance(asked, str | Path) else asked
    return [shipped_dir() if place == SHIPPED else Path(place) for place in places]


def require_directories(places: Sequence[Path], asked: str) -> None:
    """Refuse places that are not there: a mistyped one must not be a memory without runs.

    Args:
        places: where a memory's runs are to be looked for.
        asked: what named them, such as ``meta.results_dir``.

    Raises:
        MetapbtError: one is no directory.
    """
    for place in places:
        if not place.is_dir():
            raise MetapbtError(
                f"{asked}={place} is no directory, so there is nothing to remember; "
                f"{asked}={SHIPPED} is the memory that ships"
            )
