"""Methods compared over contexts: the numbers behind the comparison's figure, its table and the verdict.

Returns of different contexts lie on different scales, and one context with a wide one would decide alone. So before
methods are pooled over contexts, scores are *normalised* within each: 0 is the worst and 1 the best that any finished
run of any method reached there, at any time. Differences are given both in points of return and normalised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from metapbt.errors import unknown_name
from metapbt.history import Context
from metapbt.population.explorers import METHODS
from metapbt.report.groups import LIKE_LENGTHS, Group, differing_settings
from metapbt.report.run import Run
from metapbt.report.statistics import (
    Array,
    Estimate,
    area_under_curve,
    iqm_estimate,
    mean_of_means,
    shared_steps,
    stratified_estimate,
)
from metapbt.store.configurations import Difference, in_words

#: The two scores of a run, and what they are called.
QUANTITIES = {"final": "final return", "area": "mean return over training"}
POINTS, NORMALISED = "points", "normalised"
#: What methods with a memory are without it.
WITHOUT_MEMORY = {"meta_pb2": "pb2", "meta_bg_pbt": "bg_pbt"}
ALL_CONTEXTS = "all contexts"
#: Above this quotient of the contexts' ranges, differences in points are not pooled.
MOST_UNEQUAL_RANGES = 2.0
#: Keys of a configuration that memory and the context have.
_OF_MEMORY = {"method", "meta", "start", "context", "features"}
UNKNOWN = Estimate(math.nan, math.nan, math.nan)
COLUMNS = [
    "env",
    "learner",
    "statistic",
    "quantity",
    "unit",
    "method",
    "baseline",
    "context",
    "estimate",
    "low",
    "high",
    "contexts",
    "runs",
    "alike",
]


class Range(NamedTuple):
    """The worst and the best score that any finished run reached in a context."""

    worst: float
    best: float

    @property
    def width(self) -> float:
        """From the worst to the best."""
        return self.best - self.worst

    def share(self, difference: Array) -> Array:
        """A difference in points as a share of the range; 0 where every run always scored the same."""
        return difference / self.width if self.width > 0 else np.zeros_like(difference)


class Pairs(NamedTuple):
    """Runs of a method and of its baseline in the same contexts with the same seeds.

    Attributes:
        method: what is compared.
        baseline: what with.
        remembers: whether the method's runs learned from other contexts and the baseline's did not.
        more: what such runs differ from the baseline's in beside memory: another method, or other settings; else None.
        runs: of each context, the pairs ``(run of the method, run of the baseline)``.
        ranges: of these contexts.
    """

    method: str
    baseline: str
    remembers: bool
    more: str | None
    runs: Mapping[Context, list[tuple[Run, Run]]]
    ranges: Mapping[Context, Range]

    @property
    def number(self) -> int:
        """How many pairs there are, over all contexts."""
        return sum(map(len, self.runs.values()))

    @property
    def steps(self) -> float:
        """Environment steps of each member up to which areas are compared, of the longest pair."""
        return max(self._ends)

    @property
    def of_several_lengths(self) -> bool:
        """Whether other pairs are compared up to fewer steps, by more than rounding to whole rollouts makes."""
        return max(self._ends) > LIKE_LENGTHS * min(self._ends)

    @property
    def _ends(self) -> list[float]:
        return [shared_steps([run.curve[0] for run in pair])[1] for found in self.runs.values() for pair in found]

    @property
    def pooled_unit(self) -> str:
        """In which unit differences may be averaged over the contexts: points, unless their ranges differ widely."""
        widths = [self.ranges[context].width for context in self.runs]
        alike = not widths or max(widths) <= MOST_UNEQUAL_RANGES * min(widths)
        return POINTS if alike else NORMALISED

    @property
    def at_maximum(self) -> bool:
        """Whether both runs of every pair end at the highest score that any run reached in their context."""
        return bool(self.runs) and all(
            run.final == self.ranges[context].best
            for context, found in self.runs.items()
            for pair in found
            for run in pair
        )

    def differences(self, quantity: str, unit: str) -> dict[Context, Array]:
        """Of each context, method minus baseline, ``(pairs,)``; areas are over the steps that both of a pair have."""
        points = {
            context: np.array([np.subtract(*scores_of(pair, quantity, pair)) for pair in pairs])
            for context, pairs in self.runs.items()
        }
        if unit == POINTS:
            return points
        return {context: self.ranges[context].share(values) for context, values in points.items()}

    def estimate(self, quantity: str, unit: str) -> Estimate:
        """The mean difference over contexts, each context with the same weight."""
        strata = list(self.differences(quantity, unit).values())
        return stratified_estimate(strata, mean_of_means) if strata else UNKNOWN


def all_pairs(group: Group, baseline: str | None = None) -> list[Pairs]:
    """Every method beside its baseline, methods with a memory first.

    With ``baseline``, that is it for all of them. Else the baseline of runs that learned from other contexts is what
    their method is without memory, where there are runs of it: ``pb2`` for ``meta_pb2``, ``bg_pbt`` for
    ``meta_bg_pbt``, and the method itself where ``start=transfer`` was all that they had of others; of several the
    one with the same settings, or with the most of them. That of all others is ``pb2`` where there are runs with
    memory beside it, else the first of the methods, one without memory where there is one.
    """
    chosen_by = {run.method: run.chosen_by for run in group.runs}
    remembering = {run.method for run in group.runs if run.remembers}
    baselines = dict.fromkeys(group.methods, baseline) if baseline is not None else _usual_baselines(group)
    others = sorted((name for name in group.methods if name != baselines[name]), key=lambda n: n not in remembering)
    ranges = score_ranges(group)

    def beside_its_baseline(name: str) -> Pairs:
        other, without = baselines[name], _without_memory(chosen_by[name], name in remembering)
        remembers = name in remembering and other not in remembering
        more = without is not None and without != chosen_by.get(other)
        if baseline is not None:  # then nobody looked for what the method is without memory
            remembers, more = remembers and not more, False
        lacks = f"for lack of {without} to compare with" if more else _unlike(group, name, other)
        return Pairs(name, other, remembers, lacks if remembers else None, _pairs(group, name, other), ranges)

    return list(map(beside_its_baseline, others))


def _without_memory(method: str, remembers: bool) -> str | None:
    """What a method is without memory; None where nobody knows, or where its runs had none."""
    itself = method if remembers and method in METHODS else None  # its first members came from others: start=transfer
    return WITHOUT_MEMORY.get(method, itself)


def check_baseline(groups: Sequence[Group], baseline: str | None) -> None:
    """Refuse a baseline that no run of any group is called.

    Raises:
        MetapbtError: it is unknown.
    """
    known = {method for group in groups for method in group.methods}
    if baseline is not None and baseline not in known:
        raise unknown_name("baseline", baseline, known)


def _usual_baselines(group: Group) -> dict[str, str]:
    remembering = {run.method: run.chosen_by for run in group.runs if run.remembers}
    chosen_by = {run.method: run.chosen_by for run in group.runs}
    plain = [name for name in group.methods if name not in remembering]
    usual = "pb2" if remembering and "pb2" in group.methods else (plain or group.methods)[0]
    baselines = {}
    for name in group.methods:
        without = _without_memory(remembering.get(name, ""), name in remembering)
        same = [other for other in plain if chosen_by[other] == without]
        unlike = {other: len(_differing(group, name, other)) if len(same) > 1 else 0 for other in same}
        baselines[name] = min(same, key=lambda other: (unlike[other], other != without)) if same else usual
    return baselines


def _unlike(group: Group, name: str, other: str) -> str | None:
    """What settings of two kinds of runs differ in beside memory, in words; None if in nothing."""
    differing = _differing(group, name, other)
    return f"which differ in {in_words(differing)}" if differing else None


def _differing(group: Group, name: str, other: str) -> list[Difference]:
    """The same as data, of the first two on one context; nothing where one of them does not say."""
    for context in group.contexts:
        both = group.runs_of(context, name)[:1] + group.runs_of(context, other)[:1]
        if len(both) == 2:
            return [found for found in differing_settings(*both) if found[0].partition(".")[0] not in _OF_MEMORY]
    return []


def score_ranges(group: Group) -> dict[Context, Range]:
    """The range of scores in each context that has a finished run with a score."""
    ranges = {}
    for context in group.contexts:
        runs = [run for method in group.methods for run in finished_runs(group, context, method)]
        if runs:
            scores = np.concatenate([np.append(run.scores, run.final) for run in runs])
            ranges[context] = Range(float(np.nanmin(scores)), float(np.nanmax(scores)))
    return ranges


def comparison_data(group: Group, baseline: str | None = None) -> pd.DataFrame:
    """Estimates with 95% intervals, one row for each.

    ``statistic`` is ``mean`` or ``iqm`` (the interquartile mean), over the finished runs of a method in the contexts of
    `compared_contexts`, each context with the same weight; or ``difference``: the mean over contexts of
    ``method`` less ``baseline``, runs paired by context and seed; also for each context. ``quantity`` is the ``final``
    return or the ``area`` under the score curve, ``unit`` is ``points`` or ``normalised``. ``alike`` says of a
    difference whether the contexts' ranges of scores are, so that its mean in points means something.
    """
    rows: list[tuple[object, ...]] = []
    compared_pairs = all_pairs(group, baseline)
    for quantity in QUANTITIES:
        scores = compared_scores(group, quantity)
        normalised = normalised_in(group, scores)
        for method in group.methods:
            compared = method in scores
            points, shares = scores.get(method, []), normalised.get(method, [])
            counts = len(points), sum(map(len, points))
            for statistic, unit, estimate in (
                ("mean", POINTS, stratified_estimate(points, mean_of_means) if compared else UNKNOWN),
                ("mean", NORMALISED, stratified_estimate(shares, mean_of_means) if compared else UNKNOWN),
                ("iqm", NORMALISED, iqm_estimate(shares) if compared else UNKNOWN),
            ):
                rows.append((statistic, quantity, unit, method, "", ALL_CONTEXTS, *estimate, *counts, True))
        for pairs in compared_pairs:
            names = pairs.method, pairs.baseline
            if not pairs.runs:
                continue
            alike = pairs.pooled_unit == POINTS
            for unit in (POINTS, NORMALISED):
                counts = len(pairs.runs), pairs.number
                rows.append(
                    (
                        "difference",
                        quantity,
                        unit,
                        *names,
                        ALL_CONTEXTS,
                        *pairs.estimate(quantity, unit),
                        *counts,
                        alike,
                    )
                )
            for context, values in pairs.differences(quantity, POINTS).items():
                estimate = stratified_estimate([values], mean_of_means)
                label = group.labels[context]
                rows.append(("difference", quantity, POINTS, *names, label, *estimate, 1, len(values), alike))
    return pd.DataFrame([(group.env, group.learner, *row) for row in rows], columns=COLUMNS)


def compared_contexts(group: Group) -> tuple[list[Context], list[str]]:
    """The contexts and methods of a fair comparison: each method finished a run in each context.

    Contexts that only one method ran in, such as sources, are left out, and so is a method that ran in
    fewer than half of the others, because it would leave too few contexts for the rest.
    """
    finished = {
        context: {method for method in group.methods if finished_runs(group, context, method)}
        for context in group.contexts
    }
    shared = [context for context, methods in finished.items() if len(methods) > 1 or len(group.methods) == 1]
    methods = [
        name for name in group.methods if 2 * sum(name in finished[context] for context in shared) >= len(shared)
    ]
    return [context for context in shared if methods and finished[context].issuperset(methods)], methods


def compared_runs(group: Group) -> dict[str, list[list[Run]]]:
    """The finished runs of each compared method, a list for each of the contexts that all of them finished."""
    contexts, methods = compared_contexts(group)
    return {name: [finished_runs(group, context, name) for context in contexts] for name in methods if contexts}


def compared_scores(group: Group, quantity: str) -> dict[str, list[Array]]:
    """Of each compared method the runs' ``final`` returns or ``area`` as strata.

    Areas are over the steps that all compared runs in a context have.
    """
    runs = compared_runs(group)
    together = [[run for of in of_context for run in of] for of_context in zip(*runs.values(), strict=True)]
    return {
        method: [scores_of(of, quantity, among) for of, among in zip(strata, together, strict=True)]
        for method, strata in runs.items()
    }


def normalised_in(group: Group, scores: Mapping[str, Sequence[Array]]) -> dict[str, list[Array]]:
    """Scores of `compared_scores`, 0 the worst and 1 the best that any run had in their context."""
    contexts, _ = compared_contexts(group)
    ranges = score_ranges(group)
    return {
        method: [
            ranges[context].share(of_context - ranges[context].worst)
            for context, of_context in zip(contexts, strata, strict=True)
        ]
        for method, strata in scores.items()
    }


def scores_of(runs: Sequence[Run], quantity: str, among: Sequence[Run]) -> Array:
    """The ``final`` returns of runs, or their ``area`` over the steps that all runs of ``among`` have: ``(runs,)``."""
    if quantity == "final":
        return np.array([run.final for run in runs], dtype=np.float64)
    steps = shared_steps([run.curve[0] for run in among])
    return np.array([area_under_curve(*run.curve, steps) for run in runs], dtype=np.float64)


def areas_in(group: Group, context: Context) -> dict[Path, float]:
    """Of each run in a context, by its directory, the area: over the steps that all finished runs there have.

    Of one that has not finished it is over its own steps so far.
    """
    runs = [run for method in group.methods for run in group.runs_of(context, method)]
    finished = [run for run in runs if run.finished and math.isfinite(run.area)]
    areas = {run.path: run.area for run in runs}
    over_the_same = scores_of(finished, "area", finished) if finished else ()
    return areas | dict(zip([run.path for run in finished], over_the_same, strict=True))


def finished_runs(group: Group, context: Context, method: str) -> list[Run]:
    """The finished runs of a method in a context that were evaluated: those with both scores."""
    return [run for run in group.runs_of(context, method) if run.finished and math.isfinite(run.final + run.area)]


def _pairs(group: Group, method: str, baseline: str) -> dict[Context, list[tuple[Run, Run]]]:
    found = {}
    for context in group.contexts:
        beside = {run.seed: run for run in finished_runs(group, context, baseline)}
        pairs = [(run, beside[run.seed]) for run in finished_runs(group, context, method) if run.seed in beside]
        if pairs:
            found[context] = pairs
    return found
