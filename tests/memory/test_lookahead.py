"""Values over several intervals: against known answers, for a problem whose best schedule is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from metapbt.learners.problems.temperature import Temperature
from metapbt.memory.encoder import Encoder, Rows
from metapbt.memory.lookahead import Inputs, Lines, Lookahead
from metapbt.memory.scales import SourceScale
from metapbt.space import Space

INTERVALS = 6
#: An interval leaves half of the heat that it found: heat is the mean of the temperatures that an agent had lately.
TEMPERATURE = Temperature(speed=3.0, cold=0.1, deception=0.5, cooling=1 / (INTERVALS * np.log(2)))
SCALE = SourceScale(longest=INTERVALS * 10.0, interval=10.0, unit=0.25)
LINE = Space({"heat": {"type": "float", "low": 0.0, "high": 1.0}})
COLUMNS = Inputs(Encoder(SCALE, ({},), changed=True), SCALE, np.empty(0))


def change(inputs: np.ndarray) -> np.ndarray:
    """What an interval does to the return, by the problem's formulas; in units of the scale."""
    _, before, now, changed = inputs.T
    heat = now - changed
    progress = -np.log(np.maximum(1 - before - TEMPERATURE.deception * heat, 1e-9))
    progress = progress + TEMPERATURE.speed / INTERVALS * TEMPERATURE.rate(now)
    after = TEMPERATURE.heat(heat, now, 1 / INTERVALS)
    return (1 - np.exp(-progress) - TEMPERATURE.deception * after - before) / SCALE.unit


def ahead(intervals: int, begun: int = 0, share: float = 1.0) -> Lookahead:
    def hints(time: float, value: float) -> np.ndarray:
        return np.array([[0.0], [1.0]])

    return Lookahead(change, COLUMNS, begun / INTERVALS, 0.0, [10.0 * share, *[10.0] * (intervals - 1)], LINE, hints)


def test_the_value_of_a_beginner_is_what_the_best_schedule_reaches() -> None:
    best = float(TEMPERATURE.final_return(TEMPERATURE.best(INTERVALS)))
    greedy = float(TEMPERATURE.final_return(TEMPERATURE.greedy(INTERVALS)))
    (value,) = ahead(INTERVALS).before(np.zeros(1), np.zeros((1, 1)))
    assert best - greedy > 0.2
    assert value == pytest.approx(best, abs=0.02)


def test_following_it_is_the_best_schedule_and_following_the_coming_interval_alone_is_the_greedy_one() -> None:
    points = np.linspace(0, 1, 101)[:, None]
    for horizon, expected in ((INTERVALS, TEMPERATURE.best(INTERVALS)), (1, TEMPERATURE.greedy(INTERVALS))):
        value, last, schedule = 0.0, 0.0, []
        for begun in range(INTERVALS):
            seen = ahead(min(horizon, INTERVALS - begun), begun)
            inputs = COLUMNS.inputs(begun / INTERVALS, np.full(101, value), points, np.full((101, 1), last))
            changes = change(inputs)
            chosen = int(np.argmax(seen.after(value, changes, points, np.full((101, 1), last))))
            value, now = value + float(changes[chosen]) * SCALE.unit, float(points[chosen, 0])
            last = (last + now) / 2
            schedule.append(now)
        reached, known = (float(TEMPERATURE.final_return(np.array(each))) for each in (schedule, expected))
        assert reached == pytest.approx(known, abs=0.01)


