"""The verdict: what a study says in a sentence, and what it cannot say."""

from __future__ import annotations

import numpy as np

from metapbt.log import counted
from metapbt.report.comparison import POINTS, Pairs, all_pairs, finished_runs
from metapbt.report.groups import Group
from metapbt.report.statistics import mean_estimate
from metapbt.report.wording import format_estimate, seeds_line


def verdict(group: Group) -> str:
    """What was compared, by how much with its interval, and what cannot be told: one line for each comparison.

    Example:
        >>> print(verdict(group))
        memory (meta_pb2 against pb2): +127 [61, 184] points of mean return over 200,000 steps of each member,
        5 contexts x 5 seeds; at the end no difference can be told (+45.0 [-2.0, 98.0] points).
    """
    pairs = all_pairs(group)
    lines = [_sentence(each) for each in pairs] if pairs else [_alone(group)]
    unfinished = sum(not run.finished for run in group.runs)
    if unfinished:
        have = "run has" if unfinished == 1 else "runs have"
        lines.append(f"{unfinished} {have} not finished: this may change.")
    return "\n".join(lines)


def _sentence(pairs: Pairs) -> str:
    compared = f"{pairs.method} against {pairs.baseline}"
    name = f"memory ({compared})" if pairs.remembers else compared
    if pairs.lacks:
        name = f"memory and more ({compared}, for want of {pairs.lacks})"
    if not pairs.runs:
        return f"{name}: nothing can be told yet, since no context and seed has finished runs of both."
    steps = max(run.steps[-1] for found in pairs.runs.values() for pair in found for run in pair if len(run.steps))
    over = f"over {steps:,.0f} steps of each member"
    unit = pairs.pooled_unit
    scale = "points" if unit == POINTS else "of the range from worst to best"
    area, final = (pairs.estimate(quantity, unit) for quantity in ("area", "final"))
    shown_area, shown_final = (format_estimate(*estimate, sign="+") for estimate in (area, final))
    if not area.known:
        return (
            f"{name}: {shown_area} {scale} of mean return {over}, {shown_final} at the end, but {_extent(pairs)} "
            f"{'is' if pairs.number == 1 else 'are'} too little for an interval, so no difference can be told."
        )
    if not any(
        values.any() for quantity in ("area", "final") for values in pairs.differences(quantity, POINTS).values()
    ):
        return f"{name}: all pairs are equal, {over} and at the end, {_extent(pairs)}."
    if area.low <= 0 <= area.high:
        said = f"no difference can be told in the mean return {over} ({shown_area} {scale}), {_extent(pairs)}"
    else:
        said = f"{shown_area} {scale} of mean return {over}, {_extent(pairs)}"
    if final.low == final.value == final.high == 0:
        end = "at the end all pairs are equal"
    elif final.low <= 0 <= final.high:
        end = f"at the end no difference can be told ({shown_final}{' points' * (unit == POINTS)})"
    else:
        end = f"at the end {shown_final}"
    return f"{name}: {said}; {end}."


def _extent(pairs: Pairs) -> str:
    """``5 contexts x 5 seeds``; ``5 contexts x 3 to 5 seeds`` where they differ."""
    seeds = sorted({len(found) for found in pairs.runs.values()})
    each = counted(seeds[0], "seed") if len(seeds) == 1 else f"{seeds[0]} to {counted(seeds[-1], 'seed')}"
    return f"{counted(len(pairs.runs), 'context')} x {each}"


def _alone(group: Group) -> str:
    (method,) = group.methods
    ended = {context: finished_runs(group, context, method) for context in group.contexts}
    known = [context for context in group.contexts if ended[context]]
    if not known:
        return f"{method} alone: no run has finished yet."
    said = f"{method} alone: there is nothing to compare it with."
    if len(known) > 1:  # many contexts are for the table
        return said
    (context,) = known
    finals = np.array([run.final for run in ended[context]], dtype=np.float64)
    estimate = mean_estimate(finals)
    seeds = seeds_line(counted(len(finals), "seed"), len(finals), estimate.low)
    return f"{said} It ends at {format_estimate(*estimate)} ({seeds})."
