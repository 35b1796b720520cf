"""The related experts against a joint normal distribution, written out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from gpytorch.kernels import RBFKernel

from metapbt.memory.encoder import Rows
from metapbt.memory.experts import Ensemble
from metapbt.memory.model import MetaModel
from metapbt.memory.trust import RELATEDNESS, forecast_errors

WEIGHTS = (0.1, 0.2, 0.3, 0.4)


@pytest.fixture(scope="module")
def model():
    """With a network and a stage that do something."""
    found = MetaModel(2, 1, 2)
    generator = torch.Generator().manual_seed(0)
    for last in (found.warp.last, found.stage.last):
        torch.nn.init.normal_(last.weight, std=0.3, generator=generator)
    return found


def rows(count, seed):
    rng = np.random.default_rng(seed)
    inputs = rng.random((count, 5))
    return Rows(inputs, np.sin(4 * inputs.sum(axis=1)), np.zeros(count, dtype=int), rng.integers(3, size=count))


def joint(model, source, own, asked, degree):
    """The prior covariance of sources, target and points asked, and the noise; GPyTorch has the kernel."""
    x = torch.as_tensor(np.concatenate([source.inputs, own, asked]))
    kernel = RBFKernel().double()
    kernel.lengthscale = 1.0
    with torch.no_grad():
        deviation, noise = model.stage(x)
        near = kernel(model.warp(x)).to_dense()
    side = np.arange(len(x)) >= len(source)
    alike = np.where(side[:, None] == side, 1.0, degree)
    return (near * deviation * deviation[:, None]).numpy() * alike, noise.numpy()


def posterior(model, source, own, asked, degree):
    """Mean and covariance at the points asked, by the rule of conditioning."""
    covariance, noise = joint(model, source, own.inputs, asked, degree)
    known = len(source) + len(own)
    inverse = np.linalg.inv(covariance[:known, :known] + np.diag(noise[:known]))
    cross, y = covariance[known:, :known], np.concatenate([source.changes, own.changes])
    return cross @ inverse @ y, covariance[known:, known:] - cross @ inverse @ cross.T


@pytest.mark.parametrize("seen", [0, 1, 7])
def test_each_expert_answers_by_the_rule_of_conditioning(model, seen):
    source, own, asked = rows(12, seed=1), rows(seen, seed=2), rows(6, seed=3).inputs
    means, variances = model.related(source, own).moments(asked)
    for degree, mean, variance in zip(RELATEDNESS, means, variances, strict=True):
        expected, covariance = posterior(model, source, own, asked, degree)
        np.testing.assert_allclose(mean, expected, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(variance, np.diag(covariance), rtol=1e-6, atol=1e-9)


def test_points_being_tried_count_in_the_variance_with_their_noise_but_not_in_the_mean(model):
    source, own, asked = rows(12, seed=1), rows(7, seed=2), rows(6, seed=3).inputs
    tried = rows(3, seed=4).inputs
    plain = model.related(source, own)
    waiting = plain.with_pending(tried[:1]).with_pending(tried[1:])
    means, variances = waiting.moments(asked)
    np.testing.assert_allclose(means, plain.moments(asked)[0], rtol=1e-10)
    np.testing.assert_allclose(waiting.mean(asked), plain.mean(asked), rtol=1e-10)
    np.testing.assert_allclose(waiting.forecast_errors(own.times[2:]), plain.forecast_errors(own.times[2:]))
    assert waiting.moments(asked[:0])[1].shape == (4, 0)
    whatever = Rows(np.concatenate([own.inputs, tried]), np.zeros(10), np.zeros(10, dtype=int), np.zeros(10, dtype=int))
    for degree, variance in zip(RELATEDNESS, variances, strict=True):
        covariance = posterior(model, source, whatever, asked, degree)[1]
        np.testing.assert_allclose(variance, np.diag(covariance), rtol=1e-6, atol=1e-9)
    assert (variances < plain.moments(asked)[1]).all()


def test_each_draws_functions_of_its_posterior(model):
    source, own, asked = rows(12, seed=1), rows(7, seed=2), rows(3, seed=3).inputs
    counts = np.array([0, 40_000, 0, 40_000])
    drawn = model.related(source, own).draws(asked, counts, np.random.default_rng(0))
    assert drawn.shape == (80_000, 3)
    for place, part in ((1, drawn[:40_000]), (3, drawn[40_000:])):
        mean, covariance = posterior(model, source, own, asked, RELATEDNESS[place])
        scale = covariance.max()
        np.testing.assert_allclose(part.mean(axis=0), mean, atol=0.03 * scale**0.5)
        np.testing.assert_allclose(np.cov(part.T), covariance, atol=0.03 * scale)


@pytest.mark.parametrize("seen", [0, 7])
def test_the_mean_of_all_is_that_of_their_ensemble(model, seen):
    source, own, asked = rows(12, seed=1), rows(seen, seed=2), rows(6, seed=3).inputs
    experts = model.related(source, own, WEIGHTS)
    expected = Ensemble((experts,)).moments(asked)[0]
    np.testing.assert_allclose(experts.mean(asked), expected, rtol=1e-9)
    half = model.related(source, own, np.array(WEIGHTS) / 2)  # where memory is trusted by half
    np.testing.assert_allclose(half.mean(asked), expected / 2, rtol=1e-9)


def test_who_has_no_weight_is_not_asked(model):
    source, own, asked = rows(12, seed=1), rows(7, seed=2), rows(6, seed=3).inputs
    every, some = model.related(source, own), model.related(source, own, (0.0, 0.5, 0.0, 0.5))
    assert some.relatedness == (RELATEDNESS[1], RELATEDNESS[3])
    np.testing.assert_allclose(some.moments(asked)[1], every.moments(asked)[1][[1, 3]], rtol=1e-12)


def test_without_relatedness_the_sources_rows_say_nothing(model):
    source, own, asked = rows(12, seed=1), rows(7, seed=2), rows(6, seed=3).inputs
    others = replace(source, changes=source.changes + 5)
    first, second = (model.related(each, own).moments(asked)[0] for each in (source, others))
    np.testing.assert_allclose(first[0], second[0], rtol=1e-12)
    assert np.abs(first[-1] - second[-1]).max() > 0.1


def test_they_are_judged_by_what_they_forecast_of_each_time_before_it(model):
    source, own = rows(12, seed=1), rows(7, seed=2)
    errors = model.related(source, own).forecast_errors(own.times[2:])
    for degree, found in zip(RELATEDNESS, errors, strict=True):
        covariance, noise = joint(model, source, own.inputs, own.inputs[:0], degree)
        residual = torch.as_tensor(np.concatenate([source.changes, own.changes]))
        whole = torch.as_tensor(covariance + np.diag(noise))
        np.testing.assert_allclose(found, forecast_errors(whole, residual, own.times[2:]), rtol=1e-7, atol=1e-10)
