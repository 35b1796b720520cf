import logging
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from metapbt.errors import MetapbtError
from metapbt.history import Budget, Context, History, Record
from metapbt.memory import trust
from metapbt.memory.experts import Ensemble
from metapbt.memory.planning import LEAST_CONTEXTS, Telling
from metapbt.memory.quality import summary
from metapbt.memory.source_runs import Memory, SourceRun
from metapbt.memory.tasks import UNSEEN, Tasks
from metapbt.population.explorers.base import Pending
from metapbt.population.explorers.meta_pb2 import MetaPB2Explorer
from metapbt.population.explorers.pb2 import MAX_PENDING, PB2Explorer
from metapbt.population.tuner import Tuner
from metapbt.space import Space

SPACE = Space({"x": {"type": "float", "low": 0.0, "high": 1.0}, "y": {"type": "float", "low": 0.0, "high": 1.0}})
AROUND = (0.2, 0.4, 0.6, 0.8)


def history(best, generations=6, members=4, seed=0, rate=1.0, noise=0.02):
    """A population whose return grows faster the nearer (x, y) is to ``best``; nobody copies."""
    rng = np.random.default_rng(seed)
    records, returns = [], np.zeros(members)
    for generation in range(generations):
        for member in range(members):
            drawn = SPACE.sample(rng)
            gap = distance(drawn, best)
            returns[member] += rate * np.exp(-((gap / 0.35) ** 2))
            seen = returns[member] + noise * rng.standard_normal()
            records.append(Record(generation, member, None, "random", drawn, 10 * (generation + 1), seen))
    return History(tuple(records))


def distance(hyperparameters, best):
    return np.hypot(hyperparameters["x"] - best[0], hyperparameters["y"] - best[1])


def memory(target=0.5, bests=AROUND, y=0.8, generations=10, **features):
    """Sources whose best x is their feature ``shift``, and whose best y is ``y``."""
    sources = tuple(
        SourceRun(Context({"shift": shift, "other": 5.0}), history((shift, y), generations, seed=i))
        for i, shift in enumerate(bests)
    )
    return Memory(Context({"shift": target, "other": 5.0, **features}), sources)


@pytest.fixture(scope="module")
def cache():
    class Cache(dict):
        def get(self, key):
            return dict.get(self, key)

        def put(self, key, weights):
            self[key] = weights

    return Cache()  # what is trained once serves every test


def shares(caplog):
    """Per cent of each forecast that come from related contexts, from the kernel alone, from this run alone."""
    said = [r.getMessage() for r in caplog.records if "of the forecast" in r.getMessage()]
    return [[int(part) for part in re.findall(r"(\d+)%", line)] for line in said]


def test_the_first_generation_is_near_the_optimum_that_related_contexts_predict(cache):
    explorer = MetaPB2Explorer(SPACE, memory(), cache=cache)
    suggestions = explorer.start(4, np.random.default_rng(0))
    chosen = [s for s in suggestions if s.source == "memory"]
    assert [s.source for s in suggestions] == ["hedge"] * 2 + ["memory"] * 2
    assert max(distance(s.hyperparameters, (0.5, 0.8)) for s in chosen) < 0.12
    # A random point is 0.47 away, the farther one of two 0.59.
    assert len({tuple(s.hyperparameters.values()) for s in chosen}) == 2


def test_members_that_are_given_replace_hedges_before_any_that_memory_chose(cache):
    settings = {"memory": memory(), "cache": cache, "seed": 1}
    alone = Tuner(SPACE, "meta_pb2", 4, **settings)
    alone.start()
    chosen = [a.hyperparameters for a in alone.assignments.values() if a.source == "memory"]
    for given, kept in ((1, 2), (2, 2), (3, 1)):
        tuner = Tuner(SPACE, "meta_pb2", 4, initial=[{"x": 0.9, "y": 0.1}] * given, **settings)
        tuner.start()
        assert [a.source for a in tuner.assignments.values()] == ["given"] * given + ["hedge"] * (4 - given - kept) + [
            "memory"
        ] * kept
        assert [a.hyperparameters for a in tuner.assignments.values()][-kept:] == chosen[-kept:]
    assert max(distance(each, (0.5, 0.8)) for each in chosen) < 0.12


