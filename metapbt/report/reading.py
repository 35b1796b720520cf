"""Runs as reports read them: each once, and again only when its files have changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from metapbt.errors import MetapbtError
from metapbt.history import History
from metapbt.report.run import Run
from metapbt.store.reading import Unreadable
from metapbt.store.results import OnProblem, RunInfo, find_run, history_of, read_run, records_of, run_directories, warn
from metapbt.store.run_directory import RunDirectory
from metapbt.store.table import to_records

Tracked = Callable[[Sequence[RunDirectory]], Iterable[RunDirectory]]


@dataclass(frozen=True, eq=False)
class ReadRun:
    """A run that was read, as far as it was written then.

    Attributes:
        info: what it is.
        table: its records; None where there are none yet.
        stamp: of its files; two readings with the same stamp are the same.
    """

    info: RunInfo
    table: pa.Table | None
    stamp: Hashable

    @cached_property
    def run(self) -> Run:
        """Its returns over the steps of training."""
        if self.table is None:
            return Run.of(self.info, None)
        records = records_of([(self.info, self.table)])
        return Run.of(self.info, best_rows(records), records)

    @property
    def history(self) -> History:
        """All its records."""
        records = () if self.table is None else tuple(record for _, record in to_records(self.table))
        return history_of(self.info, records)


def name_of(path: Path, results: Path) -> str:
    """What notes and the page call a run: its place below the results, the part of links behind ``#run=``."""
    return path.relative_to(results).as_posix() if path.is_relative_to(results) else path.name


def best_rows(records: pd.DataFrame) -> pd.DataFrame:
    """Of records, that of the best member of each generation, as `Run.of` takes them.

    ``spent_steps`` is then what the generation cost, and ``failed`` how many of the run's intervals failed. Where
    several members share the best training return, as where there is a highest one, ``eval_return`` is the mean of
    theirs: the best of several noisy evaluations would be too high.
    """
    generations = [records["run_dir"], records["generation"]]
    # What a generation cost is known when its last member has reported.
    spent = records["spent_steps"].groupby(generations).transform("max")
    failed = records.groupby("run_dir")["failed"].transform("sum")
    highest = records["train_return"].where(records["best"]).groupby(generations).transform("max")
    tied = records["train_return"].eq(highest) & ~records["failed"]
    evaluated = records["eval_return"].where(tied & np.isfinite(records["eval_return"]))
    mean = evaluated.groupby(generations).transform("mean").fillna(records["eval_return"])
    return records.assign(spent_steps=spent, failed=failed, eval_return=mean)[records["best"]]


class _Known(NamedTuple):
    run: ReadRun | None
    problems: tuple[MetapbtError, ...]
    stamp: Hashable
    settled: bool


class RunReader:
    """Reads the runs under a directory, and keeps what it read until their files change.

    Attributes:
        results: the directory.
        reads: how many runs were read so far, again and again.
    """

    def __init__(self, results: Path) -> None:
        self.results = results
        self.reads = 0
        self._known: dict[Path, _Known] = {}

    def read(self, on_problem: OnProblem = warn, tracked: Tracked = iter) -> list[ReadRun]:
        """The runs as they are now, sorted by path.

        Args:
            on_problem: is told of what cannot be read.
            tracked: gives the run directories out one after another; a bar may look on.

        Raises:
            MetapbtError: the directory does not exist.
        """
        found = {}
        for directory in tracked(run_directories(self.results, on_problem)):
            known = self._known.get(directory.path)
            stamp = _stamp(directory)
            if known is None or known.stamp != stamp or not (known.settled or _as_before(known, directory)):
                known = self._read(directory, stamp)
            found[directory.path] = known
        self._known = found
        for known in found.values():
            for error in known.problems:
                on_problem(error)
        return [known.run for known in found.values() if known.run is not None]

    def _read(self, directory: RunDirectory, stamp: Hashable) -> _Known:
        self.reads += 1
        problems: list[MetapbtError] = []
        info = find_run(directory, problems.append)
        run = None
        if info is not None:
            try:
                run = ReadRun(info, read_run(info), (stamp, info.state))
                run.run  # noqa: B018 - reads its configuration, where levels are held out
            except MetapbtError as error:
                problems.append(error)
                run = None
        # A damaged file may be met twice, as it is looked at and as it is read.
        once = {error.path if isinstance(error, Unreadable) else str(error): error for error in problems}
        return _Known(run, tuple(once.values()), stamp, info is not None and info.state == "done")


def _as_before(known: _Known, directory: RunDirectory) -> bool:
    """Whether a run that has not ended still trains, or still does not: that changes no file."""
    return known.run is not None and (known.run.info.state == "running") == (directory.busy is True)


def _stamp(directory: RunDirectory) -> Hashable:
    try:
        journal = os.stat(directory.journal.path)  # noqa: PTH116
    except OSError:
        return directory.stamp
    return directory.stamp, journal.st_size, journal.st_mtime_ns
