"""Copies that stay near their parents: ``trust_region`` of pb2."""

import numpy as np
import pytest

from metapbt.errors import MetapbtError
from metapbt.history import History, Record
from metapbt.population.explorers.pb2 import PB2Explorer
from metapbt.space import Space

SPACE = Space(
    {
        "rate": {"type": "float", "low": 1e-5, "high": 1e-1, "log": True},
        "share": {"type": "float", "low": 0.0, "high": 1.0},
        "epochs": {"type": "int", "low": 1, "high": 50},
        "kind": {"type": "categorical", "choices": ["a", "b", "c", "d"]},
    }
)
NUMBERS = 3
HALF_AN_INTEGER = 0.5 / 50


def history(seed=0, generations=5, members=4):
    """What grows a return fastest lies in a corner, so that whoever may go there does."""
    rng = np.random.default_rng(seed)
    records, returns = [], np.zeros(members)
    for generation in range(generations):
        for member in range(members):
            drawn = SPACE.sample(rng)
            point = SPACE.to_unit(drawn)
            returns[member] += point[:NUMBERS].sum() + (drawn["kind"] == "c")
            records.append(Record(generation, member, None, "random", drawn, 10 * (generation + 1), returns[member]))
    return History(tuple(records))


def steps(explorer, seed=3):
    """How far copies are from their parents in each number, and their categories."""
    past = history(seed)
    parents = list(past.latest)
    found = explorer.propose(parents, parents, past, [], np.random.default_rng(0))
    moved = [
        np.abs(SPACE.to_unit(child.hyperparameters) - SPACE.to_unit(parent.hyperparameters))[:NUMBERS]
        for child, parent in zip(found, parents, strict=True)
    ]
    changed = [c.hyperparameters["kind"] != p.hyperparameters["kind"] for c, p in zip(found, parents, strict=True)]
    return np.array(moved), changed


def test_copies_lie_within_half_its_edge_of_their_parents_whatever_their_category():
    anywhere, _ = steps(PB2Explorer(SPACE))
    assert anywhere.max() > 0.4
    for length in (0.4, 0.1):
        near, changed = steps(PB2Explorer(SPACE, trust_region=True, length=length))
        assert near.max() <= length / 2 + HALF_AN_INTEGER
        assert near.max() > length / 4  # it is made use of
        assert any(changed)


@pytest.mark.parametrize("length", [0, -1, 2.5])
def test_an_edge_out_of_its_range_is_named(length):
    with pytest.raises(MetapbtError, match=r"method.length must be in \(0, 2\]"):
        PB2Explorer(SPACE, trust_region=True, length=length)
