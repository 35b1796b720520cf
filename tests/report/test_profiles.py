"""What rliable shows of many runs: its values, and intervals that hold where seeds are few."""

from __future__ import annotations

import importlib
import math
import sys
from types import ModuleType

import numpy as np
import pytest
from rliable import metrics
from scipy import stats

from metapbt.report.profiles import (
    median_steps,
    performance_profile,
    probability_of_improvement,
    sample_efficiency,
    steps_to_threshold,
)

RNG = np.random.default_rng(3)
#: Runs of two methods in four contexts, ``(runs, contexts)``, as rliable has them; some tie.
X, Y = RNG.normal(0.6, 0.2, (5, 4)).round(2), RNG.normal(0.5, 0.2, (5, 4)).round(2)


def strata(matrix: np.ndarray) -> list[np.ndarray]:
    return list(matrix.T)


def test_steps_to_a_threshold_are_those_of_the_first_score_that_reaches_it() -> None:
    steps, scores = np.array([10.0, 20, 30, 40]), np.array([1.0, math.nan, 5, 4])
    assert [steps_to_threshold(steps, scores, least) for least in (0, 1, 2, 5, 6)] == [10, 10, 30, 30, math.inf]
    assert steps_to_threshold(np.empty(0), np.empty(0), 0) == math.inf


@pytest.mark.parametrize(
    ("steps", "median"),
    [([3, 1, 2], 2), ([1, 2, math.inf], 2), ([1, math.inf], math.inf), ([1, 3], 2), ([math.inf], math.inf)],
)
def test_the_median_is_infinite_where_half_never_got_there(steps: list[float], median: float) -> None:
    assert median_steps(np.array(steps, dtype=float)) == median


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """rliable's library, whose bootstrap is not used here: it is built on arch, which pandas 3 breaks."""
    bootstrap = ModuleType("arch.bootstrap")
    bootstrap.IIDBootstrap = bootstrap.IndependentSamplesBootstrap = object  # type: ignore[attr-defined]
    arch = ModuleType("arch")
    arch.bootstrap = bootstrap  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "arch", arch)
    monkeypatch.setitem(sys.modules, "arch.bootstrap", bootstrap)
    return importlib.import_module("rliable.library")


def test_profiles_are_rliables(library: ModuleType) -> None:
    thresholds = np.linspace(0, 1, 11)
    share, low, high = performance_profile(strata(X), thresholds)
    assert share == pytest.approx(library.score_distributions(X, thresholds), abs=1e-12)
    assert ((low <= share) & (share <= high) & (low >= 0) & (high <= 1)).all()
    # Wilson's own interval of 20 runs
    for value, below, above in zip(share, low, high, strict=True):
        known = stats.binomtest(round(value * 20), 20).proportion_ci(method="wilson")
        assert (below, above) == pytest.approx((known.low, known.high), abs=1e-9)


def test_a_context_with_few_runs_weighs_as_much_as_the_others() -> None:
    share, low, high = performance_profile([np.ones(9), np.zeros(1)], np.array([0.5]))
    assert share == [0.5]
    assert high - low > 0.6  # the lonely run counts as much as nine


def test_probabilities_of_improvement_are_rliables() -> None:
    found = probability_of_improvement(strata(X), strata(Y))
    assert found.value == pytest.approx(metrics.probability_of_improvement(X, Y), abs=1e-12)
    other = probability_of_improvement(strata(Y), strata(X))
    assert (other.value, other.low, other.high) == pytest.approx((1 - found.value, 1 - found.high, 1 - found.low))
    assert probability_of_improvement([np.ones(3)], [np.ones(3)]).value == 0.5


def test_three_runs_that_all_win_do_not_make_it_certain() -> None:
    certain = probability_of_improvement([np.array([4.0, 5, 6])], [np.array([1.0, 2, 3])])
    assert (certain.value, certain.high) == (1, 1)
    assert 0.2 < certain.low < 0.5
    assert math.isnan(probability_of_improvement([np.ones(1)], [np.zeros(1)]).low)


def test_intervals_of_probabilities_hold_where_seeds_are_few() -> None:
    rng = np.random.default_rng(0)
    shifts = np.array([0.0, 0.4, 1.2])
    true = float(stats.norm.cdf(shifts / math.sqrt(2)).mean())
    held = 0
    for _ in range(300):
        better = [rng.normal(shift, 1, 3) for shift in shifts]
        estimate = probability_of_improvement(better, [rng.normal(0, 1, 3) for _ in shifts])
        held += estimate.low <= true <= estimate.high
    assert held >= 0.93 * 300


def test_sample_efficiency_is_rliables_interquartile_mean_at_each_number_of_steps() -> None:
    curves = RNG.normal(size=(5, 4, 6)).cumsum(axis=2)  # runs, contexts, points
    value, low, high = sample_efficiency([curves[:, context] for context in range(4)])
    assert value == pytest.approx([metrics.aggregate_iqm(curves[..., point]) for point in range(6)], abs=1e-12)
    assert ((low < value) & (value < high)).all()
    assert np.isnan(sample_efficiency([curves[:, 0], curves[:, 1]])[1]).all()
