"""Hyperparameters that shape the network, and conditions on them, in the methods that ask a Gaussian process."""

import numpy as np
import pytest
import torch

from metapbt.history import History, Record
from metapbt.population.explorers import make_explorer
from metapbt.space import Space

SPACE = Space(
    {
        "x": {"type": "float", "low": 0.0, "high": 1.0},
        "width": {"type": "float", "low": 1.0, "high": 300.0, "log": True, "role": "architecture"},
        "encoder": {"type": "categorical", "choices": ["flat", "deep"], "role": "architecture"},
        "depth": {"type": "int", "low": 1, "high": 9, "role": "architecture", "when": {"encoder": "deep"}},
        "kind": {"type": "categorical", "choices": ["a", "b", "c"]},
        "shade": {"type": "categorical", "choices": ["p", "q"], "when": {"kind": ["a", "b"]}},
        "y": {"type": "float", "low": 0.0, "high": 1.0, "when": {"encoder": "deep", "kind": "b"}},
    }
)
FAMILY = ("pb2", "pb2_rand", "pb2_mult", "pb2_mix")


def history(generations=8, members=4, seed=0, best=lambda h: 0.5):
    rng = np.random.default_rng(seed)
    records, returns = [], np.zeros(members)
    for generation in range(generations):
        for member in range(members):
            drawn = SPACE.sample(rng)
            returns[member] += 1 - abs(drawn["x"] - best(drawn))
            records.append(Record(generation, member, None, "random", drawn, 10 * (generation + 1), returns[member]))
    return History(tuple(records))


def network(hyperparameters):
    return {name: hyperparameters.get(name) for name in SPACE.architecture}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("method", FAMILY)
def test_every_copy_is_legal_and_has_its_parents_network(method, seed):
    past = history(seed=seed)
    parents = list(past.latest)
    explorer = make_explorer(method, SPACE)
    for suggestion, parent in zip(
        explorer.propose(parents, parents, past, [], np.random.default_rng(seed)), parents, strict=True
    ):
        SPACE.check(suggestion.hyperparameters)
        assert SPACE.with_architecture_of(suggestion.hyperparameters, parent.hyperparameters) == (
            suggestion.hyperparameters
        )
        assert network(suggestion.hyperparameters) == network(parent.hyperparameters)


@pytest.mark.parametrize("method", FAMILY)
def test_a_copy_has_its_parents_network_before_there_is_anything_to_learn_from(method):
    rng = np.random.default_rng(0)
    parents = [Record(0, m, None, "random", SPACE.sample(rng), 10, float("nan")) for m in range(20)]
    found = make_explorer(method, SPACE).propose(parents, parents, History(tuple(parents)), [], rng)
    assert {suggestion.source for suggestion in found} == {"random"}
    for suggestion, parent in zip(found, parents, strict=True):
        SPACE.check(suggestion.hyperparameters)
        assert network(suggestion.hyperparameters) == network(parent.hyperparameters)


def narrow_or_wide(hyperparameters):
    return 0.15 if hyperparameters["width"] < 17 else 0.85


@pytest.mark.parametrize("method", ["pb2", "pb2_rand"])
def test_what_is_chosen_is_best_for_the_parents_network(method):
    past = history(generations=20, best=narrow_or_wide)
    explorer = make_explorer(method, SPACE)
    for width in (3.0, 100.0):
        parent = Record(19, 0, None, "random", {**past.best().hyperparameters, "width": width}, 200, 10.0)
        found = explorer.propose([parent] * 3, [parent] * 3, past, [], np.random.default_rng(0))
        chosen = np.median([suggestion.hyperparameters["x"] for suggestion in found])
        assert abs(chosen - narrow_or_wide({"width": width})) < 0.3
        assert all(suggestion.hyperparameters["width"] == width for suggestion in found)


def test_the_bound_is_maximised_over_all_but_the_architecture(monkeypatch):
    import metapbt.surrogates.acquisition as acquisition

    asked = []

    def maximise(model, bounds, fixed, beta, seed):
        asked.append(fixed)
        return torch.full((bounds.shape[1],), 0.25, dtype=torch.float64)

    monkeypatch.setattr(acquisition, "maximise_ucb", maximise)
    past = history()
    parent = past.best()
    make_explorer("pb2", SPACE).propose([parent], [parent], past, [], np.random.default_rng(0))
    (fixed,) = asked
    held = [place for place, p in enumerate(SPACE.parameters) if p.role == "architecture"]
    assert set(fixed) == {0, 1, *(2 + place for place in held)}  # time, return, network
    coordinates = SPACE.to_unit(parent.hyperparameters)
    assert [fixed[2 + place] for place in held] == pytest.approx(coordinates[held])


@pytest.mark.parametrize("method", FAMILY)
def test_a_space_of_networks_alone_leaves_nothing_to_choose(method):
    space = Space({"width": {"type": "int", "low": 1, "high": 9, "role": "architecture"}})
    past = History(tuple(Record(g, 0, None, "random", {"width": 1 + g}, g + 1, float(g)) for g in range(9)))
    parents = [past.best()]
    (found,) = make_explorer(method, space).propose(parents, parents, past, [], np.random.default_rng(0))
    assert found.hyperparameters == {"width": 9}


def test_the_bandit_does_not_choose_networks():
    explorer = make_explorer("pb2_mult", SPACE)
    past = history()
    (settled,) = explorer.settle([past.best()], past, np.random.default_rng(0))
    assert settled.keys() == {"kind", "shade"}


def test_a_choice_that_does_not_exist_under_the_others_does_not_ask_for_a_model_of_its_own():
    # Rows with kind c have no shade; a copy with kind c must find them, whichever shade the bandit chose.
    past = history(generations=30)
    explorer = make_explorer("pb2_mult", SPACE)
    parents = [past.best()] * 4
    sources = {
        suggestion.source
        for seed in range(6)
        for suggestion in explorer.propose(parents, parents, past, [], np.random.default_rng(seed))
        if suggestion.hyperparameters["kind"] == "c"
    }
    assert sources == {"surrogate"}
