"""How good a memory is: what it would have predicted of each of its sources, had that one been the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from metapbt.memory.memory import Memory
from metapbt.memory.scales import Encoder, Rows, evenly
from metapbt.space import Space

if TYPE_CHECKING:
    from metapbt.memory.kernel import MetaModel
    from metapbt.memory.training import Cache

Array = NDArray[np.float64]

KNOWN = 1 / 3  # of a context's training, what is known of it; the rest is to be predicted
MOST_ROWS = 200  # known, predicted, or conditioned on


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
        context: its features.
        rows: how many were predicted.
        memory: predictions of the surrogate of ``meta_pb2``, trained on the other contexts.
        plain: the same without its network: a plain GP with context inputs.
        alone: PB2's GP, which knows nothing but this context's own first rows.
    """

    context: Mapping[str, float]
    rows: int
    memory: Predictions
    plain: Predictions
    alone: Predictions


def held_out_quality(memory: Memory, space: Space, cache: Cache | None = None) -> list[Quality]:
    """Hold out each source context in turn and predict the last two thirds of its training from the first.

    The first third stands for what a run on it would have seen by then. A context whose rows all lie in one third is
    passed over, and so is the whole where there are fewer than two contexts.

    Args:
        memory: at least two source contexts, else there is nothing to learn from.
        space: rows with hyperparameters of another space are left out.
        cache: keeps what was trained for the next who asks; None keeps none.
    """
    from metapbt.memory.training import learned

    encoder = Encoder(memory, space)
    if len(np.unique(encoder.rows.contexts)) < 2:
        return []
    shape = (encoder.rows, len(encoder.scales.features), len(space))
    deep, plain = learned(*shape, True, cache), learned(*shape, False, cache)
    found = []
    for context in deep.without:
        own, others = deep.split(context)
        known, asked = own[own.inputs[:, 0] < KNOWN], own[own.inputs[:, 0] >= KNOWN]
        known, asked = known[evenly(len(known), MOST_ROWS)], asked[evenly(len(asked), MOST_ROWS)]
        if len(known) < 2 or len(asked) < 2:
            continue
        found.append(
            Quality(
                encoder.contexts[context],
                len(asked),
                _remembered(deep.without[context], others, known, asked),
                _remembered(plain.without[context], others, known, asked),
                _alone(encoder, known, asked),
            )
        )
    return found


def summary(qualities: Sequence[Quality]) -> str:
    """The mean over contexts in one line, for a run's log."""
    if not qualities:
        return "memory: too few source contexts to hold one out"
    parts = []
    for name in ("memory", "plain", "alone"):
        each = [getattr(quality, name) for quality in qualities]
        density, inside = np.mean([e.density for e in each]), np.mean([e.inside for e in each])
        rank = np.nanmean([e.rank_correlation for e in each] + [0.0] * all(np.isnan(e.rank_correlation) for e in each))
        label = {"memory": "deep kernel", "plain": "plain GP", "alone": "no memory"}[name]
        parts.append(f"{label}: log density {density:.2f}, rank correlation {rank:.2f}, {inside:.0%} within 95%")
    return f"memory on {len(qualities)} held-out contexts: {'; '.join(parts)}"


def _remembered(model: MetaModel, others: Rows, known: Rows, asked: Rows) -> Predictions:
    from metapbt.memory.experts import Ensemble, shares

    given = np.concatenate([known.inputs, asked.inputs])[:, : -model.chosen]
    source = model.nearest(others, given, MOST_ROWS)
    experts, likelihoods = model.related(source, known, known.inputs[:, 0])
    ensemble = Ensemble.weighted(experts, shares([1.0] * len(experts), likelihoods))
    mean, variance = ensemble.moments(asked.inputs)
    return _judged(asked, mean, variance + model.noise(asked.inputs))


def _alone(encoder: Encoder, known: Rows, asked: Rows) -> Predictions:
    import torch

    from metapbt.surrogates.time_varying import fit_time_varying_gp

    scales = encoder.scales
    first = 2 + len(scales.features)

    def columns(rows: Rows) -> torch.Tensor:
        generations = rows.inputs[:, :1] * scales.longest / scales.interval
        return torch.as_tensor(np.concatenate([generations, rows.inputs[:, 1:2], rows.inputs[:, first:]], axis=1))

    model = fit_time_varying_gp(columns(known), torch.as_tensor(known.changes)[:, None])
    with torch.no_grad():
        posterior = model.posterior(columns(asked), observation_noise=True)
    return _judged(asked, posterior.mean.squeeze(-1).numpy(), posterior.variance.squeeze(-1).numpy())


def _judged(asked: Rows, mean: Array, variance: Array) -> Predictions:
    from scipy.stats import spearmanr

    error = asked.changes - mean
    density = -(error**2 / variance + np.log(2 * np.pi * variance)) / 2
    _, when, counts = np.unique(asked.inputs[:, 0], return_inverse=True, return_counts=True)
    predicted, real = (v - (np.bincount(when, v) / counts)[when] for v in (mean, asked.changes))
    flat = np.ptp(predicted) < 1e-9 or np.ptp(real) < 1e-9
    return Predictions(
        float(density.mean()),
        float("nan") if flat else float(spearmanr(predicted, real).statistic),
        float((np.abs(error) <= 1.96 * np.sqrt(variance)).mean()),
    )
