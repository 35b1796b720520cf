"""How to value what is to come, by what held-out lines of descent show: plans count unless they foresee nothing, and
what became of agents in the sources counts where it tells more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from metapbt.log import LOGGER
from metapbt.memory.encoder import Array, Encoder
from metapbt.memory.hints import Hints
from metapbt.memory.lookahead import KEPT, Inputs, Lines, Lookahead, Rollout
from metapbt.memory.nearest import SOURCE_ROWS, Nearest
from metapbt.memory.training import JUDGED_ROWS, TELLING, Cache, Learned, cache_key, correlation, enough
from metapbt.memory.trust import believed
from metapbt.surrogates.thinning import evenly

if TYPE_CHECKING:
    from metapbt.space import Space

LEAST_CONTEXTS = 5  # held out, from which they say something: what errors fewer make is a guess itself
JUDGED_TIMES = 16  # of a context, spread evenly, at which plans are judged


@dataclass(frozen=True)
class Telling:
    """What values told of agents in held-out contexts: means of partial correlations, NaN where nothing can be told.

    Each is the correlation with the best return that an agent, or who descended from it, had 2 or more intervals later,
    given the return that it had and the other value, all less their means at their time; the mean over these intervals.

    Attributes:
        plans: of values by planning, given those of keeping, in each context.
        recalled: of what became of such agents in the sources, given the values that count beside it, likewise.
    """

    plans: Array
    recalled_beside_keeping: Array
    recalled_beside_plans: Array

    @classmethod
    def of(cls, contexts: Sequence[Sequence[float]]) -> Telling:
        """That of these contexts, ``k x 3``."""
        return cls(*np.array(contexts, dtype=np.float64).reshape(-1, len(fields(cls))).T)

    @property
    def plan(self) -> bool:
        """Whether agents are valued by what they reach if they change hyperparameters later (`Lookahead`), or keep
        them.

        A plan can be worth much: who keeps a large learning rate to the end (`Rollout`) does not see what it is good
        for. But where it tells nothing beyond keeping, it is noise: at each interval ahead an agent takes the
        configuration about which the model errs the most, and who is behind seems to catch up whatever it trains with.
        So memory plans unless that is below ``TELLING`` by more than a standard error, in the mean over the contexts
        held out; fewer than ``LEAST_CONTEXTS`` of them say nothing.
        """
        told = self.plans[np.isfinite(self.plans)]
        return len(told) < LEAST_CONTEXTS or bool(told.mean() + told.std(ddof=1) / np.sqrt(len(told)) >= TELLING)

    @property
    def recall(self) -> bool:
        """Whether what became of agents in the sources (`Hindsight`) counts beside the values that these say."""
        return self.recall_beside(self.plan)

    def recall_beside(self, plans: bool) -> bool:
        """Whether what became of agents in the sources counts beside values by planning, or else by keeping.

        The mean of two forecasts is better than either where each tells something beyond the other, and worse where one
        tells nothing. So it counts where that is at least ``TELLING``, in the mean over the contexts held out; fewer
        than ``LEAST_CONTEXTS`` of them say nothing for it.
        """
        found = self.recalled_beside_plans if plans else self.recalled_beside_keeping
        told = found[np.isfinite(found)]
        return len(told) >= LEAST_CONTEXTS and bool(told.mean() >= TELLING)


def telling(
    learned: Learned, recalled: Learned, space: Space, intervals: int, deep: bool, cache: Cache | None = None
) -> Telling:
    """What values tell of agents in each held-out context.

    Args:
        learned: models without each of some contexts.
        recalled: the same of what became of agents (`Tasks.in_hindsight`).
        space: of hyperparameters.
        intervals: how many, the coming one included, plans look ahead; at least 2.
        deep: whether the models may have a network, by which what is kept is told apart.
        cache: keeps what came out; None keeps none.
    """
    key = cache_key(("telling", deep, intervals), learned.tasks)
    names = [each.name for each in fields(Telling)]
    kept = cache.get(key) if cache is not None else None
    if kept is not None and kept.keys() == set(names) and all(kept[name].dtype.kind == "f" for name in names):
        return Telling(**kept)
    LOGGER.info("memory: asking held-out contexts what values foresee, once for these sources")
    told = Telling.of([foresees(learned, recalled, context, space, intervals) for context in learned.without])
    if cache is not None:
        cache.put(key, {name: getattr(told, name) for name in names})
    return told


def foresees(learned: Learned, recalled: Learned, context: int, space: Space, intervals: int) -> Sequence[float]:
    """What values tell of agents in one held-out context, as the attributes of `Telling` have it.

    NaN where there are fewer than ``LEAST_FREE`` degrees of freedom. The arguments are those of `outlook`.
    """
    seen = outlook(learned, recalled, context, space, intervals)
    found = []
    for ahead in range(2, intervals + 1):
        told = seen.told(ahead)
        if not enough(told.times):
            break
        asked = ((told.planning, told.keeping), (told.recalled, told.keeping), (told.recalled, told.planning))
        found.append(
            [np.nan_to_num(correlation(told.best, value, told.times, (told.begun, beside))) for value, beside in asked]
        )
    return tuple(np.mean(found, axis=0)) if found else (np.nan,) * 3


@dataclass(frozen=True)
class Outlook:
    """What memory said of agents in a held-out context, and what became of them.

    Attributes:
        lines: the intervals that they trained.
        begun: returns that these began with, on memory's scale, ``n``.
        times: when, ``n``.
        keeping: values with what was trained with, if it is kept, ``n``; NaN where it was not asked.
        planning: the same if it is changed later, likewise.
        recalled: what became of such agents in the sources, likewise.
        ranked: values before it was chosen what to train with, by which plans rank members, likewise.
        best: the best return that came of each; NaN where nobody was left.
    """

    lines: Lines
    begun: Array
    times: NDArray[np.int_]
    keeping: Array
    planning: Array
    recalled: Array
    ranked: Array
    best: Array

    def told(self, ahead: int) -> Outlook:
        """Of the intervals of which it is known what had become of the agents so many intervals after they began."""
        best = self.lines.best_after(ahead)
        which = np.flatnonzero(np.isfinite(best) & np.isfinite(self.planning))
        values = (self.keeping[which], self.planning[which], self.recalled[which], self.ranked[which], best[which])
        return Outlook(self.lines, self.begun[which], self.times[which], *values)


def outlook(learned: Learned, recalled: Learned, context: int, space: Space, intervals: int) -> Outlook:
    """Value the intervals of a held-out context, from the return that each began with and what was then trained with.

    Of new agents nothing is asked: all begin with one return, and their past is what they begin with.

    Args:
        learned: models without each of some contexts.
        recalled: the same of what became of agents.
        context: the one held out.
        space: of hyperparameters.
        intervals: how many plans look ahead.
    """
    tasks, model = learned.tasks, learned.without[context]
    lines, (_, others), scale = tasks.lines(context), tasks.held_out(context), tasks.scale_without(context)
    judged = lines.rows[evenly(len(lines.rows), JUDGED_ROWS)].inputs[:, : model.given]
    nearest, elsewhere = Nearest(others.inputs, model.relevance[: model.given]), tasks.samples.contexts != context
    which = nearest(judged, SOURCE_ROWS)
    source, later = others[which], recalled.tasks.held_out(context)[1][which]
    good = Hints(nearest, tasks.samples.points[elsewhere], tasks.merits[elsewhere])
    mean = model.related(source, others[:0], believed()).mean
    best = recalled.without[context].related(later, others[:0], believed()).mean
    unit = recalled.tasks.scale_without(context).unit
    samples, steps = tasks.whole[tasks.whole.contexts == context], [scale.interval] * intervals
    encoder = Encoder(scale, (tasks.descriptions[context],), tasks.changed, tasks.categories)
    keeping, planning, recall, ranked = np.full((4, len(samples)), np.nan)
    gone_on = np.flatnonzero(lines.origins >= 0)
    times = np.unique(lines.rows.times[gone_on])
    for time in times[evenly(len(times), JUDGED_TIMES)]:
        now = gone_on[lines.rows.times[gone_on] == time]
        given = lines.rows.inputs[now, : model.given].mean(axis=0)

        def hints(when: float, reached: float, rest: Array = given[2:]) -> Array:
            return good(np.array([when, reached, *rest]))

        begun, points, recent = lines.rows.inputs[now, 1], samples.points[now], samples.recent[now]
        columns = Inputs(encoder, scale, given[2:])
        kept = Rollout(mean, columns, given[0], steps[:KEPT])
        planned = Lookahead(mean, columns, given[0], given[1], steps, space, hints)
        inputs = columns.inputs(given[0], begun, points, recent)
        change = mean(inputs)
        keeping[now] = kept.after(begun, change, points, recent)
        planning[now] = planned.after(begun, change, points, recent)
        recall[now] = begun + best(inputs) * unit
        ranked[now] = planned.before(begun, recent)
    values = (keeping, planning, recall, ranked)
    return Outlook(lines, lines.rows.inputs[:, 1], lines.rows.times, *values, lines.reached)
