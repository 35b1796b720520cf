"""The variants of PB2 that treat categories as categories."""

import numpy as np
import pytest

from metapbt.errors import MetapbtError
from metapbt.history import History, Record
from metapbt.population.explorers import make_explorer
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
        for suggestion in explorer.propose([past.best()] * count, past, [], np.random.default_rng(seed))
    ]


@pytest.mark.parametrize("method", VARIANTS)
def test_every_suggestion_is_legal_and_honours_conditions(method):
    for suggestion in proposals(method):
        SPACE.check(suggestion.hyperparameters)
        assert ("y" in suggestion.hyperparameters) == (suggestion.hyperparameters["kind"] != "c")


def test_pb2_rand_draws_categories_at_random():
    kinds = [s.hyperparameters["kind"] for s in proposals("pb2_rand", repeats=30)]
    assert all(8 <= kinds.count(kind) <= 34 for kind in "abc")


@pytest.mark.parametrize("method", ["pb2_mult", "pb2_mix"])
def test_the_bandit_prefers_the_category_that_pays(method):
    kinds = [s.hyperparameters["kind"] for s in proposals(method, repeats=30, past=history(generations=40))]
    assert kinds.count("b") > max(kinds.count("a"), kinds.count("c"))


@pytest.mark.parametrize("method", ["pb2_mult", "pb2_mix"])
def test_the_copies_of_a_generation_try_different_categories(method):
    found = proposals(method, count=2)
    pairs = [(found[i].hyperparameters["kind"], found[i + 1].hyperparameters["kind"]) for i in range(0, len(found), 2)]
    assert all(first != second for first, second in pairs)


@pytest.mark.parametrize("method", ["pb2_mult", "pb2_mix"])
def test_numbers_follow_the_category(method):
    found = [s.hyperparameters for s in proposals(method, repeats=20) if s.source == "surrogate"]
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
    plain = make_explorer("pb2", space).propose([past.best()], past, [], np.random.default_rng(0))
    for method in VARIANTS:
        assert make_explorer(method, space).propose([past.best()], past, [], np.random.default_rng(0)) == plain


def test_bad_settings_are_named():
    with pytest.raises(MetapbtError, match="method.rounds must be >= 1, got 0"):
        make_explorer("pb2_mix", SPACE, rounds=0)
