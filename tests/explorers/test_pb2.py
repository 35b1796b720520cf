import numpy as np

from metapbt.explorers.base import Pending
from metapbt.explorers.meta_pb2 import MetaPB2Explorer
from metapbt.explorers.pb2 import PB2Explorer
from metapbt.records import History, Memory, Record, SourceRun
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
    (suggestion,) = PB2Explorer(SPACE).propose([past.best()], past, [], np.random.default_rng(0))
    assert suggestion.source == "surrogate"
    assert distance(suggestion.hyperparameters, best) < 0.35


def test_pb2_keeps_away_from_points_that_are_being_tried():
    past = history((0.5, 0.5), generations=3)
    explorer, parent = PB2Explorer(SPACE), past.best()
    first = explorer.propose([parent], past, [], np.random.default_rng(0))[0].hyperparameters
    waiting = [Pending(past.value(parent), first)] * 3
    second = explorer.propose([parent], past, waiting, np.random.default_rng(0))[0].hyperparameters
    assert distance(second, (first["x"], first["y"])) > 0.05


def test_pb2_draws_at_random_while_there_is_no_finite_return():
    record = Record(0, 0, None, "random", SPACE.default(), 10, float("nan"))
    (suggestion,) = PB2Explorer(SPACE).propose([record], History((record,)), [], np.random.default_rng(0))
    assert suggestion.source == "random"


def memory(bests, target, **kwargs):
    sources = tuple(
        SourceRun({"shift": shift, "constant": 5.0}, history((shift, 0.8), seed=i, generations=12, **kwargs))
        for i, shift in enumerate(bests)
    )
    return Memory({"shift": target, "constant": 5.0}, sources)


def test_memory_chooses_a_first_generation_near_the_optimum_that_related_contexts_predict():
    explorer = MetaPB2Explorer(SPACE, memory([0.1, 0.3, 0.5, 0.7, 0.9], target=0.6))
    suggestions = explorer.start(4, np.random.default_rng(0))
    assert [s.source for s in suggestions] == ["memory"] * 4
    distances = [distance(s.hyperparameters, (0.6, 0.8)) for s in suggestions]
    assert np.mean(distances) < 0.3  # a random point is 0.47 away on average
    assert len({tuple(s.hyperparameters.values()) for s in suggestions}) == 4


def test_memory_takes_the_targets_own_rows_into_account():
    remembered = memory([0.1, 0.2, 0.3], target=0.25)
    here = history((0.9, 0.1), generations=10, seed=9, rate=3.0)  # the target is unlike its sources
    explorer = MetaPB2Explorer(SPACE, remembered)
    (suggestion,) = explorer.propose([here.best()], here, [], np.random.default_rng(0))
    assert suggestion.source == "memory"
    assert distance(suggestion.hyperparameters, (0.9, 0.1)) < distance(suggestion.hyperparameters, (0.25, 0.8))


def test_without_sources_meta_pb2_is_pb2():
    past = history((0.3, 0.8))
    forgetful, plain = MetaPB2Explorer(SPACE, Memory({"shift": 0.0})), PB2Explorer(SPACE)
    assert forgetful.start(4, np.random.default_rng(1)) == plain.start(4, np.random.default_rng(1))
    arguments = ([past.best()], past, [])
    assert forgetful.propose(*arguments, np.random.default_rng(2)) == plain.propose(
        *arguments, np.random.default_rng(2)
    )


def test_rows_beyond_the_limit_are_thinned_evenly_over_the_sources():
    explorer = MetaPB2Explorer(SPACE, memory([0.1, 0.9], target=0.5), max_rows=20)
    assert [context["shift"] for context, _ in explorer.rows] == [0.1] * 10 + [0.9] * 10


def test_rows_from_outside_the_space_are_left_out():
    narrow = Space({"x": {"type": "float", "low": 0.0, "high": 0.5}, "y": {"type": "float", "low": 0.0, "high": 1.0}})
    explorer = MetaPB2Explorer(narrow, memory([0.1], target=0.5))
    assert 0 < len(explorer.rows) < 48
    assert all(row.hyperparameters["x"] <= 0.5 for _, row in explorer.rows)
