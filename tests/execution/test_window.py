"""The training return: over which episodes it is the mean."""

import sys

import numpy as np

import metapbt
from metapbt.execution.trainer import window_of_returns


def test_many_episodes_stand_for_themselves():
    assert window_of_returns(np.array([1.0, 2.0]), [3.0] * 25, 20).tolist() == [3.0] * 25


def test_few_episodes_are_filled_up_with_the_last_ones_before():
    assert window_of_returns(np.arange(10.0), [20.0, 21.0], 5).tolist() == [7.0, 8.0, 9.0, 20.0, 21.0]


def test_all_that_there_is_counts_where_there_are_not_enough():
    assert window_of_returns(np.array([1.0]), [2.0], 20).tolist() == [1.0, 2.0]
    assert window_of_returns(np.empty(0), [], 20).tolist() == []


def test_an_interval_without_an_ended_episode_keeps_the_window():
    assert window_of_returns(np.array([1.0, 2.0, 3.0]), [], 2).tolist() == [2.0, 3.0]


NEVER_ENDS = {"n_steps": 100, "gamma": 0.9}


def pendulums(results, *more):
    """Members whose intervals are half an episode long: every second one ends none."""
    asked = ["env=Pendulum-v1", "method=pbt", "budget.steps=6400", "budget.interval=1600", "executor=inline"]
    fixed = [f"learner.hyperparameters.{name}={value}" for name, value in NEVER_ENDS.items()]
    return metapbt.run([*asked, *fixed, "evaluation.test_episodes=1", f"results_dir={results}", *more]).records


def test_where_no_episode_ended_the_evaluation_says_who_is_good(tmp_path):
    """A copy had its parent's return, and everybody that of the interval before."""
    records = pendulums(tmp_path, "evaluation.episodes=2")
    still = records[records["episodes"] == 0]
    assert len(still) == 8
    assert still["train_return"].isna().all()
    assert np.isfinite(records["eval_return"]).all()
    assert np.isfinite(records.loc[records["episodes"] > 0, "train_return"]).all()
    for generation in (0, 2):
        ranked = still[still["generation"] == generation].sort_values("eval_return")["member"].tolist()
        (copy,) = records[(records["generation"] == generation + 1) & records["parent"].notna()].to_dict("records")
        assert (copy["member"], copy["parent"]) == (ranked[0], ranked[-1])


def test_who_has_diverged_is_not_saved_by_episodes_of_before(tmp_path):
    """Weights became NaN in an interval's last update: the agent led, was copied, and took its population along."""
    (tmp_path / "diverges.py").write_text(DIVERGES)
    sys.path.insert(0, str(tmp_path))
    try:
        run = metapbt.run(
            ["env=quadratic", "method=pbt", "learner.name=diverges:Diverges", "budget.steps=12", "budget.interval=4",
             "executor=inline", f"results_dir={tmp_path / 'results'}"]
        )  # fmt: skip
    finally:
        sys.path.remove(str(tmp_path))
    lost = run.records[run.records["eval_return"].isna()]
    assert set(lost["generation"]) == {0}
    assert lost["train_return"].isna().all()
    assert run.info.state == "done"


DIVERGES = """
import math
from dataclasses import replace

from metapbt.learners.problems.quadratic import QuadraticLearner


class Diverges(QuadraticLearner):
    def train(self, interval, start, teacher=None):
        found = super().train(interval, start)
        if interval.ref != (0, 1):
            return found
        lost = {name: array * math.nan for name, array in found.state.items()}
        return replace(found, state=lost, returns=(1e6,), eval_return=math.nan)
"""
