"""The variants of PB2 that treat categories as categories."""

import numpy as np
import pytest

from metapbt.errors import MetapbtError
from metapbt.history import History, Record
from metapbt.population.explorers import bandit, make_explorer
from metapbt.space import Space

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


def proposals(method, count=2, repeats=10, past=None):
    past = past or history()
    explorer = make_explorer(method, SPACE)
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
    found = [s.hyperparameters for s in proposals(method, repeats=8) if s.source == "surrogate"]
    with_b = [h["x"] for h in found if h["kind"] == "b"]
    assert np.median(with_b) > 0.5


def test_pb2_mult_draws_numbers_at_random_while_a_choice_was_never_tried():
    only_a = [r for r in history() if r.hyperparameters["kind"] == "a"]
    past = History(
        tuple(Record(i, 0, None, "random", r.hyperparameters, i + 1, float(i)) for i, r in enumerate(only_a))
    )
    sources = {(s.hyperparameters["kind"], s.source) for s in proposals("pb2_mult", past=past)}
    assert sources <= {("a", "surrogate"), ("b", "random"), ("c", "random")}
    assert len(sources) == 3


def test_a_space_without_categories_makes_all_variants_pb2():
    space = Space({"x": {"type": "float", "low": 0.0, "high": 1.0}})
    past = History(tuple(Record(g, 0, None, "random", {"x": g / 9}, g + 1, float(g)) for g in range(9)))
    plain = make_explorer("pb2", space).propose([past.best()], [past.best()], past, [], np.random.default_rng(0))
    for method in VARIANTS:
        assert (
            make_explorer(method, space).propose([past.best()], [past.best()], past, [], np.random.default_rng(0))
            == plain
        )


def test_bad_settings_are_named():
    with pytest.raises(MetapbtError, match="method.rounds must be >= 1, got 0"):
        make_explorer("pb2_mix", SPACE, rounds=0)
