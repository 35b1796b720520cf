"""Several surrogates that answer as one: each has a say according to how well it predicts what happened here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from botorch.models import SingleTaskGP
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

FLOOR = 1e-3  # of the mean squared error, in units of the outcomes' variance: nobody predicts better than that


@dataclass(frozen=True)
class Expert:
    """A fitted GP and how it is asked.

    Attributes:
        model: the GP.
        columns: turns points as the ensemble is asked (``n x d``) into the model's inputs.
        unit: what one unit of the model's outcome is in the ensemble's.
        weight: its say, relative to the others.
        pending: points that are being tried, ``p x d``; they count in the variance but not in the mean.
    """

    model: SingleTaskGP
    columns: Callable[[Array], Array]
    unit: float = 1.0
    weight: float = 1.0
    pending: Array | None = None

    def moments(self, x: Array) -> tuple[Array, Array]:
        """Mean and variance of the function at ``x`` (``n x d``), each ``n``."""
        with torch.no_grad():
            asked = torch.as_tensor(self.columns(x))
            mean, explained = self._predict(asked)
            variance = self._covariance(asked, diag=True) - explained.square().sum(dim=0)
        return (mean * self._unit).numpy(), (variance.clamp_min(0.0) * self._unit**2).numpy()

    def draws(self, x: Array, count: int, rng: np.random.Generator) -> Array:
        """Functions drawn from the posterior, at ``x`` (``n x d``): ``count x n``."""
        with torch.no_grad():
            asked = torch.as_tensor(self.columns(x))
            mean, explained = self._predict(asked)
            prior = self._covariance(asked)
            # The jitter is far below what tells points apart, and enough for points that lie on each other.
            jitter = 1e-4 * prior.diagonal().mean() * torch.eye(len(x), dtype=prior.dtype)
            root = torch.linalg.cholesky(prior - explained.T @ explained + jitter)
            normal = torch.as_tensor(rng.standard_normal((count, len(x))))
            drawn: Array = ((mean + normal @ root.T) * self._unit).numpy()
        return drawn

    # The posterior is computed here from the model's kernel: BoTorch's is of all points jointly, which costs ten times
    # as much where only their variances are asked for.
    def _predict(self, asked: Tensor) -> tuple[Tensor, Tensor]:
        """Mean at ``m`` points and what explains the variance there (``known x m``), in the model's outcomes."""
        anything: Any = self.model
        inputs, weights, factor = self._known
        cross = self._covariance(inputs, asked)
        mean = anything.mean_module(asked) + cross[: len(weights)].T @ weights
        transform = getattr(anything, "outcome_transform", None)
        if transform is not None:  # it standardises: its mean is to be added, its deviation is in the unit
            mean = mean + (transform.means / transform.stdvs).squeeze()
        return mean, torch.linalg.solve_triangular(factor, cross, upper=False)

    @cached_property
    def _known(self) -> tuple[Tensor, Tensor, Tensor]:
        """All inputs, pending ones last, the weights of the observed, and the factor of all inputs' covariance."""
        anything: Any = self.model
        with torch.no_grad():
            inputs = anything.train_inputs[0]
            factor = self._factor(inputs)
            residual = (anything.train_targets - anything.mean_module(inputs)).unsqueeze(-1)
            weights = torch.cholesky_solve(residual, factor).squeeze(-1)
            if self.pending is not None and len(self.pending):
                inputs = torch.cat([inputs, torch.as_tensor(self.columns(self.pending))])
                factor = self._factor(inputs)
        return inputs, weights, factor

    def _factor(self, inputs: Tensor) -> Tensor:
        return torch.linalg.cholesky(self._covariance(inputs) + _noise(self.model, inputs))

    def _covariance(self, x1: Tensor, x2: Tensor | None = None, diag: bool = False) -> Tensor:
        anything: Any = self.model
        covariance = anything.covar_module(x1, x2, diag=diag)
        return covariance if diag else covariance.to_dense()

    @property
    def _unit(self) -> float:
        transform = getattr(self.model, "outcome_transform", None)
        return self.unit * (1.0 if transform is None else float(transform.stdvs))


