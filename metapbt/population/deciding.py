"""Who does what next: a function of the history and the seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from metapbt import seeding
from metapbt.errors import MetapbtError
from metapbt.history import Budget, Eras, History, Record, Ref, Restarts
from metapbt.plain import frozen, thawed
from metapbt.population import restarts, told
from metapbt.population.decisions import Assignment, Kind
from metapbt.population.eras import is_due, is_in_time, students
from metapbt.population.explorers.base import Explorer, Pending, Suggestion
from metapbt.population.screening import numbered, screened
from metapbt.population.selection import Exploit, Selection
from metapbt.population.starts import Start
from metapbt.population.state import going_back, going_on
from metapbt.space import Hyperparameters, Space

Constraint = Callable[[Hyperparameters], Hyperparameters]


@dataclass
class Decider:
    """Decides what members, candidates and students do next; it keeps nothing.

    Attributes:
        space: the search space.
        size: members.
        seed: of every draw.
        method: the explorer's name, for messages.
        start: chooses those of the first members that it has any for.
        explorer: chooses hyperparameters.
        exploiting: the selection's name, for messages.
        selection: says who copies whom.
        constraint: has the last word on every new configuration.
        eras: when architectures change.
        budget: of each member; None where nobody knows an end.
    """

    space: Space
    size: int
    seed: int
    method: str
    start: Start
    explorer: Explorer
    exploiting: str
    selection: Selection
    constraint: Constraint | None
    eras: Eras
    budget: Budget | None

    def __post_init__(self) -> None:
        """Check that a population can have eras.

        Raises:
            MetapbtError: its members never copy, and are to have some.
        """
        who = self.method.removeprefix("method ")
        if self.eras.count > 1 and not self.explorer.copies:
            needs = f"eras.count={self.eras.count} needs" if self.eras.restarts is None else "restarts.patience needs"
            raise MetapbtError(f"{needs} a method whose members copy others, not {who}")

    def first(self, given: Sequence[Hyperparameters], count: int) -> dict[int, Assignment]:
        """The first generation of members or candidates.

        Args:
            given: configurations of the first of them; then the start chooses, and the explorer those of the others.
            count: how many begin.
        """
        suggestions = [Suggestion(configuration, "given") for configuration in given]
        drawn = seeding.generator(self.seed, -1, -1, "first")
        suggestions += self.start.first(self.space, count - len(given), drawn)
        if len(suggestions) < count:
            rng = seeding.generator(self.seed, -1, -1, "start")
            with told.answering(self.method, ":" in self.method):
                begun = self.explorer.start(count, rng)
            suggestions += told.checked_suggestions(self.method, self.space, begun, count)[len(suggestions) :]
        first = 0 if len(suggestions) == self.size else self.size
        return numbered((self._assigned("start", None, suggestion) for suggestion in suggestions), first)

    def next(
        self, history: History, assignments: Mapping[int, Assignment], reported: Collection[int]
    ) -> dict[int, Assignment]:
        """What those do next that reported last; who comes after them where these were screened, or an era ends.

        Args:
            history: everything that has happened, their records included.
            assignments: what everybody was to do, to know what others are training.
            reported: whose records came last.
        """
        if history.screening:
            # The students of later eras, and who begins anew, have learned in ways that values are not of.
            ranked = self._valued(history) if history.eras == 1 else history
            return screened(ranked, self.eras.rungs, self.size)
        if self.eras.count > 1 and len(reported) == self.size:
            beginning = self._era(history)
            if beginning is not None:
                return beginning
        return self._decided(history, assignments, set(reported))

    def _era(self, history: History) -> dict[int, Assignment] | None:
        """Who begins a new era, where one is due; none is while nobody is alive, whose successors learn from them."""
        if all(record.failed for record in history.latest):
            return None
        rule = self.eras.restarts
        if rule is not None:
            due = restarts.is_due(history, self.eras, rule, self.budget)
            return self._beginners(history, rule) if due else None
        if is_due(history, self.eras):
            teacher = self._teacher(history)
            born = teacher.env_steps if teacher else 0
            if self.budget is None or is_in_time(history, self.eras, self.budget, born):
                return self._students(history, teacher)
        return None

    def sure_to_go_on(self, history: History, awaited: Collection[int]) -> dict[int, Assignment]:
        """Those that will go on as they are, whatever the others report: a part of what ``next`` decides after these.

        Args:
            history: everything that has happened, what some members have reported in this generation included.
            awaited: the others.
        """
        if history.screening or history.eras < self.eras.count:
            return {}
        # Who has no return waits: nobody knows what becomes of it before all have reported.
        sure = {r.member for r in history.latest if math.isfinite(history.value(r))}.difference(awaited)
        if self.explorer.ranks_by_value:  # which depend on what the others will bring
            return {}
        if self.explorer.copies:
            with told.answering(self.exploiting, ":" in self.exploiting):
                sure.intersection_update(self.selection.sure_to_go_on(history, awaited))
        return {member: going_on(history, member) for member in sorted(sure)}

    def _decided(
        self, history: History, assignments: Mapping[int, Assignment], reported: set[int]
    ) -> dict[int, Assignment]:
        # Draws belong to the population where all decide together, else to the member that reports.
        generation = history.last(min(reported)).generation + 1
        drawer = -1 if len(reported) == self.size else min(reported)
        exploits: dict[int, Exploit] = {}
        if self.explorer.copies:
            rng = seeding.generator(self.seed, generation, drawer, "selection")
            valued = self._valued(history)
            with told.answering(self.exploiting, ":" in self.exploiting):
                chosen = self.selection.select(valued, reported, rng)
            exploits = told.checked_exploits(self.exploiting, chosen, history, reported)
            exploits = _without_failed(exploits, history, reported)
        exploring = [member for member in sorted(exploits) if exploits[member].hyperparameters_of is None]
        decided = {
            member: self._without_exploring(history, member, exploits.get(member))
            for member in reported.difference(exploring)
        }
        if exploring:
            rng = seeding.generator(self.seed, generation, drawer, "explore")
            decided |= self._explored(history, exploring, exploits, {**assignments, **decided}, rng)
        return decided

    def _valued(self, history: History) -> History:
        """The history, members' last records ranked by what they are worth to the method, where it says that."""
        if not self.explorer.ranks_by_value:
            return history
        with told.answering(self.method, ":" in self.method):
            values = self.explorer.values(history)
        known = {record.ref: values[record.member] for record in history.latest if record.member in values}
        return replace(history, values=known)

    def _teacher(self, history: History) -> Record | None:
        if not self.eras.teacher:
            return None
        with told.answering(self.exploiting, ":" in self.exploiting):
            teacher = self.selection.teacher(history)
        if not told.is_known(teacher, history):
            raise told.unknown(self.exploiting, teacher)
        found = history.at(teacher)
        return history.leader() if found is not None and found.failed else found

    def _students(self, history: History, teacher: Record | None) -> dict[int, Assignment]:
        generation = history.coming_generation(0)

        def propose(count: int, tried: Sequence[tuple[Hyperparameters, float]]) -> list[Hyperparameters]:
            rng = seeding.generator(self.seed, generation, -1, "architectures")
            with told.answering(self.method, ":" in self.method):
                found = self.explorer.architectures(count, tried, rng)
            return told.checked_architectures(self.method, self.space, found, count)

        rng = seeding.generator(self.seed, generation, -1, "students")
        born = 0 if teacher is None else math.ceil(teacher.env_steps)
        exploit = Exploit(None, None, teacher.ref if teacher else None, born + self.eras.rungs[0].until)
        return numbered(
            (
                self._assigned("restart", exploit, suggestion)
                for suggestion in students(history, self.eras, self.space, propose, rng)
            ),
            history.next_number,
        )

    def _beginners(self, history: History, rule: Restarts) -> dict[int, Assignment]:
        generation = history.coming_generation(0)

        def propose(models: Sequence[Record | None]) -> list[Suggestion]:
            rng = seeding.generator(self.seed, generation, -1, "explore")
            with told.answering(self.method, ":" in self.method):
                found = self.explorer.begin_anew(models, history, rng)
            return told.checked_suggestions(self.method, self.space, found, len(models))

        rng = seeding.generator(self.seed, generation, -1, "restart")
        begin = restarts.beginners(history, self.eras.students, rule, self.space, propose, rng)
        return numbered(
            (
                self._assigned("restart", Exploit(None if model is None else model.ref), suggestion, history)
                for model, suggestion in begin
            ),
            history.next_number,
        )

    def _without_exploring(self, history: History, member: int, exploit: Exploit | None) -> Assignment:
        if exploit is None and history.last(member).failed:
            return going_back(history, member)
        if exploit is None:
            return going_on(history, member)
        model = _at(history, exploit.hyperparameters_of)
        return self._assigned("copy", exploit, Suggestion(model.hyperparameters, "migrated"), history)

    def _explored(
        self,
        history: History,
        members: Sequence[int],
        exploits: Mapping[int, Exploit],
        coming: Mapping[int, Assignment],
        rng: np.random.Generator,
    ) -> dict[int, Assignment]:
        children = [history.last(member) for member in members]
        parents = [
            self._parent(history, child, exploits[member]) for member, child in zip(members, children, strict=True)
        ]
        pending = _pending(history, {m: coming[m] for m in sorted(coming.keys() - set(members))})
        with told.answering(self.method, ":" in self.method):
            proposed = self.explorer.propose(children, parents, history, pending, rng)
        suggestions = told.checked_suggestions(self.method, self.space, proposed, len(members))
        return {
            member: self._assigned(
                "restart" if exploits[member].start is None else "copy", exploits[member], suggestion, history
            )
            for member, suggestion in zip(members, suggestions, strict=True)
        }

    def _parent(self, history: History, child: Record, exploit: Exploit) -> Record:
        """The record that a child goes on from, with the hyperparameters that are explored, on its own network."""
        if exploit.start is None:  # who is born again has no parent; the explorer looks at what it was
            return child
        start = _at(history, exploit.start)
        if exploit.explored_from is None:
            return start
        explored = _at(history, exploit.explored_from).hyperparameters
        return replace(start, hyperparameters=frozen(self.space.with_architecture_of(explored, start.hyperparameters)))

    def _assigned(
        self, kind: Kind, exploit: Exploit | None, suggestion: Suggestion, history: History | None = None
    ) -> Assignment:
        hyperparameters = suggestion.hyperparameters
        kept: tuple[str, ...] = ()
        parent = None
        if history is not None and exploit is not None and exploit.start is not None:
            kept, parent = self.space.architecture, _at(history, exploit.start).hyperparameters
            hyperparameters = self.space.with_architecture_of(hyperparameters, parent)
        if self.constraint is not None:
            # It is shown the network that will train, and changes all but that.
            with told.answering("the constraint"):
                constrained = self.constraint(thawed(hyperparameters))
            hyperparameters = told.checked_configuration("the constraint", self.space, constrained)
            if parent is not None:
                hyperparameters = self.space.with_architecture_of(hyperparameters, parent)
        return Assignment(
            kind,
            exploit.start if exploit else None,
            frozen(hyperparameters),
            suggestion.source,
            exploit.teacher if exploit else None,
            exploit.until_steps if exploit else None,
            {name: what for name, what in suggestion.operations.items() if name not in kept},
        )


