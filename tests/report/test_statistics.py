"""Statistics against numbers worked out by hand, known distributions, and rliable itself."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
from rliable import metrics
from scipy.stats import trim_mean

from metapbt.report import statistics
from metapbt.report.wording import format_estimate, format_number

Draw = Callable[[np.random.Generator, int], np.ndarray]


def rng_normal(rng: np.random.Generator, runs: int) -> np.ndarray:
    return rng.normal(size=runs)


def rng_difference_of_skewed(rng: np.random.Generator, runs: int) -> np.ndarray:
    return rng.lognormal(size=runs) - rng.lognormal(size=runs)


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
    scores = np.array([[1.0, 3.0, 5.0], [3.0, 5.0, np.nan], [2.0, np.nan, np.nan]])
    mean, low, high, runs = statistics.mean_curve(scores)
    assert mean.tolist() == [2, 4, 5]
    assert runs.tolist() == [3, 2, 1]
    half_width = 4.302653 / math.sqrt(3)  # Student's t with two degrees of freedom; the deviation is 1
    assert (low[0], high[0]) == pytest.approx((2 - half_width, 2 + half_width))
    assert np.isnan(low[1:]).all()
    assert np.isnan(high[1:]).all()


def test_mean_of_nothing_is_unknown() -> None:
    assert all(map(math.isnan, statistics.mean_estimate(np.array([]))))
    assert all(map(math.isnan, statistics.mean_estimate(np.array([np.nan]))))


def test_the_interval_of_one_context_is_students() -> None:
    scores = np.random.default_rng(0).normal(100, 10, size=7)
    theirs = scipy.stats.ttest_1samp(scores, 0).confidence_interval()
    for estimate in (
        statistics.mean_estimate(scores),
        statistics.stratified_estimate([scores], statistics.mean_of_means),
    ):
        assert estimate.value == pytest.approx(scores.mean())
        assert estimate[1:] == pytest.approx((theirs.low, theirs.high))


def test_the_interval_of_a_difference_of_two_contexts_is_welchs() -> None:
    rng = np.random.default_rng(0)
    strata = [rng.normal(5, 1, size=4), rng.normal(3, 4, size=6)]
    theirs = scipy.stats.ttest_ind(*strata, equal_var=False).confidence_interval()
    ours = statistics.stratified_estimate(strata, lambda both: both[0].mean() - both[1].mean())
    assert ours[1:] == pytest.approx((theirs.low, theirs.high))


STUDIES = 600


@pytest.mark.parametrize("seeds", [[3], [5], [3, 3], [5] * 5, [2] * 5, [2, 3, 5, 10], [1, 1, 3, 3], [3] * 22, [1] * 22])
@pytest.mark.parametrize("draw", [rng_normal, rng_difference_of_skewed], ids=["normal", "paired difference"])
def test_the_interval_of_the_mean_holds_as_often_as_it_says(seeds: list[int], draw: Draw) -> None:
    rng = np.random.default_rng(0)
    spreads = np.exp(rng.normal(0, 0.5, size=len(seeds)))
    held = []
    for _ in range(STUDIES):
        strata = [spread * draw(rng, count) for spread, count in zip(spreads, seeds, strict=True)]
        estimate = statistics.stratified_estimate(strata, statistics.mean_of_means)
        held.append(estimate.low <= 0 <= estimate.high)
    # 0.93 to 0.97 is asked for; three standard errors of 600 studies are 0.027.
    assert 0.93 - 0.02 <= np.mean(held) <= 0.97 + 0.02


def test_the_interval_of_the_iqm_holds_over_contexts() -> None:
    rng = np.random.default_rng(0)
    levels = [-2.0, 0.0, 0.5, 2.0, 3.0]
    truth = statistics.iqm([level + rng.normal(size=20_000) for level in levels])
    held = []
    for _ in range(300):
        estimate = statistics.iqm_estimate([level + rng.normal(size=3) for level in levels])
        held.append(estimate.low <= truth <= estimate.high)
    assert 0.91 <= np.mean(held) <= 0.99


def test_the_iqm_of_few_contexts_has_no_interval() -> None:
    scores = np.arange(10.0)
    assert statistics.iqm_estimate([scores, scores]).value == statistics.iqm([scores, scores])
    assert not statistics.iqm_estimate([scores, scores]).known
    assert statistics.iqm_estimate([scores, scores, scores]).known


@pytest.mark.parametrize("seeds", [[1], [2], [1, 1], [1, 2]])
def test_too_few_seeds_have_a_value_but_no_interval(seeds: list[int]) -> None:
    strata = [np.arange(count, dtype=float) + 4 for count in seeds]
    estimate = statistics.stratified_estimate(strata, statistics.mean_of_means)
    assert estimate.value == statistics.mean_of_means(strata)
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)
    assert not estimate.known


def test_with_one_seed_of_each_context_the_interval_is_students_over_contexts() -> None:
    scores = np.random.default_rng(0).normal(100, 10, size=7)
    theirs = scipy.stats.ttest_1samp(scores, 0).confidence_interval()
    ours = statistics.stratified_estimate([scores[[place]] for place in range(7)], statistics.mean_of_means)
    assert ours.value == pytest.approx(scores.mean())
    assert ours[1:] == pytest.approx((theirs.low, theirs.high))
    with_a_second = [scores[[0, 0]], *(scores[[place]] for place in range(1, 7))]  # one degree of freedom over seeds
    assert statistics.stratified_estimate(with_a_second, statistics.mean_of_means) == pytest.approx(ours)


@pytest.mark.parametrize("statistic", [statistics.mean_of_means, statistics.iqm])
def test_with_one_seed_of_each_context_intervals_hold_wherever_contexts_lie(statistic: statistics.Statistic) -> None:
    rng = np.random.default_rng(0)
    levels = np.array([-2.0, 0.0, 0.5, 2.0, 3.0, 4.0])
    truth = statistic([level + rng.normal(size=20_000) for level in levels])
    held = []
    for _ in range(300):
        estimate = statistics.stratified_estimate(list((levels + rng.normal(size=6))[:, None]), statistic)
        held.append(estimate.low <= truth <= estimate.high)
    assert np.mean(held) >= 0.95  # too wide, if anything


def test_a_single_seed_widens_the_interval_by_the_spread_seen_elsewhere() -> None:
    seen = arrays([1, 2, 3], [4, 6, 8])
    alone = statistics.stratified_estimate([*seen, np.array([5.0])], statistics.mean_of_means)
    variances = np.array([1, 4]) / 3 / 9
    pooled = np.array([1, 4]) / 2 / 9
    total = (variances + pooled).sum()
    freedom = total**2 / ((variances + pooled) ** 2 / 2).sum()
    assert alone.high - alone.value == pytest.approx(scipy.stats.t.ppf(0.975, freedom) * math.sqrt(total))


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


def test_mean_of_means_weighs_every_context_the_same() -> None:
    assert statistics.mean_of_means(arrays([0, 0, 0], [9])) == 4.5


def test_stratified_resampling_leaves_differences_between_contexts_out_of_the_interval() -> None:
    strata = arrays([0, 0, 0], [1000, 1000, 1000])
    estimate = statistics.stratified_estimate(strata, statistics.mean_of_means)
    assert estimate == (500, 500, 500)


def test_with_many_seeds_the_interval_of_the_iqm_is_the_stratified_bootstraps() -> None:
    rng = np.random.default_rng(0)
    strata = [level + rng.normal(size=60) for level in (0.0, 1.0, 2.0)]
    draws = [statistics.iqm([rng.choice(stratum, len(stratum)) for stratum in strata]) for _ in range(2000)]
    low, high = np.quantile(draws, [0.025, 0.975])
    ours = statistics.iqm_estimate(strata)
    assert ours[1:] == pytest.approx((low, high), abs=0.04)


def test_equal_scores_leave_an_interval_without_width() -> None:
    strata = arrays([0, 0, 0], [0, 0, 0])
    assert statistics.stratified_estimate(strata, statistics.mean_of_means) == (0, 0, 0)


def test_tiny_numbers_keep_their_digits() -> None:
    assert format_estimate(-1.25e-8, -2e-8, -5e-9, sign="+") == "−1.25e−08 [−2.00e−08, −5.00e−09]"
    assert format_number(0.00012, 0.00012) == "0.000120"
