"""Areas under the learning curves: the mean return over training, for each context and seed."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from metapbt.report.figures.by_context import draw_means
from metapbt.report.figures.final_returns import final_data
from metapbt.report.figures.style import SCORE_LABEL, styled
from metapbt.report.groups import Group


def area_data(group: Group) -> pd.DataFrame:
    """Mean area of finished runs with its interval over seeds, for each context and method; rows as ``final.csv``."""
    return final_data(group, "area")


@styled
def draw_area(
    summary: pd.DataFrame, runs: pd.DataFrame, *, feature: str | None = None, width: float | None = None
) -> Figure:
    """Mean returns over training with intervals and every seed beside them; hollow points have not finished.

    Args:
        summary: as ``area.csv``: a row for each context and method.
        runs: as ``final_runs.csv``: a row for each run with its ``area``.
        feature: what the contexts differ in; the columns between ``learner`` and ``context`` if None.
        width: in inches, of a figure for a paper; None for the page.
    """
    return draw_means(summary, runs, "area", f"area: mean {SCORE_LABEL} over training", feature, width)
