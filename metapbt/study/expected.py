"""How long runs take, from those that have finished: never from anything else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from metapbt.errors import MetapbtError
from metapbt.store.results import RunInfo, describe, find_runs, read_history
from metapbt.store.run_directory import RunDirectory
from metapbt.study.study import Group, Study, StudyRun

_ENOUGH = 10  # finished runs of a kind
#: States of runs of which a share may be trained, and that nobody is known to train.
BEGUN = ("stopped", "failed", "unknown")
_LEAST = 0.02  # of a run's time that is left while it has not ended

#: What tells runs apart that take differently long, the finest first.
Kind = tuple[str, ...]


class Expected:
    """Core-seconds that runs take for each environment step."""

    def __init__(self) -> None:
        self._rates: dict[Kind, list[float]] = defaultdict(list)
        self.count = 0  # runs that it is known from

    def learn(self, run: StudyRun, core_seconds: float) -> None:
        """Know of another finished run."""
        self.count += 1
        for kind in _kinds(run):
            self._rates[kind].append(core_seconds / run.steps)

    def look_into(self, study: Study) -> None:
        """Learn from finished runs: the study's own, else those of the same kind beside its results."""
        states = {run: run.state for run in study.runs}
        for run in study.runs:
            if states[run] == "done":
                with_seconds = _trained(RunDirectory(run.path))
                if with_seconds is not None:
                    self.learn(run, with_seconds[0])
        unknown = {_kinds(run)[-1] for run in study.runs if self.core_seconds(run) is None}
        beside = study.results_dir.parent
        # Elsewhere a whole disk might lie beside the results.
        if not unknown or not beside.is_dir() or Path.cwd() not in beside.resolve().parents:
            return
        for info in find_runs(beside, lambda _: None):
            kind = info.env, info.learner
            if kind in unknown and info.state == "done" and len(self._rates[kind]) < _ENOUGH:
                found = _trained(RunDirectory(info.path))
                if found is not None:
                    self.count += 1
                    self._rates[kind].append(found[0] / found[1])

    def core_seconds(self, run: StudyRun) -> float | None:
        """What a whole run takes; None where no run like it has finished yet."""
        for kind in _kinds(run):
            rates = self._rates.get(kind)
            if rates:
                return run.steps * sum(rates) / len(rates)
        return None

    def left(self, groups: Sequence[Group], shares: Mapping[StudyRun, float], cores: int, at_once: int) -> float | None:
        """Seconds until all runs have ended; None where that is not known.

        Args:
            groups: each behind those that it comes after.
            shares: how much of each run that has not ended was trained, from 0 to 1.
            cores: that train.
            at_once: runs, at most.
        """
        depth: dict[str, int] = {}
        stages: dict[int, list[tuple[float, int]]] = defaultdict(list)
        for group in groups:
            depth[group.name] = 1 + max((depth[name] for name in group.after), default=0)
            for run in group.runs:
                if run in shares:
                    whole = self.core_seconds(run)
                    if whole is None:
                        return None
                    left = whole * max(1 - shares[run], _LEAST)
                    stages[depth[group.name]].append((left, min(run.cores or run.members, cores)))
        return sum(_stage(runs, cores, at_once) for runs in stages.values())


def _stage(runs: Sequence[tuple[float, int]], cores: int, at_once: int) -> float:
    """Seconds that runs take that may train side by side, each given by its core-seconds and the most of its cores."""
    used = min(cores, sum(sorted(most for _, most in runs)[-at_once:]))
    return max(sum(seconds for seconds, _ in runs) / used, *(seconds / most for seconds, most in runs))


def share_trained(run: StudyRun) -> float:
    """How much of a run that was stopped is trained already, from 0 to 1."""
    try:
        history = read_history(describe(RunDirectory(run.path)))
    except MetapbtError:
        return 0.0
    return min(history.spent_steps[-1] / run.steps, 1.0) if len(history) else 0.0


def _kinds(run: StudyRun) -> tuple[Kind, ...]:
    it = run.identity
    return (
        (it.env, it.learner, it.method, run.group),
        (it.env, it.learner, it.method),
        (it.env, it.learner),
    )


def _trained(directory: RunDirectory) -> tuple[float, int] | None:
    """Core-seconds and environment steps of a run that has finished; None where they cannot be read."""
    try:
        info: RunInfo = describe(directory)
        history = read_history(info)
    except MetapbtError:
        return None
    seconds = sum(record.wall_seconds for record in history)
    return (seconds, history.spent_steps[-1]) if seconds else None