def test_members_for_the_case_that_memory_misleads_fill_the_space(cache):
    suggestions = MetaPB2Explorer(SPACE, memory(), cache=cache).start(32, np.random.default_rng(0))
    points = np.array([SPACE.to_unit(s.hyperparameters) for s in suggestions if s.source == "hedge"])
    counts = np.histogram2d(*points.T, bins=2, range=[[0, 1], [0, 1]])[0]
    assert len(points) >= 16
    assert counts.min() >= 0.8 * len(points) / 4


def test_a_large_population_has_no_member_twice(cache):
    suggestions = MetaPB2Explorer(SPACE, memory(), cache=cache).start(300, np.random.default_rng(0))
    assert len({tuple(s.hyperparameters.values()) for s in suggestions}) == 300


def test_the_first_generation_follows_the_context(cache):
    sides = []
    for target in (0.25, 0.75):
        explorer = MetaPB2Explorer(SPACE, memory(target), first_generation=0.25, cache=cache)
        sides.append(explorer.start(4, np.random.default_rng(0))[-1].hyperparameters["x"])
    assert sides[0] < 0.5 < sides[1]


def test_memory_chooses_but_one_member_where_the_target_differs_in_what_the_sources_never_varied(cache):
    explorer = MetaPB2Explorer(SPACE, memory(other=6.0), cache=cache)
    assert [s.source for s in explorer.start(4, np.random.default_rng(0))] == ["hedge"] * 3 + ["memory"]
    assert explorer.tasks.coverage(explorer.meta.described) == UNSEEN


def test_what_an_agent_trained_with_is_what_its_record_says_whatever_is_explored(cache):
    past, meta = history((0.3, 0.8)), MetaPB2Explorer(SPACE, memory(), cache=cache).meta
    parent = past.leader()
    expected = MetaPB2Explorer(SPACE, memory(), cache=cache).meta.recent(past, parent)
    explored = replace(parent, hyperparameters={"x": 0.0, "y": 0.0})  # as with selection.backtrack
    np.testing.assert_array_equal(meta.recent(past, explored), expected)
    np.testing.assert_array_equal(meta.recent(past, parent), expected)


def test_last_bits_of_a_feature_are_no_difference(cache):
    """0.1 + 0.2 is no number that the sources never had, and no range for another to lie far outside of."""
    same, summed = (
        MetaPB2Explorer(SPACE, memory(other=other), cache=cache) for other in (5.0, 5.0 * (0.1 + 0.2) / 0.3)
    )
    assert summed.tasks.coverage(summed.meta.described) == same.tasks.coverage(same.meta.described) == 1.0
    sources = [SourceRun(Context({"shift": shift}), history((0.5, 0.8), seed=1)) for shift in (0.3, 0.1 + 0.2)]
    assert 0.1 + 0.2 != 0.3
    assert Tasks.of(Memory(Context({"shift": 0.31}), sources), SPACE).scale.features == ()


def test_related_memory_is_trusted_and_finds_the_optimum_at_once(cache, caplog):
    explorer = MetaPB2Explorer(SPACE, memory(), cache=cache)
    here = history((0.5, 0.8), generations=1, seed=9)
    with caplog.at_level(logging.INFO, "metapbt"):
        (suggestion,) = explorer.propose([here.leader()], [here.leader()], here, [], np.random.default_rng(0))
    assert suggestion.source == "memory"
    assert distance(suggestion.hyperparameters, (0.5, 0.8)) < 0.25
    assert shares(caplog)[-1][0] > 60


def test_misleading_memory_loses_its_say_within_a_few_generations(cache, caplog):
    explorer = MetaPB2Explorer(SPACE, memory(y=0.1, bests=(0.5, 0.6, 0.7, 0.8), target=0.65), cache=cache)
    best = (0.1, 0.9)
    with caplog.at_level(logging.INFO, "metapbt"):
        for generations in (1, 2, 3):
            here = history(best, generations, seed=9)
            (suggestion,) = explorer.propose([here.leader()], [here.leader()], here, [], np.random.default_rng(0))
    assert shares(caplog)[-1][0] < 40
    assert distance(suggestion.hyperparameters, best) < 0.3


