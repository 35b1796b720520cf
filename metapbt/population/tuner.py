"""The tuner: a population's hyperparameters by ask and tell, for any training loop."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from metapbt import seeding
from metapbt.errors import MetapbtError
from metapbt.history import History, Record, Ref
from metapbt.population.decisions import Assignment, Decision
from metapbt.population.explorers import make_explorer
from metapbt.population.explorers.base import Pending, Suggestion
from metapbt.population.selection import Exploit, make_selection
from metapbt.population.selection.base import ranking
from metapbt.space import Hyperparameters, Space

METRICS = ("train_return", "eval_return")


class Tuner:
    """Population-based tuning by ask and tell. It knows no environment, no learner and no file.

    With candidates, more configurations than members are asked for at first; those told best become the members.

    Example:
        >>> tuner = Tuner(Space({"lr": {"type": "float", "low": 0.0, "high": 1.0}}), method="pbt", seed=1)
        >>> configs = tuner.start()                      # one for each of 4 members
        >>> decisions = tuner.tell([1000] * 4, [3.0, 1.0, 2.0, 4.0])
        >>> decisions[0], decisions[1].parent            # the best goes on, the worst copies the best
        (Continue(until_steps=None), 3)

    Attributes:
        space: the search space.
        population_size: members.
        seed: of every draw.
        history: everything that has happened.
        assignments: the coming interval of each who trains next, by member.
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
        candidates: int | None = None,
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
            candidates: how many configurations begin; None for one for each member, or what the method offers.
            settings: the method's own, as in ``conf/method/<method>.yaml``.

        Raises:
            MetapbtError: a name is unknown or a number is out of its range.
        """
        counts: dict[str, Any] = {
            "population.size": population_size,
            "population.candidates": candidates,
            "seed": seed,
        }
        for key, value in counts.items():
            if value is not None and (isinstance(value, bool) or not isinstance(value, Integral)):
                raise MetapbtError(f"{key} must be an integer, got {value!r}")
        if population_size < 1:
            raise MetapbtError(f"population.size must be >= 1, got {population_size}")
        if not 0 <= quantile <= 0.5:
            raise MetapbtError(f"population.quantile must be in [0, 0.5], got {quantile}")
        if metric not in METRICS:
            raise MetapbtError(f"population.metric must be one of {', '.join(METRICS)}, got {metric}")
        if seed < 0:
            raise MetapbtError(f"seed must be >= 0, got {seed}")
        if candidates is not None and candidates < population_size:
            raise MetapbtError(
                f"population.candidates must be >= population.size ({population_size}), got {candidates}"
            )
        self.space = space if isinstance(space, Space) else Space(space)
        self.population_size = population_size
        self.seed = seed
        self.history = History(metric=metric, size=population_size)
        self.assignments: dict[int, Assignment] = {}
        if not all(isinstance(given, Mapping) for given in initial):
            raise MetapbtError(f"initial must be a list of configurations, got {list(initial)!r}")
        self.initial = tuple(dict(given) for given in initial)
        self._beginning = population_size if candidates is None else candidates
        if len(self.initial) > self._beginning:
            raise MetapbtError(f"initial has {len(self.initial)} configurations for {self._beginning} members")
        for given in self.initial:
            self.space.check(given)
        self._constraint = constraint
        self._explorer = make_explorer(method, self.space, TUNER_ARGUMENTS, **settings)
        chosen = {"name": selection} if isinstance(selection, str) else {"name": "truncation", **selection}
        self._selection = make_selection(chosen, population_size, quantile)

    def start(self) -> list[Hyperparameters]:
        """Return the first generation's hyperparameters: a configuration for each member, or for each candidate."""
        if not self.assignments:
            rng = seeding.generator(self.seed, -1, -1, "start")
            suggestions = [Suggestion(given, "given") for given in self.initial]
            if len(suggestions) < self._beginning:
                suggestions += self._explorer.start(self._beginning, rng)[len(suggestions) :]
            first = 0 if len(suggestions) == self.population_size else self.population_size
            self.assignments = {
                first + place: self._assigned("start", None, suggestion) for place, suggestion in enumerate(suggestions)
            }
        return [dict(assignment.hyperparameters) for assignment in self.assignments.values()]

    @property
    def screening(self) -> bool:
        """Whether candidates are training, of which the best will be the members."""
        return any(member >= self.population_size for member in self.assignments)

    def warm_up(self) -> None:
        """Load what decisions will need; worth calling in a thread while the first members train."""
        self._explorer.warm_up()

    def tell(self, env_steps: Sequence[int], returns: Sequence[float]) -> list[Decision]:
        """Report what a generation brought, and learn what each member does next.

        Args:
            env_steps: environment steps (or any measure of training) of each member, or candidate, so far; a copy goes
                on from its parent's, and they must grow.
            returns: one for each; larger is better; NaN for a member that failed.

        Returns:
            A decision for each member.

        Raises:
            MetapbtError: the numbers do not fit the population.
        """
        if not self.assignments:
            raise MetapbtError("tell: call start first")
        asked = list(self.assignments)
        if not len(env_steps) == len(returns) == len(asked):
            raise MetapbtError(
                f"tell: {len(asked)} {'candidates' if self.screening else 'members'} need as many env_steps and "
                f"returns, got {len(env_steps)} and {len(returns)}"
            )
        told = zip(asked, env_steps, returns, strict=True)
        self.observe([self._record(member, steps, value) for member, steps, value in told])
        return [self.assignments[member].decision for member in range(self.population_size)]

    def tell_member(self, member: int, env_steps: int, value: float) -> Decision:
        """Report what one member's interval brought, and learn what it does next, without waiting for the others.

        This is asynchronous PBT: a member is judged as it reports, against the last report of every other one.

        Args:
            member: counted from 0.
            env_steps: environment steps so far; a copy goes on from its parent's, and they must grow.
            value: its return; larger is better; NaN for a member that failed.

        Raises:
            MetapbtError: there is no such member, its steps have not grown, or candidates are to be told together.
        """
        if not 0 <= member < self.population_size:
            raise MetapbtError(f"tell_member: members are 0 to {self.population_size - 1}, got {member}")
        if not self.assignments:
            raise MetapbtError("tell_member: call start first")
        if self.screening:
            raise MetapbtError("tell_member: the candidates of the first generation are told together, by tell")
        self.observe([self._record(member, env_steps, value)])
        return self.assignments[member].decision

    def observe(self, records: Sequence[Record]) -> list[int]:
        """Take whole records (``tell`` makes them from bare numbers) and decide for their members.

        Args:
            records: one of every member or candidate (synchronous), or of one or some members (asynchronous).

        Returns:
            The members that were decided for: those of the records, or all once the candidates are screened.
        """
        self.history = self.history.extended(records)
        if self.screening:
            self.assignments = self._screened()
            return list(self.assignments)
        reported = {record.member for record in records}
        # Draws belong to the population where all decide together, else to the member that reports.
        generation, drawer = records[0].generation + 1, -1 if len(reported) == self.population_size else min(reported)
        exploits: dict[int, Exploit] = {}
        if self._explorer.copies:
            rng = seeding.generator(self.seed, generation, drawer, "selection")
            exploits = self._selection.select(self.history, reported, rng)
        exploring = [member for member in sorted(exploits) if exploits[member].hyperparameters_of is None]
        self.assignments |= {m: self._without_exploring(m, exploits.get(m)) for m in reported.difference(exploring)}
        if exploring:
            rng = seeding.generator(self.seed, generation, drawer, "explore")
            self.assignments |= self._explored(exploring, exploits, rng)
        return [record.member for record in records]

    def origin(self, member: int) -> Record | None:
        """The record that a member's coming interval goes on from; None of a new agent."""
        start = self.assignments[member].start
        return None if start is None else self.history.at(start)

    def record(self, member: int, **outcome: Any) -> Record:
        """The record of a member's interval under its assignment; ``outcome`` holds the other fields."""
        assignment = self.assignments[member]
        copied, teacher = assignment.start if assignment.kind == "copy" else None, assignment.teacher
        return Record(
            generation=self.coming_generation(member),
            member=member,
            parent=copied.member if copied else None,
            parent_generation=copied.generation if copied else None,
            source=assignment.source,
            restart=assignment.kind == "restart",
            teacher_generation=teacher.generation if teacher else None,
            teacher_member=teacher.member if teacher else None,
            **{"hyperparameters": dict(assignment.hyperparameters), **outcome},
        )

    def coming_generation(self, member: int) -> int:
        """The number of a member's coming interval."""
        if member in self.history.members:
            return self.history.last(member).generation + 1
        start = self.assignments[member].start
        return 0 if start is None else start.generation + 1  # of the candidate that it goes on from

    def keeps(self) -> set[Ref]:
        """The checkpoints that somebody may still go on from, and that of the best agent ever."""
        latest = {record.ref for record in self.history.latest}
        starts = {ref for a in self.assignments.values() for ref in (a.start, a.teacher) if ref is not None}
        return latest | starts | self._selection.keeps(self.history)

    def replay(self, records: Sequence[Record], decided: Mapping[int, Mapping[str, Any] | None]) -> None:
        """Go on from what was written down, in a tuner made with the same arguments.

        Args:
            records: everything that was observed, in that order.
            decided: the last decision for each member as :meth:`Assignment.to_dict` gave it; None for one that goes on
                as it is.

        Raises:
            MetapbtError: it is of a population of another size.
        """
        self.history = History(tuple(records), self.history.metric, self.population_size)
        size = self.population_size
        members = {member: data for member, data in decided.items() if member < size}
        candidates = {member: data for member, data in decided.items() if member >= size}
        if members:
            fits = members.keys() == set(range(size)) and not any(candidates.values())  # these are screened, if any
        else:
            fits = candidates.keys() == set(range(size, size + len(candidates)))
            fits = fits and (not candidates or self._beginning in (size, len(candidates)))
        if not fits:
            raise MetapbtError(f"this is of {len(decided)} members, the tuner has {size}")
        self.assignments = {
            member: Assignment.from_dict(data) if data is not None else self._without_exploring(member, None)
            for member, data in sorted((members or candidates).items())
        }

    def state(self) -> dict[str, Any]:
        """Everything that has happened and is decided, as plain data (JSON can hold it)."""
        return {
            "records": [record.to_dict() for record in self.history],
            "assignments": {str(member): a.to_dict() for member, a in self.assignments.items()},
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` returned, in a tuner made with the same arguments.

        Raises:
            MetapbtError: the state belongs to a population of another size.
        """
        records = [Record.from_dict(data) for data in state["records"]]
        self.replay(records, {int(member): data for member, data in state["assignments"].items()})

    def _record(self, member: int, env_steps: int, value: float) -> Record:
        origin = self.origin(member)
        before = origin.env_steps if origin else 0
        told: dict[str, Any] = {"env_steps": env_steps, "return": value}
        for what, number in told.items():
            if isinstance(number, bool) or not isinstance(number, Real):
                raise MetapbtError(f"tell: the {what} of member {member} must be a number, got {number!r}")
        if not env_steps > before:
            raise MetapbtError(f"tell: env_steps of member {member} must grow beyond {before}, got {env_steps}")
        return self.record(member, env_steps=int(env_steps), train_return=float(value))

    def _screened(self) -> dict[int, Assignment]:
        """The members: the best candidates, who go on as they are."""
        best = ranking(self.history)[: self.population_size]
        return {
            member: Assignment("copy", candidate.ref, candidate.hyperparameters, "screened")
            for member, candidate in enumerate(best)
        }

    def _without_exploring(self, member: int, exploit: Exploit | None) -> Assignment:
        if exploit is None:
            last = self.history.last(member)
            return Assignment("continue", last.ref, last.hyperparameters, "continued")
        model = self._at(exploit.hyperparameters_of)
        return self._assigned("copy", exploit, Suggestion(model.hyperparameters, "migrated"))

    def _explored(self, members: Sequence[int], exploits: Mapping[int, Exploit], rng: Any) -> dict[int, Assignment]:
        children = [self.history.last(member) for member in members]
        # Who is born again has no parent; the explorer looks at what it was.
        parents = [
            child if exploits[member].start is None else self._at(exploits[member].start)
            for member, child in zip(members, children, strict=True)
        ]
        pending = self._pending(set(self.assignments).difference(members))
        suggestions = self._explorer.propose(children, parents, self.history, pending, rng)
        return {
            member: self._assigned(
                "restart" if exploits[member].start is None else "copy", exploits[member], suggestion
            )
            for member, suggestion in zip(members, suggestions, strict=True)
        }

    def _pending(self, members: Collection[int]) -> list[Pending]:
        origins = {member: self.origin(member) for member in sorted(members)}
        return [
            Pending(origin.reached if origin else math.nan, self.assignments[member].hyperparameters)
            for member, origin in origins.items()
        ]

    def _assigned(self, kind: Any, exploit: Exploit | None, suggestion: Suggestion) -> Assignment:
        hyperparameters = dict(suggestion.hyperparameters)
        kept: tuple[str, ...] = ()
        if self._constraint is not None:
            constrained = self._constraint(dict(hyperparameters))
            if not isinstance(constrained, Mapping):
                raise MetapbtError(f"the constraint must return a configuration, got {constrained!r}")
            hyperparameters = dict(constrained)
            self.space.check(hyperparameters)
        if exploit is not None and exploit.start is not None:
            kept = self.space.architecture
            hyperparameters = self.space.with_architecture_of(hyperparameters, self._at(exploit.start).hyperparameters)
        return Assignment(
            kind,
            exploit.start if exploit else None,
            hyperparameters,
            suggestion.source,
            exploit.teacher if exploit else None,
            exploit.until_steps if exploit else None,
            {name: what for name, what in suggestion.operations.items() if name not in kept},
        )

    def _at(self, ref: Ref | None) -> Record:
        record = None if ref is None else self.history.at(ref)
        if record is None:
            raise MetapbtError(f"selection names {ref}, of which there is no record")
        return record


#: What a setting of a method may be mistaken for.
TUNER_ARGUMENTS = tuple(name for name in inspect.signature(Tuner).parameters if name != "settings")
