"""The surrogate of PB2: a Gaussian process that forgets."""

from __future__ import annotations

from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.settings import validate_input_scaling
from gpytorch.constraints import Interval
from gpytorch.kernels import RBFKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

from metapbt.surrogates.kernels import TimeDecayKernel


def fit_time_varying_gp(x: Tensor, y: Tensor) -> SingleTaskGP:
    """Fit the time-varying GP of PB2 (Parker-Holder et al., 2020, section 3.2) by marginal likelihood.

    Args:
        x: shape ``n x d``; column 0 is the time in generations, the others lie in [0, 1].
        y: shape ``n x 1``; standardised inside.

    Returns:
        The fitted model, whose posterior is in the units of ``y``.
    """
    dimensions = tuple(range(1, x.shape[-1]))
    # In [0, 1] a lengthscale below 0.05 sees only noise and one above 3 only a plane; noise below 1e-4 of the
    # variance invites a singular covariance, for returns are never that exact.
    rbf = RBFKernel(active_dims=dimensions, lengthscale_constraint=Interval(0.05, 3.0, initial_value=0.5))
    scale = ScaleKernel(rbf, outputscale_constraint=Interval(0.05, 20.0, initial_value=1.0))
    decay = TimeDecayKernel(active_dims=(0,))
    decay.epsilon = 0.1
    likelihood = GaussianLikelihood(noise_constraint=Interval(1e-4, 1.0, initial_value=0.1))
    with validate_input_scaling(False):  # the time is in generations on purpose: forgetting has a unit
        model = SingleTaskGP(x, y, likelihood=likelihood, covar_module=decay * scale)
    fit_gpytorch_mll(ExactMarginalLogLikelihood(likelihood, model))
    return model
