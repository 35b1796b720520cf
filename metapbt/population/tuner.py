"""The tuner: a population's hyperparameters by ask and tell, for any training loop."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from metapbt import seeding
from metapbt.errors import MetapbtError, shown, shown_word
from metapbt.history import History, Record, Ref
from metapbt.plain import frozen, thawed, whole_number, written_number
from metapbt.population import told
from metapbt.population.decisions import Assignment, Assignments, Decision
from metapbt.population.explorers import make_explorer
from metapbt.population.explorers.base import Pending, Suggestion
from metapbt.population.selection import Exploit, make_selection
from metapbt.population.selection.base import fittest, ranking
from metapbt.population.state import going_on, read_state, restored, write_state
from metapbt.space import Hyperparameters, Space

METRICS = ("train_return", "eval_return")
MODES = ("max", "min")
MOST = 100_000  # members, and candidates


class Tuner:
    """Population-based tuning by ask and tell. It knows no environment, no learner and no file.

    With candidates, more configurations than members are asked for at first; those told best become the members.

    Example:
        >>> tuner = Tuner(Space({"lr": {"type": "float", "low": 0.0, "high": 1.0}}), method="pbt", seed=1)
        >>> configs = tuner.start()                      # one for each of 4 members
        >>> decisions = tuner.tell([1000] * 4, [3.0, 1.0, 2.0, 4.0])
        >>> decisions[0], decisions[1].parent            # the best goes on, the worst copies the best
        (Continue(until_steps=None), 3)

    What it gives away is the caller's to change; what it was given it has copied; its history cannot be changed.

    Attributes:
        space: the search space.
        population_size: members.
        seed: of every draw.
        mode: whether larger returns are better (``max``), or smaller ones (``min``).
        history: everything that has happened. Its returns are larger the better: with ``mode="min"`` they are the
            negatives of what was told.
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
        mode: str = "max",
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
            mode: ``max``, or ``min`` where what is told is a loss.
            settings: the method's own, as in ``conf/method/<method>.yaml``.

        Raises:
            MetapbtError: a name is unknown or a number is out of its range.
        """
        population_size = whole_number("population.size", population_size, 1, MOST)
        seed = whole_number("seed", seed, 0, told.LARGEST)
        share = written_number(quantile)
        if share is None or not 0 <= share <= 0.5:
            raise MetapbtError(f"population.quantile must be in [0, 0.5], got {shown(quantile)}")
        if not isinstance(metric, str) or metric not in METRICS:
            hint = "; mode='min' says that smaller is better" if metric in MODES else ""
            raise MetapbtError(f"population.metric must be one of {', '.join(METRICS)}, got {shown_word(metric)}{hint}")
        if not isinstance(mode, str) or mode not in MODES:
            raise MetapbtError(f"mode must be max or min, got {shown(mode)}")
        if candidates is not None:
            candidates = whole_number("population.candidates", candidates, 1, MOST)
            if candidates < population_size:
                raise MetapbtError(
                    f"population.candidates must be >= population.size ({population_size}), got {candidates}"
                )
        self.space = space if isinstance(space, Space) else Space(space)
        self.population_size = population_size
        self.seed = seed
        self.mode = mode
        self.history = History(metric=metric, size=population_size)
        self._assignments: dict[int, Assignment] = {}
        listed = isinstance(initial, Sequence) and not isinstance(initial, str)
        if not listed or not all(isinstance(given, Mapping) for given in initial):
            raise MetapbtError(f"initial must be a list of configurations, got {shown(initial)}")
        self.initial = tuple(
            told.checked_configuration(f"initial[{place}]", self.space, given) for place, given in enumerate(initial)
        )
        self._beginning = population_size if candidates is None else candidates
        if len(self.initial) > self._beginning:
            raise MetapbtError(f"initial has {len(self.initial)} configurations for {self._beginning} members")
        if constraint is not None and not callable(constraint):
            raise MetapbtError(f"constraint must be a function, got {shown(constraint)}")
        if not isinstance(selection, str | Mapping):
            raise MetapbtError(f"selection must be a name or a mapping with one, got {shown(selection)}")
        self._constraint = constraint
        self._method = f"method '{method}'"
        self._explorer = make_explorer(method, self.space, TUNER_ARGUMENTS, **told.own_copy(settings))
        chosen = (
            {"name": selection} if isinstance(selection, str) else {"name": "truncation", **told.own_copy(selection)}
        )
        self._exploiting = f"selection '{chosen['name']}'"
        self._selection = make_selection(chosen, population_size, share)

    def start(self) -> list[Hyperparameters]:
        """Return the first generation's hyperparameters: a configuration for each member, or for each candidate."""
        if not self._assignments:
            rng = seeding.generator(self.seed, -1, -1, "start")
            suggestions = [Suggestion(given, "given") for given in self.initial]
            if len(suggestions) < self._beginning:
                suggestions += self._begun(rng)[len(suggestions) :]
            first = 0 if len(suggestions) == self.population_size else self.population_size
            self._assignments = {
                first + place: self._assigned("start", None, suggestion) for place, suggestion in enumerate(suggestions)
            }
        return [thawed(assignment.hyperparameters) for assignment in self._assignments.values()]

    @property
    def assignments(self) -> Mapping[int, Assignment]:
        """The coming interval of each who trains next, by member; copies."""
        return Assignments(self._assignments)

    @property
    def screening(self) -> bool:
        """Whether candidates are training, of which the best will be the members."""
        return any(member >= self.population_size for member in self._assignments)

    def warm_up(self) -> None:
        """Load what decisions will need; worth calling in a thread while the first members train."""
        self._explorer.warm_up()

    def tell(self, env_steps: Sequence[float], returns: Sequence[float]) -> list[Decision]:
        """Report what a generation brought, and learn what each member does next.

        Args:
            env_steps: environment steps (or any measure of training, such as half epochs) of each member, or candidate,
                so far; a copy goes on from its parent's, and they must grow.
            returns: one for each; larger is better, or smaller with ``mode="min"``; NaN for a member that failed.

        Returns:
            A decision for each member.

        Raises:
            MetapbtError: the numbers do not fit the population.
        """
        if not self._assignments:
            raise MetapbtError("tell: call start first")
        asked = list(self._assignments)
        pairs = told.numbers_told(env_steps, returns, asked, self.screening)
        self.observe([self._record(member, *pair) for member, pair in zip(asked, pairs, strict=True)])
        return [self._assignments[member].decision for member in range(self.population_size)]

    def tell_member(self, member: int, env_steps: float, value: float) -> Decision:
        """Report what one member's interval brought, and learn what it does next, without waiting for the others.

        This is asynchronous PBT: a member is judged as it reports, against the last report of every other one.

        Args:
            member: counted from 0.
            env_steps: environment steps so far; a copy goes on from its parent's, and they must grow.
            value: its return; larger is better, or smaller with ``mode="min"``; NaN for a member that failed.

        Raises:
            MetapbtError: there is no such member, its steps have not grown, or candidates are to be told together.
        """
        member = told.member_told(member, self.population_size)
        if not self._assignments:
            raise MetapbtError("tell_member: call start first")
        if self.screening:
            raise MetapbtError("tell_member: the candidates of the first generation are told together, by tell")
        self.observe([self._record(member, env_steps, value)])
        return self._assignments[member].decision

    def observe(self, records: Sequence[Record]) -> list[int]:
        """Take whole records (``tell`` makes them from bare numbers) and decide for their members.

        Args:
            records: one of every member or candidate (synchronous), or of one or some members (asynchronous).

        Returns:
            The members that were decided for: those of the records, or all once the candidates are screened.
        """
        longer = self.history.extended([_kept(record) for record in records])
        # Nothing is taken over before all of it is decided: a report that an own explorer fails at may be told again.
        before, self.history = self.history, longer
        try:
            decided = self._screened() if self.screening else self._decided(records)
        except BaseException:
            self.history = before
            raise
        if self.screening:
            self._assignments = decided
            return list(decided)
        self._assignments |= decided
        return [record.member for record in records]

    def _decided(self, records: Sequence[Record]) -> dict[int, Assignment]:
        reported = {record.member for record in records}
        # Draws belong to the population where all decide together, else to the member that reports.
        generation, drawer = records[0].generation + 1, -1 if len(reported) == self.population_size else min(reported)
        exploits: dict[int, Exploit] = {}
        if self._explorer.copies:
            rng = seeding.generator(self.seed, generation, drawer, "selection")
            with told.answering(self._exploiting, ":" in self._exploiting):
                chosen = self._selection.select(self.history, reported, rng)
            exploits = told.checked_exploits(self._exploiting, chosen, self.history, reported)
        exploring = [member for member in sorted(exploits) if exploits[member].hyperparameters_of is None]
        decided = {m: self._without_exploring(m, exploits.get(m)) for m in reported.difference(exploring)}
        if exploring:
            rng = seeding.generator(self.seed, generation, drawer, "explore")
            decided |= self._explored(exploring, exploits, {**self._assignments, **decided}, rng)
        return decided

    def origin(self, member: int) -> Record | None:
        """The record that a member's coming interval goes on from; None of a new agent."""
        start = self._assignments[member].start
        return None if start is None else self.history.at(start)

    def record(self, member: int, **outcome: Any) -> Record:
        """The record of a member's interval under its assignment; ``outcome`` holds the other fields."""
        assignment = self._assignments[member]
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
            **{"hyperparameters": assignment.hyperparameters, **outcome},
        )

    def coming_generation(self, member: int) -> int:
        """The number of a member's coming interval."""
        if member in self.history.members:
            return self.history.last(member).generation + 1
        start = self._assignments[member].start
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
            MetapbtError: it is of a population of another size or another space, or does not hang together; then
                nothing is taken over.
        """
        self.history, self._assignments = restored(
            self.space, self.history.metric, self.population_size, self._beginning, records, decided
        )

    def state(self) -> dict[str, Any]:
        """Everything that has happened and is decided, as plain data (JSON can hold it)."""
        return write_state(self.history, self._assignments, self.mode)

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` returned, in a tuner made with the same arguments.

        Raises:
            MetapbtError: the state is damaged, or of another population, space, mode or version; then nothing is taken
                over.
        """
        self.replay(*read_state(state, self.mode))

    def _record(self, member: int, env_steps: Any, value: Any) -> Record:
        origin = self.origin(member)
        steps = told.steps_told(member, env_steps, origin.env_steps if origin else 0)
        found = told.return_told(member, value)
        return self.record(member, env_steps=steps, train_return=found if self.mode == "max" else -found)

    def _begun(self, rng: np.random.Generator) -> list[Suggestion]:
        with told.answering(self._method, ":" in self._method):
            suggestions = self._explorer.start(self._beginning, rng)
        return told.checked_suggestions(self._method, self.space, suggestions, self._beginning)

    def _screened(self) -> dict[int, Assignment]:
        """The members: the best candidates, who go on as they are."""
        best = fittest(self.history, ranking(self.history), self.population_size)
        return {
            member: Assignment("copy", candidate.ref, candidate.hyperparameters, "screened")
            for member, candidate in enumerate(best)
        }

    def _without_exploring(self, member: int, exploit: Exploit | None) -> Assignment:
        if exploit is None:
            return going_on(self.history, member)
        model = self._at(exploit.hyperparameters_of)
        return self._assigned("copy", exploit, Suggestion(model.hyperparameters, "migrated"))

    def _explored(
        self, members: Sequence[int], exploits: Mapping[int, Exploit], coming: Mapping[int, Assignment], rng: Any
    ) -> dict[int, Assignment]:
        children = [self.history.last(member) for member in members]
        # Who is born again has no parent; the explorer looks at what it was.
        parents = [
            child if exploits[member].start is None else self._at(exploits[member].start)
            for member, child in zip(members, children, strict=True)
        ]
        pending = self._pending({m: coming[m] for m in sorted(coming.keys() - set(members))})
        with told.answering(self._method, ":" in self._method):
            proposed = self._explorer.propose(children, parents, self.history, pending, rng)
        suggestions = told.checked_suggestions(self._method, self.space, proposed, len(members))
        return {
            member: self._assigned(
                "restart" if exploits[member].start is None else "copy", exploits[member], suggestion
            )
            for member, suggestion in zip(members, suggestions, strict=True)
        }

    def _pending(self, coming: Mapping[int, Assignment]) -> list[Pending]:
        origins = [(None if a.start is None else self.history.at(a.start), a) for a in coming.values()]
        return [Pending(o.reached if o else math.nan, a.hyperparameters) for o, a in origins]

    def _assigned(self, kind: Any, exploit: Exploit | None, suggestion: Suggestion) -> Assignment:
        hyperparameters = suggestion.hyperparameters
        kept: tuple[str, ...] = ()
        if self._constraint is not None:
            with told.answering("the constraint"):
                constrained = self._constraint(thawed(hyperparameters))
            hyperparameters = told.checked_configuration("the constraint", self.space, constrained)
        if exploit is not None and exploit.start is not None:
            kept = self.space.architecture
            hyperparameters = self.space.with_architecture_of(hyperparameters, self._at(exploit.start).hyperparameters)
        return Assignment(
            kind,
            exploit.start if exploit else None,
            frozen(hyperparameters),
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


def _kept(record: Record) -> Record:
    """A record whose configuration nobody can change."""
    return replace(record, hyperparameters=frozen(record.hyperparameters))


#: What a setting of a method may be mistaken for.
TUNER_ARGUMENTS = tuple(name for name in inspect.signature(Tuner).parameters if name != "settings")
