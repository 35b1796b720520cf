"""What ``metapbt status`` prints: which runs are done, and what became of the others."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metapbt.errors import MetapbtError
from metapbt.history import Context
from metapbt.log import counted
from metapbt.report.overview import new_console, new_table, no_runs, tell
from metapbt.store.results import RunInfo, count_failed, find_runs
from metapbt.store.run_directory import path_name
from metapbt.study.queue import Queued, queued_runs

#: What a seed may be but done, in the order in which it is said.
_STATES = "running", "pending", "failed", "stopped", "unknown", "missing"


@dataclass(frozen=True)
class Missing:
    """A run that its neighbours suggest: another context or seed of the same environment has this method."""

    folder: Path
    env: str
    context: str
    method: str
    seed: int


@dataclass(frozen=True)
class _Entry:
    """A run in the table."""

    seed: int
    state: str
    job: Queued | None = None


def missing_runs(runs: Sequence[RunInfo]) -> list[Missing]:
    """Find the gaps: seeds that a context and method lack while another context has them for the same method.

    Groups of a study, each in a folder of its own, have nothing to do with each other. Contexts whose runs are only
    what others learned from lack nothing.
    """
    groups: dict[tuple[Path, str], list[RunInfo]] = defaultdict(list)
    for run in runs:
        groups[_folder(run.path), run.env].append(run)
    gaps = []
    for (folder, env), here in sorted(groups.items()):
        sources = frozenset[Context]().union(*(run.ancestry for run in here))
        sources -= {run.context for run in here if run.ancestry}
        present = {(run.context.label, run.name, run.seed) for run in here if run.context not in sources}
        for context, method in sorted({(context, method) for context, method, _ in present}):
            seeds = sorted({seed for _, other, seed in present if other == method})
            gaps += [Missing(folder, env, context, method, s) for s in seeds if (context, method, s) not in present]
    return gaps


def print_status(results: Path, failed: bool = False, rerun: bool = False) -> int:
    """Print, for each context and method, how many seeds are done, and which are not; return the exit status.

    Where this machine belongs to a Slurm cluster, runs that wait or train there are told with their jobs. What cannot
    be read is named, the rest is shown all the same, and the status is 1.

    Args:
        results: where the runs are.
        failed: print the runs that failed instead, each with its error.
        rerun: train these again, here and one after another; of those that a study submitted to the cluster that this
            machine belongs to, print the command that submits them again.

    Raises:
        MetapbtError: there are no runs, or those that did not fail are to run again.
    """
    if rerun and not failed:
        raise MetapbtError("--rerun goes with --failed: metapbt status RESULTS --failed --rerun")
    if failed:
        return _print_failed(results, rerun)
    problems: list[MetapbtError] = []
    runs, queue = find_runs(results, problems.append), _queue(results, problems)
    if not runs and not queue and not problems:
        raise no_runs(results)
    rows = sorted(_entries(runs, queue).items())
    grouped = ["in"] if len({folder for (folder, *_), _ in rows}) > 1 else []
    console, table = new_console(), new_table(*grouped, "env", "context", "method", "done", "not done")
    table.columns[-2].no_wrap = True
    for (folder, env, context, method), entries in rows:
        seeds, done = (
            {entry.seed for entry in those} for those in (entries, [e for e in entries if e.state == "done"])
        )
        table.add_row(
            *(os.path.relpath(folder, results.resolve()) for _ in grouped),
            *(env, context.replace(",", ", "), method),  # a space is where a narrow terminal may break a line
            f"{len(done)} of {counted(len(seeds), 'seed')}",
            "; ".join(filter(None, (_those(entries, state) for state in _STATES))),
        )
    console.print(table)
    waiting = {run.path for run in queue}
    ended = [run for run in runs if run.path.resolve() not in waiting]
    if any(run.state == "stopped" for run in ended):
        console.print("To resume a stopped run, repeat the command that started it.")
    _print_errors(ended)
    for run in runs:
        try:
            intervals = count_failed(run)
        except MetapbtError as error:
            problems.append(error)
            continue
        if intervals:
            said = f"{counted(intervals, 'interval')} failed for good, their members were replaced"
            console.print(f"{run.path}: {said}", markup=False, soft_wrap=True)
    return tell(problems)


def _queue(results: Path, problems: list[MetapbtError]) -> list[Queued]:
    try:
        return queued_runs(results)
    except MetapbtError as error:
        problems.append(error)
        return []


def _print_failed(results: Path, rerun: bool) -> int:
    problems: list[MetapbtError] = []
    failed = [run for run in find_runs(results, problems.append) if run.state == "failed"]
    if not rerun:
        _print_errors(failed)
    print(f"{counted(len(failed), 'failed run')} under {results}")
    if failed and rerun:
        from metapbt.study.rerun import rerun_all

        problems += rerun_all(failed)
    elif failed:
        print(f"metapbt status {results} --failed --rerun  runs them again")
    return tell(problems)


def _folder(run: Path) -> Path:
    """Where a run's environment, context, method and seed have their folders: that of a group, in a study."""
    above = run.resolve().parents
    return above[min(3, len(above) - 1)]