def _noise(model: SingleTaskGP, inputs: Tensor) -> Tensor:
    """The covariance of the noise at inputs ``n x d``: ``n x n``."""
    anything: Any = model
    noise: Tensor = anything.likelihood.noise_covar(inputs, shape=inputs.shape[:-1]).to_dense()
    return noise


@dataclass(frozen=True)
class Ensemble:
    """Experts that answer together."""

    experts: tuple[Expert, ...]

    @classmethod
    def weighted(cls, experts: Sequence[Expert], weights: Sequence[float] | Array, unheard: float = 0.0) -> Ensemble:
        """The experts with these weights, without those up to ``unheard``: asking them would not be worth the time."""
        pairs = zip(experts, weights, strict=True)
        return cls(tuple(replace(expert, weight=float(weight)) for expert, weight in pairs if weight > unheard))

    def moments(self, x: Array) -> tuple[Array, Array]:
        """Mean and variance at ``x`` (``n x d``), each ``n``: what experts disagree about is uncertain."""
        weights = np.array([expert.weight for expert in self.experts])
        weights = weights / weights.sum()
        means, variances = (np.array(parts) for parts in zip(*(e.moments(x) for e in self.experts), strict=True))
        mean = weights @ means
        return mean, np.maximum(weights @ (variances + means**2) - mean**2, 0.0)

    def draws(self, x: Array, count: int, rng: np.random.Generator) -> Array:
        """Functions drawn from the ensemble, at ``x`` (``n x d``): ``count x n``, each expert with its share."""
        weights = np.array([expert.weight for expert in self.experts])
        counts = rng.multinomial(count, weights / weights.sum())
        parts = [e.draws(x, int(n), rng) for e, n in zip(self.experts, counts, strict=True) if n]
        return np.concatenate(parts)

    def with_pending(self, x: Array) -> Ensemble:
        """Count points that are being tried (``p x d``) in every expert's variance, but not in its mean."""
        if len(x) == 0:
            return self
        return Ensemble(tuple(replace(e, pending=x) for e in self.experts))


def forecast_errors(model: SingleTaskGP, times: Array) -> Array:
    r"""How far training rows are from what those before them, and none of the same time, forecast.

    With rows ordered by time, :math:`K = L L^T` and :math:`z = L^{-1} (y - m)`, those of time t are wrong by

    .. math:: y_t - E[y_t \mid y_{<t}] = L_{tt} z_t

    An expert is judged as a forecaster (Dawid, 1984, prequential): members that it chose alike, and that disappoint
    alike, do not explain each other.

    Args:
        model: its last training rows are judged; all others are known from the start.
        times: of the rows that are judged, ``n``.

    Returns:
        The errors, ``n``, in the units of the model's outcomes.
    """
    anything: Any = model
    with torch.no_grad():
        inputs, targets = anything.train_inputs[0], anything.train_targets
        known = len(inputs) - len(times)
        order = np.argsort(times, kind="stable")
        rows = torch.as_tensor(np.concatenate([np.arange(known), known + order]))
        inputs, targets = inputs[rows], targets[rows]
        factor = torch.linalg.cholesky(anything.covar_module(inputs).to_dense() + _noise(model, inputs))
        residual = (targets - anything.mean_module(inputs)).unsqueeze(-1)
        innovations = torch.linalg.solve_triangular(factor, residual, upper=False).squeeze(-1)
        errors, start = np.empty(len(times)), 0
        for count in np.unique(times, return_counts=True)[1]:
            now, same_time = slice(known + start, known + start + count), order[start : start + count]
            errors[same_time] = factor[now, now] @ innovations[now]
            start += count
        if hasattr(anything, "outcome_transform"):
            errors *= float(anything.outcome_transform.stdvs)
    return errors


