"""What ``metapbt status`` and ``metapbt data`` print: many runs at a glance."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from metapbt.errors import MetapbtError
from metapbt.files import atomic_file
from metapbt.history import Context
from metapbt.log import counted
from metapbt.store.check import problem
from metapbt.store.results import RunInfo, count_records, find_runs, read_records
from metapbt.store.run_directory import RunDirectory


@dataclass(frozen=True)
class Missing:
    """A run that its neighbours suggest: another context or seed of the same environment has this method."""

    env: str
    context: str
    method: str
    seed: int


def missing_runs(runs: Sequence[RunInfo]) -> list[Missing]:
    """Find the gaps: seeds that a context and method lack while another context has them for the same method.

    Contexts whose runs are only what others learned from lack nothing.
    """
    gaps = []
    for env in sorted({run.env for run in runs}):
        here = [run for run in runs if run.env == env]
        sources = frozenset[Context]().union(*(run.ancestry for run in here))
        sources -= {run.context for run in here if run.ancestry}
        present = {(run.context.label, run.name, run.seed) for run in here if run.context not in sources}
        for context, method in sorted({(context, method) for context, method, _ in present}):
            seeds = sorted({seed for _, other, seed in present if other == method})
            gaps += [Missing(env, context, method, s) for s in seeds if (context, method, s) not in present]
    return gaps


def print_status(results: Path) -> None:
    """Print, for each context and method, how many seeds are done, and which are not."""
    runs = _some_runs(results)
    gaps = missing_runs(runs)
    table = _table("env", "context", "method", "done", "not done")
    key = lambda run: (run.env, run.context.label, run.name)  # noqa: E731
    for (env, context, method), group in itertools.groupby(sorted(runs, key=key), key):
        members = list(group)
        seeds = {
            state: [run.seed for run in members if run.state == state] for state in ("running", "failed", "stopped")
        }
        seeds["missing"] = [g.seed for g in gaps if (g.env, g.context, g.method) == (env, context, method)]
        done = sum(run.state == "done" for run in members)
        expected = len(members) + len(seeds["missing"])
        table.add_row(
            *(env, context, method, f"{done} of {counted(expected, 'seed')}"),
            "; ".join(f"{state}: seed {', '.join(map(str, found))}" for state, found in seeds.items() if found),
        )
    console = _console()
    console.print(table)
    if any(run.state == "stopped" for run in runs):
        console.print("A stopped run goes on with the command that started it.")
    for run in runs:
        if run.error:
            console.print(f"{run.path}: {run.error}", markup=False, soft_wrap=True)


def print_runs(results: Path) -> None:
    """Print one line for each run; its score is the test return, or the last evaluation where there is none."""
    table = _table("run", "state", "generations", "env_steps", "score")
    for run in _some_runs(results):
        frame = read_records([run])
        if frame.empty:
            table.add_row(str(run.path), run.state, f"0/{run.generations}", "-", "-")
            continue
        last = frame[frame["best"]].sort_values("generation").iloc[-1]
        score = last["eval_return"] if run.test_return is None else run.test_return
        table.add_row(
            str(run.path),
            run.state,
            f"{last['generation'] + 1}/{run.generations}",
            f"{last['env_steps']:,}",
            f"{score:.2f}",
        )
    _console().print(table)


def print_records(results: Path) -> None:
    """Print what was recorded, in numbers: rows, contexts, and the range of each return and hyperparameter."""
    runs = _some_runs(results)
    frame = read_records(runs)
    if frame.empty:
        raise MetapbtError(f"no generation has finished yet under {results}")
    console = _console()
    for env, rows in frame.groupby("env"):
        contexts = {run.context for run in runs if str(run.path) in set(rows["run_dir"])}
        console.print(
            f"{env}: {counted(len(rows), 'record')} of {counted(rows['run_dir'].nunique(), 'run')} "
            f"on {counted(len(contexts), 'context')}",
            markup=False,
        )
        numbers = rows.dropna(axis="columns", how="all").select_dtypes("number")
        table = _table("column", "records", "min", "median", "max")
        for name in [
            "env_steps",
            "train_return",
            "eval_return",
            *(c for c in map(str, numbers) if c.startswith("hp.")),
        ]:
            if name in numbers:
                column = numbers[name].dropna()
                table.add_row(name, f"{len(column):,}", *map(_number, (column.min(), column.median(), column.max())))
        console.print(table)


def print_memory(results: Path) -> None:
    """Print how well a memory of these runs predicts each of their contexts, held out in turn.

    Against a plain GP with context inputs, and against no memory; see ``metapbt.memory.quality``. What is trained for
    it is kept beside the results, as by a run that uses them.
    """
    from metapbt.memory.cache import FOLDER, ModelCache
    from metapbt.memory.quality import held_out_quality
    from metapbt.memory.sources import read_sources, to_memory
    from metapbt.space import Space

    runs = [run for run in _some_runs(results) if count_records(run)]
    console = _console()
    # A configuration is slow to read: each once.
    keyed = [((run.env, run.learner, json.dumps(RunDirectory(run.path).config()["space"])), run) for run in runs]
    keyed.sort(key=lambda pair: pair[0])
    for (env, learner, space), group in itertools.groupby(keyed, lambda pair: pair[0]):
        members = [run for _, run in group]
        memory = to_memory(members[0].context, read_sources(members), members[0].metric)
        with console.status(f"{env}, {learner}: holding out each context in turn"):
            qualities = held_out_quality(memory, Space(json.loads(space)), ModelCache(results / FOLDER))
        if not qualities:
            console.print(f"{env}, {learner}: too few contexts with long enough runs to hold one out", markup=False)
            continue
        table = _table(
            "held-out context", "rows", "model", "log density", "rank correlation", "within 95% interval",
            title=f"{env}, {learner}: what memory of the other contexts would have predicted",
        )  # fmt: skip
        labels = {run.context: run.context.label for run in members}
        for quality in qualities:
            label, rows = labels[Context(quality.context)], str(quality.rows)
            for name, model in (("memory", "deep kernel"), ("plain", "plain GP"), ("alone", "no memory")):
                found = getattr(quality, name)
                numbers = f"{found.density:.2f}", f"{found.rank_correlation:.2f}", f"{found.inside:.0%}"
                table.add_row(label, rows, model, *numbers)
                label = rows = ""
        console.print(table)


def print_check(results: Path) -> int:
    """Check that every run's files are whole and fit together; return 1 if one does not, else 0."""
    problems = 0
    runs = _some_runs(results)
    for run in runs:
        found = problem(run)
        if found:
            problems += 1
            print(f"{run.path}: {found}")
    print(f"{counted(len(runs), 'run')} checked, {problems} with problems")
    return 1 if problems else 0


