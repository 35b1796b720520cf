"""The intervals of a run that are under way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from metapbt.errors import MemberError, MetapbtError
from metapbt.execution import Executor
from metapbt.execution.base import Job
from metapbt.execution.inline import InlineExecutor
from metapbt.history import Record
from metapbt.log import LOGGER
from metapbt.population.tuner import Tuner
from metapbt.runs.plan import Plan
from metapbt.store.checkpoint import Outcome, read_outcome
from metapbt.store.run_directory import RunDirectory

if TYPE_CHECKING:
    from metapbt.execution.base import Failure

RETRIES = 3  # of a member that fails, in one generation


class Intervals:
    """The intervals under way: each is retried where it raises, and not repeated where it was trained before a stop.

    Some may be ahead, of the generation to come. Whatever comes of these is looked at once that has begun, so that what
    is recorded, and in which order members fail, is as if they had waited.
    """

    def __init__(self, plan: Plan, directory: RunDirectory, executor: Executor) -> None:
        self._plan = plan
        self._directory = directory
        self._executor = executor
        self._under_way: set[int] = set()
        self._ahead: set[int] = set()
        self._training = 0  # handed to the executor
        self._ended: list[tuple[Job, Outcome | Failure]] = []  # before a stop, or ahead
        self._failures: dict[int, list[Failure]] = {}  # in the interval under way

    @property
    def under_way(self) -> int:
        """How many intervals, those ahead not counted."""
        return len(self._under_way)

    def start(self, tuner: Tuner, members: Iterable[int]) -> None:
        """Start the coming interval of members, those first that are likely to take longest."""
        coming = set(members)
        self._submit(tuner, coming - self._ahead)
        self._under_way |= coming
        self._ahead.clear()

    def look_ahead(self, tuner: Tuner, reported: Sequence[Record]) -> None:
        """Start intervals of the generation to come, of who is sure to go on; ``start`` is told of them all the same.

        Args:
            tuner: which has not observed the records yet.
            reported: of the generation under way.
        """
        # What trains in this process trains in turn: nobody waits.
        if isinstance(self._executor, InlineExecutor) or not (self._plan.looks_ahead and self._under_way):
            return
        ahead = tuner.ahead(reported)
        sure = {member for member in ahead.assignments if self._plan.goes_on(ahead, member)}
        self._submit(ahead, sure - self._ahead)
        self._ahead |= sure

    def next(self, tuner: Tuner) -> Record:
        """Wait for an interval to end, and return its record.

        Raises:
            MemberError: one has failed again and again; the others have ended and are saved.
        """
        while True:
            job, result = self._next_ended()
            member = job.interval.ref.member
            if isinstance(result, Outcome):
                self._under_way.remove(member)
                self._failures.pop(member, None)
                return tuner.record(member, **asdict(result))
            failures = self._failures.setdefault(member, [])
            failures.append(result)
            if result.traceback != result.error:
                LOGGER.debug("member %d: %s", member, result.traceback)
            if _hopeless(failures):
                self._give_up(job, failures)
            LOGGER.warning("member %d failed, retry %d of %d: %s", member, len(failures), RETRIES, result.error)
            self._hand_over([job])

    def _submit(self, tuner: Tuner, members: Iterable[int]) -> None:
        origins = {member: tuner.origin(member) for member in sorted(members)}
        ordered = sorted(origins, key=lambda member: -(o.wall_seconds if (o := origins[member]) else 0.0))
        jobs = [self._plan.job(self._directory, tuner, member) for member in ordered]
        found = {job.interval.ref: outcome for job in jobs if (outcome := _adopted(job)) is not None}
        self._ended += [(job, found[job.interval.ref]) for job in jobs if job.interval.ref in found]
        self._hand_over([job for job in jobs if job.interval.ref not in found])

    def _hand_over(self, jobs: Sequence[Job]) -> None:
        self._training += len(jobs)
        self._executor.submit(jobs)

    def _next_ended(self) -> tuple[Job, Outcome | Failure]:
        """The next job that has ended and is not ahead."""
        place = 0
        while True:
            if place == len(self._ended):
                self._ended.append(self._executor.next())
                self._training -= 1
            if self._ended[place][0].interval.ref.member in self._under_way:
                return self._ended.pop(place)
            place += 1

    def _give_up(self, job: Job, failures: Sequence[Failure]) -> None:
        for _ in range(self._training):
            self._executor.next()
        ref, last, times = job.interval.ref, failures[-1], len(failures)
        how = "failed" if times == 1 else f"failed {times} times" if times > RETRIES else "failed twice alike"
        where = "" if last.traceback == last.error else f" (traceback in {self._directory.log})"
        raise MemberError(f"member {ref.member} {how} in generation {ref.generation}: {last.error}{where}")


def _hopeless(failures: Sequence[Failure]) -> bool:
    """Whether an interval that failed so is not worth training again.

    Training draws from seeds alone, so what was refused will be refused again, and an error that came twice will come
    for ever. Memory, files and workers may be there the next time.
    """
    last, before = failures[-1], failures[-2:-1]
    if last.kind == "refused" or len(failures) > RETRIES:
        return True
    return last.kind == "raised" and any(each.error == last.error for each in before)


def _adopted(job: Job) -> Outcome | None:
    """The outcome of an interval that was trained before a stop; None where it is to be trained.

    A checkpoint that is damaged, or that is of another interval than the one decided, is trained anew.
    """
    if not job.save_to.exists():
        return None
    try:
        outcome = read_outcome(job.save_to)
    except MetapbtError as error:
        LOGGER.warning("%s: its interval is trained again", error)
        return None
    asked = (job.interval.hyperparameters, job.interval.until_steps)
    if (outcome.hyperparameters, outcome.until_steps) != asked:
        LOGGER.warning("%s is of another interval than the one decided: it is trained again", job.save_to)
        return None
    return outcome
