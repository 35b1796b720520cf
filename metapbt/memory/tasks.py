"""The source contexts as tasks: their rows on a common scale, and each one held out from the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from metapbt.history import Context
from metapbt.memory.columns import RecordColumns
from metapbt.memory.encoder import Array, Description, Encoder, Rows, Samples, Which
from metapbt.memory.lookahead import Lines, best_of_next
from metapbt.memory.points import points_of
from metapbt.memory.scales import SourceScale, differ
from metapbt.space import Space
from metapbt.surrogates.thinning import evenly

if TYPE_CHECKING:
    from metapbt.memory.source_runs import Memory

#: Rows that models are trained on and conditioned on; more are thinned evenly.
MAX_ROWS = 100_000
UNSEEN = 0.1  # how well sources cover a target that differs in what they never varied: nobody knows what it changes


class Tasks:
    """The sources' samples by context.

    Attributes:
        samples: of all sources; none where no source has a row of the space.
        contexts: those of the samples, as they count them.
        descriptions: of these contexts.
        chosen: how many columns are hyperparameters.
        categories: of each of these, counted from 0, that is a category's: how many choices it has.
        runs: which run of the memory each sample is of, as `Memory.contexts` counts them; ``n``.
        changed: whether rows say by how much configurations differ from what agents trained with lately.
        whole: the samples before any were left out, which lines of descent are made of; ``m``.
        thinned: which of these are the samples.
        hindsight: changes of return are those to the highest that came of an agent within so many intervals.
        origins: which of these each went on from; -1 of a new agent, or where that is not among them; ``m``.
    """

    def __init__(
        self,
        whole: Samples,
        contexts: Sequence[Context],
        descriptions: Sequence[Description],
        categories: Mapping[int, int] | None = None,
        runs: NDArray[np.int_] | None = None,
        changed: bool = False,
        origins: NDArray[np.int_] | None = None,
        thinned: Which = slice(None),
        hindsight: int = 1,
    ) -> None:
        self.whole = whole
        self.thinned = thinned
        self.samples = whole[thinned]
        self.origins = np.full(len(self.whole.points), -1) if origins is None else origins
        self.changed = changed
        self.hindsight = hindsight
        self.runs = np.zeros(len(self.samples), dtype=int) if runs is None else runs
        self.categories: Mapping[int, int] = dict(categories or {})
        self.contexts = tuple(contexts)
        self.descriptions = tuple(descriptions)
        self.chosen = whole.points.shape[1]

    @classmethod
    def of(
        cls,
        memory: Memory,
        space: Space,
        with_features: bool = True,
        max_rows: int = MAX_ROWS,
        changed: bool = True,
    ) -> Tasks:
        """Those of a memory.

        Args:
            memory: the target's context and the sources' runs.
            space: rows with hyperparameters of another space are left out.
            with_features: whether contexts are described.
            max_rows: of the samples; more are thinned evenly.
            changed: whether rows say by how much configurations differ from what agents trained with lately.
        """
        columns = RecordColumns.of(memory.table)
        found = columns.transitions()
        everything = points_of(memory.table, space)
        points = everything[found.rows]
        kept = np.flatnonzero(~np.isnan(points).any(axis=1))
        fewer = kept[evenly(len(kept), max_rows)]
        places: dict[Context, int] = {}
        runs, first = np.unique(found.runs[fewer], return_index=True)
        for run in runs[np.argsort(first)]:
            places.setdefault(memory.contexts[run], len(places))
        numbers = np.array([places.get(context, -1) for context in memory.contexts], dtype=int)
        kept = kept[numbers[found.runs[kept]] >= 0]  # of contexts that have a row
        categories = space.categories
        usual = float(np.median(found.steps[fewer])) if len(fewer) else 1.0
        recent = columns.recent(everything[columns.rows], usual, categories)[found.places] if changed else points
        places_of = np.full(len(memory.table) + 1, -1)
        places_of[found.rows[kept]] = np.arange(len(kept))
        whole = Samples(
            found.generations[kept],
            found.steps_before[kept],
            found.steps[kept],
            found.returns_before[kept],
            found.returns_after[kept],
            points[kept],
            recent[kept],
            numbers[found.runs[kept]],
        )
        described = [memory.descriptions[context] if with_features else {} for context in places]
        origins = places_of[found.origins[kept]]  # of -1 the last, which is no sample
        thinned = np.searchsorted(kept, fewer)
        runs_of = found.runs[fewer]
        return cls(whole, list(places), described, categories, runs_of, changed, origins, thinned)

    def in_hindsight(self, intervals: int) -> Tasks:
        """The same contexts, in which the change of a row is the one to the highest return that its agent, or any that
        descended from it, had within so many intervals, the row's own included."""
        return Tasks(
            self.whole, self.contexts, self.descriptions, self.categories, self.runs, self.changed, self.origins,
            self.thinned, intervals,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.samples)

    @cached_property
    def scale(self) -> SourceScale:
        """Decided by all of them."""
        return self._scale(slice(None)) if len(self) else SourceScale()

    @cached_property
    def rows(self) -> Rows:
        """All samples on this scale."""
        return self._encoder(self.scale).rows(self._outcomes)

    @cached_property
    def _outcomes(self) -> Samples:
        """The samples, each with the return that came of it in hindsight."""
        return replace(self.samples, returns_after=self._best_within(self.hindsight)[self.thinned])

    def _best_within(self, intervals: int) -> Array:
        """The highest return that agents, or any that descended from them, had within so many intervals, ``m``."""
        best = self.whole.returns_after
        for _ in range(intervals - 1):
            earlier = np.fmax(self.whole.returns_after, best_of_next(best, self.origins))
            if np.array_equal(earlier, best):
                break
            best = earlier
        return best

    @cached_property
    def merits(self) -> Array:
        """How good what came of each sample is among those of its context and time, in (0, 1), ``n``.

        Its rank by the highest return that its agent, or any that descended from it, ever had: the share of the others
        that came to less. So contexts and times count alike, whatever returns are usual there.
        """
        best = self._best_within(len(self.whole))  # of as many as there can be
        merits = np.empty(len(best))
        _, groups = np.unique(np.stack([self.whole.contexts, self.whole.times]), axis=1, return_inverse=True)
        order = np.argsort(groups.ravel(), kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(groups.ravel()[order])) + 1):
            merits[group] = (rankdata(best[group]) - 0.5) / len(group)
        return np.asarray(merits[self.thinned])

    def scale_without(self, context: int) -> SourceScale:
        """Decided by all contexts but one: to the others, it is what a target is to its sources."""
        return self._scale(np.flatnonzero(self.samples.contexts != context))

    def held_out(self, context: int) -> tuple[Rows, Rows]:
        """The rows of one context, and those of the others, on the scale of the others.

        What agents trained with lately is averaged alike in all: its half-life is the usual interval of all contexts.
        """
        own = self.samples.contexts == context
        encoder = self._encoder(self.scale_without(context))
        return encoder.rows(self._outcomes[own]), encoder.rows(self._outcomes[~own])

    def lines(self, context: int) -> Lines:
        """The rows of one context as lines of descent, on the scale of the others."""
        which = np.flatnonzero(self.whole.contexts == context)
        places = np.full(len(self.whole) + 1, -1)  # of -1 the last, which is none
        places[which] = np.arange(len(which))
        own, scale = self.whole[which], self.scale_without(context)
        return Lines(
            self._encoder(scale).rows(own), own.steps / scale.interval, places[self.origins[which]], scale.unit
        )

    def _scale(self, which: Which) -> SourceScale:
        """Decided by these samples."""
        return SourceScale.of(self.samples[which], self.descriptions, self._outcomes[which])

    def _encoder(self, scale: SourceScale) -> Encoder:
        return Encoder(scale, self.descriptions or ({},), self.changed, self.categories)

    def coverage(self, target: Description) -> float:
        """How well the sources' descriptions cover the target's, in (0, 1].

        1 within their range, less with the distance from it, and ``UNSEEN`` where the target differs in a number in
        which the sources do not.
        """
        outside = 0.0
        for name, here in target.items():
            values = [description[name] for description in self.descriptions if name in description]
            low, high = min(values, default=here), max(values, default=here)
            nearest = min(max(here, low), high)
            if differ(here, nearest):
                outside = max(outside, abs(here - nearest) / (high - low) if differ(low, high) else np.inf)
        return max(float(np.exp(-outside)), UNSEEN)

    def digest(self) -> str:
        """A hash of all that models are trained on.

        Of coordinates the first seven digits count: the last depend on how a processor takes a logarithm. What contexts
        do not differ in models never see, so a target that alone has another category, or number, asks for the same.
        """
        names = [name for name, *_ in self.scale.features]
        digest = sha256(repr([[(name, each[name]) for name in names] for each in self.descriptions]).encode())
        digest.update(repr((self.samples.points.shape, self.changed, self.hindsight)).encode())
        if self.categories:
            digest.update(repr(sorted(self.categories.items())).encode())
        for samples in (self.samples, self.whole):
            for name, part in vars(samples).items():
                rounded = part.astype(np.float32) if name in ("points", "recent") else part
                digest.update(np.ascontiguousarray(rounded).tobytes())
        digest.update(self.origins.tobytes())
        return digest.hexdigest()
