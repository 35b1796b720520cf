"""Restarts: the trigger against curves made by hand, who begins anew, and how long intervals are."""

import json
import math

import numpy as np
import pytest

from metapbt import Restart, Tuner
from metapbt.errors import MetapbtError
from metapbt.history import Budget, Ref, Restarts
from metapbt.population.selection.base import ranking
from metapbt.population.stagnation import curve, stagnates

RULE = Restarts(patience=3)
SPACE = {
    "x": {"type": "float", "low": 0.0, "high": 1.0},
    "width": {"type": "int", "low": 1, "high": 9, "role": "architecture"},
}


def first_restart(values, rule=RULE):
    """After how many values of a curve the population begins anew."""
    return next((count for count in range(1, len(values) + 1) if stagnates(values[:count], rule)), None)


def test_a_curve_that_rises_goes_on():
    assert first_restart([1.2**n for n in range(16)]) is None
    assert first_restart([0.0, 1.0, 2.0, 2.5, 3.5, 4.0]) is None


def test_a_curve_that_falls_or_stands_still_ends_after_three_failures():
    assert first_restart([-1.0 * n for n in range(8)]) == 4  # the first of two points says nothing
    assert first_restart([5.0] * 8) == 4
    assert first_restart([5.0] * 8, Restarts(patience=1)) == 2
    rising_then_falling = [*range(8), *range(6, 0, -1)]
    # The tip itself still counts as a rise of the smoothed curve.
    assert 8 + 3 <= first_restart(rising_then_falling) <= 8 + 4


def test_patience_is_counted_anew_after_each_rise():
    """Two failures in a row, again and again."""
    values, failures = [0.0], 0
    while len(values) < 13:
        step = -1.0 if failures < 2 else 4.0
        failures = failures + 1 if step < 0 else 0
        values.append(values[-1] + step)
    assert first_restart(values) is None
    assert first_restart([*values, values[-1] - 5, values[-1] - 10, values[-1] - 15]) is not None


def test_the_window_ends_a_curve_that_hardly_rises():
    rise = [-np.exp(-n / 3) for n in range(30)]
    assert first_restart(rise, Restarts(patience=100)) > 14
    values = rise[: first_restart(rise, Restarts(patience=100))]
    z = (np.array(values) - np.mean(values)) / np.std(values)
    assert max(z) - max(z[:-14]) < 1
    z = (np.array(values[:-1]) - np.mean(values[:-1])) / np.std(values[:-1])
    assert len(values) == 15 or max(z) - max(z[:-14]) >= 1
    assert first_restart(list(range(40)), Restarts(patience=100, window=39)) is None


def make(method="pbt", **more):
    restarts = {"patience": 1, **more.pop("restarts", {})}
    return Tuner(SPACE, method, **{"seed": 0, "population_size": 4, "restarts": restarts, **more})


def train(tuner, worth, interval=10):
    steps, returns = [], []
    for member, assignment in tuner.assignments.items():
        begin = tuner.counts_on(member)
        steps.append((begin.env_steps if begin else 0) + interval)
        returns.append(worth(assignment.hyperparameters, steps[-1]))
    return tuner.tell(steps, returns)


def flat(hyperparameters, steps):
    return hyperparameters["x"] / 1e6


def until_restart(tuner, most=12):
    tuner.start()
    for number in range(1, most):
        decisions = train(tuner, flat)
        if len(tuner.history) > len(tuner.history.generation(0)) and tuner.screening:
            return number, decisions
    raise AssertionError("nobody began anew")


def test_two_for_each_member_begin_half_with_the_weights_of_the_best_and_as_many_become_members():
    tuner = make()
    assert len(tuner.start()) == 8
    _, decisions = until_restart(tuner)
    best = ranking(tuner.history)[0]
    assert {type(decision) for decision in decisions} == {Restart}
    assert [decision.shrunk for decision in decisions].count(None) == 4
    assert {decision.shrunk for decision in decisions} == {None, best.ref}  # one is the best quarter of four
    assert {d.hyperparameters["width"] for d in decisions if d.shrunk} == {best.hyperparameters["width"]}
    assert len({decision.hyperparameters["x"] for decision in decisions}) == 8
    assert best.ref in tuner.keeps()
    train(tuner, lambda hyperparameters, steps: hyperparameters["x"])
    beginners = {record.ref: record for record in tuner.history.latest}
    for record in beginners.values():
        assert record.restart
        assert record.env_steps == (10 if record.parent is None else best.env_steps + 10)
        assert tuner.history.transition(record) is None
    ranked = sorted(beginners.values(), key=lambda record: -record.train_return)
    assert [assignment.start for assignment in tuner.assignments.values()] == [r.ref for r in ranked[:4]]
    assert curve(tuner.history) == [ranked[0].train_return]  # what was screened begins it


