"""Several surrogates that answer as one, each with a weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from botorch.models import SingleTaskGP
from numpy.typing import NDArray
from torch import Tensor

from metapbt.memory.encoder import Array
from metapbt.memory.related import JITTER
from metapbt.memory.trust import forecast_errors


def _unchanged(x: Array) -> Array:
    return x


@dataclass(frozen=True)
class Expert:
    """A fitted GP and how it is asked.

    Attributes:
        model: the GP.
        columns: turns points as the ensemble is asked (``n x d``) into the model's inputs.
        unit: what one unit of the model's outcome is in the ensemble's.
        weight: its share, relative to the others.
        pending: points that are being tried, ``p x d``; they count in the variance but not in the mean.
    """

    model: SingleTaskGP
    columns: Callable[[Array], Array] = _unchanged
    unit: float = 1.0
    weight: float = 1.0
    pending: Array | None = None

    def forecast_errors(self, times: NDArray[np.int_]) -> Array:
        """What `metapbt.memory.trust.forecast_errors` says of the model's last training rows, in our units."""
        anything: Any = self.model
        with torch.no_grad():
            inputs = anything.train_inputs[0]
            covariance = self._covariance(inputs) + _noise(self.model, inputs)
            residual = anything.train_targets - anything.mean_module(inputs)
            return forecast_errors(covariance, residual, times) * self._unit

    @property
    def weights(self) -> Array:
        """Its weight, ``1``."""
        return np.array([self.weight])

    def moments(self, x: Array) -> tuple[Array, Array]:
        """Mean and variance of the function at ``x`` (``n x d``), each ``1 x n``."""
        with torch.no_grad():
            asked = torch.as_tensor(self.columns(x))
            mean, explained = self._predict(asked)
            variance = self._covariance(asked, diag=True) - explained.square().sum(dim=0)
        return (mean * self._unit).numpy()[None], (variance.clamp_min(0.0) * self._unit**2).numpy()[None]

    def draws(self, x: Array, counts: NDArray[np.int_], rng: np.random.Generator) -> Array:
        """Functions drawn from the posterior, at ``x`` (``n x d``): ``counts[0] x n``."""
        with torch.no_grad():
            asked = torch.as_tensor(self.columns(x))
            mean, explained = self._predict(asked)
            prior = self._covariance(asked)
            jitter = JITTER * prior.diagonal().mean() * torch.eye(len(x), dtype=prior.dtype)
            root = torch.linalg.cholesky(prior - explained.T @ explained + jitter)
            normal = torch.as_tensor(rng.standard_normal((int(counts[0]), len(x))))
            drawn: Array = ((mean + normal @ root.T) * self._unit).numpy()
        return drawn

    def with_pending(self, x: Array) -> Expert:
        """Count more points that are being tried (``p x d``) in the variance, but not in the mean."""
        return replace(self, pending=x if self.pending is None else np.concatenate([self.pending, x]))

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


class Experts(Protocol):
    """Who answer from one model."""

    @property
    def weights(self) -> Array:
        """How much each of them is heard; they need not sum to 1."""

    def moments(self, x: Array) -> tuple[Array, Array]:
        """Means and variances at ``x`` (``n x d``), each ``experts x n``."""

    def draws(self, x: Array, counts: NDArray[np.int_], rng: np.random.Generator) -> Array:
        """Functions drawn, so many from each of them, at ``x`` (``n x d``)."""

    def with_pending(self, x: Array) -> Experts:
        """Count more points that are being tried (``p x d``) in the variances, but not in the means."""


@dataclass(frozen=True)
class Ensemble:
    """Experts that answer together."""

    experts: tuple[Experts, ...]

    def moments(self, x: Array) -> tuple[Array, Array]:
        """Mean and variance at ``x`` (``n x d``), each ``n``: what experts disagree about is uncertain."""
        weights = self._weights
        means, variances = (np.concatenate(parts) for parts in zip(*(e.moments(x) for e in self.experts), strict=True))
        mean = weights @ means
        return mean, np.maximum(weights @ (variances + means**2) - mean**2, 0.0)

    def draws(self, x: Array, count: int, rng: np.random.Generator) -> Array:
        """Functions drawn from the ensemble, at ``x`` (``n x d``): ``count x n``, each expert with its share."""
        counts = rng.multinomial(count, self._weights)
        ends = np.cumsum([len(each.weights) for each in self.experts])
        parts = zip(self.experts, np.split(counts, ends[:-1]), strict=True)
        return np.concatenate([each.draws(x, asked, rng) for each, asked in parts])

    def with_pending(self, x: Array) -> Ensemble:
        """Count more points that are being tried (``p x d``) in every expert's variance, but not in its mean."""
        if len(x) == 0:
            return self
        return Ensemble(tuple(each.with_pending(x) for each in self.experts))

    @property
    def _weights(self) -> Array:
        weights = np.concatenate([each.weights for each in self.experts])
        return np.asarray(weights / weights.sum())
