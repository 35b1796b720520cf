"""The tuner: a population's hyperparameters by ask and tell, for any training loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from metapbt import seeding
from metapbt.errors import MetapbtError
from metapbt.explorers import make_explorer
from metapbt.explorers.base import Pending, Suggestion
from metapbt.records import History, Record
from metapbt.selection import truncation
from metapbt.space import Hyperparameters, Space

METRICS = ("train_return", "eval_return")


@dataclass(frozen=True, slots=True)
class Continue:
    """The member trains on as it is."""


@dataclass(frozen=True, slots=True)
class Copy:
    """The member takes over the weights of ``parent`` and trains on with ``hyperparameters``."""

    parent: int
    hyperparameters: Hyperparameters


Decision = Continue | Copy


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a member does in the coming generation."""

    parent: int | None
    hyperparameters: Hyperparameters
    source: str
    operations: Mapping[str, str] = field(default_factory=dict, compare=False)  # for the log alone; not in the state


class Tuner:
    """Population-based tuning by ask and tell. It knows no environment, no learner and no file.

    Example:
        >>> tuner = Tuner(Space({"lr": {"type": "float", "low": 0.0, "high": 1.0}}), method="pbt", seed=1)
        >>> configs = tuner.start()                      # one for each of 4 members
        >>> decisions = tuner.tell([1000] * 4, [3.0, 1.0, 2.0, 4.0])
        >>> decisions[0], decisions[1].parent            # the best goes on, the worst copies the best
        (Continue(), 3)
    """

    def __init__(
        self,
        space: Space | Mapping[str, Any],
        method: str = "pb2",
        population_size: int = 4,
        quantile: float = 0.25,
        seed: int = 0,
        metric: str = "train_return",
        initial: Sequence[Hyperparameters] = (),
        constraint: Callable[[Hyperparameters], Hyperparameters] | None = None,
        **settings: Any,
    ) -> None:
        """Set up a population.

        Args:
            space: the search space, or its specification.
            method: a known method, or one's own explorer as ``package.module:Class``.
            population_size: members.
            quantile: the worst quantile copies from the best one, in [0, 0.5].
            seed: of every draw.
            metric: which return of the records selection looks at.
            initial: configurations for the first members; the method chooses those of the others.
            constraint: gets every new configuration and returns a legal one that may be used instead.
            settings: the method's own, as in ``conf/method/<method>.yaml``.

        Raises:
            MetapbtError: a name is unknown or a number is out of its range.
        """
        if population_size < 1:
            raise MetapbtError(f"population.size must be >= 1, got {population_size}")
        if not 0 <= quantile <= 0.5:
            raise MetapbtError(f"population.quantile must be in [0, 0.5], got {quantile}")
        if metric not in METRICS:
            raise MetapbtError(f"population.metric must be one of {', '.join(METRICS)}, got {metric}")
        if seed < 0:
            raise MetapbtError(f"seed must be >= 0, got {seed}")
        self.space = space if isinstance(space, Space) else Space(space)
        self.population_size = population_size
        self.quantile = quantile
        self.seed = seed
        self.history = History(metric=metric)
        self.assignments: tuple[Assignment, ...] = ()
        self.initial = tuple(dict(given) for given in initial)
        if len(self.initial) > population_size:
            raise MetapbtError(f"initial has {len(self.initial)} configurations for {population_size} members")
        for given in self.initial:
            self.space.check(given)
        self._constraint = constraint
        self._explorer = make_explorer(method, self.space, **settings)

    def start(self) -> list[Hyperparameters]:
        """Return the first generation's hyperparameters, one configuration for each member."""
        if not self.assignments:
            rng = seeding.generator(self.seed, -1, -1, "start")
            suggestions = [Suggestion(given, "given") for given in self.initial]
            if len(suggestions) < self.population_size:
                suggestions += self._explorer.start(self.population_size, rng)[len(suggestions) :]
            self.assignments = tuple(self._assignment(None, s) for s in suggestions)
        return [a.hyperparameters for a in self.assignments]

    def tell(self, env_steps: Sequence[int], returns: Sequence[float]) -> list[Decision]:
        """Report what a generation brought, and learn what each member does next.

        Args:
            env_steps: environment steps (or any measure of training) of each member so far; they must grow.
            returns: one for each member; larger is better; NaN for a member that failed.

        Returns:
            A decision for each member.

        Raises:
            MetapbtError: the numbers do not fit the population.
        """
        if not self.assignments:
            raise MetapbtError("tell: call start first")
        if not len(env_steps) == len(returns) == self.population_size:
            raise MetapbtError(
                f"tell: {self.population_size} members need as many env_steps and returns, "
                f"got {len(env_steps)} and {len(returns)}"
            )
        before = [r.env_steps for r in self.history.latest] or [0] * self.population_size
        for member, (now, last) in enumerate(zip(env_steps, before, strict=True)):
            if now <= last:
                raise MetapbtError(f"tell: env_steps of member {member} must grow beyond {last}, got {now}")
        return self.observe(
            [
                Record(
                    self.history.generations,
                    member,
                    a.parent,
                    a.source,
                    a.hyperparameters,
                    int(steps),
                    float(value),
                )
                for member, (a, steps, value) in enumerate(zip(self.assignments, env_steps, returns, strict=True))
            ]
        )

    def observe(self, records: Sequence[Record]) -> list[Decision]:
        """Take a generation's whole records (``tell`` makes them from bare numbers) and decide what comes next."""
        self.history = self.history.extended(records)
        generation, latest = self.history.generations, self.history.latest
        parents: list[int | None] = [None] * self.population_size
        if self._explorer.copies:
            rng = seeding.generator(self.seed, generation, -1, "selection")
            parents = truncation([self.history.value(r) for r in latest], self.quantile, rng)
        pending = [
            Pending(record.reached, record.hyperparameters)
            for record, parent in zip(latest, parents, strict=True)
            if parent is None
        ]
        origins = [latest[parent] for parent in parents if parent is not None]
        rng = seeding.generator(self.seed, generation, -1, "explore")
        suggestions = iter(self._explorer.propose(origins, self.history, pending, rng) if origins else ())
        self.assignments = tuple(
            Assignment(None, record.hyperparameters, "continued")
            if parent is None
            else self._assignment(parent, next(suggestions))
            for record, parent in zip(latest, parents, strict=True)
        )
        return [Continue() if a.parent is None else Copy(a.parent, a.hyperparameters) for a in self.assignments]

    def _assignment(self, parent: int | None, suggestion: Suggestion) -> Assignment:
        hyperparameters = suggestion.hyperparameters
        if self._constraint is not None:
            hyperparameters = self._constraint(dict(hyperparameters))
            self.space.check(hyperparameters)
        return Assignment(parent, hyperparameters, suggestion.source, suggestion.operations)

    def state(self) -> dict[str, Any]:
        """Everything that has happened and is decided, as plain data (JSON can hold it)."""
        return {
            "records": [r.to_dict() for r in self.history],
            "assignments": [
                {"parent": a.parent, "hyperparameters": dict(a.hyperparameters), "source": a.source}
                for a in self.assignments
            ],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` returned, in a tuner made with the same arguments.

        Raises:
            MetapbtError: the state belongs to a population of another size.
        """
        if len(state["assignments"]) not in (0, self.population_size):
            raise MetapbtError(
                f"the state is of {len(state['assignments'])} members, this tuner has {self.population_size}"
            )
        records = tuple(Record.from_dict(data) for data in state["records"])
        self.history = History(records, self.history.metric)
        self.assignments = tuple(Assignment(**data) for data in state["assignments"])
