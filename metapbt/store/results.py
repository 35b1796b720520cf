"""Many runs at once: what there is under a results directory."""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from metapbt.errors import MetapbtError
from metapbt.history import Context, History
from metapbt.history.record import HUGE, Record
from metapbt.log import LOGGER
from metapbt.store.concatenate import concatenated
from metapbt.store.description import Description
from metapbt.store.done import Done
from metapbt.store.journal import read_journal
from metapbt.store.parquet import check_ends, row_count
from metapbt.store.reading import Absent, Removed, Unreadable, if_there
from metapbt.store.run_directory import RunDirectory, run_id
from metapbt.store.table import (
    AS_JSON,
    CONTEXT,
    HYPERPARAMETER,
    NULLABLE,
    Identity,
    json_columns,
    read_table,
    to_records,
    to_table,
)

if TYPE_CHECKING:
    import pandas as pd

#: Is told of each file, run or directory that cannot be read.
OnProblem = Callable[[MetapbtError], None]
_Read = TypeVar("_Read")
#: A file in a folder of results that ships with metapbt: it says which version of these it is.
SHIPPED = "SHIPPED"
_TRIES = 30  # of reading a run whose files are replaced again and again
_PAUSE = 0.01  # seconds before a file that was not there is looked for again


@dataclass(frozen=True, kw_only=True)
class RunInfo(Description):
    """What can be known of a run without its records: what it is, and what became of it.

    Attributes:
        path: the run directory.
        state: ``done``, ``running`` (on this machine), ``failed``, ``stopped`` (the same command goes on), or
            ``unknown``: whether somebody works on it cannot be seen, as in another user's directory.
        error: what ended a failed run.
        ancestry: the contexts that its memory is made of, over any number of hops.
        test_return: of the best agent, over episodes that no decision saw; None until the run is done.
        done: what the finished run says of itself; None until then.
    """

    path: Path
    state: str
    error: str | None
    ancestry: frozenset[Context]
    test_return: float | None
    done: Done | None = None

    @property
    def identity(self) -> Identity:
        """What all of its records share."""
        place = run_id(self.env, self.context, self.name, self.seed)
        return Identity(place, self.env, self.context, self.method, self.name, self.learner, self.seed)


def warn(error: MetapbtError) -> None:
    """Say in the log what cannot be read."""
    LOGGER.warning("%s", error)


def find_runs(results: Path, on_problem: OnProblem = warn) -> list[RunInfo]:
    """Find every run under a directory, sorted by path.

    Hidden directories are passed over, and so is the memory that ships, which lies among a checkout's results, unless
    it is asked for.

    Args:
        results: a directory that holds run directories, at any depth.
        on_problem: is told of what cannot be read; without it the log is. A run is left out only where it cannot be
            told what it is.

    Raises:
        MetapbtError: the directory does not exist.
    """
    found = (find_run(directory, on_problem) for directory in run_directories(results, on_problem))
    return [run for run in found if run is not None]


def find_run(directory: RunDirectory, on_problem: OnProblem = warn) -> RunInfo | None:
    """What can be known of the run in a directory; None where it cannot be told what it is.

    Args:
        directory: of the run.
        on_problem: as of `find_runs`.
    """
    found = None

    def look() -> None:
        nonlocal found
        found = described(directory)
        for file in (directory.records, directory.memory):
            check_ends(file)

    try:
        undisturbed(directory, look)
    except Removed:
        pass
    except MetapbtError as error:
        on_problem(error)
    return found


def run_directories(results: Path, on_problem: OnProblem) -> list[RunDirectory]:
    """The directories of every run under a directory, whole or not, sorted by path.

    Raises:
        MetapbtError: the directory does not exist.
    """
    try:
        mode = results.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = 0
    except OSError as error:
        raise MetapbtError(f"{results} cannot be read: {error.strerror or error}") from error
    if not stat.S_ISDIR(mode):
        raise MetapbtError(f"{results} is no directory")
    return [RunDirectory(Path(path)) for path in sorted(_run_paths(results, on_problem))]


def read_run(run: RunInfo) -> pa.Table | None:
    """The records of a run as far as they are written; None where there are none.

    The journal of a run that goes on is read, and the table of one that is done, which says the same.

    Raises:
        MetapbtError: what was written cannot be read.
    """
    table = _table(run)
    if table is not None:
        return table
    history = _journalled(run)
    return to_table(run.identity, history) if len(history) else None


