"""What is known from related contexts when a run starts."""

from __future__ import annotations

from dataclasses import dataclass

from metapbt.history import History


@dataclass(frozen=True)
class SourceRun:
    """A finished part of a run on another context: what memory is made of."""

    context: dict[str, float]
    history: History


@dataclass(frozen=True)
class Memory:
    """What is known from related contexts when a run starts.

    Attributes:
        context: the target's features.
        sources: runs on other contexts of the same environment.
    """

    context: dict[str, float]
    sources: tuple[SourceRun, ...] = ()
