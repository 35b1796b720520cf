import numpy as np

from metapbt.memory.candidates import best_together, search


def test_the_best_together_are_good_and_unlike_each_other():
    draws = np.array([[5.0, 4.9, 0.0, 1.0], [0.0, 0.3, 4.0, 1.0]])
    assert best_together(draws, 2) == [1, 2]  # 0 and 1 are good in the same world
    assert sorted(best_together(draws, 4)) == [0, 1, 2, 3]  # none twice
    assert best_together(np.array([[1.0, 3.0, 2.0, 2.5]]), 3) == [1, 3, 2]  # nothing raises the maximum after 1


def test_search_finds_the_top_between_the_points_that_fill_the_cube():
    top = np.array([0.31, 0.77])
    found = search(lambda x: -((x - top) ** 2).sum(axis=1), 2, np.empty((0, 2)), np.random.default_rng(0), points=64)
    assert np.abs(found - top).max() < 0.02
