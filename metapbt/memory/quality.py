"""How good a memory is: what it would have predicted of each of its sources, had that one been the target."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

import numpy as np

from metapbt.history import Context
from metapbt.log import counted
from metapbt.memory.encoder import Array, Description, Encoder, Rows, Samples, less_their_means
from metapbt.memory.nearest import SOURCE_ROWS
from metapbt.memory.scales import HistoryScale, SourceScale
from metapbt.memory.tasks import Tasks
from metapbt.surrogates.thinning import evenly

if TYPE_CHECKING:
    from metapbt.memory.model import MetaModel, Weights
    from metapbt.memory.training import Cache

KNOWN = 1 / 3  # of a context's training, what is known of it; the rest is to be predicted
MOST_ROWS = 200  # known or predicted


@dataclass(frozen=True)
class Predictions:
    """How well rows were predicted.

    Attributes:
        density: mean log density of the change of return over an interval, in units of its deviation over all rows.
        rank_correlation: Spearman's, of predicted and real changes, each without its mean at its time: whether those
            are told apart that train at the same time. NaN where nothing can be told apart.
        inside: share of the rows within the central 95% interval; 0.95 is right.
    """

    density: float
    rank_correlation: float
    inside: float


@dataclass(frozen=True)
class Quality:
    """One source context, held out.

    Attributes:
        context: the one held out.
        rows: how many were predicted.
        memory: predictions of the surrogate of ``meta_pb2``, trained on the other contexts; None where only the plain
            kernel was judged.
        plain: the same without its network: a plain GP with context inputs.
        alone: PB2's GP, which knows nothing but this context's own first rows.
    """

    context: Context
    rows: int
    memory: Predictions | None
    plain: Predictions
    alone: Predictions


def held_out_quality(
    tasks: Tasks, deep: bool = True, cache: Cache | None = None, told: Callable[[int, int], None] = lambda *_: None
) -> list[Quality]:
    """Hold out each source context in turn and predict the last two thirds of a training from the first.

    A training is as long as the others' longest; its first third stands for what a run would have seen by then. All
    scales are the others', but for the half-life of what agents trained with lately, which all share. A context whose
    rows all lie on one side is passed over, and so is the whole where there are fewer than two contexts.

    Args:
        tasks: of at least two source contexts, else there is nothing to learn from.
        deep: whether the deep kernel is judged, too; else only the plain one.
        cache: keeps what was trained, and what came out, for the next who asks; None keeps none.
        told: is told how many models have been trained or judged, and of how many; not where all of it was kept.
    """
    from metapbt.memory.training import cache_key

    if len(tasks.contexts) < 2:
        return []
    if cache is None:
        return _judged_in_turn(tasks, deep, None, told)
    key = cache_key("quality" if deep else "quality of a plain kernel", tasks)
    found = _unpacked(cache.get(key), tasks.contexts, deep)
    if found is None:
        found = _judged_in_turn(tasks, deep, cache, told)
        cache.put(key, _packed(found, tasks.contexts))
    return found


def _judged_in_turn(tasks: Tasks, deep: bool, cache: Cache | None, told: Callable[[int, int], None]) -> list[Quality]:
    from metapbt.memory.training import MOST_CONTEXTS, learned

    kernels = (False, True) if deep else (False,)
    held_out, numbers = min(len(tasks.contexts), MOST_CONTEXTS), itertools.count(1)
    trained = len(kernels) * (held_out + 1)
    models = [
        learned(tasks, kernel, cache, lambda: told(next(numbers), trained + held_out)).without for kernel in kernels
    ]
    found = []
    for number, context in enumerate(models[0]):
        told(trained + number, trained + held_out)
        samples = tasks.samples[tasks.samples.contexts == context]
        own, others = tasks.held_out(context)
        first, later = np.flatnonzero(own.inputs[:, 0] < KNOWN), np.flatnonzero(own.inputs[:, 0] >= KNOWN)
        first, later = first[evenly(len(first), MOST_ROWS)], later[evenly(len(later), MOST_ROWS)]
        if len(first) < 2 or len(later) < 2:
            continue
        known, asked = own[first], own[later]
        found.append(
            Quality(
                tasks.contexts[context],
                len(asked),
                _remembered(models[1][context], others, known, asked) if deep else None,
                _remembered(models[0][context], others, known, asked),
                _alone(samples[first], samples[later], tasks.scale_without(context), tasks.descriptions, asked),
            )
        )
    return found


def _packed(found: Sequence[Quality], contexts: Sequence[Context]) -> Weights:
    """As arrays that a cache keeps; contexts by their place among all."""
    return {
        "contexts": np.array([contexts.index(quality.context) for quality in found], int),
        "rows": np.array([quality.rows for quality in found], int),
        "judged": np.array(
            [[astuple(each) if each else (math.nan,) * 3 for each in (q.memory, q.plain, q.alone)] for q in found]
        ).reshape(-1, 3, 3),
    }


def _unpacked(kept: Weights | None, contexts: Sequence[Context], deep: bool) -> list[Quality] | None:
    """What was packed; None where it is nothing of the kind, as in a file that somebody else made."""
    if kept is None or kept.keys() != {"contexts", "rows", "judged"}:
        return None
    places, rows, judged = kept["contexts"], kept["rows"], kept["judged"]
    if (
        (places.dtype.kind, rows.dtype.kind, judged.dtype.kind) != ("i", "i", "f")
        or places.ndim != 1
        or rows.shape != places.shape
        or judged.shape != (len(places), 3, 3)
        or not set(places.tolist()) <= set(range(len(contexts)))
        or (np.isnan(judged[:, 0, 0]) == deep).any()
    ):
        return None
    return [
        Quality(contexts[place], count, _predictions(memory) if deep else None, *map(_predictions, others))
        for place, count, (memory, *others) in zip(places.tolist(), rows.tolist(), judged, strict=True)
    ]


def _predictions(numbers: Array) -> Predictions:
    return Predictions(*map(float, numbers))


def summary(qualities: Sequence[Quality]) -> str:
    """The mean over contexts in one line, for a run's log."""
    if not qualities:
        return "memory: too few source contexts to hold one out"
    parts, models = [], compared_models(qualities)
    for name, label in models.items():
        each = [found for quality in qualities if (found := getattr(quality, name)) is not None]
        if not each:
            continue
        density, inside = np.mean([e.density for e in each]), np.mean([e.inside for e in each])
        rank = np.nanmean([e.rank_correlation for e in each] + [0.0] * all(np.isnan(e.rank_correlation) for e in each))
        left_out = ", the network left out" if name == "plain" and "memory" not in models else ""
        parts.append(
            f"{label}{left_out}: log density {density:.2f}, rank correlation {rank:.2f}, {inside:.0%} within 95%"
        )
    return f"memory on {counted(len(qualities), 'held-out context')}: {'; '.join(parts)}"


