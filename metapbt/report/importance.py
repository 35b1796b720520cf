"""Which hyperparameters mattered, early, in the middle and late: by what held-out rows lose without them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metapbt.memory.columns import RecordColumns
from metapbt.report.statistics import Array
from metapbt.store.results import from_frame
from metapbt.store.table import CONTEXT, HYPERPARAMETER
from metapbt.surrogates.copula import gaussian_copula

STAGES = ("early", "middle", "late")
WHOLE = "whole run"
MIN_ROWS = 24  # of a stage: of fewer nothing can be told
MIN_CONFIGURATIONS = 8  # different ones: four members that never change tell nothing of three hyperparameters
MIN_RUNS = 4  # from which on whole runs are held out
FOLDS = 5
TREES = 60
LEAF = 3  # rows
PERMUTATIONS = 5
RESAMPLES = 1000
NEEDED = (
    "run_id", "generation", "member", "parent", "parent_generation", "restart", "failed", "teacher_generation",
    "train_return", "eval_return", "env_steps",
)  # fmt: skip
COLUMNS = ("stage", "hyperparameter", "importance", "low", "high", "rows", "predictive")

Whole = NDArray[np.int_]


@dataclass(frozen=True)
class _Rows:
    """What intervals of one stage did; arrays of one length."""

    inputs: Array  # hyperparameters, then what else a forest may look at
    changes: Array  # less those of the same time in the same context, as standard scores
    clusters: Whole  # what is held out, and drawn anew, together
    configurations: int  # different ones


def importance(records: pd.DataFrame, stages: int = 3) -> pd.DataFrame:
    r"""How much of what is predicted of an interval's change of return hangs on each hyperparameter.

    A random forest (Breiman, 2001) predicts the change of return over an interval from the hyperparameters, the return
    before, the time and the context. What all members of a time and a context share is taken off first: hyperparameters
    did not do it; and changes count by their rank (their Gaussian copula), for a few of them are far larger than the
    others. A hyperparameter's importance is half of what its permutation adds to the squared error of rows that the
    forest did not learn from (Fisher et al., 2019, model reliance), as a share of the variance: of a perfect forest and
    hyperparameters that vary independently its total Sobol index (Jansen, 1999). So 0 says that nothing hangs on it,
    and 1 that all does; interactions count for each that takes part.

    Rows that hang together are held out together, and drawn together for the 95% intervals (percentile bootstrap):
    those of a run where there are as many as four runs, else those with one configuration in one run.

    Args:
        records: those of one run or of several, with the columns of ``records.parquet`` and, of several runs in several
            places, ``run_dir``, as `metapbt.store.results.read_records` gives them.
        stages: into how many equal parts each run's steps are divided: 3, or 1 for the whole run.

    Returns:
        A row for each stage and hyperparameter: ``stage`` (``early``, ``middle``, ``late``; ``whole run``),
        ``hyperparameter``, ``importance``, ``low`` and ``high``, ``rows``, and ``predictive``: the share of the
        held-out rows' variance that the forest predicts. Where that is not above 0 beyond doubt, or there are too few
        rows, it cannot be told what matters: importance and interval are NaN.
    """
    labels = STAGES if stages == len(STAGES) else (WHOLE,)
    names = [column for column in records.columns if column.startswith(HYPERPARAMETER)]
    found = []
    for label, rows in zip(labels, _staged(records, names, len(labels)), strict=True):
        found += _judged(label, rows, [name.removeprefix(HYPERPARAMETER) for name in names])
    return pd.DataFrame(found, columns=list(COLUMNS))


def untold(rows: pd.DataFrame) -> str | None:
    """Why it cannot be told what mattered in a stage, in words; None where it can.

    Args:
        rows: of `importance`, those of one stage.
    """
    if rows["importance"].notna().any():
        return None
    count = int(rows["rows"].max()) if len(rows) else 0
    if rows["predictive"].isna().all():
        return f"cannot be told: too few intervals to compare, or too few configurations in them ({count} intervals)"
    return f"cannot be told: {count} intervals do not predict those held out"


def _staged(records: pd.DataFrame, names: Sequence[str], stages: int) -> list[_Rows]:
    """The rows of each stage."""
    nothing = _Rows(np.empty((0, len(names))), np.empty(0), np.empty(0, dtype=int), 0)
    if records.empty:
        return [nothing] * stages
    own = records.assign(run_id=records["run_dir"]) if "run_dir" in records else records
    kept = [name for name in NEEDED if name in own]
    found = RecordColumns.of(from_frame(own.reset_index(drop=True)[kept])).transitions()
    if not len(found.rows):
        return [nothing] * stages
    lines = records.iloc[found.rows]
    contexts = _context_numbers(lines)
    ends = np.zeros(int(found.runs.max()) + 1)
    np.maximum.at(ends, found.runs, found.steps_before + found.steps)
    middle = (found.steps_before + found.steps / 2) / ends[found.runs]
    stage = np.minimum((middle * stages).astype(int), stages - 1)
    usual = float(np.median(found.steps))
    times = np.round(found.steps_before / usual).astype(int)
    slopes = (found.returns_after - found.returns_before) / found.steps * usual
    inputs = np.column_stack([*(_codes(lines[name]) for name in names), found.returns_before, times, contexts])
    several = len(np.unique(found.runs)) >= MIN_RUNS
    configurations = _numbered(found.runs, *(_numbered(column) for column in inputs[:, : len(names)].T))
    parts = []
    for number in range(stages):
        here = np.flatnonzero(stage == number)
        together = _numbered(contexts[here], times[here])
        counts = np.bincount(together)
        alone = counts[together] < 2 if len(here) else np.zeros(0, dtype=bool)
        here, together = here[~alone], together[~alone]
        clusters = found.runs[here] if several else configurations[here]
        changes = slopes[here] - _means(slopes[here], together)
        deviation = np.sqrt(_means(changes**2, contexts[here]))
        scaled = np.divide(changes, deviation, out=np.zeros_like(changes), where=deviation > 0)
        different = len(np.unique(configurations[here]))
        parts.append(_Rows(inputs[here], gaussian_copula(scaled), _numbered(clusters), different))
    return parts


def _judged(stage: str, rows: _Rows, names: Sequence[str]) -> list[tuple[object, ...]]:
    count, clusters = len(rows.changes), len(np.unique(rows.clusters))
    if count < MIN_ROWS or rows.configurations < MIN_CONFIGURATIONS or np.ptp(rows.changes) == 0:
        return [(stage, name, np.nan, np.nan, np.nan, count, np.nan) for name in names]
    constant, error, without = _held_out(rows, len(names))
    # Of each cluster how much there is to predict, what is left, and what more is left without each hyperparameter.
    sums = np.column_stack([constant, constant - error, (without - error[:, None]) / 2])
    sums = np.stack([np.bincount(rows.clusters, column, minlength=clusters) for column in sums.T], axis=1)
    drawn = np.random.default_rng(0).multinomial(clusters, np.full(clusters, 1 / clusters), size=RESAMPLES) @ sums
    shares = drawn[:, 1:] / np.maximum(drawn[:, :1], 1e-12)
    low, high = np.minimum(np.quantile(shares, [0.025, 0.975], axis=0), 1.0)
    total = sums.sum(axis=0)
    whole = np.minimum(total[1:] / total[0], 1.0)
    told = low[0] > 0
    return [
        (stage, name, *((whole[place], low[place], high[place]) if told else (np.nan,) * 3), count, whole[0])
        for place, name in enumerate(names, 1)
    ]


def _held_out(rows: _Rows, hyperparameters: int) -> tuple[Array, Array, Array]:
    """Squared errors of rows not learned from, ``n``: of the mean, of a forest, and without each (``n x d``)."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.model_selection import GroupKFold

    rng = np.random.default_rng(0)
    x, y = rows.inputs, rows.changes
    constant, error, without = np.empty(len(y)), np.empty(len(y)), np.empty((len(y), hyperparameters))
    folds = GroupKFold(min(FOLDS, len(np.unique(rows.clusters))))
    for taught, asked in folds.split(x, y, rows.clusters):
        forest = RandomForestRegressor(TREES, min_samples_leaf=LEAF, random_state=0).fit(x[taught], y[taught])
        constant[asked] = (y[asked] - y[taught].mean()) ** 2
        # One call for all: a forest's answer costs as much for a thousand rows as for ten.
        questions = [x[asked]]
        for column in range(hyperparameters):
            for _ in range(PERMUTATIONS):
                changed = x[asked].copy()
                changed[:, column] = rng.choice(x[:, column], len(asked))
                questions.append(changed)
        answers = forest.predict(np.concatenate(questions)).reshape(len(questions), len(asked))
        errors = (y[asked] - answers) ** 2
        error[asked] = errors[0]
        without[asked] = errors[1:].reshape(hyperparameters, PERMUTATIONS, -1).mean(axis=1).T
    return constant, error, without


