import numpy as np
import pytest
import torch

from metapbt.memory.experts import Ensemble, Expert
from metapbt.surrogates.acquisition import with_pending
from metapbt.surrogates.time_varying import fit_time_varying_gp


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    x = rng.random((30, 3))
    y = 3 + 5 * np.sin(3 * x[:, 1:2]) + 0.1 * rng.normal(size=(30, 1))
    return fit_time_varying_gp(torch.as_tensor(x), torch.as_tensor(y))


def itself(x):
    return x


def test_an_expert_answers_as_botorch_does_with_points_pending(model):
    rng = np.random.default_rng(1)
    asked, pending = rng.random((7, 3)), rng.random((4, 3))
    mean, variance = Expert(model, itself, unit=2.0).with_pending(pending[:1]).with_pending(pending[1:]).moments(asked)
    posterior = with_pending(model, torch.as_tensor(pending)).posterior(torch.as_tensor(asked))
    np.testing.assert_allclose(mean[0], 2 * posterior.mean.detach().squeeze(-1), rtol=1e-6)
    np.testing.assert_allclose(variance[0], 4 * posterior.variance.detach().squeeze(-1), rtol=1e-4, atol=1e-8)


def test_drawn_functions_have_the_posteriors_mean_and_covariance(model):
    rng = np.random.default_rng(2)
    asked = rng.random((4, 3)) * 3  # far from the data too
    drawn = Expert(model, itself).draws(asked, np.array([40_000]), rng)
    posterior = model.posterior(torch.as_tensor(asked))
    scale = posterior.variance.detach().max().item()
    np.testing.assert_allclose(drawn.mean(axis=0), posterior.mean.detach().squeeze(-1), atol=0.03 * scale**0.5)
    np.testing.assert_allclose(np.cov(drawn.T), posterior.mvn.covariance_matrix.detach(), atol=0.03 * scale)


def test_an_ensemble_is_uncertain_where_its_experts_disagree(model):
    x = np.array([[0.5, 0.5, 0.5]])
    plain, doubled = Expert(model, itself, weight=1.0), Expert(model, itself, unit=2.0, weight=1.0)
    mean, variance = Ensemble((plain, doubled)).moments(x)
    ((m,),), ((v,),) = plain.moments(x)
    assert mean[0] == pytest.approx(1.5 * m)
    assert variance[0] == pytest.approx(2.5 * v + 0.25 * m**2)


def test_each_expert_draws_its_share(model):
    x = np.array([[0.5, 0.5, 0.5]])
    small, large = Expert(model, itself, unit=1.0, weight=9.0), Expert(model, itself, unit=100.0, weight=1.0)
    drawn = Ensemble((small, large)).draws(x, 1000, np.random.default_rng(0))
    assert drawn.shape == (1000, 1)
    assert 0.05 < np.mean(np.abs(drawn) > 50) < 0.15
