"""The protocol of a selection: who is replaced by whom, and which checkpoints must stay."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import numpy as np

from metapbt.history import History, Record, Ref

_ROUNDING = 1e-9  # of a product such as 25 * 0.28, which is 7


@dataclass(frozen=True, slots=True)
class Exploit:
    """What becomes of a member that does not go on as it is.

    Attributes:
        start: the checkpoint that it takes over; None for a new agent.
        hyperparameters_of: the record whose hyperparameters it trains with; None where the explorer chooses new ones.
        teacher: the checkpoint of the agent that it learns from in the interval; None without.
        until_steps: environment steps at which its interval ends; None for the usual ones.
        explored_from: the record whose hyperparameters the explorer begins with where it chooses new ones; None for
            those of ``start``.
    """

    start: Ref | None
    hyperparameters_of: Ref | None = None
    teacher: Ref | None = None
    until_steps: int | None = None
    explored_from: Ref | None = None


class Selection:
    """Decides which members take over which checkpoints; the base of every selection.

    It is asked whenever members report: in a synchronous run all of them at once, in an asynchronous one each by
    itself. It keeps nothing and draws from the generator it is handed: a function of the history. The shortest complete
    example is ``metapbt/population/selection/truncation.py``.
    """

    def __init__(self, size: int, quantile: float) -> None:
        """Prepare for a population. What a selection takes beside are its settings, by name, as in its YAML file.

        Args:
            size: members.
            quantile: the worst quantile copies from the best one, in [0, 0.5].

        Raises:
            MetapbtError: a setting is out of its range.
        """

    def select(self, history: History, reported: Collection[int], rng: np.random.Generator) -> dict[int, Exploit]:
        """Return what becomes of each member that does not go on as it is; those that do are left out.

        Args:
            history: everything that has happened; ``history.latest`` are the members' last records.
            reported: the members that wait for a decision; only these may appear in what is returned.
            rng: the source of all randomness.
        """
        raise NotImplementedError

    def sure_to_go_on(self, history: History, awaited: Collection[int]) -> Collection[int]:
        """Return members that ``select`` will leave out, whatever those report who are still awaited.

        A synchronous run lets them train on while the others still train, so that no core waits. Nobody is sure unless
        a selection says so, nor in a selection that is derived from it and selects in another way. With
        ``selection.grace`` some may be left out of the history that it selects from, of those who are awaited, too.

        Args:
            history: everything that has happened, what some members have reported in this generation included.
            awaited: the others, whose last records are of the generation before, if they have any.
        """
        return ()

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        if "select" in vars(cls) and "sure_to_go_on" not in vars(cls):
            setattr(cls, "sure_to_go_on", Selection.sure_to_go_on)  # noqa: B010

    def teacher(self, history: History) -> Ref:
        """The checkpoint that the students of a new era learn from: by default that of the best member."""
        return history.leader().ref

    def keeps(self, history: History) -> set[Ref]:
        """The checkpoints that must stay beside the members' last ones and the best agent's: by default none."""
        return set()


class SelectionWrapper(Selection):
    """Any selection with a rule of its own beside: what it does not change is the selection's.

    Args:
        selection: says who copies.
    """

    def __init__(self, selection: Selection) -> None:
        self._selection = selection

    def teacher(self, history: History) -> Ref:
        """The selection's."""
        return self._selection.teacher(history)

    def keeps(self, history: History) -> set[Ref]:
        """What the selection keeps."""
        return self._selection.keeps(history)


def without(history: History, members: Collection[int]) -> History:
    """The history as if some members had not been there: a selection that sees it selects among the others."""
    if not members:
        return history
    return replace(history, records=tuple(r for r in history if r.member not in members))


def ranking(history: History) -> list[Record]:
    """The members' last records, best first; ties are broken by lot, anew in each generation.

    Who has no finite return comes behind all others, and who failed behind these. The lots follow from the population's
    seed, the generation and the member: whoever ranks the same records finds the same order. Without them, where nobody
    has found a reward yet, the same members would stay the best and the worst for ever.
    """

    def place(record: Record) -> tuple[bool, float, bytes, int]:
        value = history.value(record)
        lot = blake2b(f"{history.seed} {record.generation} {record.member}".encode()).digest()
        return (record.failed, -value if math.isfinite(value) else math.inf, lot, record.member)

    return sorted(history.latest, key=place)


def fittest(history: History, ranked: Sequence[Record], count: int) -> list[Record]:
    """The first ``count`` of ``ranked``, which others may go on from.

    Those without a finite return give way to the ones that have one, who then come more than once; where nobody has
    one, those who failed give way.
    """
    best = ranked[:count]
    finite = [record for record in best if math.isfinite(history.value(record))]
    fit = finite or [record for record in best if not record.failed] or best
    return [*fit, *(fit[place % len(fit)] for place in range(len(best) - len(fit)))]


def share(size: int, quantile: float) -> int:
    """How many of ``size`` members a quantile is: rounded up, and down where worst and best would overlap."""
    count = math.ceil(size * quantile - _ROUNDING)
    return count if count <= size / 2 else size // 2
