"""Statistics against numbers worked out by hand, known distributions, and rliable itself."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
from rliable import metrics
from scipy.stats import trim_mean

from metapbt.report import statistics


def arrays(*rows: list[float]) -> list[np.ndarray]:
    return [np.array(row, dtype=float) for row in rows]


def test_the_grid_is_every_number_of_steps_at_which_any_run_has_a_score() -> None:
    assert statistics.common_grid(arrays([10, 20], [15, 20, 30])).tolist() == [10, 15, 20, 30]
    assert statistics.common_grid([]).tolist() == []


def test_a_curve_on_a_grid_is_linear_inside_and_unknown_outside() -> None:
    steps, scores, grid = arrays([10, 20], [1, 3], [5, 10, 15, 20, 25])
    np.testing.assert_array_equal(statistics.on_grid(steps, scores, grid), [np.nan, 1, 2, 3, np.nan])


def test_area_is_the_mean_score_over_uneven_steps() -> None:
    steps, scores = arrays([0, 10, 40], [0, 10, 20])
    assert statistics.area_under_curve(steps, scores) == pytest.approx((50 + 450) / 40)


def test_area_of_a_constant_or_single_score_is_that_score() -> None:
    assert statistics.area_under_curve(*arrays([1000, 2000, 5000], [7, 7, 7])) == 7
    assert statistics.area_under_curve(*arrays([1000], [7])) == 7
    assert math.isnan(statistics.area_under_curve(*arrays([], [])))


def test_area_leaves_out_generations_that_were_not_evaluated() -> None:
    assert statistics.area_under_curve(*arrays([0, 10, 20], [0, math.nan, 20])) == 10


def test_final_score_is_the_last_one() -> None:
    assert statistics.final_score(np.array([3.0, 9.0, 4.0])) == 4
    assert math.isnan(statistics.final_score(np.array([])))


def test_mean_curve_averages_the_runs_that_got_that_far_and_counts_them() -> None:
    scores = np.array([[1.0, 3.0, 5.0], [3.0, 5.0, np.nan]])
    mean, low, high, runs = statistics.mean_curve(scores, np.random.default_rng(0))
    assert mean.tolist() == [2, 4, 5]
    assert runs.tolist() == [2, 2, 1]
    assert low.tolist()[:2] == [1, 3]
    assert high.tolist()[:2] == [3, 5]
    assert math.isnan(low[2])
    assert math.isnan(high[2])


def test_mean_of_nothing_is_unknown() -> None:
    assert all(map(math.isnan, statistics.mean_estimate(np.array([]), np.random.default_rng(0))))
    assert all(map(math.isnan, statistics.mean_estimate(np.array([np.nan]), np.random.default_rng(0))))


def test_bootstrap_interval_of_the_mean_is_as_wide_as_theory_says() -> None:
    scores = np.random.default_rng(0).normal(100, 10, size=400)
    estimate = statistics.mean_estimate(scores, np.random.default_rng(0))
    half_width = 1.96 * scores.std() / math.sqrt(len(scores))
    assert estimate.low == pytest.approx(scores.mean() - half_width, abs=0.15)
    assert estimate.high == pytest.approx(scores.mean() + half_width, abs=0.15)


def test_bootstrap_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    estimates = [statistics.mean_estimate(rng.exponential(5, size=30), rng) for _ in range(200)]
    coverage = np.mean([low <= 5 <= high for _, low, high in estimates])
    assert 0.87 <= coverage <= 0.99


def test_intervals_are_the_same_for_the_same_generator_and_leave_numpys_global_state_alone() -> None:
    strata = arrays([1, 5, 2], [7, 8, 3])
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (statistics.stratified_estimate(strata, statistics.iqm, np.random.default_rng(0)) for _ in range(2))
    assert first == second
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_iqm_is_the_mean_of_the_middle_half() -> None:
    assert statistics.iqm(arrays([1, 2, 3, 4], [5, 6, 7, 1000])) == 4.5


def test_iqm_is_rliables_and_scipys_where_every_context_has_the_same_seeds() -> None:
    scores = np.random.default_rng(0).normal(size=(5, 7))  # runs, contexts
    value = statistics.iqm(list(scores.T))
    assert value == metrics.aggregate_iqm(scores)
    assert value == pytest.approx(trim_mean(scores, 0.25, axis=None), rel=1e-12)


def test_a_lost_run_in_a_hard_context_does_not_make_a_method_look_better() -> None:
    easy, hard = [100.0, 100.0, 100.0, 100.0], [0.0, 0.0, 0.0, 0.0]
    assert statistics.iqm(arrays(easy, hard[:1])) == statistics.iqm(arrays(easy, hard)) == 50


def test_iqm_with_very_uneven_seeds_stays_close_and_quick() -> None:
    strata = [np.linspace(0, 1, runs) for runs in (17, 19, 20, 23)]
    assert statistics.iqm(strata) == pytest.approx(0.5, abs=0.01)


def test_single_seeds_have_a_value_but_no_interval() -> None:
    estimate = statistics.stratified_estimate(arrays([4], [8]), statistics.iqm, np.random.default_rng(0))
    assert estimate.value == 6
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)


def test_mean_of_means_weighs_every_context_the_same() -> None:
    assert statistics.mean_of_means(arrays([0, 0, 0], [9])) == 4.5


def test_stratified_resampling_leaves_differences_between_contexts_out_of_the_interval() -> None:
    strata = arrays([0, 0, 0], [1000, 1000, 1000])
    estimate = statistics.stratified_estimate(strata, statistics.mean_of_means, np.random.default_rng(0))
    assert estimate == (500, 500, 500)


def test_stratified_interval_agrees_with_rliables_library(monkeypatch: pytest.MonkeyPatch) -> None:
    decorators = pytest.importorskip("pandas.util._decorators")
    if "klass" in inspect.signature(decorators.deprecate_kwarg).parameters:
        # rliable's library imports arch, whose releases before 8 use this decorator in pandas 2's way.
        monkeypatch.setattr(decorators, "deprecate_kwarg", lambda *_: lambda function: function)
    from rliable import library

    scores = np.random.default_rng(0).normal(50, 10, size=(6, 5))
    np.random.seed(0)  # noqa: NPY002
    _, theirs = library.get_interval_estimates(
        {"pb2": scores}, lambda x: np.array([metrics.aggregate_iqm(x)]), reps=2000
    )
    ours = statistics.stratified_estimate(list(scores.T), statistics.iqm, np.random.default_rng(0))
    np.testing.assert_allclose([ours.low, ours.high], theirs["pb2"][:, 0], atol=0.5)