def _codes(column: pd.Series) -> Array:
    """A hyperparameter as numbers, as a forest takes them; NaN where it does not exist."""
    if column.dtype != object and pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    texts = [None if value is None or value is pd.NA else _text(value) for value in column]
    order = {text: float(place) for place, text in enumerate(sorted({text for text in texts if text is not None}))}
    return np.array([np.nan if text is None else order[text] for text in texts])


def _text(value: object) -> str:
    return f"{value:030.12f}" if isinstance(value, float) else json.dumps(value, default=str)


def _context_numbers(lines: pd.DataFrame) -> Whole:
    names = [name for name in lines.columns if name.startswith(CONTEXT)]
    if not names:
        return np.zeros(len(lines), dtype=int)
    return lines.groupby(names, dropna=False, sort=False).ngroup().to_numpy().astype(int)


def _numbered(*columns: NDArray[Any]) -> Whole:
    """Numbers from 0 for the combinations of columns of numbers."""
    if not len(columns[0]):
        return np.zeros(0, dtype=int)
    found = columns[0]
    for column in columns[1:]:
        other = np.unique(column, return_inverse=True)[1]
        found = np.unique(found, return_inverse=True)[1] * (other.max() + 1) + other
    return np.asarray(np.unique(found, return_inverse=True)[1])


def _means(values: Array, groups: Whole) -> Array:
    """Of each value the mean of its group."""
    if not len(values):
        return values
    return (np.bincount(groups, values) / np.maximum(np.bincount(groups), 1))[groups]
