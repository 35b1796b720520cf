"""What agents can have reached some intervals later: with what they train with now, or with the best that memory knows.

Whoever asks of each interval only what it brings by its own end is greedy: it drops a large learning rate as soon as
that pays, though others would have learned more with it. Runs on related contexts show what came later. Their model
is asked again and again, each time at the return that an agent has come to by then. An agent's state is its return and
what it trained with lately: one that learns fast and noisily looks worse than it is, and the model knows by how much
from what it saw where others stopped.

`Rollout` lets agents keep what they train with, as most members of a population do for some intervals. `Lookahead`
plans: agents change to the best at every interval. A plan is worth more than that where the best next step is not the
best, and worth nothing where the model cannot tell later intervals apart; `metapbt.memory.planning` says which it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metapbt.memory.candidates import around, distinct, filling
from metapbt.memory.encoder import Array, Encoder, Rows, lately
from metapbt.memory.points import legal_points
from metapbt.memory.scales import SourceScale
from metapbt.space import Space
from metapbt.surrogates.thinning import evenly

#: The mean change over a usual interval, at a surrogate's inputs ``n x d``: ``n``.
Mean = Callable[[Array], Array]

KEPT = 3  # intervals for which members keep what they train with, more or less: a copy of one in four replaces another
ACTIONS = 8  # configurations of each interval ahead, of which an agent takes the best
FILL = 32  # configurations that fill the space, of which these are chosen, beside hints
AROUND, RADIUS = 32, 0.1  # and those near the best of them
BEST = 8  # around which these lie
RETURNS = 7  # where the value of the end of an interval is tabulated: from
LOWEST, HIGHEST = -0.5, 1.5  # the least to the most of these, on memory's scale
SECANT = 0.25  # of the cube's edge: by how much what agents trained with lately differs where its effect is tabulated
MOST_LINES = 200  # of one context, to tell how far ahead it can be forecast


@dataclass(frozen=True)
class Inputs:
    """What is the same for every agent of a run.

    Attributes:
        encoder: of the run's rows.
        scale: of their columns.
        described: the columns of the context, ``f``.
    """

    encoder: Encoder
    scale: SourceScale
    described: Array

    def inputs(self, time: float, returns: Array, points: Array, recent: Array) -> Array:
        """A surrogate's inputs for agents at a time, with returns ``n``: ``n x d``.

        Args:
            time: on memory's scale.
            returns: on memory's scale.
            points: configurations of the interval that begins, of a shape like ``n x d``.
            recent: what the agents had trained with lately.
        """
        given = np.column_stack(
            [np.full(len(returns), time), returns, np.broadcast_to(self.described, (len(returns), len(self.described)))]
        )
        return np.concatenate([given, self.encoder.own(points, recent)], axis=1)

    def times(self, time: float, steps: Sequence[float]) -> Array:
        """When intervals of so many environment steps begin, the first of them at ``time``, on memory's scale."""
        return np.minimum(time + np.cumsum([0.0, *steps[:-1]]) / self.scale.longest, 1.0)

    def gain(self, change: Array, share: float) -> Array:
        """What an interval brings that has such a share of the usual length, where one of that changes returns so."""
        return change * share * self.scale.unit

    def lately(self, recent: Array, points: Array, share: float) -> Array:
        """What agents trained with lately (`lately`) after an interval of this share of the usual length."""
        return lately(recent, points, share, self.encoder.categories)


class Rollout:
    """The mean return of agents over the coming intervals if they keep what they train with."""

    def __init__(self, mean: Mean, columns: Inputs, time: float, steps: Sequence[float]) -> None:
        """Take what is the same for all agents.

        Args:
            mean: of the model.
            columns: of its inputs.
            time: when the coming interval begins, on memory's scale.
            steps: environment steps of the coming interval, and of each after it.
        """
        self._mean, self._columns = mean, columns
        shares = [each / columns.scale.interval for each in steps]
        self._intervals = list(zip(columns.times(time, steps), shares, strict=True))

    def after(self, value: float | Array, change: Array, points: Array, recent: Array) -> Array:
        """As of `Lookahead.after`: the mean of the returns that the intervals end with, ``n``."""
        returns, total = np.broadcast_to(value, len(points)), np.zeros(len(points))
        for place, (time, share) in enumerate(self._intervals):
            if place:
                change = self._mean(self._columns.inputs(time, returns, points, recent))
            returns = returns + self._columns.gain(change, share)
            recent = self._columns.lately(recent, points, share)
            total += returns
        return np.asarray(total / len(self._intervals))


@dataclass(frozen=True)
class _Ahead:
    """An interval that is still to come.

    Attributes:
        time: when it begins, on memory's scale.
        share: its length in usual intervals.
        actions: what can be trained with in it, ``m x d``.
        growth: by how much a return still grows after it, for each of the actions, by agents who had trained with
            nothing else lately, and each of the tabulated returns at its end: ``m x RETURNS``.
        slopes: by how much more, for each unit that a number of what they had trained with lately is larger, and
            smaller: ``2 x m x RETURNS x d``.
    """

    time: float
    share: float
    actions: Array
    growth: Array
    slopes: Array