def _without_failed(exploits: Mapping[int, Exploit], history: History, reported: Collection[int]) -> dict[int, Exploit]:
    """What becomes of members, where nobody goes on from what failed, and who failed starts from what did not.

    A selection need not know of failures. Where it names one it is passed over: the member goes on as it is. Who failed
    copies the best of those that are left; where there are none it begins anew.
    """

    def names_failed(exploit: Exploit) -> bool:
        named = (exploit.start, exploit.hyperparameters_of, exploit.teacher, exploit.explored_from)
        return any(_at(history, ref).failed for ref in named if ref is not None)

    sound = {member: exploit for member, exploit in exploits.items() if not names_failed(exploit)}
    leader = history.leader()
    instead = Exploit(None if leader.failed else leader.ref)
    failed = [member for member in reported if history.last(member).failed]
    return {**dict.fromkeys(failed, instead), **sound}


def _pending(history: History, coming: Mapping[int, Assignment]) -> list[Pending]:
    origins = [(None if a.start is None else history.at(a.start), a) for a in coming.values()]
    return [
        Pending(o.reached, a.hyperparameters, o.train_return) if o else Pending(math.nan, a.hyperparameters)
        for o, a in origins
    ]


def _at(history: History, ref: Ref | None) -> Record:
    record = None if ref is None else history.at(ref)
    if record is None:
        raise MetapbtError(f"selection names {ref}, of which there is no record")
    return record