def count_records(run: RunInfo) -> int:
    """How many records a run has written so far.

    Raises:
        MetapbtError: what was written cannot be read.
    """
    if run.done is not None and run.done.records is not None:
        return run.done.records
    directory = RunDirectory(run.path)
    count = row_count(directory.records) if run.state == "done" or not directory.journal.exists else None
    return len(_journalled(run)) if count is None else count


def count_failed(run: RunInfo) -> int:
    """How many of a run's intervals failed for good so far, whose members were replaced.

    Raises:
        MetapbtError: what was written cannot be read.
    """
    if run.done is not None:
        return run.done.failed or 0
    return sum(record.failed for record in _journalled(run))


def read_history(run: RunInfo) -> History:
    """The history of a run as far as it is written.

    Raises:
        MetapbtError: what was written cannot be read.
    """
    table = _table(run)
    if table is None:
        return _journalled(run)
    return history_of(run, (record for _, record in to_records(table)))


def history_of(run: RunInfo, records: Iterable[Record]) -> History:
    """The history of a run that has these records."""
    return History(tuple(records), run.metric, run.size, tested=None if run.done is None else run.done.best)


def _table(run: RunInfo) -> pa.Table | None:
    """The table of a run, if that is what its records are to be read from, and if it is there."""
    directory = RunDirectory(run.path)
    if run.state != "done" and directory.journal.exists:
        return None
    try:
        table = undisturbed(directory, lambda: if_there(lambda: read_table(directory.records)))
    except Removed:
        return None
    if table is None:
        return None
    count = run.done.records if run.done else None
    # A run may have been begun anew in the place of the one that was found: then its journal is the truth.
    return table if count is None or len(table) == count else None


def _journalled(run: RunInfo) -> History:
    directory = RunDirectory(run.path)
    try:
        content = undisturbed(directory, lambda: if_there(lambda: read_journal(directory.journal.path)))
    except Removed:
        content = None
    return history_of(run, content.records if content is not None else ())


def read_records(runs: Iterable[RunInfo], on_problem: OnProblem = warn) -> pd.DataFrame:
    """Read the records of runs into one data frame, as far as they are written.

    Columns: those of ``records.parquet``, ``run_dir`` (a string), and ``best``: true for the member of its generation
    with the best training return, whatever the run's metric. So its evaluation is that of one member, and not the best
    of several noisy ones.

    Args:
        runs: whose records.
        on_problem: is told of each run whose records cannot be read; without it the log is.
    """
    import pandas as pd

    tables = []
    for run in runs:
        try:
            table = read_run(run)
        except MetapbtError as error:
            on_problem(error)
            continue
        if table is not None:
            tables.append((run, table))
    return records_of(tables) if tables else pd.DataFrame()


def records_of(tables: Sequence[tuple[RunInfo, pa.Table]]) -> pd.DataFrame:
    """The records of runs that were read, at least one, as one data frame with the columns of `read_records`."""
    import numpy as np
    import pandas as pd

    named = [
        table.append_column("run_dir", pa.array([str(run.path)] * len(table), pa.string())) for run, table in tables
    ]
    frame = to_frame(concatenated(named))
    trained, evaluated = (
        frame[name].where(np.isfinite(frame[name])).clip(-HUGE, HUGE) for name in ("train_return", "eval_return")
    )
    trained, evaluated = trained.fillna(evaluated), evaluated.fillna(trained)
    # Of equal ones that whose two returns are better, then the first: as `History.best_among` by training returns.
    keys = pd.DataFrame({"sound": ~frame["failed"], "trained": trained, "performance": trained + evaluated})
    ranked = frame.loc[keys.sort_values([*keys], ascending=False, kind="stable").index]
    frame["best"] = frame.index.isin(ranked.drop_duplicates(["run_dir", "generation"]).index)
    return frame


def to_frame(table: pa.Table) -> pd.DataFrame:
    """A table of records as a data frame."""
    import pandas as pd

    frame: pd.DataFrame = table.to_pandas()
    for name in json_columns(table):
        values = [None if text is None else json.loads(text) for text in table[name].to_pylist()]
        numbers = all(value is None or _is_float(value) for value in values)
        frame[name] = pd.Series(values, index=frame.index, dtype=float if numbers else object)
    return frame.astype(dict.fromkeys(NULLABLE, "Int64"))


def _is_float(value: object) -> bool:
    return type(value) is float or (type(value) is int and abs(value) <= sys.float_info.max)


