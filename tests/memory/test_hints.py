"""What good members of the sources trained with: by what came of it, at a stage like the one that is asked about."""

from __future__ import annotations

import numpy as np
import pytest

from metapbt.memory.encoder import Samples
from metapbt.memory.hints import FEWEST, HINTS, SHARE, Hints
from metapbt.memory.nearest import Nearest
from metapbt.memory.tasks import Tasks


def samples(*rows: tuple[int, int, float]) -> Samples:
    """Intervals of ten steps: context, generation, and the return that each ended with."""
    contexts, generations, after = (np.array(column) for column in zip(*rows, strict=True))
    steps, points = np.full(len(rows), 10.0), np.linspace(0, 1, len(rows))[:, None]
    return Samples(generations.astype(float), 10.0 * generations, steps, 0 * steps, after, points, points, contexts)


def test_an_interval_is_as_good_as_the_best_that_came_of_it_among_those_of_its_context_and_time():
    whole = samples((0, 0, 5.0), (0, 0, 1.0), (0, 1, 2.0), (0, 1, 3.0), (0, 2, 9.0), (1, 0, -700.0), (1, 0, -800.0))
    # The second of the first two, which was behind, came to 9: by way of the third, which was behind, too.
    tasks = Tasks(whole, [], [{}, {}], origins=np.array([-1, -1, 1, 0, 2, -1, -1]))
    assert tasks.merits == pytest.approx([0.25, 0.75, 0.75, 0.25, 0.5, 0.75, 0.25])
    thinned = Tasks(whole, [], [{}, {}], origins=tasks.origins, thinned=np.array([1, 4, 6]))
    assert thinned.merits == pytest.approx([0.75, 0.5, 0.25])


def test_equals_share_their_place_and_records_that_go_round_in_a_circle_come_to_an_end():
    whole = samples((0, 0, 500.0), (0, 0, 500.0), (0, 0, 100.0))
    assert Tasks(whole, [], [{}], origins=np.array([1, 0, 2])).merits == pytest.approx([2 / 3, 2 / 3, 1 / 6])


def test_the_best_of_a_stage_come_first_each_once():
    count = 20 * FEWEST
    times = np.linspace(0, 1, count)
    # Early on larger is better, later smaller; each configuration was trained with for some time.
    points = np.random.default_rng(0).permutation(np.arange(count) // 5) / (count / 5)
    merits = np.where(times < 0.5, points, 1 - points)
    hints = Hints(Nearest(times[:, None], np.array([2.0])), points[:, None], merits)
    for when, good in ((0.2, points > 0.5), (0.8, points < 0.5)):
        found = hints(np.array([when]))[:, 0]
        assert len(found) == len(set(found)) == HINTS
        near = np.abs(times - when) <= SHARE / 2 + 1e-3
        assert set(found) <= set(points[near & good])
        best = [merits[near & (points == point)].mean() for point in found]
        assert best == sorted(best, reverse=True)
        assert best[-1] > np.quantile(merits[near], 0.8)


def test_a_configuration_is_as_good_as_its_intervals_are_on_average():
    points, merits = np.array([[0.1], [0.9], [0.1], [0.5]]), np.array([0.9, 0.6, 0.1, 0.3])
    hints = Hints(Nearest(np.zeros((4, 1)), np.ones(1)), points, merits)
    assert hints(np.zeros(1))[:, 0].tolist() == [0.9, 0.1, 0.5]  # 0.6, (0.9 + 0.1) / 2, 0.3
