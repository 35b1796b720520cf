"""The variants of PB2 that treat categories as categories."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest

import metapbt
from metapbt.errors import MetapbtError
from metapbt.history import History, Record
from metapbt.population.explorers import bandit, make_explorer
from metapbt.population.explorers.base import Pending
from metapbt.population.explorers.pb2 import Situation
from metapbt.space import Space
from metapbt.surrogates.time_varying import KEPT_ROWS

SPACE = Space(
    {
        "x": {"type": "float", "low": 0.0, "high": 1.0},
        "kind": {"type": "categorical", "choices": ["a", "b", "c"]},
        "y": {"type": "float", "low": 0.0, "high": 1.0, "when": {"kind": ["a", "b"]}},
    }
)
VARIANTS = ("pb2_rand", "pb2_mult", "pb2_mix")


def history(generations=15, members=4, seed=0):
    """Returns grow fastest with kind b and x near 0.8; with the other kinds x near 0.2 is best, and much slower."""
    rng = np.random.default_rng(seed)
    records, returns = [], np.zeros(members)
    for generation in range(generations):
        for member in range(members):
            drawn = SPACE.sample(rng)
            best = 0.8 if drawn["kind"] == "b" else 0.2
            returns[member] += (1.0 if drawn["kind"] == "b" else 0.3) * (1 - abs(drawn["x"] - best))
            records.append(Record(generation, member, None, "random", drawn, 10 * (generation + 1), returns[member]))
    return History(tuple(records))


def proposals(method, count=2, repeats=5, past=None, **settings):
    past = past or history()
    explorer = make_explorer(method, SPACE, **settings)
    return [
        suggestion
        for seed in range(repeats)
        for suggestion in explorer.propose(
            [past.best()] * count, [past.best()] * count, past, [], np.random.default_rng(seed)
        )
    ]


@pytest.mark.parametrize("method", VARIANTS)
def test_every_suggestion_is_legal_and_honours_conditions(method):
    for suggestion in proposals(method):
        SPACE.check(suggestion.hyperparameters)
        assert ("y" in suggestion.hyperparameters) == (suggestion.hyperparameters["kind"] != "c")


@pytest.mark.parametrize("kind", list("abc"))
def test_pb2_rand_keeps_the_parents_category_half_of_the_time_and_draws_it_anew_otherwise(kind):
    past, rng = history(generations=3), np.random.default_rng(0)
    parent = next(record for record in past if record.hyperparameters["kind"] == kind)
    explorer = make_explorer("pb2_rand", SPACE)
    kinds = [settled["kind"] for settled in explorer.settle([parent] * 6000, past, rng)]
    for other in "abc":
        assert kinds.count(other) / 6000 == pytest.approx(1 / 2 + 1 / 6 if other == kind else 1 / 6, abs=0.02)


def test_pb2_rand_draws_a_category_that_the_parent_did_not_have():
    space = Space(
        {
            "which": {"type": "categorical", "choices": ["plain", "rich"]},
            "kind": {"type": "categorical", "choices": ["a", "b"], "when": {"which": "rich"}},
        }
    )
    parent = Record(0, 0, None, "random", {"which": "plain"}, 10, 1.0)
    explorer, rng = make_explorer("pb2_rand", space), np.random.default_rng(0)
    settled = explorer.settle([parent] * 200, History((parent,)), rng)
    assert 70 < [s["kind"] for s in settled].count("a") < 130


@pytest.mark.parametrize("members", [2, 4, 8])
def test_the_bandits_rates_follow_from_the_population_not_from_how_many_copy(members, monkeypatch):
    asked = []
    draw = bandit.draw
    monkeypatch.setattr(bandit, "draw", lambda *a: (asked.append(a[1:5]), draw(*a))[1])
    past = history(members=members)
    explorer = make_explorer("pb2_mult", SPACE)
    explorer.settle([past.best()], past, np.random.default_rng(0))
    gamma = {2: 0.266, 4: 0.2, 8: 0.2}[members]
    assert asked == [(members, 1, pytest.approx(gamma, abs=1e-3), 0.1 / 50)]


def test_a_bandit_over_every_member_of_every_generation_learns_from_them_all():
    # Everybody plays, those that go on as they are too; each generation is a round.
    past = history(generations=2)
    explorer = make_explorer("pb2_mult", SPACE)
    slopes = np.array([row.slope for row in past.transitions()])
    rewards = (slopes - slopes.min()) / np.ptp(slopes)
    arms = np.array(["abc".index(row.hyperparameters["kind"]) for row in past.transitions()])
    expected = np.full(3, 1 / 3)
    for turn in (slice(0, 4), slice(4, 8)):
        expected = bandit.updated(expected, arms[turn], rewards[turn], 4, 0.2, 0.002)
    assert explorer.weights(explorer.categories[0], past.transitions(), 4) == pytest.approx(expected)


@pytest.mark.parametrize("method", ["pb2_mult", "pb2_mix"])
def test_the_bandit_prefers_the_category_that_pays(method):
    past, rng, explorer = history(generations=40), np.random.default_rng(0), make_explorer(method, SPACE)
    kinds = [explorer.settle([past.best()], past, rng)[0]["kind"] for _ in range(300)]
    assert kinds.count("b") > 1.5 * max(kinds.count("a"), kinds.count("c"))


@pytest.mark.parametrize("method", ["pb2_mult", "pb2_mix"])
def test_the_copies_of_a_generation_try_different_categories(method):
    past, rng, explorer = history(), np.random.default_rng(0), make_explorer(method, SPACE)
    for _ in range(100):
        first, second = explorer.settle([past.best()] * 2, past, rng)
        assert first["kind"] != second["kind"]


@pytest.mark.parametrize("method", ["pb2_mult", "pb2_mix"])
def test_numbers_follow_the_category(method):
    found = [s.hyperparameters for s in proposals(method) if s.source == "surrogate"]
    with_b = [h["x"] for h in found if h["kind"] == "b"]
    assert np.median(with_b) > 0.5


def history_of_a_alone():
    only_a = [r for r in history() if r.hyperparameters["kind"] == "a"]
    return History(
        tuple(Record(i, 0, None, "random", r.hyperparameters, i + 1, float(i)) for i, r in enumerate(only_a))
    )


def test_pb2_mult_draws_numbers_at_random_while_a_choice_was_never_tried():
    sources = {(s.hyperparameters["kind"], s.source) for s in proposals("pb2_mult", past=history_of_a_alone())}
    assert sources <= {("a", "surrogate"), ("b", "random"), ("c", "random")}
    assert len(sources) == 3


def test_pb2_mult_may_keep_all_that_the_parent_had_while_a_choice_was_never_tried():
    past = history_of_a_alone()
    found = proposals("pb2_mult", past=past, without_rows="parent")
    assert {s.hyperparameters["kind"] for s in found} == {"a"}  # so the others are never tried
    kept = [s.hyperparameters for s in found if s.source == "parent"]
    assert len(kept) >= 3
    assert all(values == past.best().hyperparameters for values in kept)


def test_pb2_mult_may_have_one_process_of_all_rows_which_sees_numbers_alone():
    past = history()
    situation = Situation.of(past, past.latest, past.latest)
    kinds = [record.hyperparameters["kind"] for record in past]
    for dependent in (True, False):
        explorer = make_explorer("pb2_mult", SPACE, dependent=dependent)
        for kind in "abc":
            rows = explorer.fit(situation, {"kind": kind}).train_targets
            assert len(rows) == (kinds.count(kind) if dependent else len(kinds))
    found = proposals("pb2_mult", past=history_of_a_alone(), dependent=False)
    assert {(s.hyperparameters["kind"], s.source) for s in found} == {(kind, "surrogate") for kind in "abc"}


def chosen_for(kind, parent, past, method="pb2_mix", **settings):
    """What a copy of ``parent`` gets whose category the bandit chose."""
    explorer = make_explorer(method, SPACE, **settings)
    explorer.settle = lambda *_: [{"kind": kind}]
    (suggestion,) = explorer.propose([parent], [parent], past, [], np.random.default_rng(0))
    SPACE.check(suggestion.hyperparameters)
    assert suggestion.hyperparameters["kind"] == kind
    return suggestion.hyperparameters


@pytest.mark.parametrize("kind", list("abc"))
def test_pb2_mix_chooses_numbers_for_the_chosen_category_or_for_the_parents(kind):
    past = history()
    parent = past.best()
    usual = chosen_for(kind, parent, past)
    for_parent = chosen_for(kind, parent, past, condition_on="parent")
    as_parent = chosen_for(parent.hyperparameters["kind"], parent, past)
    assert for_parent["x"] == as_parent["x"]
    assert (for_parent["x"] == usual["x"]) == (kind == parent.hyperparameters["kind"])


@pytest.mark.parametrize("method", ["pb2", *VARIANTS])
def test_what_is_learned_may_be_the_return_in_training(method):
    # Evaluations fall where returns in training rise.
    told = tuple(replace(record, eval_return=-record.train_return) for record in history())
    past, rng = History(told), np.random.default_rng
    blind = History(tuple(replace(record, eval_return=math.nan) for record in told))
    best = blind.best()
    pending = [Pending(-r.train_return, r.hyperparameters, r.train_return) for r in blind.latest]
    seen = [Pending(r.train_return, r.hyperparameters) for r in blind.latest]
    trained = make_explorer(method, SPACE, learn_from="train_return").propose([best], [best], past, pending, rng(0))
    assert trained == make_explorer(method, SPACE).propose([best], [best], blind, seen, rng(0))
    assert trained != make_explorer(method, SPACE).propose([best], [best], past, pending, rng(0))


def test_a_space_without_categories_makes_all_variants_pb2():
    space = Space({"x": {"type": "float", "low": 0.0, "high": 1.0}})
    past = History(tuple(Record(g, 0, None, "random", {"x": g / 9}, g + 1, float(g)) for g in range(9)))
    plain = make_explorer("pb2", space).propose([past.best()], [past.best()], past, [], np.random.default_rng(0))
    for method in VARIANTS:
        assert (
            make_explorer(method, space).propose([past.best()], [past.best()], past, [], np.random.default_rng(0))
            == plain
        )


@pytest.mark.parametrize(
    ("method", "setting", "message"),
    [
        ("pb2_mix", {"rounds": 0}, "method.rounds must be >= 1, got 0"),
        ("pb2_mix", {"condition_on": "child"}, "unknown method.condition_on 'child' (known: chosen, parent)"),
        ("pb2_mult", {"without_rows": "nothing"}, "unknown method.without_rows 'nothing' (known: parent, random)"),
        ("pb2_mult", {"dependent": "no"}, "method.dependent must be true or false, got 'no'"),
        ("pb2_rand", {"learn_from": "test_return"}, "(known: eval_return, train_return)"),
    ],
)
def test_bad_settings_are_named(method, setting, message):
    with pytest.raises(MetapbtError, match=re.escape(message)):
        make_explorer(method, SPACE, **setting)


def copies_of(method, results_dir, steps):
    """Of a small run as people start it: each copy with what it copied."""
    run = metapbt.run(
        [
            "env=synthetic", "learner=synthetic", "space=synthetic_mixed", f"method=published/{method}",
            "executor=inline", "population.size=4", f"budget.steps={steps}", "budget.interval=20", "seed=3",
            f"results_dir={results_dir}",
        ]
    )  # fmt: skip
    assert run.path.parent.name == method
    return [(record, run.history.before(record)) for record in run.history if record.parent is not None]


def test_a_run_of_published_pbt_multiplies_every_number_and_keeps_or_draws_categories(tmp_path):
    copies = copies_of("pbt", tmp_path, steps=800)
    assert len(copies) > 30
    for child, parent in copies:
        for name in ("x0", "x1"):
            before = parent.hyperparameters[name]
            assert child.hyperparameters[name] in (pytest.approx(before * 0.8), pytest.approx(min(before * 1.2, 1.0)))
    kept = [c.hyperparameters[name] == p.hyperparameters[name] for c, p in copies for name in ("c0", "c1")]
    assert np.mean(kept) == pytest.approx(1 / 2 + 1 / 8, abs=0.15)


@pytest.mark.parametrize("method", ["pb2_rand", "pb2_mult", "pb2_mix"])
def test_a_run_of_a_published_method_finishes_and_asks_its_surrogate(method, tmp_path):
    sources = [child.source for child, _ in copies_of(method, tmp_path, steps=160)]
    assert sources.count("surrogate") > 1
    assert ("parent" in sources) == (method == "pb2_mult")


def test_a_choice_of_long_ago_is_known_however_much_has_happened_since():
    past = history(generations=60)  # 240 rows, of which a model has 200
    late = [
        r if r.generation < 3 else replace(r, hyperparameters={"x": r.hyperparameters["x"], "kind": "c"}) for r in past
    ]
    past = History(tuple(late))
    explorer = make_explorer("pb2_mult", SPACE)
    situation = Situation.of(past, [past.last(0)], [past.last(0)])
    rows = [row for row in past.transitions() if row.hyperparameters["kind"] == "b"]
    assert 0 < len(rows) < 12
    model = explorer.fit(situation, {"kind": "b"})
    assert len(model.train_targets) == len(rows)
    assert len(explorer.fit(situation, {"kind": "c"}).train_targets) == KEPT_ROWS


def test_a_round_of_the_bandit_has_the_whole_population_also_before_all_have_reported(monkeypatch):
    past = history(generations=4, members=8)
    plays = []
    drawn = bandit.draw
    monkeypatch.setattr(
        bandit, "draw", lambda weights, count, *rest: plays.append(count) or drawn(weights, count, *rest)
    )
    for known in (past, History(tuple(r for r in past if r.member < 2), size=8)):
        make_explorer("pb2_mult", SPACE).settle([known.last(0)], known, np.random.default_rng(0))
    assert plays == [8, 8]
