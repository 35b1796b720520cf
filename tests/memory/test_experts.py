from dataclasses import replace

import numpy as np
import pytest
import torch

from metapbt.memory.experts import (
    Ensemble,
    Expert,
    best_together,
    evidence,
    forecast_errors,
    search,
    shares,
)
from metapbt.memory.kernel import MetaModel
from metapbt.memory.scales import Rows
from metapbt.memory.training import learned
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
    mean, variance = Expert(model, itself, unit=2.0, pending=pending).moments(asked)
    posterior = with_pending(model, torch.as_tensor(pending)).posterior(torch.as_tensor(asked))
    np.testing.assert_allclose(mean, 2 * posterior.mean.detach().squeeze(-1), rtol=1e-6)
    np.testing.assert_allclose(variance, 4 * posterior.variance.detach().squeeze(-1), rtol=1e-4, atol=1e-8)


def test_drawn_functions_have_the_posteriors_mean_and_covariance(model):
    rng = np.random.default_rng(2)
    asked = rng.random((4, 3)) * 3  # far from the data too
    drawn = Expert(model, itself).draws(asked, 40_000, rng)
    posterior = model.posterior(torch.as_tensor(asked))
    scale = posterior.variance.detach().max().item()
    np.testing.assert_allclose(drawn.mean(axis=0), posterior.mean.detach().squeeze(-1), atol=0.03 * scale**0.5)
    np.testing.assert_allclose(np.cov(drawn.T), posterior.mvn.covariance_matrix.detach(), atol=0.03 * scale)


def test_forecast_errors_are_those_of_predicting_each_time_from_what_was_before(model):
    x, y = model.train_inputs[0], model.train_targets
    times = np.array([1.0, 0.0, 1.0, 0.0, 2.0])
    errors = forecast_errors(model, times)
    constant = model.mean_module.constant.detach()
    for place, (time, error) in enumerate(zip(times, errors, strict=True)):
        before = [*range(25), *(25 + np.flatnonzero(times < time))]
        k = model.covar_module(x).to_dense().detach()
        noise = model.likelihood.noise.detach() * torch.eye(len(before), dtype=k.dtype)
        weights = torch.linalg.solve(k[before][:, before] + noise, y[before] - constant)
        wrong = y[25 + place] - constant - k[25 + place, before] @ weights
        assert error == pytest.approx((wrong * model.outcome_transform.stdvs.squeeze()).item(), rel=1e-6)


def test_evidence_overlooks_what_a_whole_generation_shares():
    times, noise = np.repeat([0.0, 1.0, 2.0], 4), np.ones(12)
    errors = np.random.default_rng(0).standard_normal(12)
    assert evidence(errors + 100 * times, times, noise) == pytest.approx(evidence(errors, times, noise))
    assert evidence(0.1 * errors, times, noise) > evidence(errors, times, noise) + 5
    assert evidence(errors[:1], times[:1], noise[:1]) == 0.0


def test_evidence_forgives_errors_where_luck_is_large():
    times, errors = np.repeat([0.0, 1.0], 20), np.random.default_rng(0).standard_normal(40)
    wild = np.where(times == 0, 100.0, 1.0)
    noisy = np.sqrt(wild) * errors
    worse = np.where(times == 1, 2.0, 1.0) * noisy  # bad where it would be easy to be good
    lost = evidence(noisy, times, wild) - evidence(worse, times, wild)
    assert lost > 10 > evidence(noisy, times, np.ones(40)) - evidence(worse, times, np.ones(40))
    assert evidence(noisy, times, 7 * wild) == pytest.approx(evidence(noisy, times, wild))


def test_shares_are_prior_times_likelihood():
    np.testing.assert_allclose(shares([0.5, 0.25, 0.25], [0.0, np.log(2), -1e9]), [0.5, 0.5, 0.0], atol=1e-12)


def test_a_ensemble_is_uncertain_where_its_experts_disagree(model):
    x = np.array([[0.5, 0.5, 0.5]])
    plain, doubled = Expert(model, itself, weight=1.0), Expert(model, itself, unit=2.0, weight=1.0)
    mean, variance = Ensemble((plain, doubled)).moments(x)
    (m,), (v,) = plain.moments(x)
    assert mean[0] == pytest.approx(1.5 * m)
    assert variance[0] == pytest.approx(2.5 * v + 0.25 * m**2)


def test_the_best_together_are_good_and_unlike_each_other():
    draws = np.array([[5.0, 4.9, 0.0, 1.0], [0.0, 0.3, 4.0, 1.0]])
    assert best_together(draws, [], 2) == [1, 2]  # 0 and 1 are good in the same world
    assert best_together(draws, [2], 1) == [0]
    assert sorted(best_together(draws, [2], 3)) == [0, 1, 3]  # none twice


def test_search_finds_the_top_between_the_points_that_fill_the_cube():
    top = np.array([0.31, 0.77])
    found = search(lambda x: -((x - top) ** 2).sum(axis=1), 2, np.empty((0, 2)), np.random.default_rng(0), points=64)
    assert np.abs(found - top).max() < 0.02


