"""Many runs at once: what there is under a results directory."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from metapbt.errors import MetapbtError
from metapbt.store.run_directory import RunDirectory
from metapbt.store.table import read_table, to_records

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RunInfo:
    """What can be known of a run without its records.

    Attributes:
        path: the run directory.
        env: the environment's name.
        method: the method's name.
        learner: the learner's name.
        seed: of the run.
        context: every feature, changed or not.
        changed: only the features that differ from the environment's defaults.
        state: ``done``, ``running`` (on this machine), ``failed``, or ``stopped`` (the same command goes on).
        error: what ended a failed run.
        generations: planned generations.
        metric: the return that selection looks at.
        source_contexts: the contexts that a method with memory learned from.
    """

    path: Path
    env: str
    method: str
    learner: str
    seed: int
    context: dict[str, float]
    changed: dict[str, float]
    state: str
    error: str | None
    generations: int
    metric: str
    source_contexts: list[dict[str, float]]


def find_runs(results: Path) -> list[RunInfo]:
    """Find every run under a directory, sorted by path; hidden directories are passed over.

    Raises:
        MetapbtError: the directory does not exist, or a run's configuration is damaged.
    """
    if not results.is_dir():
        raise MetapbtError(f"{results} is no directory")
    return [_describe(RunDirectory(path)) for path in sorted(_run_paths(results))]


def read_records(runs: Sequence[RunInfo]) -> pd.DataFrame:
    """Read the records of runs into one data frame, as far as they are written.

    Columns: those of ``records.parquet`` (``context`` as a dict), ``run_dir`` (a string), and ``best``: true for the
    member whose ``eval_return`` is the run's score at its generation, that with the best return by the run's metric.
    """
    import pandas as pd

    frames = []
    for run in runs:
        file = RunDirectory(run.path).records
        if not file.exists():
            continue
        table = read_table(file)
        frame = table.to_pandas()
        frame["context"] = frame["context"].map(dict)
        frame["parent"] = frame["parent"].astype("Int64")
        frame["run_dir"] = str(run.path)
        values = pd.Series([record.value(run.metric) for _, record in to_records(table)], index=frame.index)
        ranks = values.fillna(-math.inf).groupby(frame["generation"]).rank(method="first", ascending=False)
        frame["best"] = ranks == 1
        frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _run_paths(results: Path) -> Iterator[Path]:
    for folder, inner, files in os.walk(results):
        inner[:] = [name for name in inner if not name.startswith(".")]
        if "config.yaml" in files:
            inner.clear()
            yield Path(folder)


def _describe(directory: RunDirectory) -> RunInfo:
    config = directory.config()
    try:
        env, budget = config["env"], config["budget"]
        failure = directory.failure
        state = "done" if directory.done else "running" if directory.busy else "failed" if failure else "stopped"
        return RunInfo(
            path=directory.path,
            env=env,
            method=config["method"]["name"],
            learner=config["learner"]["name"],
            seed=config["seed"],
            context=config["features"],
            changed=config["context"],
            state=state,
            error=failure if state == "failed" else None,
            generations=math.ceil(budget["steps"] / budget["interval"]),
            metric=config["population"]["metric"],
            source_contexts=_source_contexts(directory),
        )
    except (KeyError, TypeError) as error:
        raise MetapbtError(f"{directory.path}/config.yaml is no configuration of a run: {error!r}") from error


def _source_contexts(directory: RunDirectory) -> list[dict[str, float]]:
    if not directory.memory.exists():
        return []
    contexts = read_table(directory.memory)["context"].to_pylist()
    return [dict(items) for items in dict.fromkeys(tuple(context) for context in contexts)]
