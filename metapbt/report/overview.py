"""What ``metapbt data`` prints: many runs at a glance."""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pyarrow import parquet
from rich.cells import cell_len
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from metapbt.errors import MetapbtError
from metapbt.files import atomic_file
from metapbt.history import Context
from metapbt.log import counted, readable
from metapbt.progress import progress
from metapbt.store.check import problem_in
from metapbt.store.reading import Unreadable
from metapbt.store.results import (
    RunInfo,
    count_records,
    find_runs,
    from_frame,
    read_history,
    read_records,
    run_directories,
)
from metapbt.store.run_directory import RunDirectory

if TYPE_CHECKING:
    import pandas as pd

_TOGETHER = 100  # rows


def tell(problems: Sequence[MetapbtError]) -> int:
    """Name on stderr what could not be read, each file once; return the command's exit status."""
    files = {error.path if isinstance(error, Unreadable) else str(error): error for error in problems}
    for error in files.values():
        print(f"metapbt: {error}", file=sys.stderr)
    return 1 if problems else 0


def print_runs(results: Path) -> int:
    """Print one line for each run; its score is the test return, or the last evaluation where there is none.

    Here and below, what cannot be read is named, the rest is shown all the same, and the status is 1.
    """
    problems: list[MetapbtError] = []
    rows = []
    for run in some_runs(results, problems):
        try:
            generations, steps, score = _came_to(run)
        except MetapbtError as error:
            problems.append(error)
            generations, steps, score = "?", "?", "?"
        rows.append((str(run.path), run.state, f"{generations}/{run.generations or '-'}", steps, score))
    _print_rows(("run", "state", "generations", "env_steps", "score"), rows)
    return tell(problems)


def _came_to(run: RunInfo) -> tuple[str, str, str]:
    """The generations, steps and score of a run, in words."""
    done = run.done
    if done is not None and done.env_steps is not None and done.eval_return is not None:
        generations, steps, score = done.generations, done.env_steps, done.eval_return
    else:
        history = read_history(run)
        if not len(history):
            return "0", "-", "-"
        last = history.best_of(max(record.generation for record in history))
        generations, steps, score = last.generation + 1, last.env_steps, last.eval_return
    return str(generations), f"{steps:,}", f"{score if run.test_return is None else run.test_return:.2f}"


def print_records(results: Path) -> int:
    """Print what was recorded, in numbers: rows, contexts, and the range of each return and hyperparameter."""
    problems: list[MetapbtError] = []
    runs = some_runs(results, problems)
    frame = read_records(runs, problems.append)
    if frame.empty:
        raise _nothing_recorded(results, problems)
    console = new_console()
    for env, rows in frame.groupby("env"):
        known = set(rows["run_dir"])
        contexts = {run.context for run in runs if str(run.path) in known}
        console.print(
            f"{env}: {counted(len(rows), 'record')} of {counted(rows['run_dir'].nunique(), 'run')} "
            f"on {counted(len(contexts), 'context')}",
            markup=False,
        )
        numbers = rows.dropna(axis="columns", how="all").select_dtypes("number")
        table = new_table("column", "records", "min", "median", "max")
        for name in [
            "env_steps",
            "train_return",
            "eval_return",
            *(c for c in map(str, numbers) if c.startswith("hp.")),
        ]:
            if name in numbers:
                column = numbers[name].dropna()
                table.add_row(name, f"{len(column):,}", *map(readable, (column.min(), column.median(), column.max())))
        console.print(table)
    return tell(problems)


def print_memory(results: Path) -> int:
    """Print how well a memory of these runs predicts each of their contexts, held out in turn.

    Against a plain GP with context inputs, and against no memory; see ``metapbt.memory.quality``. All that a run of
    ``meta_pb2`` trains before it begins is trained, and kept beside the results, as by such a run.
    """
    from metapbt.memory.cache import FOLDER, ModelCache
    from metapbt.memory.quality import compared_models, summary
    from metapbt.memory.reading import read_sources
    from metapbt.memory.source_runs import Memory
    from metapbt.population.explorers.meta_pb2 import MetaPB2Explorer
    from metapbt.space import Space

    problems: list[MetapbtError] = []
    console = new_console()
    keyed = []
    for run in some_runs(results, problems):
        try:
            if count_records(run):
                config = RunDirectory(run.path).config()
                keyed.append(((run.env, run.learner, json.dumps(config.get("space"))), run))
        except MetapbtError as error:
            problems.append(error)
    keyed.sort(key=lambda pair: pair[0])
    for (env, learner, space), group in itertools.groupby(keyed, lambda pair: pair[0]):
        members = [run for _, run in group]
        with progress(f"{env}, {learner}: holding out each context in turn") as told:
            memory = Memory(members[0].context, read_sources(members))
            explorer = MetaPB2Explorer(Space(json.loads(space)), memory, cache=ModelCache(results / FOLDER))
            qualities = explorer.meta.quality(told)
        if not qualities:
            console.print(f"{env}, {learner}: too few contexts with long enough runs to hold one out", markup=False)
            continue
        table = new_table(
            "held-out context", "rows", "model", "log density", "rank correlation", "within 95% interval",
            title=f"{env}, {learner}: what memory of the other contexts would have predicted",
        )  # fmt: skip
        labels = {run.context: run.context.label for run in members}
        table.columns[0].min_width = min(
            max(map(cell_len, labels.values())), 30
        )  # other headings break at their spaces
        models = compared_models(qualities)
        for quality in qualities:
            label, rows = labels[Context(quality.context)], str(quality.rows)
            for name, model in models.items():
                found = getattr(quality, name)
                numbers = f"{found.density:.2f}", f"{found.rank_correlation:.2f}", f"{found.inside:.0%}"
                table.add_row(label, rows, model, *numbers)
                label = rows = ""
        console.print(table, "", summary(qualities), sep="\n", markup=False)
    return tell(problems)


