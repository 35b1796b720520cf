import re

import numpy as np
import pytest
import torch

from metapbt.memory.experts import Expert
from metapbt.memory.trust import PRIOR, evidence, explained, prior, shares
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
    times, noise, changes = np.repeat([0, 1, 2], 4), np.full(12, 0.01), np.arange(12.0)
    errors = np.random.default_rng(0).standard_normal(12)
    known = evidence(errors, changes, times, noise)
    assert evidence(errors + 100 * times, changes, times, noise) == pytest.approx(known)
    assert evidence(0.1 * errors, changes, times, noise) > known + 5
    assert evidence(errors[:1], changes[:1], times[:1], noise[:1]) == 0.0
    assert evidence(errors[:0], changes[:0], times[:0], noise[:0]) == 0.0


def test_evidence_counts_no_time_at_which_all_changed_alike():
    times, noise = np.repeat([0, 1, 2, 3], 4), np.full(16, 0.01)
    changes = np.where((times == 1) | (times == 2), 0.0, np.arange(16.0))
    errors = np.random.default_rng(0).standard_normal(16)
    rest = (times == 0) | (times == 3)
    expected = evidence(errors[rest], changes[rest], times[rest], noise[rest])
    assert evidence(errors, changes, times, noise) == pytest.approx(expected)
    nearly = np.where(rest, changes, 1e-3 * errors)  # far less than the noise's deviation of 0.1
    assert evidence(errors, nearly, times, noise) == pytest.approx(expected)
    assert evidence(errors, np.where(rest, changes, errors), times, noise) < expected - 1
    assert evidence(errors, np.zeros(16), times, noise) == 0.0
    # Of members that report one by one, too.
    alone = np.arange(4)
    assert evidence(errors[:4], np.zeros(4), alone, noise[:4]) == 0.0
    assert evidence(errors[:4], np.array([0.0, 1.0, 0.0, 0.0]), alone, noise[:4]) == pytest.approx(
        evidence(errors[:2], np.array([0.0, 1.0]), alone[:2], noise[:2])
    )


def test_evidence_hardly_counts_errors_that_are_far_below_the_noise():
    times, noise, changes = np.repeat(np.arange(10), 4), np.ones(40), np.arange(40.0)
    errors = np.random.default_rng(0).standard_normal(40)
    lost = [
        evidence(0 * errors, changes, times, noise) - evidence(k * errors, changes, times, noise) for k in (0.1, 10)
    ]
    assert lost[0] < 0.3
    assert lost[1] > 50


def test_evidence_forgives_errors_where_noise_is_large():
    times, errors = np.repeat([0.0, 1.0], 20), np.random.default_rng(0).standard_normal(40)
    wild = np.where(times == 0, 100.0, 1.0)
    noisy = np.sqrt(wild) * errors
    worse = np.where(times == 1, 2.0, 1.0) * noisy  # bad where it would be easy to be good
    changes, even = np.arange(40.0), np.ones(40)
    lost = evidence(noisy, changes, times, 0.01 * wild) - evidence(worse, changes, times, 0.01 * wild)
    assert lost > 10 > evidence(noisy, changes, times, 0.01 * even) - evidence(worse, changes, times, 0.01 * even)
    # Nor does it move what the others are judged by.
    wild = np.array([1e6, 0.01, 0.01, 0.01])
    assert evidence(np.array([100.0, 0.1, -0.1, 0.2]), np.arange(4.0), np.zeros(4, dtype=int), wild) > -2


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
        given = rng.standard_normal(24), times, np.full(24, 0.1)
        lost.append(evidence(noise + drift, *given) - evidence(noise + drift + wrong, *given))
    assert np.mean(lost) > 3
    assert np.mean(np.array(lost) > 0) > 0.9


def test_a_row_that_is_alone_at_its_time_is_not_judged_by_another_time():
    times = np.array([0, 0, 0, 1, 2, 2, 2])
    given = np.arange(7.0), times, np.full(7, 0.01)
    errors = np.array([0.1, -0.2, 0.3, 0.0, 0.2, 0.0, -0.1])
    assert evidence(errors + 100 * (times == 1), *given) == pytest.approx(evidence(errors, *given))


def test_the_log_of_a_forecast_adds_up():
    rng = np.random.default_rng(0)
    for weights in rng.dirichlet([0.3] * 5, size=50):
        parts = [int(part) for part in re.findall(r"(\d+)%", explained(weights))]
        assert sum(parts) == 100
        assert parts[0] == pytest.approx(100 * weights[1:4].sum(), abs=1)
    assert explained([0.2, 0.2, 0.2, 0.4]).endswith("0% from this run alone")
