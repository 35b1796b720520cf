"""What memory is made of: runs on other contexts of the same environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from metapbt.history import Context, History
from metapbt.memory.describe import Describe, by_features
from metapbt.memory.encoder import Description
from metapbt.memory.reading import joined, own_columns
from metapbt.store.memory_table import ancestry_in
from metapbt.store.table import CONTEXT, Identity, context_of, to_table


@dataclass(frozen=True)
class SourceRun:
    """A run on another context, as far as it had come."""

    context: Context
    history: History


@dataclass(frozen=True)
class Memory:
    """What is known from related contexts when a run starts.

    Attributes:
        context: the target.
        sources: runs on other contexts of the same environment, or one table of their records, as
            `metapbt.memory.reading.read_sources` reads it.
        describe: what tells contexts apart.
    """

    context: Context
    sources: Sequence[SourceRun] | pa.Table = ()
    describe: Describe = by_features

    @cached_property
    def table(self) -> pa.Table:
        """The records of all runs; ``run_id`` tells these apart."""
        if isinstance(self.sources, pa.Table):
            return self.sources
        parts = []
        for place, source in enumerate(self.sources):
            identity = Identity(str(place), "", source.context, "", "", "", 0)
            parts.append((identity, own_columns(to_table(identity, source.history))))
        return joined(parts)

    @cached_property
    def contexts(self) -> tuple[Context, ...]:
        """The context of each run, in the order in which the table names them first."""
        encoded = self.table["run_id"].combine_chunks().dictionary_encode()
        first = np.unique(encoded.indices.to_numpy(), return_index=True)[1]
        names = [name for name in self.table.column_names if name.startswith(CONTEXT)]
        # With a column that all tables have: contexts may have no features, and a table without columns has no rows.
        return tuple(context_of(row) for row in self.table.select(["run_id", *names]).take(first).to_pylist())

    @property
    def ancestry(self) -> frozenset[Context]:
        """The contexts of the sources, of their own sources as far as `read_sources` has read these, and so on."""
        return ancestry_in(self.table)

    @cached_property
    def descriptions(self) -> dict[Context, Description]:
        """Of the sources' contexts and the target."""
        contexts = list(dict.fromkeys([*self.contexts, self.context]))
        return dict(zip(contexts, self.describe(contexts), strict=True))
