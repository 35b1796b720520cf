import re

import numpy as np
import pytest
import torch

from metapbt.memory.experts import Expert
from metapbt.memory.trust import PRIOR, evidence, explained, prior, refits, shares
from metapbt.surrogates.time_varying import fit_time_varying_gp


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    x = rng.random((30, 3))
    y = 3 + 5 * np.sin(3 * x[:, 1:2]) + 0.1 * rng.normal(size=(30, 1))
    return fit_time_varying_gp(torch.as_tensor(x), torch.as_tensor(y))


def test_forecast_errors_are_those_of_predicting_each_time_from_what_was_before(model):
    x, y = model.train_inputs[0], model.train_targets
    times = np.array([1.0, 0.0, 1.0, 0.0, 2.0])
    errors = Expert(model, lambda x: x).forecast_errors(times)
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


def test_evidence_forgives_errors_where_noise_is_large():
    times, errors = np.repeat([0.0, 1.0], 20), np.random.default_rng(0).standard_normal(40)
    wild = np.where(times == 0, 100.0, 1.0)
    noisy = np.sqrt(wild) * errors
    worse = np.where(times == 1, 2.0, 1.0) * noisy  # bad where it would be easy to be good
    lost = evidence(noisy, times, wild) - evidence(worse, times, wild)
    assert lost > 10 > evidence(noisy, times, np.ones(40)) - evidence(worse, times, np.ones(40))
    assert evidence(noisy, times, 7 * wild) == pytest.approx(evidence(noisy, times, wild))


def test_shares_are_prior_times_likelihood():
    np.testing.assert_allclose(shares([0.5, 0.25, 0.25], [0.0, np.log(2), -1e9]), [0.5, 0.5, 0.0], atol=1e-12)


def test_without_evidence_trust_is_the_prior():
    for trust in (0.1, 0.3, PRIOR):
        assert shares(prior(trust), [0.0] * 4)[1:].sum() == pytest.approx(trust)


@pytest.mark.parametrize(
    "times",
    [
        np.arange(24),  # a population of one
        np.repeat(np.arange(6), 4),
        np.array([0, 0, 0, 1, 2, 2, 2, 2, 3, 4, 5, 6, 6, 6, 7, 8, 9, 9, 9, 10, 11, 11, 12, 12]),  # stragglers
    ],
)
def test_a_bad_expert_loses_whatever_the_times(times):
    rng = np.random.default_rng(0)
    lost = []
    for _ in range(50):
        noise, drift = rng.standard_normal(24), 0.3 * np.cumsum(rng.standard_normal(13))[times // 2]
        wrong = 2 * rng.standard_normal(24)
        lost.append(evidence(noise + drift, times, np.ones(24)) - evidence(noise + drift + wrong, times, np.ones(24)))
    assert np.mean(lost) > 3
    assert np.mean(np.array(lost) > 0) > 0.9


def test_a_row_that_is_alone_at_its_time_is_not_judged_by_another_time():
    times, noise = np.array([0, 0, 0, 1, 2, 2, 2]), np.ones(7)
    errors = np.array([0.1, -0.2, 0.3, 0.0, 0.2, 0.0, -0.1])
    assert evidence(errors + 100 * (times == 1), times, noise) == pytest.approx(evidence(errors, times, noise))


def test_every_row_is_judged_once_by_parameters_fitted_to_rows_of_earlier_times():
    for times in (np.repeat(np.arange(20), 4), np.arange(30)[::-1], np.array([3]), np.zeros(5, dtype=int)):
        judged = []
        for known, now in refits(times):
            assert len(now) > 0
            assert times[known].max(initial=-1) < times[now].min()
            assert len(known) == (times < times[now].min()).sum()  # and to all of them
            judged += list(now)
        assert sorted(judged) == list(range(len(times)))
    first = [len(known) for known, _ in refits(np.repeat(np.arange(20), 4))]
    assert first == [0, 12, 24, 48]


def test_the_log_of_a_forecast_adds_up():
    rng = np.random.default_rng(0)
    for weights in rng.dirichlet([0.3] * 5, size=50):
        parts = [int(part) for part in re.findall(r"(\d+)%", explained(weights))]
        assert sum(parts) == 100
        assert parts[0] == pytest.approx(100 * weights[1:4].sum(), abs=1)
    assert explained([0.2, 0.2, 0.2, 0.4]).endswith("0% from this run alone")
