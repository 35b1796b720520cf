"""The training return: over which episodes it is the mean."""

import numpy as np

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