def test_it_plans_with_any_choice_and_no_more_at_the_bounds_than_others_are() -> None:
    space = Space({**LINE.specification, "kind": {"type": "categorical", "choices": ["a", "b", "c", "d", "e"]}})
    asked: list[np.ndarray] = []

    def mean(inputs: np.ndarray) -> np.ndarray:
        heat, kind = inputs[:, 2], inputs[:, 3]
        asked.append(np.column_stack([heat, kind]))
        return -((heat - 0.95) ** 2) - (kind > 0.2)  # the first choice is the best

    columns = Inputs(Encoder(SCALE, ({},), changed=True, categories=space.categories), SCALE, np.empty(0))
    Lookahead(mean, columns, 0.0, 0.0, [10.0, 10.0], space, lambda *_: np.array([[0.95, 0.1]]))
    filled = asked[0]
    near = np.unique(np.concatenate(asked[1:]), axis=0)
    near = near[~(near[:, None] == filled).all(axis=2).any(axis=1)]
    assert len(near) > 20
    np.testing.assert_allclose(np.unique(near[:, 1]), [0.1, 0.3, 0.5, 0.7, 0.9])
    assert 0 < near[:, 0].min() < near[:, 0].max() < 1


def test_values_are_those_of_the_best_of_all_ways_to_go_on() -> None:
    """The same by trying every sequence of a few temperatures, for agents with several returns and pasts."""
    returns, recent = np.array([-0.3, 0.0, 0.2]), np.array([[1.0], [0.5], [0.0]])
    best = np.full(3, -np.inf)
    for sequence in itertools.product(np.linspace(0, 1, 5), repeat=3):
        value, last = returns, recent
        for place, temperature in enumerate(sequence):
            now = np.full((3, 1), temperature)
            value = value + change(COLUMNS.inputs(place / INTERVALS, value, now, last)) * SCALE.unit
            last = (last + now) / 2
        best = np.maximum(best, value)
    found = ahead(3).before(returns, recent)
    assert (found >= best - 0.03).all()
    assert (found <= best + 0.05).all()  # which may use temperatures between these


def test_with_one_interval_to_go_a_value_after_it_is_the_return() -> None:
    found = ahead(1).after(0.1, np.array([0.0, 6.0]), np.zeros((2, 1)), np.ones((2, 1)))
    np.testing.assert_allclose(found, [0.1, 0.1 + 6.0 * SCALE.unit])


def test_a_coming_interval_brings_what_its_length_allows() -> None:
    """As scored by whoever forecasts the coming interval otherwise, and as looked ahead from before it."""
    for share in (1.0, 0.5, 0.1):
        found = ahead(3, share=share)
        actions, recent = found._ahead[0].actions, np.array([[0.5]])
        before = np.tile(recent, (len(actions), 1))
        forecast = change(COLUMNS.inputs(0.0, np.full(len(actions), 0.1), actions, before))
        best = found.after(0.1, forecast, actions, before).max()
        # The former knows what agents had trained with lately, the latter between tabulated ones.
        np.testing.assert_allclose(best, found.before(np.array([0.1]), recent)[0], atol=0.015)


def test_lines_of_descent_are_forecast_from_their_first_return_alone() -> None:
    # Two lines of three intervals and of two, the second one's last half as long as usual.
    origins = np.array([-1, -1, 0, 1, 2])
    shares = np.array([1.0, 1.0, 1.0, 0.5, 1.0])
    changes = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    starts = np.array([0.0, 0.0, 0.1, 0.2, 0.4])
    inputs = np.column_stack([np.zeros(5), starts, changes])  # the third column says what is to be forecast
    lines = Lines(Rows(inputs, changes, np.zeros(5, int), np.zeros(5, int)), shares, origins, unit=0.1)
    asked = []

    def mean(x: np.ndarray) -> np.ndarray:
        asked.append(x[:, 1].copy())
        return x[:, 2] + 1  # one too much

    ends, forecast, real = lines.forecast(mean, 3)
    assert ends.tolist() == [4]
    np.testing.assert_allclose(real, [0.1 * (1 + 3 + 5)])
    np.testing.assert_allclose(forecast, [0.1 * (2 + 4 + 6)])
    np.testing.assert_allclose(np.concatenate(asked), [0.0, 0.2, 0.6])  # where it had come to by its own account
    ends, forecast, real = lines.forecast(mean, 2)
    assert ends.tolist() == [2, 3, 4]
    np.testing.assert_allclose(real, [0.4, 0.1 * (2 + 0.5 * 4), 0.8])
