"""What a study will do, before it does it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from rich import box
from rich.console import Console
from rich.table import Table

from metapbt.callbacks.log import duration
from metapbt.log import counted
from metapbt.study.expected import BEGUN, Expected, share_trained
from metapbt.study.study import Group, Study, StudyRun

_STATES = ("done", "running", "stopped", "failed", "unknown", "waiting")


def print_outline(
    study: Study, states: Mapping[StudyRun, str], todo: Collection[StudyRun], cores: int, jobs: int | None
) -> None:
    """Print a study's groups, what their runs have come to, and how long the rest will take, where that is known.

    Args:
        study: all its runs.
        states: of each run.
        todo: the runs that would be trained.
        cores: that train.
        jobs: runs at a time, at most; None for as many as there are cores.
    """
    expected = Expected()
    expected.look_into(study)
    shares = {run: share_trained(run) if states[run] in BEGUN else 0.0 for run in todo}
    at_once = cores if jobs is None else jobs
    # A redirected table has room.
    console = Console() if Console().is_terminal else Console(width=120)
    table = Table(box=box.SIMPLE, pad_edge=False)
    for heading, justify in (
        ("group", "left"),
        ("after", "left"),
        ("runs", "right"),
        ("of", "left"),
        ("steps", "right"),
    ):
        table.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for group in study.groups:
        steps = sum(run.steps for run in group.runs)
        table.add_row(group.name, ", ".join(group.after), str(len(group.runs)), _of(group), f"{steps:,}")
    console.print(table)
    counts = Counter(states.values())
    told = ", ".join(f"{counts[state]} {state}" for state in _STATES if counts[state])
    console.print(f"{counted(len(study.runs), 'run')} in {study.results_dir}: {told}", markup=False, highlight=False)
    left = expected.left(study.groups, shares, cores, at_once)
    if not todo:
        time = "nothing is left to train"
    elif left is None:
        time = "expected time: known once the first run like these has finished"
    else:
        where = f"of {counted(expected.count, 'finished run')} in or beside {study.results_dir}"
        some = f"about {duration(left)} of training on {counted(cores, 'core')}"
        time = f"expected time: {some}, from the times {where}"
    console.print(time, markup=False, highlight=False)


def _of(group: Group) -> str:
    """What the runs of a group differ in, in words."""
    ids = [run.identity for run in group.runs]
    names = list(dict.fromkeys(it.name for it in ids))
    envs = list(dict.fromkeys(it.env for it in ids))
    contexts, seeds = {(it.env, it.context) for it in ids}, {it.seed for it in ids}
    parts = [_listed(envs, "environment"), _listed(names, "method")]
    parts += [counted(len(contexts), "context"), counted(len(seeds), "seed")]
    return "; ".join(parts)


def _listed(names: list[str], thing: str) -> str:
    return ", ".join(names) if len(names) <= 4 else counted(len(names), thing)