def test_every_expert_is_judged_by_the_same_rows_however_long_the_run(cache, monkeypatch):
    judged, original = [], trust.evidence

    def spy(errors, changes, times, noise):
        judged.append((len(errors), sorted(times)))
        return original(errors, changes, times, noise)

    explorer = MetaPB2Explorer(SPACE, memory(), cache=cache)
    here = history((0.5, 0.8), generations=40)
    assert explorer.meta.prior_trust > 0
    monkeypatch.setattr("metapbt.memory.trust.evidence", spy)
    explorer.propose([here.leader()], [here.leader()], here, [], np.random.default_rng(0))
    assert len(judged) == len(trust.RELATEDNESS) + 1
    assert all(each == judged[0] for each in judged)


def test_the_log_says_what_a_forecast_is_made_of_and_it_adds_up(cache, caplog):
    explorer = MetaPB2Explorer(SPACE, memory(), cache=cache)
    with caplog.at_level(logging.INFO, "metapbt"):
        explorer.start(4, np.random.default_rng(0))
        for generations in (1, 2):
            here = history((0.3, 0.5), generations, seed=9)
            explorer.propose([here.leader()], [here.leader()], here, [], np.random.default_rng(0))
    said = shares(caplog)
    assert [sum(parts) for parts in said] == [100] * 3
    assert said[0] == [round(100 * explorer.meta.prior_trust), 100 - round(100 * explorer.meta.prior_trust), 0]
    assert all(parts[2] > 0 for parts in said[1:])


def test_without_trust_weighting_memory_keeps_its_say(cache, caplog):
    remembered = memory(y=0.1, bests=(0.5, 0.6, 0.7, 0.8), target=0.65)
    here = history((0.1, 0.9), generations=6, seed=9)
    with caplog.at_level(logging.INFO, "metapbt"):
        MetaPB2Explorer(SPACE, remembered, trust=False, cache=cache).propose(
            [here.leader()], [here.leader()], here, [], np.random.default_rng(0)
        )
    assert shares(caplog)[-1][0] > 60


def test_points_being_tried_are_kept_away_from(cache):
    explorer = MetaPB2Explorer(SPACE, memory(bests=(0.2, 0.8), generations=2), cache=cache)  # much is left uncertain
    here = history((0.5, 0.8), generations=3, seed=9)
    parent = here.leader()
    first = explorer.propose([parent], [parent], here, [], np.random.default_rng(0))[0].hyperparameters
    waiting = [Pending(parent.reached, first)] * 5
    second = explorer.propose([parent], [parent], here, waiting, np.random.default_rng(0))[0].hyperparameters
    assert distance(second, (first["x"], first["y"])) > 0.1  # the same draws: nothing else could make it differ


@pytest.mark.parametrize(
    "empty",
    [
        Memory(Context({"shift": 0.0})),
        Memory(Context({"shift": 0.0}), (SourceRun(Context({"shift": 1.0}), History()),)),
    ],
)
def test_without_rows_of_any_source_it_is_pb2(empty):
    past = history((0.3, 0.8))
    forgetful, plain = MetaPB2Explorer(SPACE, empty), PB2Explorer(SPACE)
    assert forgetful.start(4, np.random.default_rng(1)) == plain.start(4, np.random.default_rng(1))
    arguments = ([past.leader()], [past.leader()], past, [])
    assert forgetful.propose(*arguments, np.random.default_rng(2)) == plain.propose(
        *arguments, np.random.default_rng(2)
    )


@pytest.mark.slow
def test_parts_can_be_switched_off(cache):
    past, plain = history((0.3, 0.8)), PB2Explorer(SPACE)
    only_first = MetaPB2Explorer(SPACE, memory(), steering=False, cache=cache)
    arguments = ([past.leader()], [past.leader()], past, [])
    assert only_first.propose(*arguments, np.random.default_rng(2)) == plain.propose(
        *arguments, np.random.default_rng(2)
    )
    random_first = MetaPB2Explorer(SPACE, memory(), first_generation=0, cache=cache)
    assert random_first.start(4, np.random.default_rng(1)) == plain.start(4, np.random.default_rng(1))
    off = ({"kernel": "plain"}, {"features": False}, {"schedule": False}, {"kernel": "published"}, {"lookahead": 0})
    for settings in off:
        explorer = MetaPB2Explorer(SPACE, memory(generations=4), cache=cache, **settings)
        first = explorer.start(4, np.random.default_rng(0))
        later = explorer.propose(*arguments, np.random.default_rng(0))
        assert [s.source for s in (*first[-1:], *later)] == ["memory"] * 2
        assert all(s.hyperparameters in SPACE for s in (*first, *later))


