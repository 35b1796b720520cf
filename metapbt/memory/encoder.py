"""The one encoder of rows: a context, a transition and a configuration become the columns of a surrogate.

What differs between surrogates is the scale that is handed in: PB2 scales by its own run, memory by its sources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from metapbt.history import Record, Transition
from metapbt.space import Hyperparameters

Array = NDArray[np.float64]
#: What tells contexts apart, as numbers by name: their features, or what a policy experiences there.
Description = Mapping[str, float]
#: What agents that go on from a record had trained with lately, as columns, ``d``.
Recent = Callable[[Record], Array]
#: A configuration as columns, ``d``.
ToColumns = Callable[[Hyperparameters], Sequence[float] | Array]
Which = NDArray[np.int_] | NDArray[np.bool_] | slice


@dataclass(frozen=True)
class Samples:
    """Transitions as numbers, before any scale.

    Attributes:
        generations: ``n``.
        steps_before: environment steps before the interval, ``n``.
        steps: environment steps in it, ``n``.
        returns_before: ``n``.
        returns_after: ``n``.
        points: the configurations' columns, ``n x d``.
        recent: those of what the agents had trained with lately (`lately`), ``n x d``; a new agent's are
            its own, and weights that were shrunk keep their past.
        contexts: which context each is of, counted from 0, ``n``.
    """

    generations: Array
    steps_before: Array
    steps: Array
    returns_before: Array
    returns_after: Array
    points: Array
    recent: Array
    contexts: NDArray[np.int_]

    @classmethod
    def of(cls, rows: Sequence[Transition], columns: ToColumns, recent: Recent | None = None) -> Samples:
        """Of transitions of one context; without ``recent`` as if all agents had trained with nothing else."""
        numbers = np.array(
            [(r.generation, r.steps_before, r.steps, r.return_before, r.return_after) for r in rows], dtype=np.float64
        )
        generations, steps_before, steps, before, after = numbers.reshape(len(rows), 5).T
        points = [columns(row.hyperparameters) for row in rows]
        earlier = [
            point if row.origin is None or recent is None else recent(row.origin)
            for row, point in zip(rows, points, strict=True)
        ]
        width = len(points[0]) if points else 0
        own, past = (np.array(each, dtype=np.float64).reshape(len(rows), width) for each in (points, earlier))
        return cls(generations, steps_before, steps, before, after, own, past, np.zeros(len(rows), dtype=int))

    def __len__(self) -> int:
        return len(self.contexts)

    def __getitem__(self, which: Which) -> Samples:
        return Samples(*(getattr(self, part.name)[which] for part in fields(self)))

    @property
    def slopes(self) -> Array:
        """Change of return for each environment step, ``n``."""
        return (self.returns_after - self.returns_before) / self.steps

    @property
    def times(self) -> NDArray[np.int_]:
        """How many intervals of the usual length in its context each began after, ``n``.

        Agents with about as much training are of one time, even where intervals end at whole rollouts of several
        lengths, or asynchronously.
        """
        if not len(self):
            return np.zeros(0, dtype=int)
        # The median of each context's intervals: they are sorted within it, and the middle one or two looked at.
        order = np.lexsort((self.steps, self.contexts))
        starts = np.flatnonzero(np.diff(self.contexts[order], prepend=-1))
        counts = np.diff(starts, append=len(self))
        steps = self.steps[order]
        usual = (steps[starts + (counts - 1) // 2] + steps[starts + counts // 2]) / 2
        return np.round(self.steps_before / usual[np.searchsorted(self.contexts[order][starts], self.contexts)]).astype(
            int
        )


@dataclass(frozen=True)
class Rows:
    """Samples on a scale: what a surrogate is made of.

    Attributes:
        inputs: ``n x d``: time, return before, the context's description, the configuration, and what changed in it.
        changes: what is to be forecast: by how much the return changed, ``n``.
        contexts: which context each row is of, counted from 0, ``n``.
        times: rows of the same whole number are of the same time, ``n``; see `Samples.times`.
    """

    inputs: Array
    changes: Array
    contexts: NDArray[np.int_]
    times: NDArray[np.int_]

    def __len__(self) -> int:
        return len(self.changes)

    def __getitem__(self, which: Which) -> Rows:
        return Rows(*(getattr(self, part.name)[which] for part in fields(self)))


def lately(recent: Array, points: Array, share: float | Array, categories: Iterable[int] = ()) -> Array:
    """What agents have trained with lately after one more interval: the exponential moving average of configurations.

    Its half-life is a usual interval of the sources, in environment steps: what an agent did two of these ago counts
    half as much as what it did in the last. Of a category it is the last choice: choices have no average.

    Args:
        recent: before the interval, ``n x d``.
        points: what they train with in it, ``n x d``.
        share: its length in usual intervals, one for all or ``n``.
        categories: columns, counted from 0, that are a category's.
    """
    kept = np.reshape(0.5 ** np.maximum(share, 0.0), (-1, 1))  # damaged records may go back in time
    found = points + kept * (recent - points)
    columns = list(categories)
    found[..., columns] = points[..., columns]
    return np.asarray(found)


def less_their_means(values: Array, times: NDArray[np.int_]) -> Array:
    """Values (``n``), each less the mean of those of its time: what tells apart who trained at the same time."""
    _, when, counts = np.unique(times, return_inverse=True, return_counts=True)
    return np.asarray(values - (np.bincount(when, values) / counts)[when])


class Scale(Protocol):
    """How times, returns, descriptions and changes become numbers of about unit size."""

    def start(self, generations: Any, env_steps: Any, returns: Any) -> Array:
        """When an interval begins and from which return: ``... x 2`` for numbers or arrays of one shape."""

    def context(self, description: Description) -> Sequence[float]:
        """The columns of a context."""

    def changes(self, samples: Samples) -> Array:
        """By how much the return changed, ``n``."""


@dataclass(frozen=True)
class Encoder:
    """Turns samples into rows.

    Attributes:
        scale: of all columns but the configuration's, and of the changes.
        contexts: the descriptions of the samples' contexts, as they count them.
        changed: whether rows say by how much each hyperparameter differs from what the agent had trained with lately;
            of a category's they say only whether, for its choices have no order.
        categories: of each column of a configuration, counted from 0, that is a category's: how many choices it has.
    """

    scale: Scale
    contexts: Sequence[Description] = ({},)
    changed: bool = False
    categories: Mapping[int, int] = field(default_factory=dict)

    def rows(self, samples: Samples) -> Rows:
        """The samples as rows."""
        starts = self.scale.start(samples.generations, samples.steps_before, samples.returns_before)
        described = np.array([self.scale.context(description) for description in self.contexts], dtype=np.float64)
        described = described.reshape(len(self.contexts), -1)[samples.contexts]
        inputs = np.concatenate([starts, described, self.own(samples.points, samples.recent)], axis=1)
        return Rows(inputs, self.scale.changes(samples), samples.contexts, samples.times)

    def given(self, generation: int, env_steps: float, value: float) -> list[float]:
        """The columns of an interval that are not ours to choose: all but the configuration's."""
        start = self.scale.start(generation, env_steps, value)
        return [*(float(column) for column in start), *self.scale.context(self.contexts[0])]

    def own(self, points: Array, recent: Array) -> Array:
        """The columns of configurations (``n x d``) of agents that had trained with ``recent`` lately (``n x d``)."""
        if not self.changed:
            return points
        difference = points - recent
        for column, choices in self.categories.items():
            now, before = (np.floor(each[..., column] * choices).clip(0, choices - 1) for each in (points, recent))
            difference[..., column] = now != before
        return np.concatenate([points, difference], axis=-1)