class Lookahead:
    r"""The values of agents over the coming intervals, by dynamic programming on the mean of memory's model.

    $$V_j(r, h) = \max_{a \in A_j} V_{j+1}\bigl(r + \Delta_j(r, a, h), \tfrac12 (h + a)\bigr), \quad V_{n+1}(r, h) = r$$

    with r the return that interval j begins with, h what the agent trained with lately, an exponential moving average
    (`lately`; a half is its weight after an interval of the usual length), and $\Delta_j$ the forecast change. Each
    interval has its own few actions: those with the best value at the return of the fastest agents, for agents that
    trained with them lately and for agents that come from what grows fastest. Between tabulated returns values are
    linear, and so they are in h, around agents that trained with nothing but a.

    Source: Bertsekas (2005), approximate dynamic programming with a rolling horizon; Gonzalez et al. (2016) and Jiang
    et al. (2020) on non-myopic Bayesian optimisation.
    """

    def __init__(
        self,
        mean: Mean,
        columns: Inputs,
        time: float,
        value: float,
        steps: Sequence[float],
        space: Space,
        hints: Callable[[float, float], Array],
    ) -> None:
        """Work backwards through the intervals.

        Args:
            mean: of the model.
            columns: of its inputs.
            time: when the coming interval begins, on memory's scale.
            value: the return of an agent like those that will be asked about, on memory's scale.
            steps: environment steps of the coming interval, and of each after it.
            space: of hyperparameters.
            hints: configurations worth looking at, legal ones, ``k x width``, at a time and a return.
        """
        self._mean, self._columns = mean, columns
        self._ahead: list[_Ahead] = []
        scale, rng = columns.scale, np.random.default_rng(0)  # the same points at every decision
        shares = [each / scale.interval for each in steps]
        times = columns.times(time, steps)
        filled = legal_points(filling(FILL, len(space), rng), space)
        pools, fastest, values = [], [], []
        for when, share in zip(times, shares, strict=True):
            pool = np.concatenate([filled, hints(when, value)])
            after = self._after(when, share, np.full(len(pool), value), pool, pool)
            best = pool[np.argsort(-after, kind="stable")[:BEST]]
            near = around(np.repeat(best, AROUND // BEST, axis=0), RADIUS, space.categories, rng)
            wider = np.concatenate([pool, legal_points(near, space)])
            pools.append(wider[distinct(wider)])
            fastest.append(best[0])
            values.append(value)
            value = float(after.max())
        for place in reversed(range(len(times))):
            pool, when, share = pools[place], times[place], shares[place]
            chosen: list[int] = []
            for recent in (pool, np.broadcast_to(fastest[max(place - 1, 0)], pool.shape)):
                after = self._after(when, share, np.full(len(pool), values[place]), pool, recent)
                reached = self._value(after, columns.lately(recent, pool, share), 0)
                order = np.argsort(-reached, kind="stable").tolist()
                chosen += [each for each in order if each not in chosen][: ACTIONS // 2]
            actions = pool[chosen]
            returns = np.tile(np.linspace(LOWEST, HIGHEST, RETURNS), len(actions))
            growth, slopes = self._tabulated(returns, np.repeat(actions, RETURNS, axis=0))
            shape = (len(actions), RETURNS)
            growth, slopes = growth.reshape(shape), slopes.reshape(2, *shape, len(space))
            self._ahead.insert(0, _Ahead(when, share, actions, growth, slopes))

    def before(self, returns: Array, recent: Array) -> Array:
        """The values of agents that are about to begin the coming interval: ``n``, as returns on memory's scale.

        Args:
            returns: theirs, on memory's scale, ``n``.
            recent: what they trained with lately, ``n x width``.
        """
        return self._value(returns, recent, 0)

    def after(self, value: float | Array, change: Array, points: Array, recent: Array) -> Array:
        """The values of agents that begin the coming interval, if it brings them what is said: ``n``.

        Args:
            value: the return that it begins with, on memory's scale; one for all, or ``n``.
            change: what it brings, as the model says it: for an interval of the usual length, in its units; ``n``.
            points: what they train with in it, ``n x width``.
            recent: what they trained with lately before it, of a shape like it.
        """
        share = self._ahead[0].share
        gain = self._columns.gain(change, share)
        return self._value(value + gain, self._columns.lately(recent, points, share), 1)

    def _value(self, returns: Array, recent: Array, place: int) -> Array:
        """The values of agents that begin an interval, with the best of its actions: ``n``."""
        return returns if place >= len(self._ahead) else self._values(returns, recent, place).max(axis=1)

    def _values(self, returns: Array, recent: Array, place: int) -> Array:
        """The same with each of its actions: ``n x m``."""
        count = len(self._ahead[place].actions)
        each, which = np.repeat(np.arange(len(returns)), count), np.tile(np.arange(count), len(returns))
        return self._with(returns[each], recent[each], place, which).reshape(len(returns), count)

    def _with(self, returns: Array, recent: Array, place: int, which: NDArray[np.int_]) -> Array:
        """The values of agents that train with one of an interval's actions each, whose number is said: ``n``."""
        ahead = self._ahead[place]
        actions = ahead.actions[which]
        after = self._after(ahead.time, ahead.share, returns, actions, recent)
        where = np.clip((after - LOWEST) / (HIGHEST - LOWEST), 0.0, 1.0) * (RETURNS - 1)
        low = np.minimum(where.astype(int), RETURNS - 2)
        apart = self._columns.lately(recent, actions, ahead.share) - actions
        up, down = np.maximum(apart, 0.0), np.minimum(apart, 0.0)
        left, right = (
            ahead.growth[which, each] + (ahead.slopes[0, which, each] * up + ahead.slopes[1, which, each] * down).sum(1)
            for each in (low, low + 1)
        )
        return np.asarray(after + left + (where - low) * (right - left))

    def _tabulated(self, returns: Array, points: Array) -> tuple[Array, Array]:
        """How much returns (``n``) still grow if agents trained with nothing but ``points`` lately, ``n``, and by how
        much more for each unit that a number of these is larger, and smaller, ``2 x n x d``: secants over a quarter of
        the cube, with the same best action; that of the other side where there is not so much of it on one."""
        slopes = np.zeros((2, *points.shape))
        if not self._ahead:
            return np.zeros(len(returns)), slopes
        values = self._values(returns, points, 0)
        best, value = values.argmax(axis=1), values.max(axis=1)
        for column in range(points.shape[1]):
            if column in self._columns.encoder.categories:
                continue
            for side, step in enumerate((SECANT, -SECANT)):
                recent = points.copy()
                recent[:, column] += step
                inside = np.flatnonzero((recent[:, column] >= 0) & (recent[:, column] <= 1))
                moved = self._with(returns[inside], recent[inside], 0, best[inside])
                slopes[side, inside, column] = (moved - value[inside]) / step
            low, high = points[:, column] < SECANT, points[:, column] > 1 - SECANT
            slopes[1, low, column], slopes[0, high, column] = slopes[0, low, column], slopes[1, high, column]
        return value - returns, slopes

    def _after(self, time: float, share: float, returns: Array, points: Array, recent: Array) -> Array:
        """The returns that an interval ends with."""
        return returns + self._columns.gain(self._mean(self._columns.inputs(time, returns, points, recent)), share)


@dataclass(frozen=True)
class Lines:
    """Rows as lines of descent.

    Attributes:
        rows: ``n``.
        shares: the length of their intervals in usual ones, ``n``.
        origins: which of the rows each went on from; -1 where that is not among them; ``n``.
        unit: what one unit of change is on the returns' scale.
    """

    rows: Rows
    shares: Array
    origins: NDArray[np.int_]
    unit: float = 1.0

    def forecast(self, mean: Mean, intervals: int) -> tuple[NDArray[np.int_], Array, Array]:
        """Forecast every line over so many intervals from its first return alone, with what it trained with in them.

        Lines that are shorter, because they were replaced, have no part: of them nothing is known. Of many lines
        ``MOST_LINES`` are forecast, spread evenly over the rows that they end with.

        Args:
            mean: of a model that does not know these rows.
            intervals: at least 1.

        Returns:
            The rows that the lines end with, ``k``; by how much their returns were forecast to change; and by how much
            they did.
        """
        path = [np.asarray(evenly(len(self.rows), MOST_LINES))]
        for _ in range(intervals - 1):
            before = self.origins[path[-1]]
            path = [each[before >= 0] for each in (*path, before)]
        begun = self.rows.inputs[path[-1], 1]
        reached, real = begun.copy(), np.zeros(len(begun))
        for which in reversed(path):
            inputs = self.rows.inputs[which].copy()
            inputs[:, 1] = reached
            reached += mean(inputs) * self.shares[which] * self.unit
            real += self.rows.changes[which] * self.shares[which] * self.unit
        return path[0], reached - begun, real

    @property
    def reached(self) -> Array:
        """The returns that rows end with, on memory's scale, ``n``."""
        return np.asarray(self.rows.inputs[:, 1] + self.rows.changes * self.shares * self.unit)

    def best_after(self, intervals: int) -> Array:
        """The highest return that rows, or who descended from them, ended an interval with, so many intervals after
        each began, ``n``; NaN where nobody was left by then: of who was replaced nothing is known."""
        best = self.reached
        for _ in range(intervals - 1):
            best = best_of_next(best, self.origins)
        return best


def best_of_next(values: Array, origins: NDArray[np.int_]) -> Array:
    """The highest value among the rows that went on from each, ``n``; NaN where none did, or theirs are NaN.

    Args:
        values: of the rows, ``n``.
        origins: as of `Lines`, ``n``.
    """
    best = np.full(len(values), np.nan)
    later = np.flatnonzero(origins >= 0)
    np.fmax.at(best, origins[later], values[later])
    return best
