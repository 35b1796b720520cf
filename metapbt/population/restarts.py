"""Restarts: when a population begins anew, and who begins then.

Everything follows from the history and the seed, as with eras of architectures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from metapbt.history import Budget, Eras, History, Record, Restarts
from metapbt.population.explorers.base import Suggestion, drawn
from metapbt.population.selection.base import fittest, ranking, share
from metapbt.population.stagnation import curve, stagnates
from metapbt.space import Space

TOP = 0.25  # the share of members whose weights are worth shrinking

#: What an explorer answers: hyperparameters for who begins with what is left of a record's weights, or with nothing.
Proposing = Callable[[Sequence[Record | None]], list[Suggestion]]


def is_due(history: History, eras: Eras, rule: Restarts, budget: Budget | None) -> bool:
    """Whether the population is to begin anew, now that all members have reported.

    It is where it learns no more, and as long as those who begin can be screened within the budget: IPBT ends its
    restarts for good once two of the longer intervals are more than what is left.

    Args:
        history: whose last records are those of the members.
        eras: the settings.
        rule: those of restarts.
        budget: of each member; None where nobody knows an end.
    """
    if history.eras >= eras.count:
        return False
    if budget is not None:
        size = len(history.latest)
        left = budget.steps - history.spent_each(history.coming_generation(0))
        if eras.students * eras.interval(budget, history.eras) > left * size:
            return False
    return stagnates(curve(history), rule)


def beginners(
    history: History, count: int, rule: Restarts, space: Space, propose: Proposing, rng: np.random.Generator
) -> list[tuple[Record | None, Suggestion]]:
    """Who begins anew: whose weights each is given to shrink, None for new ones, and what it trains with.

    The members of the best quarter are their own model, and a random one of them is everybody else's. A random share
    of all begins with new weights instead, and another with drawn hyperparameters; those of the rest are proposed.

    Args:
        history: whose last records are those of the members.
        count: how many begin.
        rule: the settings.
        space: the search space.
        propose: what the explorer answers.
        rng: the source of all randomness.
    """
    members = list(history.latest)
    best = fittest(history, ranking(history), max(share(len(members), TOP), 1))
    own: list[Record | None] = [record if record in best else None for record in members]
    own = [*own[:count], *[None] * (count - len(own))]
    models: list[Record | None] = [record or best[int(rng.integers(len(best)))] for record in own]
    fresh, random = (rng.permutation(count)[: round(part * count)] for part in (rule.fresh, rule.random))
    for place in fresh:
        models[place] = None
    at_random = {int(place): drawn(space, models[place], rng) for place in sorted(random)}
    asked = [place for place in range(count) if place not in at_random]
    proposed = dict(zip(asked, propose([models[place] for place in asked]) if asked else [], strict=True))
    return [(models[place], {**at_random, **proposed}[place]) for place in range(count)]
