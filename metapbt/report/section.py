"""One section of the report: a group of runs, what is said of it, and the numbers behind that."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from metapbt.report.catalogue import FigureText
from metapbt.report.comparison import comparison_data
from metapbt.report.figures.curves import curves_data
from metapbt.report.figures.final_returns import final_data, runs_data
from metapbt.report.figures.heatmap import heatmap_data
from metapbt.report.generalisation import generalisation_curves, generalisation_data
from metapbt.report.groups import Group
from metapbt.report.verdict import Verdict, sentences, verdicts


class Section(NamedTuple):
    """One group with what is said of it, and the tables of its figures, as the functions of these names make them."""

    group: Group
    verdicts: tuple[Verdict, ...]
    curves: pd.DataFrame
    final: pd.DataFrame
    final_runs: pd.DataFrame
    heatmap: pd.DataFrame
    comparison: pd.DataFrame
    generalisation: pd.DataFrame
    generalisation_curves: pd.DataFrame
    figures: tuple[FigureText, ...] = ()

    @classmethod
    def of(
        cls,
        group: Group,
        baseline: str | None = None,
        figures: tuple[FigureText, ...] = (),
        before: Section | None = None,
    ) -> Section:
        """The section of a group.

        Args:
            group: of runs.
            baseline: what every other method is compared with; chosen for each if None.
            figures: those that were drawn for print, in files.
            before: of the same group and baseline, some time ago. Methods are compared by finished runs: as long as
                these are the very same, that is not worked out again.
        """
        same = before is not None and _same_comparison(before.group, group)
        return cls(
            group,
            before.verdicts if before is not None and same else verdicts(group, baseline),
            curves_data(group),
            final_data(group),
            runs_data(group),
            heatmap_data(group),
            before.comparison if before is not None and same else comparison_data(group, baseline),
            generalisation_data(group),
            generalisation_curves(group),
            figures,
        )

    @property
    def sentences(self) -> list[str]:
        """What is said first: the verdicts, and whether they may change."""
        return sentences(self.group, self.verdicts)


def _same_comparison(one: Group, other: Group) -> bool:
    """Whether two groups have the very same finished runs, of the same methods in the same contexts."""
    finished = [[run for run in group.runs if run.finished] for group in (one, other)]
    alike = len(finished[0]) == len(finished[1]) and all(a is b for a, b in zip(*finished, strict=True))
    return alike and one.methods == other.methods and dict(one.labels) == dict(other.labels)
