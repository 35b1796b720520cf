from dataclasses import replace

import numpy as np

from metapbt.history import History, Record
from metapbt.population.explorers.base import Pending
from metapbt.population.explorers.pb2 import PB2Explorer, Situation
from metapbt.space import Space

SPACE = Space({"x": {"type": "float", "low": 0.0, "high": 1.0}, "y": {"type": "float", "low": 0.0, "high": 1.0}})


def history(best, generations=6, members=4, seed=0, rate=1.0):
    """A population whose return grows faster the nearer (x, y) is to ``best``; nobody copies."""
    rng = np.random.default_rng(seed)
    records, returns = [], np.zeros(members)
    for generation in range(generations):
        for member in range(members):
            drawn = SPACE.sample(rng)
            distance = np.hypot(drawn["x"] - best[0], drawn["y"] - best[1])
            returns[member] += rate * (1 - distance)
            records.append(Record(generation, member, None, "random", drawn, 10 * (generation + 1), returns[member]))
    return History(tuple(records))


def distance(hyperparameters, best):
    return np.hypot(hyperparameters["x"] - best[0], hyperparameters["y"] - best[1])


def test_pb2_suggests_near_the_setting_that_grew_the_return_fastest():
    best = (0.3, 0.8)
    past = history(best, generations=10)
    (suggestion,) = PB2Explorer(SPACE).propose([past.best()], [past.best()], past, [], np.random.default_rng(0))
    assert suggestion.source == "surrogate"
    assert distance(suggestion.hyperparameters, best) < 0.35


def test_pb2_keeps_away_from_points_that_are_being_tried():
    past = history((0.5, 0.5), generations=3)
    explorer, parent = PB2Explorer(SPACE), past.best()
    first = explorer.propose([parent], [parent], past, [], np.random.default_rng(0))[0].hyperparameters
    waiting = [Pending(past.value(parent), first)] * 3
    second = explorer.propose([parent], [parent], past, waiting, np.random.default_rng(0))[0].hyperparameters
    assert distance(second, (first["x"], first["y"])) > 0.05


def test_pb2_draws_at_random_while_there_is_no_finite_return():
    record = Record(0, 0, None, "random", SPACE.default(), 10, float("nan"))
    (suggestion,) = PB2Explorer(SPACE).propose([record], [record], History((record,)), [], np.random.default_rng(0))
    assert suggestion.source == "random"


def test_a_copy_of_an_old_checkpoint_is_chosen_for_the_coming_generation():
    best = (0.3, 0.8)
    past = history(best, generations=6)
    child, old = past.last(0), past.generation(1)[2]
    now = Situation.of(past, [child], [old])
    assert now.now == 6
    assert Situation.of(past, [child], [child]).now == 6
    asked = []

    class Watched(PB2Explorer):
        def _best(self, model, situation, return_before, *others):
            asked.append((situation.now, return_before))
            return super()._best(model, situation, return_before, *others)

    Watched(SPACE).propose([child], [old], past, [], np.random.default_rng(0))
    assert asked == [(6, old.reached)]


def test_suggestions_do_not_depend_on_the_unit_of_returns():
    past = history((0.3, 0.8), generations=10)
    explorer, rng = PB2Explorer(SPACE), np.random.default_rng
    found = []
    for power in (0, -10, -20, -60):  # a change of return for each step is often below 1e-3, and may be below 1e-8
        scaled = History(tuple(replace(record, train_return=record.train_return * 2.0**power) for record in past))
        parent = scaled.best()
        found.append(explorer.propose([parent], [parent], scaled, [], rng(0))[0].hyperparameters)
    assert found[1:] == found[:1] * 3
