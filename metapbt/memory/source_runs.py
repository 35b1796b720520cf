"""What memory is made of: runs on other contexts of the same environment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from metapbt.history import Context, History
from metapbt.memory.describe import Describe, by_features
from metapbt.memory.encoder import Description


@dataclass(frozen=True)
class SourceRun:
    """A run on another context, as far as it had come: what memory is made of."""

    context: Context
    history: History


@dataclass(frozen=True)
class Memory:
    """What is known from related contexts when a run starts.

    Attributes:
        context: the target.
        sources: runs on other contexts of the same environment.
        describe: what tells contexts apart.
    """

    context: Context
    sources: tuple[SourceRun, ...] = ()
    describe: Describe = by_features

    @cached_property
    def descriptions(self) -> dict[Context, Description]:
        """Of the sources' contexts and the target."""
        contexts = list(dict.fromkeys([*(source.context for source in self.sources), self.context]))
        return dict(zip(contexts, self.describe(contexts), strict=True))
