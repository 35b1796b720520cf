"""When architectures change, and how many are tried: the settings ``eras.*``, and the arithmetic of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from metapbt.errors import MetapbtError, shown, unknown_name
from metapbt.history.budget import Budget
from metapbt.history.restarts import Restarts
from metapbt.plain import whole_number, written_number

if TYPE_CHECKING:
    from metapbt.history.history import History
    from metapbt.history.interval import Ref
    from metapbt.history.record import Record

MOST_ERAS = 1000
MOST_WITH_RESTARTS = 100
MOST_STUDENTS = 100_000
ARCHITECTURES = ("surrogate", "random")


@dataclass(frozen=True, slots=True)
class Rung:
    """One round of successive halving.

    Attributes:
        count: how many train in it.
        until: environment steps since their birth at which it ends.
    """

    count: int
    until: int


@dataclass(frozen=True, slots=True)
class Eras:
    """How often the members' architectures change, and how those of the next era are found.

    An era is the time between two changes of architecture (what Wan et al., 2022, call a generation). When a new one is
    due students are born that learn from a teacher; successive halving leaves as many as there are members.

    With restarts an era is the time between two of them. Who begins anew is screened in one rung, that of a usual
    interval, and so are the candidates of the first generation. What screening costs is charged: the run ends once it
    has trained ``budget.steps`` for each member, all that it trained counted.

    Attributes:
        count: of eras; with 1 architectures never change.
        patience: generations without a new best return of the era after which the next is due; None for never.
        steps: environment steps that the furthest member trains in an era before the next is due; None for any number.
        distil_steps: environment steps that a student trains until it is a member.
        students: how many begin an era.
        architectures: how half of the students get theirs: ``surrogate`` (what the method's
            `metapbt.population.explorers.base.Explorer.architectures` says) or ``random``.
        teacher: whether students learn from the best agent; else they train from nothing.
        distil_anneal: over which share of ``distil_steps`` the teacher's weight falls.
        rungs: of the students' successive halving; none where there is but one era.
        restarts: how the population begins anew; None where architectures change, or nothing does.
    """

    count: int = 1
    patience: int | None = None
    steps: int | None = None
    distil_steps: int = 0
    students: int = 0
    architectures: str = "surrogate"
    teacher: bool = True
    distil_anneal: float = 0.8
    rungs: tuple[Rung, ...] = ()
    restarts: Restarts | None = None

    @classmethod
    def of_config(cls, config: Mapping[str, Any], budget: Budget | None = None) -> Eras:
        """What a run's configuration asks for; those of earlier versions had neither eras nor restarts.

        Args:
            config: of the run.
            budget: of each member; None where it is not to be checked against it.

        Raises:
            MetapbtError: as `of` does.
        """
        population, restarts = config["population"], Restarts.of(config.get("restarts"))
        return cls.of(config.get("eras"), population["size"], budget, restarts, population.get("candidates"))

    @classmethod
    def of(
        cls,
        asked: Mapping[str, Any] | None,
        size: int,
        budget: Budget | None = None,
        restarts: Restarts | None = None,
        candidates: int | None = None,
    ) -> Eras:
        """Check what a configuration asks for under ``eras``.

        Args:
            asked: the settings; None, as in configurations of earlier versions, for one era.
            size: members.
            budget: of each member; None where nobody knows an end.
            restarts: how the population begins anew; None where it does not.
            candidates: how many begin then, and at first; None for two for each member.

        Raises:
            MetapbtError: a setting is unknown or out of its range, or they do not fit together.
        """
        if asked is None:
            asked = {}
        if not isinstance(asked, Mapping):
            raise MetapbtError(f"eras must hold keys such as eras.count, got {shown(asked)}")
        known = {field.name for field in fields(cls)} - {"rungs"}
        for name in asked.keys() - known:
            raise unknown_name("key of eras", str(name), known)

        def whole(name: str, least: int, most: int | None = None) -> int | None:
            value = asked.get(name)
            return None if value is None else whole_number(f"eras.{name}", value, least, most)

        count = whole_number("eras.count", asked.get("count", 1), 1, MOST_ERAS)
        patience, steps, distil_steps = (whole(name, 1, 2**62) for name in ("patience", "steps", "distil_steps"))
        students = whole("students", size, MOST_STUDENTS)
        architectures, teacher = asked.get("architectures", "surrogate"), asked.get("teacher", True)
        if architectures not in ARCHITECTURES:
            raise MetapbtError(
                f"eras.architectures must be one of {', '.join(ARCHITECTURES)}, got {shown(architectures)}"
            )
        if not isinstance(teacher, bool):
            raise MetapbtError(f"eras.teacher must be true or false, got {shown(teacher)}")
        anneal = written_number(asked.get("distil_anneal", 0.8))
        if anneal is None or not 0 < anneal <= 1:
            raise MetapbtError(f"eras.distil_anneal must be above 0 and at most 1, got {shown(asked['distil_anneal'])}")
        if restarts is not None:
            if count > 1:
                raise MetapbtError(f"restarts.patience={restarts.patience} and eras.count={count}: choose one of both")
            if budget is not None and budget.interval_end is not None:
                raise MetapbtError(
                    f"restarts.patience={restarts.patience} makes intervals longer: leave out "
                    f"budget.interval_end={budget.interval_end}"
                )
            beginning = candidates or 2 * size
            found = cls(
                MOST_WITH_RESTARTS,
                students=beginning,
                teacher=False,
                rungs=(Rung(beginning, 0),),
                restarts=restarts,
            )
            if budget is None:
                return found
            # Whose first interval alone is longer than what all members train in all, that era cannot come.
            fitting = (
                era
                for era in range(MOST_WITH_RESTARTS)
                if beginning * found.interval(budget, era) <= size * budget.steps
            )
            return replace(found, count=max(sum(1 for _ in fitting), 2))
        if count == 1:
            return cls()
        if patience is None and steps is None:
            raise MetapbtError(f"eras.count={count} needs eras.patience or eras.steps, which say when an era ends")
        if distil_steps is None:
            raise MetapbtError(f"eras.count={count} needs eras.distil_steps, how many steps students train")
        beginning = 3 * size + 1 if students is None else students
        rungs = halving(beginning, size, distil_steps)
        if distil_steps < 2 ** len(rungs):
            raise MetapbtError(
                f"eras.distil_steps must be at least {2 ** len(rungs)} for {beginning} students of {size} members, who "
                f"are halved in {len(rungs)} rungs, got {distil_steps}"
            )
        if budget is not None and (count - 1) * distil_steps >= budget.steps:
            raise MetapbtError(
                f"eras.distil_steps={distil_steps} for each change of eras.count={count} eras must be less than "
                f"budget.steps={budget.steps} in all"
            )
        return cls(count, patience, steps, distil_steps, beginning, str(architectures), teacher, float(anneal), rungs)

    @property
    def annealed_over(self) -> int:
        """Environment steps since a student's birth over which its teacher's weight falls."""
        return max(round(self.distil_anneal * self.distil_steps), 1)

    def generations(self, budget: Budget, changes: int) -> int:
        """How many generations a run has whose architectures have changed so often.

        A change takes ``distil_steps`` of each member's budget; nobody trains more than that in all, however often it
        goes back to an earlier checkpoint.
        """
        if self.restarts is not None:
            return budget.generations  # as many as without any; screening and longer intervals leave fewer
        return budget.intervals(budget.steps - changes * self.distil_steps) + changes * len(self.rungs)

    def beginning(self, size: int, candidates: int | None) -> int:
        """How many configurations begin the first generation; ``candidates`` are None where nothing was said."""
        return self.students if self.restarts is not None else candidates or size

    def interval(self, budget: Budget, era: int) -> int:
        """Environment steps of a usual interval of an era, counted from 0, where the population begins anew."""
        growth = 1.0 if self.restarts is None else self.restarts.growth
        return int(min(budget.interval * growth ** min(era, MOST_WITH_RESTARTS), budget.steps))

    def end_after(
        self, budget: Budget, history: History, ref: Ref, counted: Record | None, asked: int | None, alone: bool
    ) -> int:
        """Environment steps at which an interval is asked to end; see `metapbt.history.Budget.end_after`.

        Args:
            budget: of each member.
            history: what was before the interval, or more.
            ref: of the interval.
            counted: the record that it counts on from; None where it begins at 0.
            asked: where a decision says when it ends.
            alone: whether everybody goes by their own steps, as in an asynchronous run.
        """
        steps, excess = (counted.env_steps, counted.excess) if counted else (0, 0)
        if self.restarts is None:
            return budget.end_after(steps, excess, asked, None if alone else history.furthest(ref.generation))
        usual = steps - excess + self.interval(budget, history.era_of(ref))
        last = min(steps + budget.steps - history.spent_each(ref.generation), budget.steps)
        return max(min(usual if asked is None else asked, last), steps + 1)

    def goes_on(self, budget: Budget, history: History, generation: int, counted: Record | None) -> bool:
        """Whether a member has an interval to train in a generation.

        Args:
            budget: of each member.
            history: what was before it.
            generation: its number.
            counted: the record that its interval would count on from; None where it would begin at 0.
        """
        if counted is not None and counted.env_steps >= budget.steps:
            return False
        if self.restarts is not None and history.spent_each(generation) >= budget.steps:
            return False
        return generation < self.generations(budget, history.eras - 1)

    def most_generations(self, budget: Budget) -> int:
        """How many generations a run has at most, whether all eras come or not."""
        if self.restarts is not None:
            return self.generations(budget, 0)
        return max(self.generations(budget, changes) for changes in range(self.count))

    def intervals(self, budget: Budget, size: int) -> int:
        """How many intervals all members and students train together if every era comes."""
        if self.restarts is not None:  # beside those of the candidates that are more than members
            return size * (self.generations(budget, 0) + 1) - self.students
        changes = self.count - 1
        usual = self.generations(budget, changes) - changes * len(self.rungs)
        return size * usual + changes * sum(rung.count for rung in self.rungs)


def halving(students: int, size: int, steps: int) -> tuple[Rung, ...]:
    """The rungs of successive halving (Jamieson and Talwalkar, 2016) from ``students`` agents to ``size``.

    With s = ceil(log students / log size) rungs, rung r but the last trains steps * 2^(r - s) steps, and the last one
    until ``steps`` since birth; half of a rung go on, but never fewer than ``size``. So do Wan et al. (2022), but for
    more than two rungs, where their last one is longer by all rungs before the one before it.
    """
    count = 1
    while max(size, 2) ** count < students:
        count += 1
    rungs, until = [], 0
    for place in range(count):
        until = steps if place == count - 1 else until + steps * 2**place // 2**count
        rungs.append(Rung(students, until))
        students = max(size, round(students / 2))
    return tuple(rungs)
