"""Kernels against the values of the published code of PB2 (tests/data/kernels.json states its formula and source)."""

import json
import math
from pathlib import Path

import gpytorch
import pytest
import torch
from botorch.models import SingleTaskGP
from gpytorch.constraints import Interval
from gpytorch.kernels import RBFKernel, ScaleKernel

from metapbt.surrogates.kernels import DeepKernel, MixKernel, OverlapKernel, TimeDecayKernel

DATA = Path(__file__).parent.parent / "data" / "kernels.json"
CASES = json.loads(DATA.read_text())["time_varying_squared_exponential"]["cases"]


def published_kernel(case):
    columns = tuple(range(1, len(case["X"][0])))
    rbf = RBFKernel(active_dims=columns).double()
    rbf.lengthscale = math.sqrt(case["lengthscale"] / 2)  # theirs is exp(-r^2 / l), GPyTorch's exp(-r^2 / (2 l^2))
    scale = ScaleKernel(rbf).double()
    scale.outputscale = case["variance"]
    decay = TimeDecayKernel(epsilon_constraint=Interval(-0.1, 1.0), active_dims=(0,)).double()  # a case forgets nothing
    decay.epsilon = case["epsilon"]
    return decay * scale


def tensor(rows):
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("case", CASES)
def test_the_time_varying_kernel_equals_the_published_one(case):
    kernel = published_kernel(case)
    x, z = tensor(case["X"]), tensor(case["Z"])
    torch.testing.assert_close(kernel(x, z).to_dense(), tensor(case["K_xz"]), atol=1e-6, rtol=0)
    torch.testing.assert_close(kernel(x, x).to_dense(), tensor(case["K_xx"]), atol=1e-6, rtol=0)
    torch.testing.assert_close(kernel(x, x, diag=True), tensor(case["K_xx"]).diagonal(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("case", CASES)
def test_the_posterior_and_the_marginal_likelihood_equal_the_published_ones(case):
    x, y, z = tensor(case["X"]), tensor(case["y"]).reshape(-1, 1), tensor(case["Z"])
    likelihood = gpytorch.likelihoods.GaussianLikelihood().double()
    likelihood.noise = case["noise"]
    mean = gpytorch.means.ZeroMean()
    model = SingleTaskGP(
        x,
        y,
        likelihood=likelihood,
        covar_module=published_kernel(case),
        mean_module=mean,
        outcome_transform=None,
    )
    mll = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
    model.train()
    density = mll(model(x), y.squeeze(-1)) * len(y)
    assert density.item() == pytest.approx(case["log_marginal_likelihood"], abs=1e-6)
    posterior = model.posterior(z)
    torch.testing.assert_close(posterior.mean.squeeze(-1), tensor(case["posterior_mean"]).flatten(), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        posterior.variance.squeeze(-1), tensor(case["posterior_variance"]).flatten(), atol=1e-6, rtol=0
    )


def test_without_forgetting_time_does_not_matter():
    kernel = TimeDecayKernel(epsilon_constraint=Interval(0.0, 0.5)).double()
    kernel.epsilon = 1e-12
    times = tensor([[0.0], [5.0], [100.0]])
    torch.testing.assert_close(kernel(times).to_dense(), torch.ones(3, 3, dtype=torch.float64))


def test_the_rate_of_forgetting_has_a_gradient():
    kernel = TimeDecayKernel().double()
    kernel(tensor([[0.0], [3.0]])).to_dense().sum().backward()
    assert kernel.raw_epsilon.grad.abs() > 0


def test_a_deep_kernel_is_its_base_kernel_over_the_networks_outputs():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)).double()
    base = RBFKernel().double()
    deep = DeepKernel(base, network)
    x, z = torch.rand(6, 3, dtype=torch.float64), torch.rand(4, 3, dtype=torch.float64)
    torch.testing.assert_close(deep(x, z).to_dense(), base(network(x), network(z)).to_dense())
    torch.testing.assert_close(deep(x).to_dense(), base(network(x)).to_dense())


def mixed_kernel(case):
    width = len(case["X"][0])
    categories = tuple(case["categorical_columns"])
    numbers = tuple(i for i in range(1, width) if i not in categories)

    def decay(epsilon):
        kernel = TimeDecayKernel(epsilon_constraint=Interval(-0.1, 1.0), active_dims=(0,)).double()
        kernel.epsilon = epsilon
        return kernel

    rbf = ScaleKernel(RBFKernel(active_dims=numbers)).double()
    rbf.base_kernel.lengthscale = math.sqrt(case["lengthscale"] / 2)
    rbf.outputscale = case["variance_continuous"]
    overlap = ScaleKernel(OverlapKernel(active_dims=categories)).double()
    overlap.outputscale = case["variance_categorical"]
    kernel = MixKernel(decay(case["epsilon_continuous"]) * rbf, decay(case["epsilon_categorical"]) * overlap).double()
    kernel.mix = case["mix"]
    return kernel


@pytest.mark.parametrize("case", json.loads(DATA.read_text())["time_varying_mixed"]["cases"])
def test_the_time_varying_mixed_kernel_equals_the_published_one(case):
    kernel, x, z = mixed_kernel(case), tensor(case["X"]), tensor(case["Z"])
    torch.testing.assert_close(kernel(x, z).to_dense(), tensor(case["K_xz"]), atol=1e-6, rtol=0)
    torch.testing.assert_close(kernel(x, x).to_dense(), tensor(case["K_xx"]), atol=1e-6, rtol=0)
    torch.testing.assert_close(kernel(x, x, diag=True), tensor(case["K_xx"]).diagonal(), atol=1e-6, rtol=0)
