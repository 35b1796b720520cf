"""The tuner: a population's hyperparameters by ask and tell, for any training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from metapbt import seeding
from metapbt.errors import MetapbtError
from metapbt.history import History, Record
from metapbt.population.explorers import make_explorer
from metapbt.population.explorers.base import Pending, Suggestion
from metapbt.population.selection import Exploit, make_selection
from metapbt.registry import settings_of
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
    """What a member does in its coming interval."""

    parent: int | None
    parent_generation: int | None
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
        selection: str | Mapping[str, Any] = "truncation",
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
            selection: who copies whom: a known name, one's own as ``package.module:Class``, or a mapping with such a
                ``name`` and the selection's settings, as in ``conf/selection/<name>.yaml``.
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
        chosen = {"name": selection} if isinstance(selection, str) else selection
        self._selection = make_selection(chosen["name"], population_size, quantile, settings_of(chosen))

    def start(self) -> list[Hyperparameters]:
        """Return the first generation's hyperparameters, one configuration for each member."""
        if not self.assignments:
            rng = seeding.generator(self.seed, -1, -1, "start")
            suggestions = [Suggestion(given, "given") for given in self.initial]
            if len(suggestions) < self.population_size:
                suggestions += self._explorer.start(self.population_size, rng)[len(suggestions) :]
            self.assignments = tuple(self._assignment(None, s) for s in suggestions)
        return [a.hyperparameters for a in self.assignments]

    def warm_up(self) -> None:
        """Load what decisions will need; worth calling in a thread while the first members train."""
        self._explorer.warm_up()

    def tell(self, env_steps: Sequence[int], returns: Sequence[float]) -> list[Decision]:
        """Report what a generation brought, and learn what each member does next.

        Args:
            env_steps: environment steps (or any measure of training) of each member so far; a copy goes on from its
                parent's, and they must grow.
            returns: one for each member; larger is better; NaN for a member that failed.

        Returns:
            A decision for each member.

        Raises:
            MetapbtError: the numbers do not fit the population.
        """
        if not len(env_steps) == len(returns) == self.population_size:
            raise MetapbtError(
                f"tell: {self.population_size} members need as many env_steps and returns, "
                f"got {len(env_steps)} and {len(returns)}"
            )
        return self.observe([self._record(m, env_steps[m], returns[m]) for m in range(self.population_size)])

    def tell_member(self, member: int, env_steps: int, value: float) -> Decision:
        """Report what one member's interval brought, and learn what it does next, without waiting for the others.

        This is asynchronous PBT: a member is judged as it reports, against the last report of every other one.

        Args:
            member: counted from 0.
            env_steps: environment steps so far; a copy goes on from its parent's, and they must grow.
            value: its return; larger is better; NaN for a member that failed.

        Raises:
            MetapbtError: there is no such member, or its steps have not grown.
        """
        if not 0 <= member < self.population_size:
            raise MetapbtError(f"tell_member: members are 0 to {self.population_size - 1}, got {member}")
        (decision,) = self.observe([self._record(member, env_steps, value)])
        return decision

    def observe(self, records: Sequence[Record]) -> list[Decision]:
        """Take whole records (``tell`` makes them from bare numbers) of members that now wait, and decide for these.

        Args:
            records: one of every member (synchronous), or of one or some (asynchronous).

        Returns:
            A decision for each record.
        """
        self.history = self.history.extended(records)
        reported = {record.member for record in records}
        # Draws belong to the population where all decide together, else to the member that reports.
        generation, drawer = records[0].generation + 1, -1 if len(reported) == self.population_size else min(reported)
        exploits: dict[int, Exploit] = {}
        if self._explorer.copies:
            latest = self.history.latest
            returns = [self.history.value(record) for record in latest]
            rng = seeding.generator(self.seed, generation, drawer, "selection")
            exploits = self._selection.select(latest, returns, reported, rng)
        exploring = [member for member in sorted(exploits) if exploits[member].hyperparameters_of is None]
        self._assign({m: self._without_exploring(m, exploits.get(m)) for m in reported.difference(exploring)})
        if exploring:
            settled = sorted(set(range(self.population_size)).difference(exploring))
            pending = [self._pending(m) for m in settled]
            parents = [self.history.last(exploits[m].parent) for m in exploring]
            rng = seeding.generator(self.seed, generation, drawer, "explore")
            suggestions = self._explorer.propose(parents, self.history, pending, rng)
            copies = zip(exploring, parents, suggestions, strict=True)
            self._assign({m: self._assignment(parent, suggestion) for m, parent, suggestion in copies})
        assigned = [self.assignments[record.member] for record in records]
        return [Continue() if a.parent is None else Copy(a.parent, a.hyperparameters) for a in assigned]

    def origin(self, member: int) -> Record | None:
        """The record that a member's coming interval goes on from; None in the first generation."""
        assignment = self.assignments[member]
        if assignment.parent is not None and assignment.parent_generation is not None:
            return self.history.at(assignment.parent_generation, assignment.parent)
        return self.history.last(member) if member in self.history.members else None

    def record(self, member: int, **outcome: Any) -> Record:
        """The record of a member's interval under its assignment; ``outcome`` holds the other fields."""
        assignment = self.assignments[member]
        return Record(
            generation=self.coming_generation(member),
            member=member,
            parent=assignment.parent,
            parent_generation=assignment.parent_generation,
            source=assignment.source,
            **{"hyperparameters": assignment.hyperparameters, **outcome},
        )

    def coming_generation(self, member: int) -> int:
        """How many intervals a member has finished, which is the number of its coming one."""
        return self.history.last(member).generation + 1 if member in self.history.members else 0

    def _record(self, member: int, env_steps: int, value: float) -> Record:
        if not self.assignments:
            raise MetapbtError("tell: call start first")
        origin = self.origin(member)
        before = origin.env_steps if origin else 0
        if env_steps <= before:
            raise MetapbtError(f"tell: env_steps of member {member} must grow beyond {before}, got {env_steps}")
        return self.record(member, env_steps=int(env_steps), train_return=float(value))

    def _assign(self, assignments: Mapping[int, Assignment]) -> None:
        self.assignments = tuple(assignments.get(m, old) for m, old in enumerate(self.assignments))

    def _without_exploring(self, member: int, exploit: Exploit | None) -> Assignment:
        if exploit is None or exploit.hyperparameters_of is None:
            return Assignment(None, None, self.history.last(member).hyperparameters, "continued")
        hyperparameters = self.history.last(exploit.hyperparameters_of).hyperparameters
        return self._assignment(self.history.last(exploit.parent), Suggestion(hyperparameters, "migrated"))

    def _pending(self, member: int) -> Pending:
        origin = self.origin(member)
        return Pending(origin.reached if origin else math.nan, self.assignments[member].hyperparameters)

    def _assignment(self, parent: Record | None, suggestion: Suggestion) -> Assignment:
        hyperparameters = suggestion.hyperparameters
        if self._constraint is not None:
            hyperparameters = self._constraint(dict(hyperparameters))
            self.space.check(hyperparameters)
        number, generation = (parent.member, parent.generation) if parent else (None, None)
        return Assignment(number, generation, hyperparameters, suggestion.source, suggestion.operations)

    def state(self) -> dict[str, Any]:
        """Everything that has happened and is decided, as plain data (JSON can hold it)."""
        return {
            "records": [r.to_dict() for r in self.history],
            "assignments": [
                {
                    "parent": a.parent,
                    "parent_generation": a.parent_generation,
                    "hyperparameters": dict(a.hyperparameters),
                    "source": a.source,
                }
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
