"""A study's runs on this machine: as many at a time as keep all its cores busy, each in a process of its own.

A group's runs start once those of the groups that it comes after have ended. Which runs are done, failed or were
stopped is read from their directories alone, so a study goes on wherever it was stopped, in whichever way.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from typing import Any

from metapbt.errors import Interrupted, MetapbtError
from metapbt.log import counted
from metapbt.store.lock import LEASE_SECONDS
from metapbt.store.reading import Unreadable
from metapbt.store.run_directory import RunDirectory
from metapbt.study.expected import BEGUN, Expected, share_trained
from metapbt.study.progress import Progress
from metapbt.study.runner import Runner
from metapbt.study.study import Group, Study, StudyRun

_TICK = 1.0  # seconds between two looks at the time
_LOOK = 5.0  # seconds between two looks at a run that another process trains


def run_study(
    study: Study,
    again: str,
    jobs: int | None = None,
    only_failed: bool = False,
    cores: int | None = None,
    runner: Callable[[], Runner] = Runner,
    most_cores: int | None = None,
) -> dict[StudyRun, str]:
    """Train all runs of a study that are not done, and show how far it is.

    Args:
        study: what to train.
        again: the command that goes on with it, for people.
        jobs: runs at a time, at most; None for as many as there are cores.
        only_failed: train only those that failed, and those that could not start because of them.
        cores: that train; None for all that this process may use.
        runner: makes what trains one run after another.
        most_cores: that one run can have; None for all.

    Returns:
        Of each run that did not end well, why; in the order of the study.

    Raises:
        MetapbtError: a run was refused before anything trained, or one that is there has another configuration.
        Interrupted: Ctrl-C or SIGTERM; everything finished is saved.
    """
    cores = cores or len(os.sched_getaffinity(0))
    return _LocalStudy(study, again, jobs, only_failed, cores, runner, most_cores or cores).run()


def chosen(study: Study, states: Mapping[StudyRun, str], only_failed: bool) -> set[StudyRun]:
    """The runs of a study that are to be trained.

    Args:
        study: all its runs.
        states: of each run.
        only_failed: those that failed, and those that have not begun in groups that come after them, where all of the
            groups before are then done.
    """
    if not only_failed:
        return {run for run in study.runs if states[run] != "done"}
    found: set[StudyRun] = set()
    for group in study.groups:
        before = [run for run in study.runs if run.group in group.after and states[run] != "done"]
        held_up = bool(before) and found.issuperset(before)
        found |= {run for run in group.runs if states[run] == "failed" or (held_up and states[run] == "waiting")}
    return found


class _Training:
    """A run that trains in a runner."""

    def __init__(self, runner: Runner, run: StudyRun, cores: int, share: float | None) -> None:
        self.runner, self.run, self.cores = runner, run, cores
        self.share = share  # of it that was trained before; None of a run that is new
        self.began = time.monotonic()

    @property
    def core_seconds(self) -> float:
        return (time.monotonic() - self.began) * self.cores


class _LocalStudy:
    def __init__(
        self,
        study: Study,
        again: str,
        jobs: int | None,
        only_failed: bool,
        cores: int,
        make_runner: Callable[[], Runner],
        most_cores: int,
    ) -> None:
        self._study, self._again, self._cores = study, again, cores
        self._make_runner, self._most_cores = make_runner, most_cores
        self._jobs = cores if jobs is None else jobs
        self._more_than_cores = jobs is not None
        states = {run: run.state for run in study.runs}
        todo = chosen(study, states, only_failed)
        self._wrong: dict[StudyRun, str] = {}
        for run in study.runs:
            try:
                run.check_same()
            except Unreadable as error:  # the others are trained
                self._wrong[run] = str(error)
                todo = todo - {run}
        self._shares = {run: share_trained(run) for run in todo if states[run] in BEGUN}
        self._waiting: dict[str, list[StudyRun]] = {
            group.name: [run for run in group.runs if run in todo] for group in study.groups
        }
        self._elsewhere: list[StudyRun] = []
        self._signs: dict[StudyRun, tuple[Hashable, float]] = {}  # of life, of a machine far away, and when they came
        self._looked = 0.0
        self._training: list[_Training] = []
        self._free: list[Runner] = []
        self._checking: Runner | None = None
        self._done = {run for run in study.runs if states[run] == "done"}
        self._expected = Expected()
        self._signal: signal.Signals | None = None  # that ends it
        self._told = False
        self._progress = Progress(study, len(self._done))

    def run(self) -> dict[StudyRun, str]:
        todo = sum(map(len, self._waiting.values()))
        if todo:
            self._expected.look_into(self._study)
            with self._progress, self._heeding_signals():
                try:
                    self._check()
                    while self._goes_on():
                        self._look_elsewhere()
                        self._start()
                        self._show()
                        self._await()
                        self._say_that_it_stops()
                finally:
                    runners = [self._checking] if self._checking else []
                    for runner in [*runners, *self._free, *(each.runner for each in self._training)]:
                        runner.close()
        if self._signal is not None:
            done = f"{len(self._done)} of {counted(len(self._study.runs), 'run')} done"
            raise Interrupted(self._signal, f"stopped with {done}; the others are saved, and go on with: {self._again}")
        return {run: self._wrong[run] for run in self._study.runs if run in self._wrong}

    def _say_that_it_stops(self) -> None:
        if self._stopping and self._training and not self._told:
            self._told = True
            self._progress.say("stopping: runs are being saved; once more ends them at once")

    @property
    def _stopping(self) -> bool:
        return self._signal is not None

    def _check(self) -> None:
        """Refuse what can be known to be wrong before anything trains: one run of each kind is checked."""
        kinds: dict[tuple[str, ...], StudyRun] = {}
        for run in self._left():
            same = (
                text for text in run.overrides if not text.startswith(("seed=", "context.", "name=", "results_dir="))
            )
            kinds.setdefault((run.group, run.identity.env, *same), run)
        for run in kinds.values():
            if not self._stopping:
                self._checking = runner = self._runner()
                runner.ask("check", _overrides(run, 1))
                wait(runner.signs)
                found, self._checking = runner.answer(), None
                error = found.get("failed") or found.get("died")
                self._release(runner, found)
                if error and not self._stopping:
                    raise MetapbtError(f"{run.title}: {error}")

    def _goes_on(self) -> bool:
        if self._stopping:
            return bool(self._training)
        return bool(self._left() or self._training or self._elsewhere)

    def _left(self) -> list[StudyRun]:
        return [run for runs in self._waiting.values() for run in runs]

    def _ready(self) -> list[StudyRun]:
        """The runs that may start now; what can never start is settled."""
        under_way = {each.run.group for each in self._training} | {run.group for run in self._elsewhere}
        ready: list[StudyRun] = []
        for group in self._study.groups:
            waiting = self._waiting[group.name]
            if not waiting or any(self._waiting[name] or name in under_way for name in group.after):
                continue
            if group.after and group.needs and not self._learns(group):
                for run in waiting:
                    self._wrong[run] = f"not started: no run of {' or '.join(group.after)} is done"
                self._progress.say(f"{group.name}: not started, for no run of {' or '.join(group.after)} is done")
                waiting.clear()
                continue
            ready += waiting
        return ready

    def _learns(self, group: Group) -> bool:
        """Whether a group has something to come after: at least one run that is done."""
        return any(run.group in group.after for run in self._done)

    def _start(self) -> None:
        ready = [] if self._stopping else self._ready()
        while ready and len(self._training) < self._jobs and not self._stopping:
            free = self._cores - sum(each.cores for each in self._training)
            if free < 1 and not self._more_than_cores:
                return
            run = ready.pop(0)
            if run.cores is not None and run.cores > free and self._training and not self._more_than_cores:
                return  # it is its turn: those behind it do not overtake it for ever
            self._waiting[run.group].remove(run)
            if self._is_trained(run, run.state):
                self._trained_elsewhere(run)
                continue
            beside = 1 + min(len(ready), self._jobs - len(self._training) - 1)
            cores = run.cores or max(1, min(free // beside, run.members, self._most_cores))
            self._begin(run, cores)

    def _begin(self, run: StudyRun, cores: int) -> None:
        runner, share = self._runner(), self._shares.get(run)
        self._training.append(_Training(runner, run, cores, share))
        self._progress.started(run, cores, share)
        runner.ask("train", _overrides(run, cores), cores)
        if self._stopping:  # by a signal that came just now
            runner.stop()

    def _runner(self) -> Runner:
        return self._free.pop() if self._free else self._make_runner()

    def _await(self) -> None:
        """Wait for a run to end, or a moment."""
        signs: list[Any] = [sign for each in self._training for sign in each.runner.signs]
        if not signs:  # others train what is left
            time.sleep(_TICK)
            return
        ended = wait(signs, _TICK)
        for each in self._training:
            each.runner.forget_old()
        for each in [each for each in self._training if any(sign in ended for sign in each.runner.signs)]:
            found = each.runner.answer()
            self._training.remove(each)
            self._release(each.runner, found)
            self._ended(each, found)

    def _release(self, runner: Runner, found: Mapping[str, Any]) -> None:
        if "died" in found or "stopped" in found:
            runner.close()
        else:
            self._free.append(runner)

    def _ended(self, each: _Training, found: Mapping[str, Any]) -> None:
        run, state = each.run, each.run.state
        if state == "done":
            if each.share is None and "seconds" in found:
                self._expected.learn(run, found["seconds"] * each.cores)
            self._finished(run, found.get("seconds"))
        elif self._is_trained(run, state):  # somebody else was quicker
            self._trained_elsewhere(run)
        elif self._stopping and "failed" not in found:
            self._progress.stopped(run)
        else:
            error = str(found.get("failed") or found.get("died") or "was stopped by a signal")
            if "died" in found and state != "failed":
                _mark_failed(run, error)
            self._failed(run, error)

    def _finished(self, run: StudyRun, seconds: float | None) -> None:
        self._done.add(run)
        self._progress.finished(run, seconds, self._seconds_left())

    def _failed(self, run: StudyRun, error: str) -> None:
        self._wrong[run] = error
        self._progress.failed(run, error)

    def _trained_elsewhere(self, run: StudyRun) -> None:
        self._elsewhere.append(run)
        self._progress.elsewhere(run)

    def _is_trained(self, run: StudyRun, state: str) -> bool:
        """Whether a process trains a run of this state.

        Of another machine, on a file system without locks, that is so for as long as signs of life come.
        """
        if state != "unknown":
            return state == "running"
        sign, now = RunDirectory(run.path).sign_of_life, time.monotonic()
        if run not in self._signs or self._signs[run][0] != sign:
            self._signs[run] = sign, now
        return sign is not None and now < self._signs[run][1] + LEASE_SECONDS

    def _look_elsewhere(self) -> None:
        """Whether runs that other processes train have ended."""
        if time.monotonic() < self._looked + _LOOK:
            return
        self._looked = time.monotonic()
        for run in list(self._elsewhere):
            state = run.state
            if self._is_trained(run, state):
                continue
            self._elsewhere.remove(run)
            if state == "done":
                self._finished(run, None)
            elif state == "failed":
                self._failed(run, RunDirectory(run.path).failure or "failed elsewhere")
            else:  # whoever trained it has stopped
                self._waiting[run.group].insert(0, run)

    def _show(self) -> None:
        self._progress.update(len(self._training), len(self._elsewhere), self._seconds_left())

    def _seconds_left(self) -> float | None:
        shares = {run: self._shares.get(run, 0.0) for run in [*self._left(), *self._elsewhere]}
        for each in self._training:
            whole = self._expected.core_seconds(each.run)
            shares[each.run] = (each.share or 0.0) + (each.core_seconds / whole if whole else 0.0)
        return self._expected.left(self._study.groups, shares, self._cores, self._jobs)

    @contextmanager
    def _heeding_signals(self) -> Iterator[None]:
        """Let the first Ctrl-C or SIGTERM tell all runs to save, and the second end them at once."""

        def stop(number: int, _frame: object) -> None:
            first, self._signal = not self._stopping, signal.Signals(number)
            for each in self._training:
                each.runner.stop() if first else each.runner.kill()
            if self._checking is not None:
                self._checking.kill()

        if threading.current_thread() is not threading.main_thread():  # where no signals come
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in numbers}
        try:
            for number in numbers:
                signal.signal(number, stop)
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _overrides(run: StudyRun, cores: int) -> list[str]:
    """What a run is started with: where nobody chose its executor, one that keeps its cores busy."""
    if run.cores is not None:
        return list(run.overrides)
    if cores == 1 and "executor=processes" not in run.overrides:
        return [*run.overrides, "executor=inline"]
    return [*run.overrides, "executor=processes", f"executor.workers={cores}"]


def _mark_failed(run: StudyRun, error: str) -> None:
    """Say in the directory of a run whose process ended what became of it; nobody else could."""
    directory = RunDirectory(run.path)
    if directory.exists:
        with suppress(MetapbtError):
            directory.open({}, resume=False)  # replaces nothing: it is not begun
            try:
                directory.mark_failed(error)
            finally:
                directory.release()