def _entries(runs: Sequence[RunInfo], queue: Sequence[Queued]) -> dict[tuple[Path, str, str, str], list[_Entry]]:
    """The runs of each folder, environment, context and method."""
    jobs = {run.path: run for run in queue}
    found: dict[tuple[Path, str, str, str], list[_Entry]] = defaultdict(list)
    names = {}  # as they stand in paths -> in full
    for run in runs:
        key = run.env, run.context.label, run.name
        names[tuple(map(path_name, key))] = key
        job = jobs.pop(run.path.resolve(), None)
        # A job that has just begun, or waits, may belong to a run that failed before.
        seen = job is not None and run.state != "done"
        entry = _Entry(run.seed, _state(job), job) if job and seen else _Entry(run.seed, run.state)
        found[_folder(run.path), *key].append(entry)
    for job in jobs.values():
        env, context, method = (folder.name for folder in reversed(job.path.parents[:3]))
        key = names.get((env, context, method), (env, context, method))
        found[_folder(job.path), *key].append(_Entry(int(job.path.name.removeprefix("seed_")), _state(job), job))
    for gap in missing_runs(runs):
        mine = found[gap.folder, gap.env, gap.context, gap.method]
        if all(entry.seed != gap.seed for entry in mine):
            mine.append(_Entry(gap.seed, "missing"))
    return found


def _state(job: Queued) -> str:
    return "running" if job.running else "pending"


def _those(entries: Sequence[_Entry], state: str) -> str:
    """``pending: seed 1, 2 (job 102_[1-2])``: which seeds are in a state; nothing where none is."""
    those = sorted((entry for entry in entries if entry.state == state), key=lambda entry: entry.seed)
    tasks: dict[str, list[int]] = defaultdict(list)
    for job in filter(None, (entry.job for entry in those)):
        tasks[job.array].append(job.task)
    named = [f"{array}_{_written(sorted(numbers))}" for array, numbers in tasks.items()]
    where = f" (job {', '.join(named)})" if named else ""
    return f"{state}: seed {', '.join(str(entry.seed) for entry in those)}{where}" if those else ""


def _written(tasks: Sequence[int]) -> str:
    """Tasks of an array as ``scancel`` takes them: ``3``, ``[0-2,5]``."""
    parts: list[list[int]] = []
    for task in tasks:
        if parts and parts[-1][-1] == task - 1:
            parts[-1][1:] = [task]
        else:
            parts.append([task])
    words = ",".join("-".join(map(str, part)) for part in parts)
    return words if len(tasks) == 1 else f"[{words}]"


def _print_errors(runs: Sequence[RunInfo]) -> None:
    for run in runs:
        if run.error:
            print(f"{run.path}: {run.error}")
