"""Whether to plan changes of hyperparameters: not where held-out lines of descent show that plans foresee nothing."""

from __future__ import annotations

from dataclasses import dataclass
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
    from metapbt.memory.model import MetaModel
    from metapbt.memory.tasks import Tasks
    from metapbt.space import Space

LEAST_CONTEXTS = 5  # held out, from which they say something: what errors fewer make is a guess itself
JUDGED_TIMES = 16  # of a context, spread evenly, at which plans are judged


def plans(learned: Learned, space: Space, intervals: int, deep: bool, cache: Cache | None = None) -> bool:
    """Whether agents are valued by what they reach if they change hyperparameters later (`Lookahead`), or keep them.

    A plan can be worth much: who keeps a large learning rate to the end (`Rollout`) does not see what it is good for.
    But where it tells nothing beyond keeping, it is noise: at each interval ahead an agent takes the configuration
    about which the model errs the most, and who is behind seems to catch up whatever it trains with. So memory plans
    unless `foresees` is below ``TELLING`` by more than a standard error, in the mean over the contexts held out; fewer
    than ``LEAST_CONTEXTS`` of them say nothing.

    Args:
        learned: models without each of some contexts.
        space: of hyperparameters.
        intervals: how many, the coming one included, plans look ahead.
        deep: whether the models may have a network, by which what is kept is told apart.
        cache: keeps what came out; None keeps none.
    """
    if intervals < 2:
        return False
    key = cache_key(("plans", deep, intervals), learned.tasks)
    kept = cache.get(key) if cache is not None else None
    if kept is not None and kept.keys() == {"foresees"} and kept["foresees"].dtype.kind == "f":
        found = kept["foresees"]
    else:
        LOGGER.info("memory: asking held-out contexts whether plans foresee anything, once for these sources")
        found = np.array(
            [foresees(learned.tasks, context, model, space, intervals) for context, model in learned.without.items()]
        )
        if cache is not None:
            cache.put(key, {"foresees": found})
    told = found[np.isfinite(found)]
    return len(told) < LEAST_CONTEXTS or bool(told.mean() + told.std(ddof=1) / np.sqrt(len(told)) >= TELLING)


def foresees(tasks: Tasks, context: int, model: MetaModel, space: Space, intervals: int) -> float:
    """How plans correlate with what became of agents in a held-out context, beyond what keeping and the return tell.

    Both values are compared with the best return that an agent, or who descended from it, had 2 to ``intervals``
    intervals later: the partial correlation given the return and the value of keeping, all less their means at their
    time; the mean over these. NaN where there are fewer than ``LEAST_FREE`` degrees of freedom. The arguments are those
    of `outlook`.
    """
    seen = outlook(tasks, context, model, space, intervals)
    found = []
    for ahead in range(2, intervals + 1):
        told = seen.told(ahead)
        if not enough(told.times):
            break
        known = (told.begun, told.keeping)
        found.append(np.nan_to_num(correlation(told.best, told.planning, told.times, known)))
    return float(np.mean(found)) if found else np.nan


@dataclass(frozen=True)
class Outlook:
    """What memory said of agents in a held-out context, and what became of them.

    Attributes:
        lines: the intervals that they trained.
        begun: returns that these began with, on memory's scale, ``n``.
        times: when, ``n``.
        keeping: values with what was trained with, if it is kept, ``n``; NaN where it was not asked.
        planning: the same if it is changed later, likewise.
        ranked: values before it was chosen what to train with, by which plans rank members, likewise.
        best: the best return that came of each; NaN where nobody was left.
    """

    lines: Lines
    begun: Array
    times: NDArray[np.int_]
    keeping: Array
    planning: Array
    ranked: Array
    best: Array

    def told(self, ahead: int) -> Outlook:
        """Of the intervals of which it is known what had become of the agents so many intervals after they began."""
        best = self.lines.best_after(ahead)
        which = np.flatnonzero(np.isfinite(best) & np.isfinite(self.planning))
        values = (self.keeping[which], self.planning[which], self.ranked[which], best[which])
        return Outlook(self.lines, self.begun[which], self.times[which], *values)


def outlook(tasks: Tasks, context: int, model: MetaModel, space: Space, intervals: int) -> Outlook:
    """Value the intervals of a held-out context, from the return that each began with and what was then trained with.

    Of new agents nothing is asked: all begin with one return, and their past is what they begin with.

    Args:
        tasks: the contexts.
        context: the one held out.
        model: trained on the others.
        space: of hyperparameters.
        intervals: how many plans look ahead.
    """
    lines, (_, others), scale = tasks.lines(context), tasks.held_out(context), tasks.scale_without(context)
    judged = lines.rows[evenly(len(lines.rows), JUDGED_ROWS)].inputs[:, : model.given]
    nearest, elsewhere = Nearest(others.inputs, model.relevance[: model.given]), tasks.samples.contexts != context
    source = others[nearest(judged, SOURCE_ROWS)]
    good = Hints(nearest, tasks.samples.points[elsewhere], tasks.merits[elsewhere])
    mean = model.related(source, others[:0], believed()).mean
    samples, steps = tasks.whole[tasks.whole.contexts == context], [scale.interval] * intervals
    encoder = Encoder(scale, (tasks.descriptions[context],), tasks.changed, tasks.categories)
    keeping, planning, ranked = np.full((3, len(samples)), np.nan)
    later = np.flatnonzero(lines.origins >= 0)
    times = np.unique(lines.rows.times[later])
    for time in times[evenly(len(times), JUDGED_TIMES)]:
        now = later[lines.rows.times[later] == time]
        given = lines.rows.inputs[now, : model.given].mean(axis=0)

        def hints(when: float, reached: float, rest: Array = given[2:]) -> Array:
            return good(np.array([when, reached, *rest]))

        begun, points, recent = lines.rows.inputs[now, 1], samples.points[now], samples.recent[now]
        columns = Inputs(encoder, scale, given[2:])
        kept = Rollout(mean, columns, given[0], steps[:KEPT])
        planned = Lookahead(mean, columns, given[0], given[1], steps, space, hints)
        change = mean(columns.inputs(given[0], begun, points, recent))
        keeping[now] = kept.after(begun, change, points, recent)
        planning[now] = planned.after(begun, change, points, recent)
        ranked[now] = planned.before(begun, recent)
    return Outlook(lines, lines.rows.inputs[:, 1], lines.rows.times, keeping, planning, ranked, lines.reached)
