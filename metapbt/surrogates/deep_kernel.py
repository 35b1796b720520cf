"""The surrogate that remembers: a Gaussian process over features that a network learned from related contexts."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from botorch.models import SingleTaskGP
from botorch.settings import validate_input_scaling
from gpytorch.constraints import Interval
from gpytorch.kernels import RBFKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

from metapbt.surrogates.kernels import DeepKernel

MAX_STEPS = 300
CHECK_EVERY = 10  # steps between two looks at the held-out rows
PATIENCE = 5  # looks without improvement before training stops
HELD_OUT = 0.2  # share of the rows


def fit_deep_kernel_gp(x: Tensor, y: Tensor, seed: int) -> SingleTaskGP:
    """Fit a GP with an RBF kernel over a small network, both by marginal likelihood, stopped early.

    Training stops when the predictive density of held-out rows stops growing; the best weights are kept, and the
    model returned is conditioned on all rows, held-out ones included.

    Source: Wilson et al. (2016), deep kernel learning.

    Args:
        x: shape ``n x d``, with columns of about unit scale.
        y: shape ``n x 1``, standardised.
        seed: of the weights and of the choice of held-out rows.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _network(x.shape[-1]).to(x)
        order = torch.randperm(len(x))
    held_out = order[: int(HELD_OUT * len(x))]
    trained = order[len(held_out) :]
    model: Any = _gp(x[trained], y[trained], network)
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    best, best_density, since_best = copy.deepcopy(model.state_dict()), -math.inf, 0
    for step in range(MAX_STEPS):
        if step % CHECK_EVERY == 0 and len(held_out) > 0:
            density = log_predictive_density(model, x[held_out], y[held_out])
            since_best += 1
            if density > best_density:
                best, best_density, since_best = copy.deepcopy(model.state_dict()), density, 0
            if since_best >= PATIENCE:
                break
        model.train()
        optimiser.zero_grad()
        loss = -mll(model(*model.train_inputs), model.train_targets)
        loss.backward()
        optimiser.step()
    if len(held_out) > 0:
        model.load_state_dict(best)
    model.set_train_data(x, y.squeeze(-1), strict=False)
    fitted: SingleTaskGP = model.eval()
    return fitted


def log_predictive_density(model: SingleTaskGP, x: Tensor, y: Tensor) -> float:
    """Mean log density predicted for observations ``y`` (``n x 1``) at ``x`` (``n x d``), noise included."""
    model.eval()
    with torch.no_grad():
        posterior = model.posterior(x, observation_noise=True)
        normal = torch.distributions.Normal(posterior.mean, posterior.variance.sqrt())
        return float(normal.log_prob(y).mean())


def _network(inputs: int) -> torch.nn.Module:
    # Smooth activations: the acquisition is maximised by gradients through the network.
    return torch.nn.Sequential(
        torch.nn.Linear(inputs, 32),
        torch.nn.SiLU(),
        torch.nn.Linear(32, 32),
        torch.nn.SiLU(),
        torch.nn.Linear(32, 8),
    )


def _gp(x: Tensor, y: Tensor, network: torch.nn.Module) -> SingleTaskGP:
    rbf = RBFKernel(lengthscale_constraint=Interval(0.05, 10.0, initial_value=1.0))
    scale = ScaleKernel(rbf, outputscale_constraint=Interval(0.05, 20.0, initial_value=1.0))
    likelihood = GaussianLikelihood(noise_constraint=Interval(1e-4, 1.0, initial_value=0.1))
    with validate_input_scaling(False):  # rows are standardised once, by whoever knows all sources
        return SingleTaskGP(
            x, y, likelihood=likelihood, covar_module=DeepKernel(scale, network), outcome_transform=None
        )
