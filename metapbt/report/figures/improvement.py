"""Probability of improvement: how often a run of one method beats one of another (Agarwal et al., 2021)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from metapbt.report.comparison import QUANTITIES, all_pairs, finished_runs, scores_of
from metapbt.report.figures.style import new_figure, quantity_label, styled
from metapbt.report.groups import Group
from metapbt.report.palette import method_styles
from metapbt.report.profiles import probability_of_improvement

COLUMNS = ["env", "learner", "quantity", "method", "baseline", "probability", "low", "high", "contexts", "runs", "tied"]


def improvement_data(group: Group, baseline: str | None = None) -> pd.DataFrame:
    """For each comparison of the verdict, the probability that a run of the method scores above one of the baseline.

    Of finished runs in the contexts that both have; ties count half; ``quantity`` is the ``final`` return or the
    ``area`` over the steps that all of these runs in a context have. Seeds are not paired. ``tied`` says that all
    scores of each context are equal.
    """
    rows, compared = [], all_pairs(group, baseline)
    for quantity in QUANTITIES:
        for pairs in compared:
            names = pairs.method, pairs.baseline
            both = [tuple(finished_runs(group, context, name) for name in names) for context in group.contexts]
            shared = [(one, other) for one, other in both if one and other]
            if shared:
                better, than = (
                    [scores_of(pair[side], quantity, [*pair[0], *pair[1]]) for pair in shared] for side in (0, 1)
                )
                runs = sum(map(len, better)) + sum(map(len, than))
                estimate = probability_of_improvement(better, than)
                tied = all(len(np.unique(np.concatenate(each))) == 1 for each in zip(better, than, strict=True))
                rows.append((group.env, group.learner, quantity, *names, *estimate, len(shared), runs, tied))
    return pd.DataFrame(rows, columns=COLUMNS)


@styled
def draw_improvement(data: pd.DataFrame, *, width: float | None = None) -> Figure:
    """A row for each comparison, a panel for each quantity; at one half neither method is better.

    Args:
        data: with the columns ``quantity``, ``method``, ``baseline``, ``probability``, ``low`` and ``high``, as
            ``improvement.csv``.
        width: in inches, of a figure for a paper; None for the page.
    """
    quantities = list(dict.fromkeys(data["quantity"]))
    rows = len(data[["method", "baseline"]].drop_duplicates())
    figure = new_figure(7.0 if width is None else width, (0.3 if width is None else 0.24) * rows + 0.75)
    panels = figure.subplots(1, len(quantities), sharey=True, squeeze=False)[0]
    styles = method_styles(data["method"])
    for axes, quantity in zip(panels, quantities, strict=True):
        shown = data[data["quantity"] == quantity]
        for row, line in enumerate(shown.to_dict("records")):
            style = styles[line["method"]]
            axes.hlines(row, line["low"], line["high"], color=style.color, linewidth=1.8)
            axes.plot(line["probability"], row, marker=style.marker, color=style.color, markersize=5.5)
        axes.axvline(0.5, color="0.4", linewidth=1)
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(rows - 0.5, -0.5)
        axes.set_xlabel(f"P(higher {quantity_label(quantity, width)})")
        axes.grid(False, axis="y")
    first = data[data["quantity"] == quantities[0]]
    panels[0].set_yticks(range(rows), [f"{m} > {b}" for m, b in zip(first["method"], first["baseline"], strict=True)])
    return figure