def print_check(results: Path) -> int:
    """Check that every run's files are whole and fit together; return 1 if one does not, else 0."""
    unreadable: list[MetapbtError] = []
    directories = run_directories(results, unreadable.append)
    for error in unreadable:
        print(error)
    if not directories and not unreadable:
        raise no_runs(results)
    problems = len(unreadable)
    for directory in _with_a_bar(directories):
        found = problem_in(directory)
        if found:
            problems += 1
            print(f"{directory.path}: {found}")
    print(f"{counted(len(directories) + len(unreadable), 'run')} checked, {problems} with problems")
    return 1 if problems else 0


def _with_a_bar(directories: Sequence[RunDirectory]) -> Iterable[RunDirectory]:
    """The directories, with a bar that tells how many have been had, where somebody sees it."""
    console = Console(stderr=True)
    return track(directories, "checking", console=console, transient=True) if console.is_terminal else directories


def export(results: Path, file: Path) -> int:
    """Write all records as one table: CSV, Parquet or JSON (a list of rows), by the file's ending.

    What Parquet has no type for, such as a hyperparameter that is a number or a word, is JSON in it.

    Raises:
        MetapbtError: the ending is another one, or there are no records.
    """
    if file.suffix not in (".csv", ".parquet", ".json"):
        raise MetapbtError(f"--to must end in .csv, .parquet or .json, got {file}")
    problems: list[MetapbtError] = []
    frame = read_records(some_runs(results, problems), problems.append)
    if frame.empty:
        raise _nothing_recorded(results, problems)
    with atomic_file(file) as temporary:
        if file.suffix == ".csv":
            frame.to_csv(temporary, index=False)
        elif file.suffix == ".parquet":
            parquet.write_table(from_frame(frame), temporary)
        else:
            temporary.write_text(_json(frame), encoding="utf-8")
    print(f"{file}: {counted(len(frame), 'record')}")
    return tell(problems)


def _json(frame: pd.DataFrame) -> str:
    """Its rows, every digit of their numbers; null for what is no number."""
    import pandas as pd

    def plain(value: object) -> object:
        return None if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)) else value

    rows = [{name: plain(value) for name, value in row.items()} for row in frame.to_dict("records")]
    return json.dumps(rows, indent=1, ensure_ascii=False)


def some_runs(results: Path, problems: list[MetapbtError]) -> list[RunInfo]:
    """The runs that can be read; what is wrong with the others is added to ``problems``."""
    runs = find_runs(results, problems.append)
    if not runs and not problems:
        raise no_runs(results)
    return runs


def no_runs(results: Path) -> MetapbtError:
    """What is said where there is nothing."""
    return MetapbtError(f"no runs under {results}")


def _nothing_recorded(results: Path, problems: Sequence[MetapbtError]) -> MetapbtError:
    tell(problems)
    return MetapbtError(f"no generation has finished yet under {results}")


def new_table(*headings: str, title: str | None = None) -> Table:
    """A table that folds what is too long for the terminal, instead of cutting it off."""
    table = Table(title=title)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _print_rows(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table that may be long: where nothing is folded, many rows are one to Rich, which takes long for each."""
    console, table = new_console(), new_table(*headings)
    widths = [max(map(cell_len, column)) + 3 for column in zip(headings, *rows, strict=True)]
    together = _TOGETHER if sum(widths) < console.width else 1
    for start in range(0, len(rows), together):
        table.add_row(*(Text("\n".join(cells)) for cells in zip(*rows[start : start + together], strict=True)))
    console.print(table)


def new_console() -> Console:
    """Where tables are printed."""
    # Rich would wrap a redirected table at 80 columns; a file has room.
    console = Console()
    return console if console.is_terminal else Console(width=200)
