from dataclasses import replace

import numpy as np
import pytest
import torch

from metapbt.memory.alone import errors_alone, expert_alone, refits
from metapbt.memory.encoder import Encoder, Samples
from metapbt.memory.experts import Expert
from metapbt.memory.scales import HistoryScale, SourceScale
from metapbt.memory.trust import evidence
from metapbt.surrogates.acquisition import conditioned
from metapbt.surrogates.thinning import evenly
from metapbt.surrogates.time_varying import FIT_ROWS, fit_time_varying_gp

SCALE = SourceScale(span=10.0, longest=100.0, interval=10.0, unit=0.1)


def samples(effect, seed, generations=10, members=4):
    """A population whose changes of return are noise, plus ``effect`` times a wave over the first hyperparameter."""
    rng = np.random.default_rng(seed)
    generation = np.repeat(np.arange(generations), members)
    points = rng.random((len(generation), 3))
    changes = rng.standard_normal(len(generation)) + effect * np.sin(6 * points[:, 0])
    before = 0.3 * generation + rng.random(len(generation))
    steps = np.full(len(generation), 10)
    which = np.zeros(len(generation), int)
    return Samples(generation, 10 * generation, steps, before, before + changes, points, points, which)


def known(errors, own):
    return evidence(errors, own.returns_after - own.returns_before, own.times, np.full(len(own), 0.1))


def honest(own):
    """Errors of a PB2 that is fitted anew to all that was before each time."""
    errors = SCALE.changes(own)
    for time in range(3, own.times.max() + 1):
        past, now = own[own.times < time], own[own.times == time]
        encoder = Encoder(HistoryScale.of(past.returns_before))
        rows, asked = encoder.rows(past), encoder.rows(now)
        model = fit_time_varying_gp(torch.as_tensor(rows.inputs), torch.as_tensor(rows.changes)[:, None])
        model = conditioned(model, torch.as_tensor(asked.inputs), torch.as_tensor(asked.changes)[:, None])
        wrong = Expert(model, lambda x: x).forecast_errors(now.times)
        expected = replace(now, returns_before=now.returns_after - wrong * now.steps)
        errors[own.times == time] = SCALE.changes(expected)
    return errors


FEW_OR_TEN = pytest.mark.parametrize("seeds", [3, pytest.param(10, marks=pytest.mark.slow)])


@FEW_OR_TEN
def test_on_noise_pb2s_model_gains_nothing_over_one_that_is_fitted_anew_at_every_time(seeds):
    gains = []
    for seed in range(seeds):
        own = samples(0.0, seed)
        gains.append(known(errors_alone(own, SCALE), own) - known(honest(own), own))
    assert abs(np.mean(gains)) < max(2 * np.std(gains) / len(gains) ** 0.5, 0.3)


@FEW_OR_TEN
def test_on_noise_pb2s_model_gains_nothing_over_forecasting_no_change(seeds):
    gains = []
    for seed in range(seeds):
        own = samples(0.0, seed)
        gains.append(known(errors_alone(own, SCALE), own) - known(SCALE.changes(own), own))
    assert np.mean(gains) < 2 * np.std(gains) / len(gains) ** 0.5


def test_a_forecast_of_no_change_is_as_wrong_as_memorys_wherever_returns_lie(monkeypatch):
    """Beyond what the sources' returns are the scale bends: its slope at a change's end says little of the change."""
    own = samples(0.0, 0)
    crashed = np.where(np.arange(len(own)) % 3 == 0, -200.0, own.returns_after)
    recovered = np.where(np.arange(len(own)) % 5 == 0, -150.0, own.returns_before)
    own = replace(own, returns_before=recovered, returns_after=crashed)
    slopes = iter(own.slopes[judged] for known, judged in refits(own.times) if len(known))
    monkeypatch.setattr(Expert, "forecast_errors", lambda self, times: next(slopes))
    np.testing.assert_allclose(errors_alone(own, SCALE), SCALE.changes(own), rtol=1e-9)


def test_where_hyperparameters_matter_pb2s_model_forecasts_better_than_no_change():
    gains = []
    for seed in range(4):
        own = samples(3.0, seed)
        gains.append(known(errors_alone(own, SCALE), own) - known(SCALE.changes(own), own))
    assert np.mean(gains) > 2


def test_pb2s_model_answers_in_memorys_columns_and_units():
    own = samples(3.0, 0)
    own_scale = HistoryScale.of(own.returns_before)
    expert = expert_alone(own, own_scale, 10, SCALE)
    x = np.concatenate([SCALE.start(0, np.full(5, 100), own.returns_before[:5]), own.points[:5]], axis=1)
    mean, _ = expert.moments(x)
    asked = np.concatenate([own_scale.start(np.full(5, 10), 0, own.returns_before[:5]), own.points[:5]], axis=1)
    slopes = expert.model.posterior(torch.as_tensor(asked)).mean.detach().squeeze(-1).numpy()
    steepness = np.median(SCALE.steepness(own.returns_after))
    np.testing.assert_allclose(mean[0], slopes * steepness * SCALE.interval / SCALE.unit, rtol=1e-6)


@pytest.mark.parametrize("rows", [1, 12])
def test_where_nothing_has_changed_pb2s_model_expects_changes_as_large_as_the_sources(rows):
    """A run that has found no reward yet: its own changes have no deviation to standardise by."""
    own = samples(0.0, 0)[:rows]
    own = replace(own, returns_before=np.full(rows, 5.0), returns_after=np.full(rows, 5.0))
    expert = expert_alone(own, HistoryScale.of(own.returns_before), 1000, SCALE)
    x = np.concatenate([SCALE.start(0, np.full(5, 100), np.full(5, 5.0)), own.points[[0] * 5] + 0.3], axis=1)
    mean, variance = expert.moments(x)
    np.testing.assert_allclose(mean, 0.0, atol=1e-9)
    assert np.sqrt(variance).max() < 1


def test_where_the_rows_that_it_is_fitted_to_have_not_changed_it_expects_no_more_either():
    """Eighty of two hundred rows are fitted to; the few that changed may be among the others."""
    own = samples(0.0, 0, generations=50)
    after = np.full(200, 5.0)
    after[np.setdiff1d(np.arange(200), evenly(200, FIT_ROWS))[:3]] = 5.5
    own = replace(own, returns_before=np.full(200, 5.0), returns_after=after)
    assert expert_alone(own, HistoryScale.of(own.returns_before), 60, SCALE).unit == 1.0


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