def export(results: Path, file: Path) -> None:
    """Write all records as one table: CSV, Parquet or JSON (a list of rows), by the file's ending.

    Raises:
        MetapbtError: the ending is another one, or there are no records.
    """
    if file.suffix not in (".csv", ".parquet", ".json"):
        raise MetapbtError(f"--to must end in .csv, .parquet or .json, got {file}")
    frame = read_records(_some_runs(results))
    if frame.empty:
        raise MetapbtError(f"no generation has finished yet under {results}")
    with atomic_file(file) as temporary:
        if file.suffix == ".csv":
            frame.to_csv(temporary, index=False)
        elif file.suffix == ".parquet":
            frame.to_parquet(temporary, index=False)
        else:
            frame.to_json(temporary, orient="records", indent=1)
    print(f"{file}: {counted(len(frame), 'record')}")


def _some_runs(results: Path) -> list[RunInfo]:
    runs = find_runs(results)
    if not runs:
        raise MetapbtError(f"no runs under {results}")
    return runs


def _table(*headings: str, title: str | None = None) -> Table:
    """A table that folds what is too long for the terminal, instead of cutting it off."""
    table = Table(title=title)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _number(value: float) -> str:
    """``22,000``, ``0.0003``, ``12.34``."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _console() -> Console:
    # Rich would wrap a redirected table at 80 columns; a file has room.
    console = Console()
    return console if console.is_terminal else Console(width=200)