def test_shares_are_settings():
    for fresh, expected in ((0.0, 0), (1.0, 8), (0.25, 2)):
        _, decisions = until_restart(make(restarts={"fresh": fresh}))
        assert [decision.shrunk for decision in decisions].count(None) == expected
    _, decisions = until_restart(make(candidates=6))
    assert len(decisions) == 6


@pytest.mark.parametrize("saved", [0, 1, 3, 4, 5, 6])
def test_a_state_saved_at_any_time_changes_nothing(saved):
    straight, tuner = make(), make()
    straight.start(), tuner.start()
    for number in range(8):
        if number == saved:
            tuner = make()
            straight_state = json.dumps(straight.state())
            tuner.load_state(json.loads(straight_state))
        assert train(tuner, flat) == train(straight, flat)
    assert straight.history.eras > 1
    assert json.dumps(tuner.state()) == json.dumps(straight.state())


def test_nobody_begins_anew_whose_screening_is_more_than_what_is_left():
    # Eight candidates cost two intervals of ten steps, and each generation one; who begin anew cost two of twenty.
    number, _ = until_restart(make())
    trained = 10 * (number + 1)
    for steps, begins in ((trained + 40, True), (trained + 39, False)):
        tuner = make(budget=Budget(steps, 10))
        tuner.start()
        for _ in range(number):
            train(tuner, flat)
        assert tuner.history.spent_each(number) == trained
        assert tuner.screening == begins


def test_intervals_grow_and_the_budget_counts_all_that_was_trained():
    tuner, budget = make(), Budget(1000, 10)
    until_restart(tuner)
    history, eras = tuner.history, tuner.eras
    assert [eras.interval(budget, era) for era in range(8)] == [10, 20, 40, 80, 160, 320, 640, 1000]
    generation = history.coming_generation(0)
    assert history.spent_each(generation) == 10 * (generation + 1)
    assert [history.era_of(history.latest[0].ref), history.era_of(Ref(generation, 99))] == [0, 1]


@pytest.mark.parametrize("scale", [1e308, 1e-308])
def test_returns_of_any_size_are_lived_with(scale):
    tuner = make("ipbt", population_size=6)
    tuner.start()
    with np.errstate(all="raise", under="ignore"):
        for number in range(9):
            train(tuner, lambda h, steps, n=number: (-1) ** n * scale if h["x"] > 0.5 else math.nan)
    assert tuner.history.eras > 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"restarts": {"patience": 0}}, "restarts.patience must be an integer from 1"),
        ({"restarts": {"growth": 0.5}}, "restarts.growth must be a number from 1 to 10, got 0.5"),
        ({"restarts": {"fresh": 2}}, "restarts.fresh must be a number from 0 to 1, got 2"),
        ({"restarts": {"windows": 2}}, "unknown key of restarts 'windows'; did you mean 'window'?"),
        ({"eras": {"count": 2, "steps": 5, "distil_steps": 30}}, "restarts.patience=1 and eras.count=2: choose one"),
        ({"budget": Budget(100, 10, 5)}, "restarts.patience=1 makes intervals longer: leave out budget.interval_end=5"),
        ({"method": "random"}, "restarts.patience needs a method whose members copy others, not 'random'"),
    ],
)
def test_what_cannot_be_is_said(settings, message):
    with pytest.raises(MetapbtError) as error:
        make(**settings)
    assert message in str(error.value)


@pytest.mark.parametrize("method", ["pbt", "ipbt"])
def test_drawn_hyperparameters_of_who_begins_anew_are_drawn_also_where_only_its_network_has_them(method):
    """They were the model's, as the draw's own network mostly lacked them."""
    width = {"type": "int", "low": 1, "high": 8, "role": "architecture"}
    space = {**SPACE, "width": width, "deep": {"type": "float", "low": 0.0, "high": 1.0, "when": {"width": 3}}}
    settings = {"random": 1.0, "fresh": 0.0, "patience": 1}
    initial = [{"x": 0.1 * m, "width": 3, "deep": 0.613} for m in range(8)]
    tuner = Tuner(space, method, population_size=4, seed=0, restarts=settings, initial=initial)
    until_restart(tuner)
    begun = [assignment.hyperparameters for assignment in tuner.assignments.values()]
    assert {hyperparameters["width"] for hyperparameters in begun} == {3}
    assert len({hyperparameters["deep"] for hyperparameters in begun} - {0.613}) == 8


def test_ipbt_that_never_begins_anew_is_warned_of(caplog):
    Tuner(SPACE, "ipbt", 4)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert 'restarts={"patience": 3}' in caplog.text
    caplog.clear()
    assert len(Tuner(SPACE, "ipbt", 4, restarts={"patience": 3}).start()) == 8
    Tuner(SPACE, "pbt", 4)
    assert not caplog.records
