"""What became of agents in the sources, and of those who descended from them."""

from __future__ import annotations

import numpy as np
import pytest
from test_lookahead import COLUMNS, LINE, SCALE, change
from test_planning import tasks_of

from metapbt.memory.encoder import Samples
from metapbt.memory.hindsight import INTERVALS, Hindsight
from metapbt.memory.lookahead import Rollout
from metapbt.memory.planning import LEAST_CONTEXTS, telling
from metapbt.memory.tasks import Tasks
from metapbt.memory.training import learned

MEMBERS, GENERATIONS = 12, 8


def family() -> Tasks:
    """A line of descent that divides: 0, then 1 and 2, then 3 of 1 and 4 of 2, 5 of 3; and 6 of another context."""
    generations = np.array([0, 1, 1, 2, 2, 3, 0])
    after = np.array([1.0, 0.0, 2.0, 5.0, 1.0, 4.0, 7.0])
    steps, points = np.full(7, 10.0), np.linspace(0, 1, 7)[:, None]
    samples = Samples(
        generations.astype(float), 10.0 * generations, steps, 0 * steps, after, points, points,
        np.array([0, 0, 0, 0, 0, 0, 1]),
    )  # fmt: skip
    return Tasks(samples, [], [{}, {}], origins=np.array([-1, 0, 0, 1, 2, 3, -1]))


@pytest.mark.parametrize(
    ("intervals", "best"),
    [(1, [1, 0, 2, 5, 1, 4, 7]), (2, [2, 5, 2, 5, 1, 4, 7]), (3, [5, 5, 2, 5, 1, 4, 7]), (9, [5, 5, 2, 5, 1, 4, 7])],
)
def test_in_hindsight_a_change_is_the_one_to_the_best_that_came_of_it(intervals: int, best: list[float]) -> None:
    tasks = family()
    seen = tasks.in_hindsight(intervals)
    plain, scale = tasks.scale, seen.scale
    expected = plain.scaled(np.array(best, float)) - plain.scaled(np.zeros(7))
    np.testing.assert_allclose(seen.rows.changes * scale.unit, expected)
    assert seen.rows.changes.std() == pytest.approx(1.0)
    np.testing.assert_array_equal(seen.rows.inputs, tasks.rows.inputs)  # returns are on the same scale
    own, others = seen.held_out(1)
    assert own.changes * seen.scale_without(1).unit == pytest.approx(
        tasks.scale_without(1).scaled(7.0) - tasks.scale_without(1).scaled(0.0)
    )
    assert len(others) == 6
    # A model of one is not taken for one of the other.
    assert (seen.digest() == tasks.digest()) == (intervals == 1)


def test_thinned_rows_know_what_came_of_them_by_way_of_those_that_were_left_out() -> None:
    whole = family()
    tasks = Tasks(whole.whole, [], [{}, {}], origins=whole.origins, thinned=np.array([0, 5, 6])).in_hindsight(3)
    changes = tasks.rows.changes * tasks.scale.unit
    np.testing.assert_allclose(changes, tasks.scale.scaled([5.0, 4.0, 7.0]) - tasks.scale.scaled(np.zeros(3)))


def investing(contexts: int) -> Tasks:
    """Agents whom a large hyperparameter costs something at once and brings more in the interval after, whatever they
    train with in that one: their returns do not show it in between."""
    rng = np.random.default_rng(0)
    parts, origins = [], []
    for context in range(contexts):
        value, last, invested = np.zeros(MEMBERS), np.full(MEMBERS, -1), np.zeros(MEMBERS)
        for generation in range(GENERATIONS):
            points = rng.random((MEMBERS, 1))
            after = value + invested - 0.4 * points[:, 0] + 0.01 * rng.standard_normal(MEMBERS)
            steps = np.full(MEMBERS, 10.0)
            parts.append(
                Samples(np.full(MEMBERS, float(generation)), generation * steps, steps, value, after, points, points,
                        np.full(MEMBERS, context))
            )  # fmt: skip
            origins.append(last)
            value, last, invested = after, np.arange(MEMBERS) + MEMBERS * (len(parts) - 1), points[:, 0]
    return tasks_of(parts, origins, contexts)


def test_in_hindsight_what_paid_later_is_known_to_pay() -> None:
    tasks = investing(contexts=4)
    brings = []
    for each in (tasks, tasks.in_hindsight(INTERVALS)):
        mean = learned(each, deep=False).model.related(each.rows, each.rows[:0]).mean
        given = np.median(each.rows.inputs[each.rows.times == 3], axis=0)
        small, large = mean(np.array([[*given[:-1], point] for point in (0.25, 0.75)]))
        brings.append(large - small)
    at_once, later = brings
    assert at_once < 0 < later


@pytest.mark.slow
def test_it_counts_where_held_out_contexts_show_that_it_tells_more() -> None:
    tasks = investing(LEAST_CONTEXTS)
    recalled = learned(tasks.in_hindsight(INTERVALS), deep=False)
    assert telling(learned(tasks, deep=False), recalled, LINE, 4, deep=False).recall


def test_values_are_the_mean_of_what_is_forecast_and_of_what_came_of_such_agents() -> None:
    forecast = Rollout(change, COLUMNS, 0.0, [10.0] * 2)

    def best(inputs: np.ndarray) -> np.ndarray:
        return 3 * inputs[:, 2]

    hindsight = Hindsight(forecast, best, 0.5, COLUMNS, 0.0)
    points, recent, changes = np.array([[0.2], [0.8]]), np.array([[0.5], [0.1]]), np.array([0.3, -0.1])
    expected = (forecast.after(0.1, changes, points, recent) + 0.1 + 1.5 * points[:, 0]) / 2
    np.testing.assert_allclose(hindsight.after(0.1, changes, points, recent), expected)
    assert SCALE.unit != 0.5
    assert len(LINE) == 1
