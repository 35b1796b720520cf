"""Memory in numbers: the source contexts' rows on scales that make contexts comparable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from metapbt.history import ContextKey, Transition, context_key
from metapbt.memory.memory import Memory
from metapbt.space import Hyperparameters, Space

Array = NDArray[np.float64]
Context = Mapping[str, float]

#: Rows read of the sources; more are thinned evenly. Training visits as many whatever there are.
MAX_ROWS = 100_000
UNSEEN = 0.1  # how well sources cover a target that differs in what they never varied: nobody knows what it changes
TAIL = 0.05  # share of the returns beyond which, on either side, they count by their logarithm


@dataclass(frozen=True)
class Rows:
    """Transitions as numbers.

    Attributes:
        inputs: ``n x d``: time, return before, the context's features, hyperparameters in the unit cube.
        changes: ``n``: the change of return over a usual interval, with unit deviation over the sources.
        contexts: ``n``: which context each row is of, counted from 0.
    """

    inputs: Array
    changes: Array
    contexts: NDArray[np.int_]

    def __len__(self) -> int:
        return len(self.changes)

    def __getitem__(self, which: NDArray[np.int_] | NDArray[np.bool_] | slice) -> Rows:
        return Rows(self.inputs[which], self.changes[which], self.contexts[which])


@dataclass(frozen=True)
class Scales:
    """How returns, times and features become numbers of about unit size, comparable over contexts.

    The range that most returns of the sources lie in (the 5% to the 95% quantile, every context weighing the same)
    becomes 0 to 1. Beyond it a return counts by its logarithm, continued smoothly: a crash to -600 is bad, but not
    worth ten good intervals. All contexts share this range, since the target's own cannot be known at its start: a
    context where learning is slow looks slow, and what was reached elsewhere may be reached here.

    Attributes:
        low: the return that becomes 0.
        span: how many units of return become 1.
        longest: environment steps that become time 1; later is 1 too.
        interval: environment steps of a usual interval.
        unit: deviation of the scaled change over a usual interval.
        start: the scaled return of an untrained agent.
        features: of each feature that differs between the sources: mean and deviation over them.
    """

    low: float = 0.0
    span: float = 1.0
    longest: float = 1.0
    interval: float = 1.0
    unit: float = 1.0
    start: float = 0.0
    features: tuple[tuple[str, float, float], ...] = ()

    @classmethod
    def of(cls, rows: Sequence[tuple[Context, Transition]], with_features: bool = True) -> Scales:
        """Decide them from the sources' rows, at least one.

        The target has no part in them, so that targets with the same sources share one trained model.
        """
        keys = [context_key(context) for context, _ in rows]
        counts = Counter(keys)
        after = np.array([row.return_after for _, row in rows])
        low, high = _quantiles(after, np.array([1 / counts[key] for key in keys]), (TAIL, 1 - TAIL))
        plain = cls(
            low,
            (high - low) or 1.0,
            float(max(row.steps_before + row.steps for _, row in rows)),
            float(np.median([row.steps for _, row in rows])),
        )
        starts = [plain.scaled(row.return_before) for _, row in rows if row.steps_before == 0]
        contexts = list({key: context for key, (context, _) in zip(keys, rows, strict=True)}.values())
        return replace(
            plain,
            unit=float(np.std([plain.change(row) for _, row in rows])) or 1.0,
            start=float(np.median(starts)) if starts else 0.0,
            features=_varying(contexts) if with_features else (),
        )

    def scaled(self, value: float) -> float:
        """A return on this scale."""
        u = (value - self.low) / self.span
        if u < 0:
            return -float(np.log1p(-u))
        return 1 + float(np.log1p(u - 1)) if u > 1 else u

    def unscaled(self, scaled: float) -> float:
        """The return that ``scaled`` takes to this number."""
        u = scaled
        if scaled < 0:
            u = -float(np.expm1(-scaled))
        elif scaled > 1:
            u = 1 + float(np.expm1(scaled - 1))
        return self.low + self.span * u

    def steepness(self, value: float) -> float:
        """The derivative of ``scaled``."""
        u = (value - self.low) / self.span
        return 1 / self.span / (1 + max(-u, u - 1, 0.0))

    def change(self, row: Transition) -> float:
        """What the surrogate learns of a row: the change of its scaled return for a usual interval."""
        difference = self.scaled(row.return_after) - self.scaled(row.return_before)
        return difference * self.interval / row.steps / self.unit

    def given(self, context: Context, env_steps: float, scaled_return: float) -> list[float]:
        """The columns that are not ours to choose: time, return, context."""
        features = [(context[name] - mean) / deviation for name, mean, deviation in self.features]
        return [min(env_steps / self.longest, 1.0), scaled_return, *features]


class Encoder:
    """Turns the sources' transitions, and later the target's, into rows.

    Attributes:
        scales: decided by the sources.
        rows: of the sources; none where no source has a row of this space.
        contexts: those of the rows, as ``rows.contexts`` counts them.
        coverage: how well the sources' features cover the target's, in (0, 1]: 1 within their range, less with the
            distance from it, and ``UNSEEN`` where the target differs in a feature in which the sources do not.
    """

    def __init__(self, memory: Memory, space: Space, with_features: bool = True, max_rows: int = MAX_ROWS) -> None:
        """Encode the sources' rows.

        Args:
            memory: the target's context and the sources' runs.
            space: rows with hyperparameters of another space are left out.
            with_features: whether the context enters.
            max_rows: more are thinned evenly.
        """
        self.space = space
        self._columns: dict[tuple[tuple[str, object], ...], Array | None] = {}
        found = [
            (source.context, row)
            for source in memory.sources
            for row in source.history.transitions()
            if self.columns(row.hyperparameters) is not None
        ]
        chosen = [found[index] for index in evenly(len(found), max_rows)]
        self.scales = Scales.of(chosen, with_features) if chosen else Scales()
        self.rows = self.encode(chosen)
        sources = {context_key(context): context for context, _ in chosen}.values()
        self.contexts: tuple[Context, ...] = tuple(sources)
        self.coverage = _coverage(self.contexts, memory.context) if with_features else 1.0

    def encode(self, rows: Sequence[tuple[Context, Transition]]) -> Rows:
        """Rows of any contexts; those from outside the space must not be among them."""
        width = 2 + len(self.scales.features) + len(self.space)
        places: dict[ContextKey, int] = {}
        inputs, changes, contexts = np.empty((len(rows), width)), np.empty(len(rows)), np.empty(len(rows), dtype=int)
        for i, (context, row) in enumerate(rows):
            columns = self.columns(row.hyperparameters)
            assert columns is not None
            given = self.scales.given(context, row.steps_before, self.scales.scaled(row.return_before))
            inputs[i] = [*given, *columns]
            changes[i] = self.scales.change(row)
            contexts[i] = places.setdefault(context_key(context), len(places))
        return Rows(inputs, changes, contexts)

    def columns(self, hyperparameters: Hyperparameters) -> Array | None:
        """A configuration in the unit cube; None if it is none of this space."""
        # Members mostly go on with what they had, and checking a configuration is what takes long.
        key = tuple(hyperparameters.items())
        if key not in self._columns:
            known = hyperparameters in self.space
            self._columns[key] = self.space.to_unit(hyperparameters) if known else None
        return self._columns[key]


def evenly(count: int, most: int) -> NDArray[np.int_]:
    """Positions of at most ``most`` of ``count`` things, evenly over all of them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def _coverage(sources: Sequence[Context], target: Context) -> float:
    outside = 0.0
    for name, here in target.items():
        values = [source[name] for source in sources]
        low, high = min(values, default=here), max(values, default=here)
        beyond = max(low - here, here - high, 0.0)
        if beyond > 0:
            outside = max(outside, beyond / (high - low) if high > low else np.inf)
    return max(float(np.exp(-outside)), UNSEEN)


def _quantiles(values: Array, weights: Array, shares: Sequence[float]) -> list[float]:
    order = np.argsort(values, kind="stable")
    cumulated = np.cumsum(weights[order])
    places = np.searchsorted(cumulated, np.array(shares) * cumulated[-1])
    return [float(values[order][min(place, len(values) - 1)]) for place in places]


def _varying(contexts: Sequence[Context]) -> tuple[tuple[str, float, float], ...]:
    values = {name: np.array([context[name] for context in contexts]) for name in contexts[0]}
    return tuple((name, float(v.mean()), float(v.std())) for name, v in values.items() if np.ptp(v) > 0)
