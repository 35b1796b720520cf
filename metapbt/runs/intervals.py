"""The intervals of a run that are under way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from metapbt.errors import MemberError, MetapbtError
from metapbt.execution import Executor
from metapbt.execution.base import Job
from metapbt.execution.inline import InlineExecutor
from metapbt.history import Record, Ref
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

    One that fails for good ends the run, or has a record that says so, as the plan's ``on_failure`` has it.

    Some may be ahead, of the generation to come. Whatever comes of these is looked at once that has begun, so that what
    is recorded, and in which order members fail, is as if they had waited.

    Args:
        plan: of the run.
        directory: open.
        executor: where members train.
        given_up: the intervals that were given up before a stop, each with its error.
        heed: raises where somebody asked the run to stop; called before an interval is trained again.
    """

    def __init__(
        self,
        plan: Plan,
        directory: RunDirectory,
        executor: Executor,
        given_up: Mapping[Ref, str] | None = None,
        heed: Callable[[], None] = lambda: None,
    ) -> None:
        self._plan = plan
        self._directory = directory
        self._executor = executor
        self._heed = heed
        self._under_way: set[int] = set()
        self._ahead: set[int] = set()
        self._training = 0  # handed to the executor
        # Before a stop, or ahead; None of those that were given up.
        self._ended: list[tuple[Job, Outcome | Failure | None]] = []
        self._failures: dict[int, list[Failure]] = {}  # in the interval under way
        self._given_up = dict(given_up or {}) if plan.on_failure == "replace" else {}

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
            MemberError: one has failed again and again, which is to end the run; the others have ended and are saved.
        """
        while True:
            job, result = self._next_ended()
            member = job.interval.ref.member
            if result is None:
                LOGGER.warning("%s: it is not trained again", self._given_up[job.interval.ref])
                return self._failed(tuner, job)
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
                return self._failed(tuner, job)
            self._heed()  # a learner may have made an error of its own of what was to stop it
            LOGGER.warning("member %d failed, retry %d of %d: %s", member, len(failures), RETRIES, result.error)
            self._hand_over([job])

    def end_where_all_failed(self, tuner: Tuner, reported: Sequence[Record]) -> None:
        """End the run where nobody is left that others could go on from; the same command tries them again.

        Args:
            tuner: which has not observed them yet.
            reported: the records of who waits for a decision.

        Raises:
            MemberError: so it is.
        """
        history, size = tuner.history, tuner.population_size
        last = {record.member: record for record in reported}
        if not history.screening and max(last) < size:  # who waits for nobody, or trains on when others have ended
            last = {**{member: history.last(member) for member in history.members}, **last}
        if len(last) >= size and all(record.failed for record in last.values()):
            error = self._given_up[reported[0].ref]
            self._drain()
            self._directory.journal.note_failures({})
            raise MemberError(error)

    def _give_up(self, job: Job, failures: Sequence[Failure]) -> None:
        ref, last, times = job.interval.ref, failures[-1], len(failures)
        how = "failed" if times == 1 else f"failed {times} times" if times > RETRIES else "failed twice alike"
        where = "" if last.traceback == last.error else f" (traceback in {self._directory.log})"
        error = f"member {ref.member} {how} in generation {ref.generation}: {last.error}{where}"
        if self._plan.on_failure == "stop" or last.kind == "unsaved":
            self._drain()
            raise MemberError(error)
        self._directory.held.check()  # where it is gone, that is why it failed
        job.save_to.unlink(missing_ok=True)  # of a worker that ended after it had written it
        self._given_up[ref] = error
        self._directory.journal.note_failures(self._given_up)
        LOGGER.warning("%s: it is replaced (on_failure=replace)", error)

    def _failed(self, tuner: Tuner, job: Job) -> Record:
        """The record of an interval that was given up."""
        interval = job.interval
        self._under_way.remove(interval.ref.member)
        self._failures.pop(interval.ref.member, None)
        return tuner.record(
            interval.ref.member,
            env_steps=interval.start_steps,
            until_steps=interval.until_steps,
            train_return=math.nan,
            failed=True,
        )

    def _submit(self, tuner: Tuner, members: Iterable[int]) -> None:
        origins = {member: tuner.origin(member) for member in sorted(members)}
        ordered = sorted(origins, key=lambda member: -(o.wall_seconds if (o := origins[member]) else 0.0))
        jobs = [self._plan.job(self._directory, tuner, member) for member in ordered]
        coming = {job.interval.ref for job in jobs}  # their members' earlier intervals have records by now
        self._given_up = {r: why for r, why in self._given_up.items() if r in coming or r.member not in origins}
        self._ended += [(job, None) for job in jobs if job.interval.ref in self._given_up]
        jobs = [job for job in jobs if job.interval.ref not in self._given_up]
        found = {job.interval.ref: outcome for job in jobs if (outcome := _adopted(job)) is not None}
        # In order, as they are judged where members train in turn: a run that was stopped decides as one that was not.
        adopted = sorted((job for job in jobs if job.interval.ref in found), key=lambda job: job.interval.ref)
        self._ended += [(job, found[job.interval.ref]) for job in adopted]
        self._hand_over([job for job in jobs if job.interval.ref not in found])

    def _hand_over(self, jobs: Sequence[Job]) -> None:
        self._training += len(jobs)
        self._executor.submit(jobs)

    def _next_ended(self) -> tuple[Job, Outcome | Failure | None]:
        """The next job that has ended and is not ahead."""
        place = 0
        while True:
            if place == len(self._ended):
                self._ended.append(self._executor.next())
                self._training -= 1
            if self._ended[place][0].interval.ref.member in self._under_way:
                return self._ended.pop(place)
            place += 1

    def _drain(self) -> None:
        """Let all intervals end that train elsewhere, which are saved then."""
        for _ in range(self._training):
            self._executor.next()
        self._training = 0


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