@pytest.mark.parametrize(
    ("planning", "told", "plans"),
    [
        ("auto", [(0.5, 0.5, 0.0)], True),
        ("auto", [(0.0, 0.5, 0.0)], False),
        ("always", [(0.0, 0.5, 0.0)], True),
        ("never", [(0.5, 0.5, 0.0)], False),
    ],
)
def test_whether_memory_plans_can_be_decided_without_held_out_contexts(planning, told, plans, cache):
    meta = MetaPB2Explorer(SPACE, memory(), planning=planning, cache=cache).meta
    meta.__dict__.update(horizon=3, _telling=Telling.of(told * LEAST_CONTEXTS))
    assert meta.plans == plans
    assert meta.recalls == (not plans)  # what became of agents tells more beside values by keeping, here
    greedy = MetaPB2Explorer(SPACE, memory(), planning="always", lookahead=0, cache=cache).meta
    assert not greedy.plans


@pytest.mark.parametrize("steering", [True, False])
def test_the_log_says_what_first_members_are_valued_by_and_what_copies_are(steering, cache, caplog):
    explorer = MetaPB2Explorer(SPACE, memory(), steering=steering, cache=cache)
    explorer.meta.__dict__.update(horizon=3, _telling=Telling.of([(0.5, 0.5, 0.5)] * LEAST_CONTEXTS))
    with caplog.at_level(logging.INFO):
        explorer.start(4, np.random.default_rng(0))
    (line,) = [said for said in caplog.messages if "initial trust" in said]
    # What is recalled is not asked for first members, and PB2 decides the rest where memory does not steer.
    recalling = ", and recalls what became of such agents" if steering else ""
    assert line.endswith(f" of 4 members, and plans changes of hyperparameters over 3 intervals{recalling}")


@pytest.mark.slow
def test_a_new_explorer_suggests_what_the_old_one_would_have(cache):
    here = history((0.5, 0.8), generations=3, seed=9)
    old = MetaPB2Explorer(SPACE, memory(generations=4))  # trains
    old.start(4, np.random.default_rng(0))
    parents = [here.leader(), here.latest[0]]
    arguments = (parents, parents, here, [Pending(1.0, SPACE.default())])
    expected = old.propose(*arguments, np.random.default_rng(5))
    kept = {}
    kept_cache = type("Kept", (), {"get": staticmethod(kept.get), "put": staticmethod(kept.__setitem__)})()
    for _ in range(2):  # trains and keeps; then takes what was kept
        again = MetaPB2Explorer(SPACE, memory(generations=4), cache=kept_cache)
        assert again.propose(*arguments, np.random.default_rng(5)) == expected
    assert len(kept) == 2  # the deep kernel's, and the plain one's that it starts from


def test_parents_without_a_finite_return_are_left_to_pb2(cache):
    here = history((0.5, 0.8), generations=2)
    failed = Record(1, 0, None, "random", SPACE.default(), 20, float("nan"))
    explorer = MetaPB2Explorer(SPACE, memory(), cache=cache)
    (suggestion,) = explorer.propose([failed], [failed], here, [], np.random.default_rng(0))
    assert suggestion.source == "random"


def test_sources_of_another_space_are_said_to_teach_nothing(caplog):
    another = Space({"z": {"type": "float", "low": 0.0, "high": 1.0}})
    with caplog.at_level(logging.WARNING):
        tuner = Tuner(another, "meta_pb2", 2, memory=memory(), seed=0)
        assert tuner.start() == Tuner(another, "pb2", 2, seed=0).start()
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == (
        "memory: nothing can be learned from its sources, of which no interval has finite returns and "
        "hyperparameters of this search space (z): going on without"
    )
    caplog.clear()
    MetaPB2Explorer(SPACE, Memory(Context({"shift": 0.0}))).start(4, np.random.default_rng(1))
    assert not caplog.records  # nor where there are no sources


