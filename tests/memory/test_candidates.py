import numpy as np
import pytest

from metapbt.memory.candidates import ANEW, around, best_together, search


def test_the_best_together_are_good_and_unlike_each_other():
    draws = np.array([[5.0, 4.9, 0.0, 1.0], [0.0, 0.3, 4.0, 1.0]])
    assert best_together(draws, 2) == [1, 2]  # 0 and 1 are good in the same world
    assert sorted(best_together(draws, 4)) == [0, 1, 2, 3]  # none twice
    assert best_together(np.array([[1.0, 3.0, 2.0, 2.5]]), 3) == [1, 3, 2]  # nothing raises the maximum after 1


def searched(score, hints, rng, categories=()):
    return search(score, lambda points: points, np.array(hints), categories, rng)


def test_search_finds_the_top_near_what_was_trained_with():
    top, rng = np.array([0.31, 0.77]), np.random.default_rng(0)
    found = searched(lambda x: -((x - top) ** 2).sum(axis=1), [[0.9, 0.9], [0.1, 0.6]], rng)
    assert np.abs(found - top).max() < 0.05


def test_where_nothing_is_known_nobody_goes_to_the_edge():
    """Least is known in the corners, and a confidence bound is largest there."""
    rng = np.random.default_rng(0)
    found = [searched(lambda x: 1e-3 * np.abs(x - 0.5).sum(axis=1), [[0.5, 0.4, 0.5, 0.6]], rng) for _ in range(20)]
    assert not np.isin(found, (0.0, 1.0)).any()
    assert np.abs(np.array(found) - 0.5).mean() < 0.45
    # Who is there may stay.
    assert (searched(lambda x: x.sum(axis=1), [[1.0, 1.0]], rng) == 1).all()


def test_points_near_others_are_in_the_cube_and_choices_are_drawn_anew():
    points = np.tile([0.0, 1.0, 0.3], (2000, 1))
    near = around(points, 0.2, (2,), np.random.default_rng(0))
    assert ((near >= 0) & (near <= 1)).all()
    assert not np.isin(near[:, :2], (0.0, 1.0)).any()
    assert np.abs(near[:, 0]).mean() == pytest.approx(0.2 * np.sqrt(2 / np.pi), rel=0.1)
    assert (near[:, 2] != 0.3).mean() == pytest.approx(ANEW, abs=0.05)
