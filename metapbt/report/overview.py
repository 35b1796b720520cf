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
from metapbt.store.results import RunInfo, find_runs, read_records
from metapbt.store.run_directory import RunDirectory, context_label
from metapbt.store.table import read_table, to_records


@dataclass(frozen=True)
class Missing:
    """A run that its neighbours suggest: another context or seed of the same environment has this method."""

    env: str
    context: str
    method: str
    seed: int


def missing_runs(runs: Sequence[RunInfo]) -> list[Missing]:
    """Find the gaps: seeds that a context and method lack while another context has them for the same method."""
    gaps = []
    for env in sorted({run.env for run in runs}):
        here = [run for run in runs if run.env == env]
        present = {(context_label(run.changed), run.method, run.seed) for run in here}
        pairs = sorted({(context, method) for context, method, _ in present})
        for context, method in pairs:
            seeds = sorted({seed for _, other, seed in present if other == method})
            gaps += [Missing(env, context, method, s) for s in seeds if (context, method, s) not in present]
    return gaps


def print_status(results: Path) -> None:
    """Print, for each context and method, the seeds that are done, running, failed, stopped and missing."""
    runs = _some_runs(results)
    gaps = missing_runs(runs)
    table = Table("env", "context", "method", "done", "running", "failed", "stopped", "missing")
    key = lambda run: (run.env, context_label(run.changed), run.method)  # noqa: E731
    for (env, context, method), group in itertools.groupby(sorted(runs, key=key), key):
        members = list(group)
        seeds = {
            state: [str(run.seed) for run in members if run.state == state]
            for state in ("done", "running", "failed", "stopped")
        }
        absent = [str(g.seed) for g in gaps if (g.env, g.context, g.method) == (env, context, method)]
        table.add_row(env, context, method, *(", ".join(s) or "-" for s in seeds.values()), ", ".join(absent) or "-")
    console = _console()
    console.print(table)
    console.print("The numbers are seeds. A stopped run goes on with the command that started it.")
    for run in runs:
        if run.error:
            console.print(f"{run.path}: {run.error}", markup=False)


def print_runs(results: Path) -> None:
    """Print one line for each run."""
    table = Table("run", "state", "generations", "env_steps", "score")
    for run in _some_runs(results):
        frame = read_records([run])
        if frame.empty:
            table.add_row(str(run.path), run.state, f"0/{run.generations}", "-", "-")
            continue
        last = frame[frame["best"]].iloc[-1]
        table.add_row(
            str(run.path),
            run.state,
            f"{last['generation'] + 1}/{run.generations}",
            f"{last['env_steps']}",
            f"{last['eval_return']:.2f}",
        )
    _console().print(table)


def print_records(results: Path) -> None:
    """Print what was recorded, in numbers: rows, contexts, and the range of each return and hyperparameter."""
    frame = read_records(_some_runs(results))
    if frame.empty:
        raise MetapbtError(f"no generation has finished yet under {results}")
    console = _console()
    for env, rows in frame.groupby("env"):
        contexts = {tuple(context.items()) for context in rows["context"]}
        console.print(
            f"{env}: {len(rows)} records of {rows['run_dir'].nunique()} runs on {len(contexts)} contexts",
            markup=False,
        )
        numbers = rows.dropna(axis="columns", how="all").select_dtypes("number")
        table = Table("column", "records", "min", "median", "max")
        for name in [
            "env_steps",
            "train_return",
            "eval_return",
            *(c for c in map(str, numbers) if c.startswith("hp.")),
        ]:
            if name in numbers:
                column = numbers[name].dropna()
                table.add_row(
                    name,
                    str(len(column)),
                    f"{column.min():.4g}",
                    f"{column.median():.4g}",
                    f"{column.max():.4g}",
                )
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

    runs = [run for run in _some_runs(results) if RunDirectory(run.path).records.exists()]
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
        table = Table(
            "held-out context", "rows", "model", "log density", "rank correlation", "within 95% interval",
            title=f"{env}, {learner}: what memory of the other contexts would have predicted",
        )  # fmt: skip
        labels = {tuple(run.context.items()): context_label(run.changed) for run in members}
        for quality in qualities:
            label, rows = labels[tuple(quality.context.items())], str(quality.rows)
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
        problem = _problem(run)
        if problem:
            problems += 1
            print(f"{run.path}: {problem}")
    print(f"{len(runs)} runs checked, {problems} with problems")
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
    frame = frame.assign(context=frame["context"].map(json.dumps))
    with atomic_file(file) as temporary:
        if file.suffix == ".csv":
            frame.to_csv(temporary, index=False)
        elif file.suffix == ".parquet":
            frame.to_parquet(temporary, index=False)
        else:
            frame.to_json(temporary, orient="records", indent=1)
    print(f"{file}: {len(frame)} records")


def _some_runs(results: Path) -> list[RunInfo]:
    runs = find_runs(results)
    if not runs:
        raise MetapbtError(f"no runs under {results}")
    return runs


def _problem(run: RunInfo) -> str | None:
    directory = RunDirectory(run.path)
    if not directory.records.exists():
        return None if run.state != "done" else "DONE, but records.parquet is missing"
    try:
        rows = to_records(read_table(directory.records))
    except MetapbtError as error:
        return str(error)
    places = [(record.generation, record.member) for _, record in rows]
    generations = sorted({generation for generation, _ in places})
    members = sorted({member for _, member in places})
    if places != list(itertools.product(range(len(generations)), range(len(members)))):
        return "records.parquet lacks members or generations, or has some twice"
    finished = directory.finished_generations
    if finished is not None and len(generations) != finished:
        return f"DONE after {finished} generations, but there are records of {len(generations)}"
    return None


def _console() -> Console:
    # Rich would wrap a redirected table at 80 columns; a file has room.
    console = Console()
    return console if console.is_terminal else Console(width=200)
