"""How far each expert deserves to be heard: by what it forecast of this run, before it had seen it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metapbt.memory.encoder import Array, Rows

#: How alike sources and target may be: the experts that memory has. The first uses the sources' kernel alone.
RELATEDNESS = (0.0, 0.5, 0.8, 0.95)
PRIOR = 0.8  # trust in a memory while nothing speaks for it or against it
ALIKE = 0.1  # deviations of the noise: changes that differ by less are alike


def forecast_errors(covariance: Tensor, residual: Tensor, times: NDArray[np.int_]) -> Array:
    r"""How far rows are from what a GP forecast of them from those before, and from none of the same time.

    With rows ordered by time, $K = L L^T$ and $z = L^{-1} (y - m)$, those of time t are wrong by

    $$y_t - E[y_t \mid y_{<t}] = L_{tt} z_t$$

    An expert is judged as a forecaster (Dawid, 1984, prequential): members that it chose alike, and that disappoint
    alike, do not explain each other.

    Args:
        covariance: of all rows, noise included, ``m x m``.
        residual: outcomes less their prior mean, ``m``.
        times: of the last rows, which are judged, ``n``; those before them are known from the start.

    Returns:
        The errors, ``n``, in the units of the outcomes.
    """
    known = len(residual) - len(times)
    order = np.argsort(times, kind="stable")
    rows = torch.as_tensor(np.concatenate([np.arange(known), known + order]))
    factor = torch.linalg.cholesky(covariance[rows][:, rows])
    innovations = torch.linalg.solve_triangular(factor, residual[rows].unsqueeze(-1), upper=False).squeeze(-1)
    errors, start = np.empty(len(times)), 0
    for count in np.unique(times, return_counts=True)[1]:
        now, same_time = slice(known + start, known + start + count), order[start : start + count]
        errors[same_time] = factor[now, now] @ innovations[now]
        start += count
    return errors


def evidence(errors: Array, changes: Array, times: NDArray[np.int_], noise: Array) -> float:
    r"""Log likelihood of an expert from what it was wrong by, whose noise is at least what was expected.

    $$-\frac{n - g}{2} \log \left( 1 + \frac{1}{n - g} \sum_i \frac{(e_i - \bar e_{t(i)})^2}{v_i} \right)$$

    An error that all rows of one time share says nothing about hyperparameters, so each time's mean (weighted by 1/v)
    is taken off and costs one degree of freedom (g times). Neighbouring times with a single row each go together in
    pairs: what they share is taken off too, as far as it drifts slowly.

    Nor does a time say anything at which all changed alike, by less than ``ALIKE`` deviations of the noise more or less
    than each other; its rows are left out. On a plateau, where nothing is learned yet or no more, who expects nothing
    is always right, and who knows what will end it is wrong until then.

    With $S$ the sum, errors far below the noise cost $S / 2$, as where the noise is known. Those far above it cost
    $(n - g) / 2 \cdot \log S$, as where the noise is known up to a factor that is integrated out under Jeffreys' prior:
    experts are compared by what they predict then, not by how well they guess the noise. Where noise is large an error
    counts little, so that a few early rows do not decide everything.

    Args:
        errors: of `forecast_errors`, ``n``.
        changes: what happened, ``n``.
        times: when each row was trained, ``n``.
        noise: variance of the noise that is expected of each row, the same for all experts that are compared, ``n``.
    """
    if not len(errors):
        return 0.0
    when = _together(times)
    low, high = np.full(when.max() + 1, np.inf), np.full(when.max() + 1, -np.inf)
    np.minimum.at(low, when, changes)
    np.maximum.at(high, when, changes)
    deviation = np.sqrt(np.bincount(when, noise) / np.bincount(when))
    told = (high - low > ALIKE * deviation)[when]
    errors, noise, when = errors[told], noise[told], np.unique(when[told], return_inverse=True)[1]
    counts = np.bincount(when)
    free = len(errors) - len(counts)
    if free <= 0:
        return 0.0
    means = np.bincount(when, errors / noise) / np.bincount(when, 1 / noise)
    return -free / 2 * math.log1p(float(((errors - means[when]) ** 2 / noise).sum()) / free)


def _together(times: NDArray[np.int_]) -> NDArray[np.int_]:
    """Number the groups of rows that are judged against each other, from 0: those of one time, or neighbours."""
    _, when, counts = np.unique(times, return_inverse=True, return_counts=True)
    groups: list[int] = []
    sizes: list[int] = []
    for place, count in enumerate(counts):
        alone = count == 1 and place > 0 and counts[place - 1] == 1
        ends = place + 1 == len(counts) or counts[place + 1] > 1
        # Two by two; the third of three, after which nobody is left to go with, joins the two before it.
        if alone and (sizes[-1] == 1 or ends):
            sizes[-1] += 1
        else:
            sizes.append(int(count))
        groups.append(len(sizes) - 1)
    return np.array(groups, dtype=int)[when]


def prior(trust: float) -> list[float]:
    """Weights of memory's experts, one for each ``RELATEDNESS``, where so much of them is for related ones."""
    related = len(RELATEDNESS) - 1
    return [1 - trust, *[trust / related] * related]


def believed() -> Array:
    """Weights of memory's experts if sources and target are as alike as it can think."""
    return np.eye(len(RELATEDNESS))[-1]


def shares(before: Sequence[float] | Array, log_likelihoods: Sequence[float]) -> Array:
    """Posterior weights of experts: those before times likelihood, summing to 1."""
    logs = np.log(np.maximum(before, 1e-12)) + np.asarray(log_likelihoods)
    weights = np.exp(logs - logs.max())
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def posterior(before: Sequence[float] | Array, errors: Sequence[Array] | Array, rows: Rows, noise: Array) -> Array:
    """Weights of experts, summing to 1, after what each forecast of the same rows.

    Args:
        before: their weights before that.
        errors: what each was wrong by, ``experts x n``.
        rows: what was forecast, ``n``.
        noise: as of `evidence`.
    """
    return shares(before, [evidence(each, rows.changes, rows.times, noise) for each in errors])


def origins(weights: Sequence[float] | Array) -> Array:
    """How much of a forecast comes from related contexts, from the shape of their kernel alone, from this run alone.

    Args:
        weights: of memory's experts, then of the run's own model if it has a part; they sum to 1.
    """
    whole = len(RELATEDNESS)
    return np.array([sum(weights[1:whole]), weights[0], sum(weights[whole:])])


def in_per_cent(shares: Array) -> list[int]:
    """Whole per cents of shares that sum to 1; they sum to 100."""
    exact = np.asarray(shares) * 100
    cents = np.floor(exact).astype(int)
    largest = np.argsort(-(exact - cents), kind="stable")[: 100 - cents.sum()]
    cents[largest] += 1
    return [int(cent) for cent in cents]


def explained(weights: Sequence[float] | Array) -> str:
    """What a forecast is made of, in words whose per cents sum to 100.

    Args:
        weights: as of `origins`.
    """
    related, kernel, alone = in_per_cent(origins(weights))
    return (
        f"{related}% of the forecast comes from related contexts, {kernel}% from the shape of their kernel alone, "
        f"{alone}% from this run alone"
    )