def test_rows_from_outside_the_space_are_left_out():
    narrow = Space({"x": {"type": "float", "low": 0.0, "high": 0.5}, "y": {"type": "float", "low": 0.0, "high": 1.0}})
    assert 0 < len(MetaPB2Explorer(narrow, memory(bests=[0.1])).tasks) < 40
    assert len(Tasks.of(memory(bests=[0.1]), SPACE, max_rows=20)) == 20


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kernel": "dep"}, "did you mean 'deep'"),
        ({"first_generation": 1.5}, "method.first_generation must be a number from 0 to 1"),
        ({"planning": True}, "unknown method.planning"),
        ({"lookahead": -1}, "method.lookahead must be an integer >= 0, got -1"),
    ],
)
def test_wrong_settings_are_said_in_one_line(settings, said):
    with pytest.raises(MetapbtError, match=said):
        MetaPB2Explorer(SPACE, memory(), **settings)


def test_targets_with_the_same_sources_share_what_was_trained(cache):
    one, other = (MetaPB2Explorer(SPACE, memory(target), cache=cache) for target in (0.5, 0.9))
    one.start(4, np.random.default_rng(0))
    known = len(cache)
    other.start(4, np.random.default_rng(0))
    assert len(cache) == known > 0


def test_hints_are_each_another_configuration(cache):
    sources = tuple(
        SourceRun(Context({"shift": shift}), copied(history((shift, 0.8), generations=9, seed=i)))
        for i, shift in enumerate(AROUND)
    )
    meta = MetaPB2Explorer(SPACE, Memory(Context({"shift": 0.5}), sources)).meta
    given = meta.given(40, 2.0)
    everything = meta.tasks.rows
    assert len(np.unique(everything.inputs[:, len(given) : len(given) + 2], axis=0)) == 2 * len(AROUND)
    found = meta.hints(given)
    assert len(found) == len(np.unique(found, axis=0)) == 2 * len(AROUND)


def copied(run):
    """The same run, all of whose agents train with one of two configurations."""
    two = [record.hyperparameters for record in run if record.generation == 0][:2]
    return History(tuple(replace(record, hyperparameters=two[record.member % 2]) for record in run))


def test_it_looks_no_farther_than_was_validated_however_long_intervals_are(cache):
    def lengths(interval, horizon=4):
        explorer = MetaPB2Explorer(SPACE, memory(), budget=Budget(1000, interval), cache=cache)
        explorer.meta.__dict__.update(horizon=horizon)
        return explorer.intervals_ahead(0)

    assert MetaPB2Explorer(SPACE, memory()).meta.scale.interval == 10  # the sources'
    assert lengths(10) == [10, 10, 10, 10]
    assert lengths(2) == [2, 10, 10, 10]  # how shorter ones add up nobody has seen
    assert lengths(20) == [20, 20]
    assert lengths(15) == [15, 15]
    assert lengths(21) == []  # 42 steps are more than 40: greedy
    assert lengths(10, horizon=1) == []
    # The sources' are whole rollouts, and so not quite as long as they and this run are asked to be.
    assert lengths(11) == [11] * 4
    assert lengths(12, horizon=2) == [12, 12]


def test_without_a_budget_the_coming_interval_is_whole_however_long_the_run(cache):
    explorer = MetaPB2Explorer(SPACE, memory(), cache=cache)
    explorer.meta.__dict__.update(horizon=4)
    assert explorer.meta.scale.longest == 100
    assert explorer.intervals_ahead(80) == [10, 10]
    for steps in (90, 100, 110, 1000):
        assert explorer.intervals_ahead(steps) == [10]
    ending = MetaPB2Explorer(SPACE, memory(), budget=Budget(95, 10), cache=cache)
    ending.meta.__dict__.update(horizon=4)
    assert ending.intervals_ahead(90) == [5]  # a budget ends


def test_a_decision_is_worked_out_once_and_is_the_same_whoever_asks_first(cache, monkeypatch):
    run = history((0.5, 0.8), generations=8, seed=3)
    earlier, leader = History(run.records[:-4]), [run.leader()]

    def told(*asked):
        explorer = MetaPB2Explorer(SPACE, memory(), cache=cache)
        explorer.meta.__dict__.update(horizon=3, plans=True)
        counted = dict.fromkeys(("own", "weights", "values"), 0)
        for name in counted:
            monkeypatch.setattr(explorer.meta, name, counting(counted, name, getattr(explorer.meta, name)))
        found = {}
        for each in asked:
            if each == "values":
                found[each] = explorer.values(run)
            elif each == "propose":
                found[each] = explorer.propose(leader, leader, run, [], np.random.default_rng(0))
            else:
                explorer.values(earlier)
        return found, counted

    both, counted = told("values", "propose")
    assert counted == {"own": 1, "weights": 1, "values": 1}
    turned, counted = told("propose", "values")
    assert counted == {"own": 1, "weights": 1, "values": 1}
    assert turned == both == told("earlier", "values", "propose")[0]  # nor does it matter what was asked before