def from_frame(frame: pd.DataFrame) -> pa.Table:
    """A data frame of records as a table, which `to_frame` reads back: values of several types are JSON in it."""
    texts: dict[str, Any] = {}
    fields: dict[str, pa.Field] = {}
    for name in frame.columns:
        if name.startswith((CONTEXT, HYPERPARAMETER)) and frame[name].dtype == object:
            kinds = {type(value) for value in frame[name] if value is not None}
            if kinds not in (set(), {str}, {bool}):
                texts[name] = [None if value is None else json.dumps(value) for value in frame[name]]
                fields[name] = pa.field(name, pa.string(), metadata=AS_JSON)
    table = pa.Table.from_pandas(frame.assign(**texts), preserve_index=False)
    return table.cast(pa.schema([fields.get(field.name, field) for field in table.schema], table.schema.metadata))


def _run_paths(results: Path, on_problem: OnProblem) -> Iterator[str]:
    def unreadable(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):  # removed meanwhile
            on_problem(MetapbtError(f"{error.filename} cannot be read: {error.strerror}"))

    seen: set[tuple[int, int]] = set()
    tops = [os.fspath(results)]
    while tops:  # links to folders come last, so that what they lead to is called what it is where it lies below, too
        for folder, inner, files in os.walk(tops.pop(0), onerror=unreadable):
            if not _is_new(folder, seen):
                inner.clear()
            elif "journal" in files and ("config.yaml" in files or _is_of_a_run(Path(folder))):
                inner.clear()
                yield folder
            elif SHIPPED in files and folder != os.fspath(results):
                inner.clear()
            else:
                inner[:] = [name for name in inner if not name.startswith(".")]
                tops += [path for name in inner if os.path.islink(path := os.path.join(folder, name))]  # noqa: PTH114, PTH118
                if "config.yaml" in files:  # other programs have such files, too, and checkpoints: they hide no runs
                    yield folder


def _is_new(folder: str, seen: set[tuple[int, int]]) -> bool:
    """Whether a folder was not come to before, by whatever way; then it is one that was."""
    try:
        found = os.stat(folder)  # noqa: PTH116
    except OSError:  # removed meanwhile
        return False
    mark = found.st_dev, found.st_ino
    new = mark not in seen
    seen.add(mark)
    return new


def _is_of_a_run(folder: Path) -> bool:
    """Whether a journal without a configuration says that it had one; a replay's does not."""
    try:
        return "run" in (RunDirectory(folder).journal.head() or {})
    except MetapbtError:
        return False


def describe(directory: RunDirectory) -> RunInfo:
    """What can be known of a run without its records.

    Raises:
        MetapbtError: its configuration, or what tells how far it came, is damaged.
    """
    return undisturbed(directory, lambda: described(directory))


def undisturbed(directory: RunDirectory, read: Callable[[], _Read]) -> _Read:
    """Read files of a run; again, where that fails while they are replaced, or removed for another run to begin.

    Raises:
        Removed: no run is there (any more).
        MetapbtError: as ``read`` does, though nothing was replaced.
    """
    before = None
    for _ in range(_TRIES):
        try:
            return read()
        except MetapbtError as error:
            if not directory.exists:
                raise Removed(directory.path) from error
            now = directory.stamp
            if isinstance(error, Absent):  # it is being removed, or another has begun in its place, or it is lost
                time.sleep(_PAUSE)
            elif now == before:
                raise
            before = now
    return read()


def described(directory: RunDirectory) -> RunInfo:
    """As `describe`, by one look, which a writer may disturb."""
    busy: bool | None = False
    done = directory.finished()
    if done is None:
        busy = directory.busy
        done = directory.finished()  # it says so before it lets go
    failure = None if done else directory.failure
    head = directory.journal.head() or {}
    if done is not None and done.journal is not None and directory.journal.exists and done.journal != head.get("crc32"):
        raise Unreadable(directory.journal.path, "is cut at entry 1, or of another run than DONE")
    found, ancestry = directory.describe(head)
    idle = "failed" if failure is not None else "stopped" if busy is False else "unknown"
    state = "done" if done else "running" if busy else idle
    return RunInfo(
        **{field.name: getattr(found, field.name) for field in fields(found)},
        path=directory.path,
        state=state,
        error=failure if state == "failed" else None,
        ancestry=ancestry,
        test_return=done.test_return if done else None,
        done=done,
    )
