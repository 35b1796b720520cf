"""The surrogates of the PB2 family: Gaussian processes that forget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from botorch.models import SingleTaskGP
from botorch.models.transforms.outcome import Standardize
from botorch.settings import validate_input_scaling
from gpytorch.constraints import Interval
from gpytorch.kernels import Kernel, RBFKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from numpy.typing import NDArray
from torch import Tensor

from metapbt.surrogates.fitting import fit
from metapbt.surrogates.kernels import MixKernel, OverlapKernel, TimeDecayKernel
from metapbt.surrogates.thinning import evenly

FIT_ROWS = 80  # from which the kernel's parameters are fitted
KEPT_ROWS = 200  # on which the posterior is conditioned
MAX_ITERATIONS = 30  # of L-BFGS; it usually stops before
SMALLEST = 1e-100  # deviation: BoTorch's default, 1e-8, is a usual change of return for each environment step


def relevant_rows(
    generations: Sequence[int], returns_before: Sequence[float] | NDArray[np.float64], now: int, here: float
) -> NDArray[np.intp]:
    """Rank rows by how much they can matter for a suggestion: its cost need not grow with the history.

    The time and the return of a suggestion are given, so a row's covariance with it is at most
    (1 - e)^(|t - now| / 2) * exp(-|r - here|^2 / (2 l^2)), however near its hyperparameters are. Rows are ranked by
    this bound, with e and l where their fit starts.

    Args:
        generations: when each row was trained; after ``now`` where a member that is behind the others decides.
        returns_before: what each row started from, scaled to [0, 1].
        now: the coming generation.
        here: the scaled return that the suggestion starts from.

    Returns:
        The rows' positions, the most relevant first. ``KEPT_ROWS`` of them are enough for a model.
    """
    ages = np.abs(now - np.asarray(generations))
    gaps = np.asarray(returns_before) - here
    bounds = ages / 2 * np.log(1 - _EPSILON) - gaps**2 / (2 * _LENGTHSCALE**2)
    return np.argsort(-bounds, kind="stable")


def fit_time_varying_gp(x: Tensor, y: Tensor) -> SingleTaskGP:
    """Fit the time-varying GP of PB2 (Parker-Holder et al., 2020, section 3.2) by marginal likelihood.

    Args:
        x: shape ``n x d``, the most relevant rows first; column 0 is the time in generations, the others lie in [0, 1].
        y: shape ``n x 1``; standardised inside.

    Returns:
        The model fitted to ``FIT_ROWS`` of the rows, spread over all of them, and conditioned on all.
    """
    return _fit(x, y, _time_varying_rbf(tuple(range(1, x.shape[-1]))))


def fit_mixed_gp(x: Tensor, y: Tensor, categories: int) -> SingleTaskGP:
    """Fit the time-varying mixed GP of PB2-Mix (Parker-Holder et al., 2021, section 4.2) by marginal likelihood.

    Args:
        x: as for ``fit_time_varying_gp``, but the last ``categories`` columns hold codes of categories.
        y: shape ``n x 1``; standardised inside.
        categories: how many columns are categories, at least 1.
    """
    width = x.shape[-1]
    overlap = ScaleKernel(
        OverlapKernel(active_dims=tuple(range(width - categories, width))),
        outputscale_constraint=Interval(0.05, 20.0, initial_value=1.0),
    )
    continuous = _time_varying_rbf(tuple(range(1, width - categories)))
    return _fit(x, y, MixKernel(continuous, _decay() * overlap))


_EPSILON = 0.1  # of forgetting, and
_LENGTHSCALE = 0.5  # in the unit cube: where their fit starts


def _fit(x: Tensor, y: Tensor, kernel: Kernel) -> SingleTaskGP:
    likelihood = GaussianLikelihood(noise_constraint=Interval(1e-4, 1.0, initial_value=0.1))
    some = torch.as_tensor(evenly(len(x), FIT_ROWS))  # rows are sorted by relevance: a fair sample of all
    with validate_input_scaling(False):  # the time is in generations on purpose: forgetting has a unit
        model = SingleTaskGP(
            x[some],
            y[some],
            likelihood=likelihood,
            covar_module=kernel,
            outcome_transform=Standardize(m=1, min_stdv=SMALLEST),
        )
    fit(model, MAX_ITERATIONS)
    if len(x) > len(some):
        everything: Any = model
        targets, _ = everything.outcome_transform(y)
        everything.set_train_data(x, targets.squeeze(-1), strict=False)
    return model


def _time_varying_rbf(columns: tuple[int, ...]) -> Kernel:
    # In [0, 1] a lengthscale below 0.05 sees only noise and one above 3 only a plane; noise below 1e-4 of the
    # variance invites a singular covariance, for returns are never that exact.
    constraint = Interval(0.05, 3.0, initial_value=_LENGTHSCALE)
    rbf = RBFKernel(active_dims=columns, lengthscale_constraint=constraint)
    return _decay() * ScaleKernel(rbf, outputscale_constraint=Interval(0.05, 20.0, initial_value=1.0))


def _decay() -> TimeDecayKernel:
    decay = TimeDecayKernel(active_dims=(0,))
    decay.epsilon = _EPSILON
    return decay