def test_whom_evaluations_do_not_tell_apart_training_does(cache):
    run = history((0.5, 0.8), generations=8, seed=3)
    hyperparameters = run.records[0].hyperparameters
    alike = [replace(r, hyperparameters=hyperparameters, train_return=r.member / 4, eval_return=2.0) for r in run]
    explorer = MetaPB2Explorer(SPACE, memory(), cache=cache)
    explorer.meta.__dict__.update(horizon=3, plans=True)
    values = explorer.values(History(tuple(alike)))
    assert sorted(values, key=values.__getitem__) == [0, 1, 2, 3]
    assert len(set(values.values())) == 4


@pytest.mark.parametrize(
    ("generation", "steps"),
    [(8, 80), (3, 40)],
    ids=["the only child failed", "the child reports long after the parent"],
)
def test_it_looks_ahead_from_where_copies_go_on_and_never_past_the_end(cache, monkeypatch, generation, steps):
    run = history((0.5, 0.8), generations=9, seed=3)  # up to step 90 of 100
    child, parent = replace(run.last(3), generation=generation, env_steps=steps), run.last(0)
    explorer = MetaPB2Explorer(SPACE, memory(), budget=Budget(100, 10), cache=cache)
    explorer.meta.__dict__.update(horizon=3, plans=True)
    values, asked = explorer.meta.values, []
    monkeypatch.setattr(explorer.meta, "values", lambda *given: asked.append(given[-1]) or values(*given))
    explorer.propose([child], [parent], run, [], np.random.default_rng(0))
    assert asked == [[10]]


@pytest.mark.parametrize("parent", [1, 5, 8])
def test_it_looks_ahead_from_the_time_of_the_agents_that_are_copied(cache, monkeypatch, parent):
    run = history((0.5, 0.8), generations=9, seed=3)
    explorer = MetaPB2Explorer(SPACE, memory(), budget=Budget(100, 10), cache=cache)
    explorer.meta.__dict__.update(horizon=3, plans=True)
    values, asked = explorer.meta.values, []
    monkeypatch.setattr(explorer.meta, "values", lambda *given: asked.append(given[2][0]) or values(*given))
    (before,) = [record for record in run.generation(parent) if record.member == 0]
    explorer.propose([run.last(3)], [before], run, [], np.random.default_rng(0))
    assert asked == [explorer.meta.given(before.env_steps, 0.0)[0]]


def test_only_the_last_of_the_points_being_tried_count(cache, monkeypatch):
    run = history((0.5, 0.8), generations=8, seed=3)
    explorer = MetaPB2Explorer(SPACE, memory(), cache=cache)
    seen = []
    monkeypatch.setattr(Ensemble, "with_pending", lambda self, waiting: seen.append(waiting) or self)
    tried = [Pending(1.0, {"x": place / 300, "y": 0.5}) for place in range(300)]
    explorer.propose([run.last(3)], [run.last(0)], run, tried, np.random.default_rng(0))
    (waiting,) = seen
    columns = explorer.columns({"x": 299 / 300, "y": 0.5})
    assert len(waiting) == MAX_PENDING
    width = len(columns)
    start = len(explorer.meta.given(0, 0.0))
    assert waiting[-1, start : start + width].tolist() == pytest.approx(columns)


def counting(counted, name, function):
    def counts(*given):
        counted[name] += 1
        return function(*given)

    return counts


def test_a_parent_of_long_ago_is_known_where_nobody_has_a_return_now(cache):
    run = history((0.5, 0.8), generations=8, seed=3)
    lost = History((*run.records[:-4], *(replace(record, train_return=np.nan) for record in run.records[-4:])))
    children, parents = list(lost.latest), [run.generation(5)[0]] * 4
    explorer = MetaPB2Explorer(SPACE, memory(), cache=cache)
    assert {s.source for s in explorer.propose(children, parents, lost, [], np.random.default_rng(0))} == {"memory"}


