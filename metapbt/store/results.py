"""Many runs at once: what there is under a results directory."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from metapbt.errors import MetapbtError
from metapbt.history import Context, History
from metapbt.store.journal import read_journal
from metapbt.store.memory_table import read_ancestry
from metapbt.store.run_directory import RunDirectory, run_id
from metapbt.store.table import Identity, read_table, row_count, to_records, to_table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RunInfo:
    """What can be known of a run without its records.

    Attributes:
        path: the run directory.
        env: the environment's name.
        method: the method's name.
        name: what the run is called in its path and in reports: the method, unless it was given another name.
        learner: the learner's name.
        seed: of the run.
        context: of the environment.
        state: ``done``, ``running`` (on this machine), ``failed``, or ``stopped`` (the same command goes on).
        error: what ended a failed run.
        generations: planned generations.
        metric: the return that selection looks at.
        size: members of the population.
        ancestry: the contexts that its memory is made of, over any number of hops.
        test_return: of the best agent, over episodes that no decision saw; None until the run is done.
    """

    path: Path
    env: str
    method: str
    name: str
    learner: str
    seed: int
    context: Context
    state: str
    error: str | None
    generations: int
    metric: str
    size: int
    ancestry: frozenset[Context]
    test_return: float | None

    @property
    def identity(self) -> Identity:
        """What all of its records share."""
        place = run_id(self.env, self.context, self.name, self.seed)
        return Identity(place, self.env, self.context, self.method, self.name, self.learner, self.seed)


def find_runs(results: Path) -> list[RunInfo]:
    """Find every run under a directory, sorted by path; hidden directories are passed over.

    Raises:
        MetapbtError: the directory does not exist, or a run's configuration is damaged.
    """
    if not results.is_dir():
        raise MetapbtError(f"{results} is no directory")
    return [describe(RunDirectory(path)) for path in sorted(_run_paths(results))]


def read_run(run: RunInfo) -> pa.Table | None:
    """The records of a run as far as they are written; None where there are none.

    The journal of a run that goes on is read, and the table of one that is done, which says the same.

    Raises:
        MetapbtError: what was written cannot be read.
    """
    if _by_its_table(run):
        return read_table(RunDirectory(run.path).records)
    history = _journalled(run)
    return to_table(run.identity, history) if len(history) else None


def count_records(run: RunInfo) -> int:
    """How many records a run has written so far.

    Raises:
        MetapbtError: what was written cannot be read.
    """
    return row_count(RunDirectory(run.path).records) if _by_its_table(run) else len(_journalled(run))


def read_history(run: RunInfo) -> History:
    """The history of a run as far as it is written.

    Raises:
        MetapbtError: what was written cannot be read.
    """
    if not _by_its_table(run):
        return _journalled(run)
    table = read_table(RunDirectory(run.path).records)
    return History(tuple(record for _, record in to_records(table)), run.metric, run.size)


def _by_its_table(run: RunInfo) -> bool:
    directory = RunDirectory(run.path)
    return directory.records.exists() and (run.state == "done" or not directory.journal.exists)


def _journalled(run: RunInfo) -> History:
    journal = RunDirectory(run.path).journal
    records = read_journal(journal.path).records if journal.exists else ()
    return History(records, run.metric, run.size)


def read_records(runs: Sequence[RunInfo]) -> pd.DataFrame:
    """Read the records of runs into one data frame, as far as they are written.

    Columns: those of ``records.parquet``, ``run_dir`` (a string), and ``best``: true for the best member of its
    generation, that with the best return by the run's metric.
    """
    import pandas as pd

    frames = []
    for run in runs:
        table = read_run(run)
        if table is None:
            continue
        frame = to_frame(table)
        frame["run_dir"] = str(run.path)
        other = "eval_return" if run.metric == "train_return" else "train_return"
        values = frame[run.metric].fillna(frame[other]).fillna(-math.inf)
        frame["best"] = values.groupby(frame["generation"]).rank(method="first", ascending=False) == 1
        frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def to_frame(table: pa.Table) -> pd.DataFrame:
    """A table of records as a data frame."""
    frame: pd.DataFrame = table.to_pandas()
    nullable = ("parent", "parent_generation", "teacher_member", "teacher_generation", "until_steps", "spent_steps")
    return frame.astype(dict.fromkeys(nullable, "Int64"))


def _run_paths(results: Path) -> Iterator[Path]:
    for folder, inner, files in os.walk(results):
        inner[:] = [name for name in inner if not name.startswith(".")]
        if "config.yaml" in files:
            inner.clear()
            yield Path(folder)


def describe(directory: RunDirectory) -> RunInfo:
    """What can be known of a run without its records.

    Raises:
        MetapbtError: its configuration is damaged.
    """
    config = directory.config()
    try:
        env, budget, method = config["env"], config["budget"], config["method"]["name"]
        failure, done = directory.failure, directory.finished()
        state = "done" if done else "running" if directory.busy else "failed" if failure else "stopped"
        return RunInfo(
            path=directory.path,
            env=env,
            method=method,
            name=config.get("name") or method,
            learner=config["learner"]["name"],
            seed=config["seed"],
            context=Context(config["features"], config["context"]),
            state=state,
            error=failure if state == "failed" else None,
            generations=math.ceil(budget["steps"] / budget["interval"]),
            metric=config["population"]["metric"],
            size=config["population"]["size"],
            ancestry=read_ancestry(directory.memory),
            test_return=done.test_return if done else None,
        )
    except (KeyError, TypeError) as error:
        raise MetapbtError(f"{directory.path}/config.yaml is no configuration of a run: {error!r}") from error
