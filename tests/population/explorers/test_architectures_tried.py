"""Which networks an explorer proposes for a new era, by what those of past eras and related contexts have reached."""

import json
from dataclasses import replace

import numpy as np
import pytest

from metapbt.history import Context, History, Record
from metapbt.memory.encoder import Samples
from metapbt.memory.networks import ranked_networks
from metapbt.memory.source_runs import Memory, SourceRun
from metapbt.population.explorers import METHODS, explorer_class, make_explorer
from metapbt.space import Space
from metapbt.surrogates.mixed import MixedColumns, fit_mixed

SPACE = Space(
    {
        "lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
        "policy": {
            "layers": {"type": "int", "low": 1, "high": 5, "role": "architecture"},
            "log2_width": {"type": "int", "low": 5, "high": 8, "role": "architecture"},
            "activation": {"type": "categorical", "choices": ["tanh", "relu", "silu"], "role": "architecture"},
        },
        "value": {
            "layers": {"type": "int", "low": 1, "high": 5, "role": "architecture"},
            "norm": {"type": "int", "low": 0, "high": 1, "role": "architecture"},
            "scale": {"type": "float", "low": 0.1, "high": 10.0, "role": "architecture", "when": {"value.norm": 1}},
        },
    }
)  # fmt: skip


def worth(network):
    return -abs(network["policy.layers"] - 4) - abs(network["policy.log2_width"] - 7) + 2 * network["value.norm"]


def tried(count, seed=0, space=SPACE):
    rng = np.random.default_rng(seed)
    return [(drawn, float(worth(drawn))) for drawn in (space.sample(rng) for _ in range(count))]


def text(networks):
    return [json.dumps(network, sort_keys=True) for network in networks]


def proposals(method, count, past, seed=0, space=SPACE):
    memory = {"memory": Memory(Context({"feature": 1.0}))} if explorer_class(method).uses_memory else {}
    return make_explorer(method, space, **memory).architectures(count, past, np.random.default_rng(seed))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_names_whole_networks_and_nothing_else(method):
    for past in ([], tried(6)):
        found = proposals(method, 3, past)
        assert len(found) == 3
        for network in found:
            assert set(network) <= set(SPACE.architecture)
            assert SPACE.network_of(SPACE.with_architecture_of(SPACE.default(), network)) == network
            assert ("value.scale" in network) == (network["value.norm"] == 1)


@pytest.mark.parametrize("seed", range(2))
def test_networks_are_better_than_drawn_ones_and_none_was_tried(seed):
    past = tried(10, seed)
    found = proposals("bg_pbt", 8, past, seed)
    assert len(set(text(found))) == 8
    assert not set(text(found)) & set(text(SPACE.network_of(each) for each, _ in past))
    drawn = np.mean([worth(SPACE.sample(np.random.default_rng(100 + i))) for i in range(200)])
    assert np.mean([worth(network) for network in found]) > drawn + 0.5
    assert text(found) == text(proposals("bg_pbt", 8, past, seed))


def test_what_did_not_happen_and_what_was_no_number_teaches_nothing():
    past = tried(2)
    random = text(proposals("bg_pbt", 4, past))
    lost = [(each, float("nan")) for each, _ in tried(20, 1)]
    assert text(proposals("bg_pbt", 4, [*past, *lost])) == random  # two networks are too few
    again = [(each, value - 100) for each, value in past * 5]
    assert text(proposals("bg_pbt", 4, [*past, *again])) == random  # the same ones again, worse


def test_all_networks_of_a_small_space_come_before_any_comes_again():
    small = Space(
        {
            "layers": {"type": "int", "low": 1, "high": 6, "role": "architecture"},
            "x": {"type": "float", "low": 0, "high": 1},
        }
    )
    past = [({"layers": layers}, float(layers)) for layers in (1, 2, 3)]
    found = [network["layers"] for network in proposals("bg_pbt", 3, past, space=small)]
    assert sorted(found) == [4, 5, 6]
    assert len(proposals("bg_pbt", 8, past, space=small)) == 8


@pytest.fixture
def fitted(monkeypatch):
    """Of each surrogate that is fitted how many columns it sees, which are what, and its conditions."""
    found = []

    def watched(rows, returns, columns, **options):
        found.append((rows.shape[1], columns, options["conditions"]))
        return fit_mixed(rows, returns, columns, **options)

    monkeypatch.setattr("metapbt.surrogates.mixed.fit_mixed", watched)
    return found


