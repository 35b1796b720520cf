import math

import pytest
import torch

from metapbt.surrogates.acquisition import conditioned, growing_beta, maximise_ucb, with_pending
from metapbt.surrogates.deep_kernel import fit_deep_kernel_gp, log_predictive_density
from metapbt.surrogates.time_varying import fit_time_varying_gp


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(20, 3, generator=generator, dtype=torch.float64)
    y = torch.sin(3 * x[:, 1:2]) + x[:, 2:] ** 2 + 0.01 * torch.randn(20, 1, generator=generator, dtype=torch.float64)
    return x, y


@pytest.mark.parametrize("fit", [fit_time_varying_gp, lambda x, y: fit_deep_kernel_gp(x, y, seed=0)])
def test_pending_points_count_in_the_variance_but_not_in_the_mean(data, fit):
    model = fit(*data)
    points = torch.rand(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    pending = torch.tensor([[0.5, 0.1, 0.9], [0.5, 0.9, 0.1]], dtype=torch.float64)
    informed = with_pending(model, pending)
    before, after = model.posterior(points), informed.posterior(points)
    torch.testing.assert_close(after.mean, before.mean, atol=1e-5, rtol=0)
    assert (after.variance <= before.variance + 1e-9).all()
    assert informed.posterior(pending).variance.sum() < 0.9 * model.posterior(pending).variance.sum()


def test_no_pending_points_leave_the_model_as_it_is(data):
    model = fit_time_varying_gp(*data)
    assert with_pending(model, torch.empty(0, 3, dtype=torch.float64)) is model


def test_the_maximiser_finds_what_a_fine_grid_finds_and_keeps_fixed_columns(data):
    model = fit_time_varying_gp(*data)
    bounds = torch.tensor([[0.0] * 3, [1.0] * 3], dtype=torch.float64)
    best = maximise_ucb(model, bounds, fixed={0: 0.7}, beta=2.0, seed=0)
    assert best[0] == 0.7
    axis = torch.linspace(0, 1, 41, dtype=torch.float64)
    grid = torch.cartesian_prod(torch.tensor([0.7], dtype=torch.float64), axis, axis)

    def ucb(x):
        posterior = model.posterior(x)
        return posterior.mean + math.sqrt(2.0) * posterior.variance.sqrt()

    with torch.no_grad():
        assert ucb(best.reshape(1, 3)).item() >= ucb(grid).max().item() - 1e-4


def test_the_same_seed_gives_the_same_point(data):
    model = fit_time_varying_gp(*data)
    bounds = torch.tensor([[0.0] * 3, [1.0] * 3], dtype=torch.float64)
    torch.manual_seed(1)
    first = maximise_ucb(model, bounds, {}, beta=1.0, seed=3)
    torch.manual_seed(2)
    assert torch.equal(first, maximise_ucb(model, bounds, {}, beta=1.0, seed=3))


def test_the_weight_of_the_variance_grows_as_published():
    assert growing_beta(1) == 0.2
    assert growing_beta(100) == pytest.approx(0.2 + math.log(40))


def test_fitting_the_time_varying_gp_leaves_its_bounds_respected(data):
    model = fit_time_varying_gp(data[0], torch.zeros(20, 1, dtype=torch.float64))  # nothing to learn
    decay, scale = model.covar_module.kernels
    assert 1e-4 <= decay.epsilon.item() <= 0.5
    assert 0.05 <= scale.base_kernel.lengthscale.item() <= 3.0


def test_a_deep_kernel_predicts_unseen_rows_better_than_knowing_only_their_spread():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(150, 4, generator=generator, dtype=torch.float64)
    y = torch.sin(4 * x[:, :1] * x[:, 1:2]) + x[:, 2:3]
    y = (y - y.mean()) / y.std() + 0.05 * torch.randn(150, 1, generator=generator, dtype=torch.float64)
    model = fit_deep_kernel_gp(x[:100], y[:100], seed=0)
    spread_only = torch.distributions.Normal(0.0, 1.0).log_prob(y[100:]).mean().item()
    assert log_predictive_density(model, x[100:], y[100:]) > spread_only + 1.0


def test_a_deep_kernel_is_decided_by_its_seed_alone(data):
    states = []
    for noise in range(2):
        torch.manual_seed(noise)
        states.append(fit_deep_kernel_gp(*data, seed=4).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_a_deep_kernel_takes_so_few_rows_that_none_can_be_held_out():
    x = torch.rand(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model = fit_deep_kernel_gp(x, x[:, :1], seed=0)
    assert torch.isfinite(model.posterior(x).mean).all()


def test_conditioning_holds_where_new_points_lie_on_old_ones():
    x = torch.rand(30, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = x[:, 1:2] * 3  # no noise at all
    model = fit_time_varying_gp(x, y)
    informed = conditioned(model, x.repeat(3, 1), y.repeat(3, 1))
    torch.testing.assert_close(informed.posterior(x).mean, y, atol=0.02, rtol=0)