def compared_models(qualities: Sequence[Quality]) -> dict[str, str]:
    """Fields of `Quality` and what they are of, in words; without ``memory`` where the network was left out of it.

    It is the plain GP then, whose numbers would stand there twice.
    """
    models = {"memory": "deep kernel", "plain": "plain GP", "alone": "no memory"}
    if all(quality.memory is not None and _alike(quality.memory, quality.plain) for quality in qualities):
        del models["memory"]
    return models


def _alike(one: Predictions, other: Predictions) -> bool:
    """Whether they are the same, NaN included."""
    return np.array_equal(astuple(one), astuple(other), equal_nan=True)


def _remembered(model: MetaModel, others: Rows, known: Rows, asked: Rows) -> Predictions:
    from metapbt.memory.experts import Ensemble
    from metapbt.memory.trust import PRIOR, posterior, prior

    given = np.concatenate([known.inputs, asked.inputs])[:, : model.given]
    source = model.nearest(others, given, SOURCE_ROWS)
    errors, noise = model.forecast_errors(source, known)
    weights = posterior(prior(PRIOR), errors, known, noise)
    mean, variance = Ensemble((model.related(source, known, weights),)).moments(asked.inputs)
    return _judged(asked, mean, variance + model.noise(asked.inputs))


def _alone(
    known: Samples, later: Samples, scale: SourceScale, contexts: Sequence[Description], asked: Rows
) -> Predictions:
    import torch

    from metapbt.surrogates.time_varying import fit_time_varying_gp

    encoder = Encoder(HistoryScale.of(known.returns_before), contexts)
    rows, x = encoder.rows(known), torch.as_tensor(encoder.rows(later).inputs)
    # It learns changes on memory's scale, so that all are judged on one.
    model = fit_time_varying_gp(torch.as_tensor(rows.inputs), torch.as_tensor(scale.changes(known))[:, None])
    with torch.no_grad():
        posterior = model.posterior(x, observation_noise=True)
    return _judged(asked, posterior.mean.squeeze(-1).numpy(), posterior.variance.squeeze(-1).numpy())


def _judged(asked: Rows, mean: Array, variance: Array) -> Predictions:
    from scipy.stats import spearmanr

    error = asked.changes - mean
    density = -(error**2 / variance + np.log(2 * np.pi * variance)) / 2
    predicted, real = (less_their_means(each, asked.times) for each in (mean, asked.changes))
    flat = np.ptp(predicted) < 1e-9 or np.ptp(real) < 1e-9
    return Predictions(
        float(density.mean()),
        float("nan") if flat else float(spearmanr(predicted, real).statistic),
        float((np.abs(error) <= 1.96 * np.sqrt(variance)).mean()),
    )
