"""The protocol of an explorer: how a population gets its hyperparameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from metapbt.history import History, Record
from metapbt.space import Hyperparameters, Space


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Hyperparameters for one member.

    Attributes:
        hyperparameters: a configuration of the space.
        source: one word on how they came about (the column ``source``).
        operations: for the log, what was done to single hyperparameters (``{"learning_rate": "x0.8"}``).
    """

    hyperparameters: Hyperparameters
    source: str
    operations: Mapping[str, str] = field(default_factory=dict)


def drawn(space: Space, record: Record | None, rng: np.random.Generator) -> Suggestion:
    """A random configuration on a record's network, on any without one."""
    network = {} if record is None else space.network_of(record.hyperparameters)
    return Suggestion(space.sample(rng, network), "random")


@dataclass(frozen=True, slots=True)
class Pending:
    """A member whose next interval is decided but not yet trained: what it starts from, what it trains with.

    Attributes:
        return_before: what it starts from has reached, as `metapbt.history.Record.reached` has it.
        hyperparameters: of its coming interval.
        train_return: of what it starts from.
    """

    return_before: float
    hyperparameters: Hyperparameters
    train_return: float = math.nan


#: What the coming interval does to a copy of a record, with each of n configurations: mean and deviation, ``n`` each.
Forecast = Callable[[Record, Sequence[Hyperparameters]], tuple[NDArray[np.float64], NDArray[np.float64]]]


@dataclass(frozen=True, slots=True)
class Surrogate:
    """What a method forecasts with where it chooses, fitted to what it knew then: for people to look at.

    Attributes:
        kind: what it is, in a few words.
        forecast: of the function, without noise, in change of return for each environment step; of a method that
            learns from ranks in standard scores of these changes.
        ranks: whether the latter.
        weights: of its experts, where it has several (`metapbt.memory.trust.explained`); they sum to 1.
    """

    kind: str
    forecast: Forecast
    ranks: bool = False
    weights: tuple[float, ...] = ()


class Explorer:
    """Chooses hyperparameters; the base of every method.

    An explorer keeps no memory of its own: all that it may know is in the history it is handed, and all that is
    random comes from the generator it is handed. So a run that was stopped goes on as if it had not been. What
    happens, in order:

    1. ``start`` is called once, before the first generation, for the whole population.
    2. After each generation, if ``copies`` is true, selection decides which members copy which.
    3. ``propose`` is called once, for all members that copy.
    4. Where a new era begins, ``architectures`` is called once, for the networks that are to be tried next; where the
       population begins anew, ``begin_anew`` for a share of those who do.

    The shortest complete example is ``metapbt/population/explorers/random.py``.
    """

    #: Whether members copy better ones. Where it is false every member trains on with what it started with.
    copies: ClassVar[bool] = True
    #: Whether it takes a ``memory`` of runs on related contexts.
    uses_memory: ClassVar[bool] = False
    #: Whether it also takes a ``cache``, in which it keeps models that it trained from memory for other runs.
    uses_cache: ClassVar[bool] = False
    #: Whether it takes a ``budget``: how long members train, or None where nobody knows.
    uses_budget: ClassVar[bool] = False
    #: Whether it is what it is published as only where the population begins anew (``restarts``).
    begins_anew: ClassVar[bool] = False

    def __init__(self, space: Space) -> None:
        self.space = space

    def start(self, size: int, rng: np.random.Generator) -> list[Suggestion]:
        """Return the hyperparameters of the first generation.

        One suggestion for each of ``size`` members, or candidates where these are more. Where some are given, as by
        ``initial``, these replace the first.
        """
        return [drawn(self.space, None, rng) for _ in range(size)]

    @property
    def ranks_by_value(self) -> bool:
        """Whether selection is to rank members by their ``values``; else by their returns."""
        return False

    def values(self, history: History) -> Mapping[int, float]:
        """Return what members are worth where that is more or less than what they return now: by default of nobody.

        Args:
            history: everything that has happened in this run.

        Returns:
            By member, the return that selection is to rank its last record by.
        """
        return {}

    def warm_up(self) -> None:
        """Load what ``propose`` will need; called while the first generation trains, in a thread of its own."""

    def propose(
        self,
        children: Sequence[Record],
        parents: Sequence[Record],
        history: History,
        pending: Sequence[Pending],
        rng: np.random.Generator,
    ) -> list[Suggestion]:
        """Return hyperparameters for the members that are about to become copies, one suggestion for each.

        What has the role ``architecture`` need not be thought of: a copy keeps its parent's, whatever is suggested.

        Args:
            children: the last record of each member that is about to become a copy.
            parents: for each of them the record that it goes on from. Its hyperparameters are those to be explored;
                where copies go back to the best checkpoint ever, they are those of the parent that selection chose.
            history: everything that has happened in this run.
            pending: the other members, whose coming interval is decided or under way.
            rng: the source of all randomness.
        """
        raise NotImplementedError

    def begin_anew(
        self, models: Sequence[Record | None], history: History, rng: np.random.Generator
    ) -> list[Suggestion]:
        """Return hyperparameters for agents with which the population begins anew (``restarts.*``): by default drawn.

        Args:
            models: for each of them the record whose weights it is given, shrunk, and whose architecture it keeps; None
                for new weights.
            history: everything that has happened in this run.
            rng: the source of all randomness.
        """
        return [drawn(self.space, model, rng) for model in models]

    def surrogate(
        self, children: Sequence[Record], parents: Sequence[Record], history: History, pending: Sequence[Pending]
    ) -> Surrogate | None:
        """Return what ``propose`` would ask; None of a method without a surrogate, or while it knows too little.

        What others are trying does not narrow it yet, as it does in ``propose``. The arguments are those of
        ``propose``; where a method has a surrogate for each choice of categories, it is that for the first parent's.
        """
        return None

    def architectures(
        self, count: int, tried: Sequence[tuple[Hyperparameters, float]], rng: np.random.Generator
    ) -> list[Hyperparameters]:
        """Return networks worth trying in a new era: by Bayesian optimisation of what those of past eras have reached.

        Args:
            count: how many.
            tried: the architectures of past eras, each with the best return that an agent with it ever reached; values
                of hyperparameters without the role ``architecture`` are passed over.
            rng: the source of all randomness.

        Returns:
            ``count`` configurations of the space's architecture part: mappings that name only hyperparameters with
            the role ``architecture``, and of these all that exist under the others' values. They are empty where the
            space has no such part. Drawn at random while there is too little to learn from.
        """
        from metapbt.population.explorers.architectures import promising_architectures

        return promising_architectures(self.space, count, tried, rng)
