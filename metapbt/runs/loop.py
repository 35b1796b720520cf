"""The loop of a run: train, observe, decide, write down; from where the journal ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from metapbt import seeding
from metapbt.callbacks import Callback, RungStart, RunStart
from metapbt.errors import one_line
from metapbt.execution import Executor
from metapbt.execution.inline import InlineExecutor
from metapbt.execution.trainer import evaluate
from metapbt.history import History, Record, Ref
from metapbt.log import LOGGER
from metapbt.population.selection.base import ranking
from metapbt.population.tuner import Tuner
from metapbt.runs.intervals import Intervals
from metapbt.runs.mending import Checkpoints
from metapbt.runs.plan import Plan
from metapbt.runs.stopping import check_anything_learned, stop_reason
from metapbt.store.done import Done
from metapbt.store.run_directory import RunDirectory
from metapbt.store.table import to_table, write_table


def drive(
    plan: Plan,
    directory: RunDirectory,
    tuner: Tuner,
    executor: Executor,
    callbacks: Sequence[Callback],
    heed: Callable[[], None] = lambda: None,
) -> History:
    """Train what a plan asks for, from the beginning or from where an earlier part was stopped.

    Args:
        plan: what to train.
        directory: open, and begun.
        tuner: fresh, made as the plan's configuration says.
        executor: where members train; it is closed at the end.
        callbacks: who listens.
        heed: called after each interval; see `metapbt.runs.signals.stoppable`.

    Raises:
        MemberError: a member kept failing, which is to end the run, or all of them did; what is finished is saved.
        MetapbtError: the directory was deleted or replaced, or a checkpoint was lost and cannot be made again.
        OSError: the directory cannot be written; what is finished is saved.
    """
    checkpoints = Checkpoints(plan, directory, executor)
    tested: tuple[Record, float] | None = None
    deaf: list[Exception] = []
    try:
        resumed, given_up = _restore(directory, tuner)
        try:
            _tell_start(plan, tuner, executor, resumed, callbacks)
            with _warming_up(tuner, executor):
                if resumed:
                    checkpoints.set_aside_damaged(tuner.history)
                    checkpoints.make_whole(tuner.history, tuner.keeps(best=False))
                intervals = Intervals(plan, directory, executor, given_up, heed)
                _train(plan, directory, tuner, intervals, callbacks, heed)
            checkpoints.make_whole(tuner.history, [plan.tested(tuner.history).ref])
            executor.close()
            tested = _finish(plan, directory, tuner)
        finally:
            deaf = _tell_end(tuner.history, tested, callbacks)
    except (Exception, SystemExit) as error:
        executor.close()
        directory.held.check()  # where it is gone, whatever failed did so for that
        directory.mark_failed(one_line(error))
        raise
    finally:
        executor.close()
    if deaf:
        raise deaf[0]
    return tuner.history


def _restore(directory: RunDirectory, tuner: Tuner) -> tuple[bool, Mapping[Ref, str]]:
    """Bring the tuner to where the run stopped; in a new run, to its first generation.

    Returns:
        Which it was, and the intervals that were given up and have no record yet.
    """
    if not directory.journal.exists:
        tuner.start()
        directory.journal.begin({member: a.to_dict() for member, a in tuner.assignments.items()})
        return False, {}
    content = directory.journal.recover()
    if content.damage is not None:
        LOGGER.warning("%s", content.damage)
    tuner.replay(content.records, content.assignments)
    if not tuner.assignments:  # stopped while the first entry was written
        tuner.start()
        directory.journal.begin({member: a.to_dict() for member, a in tuner.assignments.items()})
    return True, content.failures


def _tell_start(plan: Plan, tuner: Tuner, executor: Executor, resumed: bool, callbacks: Sequence[Callback]) -> None:
    size = tuner.population_size
    # Candidates are screened together; of an asynchronous run's first generation some may be missing yet.
    first = max(size, len(tuner.history.generation(0) or tuner.assignments))
    start = RunStart(
        path=plan.path,
        title=plan.title,
        env=plan.identity.env,
        context=plan.identity.context,
        name=plan.identity.name,
        seed=plan.identity.seed,
        size=size,
        intervals=plan.intervals(size) + first - size,
        generations=plan.generations,
        history=tuner.history,
        metric=tuner.history.metric,
        resumed=resumed,
        eras=plan.eras.count,
        architecture=tuner.space.architecture,
        at_once=min(getattr(executor, "at_once", None) or size, size),
        asynchronous=plan.asynchronous,
    )
    for callback in callbacks:
        callback.on_start(start)


def _tell_end(history: History, tested: tuple[Record, float] | None, callbacks: Sequence[Callback]) -> list[Exception]:
    """Let everybody hear it; returns what some of them raised, which is not to hide why the run ends."""
    errors: list[Exception] = []
    for callback in callbacks:
        try:
            callback.on_end(history, tested)
        except Exception as error:
            LOGGER.warning("%s failed at the end: %s", type(callback).__name__, one_line(error))
            errors.append(error)
    return errors


@contextmanager
def _warming_up(tuner: Tuner, executor: Executor) -> Iterator[None]:
    """Let the tuner load what its decisions need while the first members train elsewhere.

    What trains in this process may look at libraries that are loaded, and must not find them half loaded.
    """
    if isinstance(executor, InlineExecutor):
        yield
        return
    thread = threading.Thread(target=tuner.explorer.warm_up)
    thread.start()
    try:
        yield
    finally:
        thread.join()  # an import that the end of the process cuts off shows a traceback


def _train(
    plan: Plan,
    directory: RunDirectory,
    tuner: Tuner,
    intervals: Intervals,
    callbacks: Sequence[Callback],
    heed: Callable[[], None],
) -> None:
    """Train until every member has had all of its intervals, or there is a reason to stop.

    Synchronous members wait until all have reported, and then decide together; so do students. But who is sure to go on
    as it is, whatever the others report, begins its next interval before, in a worker that would wait otherwise, and so
    fills the time that decisions take, too. Asynchronous members decide as they report, once the candidates, if there
    are any, have been screened together.
    """
    waiting: dict[int, Record] = {}
    reason = stop_reason(tuner.history, plan.stop) if plan.stop else None
    if reason is None:
        intervals.start(tuner, [member for member in tuner.assignments if plan.goes_on(tuner, member)])
    while intervals.under_way:
        record = intervals.next(tuner)
        heed()
        waiting[record.member] = record
        intervals.look_ahead(tuner, list(waiting.values()))
        for callback in callbacks:
            callback.on_record(record)
        if intervals.under_way and (tuner.screening or not plan.asynchronous):
            continue
        before = tuner.history.generations
        reported = [waiting[member] for member in sorted(waiting)]
        waiting.clear()
        intervals.end_where_all_failed(tuner, reported)
        free = tuner.observe(reported)
        changed = [member for member in free if tuner.assignments[member].kind != "continue"]
        directory.held.check()
        directory.journal.append(reported, {member: tuner.assignments[member].to_dict() for member in changed})
        finished = tuner.history.generations > before
        reason = stop_reason(tuner.history, plan.stop) if finished else None
        going_on = [member for member in free if reason is None and plan.goes_on(tuner, member)]
        intervals.start(tuner, going_on)  # first of all, for nobody is to wait for what follows
        if finished:
            _write_at_doubling(plan, directory, tuner.history)
            for callback in callbacks:
                callback.on_generation(tuner.history)
        if reason is not None:
            break
        if tuner.screening:
            _tell_rung(tuner, callbacks)
        else:
            _tell_decisions(tuner, [member for member in going_on if member in changed], callbacks)
        directory.remove_checkpoints(tuner.history, tuner.keeps())
    if reason is not None:
        LOGGER.info("stopping: %s", reason)


def _tell_decisions(tuner: Tuner, members: Iterable[int], callbacks: Sequence[Callback]) -> None:
    for member in members:
        child = tuner.history.last(member) if member in tuner.history.members else None
        for callback in callbacks:
            callback.on_decision(member, tuner.assignments[member], child, tuner.origin(member))


def _tell_rung(tuner: Tuner, callbacks: Sequence[Callback]) -> None:
    history, students = tuner.history, dict(tuner.assignments)
    teacher = next(iter(students.values())).teacher
    start = RungStart(
        era=history.eras + (not history.screening),
        rung=history.rung + 2 if history.screening else 1,
        rungs=len(tuner.eras.rungs),
        students=students,
        teacher=history.at(teacher) if teacher else None,
        before=ranking(history) if history.screening else (),
    )
    for callback in callbacks:
        callback.on_rung(start)


def _write_at_doubling(plan: Plan, directory: RunDirectory, history: History) -> None:
    """Write the table when the number of generations has doubled, so that all writing is but twice the last one's."""
    generations = history.generations
    if generations & (generations - 1) == 0:
        directory.held.check()
        write_table(directory.records, to_table(plan.identity, history))


def _finish(plan: Plan, directory: RunDirectory, tuner: Tuner) -> tuple[Record, float]:
    """Measure an agent on episodes that no decision saw, and say that the run has finished: whose, and its return."""
    history = tuner.history
    directory.held.check()
    write_table(directory.records, to_table(plan.identity, history))
    check_anything_learned(history)
    tested, episodes = plan.tested(history), plan.evaluation["test_episodes"]
    test_return = evaluate(plan.learner, directory.checkpoint(tested.ref), seeding.test_seed(plan.seed), episodes)
    directory.keep_checkpoints(tuner.keeps())
    directory.mark_done(Done.of(history, tested.ref, test_return, episodes))
    return tested, test_return
