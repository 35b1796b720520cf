"""Whatever a method suggests lies within the space, where distances from 1 are tuned, too."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metapbt import Space, Tuner
from metapbt.history import Context
from metapbt.memory.source_runs import Memory
from metapbt.population.explorers import METHODS, explorer_class
from metapbt.population.selection import SELECTIONS

SPACE = Space(
    {
        "gamma": {"type": "float", "low": 0.9, "high": 0.9999, "log": True, "complement": True},
        "gae_lambda": {"type": "float", "low": 0.8, "high": 1.0, "complement": True},
        "rate": {"type": "float", "low": 1e-5, "high": 1e-2, "log": True},
        "clip": {"type": "float", "low": 0.1, "high": 0.5, "step": 0.05},
        "batch": {"type": "int", "low": 16, "high": 128, "factor": 2},
        "kind": {"type": "categorical", "choices": ["a", "b"]},
        "decay": {"type": "int", "low": 1, "high": 5, "when": {"kind": "b"}},
    }
)
SURROGATES = [m for m in METHODS if explorer_class(m).copies and m not in ("pbt", "gpbt_pl")]


def suggested(method, returns, seed, selection="truncation"):
    """What members are to train with, generation by generation."""
    memory = {"memory": Memory(Context({"feature": 1.0}))} if explorer_class(method).uses_memory else {}
    size = len(returns[0])
    chosen = {"name": selection, **({"periods": [1, 2]} if selection == "multiple_frequencies" else {})}
    tuner = Tuner(SPACE, method, size, 0.5, seed, selection=chosen, **memory)
    found = [tuner.start()]
    for generation, row in enumerate(returns, 1):
        tuner.tell([generation] * size, row)
        found.append([dict(a.hyperparameters) for a in tuner.assignments.values()])
    return found


def check(found):
    for configuration in found:
        SPACE.check(configuration)
        assert 0.9 <= configuration["gamma"] <= 0.9999
        assert 0.8 <= configuration["gae_lambda"] <= 1.0
        assert np.all((SPACE.to_unit(configuration) >= 0) & (SPACE.to_unit(configuration) <= 1))


@pytest.mark.parametrize("method", ["pbt", "gpbt_pl"])
@settings(max_examples=15, derandomize=True, deadline=None)
@given(st.data())
def test_moves_stay_within_the_bounds_whatever_was_reported(method, data):
    values = st.floats(-100, 100) | st.just(math.nan)
    returns = data.draw(st.lists(st.lists(values, min_size=6, max_size=6), min_size=1, max_size=6))
    selection = data.draw(st.sampled_from(sorted(SELECTIONS)))
    for configurations in suggested(method, returns, data.draw(st.integers(0, 99)), selection):
        check(configurations)


@pytest.mark.parametrize("method", SURROGATES)
def test_surrogates_suggest_within_the_bounds_too(method):
    rng = np.random.default_rng(0)
    for configurations in suggested(method, rng.normal(size=(3, 4)).tolist(), 1):
        check(configurations)


@pytest.mark.parametrize("log", [False, True])
def test_every_method_sees_the_coordinate_that_the_distance_from_one_would_have(log):
    """That of 1 - gamma, mirrored, so that the larger the number the larger its coordinate."""
    entry = {"type": "float", "low": 0.001, "high": 0.1, "log": log}
    mirrored = {"type": "float", "low": 0.9, "high": 0.999, "log": log, "complement": True}
    space, other = Space({"distance": entry}), Space({"gamma": mirrored})
    for distance in np.geomspace(0.001, 0.1, 9):
        unit = other.to_unit({"gamma": 1 - distance})
        assert unit == pytest.approx(1 - space.to_unit({"distance": distance}), abs=1e-9)
    # The same seed draws the same distances.
    for configuration, drawn in zip(Tuner(other, "pb2").start(), Tuner(space, "pb2").start(), strict=True):
        assert configuration["gamma"] == pytest.approx(1 - drawn["distance"], abs=1e-12)
