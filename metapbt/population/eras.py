"""Eras: when architectures change, and which students are born then.

Everything follows from the history and the seed: an era that was begun before a stop goes on after it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from metapbt.history import Budget, Eras, History
from metapbt.plain import key
from metapbt.population.explorers.base import Suggestion
from metapbt.space import Hyperparameters, Space

#: What an explorer answers: so many architectures, given those tried and what they reached.
Proposing = Callable[[int, Sequence[tuple[Hyperparameters, float]]], list[Hyperparameters]]


def is_due(history: History, eras: Eras) -> bool:
    """Whether a new era is to begin, now that all members have reported.

    It is where the era's best return has not grown for ``eras.patience`` generations, or its furthest member has
    trained ``eras.steps`` since it became one.

    Args:
        history: whose last records are those of the members.
        eras: the settings.
    """
    if history.eras >= eras.count:
        return False
    furthest = max(record.env_steps for record in history.latest)
    since = max(r.env_steps for r in history.generation(history.settled)) if history.eras > 1 else 0
    enough = eras.steps is not None and furthest - since >= eras.steps
    return enough or (eras.patience is not None and generations_without_a_best(history) >= eras.patience)


def is_in_time(history: History, eras: Eras, budget: Budget, born: float) -> bool:
    """Whether students who are born now become members before the end.

    Args:
        history: whose last records are those of the members.
        eras: the settings.
        budget: of each member.
        born: environment steps at which students would be born.
    """
    changes, members_again = history.eras, history.coming_generation(0) + len(eras.rungs)
    return members_again < eras.generations(budget, changes) and born + eras.distil_steps < budget.steps


def generations_without_a_best(history: History) -> int:
    """How many generations ago the members reached the best return of their era; 0 while none had a finite one."""
    values = history.best_values_of_era()
    return 0 if max(values) == -math.inf else len(values) - 1 - values.index(max(values))


def tried(history: History, space: Space) -> list[tuple[Hyperparameters, float]]:
    """Every architecture so far with the best return that an agent with it ever had, in the order of first trial."""
    best: dict[str, tuple[Hyperparameters, float]] = {}
    for record in history:
        network, value = space.network_of(record.hyperparameters), history.value(record)
        if math.isfinite(value) and value > best.get(key(network), (network, -math.inf))[1]:
            best[key(network)] = network, value
    return list(best.values())


def best_of_each_era(history: History, space: Space) -> list[Hyperparameters]:
    """The architecture of the best agent of each era so far, each but once."""
    found: dict[str, Hyperparameters] = {}
    for era in range(history.eras):
        records = History(tuple(r for r in history if history.era(r) == era), history.metric)
        network = space.network_of(records.leader_ever().hyperparameters)
        found.setdefault(key(network), network)
    return list(found.values())


def students(
    history: History, eras: Eras, space: Space, propose: Proposing, rng: np.random.Generator
) -> list[Suggestion]:
    """What the students of a new era are to train with.

    Half of the architectures are proposed given those of all eras so far (``surrogate``; or drawn, as
    ``eras.architectures`` says), then comes the best one of each era so far (``kept``), the rest is drawn (``random``).
    The first half of the students have the other hyperparameters of a random member, the rest a fresh draw (Wan et al.,
    2022). Where nothing in the space is architecture, students are new networks like all before them.

    Args:
        history: whose last records are those of the members.
        eras: the settings.
        space: the search space.
        propose: what the explorer answers.
        rng: the source of all randomness.
    """
    half = eras.students // 2
    networks: list[tuple[Hyperparameters, str]] = []
    if eras.architectures == "surrogate" and space.architecture:
        networks += [(network, "surrogate") for network in propose(half, tried(history, space))]
    else:
        networks += [(space.network_of(space.sample(rng)), "random") for _ in range(half)]
    kept = best_of_each_era(history, space)[: eras.students - half] if space.architecture else []
    networks += [(network, "kept") for network in kept]
    networks += [(space.network_of(space.sample(rng)), "random") for _ in range(eras.students - len(networks))]
    found = []
    alive = [record for record in history.latest if not record.failed]
    for place, (network, source) in enumerate(networks):
        model = alive[int(rng.integers(len(alive)))].hyperparameters
        fresh = space.sample(rng, network)
        found.append(Suggestion(space.with_architecture_of(model, network) if place < half else fresh, source))
    return found