def test_it_is_greedy_where_architectures_are_searched(cache):
    network = {"width": {"type": "int", "low": 1, "high": 8, "role": "architecture"}}
    for space, expected in ((SPACE, 5), (Space({**SPACE.specification, **network}), 1)):
        explorer = MetaPB2Explorer(space, memory(), cache=cache)
        explorer.meta.__dict__.update(learned=SimpleNamespace(horizon=lambda: 5), plans=True)
        assert explorer.meta.horizon == expected
        assert explorer.ranks_by_value == (expected > 1 and len(explorer.tasks) > 0)


@pytest.mark.parametrize("settings", [{"kernel": "plain"}, {"features": False}, {"lookahead": 0}, "thinned"])
@pytest.mark.usefixtures("briefly_trained")
def test_what_is_said_of_its_quality_is_of_the_models_that_it_has(settings):
    kept = {}
    thinned = settings == "thinned"
    explorer = MetaPB2Explorer(
        SPACE, memory(), cache=SimpleNamespace(get=kept.get, put=kept.__setitem__), **({} if thinned else settings)
    )
    if thinned:
        explorer.meta.__dict__["tasks"] = Tasks.of(memory(), SPACE, max_rows=60)
    qualities = explorer.meta.quality()
    assert len(qualities) == 4
    assert all((quality.memory is not None) == (explorer.meta.kernel == "deep") for quality in qualities)
    assert ("network" in summary(qualities) or "deep kernel" in summary(qualities)) == (explorer.meta.kernel == "deep")
    before = set(kept)
    explorer.start(4, np.random.default_rng(0))
    assert set(kept) == before  # nothing else is trained for the run itself
    assert MetaPB2Explorer(SPACE, memory(), kernel="published").meta.quality() == []


@pytest.mark.parametrize(
    ("weights", "heard"),
    [
        ([0.1, 0.2, 0.3, 0.25, 0.15], [0.1, 0.2, 0.3, 0.25, 0.15]),
        ([0.3, 0.4, 0.0, 0.295, 0.005], [0.3, 0.4, 0.295]),  # what is negligible is not asked
        ([0.001, 0.001, 0.001, 0.001, 0.996], [0.996]),
        ([0.004, 0.99, 0.002, 0.002, 0.002], [0.99]),
    ],
)
def test_experts_are_heard_with_their_weights(weights, heard, cache):
    explorer, past = MetaPB2Explorer(SPACE, memory(), cache=cache), history((0.5, 0.8), generations=4)
    parents = [past.leader()]
    own = explorer.known(parents, parents, past).own
    ensemble = explorer.meta.ensemble(own.source, own, np.array(weights))
    np.testing.assert_allclose(np.concatenate([each.weights for each in ensemble.experts]), heard)


def test_without_related_experts_nothing_is_looked_ahead_for(cache):
    explorer, past = MetaPB2Explorer(SPACE, memory(), cache=cache), history((0.5, 0.8), generations=4)
    parents = [past.leader()]
    own = explorer.known(parents, parents, past).own
    alone, related = np.array([0.0, 0.0, 0.0, 0.0, 1.0]), np.array([0.1, 0.2, 0.3, 0.2, 0.2])
    assert explorer.meta.values(own, alone, own.now[0], [10.0, 10.0]) is None
    assert explorer.meta.values(own, related, own.now[0], [10.0, 10.0]) is not None


def test_each_member_is_valued_for_what_is_left_of_its_own_training(cache, monkeypatch):
    """Where nobody waits for the others, some have trained far less: their return is to come."""
    run = history((0.5, 0.8), generations=9, seed=3)
    explorer = MetaPB2Explorer(SPACE, memory(), budget=Budget(100, 10), cache=cache)
    explorer.meta.__dict__.update(horizon=3, plans=True)
    values, asked = explorer.meta.values, []
    monkeypatch.setattr(explorer.meta, "values", lambda *given: asked.append(given[-1]) or values(*given))
    behind = History(tuple(record for record in run if record.member or record.generation < 3))
    assert [record.env_steps for record in behind.latest] == [30, 90, 90, 90]
    assert len(explorer.values(behind)) == 4
    assert sorted(asked) == [[10], [10, 10, 10]]
    asked.clear()
    rounded = History(tuple(replace(record, env_steps=record.env_steps - record.member) for record in run))
    explorer.values(rounded)  # to whole rollouts: they are at one time
    assert asked == [[10]]
