"""One run as a report sees it: its returns over the steps of training, and what it came to."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from metapbt.history import Context, Ref
from metapbt.report.levels import Levels, levels_of
from metapbt.report.statistics import Array, area_under_curve, final_score
from metapbt.store.results import RunInfo


@dataclass(frozen=True)
class Run:
    """One run with its score curve.

    Attributes:
        context: of its environment.
        method: what the run is called: its method's name, or the label that it was given.
        seed: of the run.
        state: ``done``, ``running``, ``failed`` or ``stopped``.
        generations_planned: how many generations it has when it is done; None where nobody said.
        steps: environment steps that the run has spent for each member, shape ``(generations,)``. Those of a member,
            where nothing else was trained; candidates and students add to them.
        scores: evaluation return of the best member after each generation, shape ``(generations,)``.
        test_return: mean return of the best agent kept over fresh episodes; None where it was not measured.
        remembers: whether it learned from other contexts.
        chosen_by: the method, whatever the run is called.
        train_returns: training return of the best member of each generation, shape ``(generations,)``.
        train_return: that of the agent that was tested; of the last best member where none was.
        levels: on which levels it was trained, evaluated and tested; None where these are no others.
        failed: how many of its intervals failed for good, whose members were replaced.
        path: the run directory.
        metric: the return that its selection looked at.
        size: of its population.
        records: all its records, as rows of ``records.parquet``; empty where there are none.
        tested: whose agent was tested at the end; None before, and in old results.
    """

    context: Context
    method: str
    seed: int
    state: str
    generations_planned: int | None
    steps: Array
    scores: Array
    test_return: float | None
    remembers: bool
    chosen_by: str
    train_returns: Array
    train_return: float
    levels: Levels | None
    failed: int
    path: Path
    metric: str
    size: int
    records: pd.DataFrame = field(repr=False, compare=False)
    tested: Ref | None = None

    @classmethod
    def of(cls, info: RunInfo, rows: pd.DataFrame | None, records: pd.DataFrame | None = None) -> Run:
        """What can be said of a run.

        Args:
            info: the run.
            rows: the record of the best member of each generation, ``spent_steps`` being what the generation cost, and
                ``failed`` how many of the run's intervals failed; None where there are no records.
            records: all of them.
        """
        steps, scores, train_returns, train_return = np.empty(0), np.empty(0), np.empty(0), math.nan
        tested = info.done.best if info.done is not None else None
        if rows is not None:
            rows = rows.sort_values("generation")
            spent = rows["spent_steps"].to_numpy(dtype=np.float64, na_value=math.nan) / info.size
            own = rows["env_steps"].to_numpy(dtype=np.float64)
            steps = np.where(np.isnan(spent), own, spent)  # old results say only the latter; they had no candidates
            # Members of an asynchronous run need not end with the same generation, but none ends before the one before.
            steps = np.maximum.accumulate(steps)
            scores, train_returns = _finite(rows["eval_return"]), _finite(rows["train_return"])
            if tested is None:
                train_return = final_score(train_returns)
            else:  # which need not have the best training return of its generation
                among = rows if records is None else records
                is_tested = (among["generation"] == tested.generation) & (among["member"] == tested.member)
                train_return = final_score(_finite(among.loc[is_tested, "train_return"]))
        return cls(
            info.context,
            info.name,
            info.seed,
            info.state,
            info.generations,
            steps,
            scores,
            info.test_return,
            remembers=bool(info.ancestry),
            chosen_by=info.method,
            train_returns=train_returns,
            train_return=train_return,
            levels=levels_of(info),
            failed=0 if rows is None else int(rows["failed"].iloc[0]),
            path=info.path,
            metric=info.metric,
            size=info.size,
            records=pd.DataFrame() if records is None else records,
            tested=tested,
        )

    @property
    def finished(self) -> bool:
        """Whether the run has trained all its generations, so that its last score is its final one."""
        return self.state == "done"

    @property
    def final(self) -> float:
        """The test return; the score at the last generation so far where there is none."""
        return final_score(self.scores) if self.test_return is None else self.test_return

    @cached_property
    def curve(self) -> tuple[Array, Array]:
        """Its steps and scores without generations that have no score."""
        known = ~np.isnan(self.scores)
        return self.steps[known], self.scores[known]

    @cached_property
    def area(self) -> float:
        """Mean score over the steps so far."""
        return area_under_curve(*self.curve)


def _finite(column: pd.Series) -> Array:
    """A column of returns; what is not finite is absent, as in the run itself."""
    values = column.to_numpy(dtype=np.float64, copy=True)
    values[~np.isfinite(values)] = math.nan
    return values