def rows(contexts=3, seed=0):
    """A peak that moves with the context's feature (column 2)."""
    rng = np.random.default_rng(seed)
    which = np.repeat(np.arange(contexts), 30)
    feature = which - (contexts - 1) / 2
    x = rng.random(len(which))
    y = np.exp(-((x - 0.5 - 0.1 * feature) ** 2) / 0.05) * 3 + 0.1 * rng.standard_normal(len(which))
    return Rows(np.column_stack([rng.integers(5, size=len(which)) / 5, rng.random(len(which)), feature, x]), y, which)


def test_memory_of_like_contexts_is_believed_and_that_of_opposite_ones_is_not():
    data = rows()
    memory = learned(data, 1, 1, deep=False)
    model = memory.model
    own, others = data[data.contexts == 1][:6], data[data.contexts != 1]
    weights = []
    for sign in (1, -1):
        target = Rows(own.inputs, sign * own.changes, own.contexts)
        times = np.zeros(len(own))
        errors = [forecast_errors(model.conditioned(others, target, r), times) for r in (0.0, 0.95)]
        noise = model.noise(own.inputs)
        weights.append(shares([1, 1], [evidence(e, times, noise) for e in errors])[1])
    assert weights[0] > 0.6
    assert weights[1] < 0.1
    assert memory.trust() > 0.5


def test_large_early_and_small_late_changes_are_learned_as_such():
    data = rows(contexts=8)
    late = data.inputs[:, 0] >= 0.4
    rng = np.random.default_rng(5)
    luck = np.where(late, 0.05, 1.0) * rng.standard_normal(len(data))
    changes = np.where(late, 0.1, 1.0) * data.changes + luck
    model = learned(Rows(data.inputs, changes, data.contexts), 1, 1, deep=False).model
    early_place, late_place = np.array([[0.2, 0.5, 0.0, 0.5]]), np.array([[0.8, 0.5, 0.0, 0.5]])
    assert 0.2 < model.noise(early_place)[0] < 3
    assert model.noise(late_place)[0] < 0.02
    deviations = model.stage(torch.as_tensor(np.concatenate([early_place, late_place])))[0].detach().numpy()
    assert deviations[1] < 0.5 * deviations[0]


def test_points_pending_in_a_learned_model_have_their_own_noise():
    data = rows()
    model = learned(data, 1, 1, deep=False).model
    pending, asked = data.inputs[:3] + 0.1, data.inputs[3:9]
    answered = replace(model.expert(data, data[:0], 0.8), pending=pending).moments(asked)
    known = Rows(np.concatenate([data.inputs[:0], pending]), np.zeros(3), np.zeros(3, dtype=int))
    posterior = model.conditioned(data, known, 0.8).posterior(torch.as_tensor(np.c_[asked, np.ones(len(asked))]))
    np.testing.assert_allclose(answered[1], posterior.variance.detach().squeeze(-1), rtol=1e-4, atol=1e-8)


def test_one_context_leaves_trust_untested_and_trains_all_the_same():
    data = rows(contexts=1)
    memory = learned(data, 1, 1, deep=True)
    assert 0 < memory.trust() < 1
    assert not any(np.isnan(value).any() for value in memory.weights().values())


def test_held_out_contexts_say_how_long_to_train_but_none_for_the_model_without_it(monkeypatch):
    forecast = {0: [0.0, 5.0, 0.0], 1: [0.0, 0.0, 1.0], 2: [0.0, 0.0, 3.0]}
    steps_of_all, taken = [], []

    def train(self, rows, phase, steps, unseen=None):
        if unseen is None:
            steps_of_all.append(steps)
            return []
        assert set(rows.contexts) | set(unseen.contexts) == {0, 1, 2}
        return [(density, i) for i, density in enumerate(forecast[unseen.contexts[0]])]

    monkeypatch.setattr(MetaModel, "train", train)
    monkeypatch.setattr(MetaModel, "load", lambda self, look: taken.append(look))
    learned(rows(), 1, 1, deep=False)
    assert taken == [2, 1, 1]
    assert steps_of_all == [25]


def test_relatedness_says_how_far_the_sources_rows_count():
    data, model = rows(), MetaModel(2, 1, 1)
    none, asked = data[:0], data.inputs[:5]
    with_target = np.column_stack([asked, np.ones(5)])
    means = []
    for relatedness in (0.0, 0.5, 0.95):
        posterior = model.conditioned(data, none, relatedness).posterior(torch.as_tensor(with_target))
        means.append(posterior.mean.detach().squeeze(-1).numpy())
    np.testing.assert_allclose(means[0], 0.0, atol=1e-9)
    np.testing.assert_allclose(means[1] * 0.95, means[2] * 0.5)


def test_a_new_deep_kernel_is_a_plain_one():
    model, x = MetaModel(2, 1, 3), torch.rand(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gaps = ((x[:, None] - x) * torch.as_tensor(model.relevance)).square().sum(-1)
    torch.testing.assert_close(model.kernel(x).to_dense(), torch.exp(-gaps / 2))
    np.testing.assert_allclose(np.ptp(model.noise(x.numpy())), 0.0, atol=1e-12)
