"""The report's page: what the template needs, computed from the groups and their numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from metapbt.log import counted
from metapbt.report.catalogue import FigureText
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
    figures: tuple[FigureText, ...]

    @property
    def sentences(self) -> list[str]:
        """What is said first: the verdicts, and whether they may change."""
        return sentences(self.group, self.verdicts)


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
        "figures": section.figures,
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
