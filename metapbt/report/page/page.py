"""The report's page: what the template needs, computed from the groups and their numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from metapbt.log import counted
from metapbt.report.comparison import ALL_CONTEXTS, NORMALISED, POINTS, QUANTITIES
from metapbt.report.generalisation import RETURNS
from metapbt.report.groups import Group
from metapbt.report.run import Run
from metapbt.report.verdict import Verdict, sentences
from metapbt.report.wording import format_estimate, seeds_line

STATES = ("done", "running", "stopped", "failed")


class Section(NamedTuple):
    """One group with what is said of it, and the numbers that its page section shows as tables."""

    group: Group
    verdicts: tuple[Verdict, ...]
    final: pd.DataFrame
    comparison: pd.DataFrame
    generalisation: pd.DataFrame

    @property
    def sentences(self) -> list[str]:
        """What is said first: the verdicts, and whether they may change."""
        return sentences(self.group, self.verdicts)


class FigureText(NamedTuple):
    """What the page says about one figure: its file name, heading, caption and CSV files."""

    name: str
    heading: str
    caption: str
    tables: tuple[str, ...]


def render_page(sections: Sequence[Section]) -> str:
    """The HTML of the whole report; links are relative to the report's directory."""
    environment = Environment(
        loader=PackageLoader("metapbt.report.page", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["estimate"] = lambda row, sign="": format_estimate(row[0], row[1], row[2], sign)
    environment.filters["seeds_line"] = lambda cell: seeds_line(cell["status"], cell["finished"], cell["low"])
    environment.filters["counted"] = lambda things, thing: counted(len(things), thing)
    return environment.get_template("report.html.jinja").render(
        version=version("metapbt"),
        sections=[_section(section) for section in sections],
    )


def _section(section: Section) -> dict[str, object]:
    group = section.group
    states = Counter(run.state for run in group.runs)
    return {
        "id": group.folder.replace("/", "-"),
        "group": group,
        "verdict": section.sentences,
        "states": {state: states[state] for state in (*STATES, *sorted(set(states) - set(STATES))) if states[state]},
        "incomplete": _incomplete(group),
        "missing": _missing(group),
        "final": _final_rows(section),
        "means": _mean_rows(section),
        "differences": _difference_rows(section),
        "generalisation": _generalisation_rows(section),
        "figures": _figures(group),
    }


def _final_rows(section: Section) -> list[dict[str, object]]:
    rows = []
    for context in section.group.contexts:
        label = section.group.labels[context]
        cells = section.final[section.final["context"] == label]
        rows.append(
            {
                "context": label,
                "source": context in section.group.sources,
                "cells": cells.to_dict("records"),
            }
        )
    return rows


def _mean_rows(section: Section) -> list[dict[str, object]]:
    """One row for each method, over the compared contexts: normalised means and interquartile means."""
    table = section.comparison[section.comparison["unit"] == NORMALISED].set_index(["method", "statistic", "quantity"])
    rows: list[dict[str, object]] = []
    for method in section.group.methods:
        estimates = {
            f"{statistic}_{quantity}": tuple(table.loc[(method, statistic, quantity), ["estimate", "low", "high"]])
            for statistic in ("mean", "iqm")
            for quantity in QUANTITIES
        }
        contexts, runs = table.loc[(method, "mean", "final"), ["contexts", "runs"]]
        rows.append({"method": method, **estimates, "contexts": contexts, "runs": runs})
    return rows


def _difference_rows(section: Section) -> list[dict[str, object]]:
    """One row for each method that was paired with the baseline: the differences over all contexts."""
    table = section.comparison
    pooled = table[(table["statistic"] == "difference") & (table["context"] == ALL_CONTEXTS)]
    rows: list[dict[str, object]] = []
    for (method, baseline), lines in pooled.groupby(["method", "baseline"], sort=False):
        found = lines.set_index(["quantity", "unit"])
        estimates = {
            f"{unit}_{quantity}": tuple(found.loc[(quantity, unit), ["estimate", "low", "high"]])
            for quantity in QUANTITIES
            for unit in (POINTS, NORMALISED)
        }
        contexts, runs = lines.iloc[0][["contexts", "runs"]]
        rows.append({"name": f"{method} less {baseline}", **estimates, "contexts": contexts, "runs": runs})
    return rows


def _generalisation_rows(section: Section) -> list[dict[str, object]]:
    """One row for each context and method whose runs were tested on levels that training never saw."""
    return [
        row | {name: (row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in RETURNS}
        for row in section.generalisation.to_dict("records")
    ]


def _missing(group: Group) -> list[dict[str, str]]:
    """What the group has elsewhere but not here: contexts without any run of a method, then single seeds."""
    rows = []
    for method in group.methods:
        cells = {group.labels[context]: group.coverage(context, method) for context in group.contexts}
        absent = [label for label, coverage in cells.items() if coverage.text == "missing"]
        if absent:
            rows.append({"method": method, "contexts": "; ".join(absent), "seeds": "all"})
        for context in group.contexts:
            label, seeds = group.labels[context], group.missing_seeds(context, method)
            if seeds and label not in absent:
                rows.append({"method": method, "contexts": label, "seeds": ", ".join(map(str, seeds))})
    return rows


def _incomplete(group: Group) -> list[Run]:
    return [run for run in group.runs if not run.finished]


def _figures(group: Group) -> list[FigureText]:
    return [
        FigureText(
            "curves",
            "Learning curves",
            "Mean return by environment steps (of all that the run trained, divided by its members), one panel for "
            "each context. Shaded: 95% interval of the mean over seeds, from three seeds on; it may go on beyond the "
            "panel. Dotted: only some of the seeds have got that far.",
            ("curves.csv",),
        ),
        FigureText(
            "final",
            "Final returns",
            "Mean over finished seeds with its 95% interval, from three seeds on; small points are the seeds.",
            ("final.csv", "final_runs.csv"),
        ),
        FigureText(
            "heatmap",
            "Return by context and training steps",
            "Mean return over seeds, all methods on one colour scale; hatched rows have no run. " + _framing(group),
            ("heatmap.csv",),
        ),
        FigureText(
            "comparison",
            "Comparison over contexts",
            "Above: mean over contexts of normalised scores, 0 the worst and 1 the best that any finished run reached "
            "in a context, with its 95% interval over seeds; hollow: the interquartile mean. Below: differences from "
            "the baseline between runs of the same context and seed.",
            ("comparison.csv",),
        ),
        *_generalisation_figure(group),
    ]


def _generalisation_figure(group: Group) -> list[FigureText]:
    levels = {run.levels for run in group.runs if run.levels is not None and run.levels.evaluated != run.levels.trained}
    if not levels:
        return []
    places = "; ".join(sorted({f"trained on {each.trained}, evaluated on {each.evaluated}" for each in levels}))
    modes = {each.sampled for each in levels}
    if modes == {True}:
        acting = "Both are of actions that are drawn from the policy."
    else:
        acting = "Training draws actions from the policy; evaluations take the most likely one"
        acting += " in some of the runs." if True in modes else "."
    return [
        FigureText(
            "generalisation",
            "Levels of training and held-out levels",
            "Mean return over seeds of the member with the best training return: on the levels of training (solid) and "
            f"on held-out ones (dashed); {places}. {acting}",
            ("generalisation.csv", "generalisation_curves.csv", "generalisation.json"),
        )
    ]


def _framing(group: Group) -> str:
    if not group.sources:
        return "No run here learned from source contexts that this group has, so no row is framed."
    learners = sorted({run.method for run in group.runs if run.remembers})
    return f"Framed rows are source contexts: {', '.join(learners)} learned from runs in them."
