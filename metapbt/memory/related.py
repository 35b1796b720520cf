"""The experts who share memory's kernel, and differ in how alike they think sources and target are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metapbt.memory.encoder import Array, Rows
from metapbt.memory.kernel import Seen
from metapbt.memory.trust import RELATEDNESS, forecast_errors
from metapbt.surrogates.threads import one_thread

JITTER = 1e-4  # of a variance: far below what tells points apart, and enough for points that lie on each other


@dataclass(frozen=True)
class Related:
    r"""Experts who know the sources' rows and the target's, one for each degree of relatedness.

    $$k_\rho((v, i), (v', j)) = k(v, v') \cdot (\rho \text{ if } i \ne j \text{ else } 1)$$

    with i and j saying whether rows are the sources' or the target's. That is the target's function being
    $f = \rho f_{sources} + \sqrt{1 - \rho^2} f_{own}$ with two draws of the same process, the intrinsic
    coregionalisation model (Bonilla et al., 2007) for two tasks. With 0 the sources have shaped the kernel but their
    rows say nothing, as in few-shot Bayesian optimisation (Wistuba & Grabocka, 2021).

    What costs most is the same for all: with $L L^T = K_{ss} + N_s$, $z = L^{-1} y_s$ and $A = L^{-1} K_{st}$ the
    target's rows given the sources' have the mean $\rho A^T z$ and the covariance
    $S_\rho = K_{tt} + N_t - \rho^2 A^T A$.

    Attributes:
        see: how points ``n x d`` are seen.
        source: the sources' rows.
        factor: L.
        scaled: z.
        target: the target's rows, and after them points that are being tried: these count in the variance but not in
            the mean.
        between: A.
        changes: of the target's rows; there may be none.
        weights: of these experts.
        relatedness: the degree of each.
    """

    see: Callable[[Array], Seen]
    source: Seen
    factor: Tensor
    scaled: Tensor
    target: Seen
    between: Tensor
    changes: Tensor
    weights: Array
    relatedness: tuple[float, ...]

    @classmethod
    @one_thread()
    @torch.no_grad()
    def of(cls, see: Callable[[Array], Seen], source: Rows, own: Rows, weights: Sequence[float] | Array) -> Related:
        """The experts for ``RELATEDNESS`` with these weights, which need not sum to 1; one without any is left out."""
        heard = [(weight, degree) for weight, degree in zip(weights, RELATEDNESS, strict=True) if weight > 0]
        sources, target = see(source.inputs), see(own.inputs)
        factor = torch.linalg.cholesky(sources.observed())
        both = torch.cat([torch.as_tensor(source.changes)[:, None], sources.covariance(target)], dim=1)
        solved = torch.linalg.solve_triangular(factor, both, upper=False)
        return cls(
            see, sources, factor, solved[:, 0], target, solved[:, 1:], torch.as_tensor(own.changes),
            np.array([weight for weight, _ in heard]), tuple(degree for _, degree in heard),
        )  # fmt: skip

    @one_thread()
    @torch.no_grad()
    def moments(self, x: Array) -> tuple[Array, Array]:
        """What each expert says of the function at ``x`` (``n x d``): means and variances, each ``experts x n``."""
        asked, shape = self.see(x), (len(self.relatedness), len(x))
        means, variances = np.empty(shape), np.empty(shape)
        prior = asked.deviation.square()
        source, predicted = self._predictions(asked)
        told = source.square().sum(dim=0)
        for place, (degree, (mean, explained)) in enumerate(zip(self.relatedness, predicted, strict=True)):
            means[place] = mean.numpy()
            left = prior - degree**2 * told - explained.square().sum(dim=0)
            variances[place] = left.clamp_min(0.0).numpy()
        return means, variances

    @one_thread()
    @torch.no_grad()
    def draws(self, x: Array, counts: NDArray[np.int_], rng: np.random.Generator) -> Array:
        """Functions drawn from each expert's posterior, as many as are asked of it, at ``x`` (``n x d``)."""
        asked = self.see(x)
        prior = asked.covariance(asked) + JITTER * asked.deviation.square().mean() * torch.eye(len(x)).double()
        source, predicted = self._predictions(asked)
        drawn = [np.empty((0, len(x)))]
        for count, degree, (mean, explained) in zip(counts, self.relatedness, predicted, strict=True):
            if count:
                root = torch.linalg.cholesky(prior - degree**2 * source.T @ source - explained.T @ explained)
                normal = torch.as_tensor(rng.standard_normal((int(count), len(x))))
                drawn.append((mean + normal @ root.T).numpy())
        return np.concatenate(drawn)

    @one_thread()
    @torch.no_grad()
    def mean(self, x: Array) -> Array:
        """The means at ``x`` (``n x d``), each times its expert's weight, added up: ``n``, without any variance."""
        known, weights = self._sums
        return np.asarray(self.see(x).sums(known, weights).numpy(), dtype=np.float64)

    @one_thread()
    @torch.no_grad()
    def with_pending(self, x: Array) -> Related:
        """Count more points that are being tried (``p x d``) in every expert's variance, but not in its mean."""
        tried = self.see(x)
        between = torch.linalg.solve_triangular(self.factor, self.source.covariance(tried), upper=False)
        return replace(self, target=self.target.and_then(tried), between=torch.cat([self.between, between], dim=1))

    @one_thread()
    @torch.no_grad()
    def forecast_errors(self, times: NDArray[np.int_]) -> Array:
        """What `metapbt.memory.trust.forecast_errors` says of the target's rows: ``experts x n``."""
        count, found = len(self.changes), np.empty((len(self.relatedness), len(times)))
        for place, (_, residual, covariance) in enumerate(self._given_sources()):
            found[place] = forecast_errors(covariance[:count, :count], residual, times)
        return found

    def _given_sources(self) -> Iterator[tuple[float, Tensor, Tensor]]:
        """Of each expert: its relatedness, the target's changes less their mean, and S with what is being tried."""
        mean = (self.between.T @ self.scaled)[: len(self.changes)]
        covariance, explained = self.target.observed(), self.between.T @ self.between
        for degree in self.relatedness:
            yield degree, self.changes - degree * mean, covariance - degree**2 * explained

    @cached_property
    def _solved(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Of each expert: the factor of S, z less what the target's rows explain of it, and these rows' weights."""
        count, parts = len(self.changes), []
        known = self.between[:, :count]
        for degree, residual, covariance in self._given_sources():
            factor = torch.linalg.cholesky(covariance)
            weights = torch.cholesky_solve(residual.unsqueeze(-1), factor[:count, :count]).squeeze(-1)
            parts.append((factor, self.scaled - degree * (known @ weights), weights))
        return parts

    @cached_property
    def _sums(self) -> tuple[Seen, Tensor]:
        """All rows, and the weight of each in `mean`."""
        scaled, own = torch.zeros_like(self.scaled), torch.zeros_like(self.changes)
        for weight, degree, (_, left, weights) in zip(self.weights, self.relatedness, self._solved, strict=True):
            scaled += weight * degree * left
            own += weight * weights
        source = torch.linalg.solve_triangular(self.factor.T, scaled.unsqueeze(-1), upper=True).squeeze(-1)
        return self.source.and_then(self.target[: len(own)]), torch.cat([source, own])

    def _predictions(self, asked: Seen) -> tuple[Tensor, Iterator[tuple[Tensor, Tensor]]]:
        r"""What is known of points, ``n``.

        Returns:
            $L^{-1} K_{s \cdot}$, by which the sources' rows explain the variance there if relatedness is 1, and of each
            expert the mean, ``n``, and what explains more of the variance, ``known x n``.
        """
        source = torch.linalg.solve_triangular(self.factor, self.source.covariance(asked), upper=False)
        target, count = self.target.covariance(asked), len(self.changes)
        between = self.between.T @ source

        def each() -> Iterator[tuple[Tensor, Tensor]]:
            for degree, (factor, left, weights) in zip(self.relatedness, self._solved, strict=True):
                mean = degree * (left @ source) + weights @ target[:count]
                yield mean, torch.linalg.solve_triangular(factor, target - degree**2 * between, upper=False)

        return source, each()