def test_what_is_no_part_of_the_network_changes_no_proposal_and_no_bound_of_the_kernel(fitted):
    """What is the same in all rows is no dimension: lengthscales end at the root of how many there are."""
    alone = Space({name: SPACE.specification[name] for name in SPACE.architecture})
    more = {f"c{number}": {"type": "categorical", "choices": ["a", "b"]} for number in range(9)}
    crowded = Space({**more, **SPACE.specification})
    past = [(SPACE.network_of(each), value) for each, value in tried(10)]
    found = [text(proposals("bg_pbt", 4, past, space=space)) for space in (alone, SPACE, crowded)]
    assert found[0] == found[1] == found[2]
    assert [(width, columns) for width, columns, _ in fitted] == 3 * [(6, MixedColumns(None, (0, 1, 2, 3), (4, 5)))]
    assert [conditions.depends_on for *_, conditions in fitted] == 3 * [{3: {5: [1.0]}}]


def test_a_network_of_categories_alone_is_searched_beside_numbers(fitted):
    space = Space(
        {
            "lr": {"type": "float", "low": 0.0, "high": 1.0},
            "kind": {"type": "categorical", "choices": ["a", "b", "c", "d"], "role": "architecture"},
            "norm": {"type": "int", "low": 0, "high": 1, "role": "architecture"},
        }
    )
    past = [({"kind": kind, "norm": 0}, value) for kind, value in (("a", 0.0), ("b", 1.0), ("c", 2.0), ("d", 9.0))]
    (found,) = proposals("bg_pbt", 1, past, space=space)
    assert found["norm"] == 1
    assert fitted == [(2, MixedColumns(None, (), (0, 1)), None)]
    assert len(set(text(proposals("bg_pbt", 4, past, space=space)))) == 4


def test_a_space_without_architecture_has_empty_networks():
    plain = Space({"x": {"type": "float", "low": 0.0, "high": 1.0}})
    assert proposals("bg_pbt", 2, [({"x": 0.5}, 1.0)] * 5, space=plain) == [{}, {}]


# --- from related contexts


def source(shift, seed):
    """A run whose members keep their networks; what is good is the same everywhere, on another scale."""
    rng = np.random.default_rng(seed)
    records, drawn = [], [SPACE.sample(rng) for _ in range(10)]
    for generation in range(4):
        for member, each in enumerate(drawn):
            value = (generation + 1) * 10**shift * worth(each) + 10**shift * 0.01 * rng.normal()
            records.append(Record(generation, member, None, "random", each, 10 * (generation + 1), float(value)))
    return SourceRun(Context({"shift": shift}), History(tuple(records)))


@pytest.fixture(scope="module")
def memory():
    return Memory(Context({"shift": 1.5}), tuple(source(float(shift), shift) for shift in (1, 2)))


def test_networks_are_ranked_within_contexts():
    samples = Samples(
        *(np.zeros(5) for _ in range(4)),
        np.array([1.0, 2.0, 3.0, 900.0, 800.0]),
        *2 * [np.array([[0.1], [0.2], [0.3], [0.2], [0.1]])],
        np.array([0, 0, 0, 1, 1]),
    )
    # 0.3 is the first of three, once; 0.2 the second of three and the first of two; 900 is no better than 3.
    assert ranked_networks(samples, [0]).tolist() == [[0.3], [0.2], [0.1]]
    swapped = replace(samples, returns_after=np.array([1.0, 3.0, 2.0, 900.0, 800.0]))
    assert ranked_networks(swapped, [0]).tolist() == [[0.2], [0.3], [0.1]]


def test_part_of_the_networks_come_from_related_contexts(memory):
    explorer = make_explorer("meta_bg_pbt", SPACE, memory=memory, kernel="plain")
    past = tried(6, seed=9)
    found = explorer.architectures(8, past, np.random.default_rng(0))
    known = text(SPACE.network_of(r.hyperparameters) for run in memory.sources for r in run.history)
    remembered = [network for network, name in zip(found, text(found), strict=True) if name in known]
    assert 1 <= len(remembered) <= 4
    assert len(set(text(found))) == 8
    best = sorted({worth(each) for run in memory.sources for each in (r.hyperparameters for r in run.history)})
    assert min(worth(network) for network in remembered) >= best[len(best) // 2]
    none = make_explorer("meta_bg_pbt", SPACE, memory=memory, kernel="plain", first_generation=0.0)
    assert text(none.architectures(8, past, np.random.default_rng(0))) == text(proposals("bg_pbt", 8, past))
