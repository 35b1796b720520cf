"""The verdict: what a study says in a sentence, and what it cannot say."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from metapbt.log import counted
from metapbt.report.comparison import POINTS, UNKNOWN, Pairs, all_pairs, finished_runs
from metapbt.report.groups import Group
from metapbt.report.statistics import Estimate, is_over_contexts, mean_estimate
from metapbt.report.wording import format_estimate, seeds_line


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one comparison says, in numbers and in words.

    Attributes:
        method: what is compared.
        baseline: what with; None where there is nothing to compare it with.
        remembers: whether the method's runs learned from other contexts and the baseline's did not.
        more: what the runs differ in beside memory; else None.
        unit: of the differences: ``points`` of return, or ``normalised``: shares of the range from the worst to the
            best score of a context.
        area: how much higher the method's mean return over training is: of pairs with one context and seed, the mean
            over contexts, with its 95% interval (`metapbt.report.statistics`). NaN is unknown.
        final: the same of the return at the end; where there is no baseline, the final return itself, of one context.
        steps: environment steps of each member over which areas are; None where there are no pairs.
        contexts: how many of them have pairs.
        seeds: the least and the most pairs in a context.
        pairs: how many there are.
        at_maximum: whether both runs of every pair end at the highest score that any run reached in their context.
        sentence: all of this in words.
    """

    method: str
    baseline: str | None
    remembers: bool = False
    more: str | None = None
    unit: str = POINTS
    area: Estimate = UNKNOWN
    final: Estimate = UNKNOWN
    steps: float | None = None
    contexts: int = 0
    seeds: tuple[int, int] = (0, 0)
    pairs: int = 0
    at_maximum: bool = False
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data as in ``verdict.json``; null stands for what is not known."""
        return {
            "sentence": self.sentence,
            "method": self.method,
            "baseline": self.baseline,
            "memory": self.remembers,
            "memory_and_more": self.more,
            "unit": self.unit,
            **{
                name: {"outcome": outcome(estimate), **_plain(estimate)}
                for name, estimate in (("area", self.area), ("final", self.final))
            },
            "at_maximum": self.at_maximum,
            "steps_of_each_member": self.steps,
            "contexts": self.contexts,
            "seeds": list(self.seeds),
            "pairs": self.pairs,
        }


def outcome(estimate: Estimate) -> str:
    """``higher``, ``lower`` or ``equal``; ``untold`` where the interval holds 0, or there is none."""
    if not estimate.known:
        return "untold"
    if estimate.low == estimate.high == 0:
        return "equal"
    return "higher" if estimate.low > 0 else "lower" if estimate.high < 0 else "untold"


def verdicts(group: Group, baseline: str | None = None) -> tuple[Verdict, ...]:
    """What was compared, by how much with its interval, and what cannot be told: one for each comparison.

    Args:
        group: whose runs.
        baseline: what every other method is compared with; chosen for each as `all_pairs` does if None.

    Example:
        >>> print(verdicts(group)[0].sentence)
        memory (meta_pb2 against pb2): +127 [61, 184] points of area (mean return over 200,000 steps of each member),
        5 contexts x 5 seeds; equal at the end.
    """
    pairs = all_pairs(group, baseline)
    return tuple(map(_compared, pairs)) if pairs else (_alone(group),)


def unfinished(group: Group) -> str | None:
    """That runs have not finished, in a sentence; None where all have."""
    number = sum(not run.finished for run in group.runs)
    if not number:
        return None
    return f"{number} {'run has' if number == 1 else 'runs have'} not finished: this may change."


def sentences(group: Group, found: Iterable[Verdict]) -> list[str]:
    """The verdicts of a group as lines for people, and whether they may change."""
    said = unfinished(group)
    return [each.sentence for each in found] + ([said] if said else [])


def verdict_json(groups: Iterable[tuple[Group, Iterable[Verdict]]]) -> str:
    """The verdicts of all groups as JSON: what ``verdict.json`` holds."""
    plain = [
        {
            "title": group.title,
            "env": group.env,
            "features": list(group.features),
            "learner": group.learner,
            "methods": group.methods,
            "contexts": list(group.labels.values()),
            "sources": [group.labels[context] for context in group.contexts if context in group.sources],
            "seeds": group.seeds,
            "unfinished_runs": sum(not run.finished for run in group.runs),
            "notes": list(group.notes),
            "verdicts": [each.to_dict() for each in found],
        }
        for group, found in groups
    ]
    return json.dumps({"groups": plain}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(estimate: Estimate) -> dict[str, float | None]:
    names = ("estimate", "low", "high")
    return {name: None if math.isnan(v) else float(v) for name, v in zip(names, estimate, strict=True)}


def _compared(pairs: Pairs) -> Verdict:
    if not pairs.runs:
        said = f"{_name(pairs)}: no comparison is possible yet: no context and seed has finished runs of both."
        return Verdict(
            method=pairs.method, baseline=pairs.baseline, remembers=pairs.remembers, more=pairs.more, sentence=said
        )
    seeds = [len(found) for found in pairs.runs.values()]
    unit = pairs.pooled_unit
    # What is equal pair by pair is equal, however few there are.
    equal = {q: not any(v.any() for v in pairs.differences(q, POINTS).values()) for q in ("area", "final")}
    area, final = (
        Estimate(0.0, 0.0, 0.0) if equal[quantity] else _told(pairs.estimate(quantity, unit)) for quantity in equal
    )
    steps = pairs.steps
    return Verdict(
        method=pairs.method,
        baseline=pairs.baseline,
        remembers=pairs.remembers,
        more=pairs.more,
        unit=unit,
        area=area,
        final=final,
        steps=steps,
        contexts=len(pairs.runs),
        seeds=(min(seeds), max(seeds)),
        pairs=pairs.number,
        at_maximum=pairs.at_maximum,
        sentence=f"{_name(pairs)}: {_said(pairs, area, final, steps)}.",
    )


def _told(estimate: Estimate) -> Estimate:
    """Of pairs that differ: differences that always cancel out are not equality, and have no interval."""
    return Estimate(0.0, math.nan, math.nan) if outcome(estimate) == "equal" else estimate


def _name(pairs: Pairs) -> str:
    compared = f"{pairs.method} against {pairs.baseline}"
    if pairs.more:
        return f"memory and more ({compared}, {pairs.more})"
    return f"memory ({compared})" if pairs.remembers else compared


def _said(pairs: Pairs, area: Estimate, final: Estimate, steps: float) -> str:
    extent = _extent(pairs, told=not outcome(area) == outcome(final) == "equal")
    over = f"mean return over {'up to ' * pairs.of_several_lengths}{steps:,.0f} steps of each member"
    scale = "points" if pairs.pooled_unit == POINTS else "of the range from worst to best"
    shown_area, shown_final = (f"{format_estimate(*estimate, sign='+')} {scale}" for estimate in (area, final))
    end = _at_the_end(pairs)
    if outcome(area) == outcome(final) == "equal":
        return f"all pairs are equal in area ({over}), {extent}; {end}"
    if not area.known:
        ends = end if outcome(final) == "equal" else f"{shown_final} at the end"
        little = f"{extent} {'is' if pairs.number == 1 else 'are'} too little for an interval"
        return f"{shown_area} of area ({over}), {ends}, but {little}, so no difference can be established"
    if outcome(area) == "untold":
        said = f"no significant difference in area ({shown_area} of {over}), {extent}"
    elif outcome(area) == "equal":
        said = f"equal in area ({over}), {extent}"
    else:
        said = f"{shown_area} of area ({over}), {extent}"
    if outcome(final) == "untold":
        end = f"at the end no significant difference ({shown_final})"
    elif outcome(final) != "equal":
        end = f"{shown_final} at the end"
    return f"{said}; {end}"


def _at_the_end(pairs: Pairs) -> str:
    """What is said of finals that are equal."""
    if not pairs.at_maximum:
        return "equal at the end"
    best = {pairs.ranges[context].best for context in pairs.runs}
    shown = f" of {best.pop():.6g}".replace("-", "−") if len(best) == 1 else ""
    return f"all end at the maximum{shown} that any run reached"


def _extent(pairs: Pairs, told: bool) -> str:
    """``5 contexts x 3 to 5 seeds``; the numbers where they differ; and, if ``told``, what intervals come from."""
    numbers = [len(found) for found in pairs.runs.values()]
    seeds = sorted(set(numbers))
    each = counted(seeds[0], "seed") if len(seeds) == 1 else f"{seeds[0]} to {counted(seeds[-1], 'seed')}"
    said = f"{counted(len(pairs.runs), 'context')} x {each}"
    return f"{said} (intervals from the spread between contexts)" if told and is_over_contexts(numbers) else said


def _alone(group: Group) -> Verdict:
    (method,) = group.methods
    ended = {context: finished_runs(group, context, method) for context in group.contexts}
    known = [context for context in group.contexts if ended[context]]
    if not known:
        return Verdict(method=method, baseline=None, sentence=f"{method} alone: no run has finished yet.")
    numbers = [len(ended[context]) for context in known]
    seeds, said = (min(numbers), max(numbers)), f"{method} alone: there is nothing to compare it with."
    if len(known) > 1:  # many contexts are for the table
        return Verdict(method=method, baseline=None, contexts=len(known), seeds=seeds, sentence=said)
    finals = np.array([run.final for run in ended[known[0]]], dtype=np.float64)
    estimate = mean_estimate(finals)
    behind = seeds_line(counted(len(finals), "seed"), len(finals), estimate.low)
    said = f"{said} It ends at {format_estimate(*estimate)} ({behind})."
    return Verdict(method=method, baseline=None, contexts=1, seeds=seeds, final=estimate, sentence=said)