def evidence(errors: Array, times: Array, noise: Array) -> float:
    r"""Log likelihood of an expert from what it was wrong by, its noise known up to a factor.

    .. math:: -\frac{n - g}{2} \log \frac{1}{n - g} \sum_i \frac{(e_i - \bar e_{t(i)})^2}{v_i}

    An error that all rows of one time share says nothing about hyperparameters, so each time's mean (weighted by 1/v)
    is taken off and costs one degree of freedom (g times). The factor is integrated out under Jeffreys' prior:
    experts are compared by what they predict, not by how well they guess the noise. Where luck is large an error counts
    little, so that a few early rows do not decide everything.

    Args:
        errors: of :func:`forecast_errors`, ``n``, in units in which the outcomes have about unit variance.
        times: when each row was trained, ``n``.
        noise: variance of the noise of each row, the same for all experts that are compared, ``n``; its geometric mean
            does not matter.
    """
    _, when, counts = np.unique(times, return_inverse=True, return_counts=True)
    free = len(errors) - len(counts)
    if free <= 0:
        return 0.0
    precision = np.exp(np.mean(np.log(noise)) - np.log(noise))
    means = np.bincount(when, precision * errors) / np.bincount(when, precision)
    return -free / 2 * math.log(float(precision @ (errors - means[when]) ** 2) / free + FLOOR)


def shares(prior: Sequence[float], log_likelihoods: Sequence[float]) -> Array:
    """Posterior weights of experts: prior times likelihood, summing to 1."""
    logs = np.log(np.maximum(prior, 1e-12)) + np.asarray(log_likelihoods)
    weights = np.exp(logs - logs.max())
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def best_together(draws: Array, given: Sequence[int], count: int) -> list[int]:
    """Choose ``count`` points so that the best of them is as good as can be expected.

    Greedily: each is the one that raises the expected maximum most, which comes within 1 - 1/e of the best choice, for
    the expected maximum is submodular (Nemhauser et al., 1978). So points are promising, and unlike each other as
    far as it is uncertain which will be good.

    Args:
        draws: what functions drawn from the surrogate are at the points, ``draws x points``.
        given: points that are chosen already.
        count: how many more; no more than there are.
    """
    best = draws[:, list(given)].max(axis=1) if given else np.full(len(draws), draws.min())
    chosen: list[int] = []
    for _ in range(count):
        expected = np.maximum(draws, best[:, None]).mean(axis=0)
        expected[[*given, *chosen]] = -np.inf  # once is enough, even where nothing raises the maximum any more
        chosen.append(int(np.argmax(expected)))
        best = np.maximum(best, draws[:, chosen[-1]])
    return chosen


def filling(count: int, width: int, rng: np.random.Generator) -> Array:
    """Points that fill the unit cube evenly, ``count x width``: a scrambled Sobol sequence."""
    sobol = torch.quasirandom.SobolEngine(width, scramble=True, seed=int(rng.integers(2**31)))
    return np.asarray(sobol.draw(count, dtype=torch.float64).numpy(), dtype=np.float64)


def search(
    score: Callable[[Array], Array], width: int, hints: Array, rng: np.random.Generator, points: int = 512
) -> Array:
    """Find the point of the unit cube with the largest score, by evaluations alone.

    Args:
        score: of points ``n x width``, gives ``n``.
        width: of the cube.
        hints: points ``k x width`` worth looking at, beside those that fill the cube evenly.
        rng: draws the rest.
        points: how many fill the cube.

    Returns:
        The point, shape ``width``.
    """
    found = np.concatenate([filling(points, width, rng), hints])
    values = score(found)
    for radius in (0.1, 0.04, 0.015):
        order = np.argsort(-values, kind="stable")[:4]
        best = found[order]
        near = np.clip(best[:, None] + radius * rng.standard_normal((len(best), 32, width)), 0, 1).reshape(-1, width)
        found, values = np.concatenate([best, near]), np.concatenate([values[order], score(near)])
    return np.asarray(found[int(np.argmax(values))], dtype=np.float64)
